//! The deepest and the longest expressions that are taken, on the stack that a worker has.

use portunus::expr::{MAX_COST, MOST_OCTETS};
use portunus::schema::Meter;

use crate::support::{Call, program_within};

/// What tokio gives a worker, and Rust a thread.
const STACK: usize = 2 * 1024 * 1024;

/// What becomes of a text, on such a stack. Overflowing it would end the test run.
fn on_a_worker(text: String) -> Result<(), String> {
    let worker = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let program = program_within(&text, u64::MAX)?;
        let call = Call::new();
        program.run(&&call, &mut Meter::new(MAX_COST)).map(drop).map_err(|failure| failure.to_string())
    });
    worker.unwrap().join().unwrap()
}

/// A text of so many of the same.
fn repeated((begin, with, end): (&str, &str, &str), times: usize) -> String {
    format!("{begin}{}{end}", with.repeat(times))
}

const NESTED: &str = "nested deeper than";
const CHAINED: &str = "in a row";

/// Asserts that as many as fit an expression are refused in these words, and that the most which are not are no harm.
fn bounded(rows: &[(&str, &str, &str)], words: &str) {
    for row in rows {
        let most = (MOST_OCTETS - row.0.len() - row.2.len()) / row.1.len();
        let refused = |times| on_a_worker(repeated(*row, times)).is_err_and(|why| why.contains(words));
        assert!(refused(most), "{row:?}: {:?}", on_a_worker(repeated(*row, most)));
        // The fewest that are refused.
        let (mut fine, mut over) = (1, most);
        while over - fine > 1 {
            let middle = fine.midpoint(over);
            *if refused(middle) { &mut over } else { &mut fine } = middle;
        }
        assert!(fine >= 8, "{row:?}: only {fine} are taken");
    }
}

#[test]
fn nesting_is_bounded() {
    bounded(
        &[
            ("", "!", "true"),
            ("", "-", "message.i32"),
            ("", "! ", "true"),
            ("", "!-", "true"),
            ("", "[", "1"),
            ("", "(", "1"),
            ("", "{1:", "1"),
            ("", "f(", "1"),
            ("", "kinds.Plain{inner:", "1"),
            ("", "true?1:", "1"),
            ("", "true?", "1"),
            ("", "[1,", "1"),
            ("", "[1].map(x,", "1"),
            ("", "message.inners.all(x,", "true"),
            ("", "size(", "a.b"),
            ("", "1+(", "1"),
            ("", "a.b(c[", "1"),
        ],
        NESTED,
    );
    // What is closed as well, which is evaluated.
    for (open, close, times) in
        [("[", "]", 47), ("(", ")", 47), ("{1:", "}", 47), ("[1].map(x,", ")", 47), ("true?(", "):1", 23)]
    {
        let text = format!("{}kinds.Plain{{}}{}", open.repeat(times), close.repeat(times));
        let outcome = on_a_worker(text);
        assert!(outcome.is_ok(), "{open}{close}: {outcome:?}");
    }
}

#[test]
fn chains_are_bounded() {
    bounded(
        &[
            ("", "1+", "1"),
            ("", "1-", "1"),
            ("", "1*", "1"),
            ("", "1<", "1"),
            ("", "1==", "1"),
            ("", "1 in ", "[1]"),
            ("a", ".a", ""),
            ("a", ".a()", ""),
            ("a", "[0]", ""),
            ("[1]", ".map(x,x)", ""),
            ("message", ".inner", ""),
            ("", "'a'+", "'a'"),
            ("", ".", "a"),
            ("", "(1)+", "1"),
            ("", "1+(1+1)+", "1"),
        ],
        CHAINED,
    );
    // Brackets whose heights add up: each stands at the left of a chain.
    let mut tower = "1".to_owned();
    while tower.len() < MOST_OCTETS - 40 {
        tower = format!("({tower}){}", "+1".repeat(10));
    }
    assert!(on_a_worker(tower).is_err_and(|why| why.contains(NESTED) || why.contains(CHAINED)));
    let tower = (0..13).fold("1".to_owned(), |tower, _| format!("({tower}){}", "+1".repeat(10)));
    assert_eq!(on_a_worker(tower), Ok(()));
}

#[test]
fn what_is_only_long_is_no_harm() {
    for (row, fine) in [
        (("", "true&&", "true"), true),
        (("", "true||", "true"), true),
        (("", "true||false&&", "true"), true),
        (("", "1==1&&", "true"), true),
        (("'", "a", "'"), true),
        (("'", "(", "'"), true),
        (("[", "1,", "1]"), true),
        (("[", "-1,", "1]"), true),
        (("", "\n", "1"), true),
        (("//", "(", "\n1"), true),
        (("[", "1,", "1"), false),
        (("", "]", ""), false),
        (("", "\"", ""), false),
        (("", "`", ""), false),
        (("", "1 ", ""), false),
        (("", "a ", ""), false),
        (("", "ä", ""), false),
        (("", "\0", ""), false),
        (("", "'a' ", ""), false),
        (("", "r'\\' ", ""), false),
    ] {
        let most = (MOST_OCTETS - row.0.len() - row.2.len()) / row.1.len();
        let outcome = on_a_worker(repeated(row, most));
        assert_eq!(outcome.is_ok(), fine, "{row:?}: {outcome:?}");
    }
}
