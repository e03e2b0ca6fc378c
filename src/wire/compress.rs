//! Compressed messages, read within a bound (gRPC, "Compression"). What a caller announces is never trusted: a few octets can stand
//! for gigabytes.
//!
//! What is read here is what anybody behind reads: a second gzip member or octets behind the end, which some decoders read and others
//! pass by, are errors.

use std::io::Read as _;

use fields::Fields;
use flate2::bufread::GzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

/// What can be read, as `grpc-accept-encoding` lists it.
pub(super) const ACCEPTED: &str = "identity,deflate,gzip";

/// What is decompressed at once.
const PIECE: usize = 16 * 1024;

/// How the messages of one direction are compressed, where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// They are not.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls so.
    Deflate,
    /// In a way that is not known here, or that the head tells in more than one way.
    Unknown,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has more octets than it may.
    TooLarge,
    /// It is not what its encoding says.
    Broken,
    /// It is compressed, and its head names no encoding.
    Undeclared,
    /// Its encoding is not known.
    Unknown,
}

impl Encoding {
    /// As a head says it.
    pub fn of(head: &Fields) -> Self {
        let mut said = head.get_all("grpc-encoding");
        let one = match said.next() {
            None | Some(b"identity") => Self::Identity,
            Some(b"gzip") => Self::Gzip,
            Some(b"deflate") => Self::Deflate,
            Some(_) => Self::Unknown,
        };
        if said.next().is_some() { Self::Unknown } else { one }
    }

    /// Reads a compressed message of at most `most` octets.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(self, message: &[u8], most: u64) -> Result<Vec<u8>, Unreadable> {
        match self {
            Self::Identity => Err(Unreadable::Undeclared),
            Self::Unknown => Err(Unreadable::Unknown),
            Self::Gzip => gunzip(message, most),
            Self::Deflate => inflate(message, most),
        }
    }
}

/// Takes off what a head accepts and cannot be read here: what answers to it comes back through here.
pub fn narrow_accepted(head: &mut Fields) {
    let mut kept = Vec::new();
    for value in head.get_all("grpc-accept-encoding") {
        let names = value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii);
        for name in names.filter(|name| ACCEPTED.split(',').any(|known| known.as_bytes() == *name)) {
            if !kept.is_empty() {
                kept.push(b',');
            }
            kept.extend_from_slice(name);
        }
    }
    if !kept.is_empty() {
        head.set("grpc-accept-encoding", &kept);
    } else if head.contains("grpc-accept-encoding") {
        head.set("grpc-accept-encoding", b"identity");
    }
}

fn gunzip(message: &[u8], most: u64) -> Result<Vec<u8>, Unreadable> {
    let (mut read, mut decoder) = (Vec::new(), GzDecoder::new(message));
    decoder.by_ref().take(most.saturating_add(1)).read_to_end(&mut read).map_err(|_| Unreadable::Broken)?;
    if read.len() as u64 > most {
        return Err(Unreadable::TooLarge);
    }
    if decoder.into_inner().is_empty() { Ok(read) } else { Err(Unreadable::Broken) }
}

/// By the state machine itself: the reader over it takes a cut for the end.
fn inflate(mut message: &[u8], most: u64) -> Result<Vec<u8>, Unreadable> {
    let (mut read, mut state) = (Vec::new(), Decompress::new(true));
    loop {
        read.reserve(PIECE);
        let (taken, given) = (state.total_in(), state.total_out());
        let status = state.decompress_vec(message, &mut read, FlushDecompress::None).map_err(|_| Unreadable::Broken)?;
        let came = usize::try_from(state.total_in() - taken).unwrap_or_default();
        message = message.get(came..).unwrap_or_default();
        if read.len() as u64 > most {
            return Err(Unreadable::TooLarge);
        }
        match status {
            Status::StreamEnd if message.is_empty() => return Ok(read),
            Status::StreamEnd => return Err(Unreadable::Broken),
            _ if came == 0 && state.total_out() == given => return Err(Unreadable::Broken),
            Status::Ok | Status::BufError => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use fields::Fields;
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::{Encoding, Unreadable, narrow_accepted};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    type Compress = fn(&[u8]) -> Vec<u8>;

    fn both() -> [(Encoding, Compress); 2] {
        [(Encoding::Gzip, gzip), (Encoding::Deflate, deflate)]
    }

    #[test]
    fn what_was_compressed_is_read() {
        let long: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for (encoding, compress) in both() {
            for text in [&b""[..], b"a", b"hello hello hello", &long] {
                let most = text.len() as u64;
                assert_eq!(encoding.read(&compress(text), most), Ok(text.to_vec()), "{encoding:?}");
                if most > 0 {
                    assert_eq!(encoding.read(&compress(text), most - 1), Err(Unreadable::TooLarge), "{encoding:?}");
                }
            }
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        for (encoding, compress) in both() {
            let bomb = compress(&vec![0; 64 << 20]);
            assert!(bomb.len() < 100_000);
            assert_eq!(encoding.read(&bomb, 1 << 20), Err(Unreadable::TooLarge));
        }
    }

    #[test]
    fn what_two_decoders_would_read_differently_is_read_by_none() {
        for (encoding, compress) in both() {
            let (one, two) = (compress(b"good"), compress(b"evil"));
            assert_eq!(encoding.read(&[&one[..], &two].concat(), 100), Err(Unreadable::Broken), "a second member");
            assert_eq!(encoding.read(&[&one[..], b"x"].concat(), 100), Err(Unreadable::Broken), "octets behind it");
            for cut in 0..one.len() {
                assert_eq!(encoding.read(&one[..cut], 100), Err(Unreadable::Broken), "{encoding:?} cut at {cut}");
            }
            let mut wrong = one.clone();
            let sum = wrong.len() - if encoding == Encoding::Gzip { 8 } else { 4 };
            wrong[sum] ^= 1;
            assert_eq!(encoding.read(&wrong, 100), Err(Unreadable::Broken), "{encoding:?}: another checksum");
        }
    }

    #[test]
    fn the_head_says_how() {
        let head = |values: &[&str]| values.iter().map(|value| ("grpc-encoding", value.as_bytes())).collect::<Fields>();
        for (values, encoding) in [
            (&[][..], Encoding::Identity),
            (&["identity"], Encoding::Identity),
            (&["gzip"], Encoding::Gzip),
            (&["deflate"], Encoding::Deflate),
            (&["zstd"], Encoding::Unknown),
            (&["gzip", "deflate"], Encoding::Unknown),
            (&["identity", "gzip"], Encoding::Unknown),
        ] {
            assert_eq!(Encoding::of(&head(values)), encoding, "{values:?}");
        }
        assert_eq!(Encoding::Identity.read(b"x", 10), Err(Unreadable::Undeclared));
        assert_eq!(Encoding::Unknown.read(b"x", 10), Err(Unreadable::Unknown));
    }

    #[test]
    fn only_what_can_be_read_is_accepted() {
        let narrowed = |values: &[&str]| {
            let mut head: Fields = values.iter().map(|value| ("grpc-accept-encoding", value.as_bytes())).collect();
            narrow_accepted(&mut head);
            head.get_str("grpc-accept-encoding").map(str::to_owned)
        };
        assert_eq!(narrowed(&[]), None);
        assert_eq!(narrowed(&["gzip, zstd,identity"]), Some("gzip,identity".into()));
        assert_eq!(narrowed(&["zstd", "deflate"]), Some("deflate".into()));
        assert_eq!(narrowed(&["zstd"]), Some("identity".into()));
    }
}
