use super::{Change, diff};
use crate::schema::tests::compile::with;

const BASE: &str = "message R { T t = 1; E e = 2; oneof o { string x = 3; string y = 4; } map<string, T> m = 5; }
    message T { int32 n = 1; repeated string many = 2; optional string maybe = 3; }
    enum E { E_ZERO = 0; E_ONE = 1; }
    service Other { rpc A(R) returns (R); rpc B(R) returns (R); }";

fn told(changes: &[Change]) -> Vec<String> {
    let one = |change: &Change| {
        let Change { kind, name, what, detail, breaking } = change;
        let breaks = if *breaking { "breaks" } else { "fine" };
        format!("{kind} {name} {}: {detail} ({breaks})", what.as_str())
    };
    changes.iter().map(one).collect()
}

#[test]
fn each_kind_of_change_is_told_with_whether_it_breaks() {
    let table: &[(&str, &str, &[&str])] = &[
        ("T t = 1", "T t = 1; string new = 9", &["field a.R.new added: number 9, string (fine)"]),
        ("int32 n = 1;", "", &["field a.T.n removed: number 1 (fine)"]),
        ("int32 n = 1;", "int32 n = 7;", &["field a.T.n renumbered: 1, now 7 (breaks)"]),
        ("int32 n = 1;", "int32 num = 1;", &["field a.T.n renamed: now `num`, both number 1 (fine)"]),
        ("int32 n = 1;", "string num = 1;", &["field a.T.n renamed: now `num`, both number 1 (breaks)"]),
        ("int32 n = 1;", "uint32 n = 1;", &["field a.T.n retyped: int32, now uint32 (fine)"]),
        ("int32 n = 1;", "E n = 1;", &["field a.T.n retyped: int32, now a.E (fine)"]),
        ("int32 n = 1;", "sint32 n = 1;", &["field a.T.n retyped: int32, now sint32 (breaks)"]),
        (
            "int32 n = 1;",
            "T n = 1;",
            &["field a.T.n presence: implicit, now optional (fine)", "field a.T.n retyped: int32, now a.T (breaks)"],
        ),
        ("int32 n = 1;", "repeated int32 n = 1;", &["field a.T.n cardinality: int32, now repeated int32 (breaks)"]),
        ("repeated string many", "string many", &["field a.T.many cardinality: repeated string, now string (breaks)"]),
        ("optional string maybe", "string maybe", &["field a.T.maybe presence: optional, now implicit (fine)"]),
        (
            "map<string, T> m",
            "map<string, E> m",
            &["field a.R.m retyped: map<string, a.T>, now map<string, a.E> (breaks)"],
        ),
        (
            "string y = 4; }",
            "} string y = 4;",
            &["field a.R.y oneof: `o`, now none (breaks)", "field a.R.y presence: optional, now implicit (fine)"],
        ),
        ("E_ONE = 1", "E_ONE = 2", &["value a.E.E_ONE renumbered: 1, now 2 (breaks)"]),
        ("E_ONE = 1", "E_UNO = 1", &["value a.E.E_ONE renamed: now `E_UNO`, both number 1 (fine)"]),
        ("E_ONE = 1;", "", &["value a.E.E_ONE removed: number 1 (fine)"]),
        ("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;", &["value a.E.E_TWO added: number 2 (fine)"]),
        ("rpc A(R) returns (R);", "", &["method a.Other/A removed:  (breaks)"]),
        ("rpc A(R)", "rpc C(R) returns (R); rpc A(R)", &["method a.Other/C added:  (fine)"]),
        ("rpc A(R)", "rpc A(T)", &["method a.Other/A retyped: (a.R) → a.R, now (a.T) → a.R (breaks)"]),
        ("rpc A(R)", "rpc A(stream R)", &["method a.Other/A cardinality: unary, now client streaming (breaks)"]),
        ("service Other", "service New { rpc A(R) returns (R); }\nservice Other", &["service a.New added:  (fine)"]),
        (
            "service Other",
            "service Another",
            &["service a.Another added:  (fine)", "service a.Other removed:  (breaks)"],
        ),
        // Two that swap their numbers.
        (
            "int32 n = 1; repeated string many = 2;",
            "int32 n = 2; repeated string many = 1;",
            &["field a.T.many renumbered: 2, now 1 (breaks)", "field a.T.n renumbered: 1, now 2 (breaks)"],
        ),
        // One moves away, and another takes its number.
        (
            "int32 n = 1;",
            "int32 n = 7; int32 secret = 1;",
            &["field a.T.n renumbered: 1, now 7 (breaks)", "field a.T.secret added: number 1, int32 (breaks)"],
        ),
    ];
    let base = with(BASE);
    for (from, to, wanted) in table {
        assert!(BASE.contains(from), "{from}");
        let changed = with(&BASE.replacen(from, to, 1));
        let found = diff(&base, &changed, 100);
        let mut changes = told(&found.changes);
        changes.sort();
        assert_eq!((changes, found.left_off), (wanted.iter().map(|one| (*one).to_owned()).collect(), 0));
    }
    assert_eq!(diff(&base, &with(&format!("// A word.\n{BASE}")), 9).changes, []);
}

#[test]
fn what_breaks_is_told_of_first_where_there_is_no_room() {
    let fields: String = (1..50).map(|n| format!("string f{n} = {n};")).collect();
    let (before, after) =
        (with("message R { int32 z = 99; }"), with(&format!("message R {{ {fields} int32 z = 98; }}")));
    let found = diff(&before, &after, 3);
    assert_eq!((found.changes.len(), found.left_off), (3, 47));
    assert!(told(&found.changes).contains(&"field a.R.z renumbered: 99, now 98 (breaks)".to_owned()));
}
