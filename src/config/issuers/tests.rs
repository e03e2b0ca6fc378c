//! Who checks tokens goes on over a reload, with what has passed, and only where nothing that a token passes by has changed.

use std::path::PathBuf;
use std::sync::Arc;

use filter_api::{Issuers as _, Keep, Verifier};

use super::super::{Loaded, load_str};
use super::{Signatories, Signatory};

const KEYS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdeX"];

/// One configuration after the other.
struct Row {
    folder: PathBuf,
    keep: Keep,
    before: Vec<Signatory>,
}

impl Row {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portunus-issuers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let row = Self { folder, keep: Keep::default(), before: Vec::new() };
        row.key(KEYS[0]);
        row
    }

    fn key(&self, key: &str) {
        std::fs::write(self.folder.join("key"), key).unwrap();
    }

    /// Who checks the tokens of these once this is in force.
    fn next(&mut self, more: &str, names: &[&str]) -> Arc<dyn Verifier> {
        let text = format!(
            "issuers:\n  a: {{issuer: a, audiences: [x], secret_file: key{more}}}\n  b: {{issuer: b, audiences: [x], secret_file: key}}\n\
             clusters: {{c: {{endpoints: [127.0.0.1:1]}}}}\nlisteners: {{l: {{address: 127.0.0.1:1, routes: [{{cluster: c}}]}}}}\n"
        );
        let Loaded { config, source } = load_str(&text, &self.folder.join("conf.yaml"), &|_| None, &[]).unwrap();
        let keep = Keep::after(&self.keep);
        let mut problems = Vec::new();
        let all = Signatories::build(&config.issuers, (&source, &self.before), &keep, &mut problems);
        assert_eq!(problems, []);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let verifier = all.verifier(&names).unwrap();
        keep.settle();
        (self.keep, self.before) = (keep, all.into_all());
        verifier
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn same(one: &Arc<dyn Verifier>, other: &Arc<dyn Verifier>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

#[test]
fn what_has_passed_is_remembered_where_nothing_has_changed() {
    let mut row = Row::new("same");
    let first = row.next("", &["a", "b"]);
    let again = row.next("", &["a", "b"]);
    assert!(same(&first, &again));
    row.key(&format!("{}\n", KEYS[0]));
    assert!(same(&first, &row.next("", &["a", "b"])), "a line end is no part of a key");
    assert!(!same(&first, &row.next("", &["a"])), "for fewer issuers");
    assert!(!same(&first, &row.next("", &["a", "b"])), "nobody asked for it in between");
}

#[test]
fn nothing_is_remembered_of_what_has_changed() {
    let mut row = Row::new("changed");
    let mut before = row.next("", &["a", "b"]);
    for more in [", leeway: 5s", ", require: [sub]", ", types: [at+jwt]", ", algorithms: [HS256]"] {
        let now = row.next(more, &["a", "b"]);
        assert!(!same(&before, &now), "{more}");
        before = now;
    }
    row.key(KEYS[1]);
    let now = row.next("", &["a", "b"]);
    assert!(!same(&before, &now), "another key");
    // The former's way back is no way round.
    row.key(KEYS[0]);
    assert!(!same(&before, &row.next("", &["a", "b"])), "of a key that was gone meanwhile");
}
