use std::fs;
use std::io::{BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{Entry, File};
use crate::key::Key;
use crate::line::Link;
use crate::scratch::Scratch;
use crate::verify::{What, verify};

/// A folder with an audit file.
struct Folder(Scratch);

impl Folder {
    fn new(name: &str) -> Self {
        Self(Scratch::new(&format!("file-{name}")))
    }

    fn path(&self) -> PathBuf {
        self.0.join("audit.jsonl")
    }

    fn open(&self) -> File {
        File::open(&self.path(), &key(), Link::default()).unwrap()
    }

    fn found(&self, names: &[&str]) -> Vec<What> {
        let files = names.iter().map(|name| {
            let file = fs::File::open(self.0.join(name)).unwrap();
            ((*name).to_owned(), BufReader::new(file))
        });
        verify(files, &key(), None).unwrap().findings.into_iter().map(|finding| finding.what).collect()
    }
}

fn key() -> Key {
    Key::of(&[7; 32]).unwrap()
}

fn write(file: &mut File, events: &[&str]) {
    let entries: Vec<Entry> =
        events.iter().map(|event| Entry::new(format!("\"event\":\"{event}\"").into_bytes())).collect();
    let written = file.write(&entries.iter().collect::<Vec<_>>());
    assert_eq!((written.lines, written.error.map(|error| error.to_string())), (events.len(), None));
}

#[test]
fn a_file_goes_on_where_it_ended() {
    let folder = Folder::new("on");
    write(&mut folder.open(), &["open", "a", "b"]);
    let mut file = folder.open();
    assert_eq!(file.last(), 3);
    write(&mut file, &["open", "stop"]);
    assert_eq!(folder.found(&["audit.jsonl"]), []);
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o137, 0, "not for everybody");
    let other = File::open(&folder.path(), &key(), Link::default()).unwrap_err();
    assert!(other.contains("another process"), "{other}");
}

#[test]
fn a_torn_end_is_kept_and_said() {
    for (at, cut) in [1, 30, 200, 0].into_iter().enumerate() {
        let folder = Folder::new(&format!("torn-{at}"));
        write(&mut folder.open(), &["open", "a", "b", "c"]);
        let octets = fs::read(folder.path()).unwrap();
        let kept = octets.len() - cut;
        fs::write(folder.path(), &octets[..kept]).unwrap();
        let mut file = folder.open();
        write(&mut file, &["open", "stop"]);
        drop(file);
        assert!(fs::read(folder.path()).unwrap().starts_with(&octets[..kept]), "nothing is taken away");
        let found = folder.found(&["audit.jsonl"]);
        match cut {
            // Nothing, or a line break only, was missing.
            0 | 1 => assert_eq!(found, []),
            // Nearly a line.
            30 | 200 => assert!(matches!(found[..], [What::Recovered { .. }]), "{found:?}"),
            _ => {}
        }
    }
}

/// The machine lost power, and the disk has zeros where lines should be; or the very first line is torn.
#[test]
fn other_ends_are_recovered_too() {
    let folder = Folder::new("zeros");
    write(&mut folder.open(), &["open", "a"]);
    fs::OpenOptions::new().append(true).open(folder.path()).unwrap().write_all(&[0; 3_000]).unwrap();
    write(&mut folder.open(), &["open", "stop"]);
    assert_eq!(folder.found(&["audit.jsonl"]), [What::Recovered { octets: 3_001 }]);

    let folder = Folder::new("first");
    fs::write(folder.path(), b"{\"n\":1,\"prev\":\"000").unwrap();
    let mut file = folder.open();
    write(&mut file, &["open", "stop"]);
    assert_eq!(folder.found(&["audit.jsonl"]), [What::Recovered { octets: 19 }]);
}

#[test]
fn what_is_no_file_of_this_key_is_not_written_to() {
    let folder = Folder::new("other");
    write(&mut folder.open(), &["open"]);
    let before = fs::read(folder.path()).unwrap();
    for other in [Key::of(&[8; 32]).unwrap(), Key::none()] {
        let why = File::open(&folder.path(), &other, Link::default()).unwrap_err();
        assert!(why.contains("written with this key"), "{why}");
    }
    assert_eq!(fs::read(folder.path()).unwrap(), before);
    fs::write(folder.path(), b"my diary\n").unwrap();
    assert!(File::open(&folder.path(), &key(), Link::default()).is_err());
    assert!(File::open(&folder.0, &key(), Link::default()).is_err());
}

#[test]
fn another_file_of_the_name_goes_on_with_the_chain() {
    let folder = Folder::new("rotated");
    let mut file = folder.open();
    write(&mut file, &["open", "a"]);
    assert_eq!(file.reopen(), Ok(false));
    fs::rename(folder.path(), folder.0.join("old")).unwrap();
    write(&mut file, &["b"]);
    assert_eq!(file.reopen(), Ok(true));
    assert_eq!(file.last(), 4, "with the line that ends the old one");
    write(&mut file, &["open", "c", "stop"]);
    assert_eq!(folder.found(&["old", "audit.jsonl"]), []);
    assert_eq!(folder.found(&["audit.jsonl"]), [What::Continues { after: 4 }]);
    // Somebody else's lines are not gone on from.
    fs::rename(folder.path(), folder.0.join("older")).unwrap();
    fs::copy(folder.0.join("old"), folder.path()).unwrap();
    assert!(file.reopen().unwrap_err().contains("has lines already"));
    write(&mut file, &["d"]);
}
