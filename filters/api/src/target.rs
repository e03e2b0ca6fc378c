//! Metadata that filters write: under which names, and what (DESIGN.md §4).

use fields::is_name;

/// The longest value.
pub const MOST_VALUE: usize = 1024;

/// Names that are the protocol's or the proxy's own: nothing may be written under them.
const RESERVED: [&str; 10] = [
    "te",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
    "content-type",
    "authorization",
    "content-length",
];
const RESERVED_PREFIXES: [&str; 3] = [":", "grpc-", "x-portunus-"];

/// That a filter may write under a name.
///
/// # Errors
/// Why it may not, for whoever wrote the configuration.
pub fn check_target(name: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!("`{name}` is no name of metadata: write it in lower case, for example `x-team`"));
    }
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(format!("`{name}` belongs to the protocol or to Portunus: choose another name"));
    }
    Ok(())
}

/// Whether a filter may write this: 1 to 1,024 printable ASCII characters without blanks around them.
pub fn is_target_value(value: &str) -> bool {
    !value.is_empty()
        && value.len() <= MOST_VALUE
        && value.bytes().all(|octet| (0x20..=0x7e).contains(&octet))
        && value.trim() == value
}

/// Whether two names are one to a server that folds `-` and `_`, or decodes a `-bin`.
pub fn are_one_name(one: &str, other: &str) -> bool {
    folded(one) == folded(other)
}

/// What all names have in common that are one to such a server.
pub(crate) fn folded(name: &str) -> String {
    let name = name.replace('_', "-");
    name.strip_suffix("-bin").map_or(name.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{are_one_name, folded};

    #[test]
    fn names_that_servers_fold_are_one() {
        for (one, other) in [("x-a", "x_a"), ("x-a-bin", "x-a"), ("x_a_bin", "x-a"), ("x-a-bin", "x-a_bin")] {
            assert!(are_one_name(one, other) && are_one_name(other, one), "{one} {other}");
        }
        assert_eq!(["x_user_id", "x-user_id-bin", "x_user_id_bin"].map(folded), ["x-user-id"; 3]);
        assert!(!are_one_name("x-a", "x-ab") && !are_one_name("x-a", "x-a-binx"));
    }
}
