//! `portunus schema`: prints the JSON Schema of the configuration, for editors and for docs/configuration.

use std::io::{self, Write};

use filter_api::Known;

use crate::config::compose;

/// Writes the schema of a configuration that may use `filters` to `out`.
///
/// # Errors
/// What `out` says, such as a closed pipe.
pub fn run(filters: &[Known], out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &compose(filters))?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `REGENERATE=1 cargo test -p portunus schema` writes it anew.
    #[test]
    fn committed_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/schema.json");
        let mut now = Vec::new();
        run(crate::filters::ALL, &mut now).unwrap();
        let now = String::from_utf8(now).unwrap();
        if std::env::var_os("REGENERATE").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == now, "config/schema.json is not what `portunus schema` prints: run with REGENERATE=1");
    }
}
