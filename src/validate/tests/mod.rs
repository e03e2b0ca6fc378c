//! Every rule with what fits and what does not; messages in messages; what cannot be checked.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy only knows inside of tests")]

mod json;
mod messages;
mod refused;
mod standard;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Unchecked, Validator, Violation};
use crate::expr::{MAX_COST, Moment};
use crate::schema::{Meter, Schema, from_protos};

const STEPS: u64 = 1_000_000;

/// Files that are compiled, with a service in which each message `M…` is what the method of its name takes.
struct Built {
    schema: Arc<Schema>,
}

impl Built {
    /// Messages of a proto3 file.
    fn of(name: &str, messages: &str) -> Self {
        Self::file(name, &format!("syntax = \"proto3\";\npackage t;\n{IMPORTS}\n{messages}"))
    }

    fn file(name: &str, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portunus-validate-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut text = text.to_owned();
        text.push_str("\nservice S {\n");
        let names: Vec<String> =
            text.split_whitespace().zip(text.split_whitespace().skip(1)).filter_map(named).collect();
        names.iter().for_each(|name| writeln!(text, "rpc {name}({name}) returns ({name});").unwrap());
        text.push_str("}\n");
        let file = folder.join("t.proto");
        std::fs::write(&file, text).unwrap();
        let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/protos");
        let schema = from_protos(&[file], &[folder.clone(), PathBuf::from(&protos)]);
        std::fs::remove_dir_all(folder).unwrap();
        Self { schema: Arc::new(schema.unwrap_or_else(|why| panic!("{why}"))) }
    }

    fn validator(&self, message: &str) -> Result<Validator, String> {
        let kind = self.schema.message_type(&format!("t.{message}")).unwrap();
        Validator::compile(&self.schema, kind.id(), MAX_COST)
    }

    fn body(&self, message: &str, json: &str) -> Vec<u8> {
        let method = self.schema.method("t.S", message).unwrap();
        self.schema.request_from_json(method, json).unwrap_or_else(|why| panic!("{json}: {why}"))
    }

    fn check(&self, message: &str, json: &str) -> Result<Vec<Violation>, Unchecked> {
        let validator = self.validator(message).unwrap_or_else(|why| panic!("{why}"));
        validator.check(&self.body(message, json), Moment::now(), &mut Meter::new(STEPS))
    }

    /// What is told, each as `place: message [rule]`.
    fn told(&self, message: &str, json: &str) -> Vec<String> {
        let violations = self.check(message, json).unwrap_or_else(|why| panic!("{json}: {why}"));
        violations.iter().map(|Violation { field, message, rule, .. }| format!("{field}: {message} [{rule}]")).collect()
    }
}

const IMPORTS: &str = r#"
import "buf/validate/validate.proto";
import "google/protobuf/any.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
"#;

fn named((word, name): (&str, &str)) -> Option<String> {
    (word == "message" && name.starts_with('M')).then(|| name.trim_end_matches('{').to_owned())
}
