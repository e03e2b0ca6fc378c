//! HTTP/2 written byte by byte, for what no library sends: frames in one write, in any order, with any flags. Heads are
//! HPACK literals without Huffman, which every decoder reads; heads that come are not decoded.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::soon;

/// Frame types (RFC 9113 §6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Ends its half of the stream.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & 1 != 0
    }

    /// The error code of a RST_STREAM.
    pub(crate) fn reset_code(&self) -> Option<u32> {
        (self.kind == kind::RST_STREAM).then(|| u32::from_be_bytes(self.payload[..4].try_into().unwrap()))
    }

    /// Last stream id and error code of a GOAWAY.
    pub(crate) fn goaway(&self) -> Option<(u32, u32)> {
        let number = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap());
        (self.kind == kind::GOAWAY).then(|| (number(0), number(4)))
    }
}

/// Bytes to send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Say(pub(crate) Vec<u8>);

impl Say {
    pub(crate) fn frame(mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Self {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.extend_from_slice(&length[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
        self
    }

    pub(crate) fn headers(self, stream: u32, end: bool, fields: &[(&str, &str)]) -> Self {
        let mut block = Vec::new();
        for (name, value) in fields {
            block.push(0);
            literal(&mut block, name.as_bytes());
            literal(&mut block, value.as_bytes());
        }
        self.frame(kind::HEADERS, 4 | u8::from(end), stream, &block)
    }

    /// The head of a gRPC answer.
    pub(crate) fn begin(self, stream: u32) -> Self {
        self.headers(stream, false, &[(":status", "200"), ("content-type", "application/grpc")])
    }

    /// The head of a gRPC call; `fields` come after the pseudo-fields.
    pub(crate) fn call(self, stream: u32, end: bool, path: &str, fields: &[(&str, &str)]) -> Self {
        let pseudo = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "caller.test")];
        self.headers(stream, end, &[&pseudo[..], fields].concat())
    }

    pub(crate) fn data(self, stream: u32, end: bool, bytes: &[u8]) -> Self {
        self.frame(kind::DATA, u8::from(end), stream, bytes)
    }

    pub(crate) fn reset(self, stream: u32, code: u32) -> Self {
        self.frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    pub(crate) fn goaway(self, last: u32, code: u32) -> Self {
        self.frame(kind::GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
    }
}

fn literal(block: &mut Vec<u8>, text: &[u8]) {
    // A length over 126 takes more bytes (RFC 7541 §5.1).
    if text.len() < 127 {
        block.push(u8::try_from(text.len()).unwrap());
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        block.push(u8::try_from(rest).unwrap());
    }
    block.extend_from_slice(text);
}

/// A connection whose frames are read and written by hand. SETTINGS and PING are answered by themselves.
pub(crate) struct RawWire {
    socket: TcpStream,
    /// Everything that came so far.
    pub(crate) came: Vec<Frame>,
}

impl RawWire {
    /// Connects as a client that has said its preface and SETTINGS.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut wire = Self { socket: TcpStream::connect(address).await.unwrap(), came: Vec::new() };
        wire.socket.write_all(PREFACE).await.unwrap();
        wire.say(Say::default().frame(kind::SETTINGS, 0, 0, &[])).await;
        wire
    }

    /// Writes. What the peer has closed takes nothing more, which reading then shows.
    pub(crate) async fn say(&mut self, say: Say) {
        drop(self.socket.write_all(&say.0).await);
    }

    /// The next frame, which must come soon; `None` once the peer has hung up.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        soon(self.read()).await
    }

    async fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.socket.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.socket.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        match frame.kind {
            kind::SETTINGS if frame.flags & 1 == 0 => self.say(Say::default().frame(kind::SETTINGS, 1, 0, &[])).await,
            kind::PING if frame.flags & 1 == 0 => {
                self.say(Say::default().frame(kind::PING, 1, 0, &frame.payload)).await;
            }
            _ => {}
        }
        self.came.push(frame.clone());
        Some(frame)
    }

    /// Reads until a frame fits; `None` if the peer hangs up first.
    pub(crate) async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if fits(&frame) {
                return Some(frame);
            }
        }
    }

    /// Reads until a stream is over, and gives its frames.
    pub(crate) async fn stream(&mut self, id: u32) -> Vec<Frame> {
        let over = |frame: &Frame| frame.stream == id && (frame.ends() || frame.kind == kind::RST_STREAM);
        self.until(over).await.unwrap_or_else(|| panic!("the connection ended before stream {id}: {:?}", self.came));
        self.came.iter().filter(|frame| frame.stream == id && frame.kind != kind::WINDOW_UPDATE).cloned().collect()
    }
}

/// An instance whose answers are bytes. Of several connections, all have the same script.
pub(crate) struct RawUpstream {
    address: SocketAddr,
    came: Arc<Mutex<Vec<Frame>>>,
    task: JoinHandle<()>,
}

impl RawUpstream {
    /// For each frame that comes on a stream, says what `script` says; `None` hangs up.
    pub(crate) async fn start(script: impl Fn(&Frame) -> Option<Say> + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let came: Arc<Mutex<Vec<Frame>>> = Arc::default();
        let seen = Arc::clone(&came);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (script, seen) = (script.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut wire = RawWire { socket, came: Vec::new() };
                    let mut preface = [0; 24];
                    if wire.socket.read_exact(&mut preface).await.is_err() {
                        return;
                    }
                    wire.say(Say::default().frame(kind::SETTINGS, 0, 0, &[])).await;
                    while let Some(frame) = wire.read().await {
                        if frame.stream == 0 {
                            continue;
                        }
                        seen.lock().push(frame.clone());
                        let Some(say) = script(&frame) else { return };
                        wire.say(say).await;
                    }
                });
            }
        });
        Self { address, came, task }
    }

    /// Answers each call, once its head is here, with what `answer` says for its stream.
    pub(crate) async fn answering(answer: impl Fn(u32) -> Option<Say> + Clone + Send + 'static) -> Self {
        Self::start(move |frame| if frame.kind == kind::HEADERS { answer(frame.stream) } else { Some(Say::default()) })
            .await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frames on streams so far.
    pub(crate) fn came(&self) -> Vec<Frame> {
        self.came.lock().clone()
    }

    /// Calls so far.
    pub(crate) fn calls(&self) -> usize {
        self.came.lock().iter().filter(|frame| frame.kind == kind::HEADERS).count()
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
