use std::io::Cursor;
use std::time::UNIX_EPOCH;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Finding, Report, What, first_number, verify};
use crate::key::Key;
use crate::line::{Link, Torn, write};

fn key() -> Key {
    Key::of(&[7; 32]).unwrap()
}

/// A file as the writer makes it, line by line.
struct Made {
    key: Key,
    last: Link,
    lines: Vec<Vec<u8>>,
}

impl Made {
    fn new(key: &Key, last: Link) -> Self {
        let mut made = Self { key: key.clone(), last, lines: Vec::new() };
        let id = key.id().map_or("null".to_owned(), |id| format!("\"{id}\""));
        made.line(&format!("\"event\":\"open\",\"format\":1,\"key\":{id}"));
        made
    }

    fn line(&mut self, fields: &str) {
        let mut line = Vec::new();
        self.last = write(&mut line, &self.key, self.last, UNIX_EPOCH, fields.as_bytes());
        self.lines.push(line);
    }

    fn calls(&mut self, calls: usize) {
        for call in 0..calls {
            self.line(&format!("\"event\":\"begin\",\"call\":\"{call}\""));
        }
    }

    fn whole(key: &Key, calls: usize) -> Self {
        let mut made = Self::new(key, Link::default());
        made.calls(calls);
        made.line("\"event\":\"stop\"");
        made
    }
}

fn report_with<T: AsRef<[u8]>>(files: &[T], key: &Key, last: Option<u64>) -> Report {
    let files = files.iter().enumerate().map(|(at, octets)| (at.to_string(), Cursor::new(octets.as_ref().to_vec())));
    verify(files, key, last).unwrap()
}

fn report(lines: &[Vec<u8>]) -> Report {
    report_with(&[lines.concat()], &key(), None)
}

fn found(report: &Report) -> Vec<(u64, What)> {
    report.findings.iter().map(|Finding { line, what, .. }| (*line, what.clone())).collect()
}

#[test]
fn what_is_whole_is_found_whole() {
    for key in [key(), Key::none()] {
        let made = Made::whole(&key, 10);
        let report = report_with(&[made.lines.concat()], &key, Some(12));
        assert_eq!((report.is_whole(), report.lines, report.last), (true, 12, 12), "{report:?}");
        assert!(report.findings.is_empty());
    }
}

#[test]
fn a_changed_line_is_told_from_a_missing_one() {
    let made = Made::whole(&key(), 10).lines;
    let mut changed = made.clone();
    let at = changed[4].windows(5).position(|part| part == b"begin").unwrap();
    changed[4][at] = b'B';
    assert_eq!(found(&report(&changed)), [(5, What::Changed)]);
    let mut seal = made.clone();
    let end = seal[4].len() - 5;
    seal[4][end] = if seal[4][end] == b'0' { b'1' } else { b'0' };
    assert_eq!(found(&report(&seal)), [(5, What::Changed)]);
    let mut garbage = made.clone();
    garbage[4] = b"what is this\n".to_vec();
    assert_eq!(found(&report(&garbage)), [(5, What::Changed)]);

    let mut missing = made.clone();
    missing.drain(4..6);
    assert_eq!(found(&report(&missing)), [(5, What::Missing { from: 5, to: 6 })]);
    let mut first = made.clone();
    first.drain(..2);
    assert_eq!(found(&report(&first)), [(1, What::Missing { from: 1, to: 2 })]);
    let mut both = changed;
    both.remove(6);
    assert_eq!(found(&report(&both)), [(5, What::Changed), (7, What::Missing { from: 7, to: 7 })]);
    both.remove(5);
    assert_eq!(found(&report(&both)), [(5, What::Changed), (6, What::Missing { from: 6, to: 7 })]);
}

