//! `/metrics`: every counter, in the text format for which the scraper asks.

use std::sync::Arc;

use http::header::{ACCEPT, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::AdminState;
use super::reply::{Reply, refuse, with_type};
use crate::observe::metrics::{Format, InstanceCount, Seen};

pub(super) fn metrics(state: &AdminState, request: &Parts) -> Reply {
    let (format, content_type) = if prefers_open_metrics(&request.headers) {
        (Format::OpenMetrics, "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (Format::Prometheus, "text/plain; version=0.0.4; charset=utf-8")
    };
    match state.metrics.expose(format, seen(state)) {
        Ok(page) => with_type(StatusCode::OK, HeaderValue::from_static(content_type), page.into_bytes()),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written; this is a bug");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written; Portunus' log says more")
        }
    }
}

fn seen(state: &AdminState) -> Seen {
    let mut counts = Vec::new();
    for cluster in state.view.clusters() {
        let name: Arc<str> = Arc::from(cluster.name);
        let states = cluster.instances.into_iter();
        counts.extend(states.map(|(state, count)| InstanceCount { cluster: Arc::clone(&name), state, count }));
    }
    Seen { instances: counts, keys: state.view.key_ages(), audit: state.view.audit_files() }
}

/// Whether OpenMetrics is named, and no less welcome than plain text. Who names neither (curl) gets plain text.
pub(super) fn prefers_open_metrics(headers: &HeaderMap) -> bool {
    let (mut open, mut plain) = (0.0_f32, 0.0_f32);
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
        match kind {
            "application/openmetrics-text" => open = open.max(weight),
            "text/plain" => plain = plain.max(weight),
            _ => {}
        }
    }
    open > 0.0 && open >= plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_negotiated() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2";
        for (accept, open) in [
            (prometheus_3, true),
            ("application/openmetrics-text", true),
            ("*/*", false),
            ("text/plain, application/openmetrics-text;q=0.5", false),
            ("application/openmetrics-text;q=0", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(prefers_open_metrics(&headers), open, "{accept}");
        }
        assert!(!prefers_open_metrics(&HeaderMap::new()));
    }
}
