//! Edits of a list of metadata, checked when they are built.

use std::collections::BTreeMap;

use fields::{Fields, is_name};
use filter_api::BuildError;

/// Names that are the protocol's or the proxy's own (DESIGN.md §4): nothing may be written under them.
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

/// What to do with a list, in this order.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    set: Vec<(String, String)>,
}

impl Edits {
    /// Checks the edits that stand at `at` below the filter's key.
    pub(crate) fn build(
        at: &[&str],
        set: BTreeMap<String, String>,
        remove: Vec<String>,
        rename: BTreeMap<String, String>,
    ) -> Result<Self, BuildError> {
        let place = |keys: &[&str], message: String| {
            let path: Vec<&str> = at.iter().chain(keys).copied().collect();
            BuildError::at(&path, message)
        };
        for (index, name) in remove.iter().enumerate() {
            // A token may be removed; what gRPC itself needs may not.
            if name != "authorization" {
                writable(name).map_err(|message| place(&["remove", &index.to_string()], message))?;
            }
        }
        for (from, to) in &rename {
            for name in [from, to] {
                writable(name).map_err(|message| place(&["rename", from], message))?;
            }
        }
        for (name, value) in &set {
            writable(name).map_err(|message| place(&["set", name], message))?;
            let text = value.bytes().all(|b| (0x20..=0x7e).contains(&b)) && value.trim() == value;
            if !text {
                let message = format!(
                    "the value of `{name}` is not printable ASCII without blanks around it: use a `-bin` name and base64"
                );
                return Err(place(&["set", name], message));
            }
        }
        Ok(Self { remove, rename: rename.into_iter().collect(), set: set.into_iter().collect() })
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty()
    }

    /// Does it.
    pub(crate) fn apply(&self, fields: &mut Fields) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (from, to) in &self.rename {
            let values: Vec<Vec<u8>> = fields.get_all(from).map(<[u8]>::to_vec).collect();
            if values.is_empty() {
                continue;
            }
            fields.remove(from);
            fields.remove(to);
            for value in values {
                fields.push(to, &value);
            }
        }
        for (name, value) in &self.set {
            fields.set(name, value.as_bytes());
        }
    }
}

fn writable(name: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!("`{name}` is no name of metadata: write it in lower case, for example `x-team`"));
    }
    if RESERVED.contains(&name) || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Err(format!("`{name}` belongs to the protocol or to Portunus: choose another name"));
    }
    Ok(())
}
