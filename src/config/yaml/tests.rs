use super::*;

fn read(text: &str) -> (Option<Node>, Vec<Problem>) {
    let mut problems = Vec::new();
    let root = parse(text, 0, &mut problems);
    (root, problems)
}

fn only_problem(text: &str) -> String {
    let (root, problems) = read(text);
    assert!(root.is_none());
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

/// The entry under `key`.
fn entry<'a>(node: &'a Node, key: &str) -> &'a Entry {
    let Kind::Map(entries) = &node.kind else { panic!("not a map: {node:?}") };
    entries.find(key).unwrap()
}

fn scalar(text: &str) -> Scalar {
    let (root, problems) = read(&format!("- {text}"));
    assert_eq!(problems, []);
    match root.unwrap().kind {
        Kind::List(mut items) => match items.remove(0).kind {
            Kind::Scalar(scalar) => scalar,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_has_its_place() {
    let (root, problems) = read("# comment\na: 1\nbé:\n  - x\n  -   c: \"d\"\n");
    assert_eq!(problems, []);
    let root = root.unwrap();
    let a = entry(&root, "a");
    assert_eq!(
        (a.key_at, a.value.at),
        (Position { file: 0, line: 2, column: 1 }, Position { file: 0, line: 2, column: 4 })
    );
    let Kind::List(items) = &entry(&root, "bé").value.kind else { panic!() };
    assert_eq!(items[0].at, Position { file: 0, line: 4, column: 5 });
    assert_eq!(entry(&items[1], "c").value.at, Position { file: 0, line: 5, column: 10 });
}

#[test]
fn windows_line_ends_and_byte_order_marks_do_no_harm() {
    let (root, problems) = read("\u{feff}a: 1\r\nb:\r\n  c: x y\r\n");
    assert_eq!(problems, []);
    let root = root.unwrap();
    let c = entry(&entry(&root, "b").value, "c");
    assert_eq!(c.value.at, Position { file: 0, line: 3, column: 6 });
    assert!(matches!(&c.value.kind, Kind::Scalar(scalar) if scalar.text == "x y"));
}

#[test]
fn reads_plain_values_as_yaml_1_2() {
    for (text, integer, number) in [
        ("12", Some(12), Some(12.0)),
        ("-3", Some(-3), Some(-3.0)),
        ("0x1F", Some(31), None),
        ("0o17", Some(15), None),
        ("010", Some(10), Some(10.0)),
        ("1e3", None, Some(1000.0)),
        (".5", None, Some(0.5)),
        (".inf", None, None),
        (".nan", None, None),
        ("infinity", None, None),
        ("1_000", None, None),
        ("\"12\"", None, None),
        ("--1", None, None),
    ] {
        let scalar = scalar(text);
        assert_eq!((scalar.as_integer(), scalar.as_number()), (integer, number), "{text}");
    }
    for (text, truth) in [("true", Some(true)), ("False", Some(false)), ("yes", None), ("on", None), ("'true'", None)] {
        assert_eq!(scalar(text).as_bool(), truth, "{text}");
    }
    for (text, null) in [("~", true), ("null", true), ("''", false), ("nil", false)] {
        assert_eq!(scalar(text).is_null(), null, "{text}");
    }
}

#[test]
fn nothing_expands() {
    let mut bomb = "a: &a [x, x]\n".to_owned();
    for (this, last) in ('b'..='z').zip('a'..) {
        bomb.push_str(&format!("{this}: &{this} [*{last}, *{last}, *{last}, *{last}]\n"));
    }
    assert!(only_problem(&bomb).contains("anchors"));
    assert!(only_problem("a: *b").contains("aliases"));
    assert!(only_problem("a:\n  <<: {b: 1}").contains("merge keys"));
}

#[test]
fn depth_is_bounded() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        let nested = |depth: usize| format!("{}x{}\n", open.repeat(depth), close.repeat(depth));
        assert_eq!(read(&nested(MOST_DEPTH)).1, [], "{open}");
        assert!(only_problem(&nested(MOST_DEPTH + 1)).contains("inside each other"), "{open}");
        // Neither the parser nor dropping what it made overflows the stack.
        only_problem(&nested(200_000));
    }
}

#[test]
fn size_is_bounded() {
    assert!(only_problem(&"# comment\n".repeat(MOST_BYTES / 10 + 1)).contains("bytes"));
}

/// What takes time in the square of the file's length would take minutes here.
#[test]
fn long_files_take_linear_time() {
    let started = tokio::time::Instant::now();
    let many_keys: String = (0..100_000).map(|number| format!("key{number}: 1\n")).collect();
    assert_eq!(read(&many_keys).1, []);
    let twice = format!("{many_keys}{many_keys}");
    assert_eq!(read(&twice).1.len(), 100_000);
    let flow = format!("[{}]", "{a: [b]}, ".repeat(100_000));
    assert_eq!(read(&flow).1, []);
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
}
