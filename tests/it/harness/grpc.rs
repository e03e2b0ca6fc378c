//! Messages on the wire.

use bytes::{BufMut as _, Bytes, BytesMut};
use portunus_proto::echo::Chunk;
use prost::Message as _;

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    framed_with(0, message)
}

/// A message with its prefix and this flag.
pub(crate) fn framed_with(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).unwrap());
    bytes.put_slice(message);
    bytes.freeze()
}

/// Messages without their prefixes; panics where the bytes are not whole messages.
pub(crate) fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (prefix, rest) = bytes.split_at(5);
        let size = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
        let (message, rest) = rest.split_at(size);
        found.push(message.to_vec());
        bytes = rest;
    }
    found
}

/// A message of Echo.
pub(crate) fn chunk(payload: &[u8]) -> Vec<u8> {
    Chunk { payload: payload.to_vec().into(), ..Chunk::default() }.encode_to_vec()
}

/// A message of Echo, read.
pub(crate) fn unchunk(bytes: &[u8]) -> Chunk {
    Chunk::decode(bytes).unwrap()
}