#[test]
fn lines_in_another_order_are_told_from_missing_ones() {
    let made = Made::whole(&key(), 10).lines;
    let mut swapped = made.clone();
    swapped.swap(4, 5);
    assert_eq!(found(&report(&swapped)), [(5, What::Reordered { number: 5 }), (6, What::Reordered { number: 5 })]);
    let mut twice = made.clone();
    twice.insert(7, made[4].clone());
    assert_eq!(found(&report(&twice)), [(8, What::Reordered { number: 5 })]);
    let mut moved = made.clone();
    let line = moved.remove(3);
    moved.insert(8, line);
    let moved = report(&moved);
    assert!(
        !moved.is_whole() && moved.findings.iter().all(|one| matches!(one.what, What::Reordered { number: 4 })),
        "{moved:?}"
    );
}

#[test]
fn a_cut_tail_shows_against_a_number_or_the_next_file() {
    let mut first = Made::new(&key(), Link::default());
    first.calls(8);
    let mut second = Made::new(&key(), first.last);
    second.line("\"event\":\"stop\"");
    let (first, second) = (first.lines, second.lines.concat());
    let whole = report_with(&[first.concat(), second.clone()], &key(), None);
    assert!(whole.findings.is_empty(), "{whole:?}");

    let cut = first[..6].concat();
    assert_eq!(found(&report_with(&[&cut], &key(), None)), [(0, What::Open)], "it could be running");
    assert_eq!(found(&report_with(&[&cut], &key(), Some(6))), []);
    assert_eq!(found(&report_with(&[&cut], &key(), Some(9))), [(0, What::CutTail { last: 6, wanted: 9 })]);
    let report = report_with(&[cut, second.clone()], &key(), None);
    let wanted = Finding { file: "0".into(), line: 0, what: What::CutTail { last: 6, wanted: 9 } };
    assert_eq!(report.findings, [wanted]);
    // A file that was closed lacks nothing at its end: there was another one.
    let mut closed = Made::new(&key(), Link::default());
    closed.line("\"event\":\"rotated\"");
    let later = Made::new(&key(), Link { number: 7, ..closed.last });
    let report = report_with(&[closed.lines.concat(), later.lines.concat()], &key(), Some(8));
    let wanted = Finding { file: "1".into(), line: 1, what: What::Missing { from: 3, to: 7 } };
    assert_eq!(report.findings, [wanted]);
    // Without the file before it, a file says that there was one.
    assert_eq!(found(&report_with(&[second], &key(), None)), [(1, What::Continues { after: 9 })]);
}

#[test]
fn a_torn_line_is_told_whether_it_was_recovered_or_not() {
    let mut made = Made::new(&key(), Link::default());
    made.calls(3);
    let torn = made.lines[3][..40].to_vec();
    let last = made.last;
    made.lines.push(torn.clone());
    assert_eq!(found(&report(&made.lines)), [(5, What::Torn { octets: 40 })]);

    made.lines.push(b"\n".to_vec());
    let Torn { octets, sha256 } = Torn::of(&[torn.as_slice(), b"\n"].concat());
    made.last = last;
    made.line(&format!("\"event\":\"recovered\",\"torn\":{{\"octets\":{octets},\"sha256\":\"{sha256}\"}}"));
    made.line("\"event\":\"stop\"");
    let recovered = report(&made.lines);
    assert_eq!((found(&recovered), recovered.is_whole()), (vec![(5, What::Recovered { octets: 41 })], true));
    // What was torn is sealed by what follows it.
    made.lines[4][20] ^= 1;
    let changed = report(&made.lines);
    assert_eq!((found(&changed), changed.is_whole()), (vec![(5, What::Changed)], false));
}

#[test]
fn another_key_is_told_from_changes() {
    let made = Made::whole(&key(), 5).lines.concat();
    for other in [Key::of(&[8; 32]).unwrap(), Key::none()] {
        assert_eq!(found(&report_with(&[&made], &other, Some(100))), [(0, What::WrongKey)]);
    }
    let keyless = Made::whole(&Key::none(), 5).lines.concat();
    assert_eq!(found(&report_with(&[keyless], &key(), None)), [(0, What::WrongKey)]);
    // The opening line was changed to name this key: it is no more genuine than the rest.
    let other = Key::of(&[8; 32]).unwrap();
    let renamed = String::from_utf8(made).unwrap().replace(&key().id().unwrap(), &other.id().unwrap());
    assert!(found(&report_with(&[renamed.into_bytes()], &other, None)).iter().all(|(_, what)| *what == What::Changed));
    assert_eq!(found(&report_with(&[Vec::new()], &key(), None)), [(0, What::Empty)]);
    assert_eq!(found(&report_with(&[b"hello\n".to_vec()], &key(), None)), [(1, What::Changed)]);
}

