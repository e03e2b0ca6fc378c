//! HTTP/2 octet by octet, for what no client sends. Heads are HPACK literals without Huffman.

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END: u8 = 1;
pub(crate) const WHOLE: u8 = 4;

/// What a client begins with, and its SETTINGS.
pub(crate) fn greeting(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut payload = Vec::new();
    for (id, value) in settings {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(&mut octets, SETTINGS, 0, 0, &payload);
    octets
}

/// Appends a frame.
pub(crate) fn frame(octets: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    octets.extend_from_slice(&length[1..]);
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend_from_slice(payload);
}

/// The head of a call, compressed by nothing.
pub(crate) fn head(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in
        [(":path", path), (":authority", "attack.test"), ("content-type", "application/grpc"), ("te", "trailers")]
    {
        field(&mut block, 0, name, value);
    }
    block
}

/// Appends a literal field; `form` is its first octet.
pub(crate) fn field(block: &mut Vec<u8>, form: u8, name: &str, value: &str) {
    block.push(form);
    for text in [name, value] {
        let length = u8::try_from(text.len()).unwrap_or_default();
        // Longer strings need a second octet (RFC 7541 §5.1); none here has more than 254.
        if length < 127 {
            block.push(length)
        } else {
            block.extend([127, length - 127])
        }
        block.extend_from_slice(text.as_bytes());
    }
}
