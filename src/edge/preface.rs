//! The first bytes of a connection, inside of TLS if there is TLS: HTTP/2's preface, or something else that deserves a word.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// RFC 9113 §3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// With the head of the frame after it, which is SETTINGS: who sends the preface alone has not shaken hands yet.
const FIRST: usize = PREFACE.len() + 9;

/// What somebody who speaks HTTP/1.1 here is told.
const WRONG_PORT: &[u8] = b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 94\r\n\r\nThis port speaks gRPC over HTTP/2 with prior knowledge (grpcurl -plaintext, not curl or http)\n";

/// The same by TLS: who is here has chosen HTTP/1.1, or nothing.
const WRONG_PROTOCOL: &[u8] =
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 69\r\n\r\nThis port speaks gRPC over HTTP/2: ask for `h2` in the TLS handshake\n";

/// Reads the preface and the head behind it, and gives both. `None`: the peer said something else and was told so where it can
/// understand it.
pub(super) async fn read<T>(mut io: T, secured: bool) -> io::Result<Option<[u8; FIRST]>>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = [0; FIRST];
    let mut have = 0;
    while have < first.len() {
        let read = io.read(&mut first[have..]).await?;
        if read == 0 {
            return Ok(None);
        }
        have += read;
        let said = have.min(PREFACE.len());
        if first[..said] != PREFACE[..said] {
            let answer = if secured { WRONG_PROTOCOL } else { WRONG_PORT };
            return say_goodbye(io, &first[..have], answer).await.map(|()| None);
        }
    }
    Ok(Some(first))
}

/// Somebody with HTTP/1.1 gets an answer; a broken preface gets none (RFC 9113 §3.4 allows only GOAWAY or silence).
async fn say_goodbye<T: AsyncWrite + Unpin>(mut io: T, said: &[u8], answer: &[u8]) -> io::Result<()> {
    let word: Vec<u8> = said.iter().copied().take_while(|b| *b != b' ').collect();
    let methods = [&b"GET"[..], b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE"];
    if methods.iter().any(|method| *method == word) {
        io.write_all(answer).await?;
    }
    io.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::{PREFACE, WRONG_PORT, WRONG_PROTOCOL, read};

    #[test]
    fn the_answer_says_its_length() {
        for answer in [WRONG_PORT, WRONG_PROTOCOL] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "the body has {} bytes", body.len());
        }
    }

    async fn said(bytes: &[u8]) -> (bool, Vec<u8>) {
        let (mut near, mut far) = tokio::io::duplex(1_024);
        far.write_all(bytes).await.unwrap();
        far.shutdown().await.unwrap();
        let first = read(&mut near, false).await.unwrap();
        drop(near);
        let mut answer = Vec::new();
        let rewound = first.is_some();
        far.read_to_end(&mut answer).await.unwrap();
        (rewound, answer)
    }

    #[tokio::test]
    async fn only_the_preface_goes_on() {
        assert_eq!(said(&[&PREFACE[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat()).await, (true, vec![]));
        assert_eq!(said(PREFACE).await, (false, vec![]));
        assert_eq!(said(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.1, WRONG_PORT);
        for garbage in [&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"PRI", b"", b"PUSH me"] {
            assert_eq!(said(garbage).await, (false, vec![]), "{garbage:?}");
        }
    }

    #[tokio::test]
    async fn what_was_read_is_given_and_no_more() {
        let (mut near, mut far) = tokio::io::duplex(1_024);
        far.write_all(PREFACE).await.unwrap();
        far.write_all(b"nine morerest").await.unwrap();
        let first = read(&mut near, false).await.unwrap().unwrap();
        assert_eq!((&first[..24], &first[24..]), (&PREFACE[..], &b"nine more"[..]));
        let mut rest = [0; 4];
        near.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"rest");
    }
}
