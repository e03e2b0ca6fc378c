use std::collections::BTreeSet;
use std::sync::Arc;

use buffa::DecodeOptions;

use super::{Catalog, CatalogBounds, Excerpt, FileDescriptorProto, Part};
use crate::schema::from_octets;
use crate::schema::tests::compile::set_of;

fn part(files: &[(&str, &str)], services: &[&str]) -> Part {
    let dialect = |text: &str| {
        if text.contains("extend M") || text.contains("extensions") {
            text.to_string()
        } else {
            format!("syntax = 'proto3'; {text}")
        }
    };
    let texts: Vec<_> = files.iter().map(|(name, text)| (*name, dialect(text))).collect();
    let texts: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let schema = Arc::new(from_octets(&set_of(&texts)).unwrap());
    assert!(schema.problems().is_empty(), "{:?}", schema.problems());
    Part { schema, services: services.iter().map(ToString::to_string).collect() }
}

fn of(parts: &[Part]) -> Catalog {
    let catalog = Catalog::of(parts, CatalogBounds::default());
    assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
    catalog
}

fn file(catalog: &Catalog, place: usize) -> FileDescriptorProto {
    DecodeOptions::new().decode_from_slice(catalog.at(place).unwrap().0).unwrap()
}

fn home(catalog: &Catalog, symbol: &str) -> String {
    file(catalog, catalog.symbol(symbol).unwrap()).name.unwrap()
}

/// All names that can be reached from a symbol's file.
fn closure(catalog: &Catalog, symbol: &str) -> BTreeSet<String> {
    let (mut open, mut seen) = (vec![catalog.symbol(symbol).unwrap()], BTreeSet::new());
    while let Some(place) = open.pop() {
        let (_, imports) = catalog.at(place).unwrap();
        let known: Vec<String> = imports.iter().map(|import| file(catalog, *import).name.unwrap()).collect();
        assert_eq!(file(catalog, place).dependency, known, "imports are named as they are served");
        if seen.insert(file(catalog, place).name.unwrap()) {
            open.extend(imports);
        }
    }
    seen
}

const COMMON: &str =
    "package c; message M { int32 n = 1; oneof which { string a = 2; M b = 3; } enum E { ZERO = 0; } }";
const ONE: &str = "package p; import 'common.proto'; service One { rpc Do(c.M) returns (c.M); } service Hid { rpc Do(c.M) returns (c.M); }";
const TWO: &str = "package p; import 'common.proto'; service Two { rpc Do(c.M) returns (c.M); }";

#[test]
fn every_name_is_found_and_services_that_are_not_served_are_not() {
    let catalog = of(&[part(&[("common.proto", COMMON), ("one.proto", ONE)], &["p.One"])]);
    assert_eq!(catalog.services().collect::<Vec<_>>(), ["p.One"]);
    for (symbol, name) in [
        ("p.One", "one.proto"),
        (".p.One", "one.proto"),
        ("p.One.Do", "one.proto"),
        ("c.M", "common.proto"),
        ("c.M.n", "common.proto"),
        ("c.M.which", "common.proto"),
        ("c.M.E", "common.proto"),
        ("c.M.ZERO", "common.proto"),
    ] {
        assert_eq!(home(&catalog, symbol), name, "{symbol}");
    }
    for unknown in ["p.Hid", "p.Hid.Do", "p", "c", "c.M.x", "", "p.one"] {
        assert_eq!(catalog.symbol(unknown), None, "{unknown}");
    }
    let one = file(&catalog, catalog.file("one.proto").unwrap());
    assert_eq!(one.service.len(), 1, "what is not served is not told of");
    assert_eq!((catalog.file("two.proto"), catalog.file("c")), (None, None));
}