#[test]
fn two_histories_are_told() {
    let mut made = Made::new(&key(), Link::default());
    made.calls(3);
    let mut other = Made::new(&key(), Link::default());
    other.line("\"event\":\"begin\",\"call\":\"x\"");
    other.calls(3);
    made.lines.push(other.lines[4].clone());
    assert_eq!(found(&report(&made.lines))[0], (5, What::Forked { number: 5 }));
}

#[test]
fn what_was_lost_is_told() {
    let mut made = Made::new(&key(), Link::default());
    made.line("\"event\":\"gap\",\"lost\":7");
    made.line("\"event\":\"stop\"");
    let report = report(&made.lines);
    assert_eq!((found(&report), report.is_whole()), (vec![(2, What::Lost { lines: 7 })], true));
}

#[test]
fn files_are_put_in_order_by_their_first_number() {
    let made = Made::whole(&key(), 3).lines.concat();
    assert_eq!(first_number(&mut Cursor::new(&made)).unwrap(), Some(1));
    assert_eq!(first_number(&mut Cursor::new([&b"torn\n"[..], &made[..]].concat())).unwrap(), Some(1));
    assert_eq!(first_number(&mut Cursor::new(b"nothing")).unwrap(), None);
}

/// Whatever is done to a file, it is told; what is told is bounded, and so is what is kept.
#[test]
fn no_damage_goes_unseen() {
    let made = Made::whole(&key(), 30).lines;
    let last = made.len() as u64;
    for seed in 0..6_000 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut lines = made.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..lines.len());
            let other = random.random_range(0..lines.len());
            if lines[at].is_empty() {
                continue;
            }
            match random.random_range(0..8) {
                0 => {
                    let octet = random.random_range(0..lines[at].len());
                    lines[at][octet] ^= 1 << random.random_range(0..8);
                }
                1 => drop(lines.remove(at)),
                2 => lines.swap(at, other),
                3 => lines.insert(other, lines[at].clone()),
                4 => lines.truncate(at.max(1)),
                5 => {
                    let length = random.random_range(0..lines[at].len());
                    lines[at].truncate(length);
                }
                6 => lines.insert(at, (0..random.random_range(1..200)).map(|_| random.random::<u8>()).collect()),
                _ => {
                    let from = random.random_range(0..lines[at].len());
                    lines[at].remove(from);
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        let octets = lines.concat();
        let report = report_with(&[&octets], &key(), Some(last));
        if octets == made.concat() {
            assert!(report.findings.is_empty(), "seed {seed}: {report:?}");
        } else {
            let seen = !report.is_whole() || report.findings.iter().any(|one| matches!(one.what, What::Torn { .. }));
            // All that may be lost without a word is the last line break.
            assert!(seen || octets == made.concat()[..made.concat().len() - 1], "seed {seed}: {report:?}");
        }
    }
}

#[test]
fn a_file_of_anything_is_read_in_bounds() {
    for seed in 0..300 {
        let mut random = SmallRng::seed_from_u64(seed);
        let octets: Vec<u8> =
            (0..random.random_range(0..5_000)).map(|_| b"{}\":,\n0n a"[random.random_range(0..10)]).collect();
        report_with(&[octets], &key(), None);
    }
    let long = vec![b'x'; 3 * 256 * 1_024 + 5];
    assert_eq!(found(&report_with(&[[&long[..], b"\n"].concat()], &key(), None)), [(1, What::Changed)]);
    let many = report_with(&[Made::whole(&Key::none(), 5).lines.concat().repeat(500)], &Key::none(), None);
    assert_eq!((many.findings.len(), many.is_whole()), (1_000, false));
    assert!(many.more > 2_000, "{}", many.more);
}
