//! `audit verify` over anything, and over a genuine file that was edited: it ends without harm, what it tells is bounded, and no edit goes
//! unseen.
//!
//! The input is read twice: as a file, and as edits of four octets each: what, which line, where in it, and a number.
#![no_main]

use std::io::Cursor;

use filter_audit::{Key, Report, What, first_number, verify};
use libfuzzer_sys::fuzz_target;

/// Sealed without a key, so that it could be made anywhere.
const WHOLE: &[u8] = include_bytes!("../seeds/audit_verify/whole");

fuzz_target!(|data: &[u8]| {
    let report = verified(data);
    assert!(report.findings.len() <= 1_000);
    first_number(&mut Cursor::new(data)).unwrap();

    let mut lines: Vec<Vec<u8>> = WHOLE.split_inclusive(|octet| *octet == b'\n').map(<[u8]>::to_vec).collect();
    let numbers = lines.len() as u64;
    for edit in data.chunks_exact(4).take(64) {
        let [what, line, place, number] = [0, 1, 2, 3].map(|at| usize::from(edit[at]));
        if lines.is_empty() {
            break;
        }
        let (line, other) = (line % lines.len(), place % lines.len());
        match what % 6 {
            0 => {
                let place = place % lines[line].len().max(1);
                if let Some(octet) = lines[line].get_mut(place) {
                    *octet ^= u8::try_from(number).unwrap();
                }
            }
            1 => drop(lines.remove(line)),
            2 => lines.swap(line, other),
            3 => lines.insert(other, lines[line].clone()),
            4 => lines.truncate(line),
            _ => lines[line].truncate(place),
        }
    }
    let edited = lines.concat();
    let report = verify([("f".to_owned(), Cursor::new(&edited))], &Key::none(), Some(numbers)).unwrap();
    let torn = report.findings.iter().any(|finding| matches!(finding.what, What::Torn { .. }));
    if edited == WHOLE {
        assert!(report.findings.is_empty(), "{report:?}");
    } else if edited != WHOLE[..WHOLE.len() - 1] {
        // All that may go without a word is the last line break.
        assert!(!report.is_whole() || torn, "{report:?}\n{}", String::from_utf8_lossy(&edited));
    }
});

fn verified(octets: &[u8]) -> Report {
    verify([("f".to_owned(), Cursor::new(octets))], &Key::none(), None).unwrap()
}
