//! Huffman strings (RFC 7541 §5.2): read by the decoder, written by the encoder.

use crate::Error;
use crate::codes::{CODES, END_OF_STRING, FIRST_LOOK, LONG, SHORT};

/// Appends what `input` stands for to `out`: at most 8/5 of its length, since no code is shorter than five bits.
///
/// # Errors
/// [`Error::HuffmanPadding`], [`Error::HuffmanEndOfString`].
pub(crate) fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + input.len() * 8 / 5 + 1, 0);
    let mut places = out.get_mut(start..).unwrap_or_default().iter_mut();
    let result = decode_into(input, &mut places);
    let unused = places.len();
    out.truncate(out.len() - unused);
    result
}

fn decode_into(input: &[u8], places: &mut std::slice::IterMut<'_, u8>) -> Result<(), Error> {
    // The bits not yet read, left-aligned, with zeros below them; and how many they are.
    let mut bits = 0_u64;
    let mut have = 0_u32;
    let mut rest = input;
    while let Some((chunk, tail)) = rest.split_first_chunk::<4>() {
        bits |= u64::from(u32::from_be_bytes(*chunk)) << (32 - have);
        have += 32;
        rest = tail;
        // No code is longer than what is here, so none of these looks has to ask whether its bits are real.
        while have >= 32 {
            let (symbol, length) = look(bits);
            put(places, symbol)?;
            bits <<= length;
            have -= length;
        }
    }
    for byte in rest {
        bits |= u64::from(*byte) << (56 - have);
        have += 8;
    }
    loop {
        // Ones below the real bits: what is left over then reads as EOS, which is too long to be real.
        let padded = bits | (u64::MAX >> have);
        let (symbol, length) = look(padded);
        if length > have {
            return if have < 8 && padded == u64::MAX { Ok(()) } else { Err(Error::HuffmanPadding) };
        }
        put(places, symbol)?;
        bits <<= length;
        have -= length;
    }
}

/// The symbol that the left end of `bits` is the code of, and the length of the code.
#[inline]
fn look(bits: u64) -> (u16, u32) {
    let (symbol, length) = FIRST_LOOK[(bits >> (64 - SHORT)) as usize];
    if length != 0 {
        return (u16::from(symbol), u32::from(length));
    }
    look_further(bits >> 32)
}

fn look_further(window: u64) -> (u16, u32) {
    let mut length = SHORT as usize + 1;
    while length + 1 < LONG.end.len() && window >= LONG.end[length] {
        length += 1;
    }
    let code = (window >> (32 - length)) as u32;
    let nth = code.wrapping_sub(LONG.first[length]) as usize;
    let symbol = LONG.symbols.get(LONG.start[length] as usize + nth).copied();
    (symbol.unwrap_or(END_OF_STRING), length as u32)
}

#[inline]
fn put(places: &mut std::slice::IterMut<'_, u8>, symbol: u16) -> Result<(), Error> {
    let octet = u8::try_from(symbol).map_err(|_| Error::HuffmanEndOfString)?;
    // There is a place for each, since no code is shorter than five bits.
    if let Some(place) = places.next() {
        *place = octet;
    }
    Ok(())
}

/// How many octets `input` takes when it is encoded.
#[inline]
pub(crate) fn encoded_len(input: &[u8]) -> usize {
    let bits: usize = input.iter().map(|byte| usize::from(CODES[usize::from(*byte)].1)).sum();
    bits.div_ceil(8)
}

/// Appends `input`, encoded.
pub(crate) fn encode(input: &[u8], out: &mut Vec<u8>) {
    // The bits not yet written, right-aligned; fewer than 32 of them between two codes, and no code has more than 30.
    let mut bits = 0_u64;
    let mut have = 0_u32;
    for byte in input {
        let (code, length) = CODES[usize::from(*byte)];
        bits = (bits << length) | u64::from(code);
        have += u32::from(length);
        if have >= 32 {
            have -= 32;
            out.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    if have > 0 {
        // Ones up to the next octet: the start of EOS.
        let word = (bits << (32 - have)) as u32 | (u32::MAX >> have);
        out.extend_from_slice(&word.to_be_bytes()[..have.div_ceil(8) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, encoded_len};
    use crate::Error;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    fn encoded(input: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(input, &mut out);
        assert_eq!(out.len(), encoded_len(input));
        out
    }

    #[test]
    fn strings_of_appendix_c() {
        for (text, bytes) in [
            ("www.example.com", &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..]),
            ("no-cache", b"\xa8\xeb\x10\x64\x9c\xbf"),
            ("custom-key", b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f"),
            ("custom-value", b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf"),
            ("302", b"\x64\x02"),
            ("307", b"\x64\x0e\xff"),
            ("private", b"\xae\xc3\x77\x1a\x4b"),
        ] {
            assert_eq!(encoded(text.as_bytes()), bytes, "{text}");
            assert_eq!(decoded(bytes), Ok(text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn every_octet_at_every_offset_reads_back() {
        for octet in 0..=255_u8 {
            for before in 0..16 {
                let mut text = b"0123456789abcdef"[..before].to_vec();
                text.extend([octet, octet, b'-', octet]);
                assert_eq!(decoded(&encoded(&text)), Ok(text));
            }
        }
        assert_eq!(decoded(b""), Ok(Vec::new()));
        assert_eq!(encoded(b""), b"");
    }

    #[test]
    fn padding_is_at_most_seven_ones() {
        assert_eq!(decoded(&[0x07]), Ok(b"0".to_vec()), "0 is 00000, then three ones");
        for wrong in [0x00, 0x01, 0x03, 0x06] {
            assert_eq!(decoded(&[wrong]), Err(Error::HuffmanPadding), "{wrong:#x}");
        }
        assert_eq!(decoded(&[0xff]), Err(Error::HuffmanPadding), "eight ones are too many");
        assert_eq!(decoded(&[0x07, 0xff]), Err(Error::HuffmanPadding));
        // '!' is 1111111000: its first octet alone is neither a code nor padding.
        assert_eq!(decoded(&[0xfe]), Err(Error::HuffmanPadding));
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(Error::HuffmanPadding));
    }

    #[test]
    fn end_of_string_must_not_stand_in_a_string() {
        assert_eq!(decoded(&[0xff; 4]), Err(Error::HuffmanEndOfString));
        assert_eq!(decoded(&[0xff; 8]), Err(Error::HuffmanEndOfString));
        assert_eq!(decoded(&[0x07, 0xff, 0xff, 0xff, 0xff]), Err(Error::HuffmanEndOfString));
    }
}
