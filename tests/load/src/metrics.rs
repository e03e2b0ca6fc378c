//! Prometheus' text format, as far as sums over series need it.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Vec<Series>);

#[derive(Clone, Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a page. Values of the labels that are asked for here have no commas or quotes.
    pub(crate) fn parse(page: &str) -> Self {
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(series).collect())
    }

    /// The sum of a metric's series that have this label, or of all.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts and bytes")]
    pub(crate) fn sum(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        let fits = |series: &&Series| {
            series.name == name && label.is_none_or(|(key, value)| series.labels.get(key).is_some_and(|v| v == value))
        };
        self.0.iter().filter(fits).map(|series| series.value).sum::<f64>() as u64
    }

    /// The same in thousandths, for metrics that have a fraction.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a test")]
    pub(crate) fn thousandths(&self, name: &str) -> u64 {
        let all = self.0.iter().filter(|series| series.name == name).map(|series| series.value);
        (all.sum::<f64>() * 1_000.0) as u64
    }

    /// A metric's sums by the values of a label.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts and bytes")]
    pub(crate) fn by(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for series in self.0.iter().filter(|series| series.name == name) {
            let value = series.labels.get(label).cloned().unwrap_or_default();
            *sums.entry(value).or_default() += series.value as u64;
        }
        sums
    }
}

fn series(line: &str) -> Option<Series> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, labels) = match head.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}')),
        None => (head, ""),
    };
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    let labels = pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect();
    Some(Series { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn series_are_summed_by_label() {
        let page = "# HELP a b\n# TYPE a counter\na_total{x=\"1\",y=\"p\"} 3\na_total{x=\"2\",y=\"p\"} 4\nb 1.5e3\n";
        let metrics = Metrics::parse(page);
        assert_eq!(metrics.sum("a_total", None), 7);
        assert_eq!(metrics.sum("a_total", Some(("x", "2"))), 4);
        assert_eq!(metrics.sum("b", None), 1_500);
        assert_eq!(metrics.by("a_total", "y"), [("p".to_owned(), 7)].into());
    }
}
