//! Integers with a prefix of 1 to 8 bits (RFC 7541 §5.1). Used for indices, string lengths and table sizes alike.

use crate::Error;

/// Octets after the prefix that we follow: five carry 35 bits, which holds every value that can matter, and bounds a peer that
/// sends padding octets (`0x80`) for ever.
const MOST_OCTETS: u32 = 5;

/// Reads one integer off the front of `input`; the bits above the prefix are the caller's and ignored.
///
/// # Errors
/// [`Error::Truncated`], [`Error::IntegerOverflow`].
#[inline]
pub(crate) fn read(input: &mut &[u8], prefix: u32) -> Result<usize, Error> {
    let (&first, rest) = input.split_first().ok_or(Error::Truncated)?;
    *input = rest;
    let mask = (1_u32 << prefix) - 1;
    let value = u32::from(first) & mask;
    if value < mask {
        return Ok(value as usize);
    }
    read_rest(input, value)
}

fn read_rest(input: &mut &[u8], prefix: u32) -> Result<usize, Error> {
    let mut value = u64::from(prefix);
    for octet in 0..MOST_OCTETS {
        let (&byte, rest) = input.split_first().ok_or(Error::Truncated)?;
        *input = rest;
        value += u64::from(byte & 0x7f) << (7 * octet);
        if byte & 0x80 == 0 {
            return u32::try_from(value).map(|value| value as usize).map_err(|_| Error::IntegerOverflow);
        }
    }
    Err(Error::IntegerOverflow)
}

/// Appends `value`; `flags` are the bits above the prefix in its first octet.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(flags | low_byte(value));
        return;
    }
    out.push(flags | low_byte(mask));
    let mut value = value - mask;
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

fn low_byte(value: usize) -> u8 {
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::Error;

    fn written(flags: u8, prefix: u32, value: usize) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, flags, prefix, value);
        out
    }

    #[test]
    fn examples_of_appendix_c_1() {
        for (prefix, value, bytes) in
            [(5, 10, &[0x0a][..]), (5, 1337, &[0x1f, 0x9a, 0x0a]), (8, 42, &[0x2a]), (5, 31, &[0x1f, 0x00])]
        {
            assert_eq!(written(0, prefix, value), bytes);
            assert_eq!(read(&mut &bytes[..], prefix), Ok(value));
        }
        assert_eq!(written(0xe0, 5, 10), [0xea], "the bits above the prefix stay");
        assert_eq!(read(&mut &[0xea_u8][..], 5), Ok(10));
    }

    #[test]
    fn every_prefix_and_size_reads_back_what_was_written() {
        for prefix in 1..=8 {
            for value in (0..=40).chain([126, 127, 128, 254, 255, 256, 16_383, 16_384, 0xffff_fffe, 0xffff_ffff]) {
                let mut bytes = written(0, prefix, value);
                bytes.push(0xaa);
                let mut rest = &bytes[..];
                assert_eq!(read(&mut rest, prefix), Ok(value));
                assert_eq!(rest, [0xaa], "reads its own octets and no more");
            }
        }
    }

    #[test]
    fn what_is_cut_or_too_large_is_refused() {
        assert_eq!(read(&mut &[][..], 5), Err(Error::Truncated));
        assert_eq!(read(&mut &[0x1f][..], 5), Err(Error::Truncated));
        assert_eq!(read(&mut &[0x1f, 0x9a][..], 5), Err(Error::Truncated));
        assert_eq!(read(&mut &written(0, 5, 0x1_0000_0000)[..], 5), Err(Error::IntegerOverflow));
        assert_eq!(read(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], 7), Err(Error::IntegerOverflow));
        // Zeros without end: worth nothing, and refused after five.
        assert_eq!(read(&mut &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..], 7), Err(Error::IntegerOverflow));
        assert_eq!(read(&mut &[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00][..], 7), Ok(127));
    }
}
