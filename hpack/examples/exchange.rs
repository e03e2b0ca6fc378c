//! Our encoder and decoder behind lines of text, for tests/peers/pypi.py: one line in, one line out.
//!
//! `size N`: both sides' SETTINGS_HEADER_TABLE_SIZE is N → `ok`. `encode NAME VALUE FLAG ...` (hexadecimal, FLAG 1 for
//! never-indexed; `-` is an empty string) → the block. `decode BLOCK` → `NAME VALUE FLAG ...`, or `error: WHY`.

use hpack::{Bounds, Decoder, Encoder, Field};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, Write};

const BOUNDS: Bounds = Bounds { list: 1 << 20, abort: 1 << 20 };

fn main() -> Result<(), Box<dyn Error>> {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new());
    let mut stdout = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words.as_slice() {
            ["size", size] => {
                encoder.set_peer_table_size(size.parse()?);
                decoder.set_table_size(size.parse()?);
                "ok".to_owned()
            }
            ["encode", fields @ ..] => encode(&mut encoder, fields)?,
            ["decode", block] => decode(&mut decoder, &octets(block)?),
            _ => return Err(format!("not a command: {line:?}").into()),
        };
        writeln!(stdout, "{answer}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn encode(encoder: &mut Encoder, words: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut out = Vec::new();
    let mut block = encoder.block(&mut out);
    for field in words.chunks_exact(3) {
        let (name, value) = (octets(field[0])?, octets(field[1])?);
        block.push(Field { never_indexed: field[2] == "1", ..Field::new(&name, &value) });
    }
    Ok(hex(&out))
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> String {
    let mut answer = String::new();
    let outcome = decoder.decode(block, BOUNDS, |field| {
        let blank = if answer.is_empty() { "" } else { " " };
        let flag = u8::from(field.never_indexed);
        answer.push_str(&format!("{blank}{} {} {flag}", hex(field.name), hex(field.value)));
    });
    match outcome {
        Ok(_) => answer,
        Err(error) => format!("error: {error}"),
    }
}

fn octets(digits: &str) -> Result<Vec<u8>, std::num::ParseIntError> {
    let digits = digits.trim_start_matches('-');
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16)).collect()
}

fn hex(octets: &[u8]) -> String {
    if octets.is_empty() {
        return "-".to_owned();
    }
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