#[test]
fn files_that_are_the_same_are_one_and_others_get_another_name() {
    let other = COMMON.replace("int32 n = 1", "int64 n = 1");
    let first = part(&[("common.proto", COMMON), ("one.proto", ONE)], &["p.One"]);
    let same = part(&[("common.proto", COMMON), ("two.proto", TWO)], &["p.Two"]);
    let catalog = of(&[first.clone(), same]);
    assert!(closure(&catalog, "p.Two").contains("common.proto"));

    let differs = part(&[("common.proto", &other), ("two.proto", TWO)], &["p.Two"]);
    let catalog = of(&[first.clone(), differs.clone()]);
    assert!(closure(&catalog, "p.One").contains("common.proto"));
    let two = closure(&catalog, "p.Two");
    assert_eq!(two, BTreeSet::from(["portunus/2/common.proto".to_owned(), "two.proto".to_owned()]));
    assert_eq!(home(&catalog, "c.M"), "common.proto", "a type is as the first defines it");
    let renamed = file(&catalog, catalog.file("portunus/2/common.proto").unwrap());
    assert_eq!(renamed.message_type[0].field[0].number, Some(1));

    // A third that is as the second needs no name of its own.
    let third = part(&[("common.proto", &other), ("three.proto", &TWO.replace("Two", "Three"))], &["p.Three"]);
    let catalog = of(&[first, differs, third]);
    assert!(closure(&catalog, "p.Three").contains("portunus/2/common.proto"));
    assert_eq!(catalog.file("portunus/3/common.proto"), None);
}

#[test]
fn a_service_is_as_its_own_schema_defines_it() {
    let both = "package p; message R { int32 n = 1; } service A { rpc Do(R) returns (R); } service B { rpc Do(R) returns (R); }";
    let other = both.replace("int32 n = 1", "int32 n = 7");
    let (one, two) = (part(&[("p.proto", both)], &["p.A"]), part(&[("p.proto", &other)], &["p.B"]));
    let catalog = of(&[one.clone(), two]);
    assert_eq!(catalog.services().collect::<Vec<_>>(), ["p.A", "p.B"]);
    assert_eq!((home(&catalog, "p.A"), home(&catalog, "p.B")), ("p.proto".into(), "portunus/2/p.proto".into()));
    let b = file(&catalog, catalog.symbol("p.B").unwrap());
    assert_eq!(b.message_type[0].field[0].number, Some(7));
    assert_eq!(b.service.len(), 1, "whoever has this file must not take A from it");
    // Where the content is the same there is one file for both.
    let catalog = of(&[one.clone(), Part { services: ["p.B".to_owned()].into(), ..one }]);
    assert_eq!((home(&catalog, "p.A"), home(&catalog, "p.B")), ("p.proto".into(), "p.proto".into()));
}

#[test]
fn extensions_are_found_with_the_messages_that_they_extend() {
    let base = "package e; message M { extensions 100 to 200; } message N {} service S { rpc Do(M) returns (M); }";
    let more = "package e; import 'base.proto'; extend M { optional string x = 101; optional int32 y = 100; }";
    let stranger = "package f; message Z { extensions 1 to 9; } extend Z { optional int32 z = 1; }";
    let files = [("base.proto", base), ("more.proto", more), ("stranger.proto", stranger)];
    let catalog = of(&[part(&files, &["e.S"])]);
    assert_eq!(catalog.extension_numbers("e.M"), Some(vec![100, 101]));
    assert_eq!((catalog.extension_numbers("e.N"), catalog.extension_numbers("f.Z")), (Some(vec![]), None));
    assert_eq!(catalog.extension("e.M", 101), catalog.file("more.proto"));
    assert_eq!((catalog.extension("e.M", 102), catalog.extension("e.N", 1)), (None, None));
    assert_eq!(home(&catalog, "e.x"), "more.proto");
}

#[test]
fn what_is_too_much_is_left_out_whole_and_said() {
    let first = part(&[("common.proto", COMMON), ("one.proto", ONE)], &["p.One"]);
    let second = part(&[("common.proto", COMMON), ("x.proto", &TWO.replace("p;", "q;"))], &["q.Two"]);
    for bounds in [CatalogBounds { files: 2, ..Default::default() }, CatalogBounds { bytes: 200, ..Default::default() }]
    {
        let catalog = Catalog::of(&[first.clone(), second.clone()], bounds);
        assert_eq!(catalog.services().collect::<Vec<_>>(), ["p.One"], "{bounds:?}");
        assert_eq!(catalog.problems().len(), 1);
        assert!(catalog.problems()[0].starts_with("q.Two cannot be described: all schemas together have over"));
        assert_eq!((catalog.file("x.proto"), catalog.symbol("q.Two")), (None, None));
    }
}

