use std::sync::Arc;

use super::{Definition, Definitions, Side};
use crate::schema::tests::compile::with;

const BASE: &str = "message R { T t = 1; repeated T list = 2; map<string, T> map = 3; string s = 4; }
    message T { int32 n = 1; string s = 2; } message Else { int32 n = 1; }";

fn definition(body: &str) -> Definition {
    Definitions::of(Arc::new(with(body))).get("a.S", "M").unwrap().clone()
}

#[test]
fn ids_are_the_same_where_all_that_is_reachable_is() {
    let base = definition(BASE);
    assert_eq!(base.id, definition(&BASE.replace("message Else { int32", "message Else { bytes")).id);
    for (from, to) in [("string s = 4", "string s = 5"), ("string s = 2", "bytes s = 2")] {
        assert_ne!(base.id, definition(&BASE.replace(from, to)).id, "{to}");
    }
    let two = with(&format!("{BASE} service T2 {{ rpc M(R) returns (R); rpc N(stream R) returns (R); }}"));
    let all = Definitions::of(Arc::new(two));
    let ids: std::collections::BTreeSet<_> = all.all().map(|(_, _, definition)| definition.id).collect();
    assert_eq!((ids.len(), all.all().count()), (3, 3), "methods are told apart, though their messages are the same");
    assert!(all.get("a.S", "N").is_none() && all.get("a.X", "M").is_none());
}

#[test]
fn a_field_that_is_relied_on_is_the_same_or_the_conflict_is_told() {
    let base = definition(BASE);
    let told = |from: &str, to: &str, path: &str| {
        assert!(BASE.contains(from), "{from}");
        let changed = definition(&BASE.replacen(from, to, 1));
        let request = changed.conflicts(&base, Side::Request, path);
        assert_eq!(request, changed.conflicts(&base, Side::Response, path));
        request
    };
    for path in ["t", "t.n", "list.s", "map.n", "s", "nobody", "t.nobody", "s.nobody"] {
        assert_eq!(told("message Else", "message Other", path), None, "{path}");
    }
    for (from, to, path, why) in [
        ("int32 n = 1", "int32 n = 9", "t.n", "`t.n` has the number 9, and the accepted definition has 1"),
        ("int32 n = 1", "int32 n = 9", "list.n", "`list.n` has the number 9, and the accepted definition has 1"),
        ("int32 n = 1", "int64 n = 1", "map.n", "`map.n` is int64, and in the accepted definition int32"),
        ("int32 n = 1", "int32 m = 1", "t.n", "a.T has no field `n` (t.n)"),
        ("T t = 1", "Else t = 1", "t", "`t` is a.Else, and in the accepted definition a.T"),
        ("repeated T list", "T list", "list.n", "`list` is a.T, and in the accepted definition repeated a.T"),
    ] {
        assert_eq!(told(from, to, path).as_deref(), Some(why));
    }
    // Other fields may change as they like.
    assert_eq!(told("string s = 4", "bytes z = 5", "t.n"), None);
}
