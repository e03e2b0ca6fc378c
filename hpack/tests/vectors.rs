//! The stories of http2jp/hpack-test-case: what fourteen encoders wrote reads as their lists, and the lists, written by us, read as
//! the same to us and to two others. `vectors/README.md` says where they come from, and how to run over all of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy only knows inside of tests")]

mod support;

use hpack::{Decoder, Encoder, Error};
use serde_json::Value;
use std::path::{Path, PathBuf};
use support::others::{Others, Pairs, pairs};
use support::{Owned, decode, encode, hex};

/// The header blocks of one direction of one connection.
struct Story {
    /// Its folder and file.
    name: String,
    cases: Vec<Case>,
}

/// One header block.
struct Case {
    /// The decoder's SETTINGS_HEADER_TABLE_SIZE from this block on.
    table: Option<usize>,
    wire: Vec<u8>,
    list: Vec<Owned>,
}

#[test]
fn what_others_wrote_reads_as_their_lists() {
    for Story { name, cases } in stories() {
        let mut decoder = Decoder::new();
        for (number, case) in cases.iter().enumerate() {
            if let Some(size) = case.table {
                decoder.set_table_size(size);
            }
            assert_eq!(read(&mut decoder, &case.wire), Ok(pairs(&case.list)), "{name}, {number}");
        }
    }
}

#[test]
fn what_we_write_of_them_reads_as_the_same_to_everybody() {
    for Story { name, cases } in stories() {
        let (mut encoder, mut decoder, mut others) = (Encoder::default(), Decoder::new(), Others::new());
        for (number, case) in cases.iter().enumerate() {
            if let Some(size) = case.table {
                encoder.set_peer_table_size(size);
                decoder.set_table_size(size);
            }
            let block = encode(&mut encoder, &case.list);
            assert_eq!(read(&mut decoder, &block), Ok(pairs(&case.list)), "{name}, {number}");
            others.assert_read(&block, &case.list, &format!("{name}, {number}"));
        }
    }
}

/// What our decoder makes of a block. The stories do not say which fields must stay out of tables, so that is left out.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Pairs, Error> {
    decode(decoder, block).map(|list| pairs(&list))
}

/// Every story of every folder, in the order of their names.
fn stories() -> impl Iterator<Item = Story> {
    let root = std::env::var_os("HPACK_STORIES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), PathBuf::from);
    let folders = entries(&root).into_iter().filter(|path| path.is_dir());
    let files: Vec<PathBuf> = folders.flat_map(|folder| entries(&folder)).collect();
    assert!(files.len() >= 63, "{} stories in {}", files.len(), root.display());
    files.into_iter().map(|file| story(&file))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn story(file: &Path) -> Story {
    let name = file.display().to_string();
    let json: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases: Vec<Case> = json["cases"].as_array().unwrap().iter().map(case).collect();
    assert!(!cases.is_empty(), "{name}");
    Story { name, cases }
}

fn case(json: &Value) -> Case {
    // Each field is an object of its own, since names come more than once.
    let fields = json["headers"].as_array().unwrap().iter().flat_map(|field| field.as_object().unwrap());
    Case {
        // Not all write it, and some write null.
        table: json["header_table_size"].as_u64().map(|size| size as usize),
        wire: hex(json["wire"].as_str().unwrap()),
        list: fields.map(|(name, value)| Owned::new(name.as_bytes(), value.as_str().unwrap().as_bytes())).collect(),
    }
}
