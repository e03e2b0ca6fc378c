//! "did you mean": the nearest of the known words. Called wherever a name is unknown.

/// The known word that `word` was most likely meant to be, if one is near.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = plain(word);
    // A third of the letters wrong is still a slip; more is another word, and a wild guess reads as mockery.
    let most = (plain.chars().count() / 3).max(1);
    let near = |known: &'a str| (strsim::damerau_levenshtein(&plain, &self::plain(known)), known);
    known
        .into_iter()
        .map(near)
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// "`, did you mean `x`?" or the list of what there is.
pub(super) fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(nearest) => format!(", did you mean `{nearest}`?"),
        None if known.is_empty() => ": there is none to choose from".to_owned(),
        None => format!("; known here: {}", listed(known)),
    }
}

/// `a`, `b`, `c`, cut where it would fill the screen.
pub(super) fn listed(words: &[&str]) -> String {
    const MOST: usize = 24;
    let mut list = words.iter().take(MOST).map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if words.len() > MOST {
        list.push_str(", …");
    }
    list
}

/// `round-robin` and `leastRequest` are the same slip as a wrong letter less.
fn plain(word: &str) -> String {
    // Distances take time in the product of the lengths: a word of a megabyte is not a slip.
    word.chars().take(64).filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let known = ["round_robin", "least_request", "random", "dns"];
        assert_eq!(nearest("roundrobin", known), Some("round_robin"));
        assert_eq!(nearest("round-robin", known), Some("round_robin"));
        assert_eq!(nearest("leastRequests", known), Some("least_request"));
        assert_eq!(nearest("dsn", known), Some("dns"));
        assert_eq!(nearest("tls", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), known), None);
    }
}
