//! A quick hash of names and values, for the encoder's indices. Also runs at compile time, to lay out the table of known names.
//!
//! It is not keyed: a peer can make fields collide. What walks a chain therefore has a bound, and compares the bytes.

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

/// The hash of `bytes`, going on from `seed`: 0 for a name, the name's hash for its value.
#[inline]
pub(crate) const fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ FIRST;
    let mut rest = bytes;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        state = mix(state ^ u64::from_le_bytes(*chunk), FIRST);
        rest = tail;
    }
    mix(state ^ tail(rest), SECOND ^ bytes.len() as u64)
}

/// Up to seven octets as one number; different octets of one length never give the same.
const fn tail(rest: &[u8]) -> u64 {
    if let (Some(low), Some(high)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        return (u32::from_le_bytes(*low) as u64) | ((u32::from_le_bytes(*high) as u64) << 32);
    }
    match rest {
        [] => 0,
        [a] => *a as u64,
        [a, b] => *a as u64 | ((*b as u64) << 8),
        [a, b, c, ..] => *a as u64 | ((*b as u64) << 8) | ((*c as u64) << 16),
    }
}

const fn mix(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::hash;
    use std::collections::HashSet;

    #[test]
    fn lengths_seeds_and_single_octets_tell_apart() {
        let text = b"abcdefghijklmnopqrstuvwxyz";
        let mut seen = HashSet::new();
        let seed = hash(0, b"some-name");
        for end in 0..=text.len() {
            assert!(seen.insert(hash(0, &text[..end])));
            assert!(seen.insert(hash(seed, &text[..end])));
            for at in 0..end {
                let mut other = text[..end].to_vec();
                other[at] ^= 1;
                assert!(seen.insert(hash(0, &other)), "octet {at} of {end} counts");
            }
        }
    }
}