fn excerpt(catalog: &Arc<Catalog>, services: &[&str]) -> Excerpt {
    Excerpt::of(Arc::clone(catalog), &services.iter().map(ToString::to_string).collect())
}

#[test]
fn an_excerpt_has_what_its_services_need_and_nothing_of_the_others() {
    let both = "package p; import 'common.proto'; service One { rpc Do(c.M) returns (c.M); } service Hid { rpc No(X) returns (X); } message X {}";
    let other = "package q; import 'common.proto'; import 'mine.proto'; service Two { rpc Do(m.Y) returns (c.M); }";
    let files =
        [("common.proto", COMMON), ("mine.proto", "package m; message Y {}"), ("p.proto", both), ("q.proto", other)];
    let catalog = Arc::new(of(&[part(&files, &["p.One", "p.Hid", "q.Two"])]));
    let methods: Vec<_> = catalog.methods().map(|(name, methods)| format!("{name} {methods:?}")).collect();
    assert_eq!(methods, ["p.Hid [\"No\"]", "p.One [\"Do\"]", "q.Two [\"Do\"]"]);
    let one = excerpt(&catalog, &["p.One", "nobody.Knows"]);
    assert_eq!(one.services().collect::<Vec<_>>(), ["p.One"]);
    for (symbol, name) in [("p.One", "p.proto"), (".p.One.Do", "p.proto"), ("c.M", "common.proto"), ("p.X", "p.proto")]
    {
        let place = one.symbol(symbol).unwrap();
        let file: FileDescriptorProto = DecodeOptions::new().decode_from_slice(&one.at(place).unwrap().0).unwrap();
        assert_eq!(file.name.as_deref(), Some(name), "{symbol}");
        let services: Vec<_> = file.service.iter().map(|service| service.name.clone().unwrap()).collect();
        assert_eq!(services.len(), usize::from(name == "p.proto"), "{services:?}");
    }
    for unknown in ["p.Hid", ".p.Hid", "p.Hid.No", "q.Two", "q.Two.Do", "m.Y"] {
        assert_eq!(one.symbol(unknown), None, "{unknown}");
    }
    for (name, shown) in [("p.proto", true), ("common.proto", true), ("q.proto", false), ("mine.proto", false)] {
        assert_eq!(one.file(name).is_some(), shown, "{name}");
        let place = catalog.file(name).unwrap();
        assert_eq!(one.at(place).is_some(), shown, "{name} by its place");
        if let Some((_, imports)) = one.at(place) {
            assert!(imports.iter().all(|import| one.at(*import).is_some()), "{name} imports what is shown");
        }
    }
    let all = excerpt(&catalog, &["p.One", "p.Hid", "q.Two"]);
    assert!(all.symbol("p.Hid.No").is_some() && all.file("mine.proto").is_some());
    let place = catalog.file("p.proto").unwrap();
    assert_eq!(all.at(place).unwrap().0, *catalog.at(place).unwrap().0);
    let none = excerpt(&catalog, &[]);
    assert_eq!((none.services().count(), none.symbol("c.M"), none.file("common.proto")), (0, None, None));
}

#[test]
fn an_excerpt_has_the_extensions_of_what_it_has() {
    let base = "package e; message M { extensions 100 to 200; } service S { rpc Do(M) returns (M); }";
    let more = "package e; import 'base.proto'; extend M { optional string x = 101; } message Z { extensions 1 to 9; } service T { rpc Do(Z) returns (Z); }";
    let last = "package f; import 'more.proto'; extend e.Z { optional string y = 1; }";
    let files = [("base.proto", base), ("more.proto", more), ("last.proto", last)];
    let catalog = Arc::new(of(&[part(&files, &["e.S", "e.T"])]));
    let of_s = excerpt(&catalog, &["e.S"]);
    assert_eq!(of_s.extension_numbers("e.M"), Some(vec![101]));
    assert_eq!(of_s.extension("e.M", 101), catalog.file("more.proto"));
    assert!(of_s.extension("e.Z", 1).is_some(), "e.Z stands in a file that is shown");
    assert_eq!(of_s.symbol("e.T"), None);
    let none = excerpt(&catalog, &[]);
    assert_eq!((none.extension_numbers("e.M"), none.extension("e.M", 101)), (None, None));
}
