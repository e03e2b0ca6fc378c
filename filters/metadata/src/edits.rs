//! Edits of a list of metadata, checked when they are built.

use std::collections::BTreeMap;
use std::sync::Arc;

use fields::Fields;
use filter_api::{
    BuildCx, BuildError, Code, Expression, Gives, MOST_VALUE, Reason, Refusal, Seen, check_target, is_target_value,
};

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
                check_target(name).map_err(|message| place(&["remove", &index.to_string()], message))?;
            }
        }
        for (from, to) in &rename {
            for name in [from, to] {
                check_target(name).map_err(|message| place(&["rename", from], message))?;
            }
        }
        for (name, value) in &set {
            check_target(name).map_err(|message| place(&["set", name], message))?;
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

/// Metadata whose values expressions give.
#[derive(Clone, Debug, Default)]
pub(crate) struct Computed(Vec<(String, Arc<dyn Expression>)>);

impl Computed {
    /// Compiles the expressions that stand at `at` below the filter's key.
    pub(crate) fn build(at: &[&str], set: BTreeMap<String, String>, cx: &mut BuildCx<'_>) -> Result<Self, BuildError> {
        let compiled = set.into_iter().map(|(name, text)| {
            let path: Vec<&str> = at.iter().copied().chain(["set_expr", &name]).collect();
            check_target(&name).map_err(|message| BuildError::at(&path, message))?;
            let expression = cx.expression(&path, &text, Gives::Text)?;
            Ok((name, expression))
        });
        compiled.collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values for a call; null is none.
    ///
    /// # Errors
    /// An expression fails, or gives what can be no metadata: an instance must not take a value that is missing for one that was left out.
    pub(crate) fn values(&self, seen: &Seen<'_>) -> Result<Vec<(&str, Option<String>)>, Box<Refusal>> {
        let denied = |name: &str, why: String| {
            let message = format!("the metadata `{name}` of this call cannot be made: {why}");
            Box::new(Refusal::new(Code::PermissionDenied, Reason::Denied, message))
        };
        let values = self.0.iter().map(|(name, expression)| {
            let value = expression.text(seen).map_err(|why| denied(name, why.to_string()))?;
            if value.as_ref().is_some_and(|value| !is_target_value(value)) {
                let why =
                    format!("its value is not 1 to {MOST_VALUE} printable ASCII characters without blanks around them");
                return Err(denied(name, why));
            }
            Ok((name.as_str(), value))
        });
        values.collect()
    }
}

/// Puts values in the place of what there is.
pub(crate) fn put<'v>(fields: &mut Fields, values: impl IntoIterator<Item = (&'v str, Option<&'v str>)>) {
    for (name, value) in values {
        match value {
            Some(value) => fields.set(name, value.as_bytes()),
            None => {
                fields.remove(name);
            }
        }
    }
}
