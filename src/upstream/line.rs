//! One connection to an instance that carries one unary call at a time, and in between rests without a task: what comes meanwhile wakes
//! whoever has it. Dropped in the middle of a call, it is closed.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use fields::{Fields, Method, RequestHead, ResponseHead};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;
use tonic::Code;

use super::channel::AGENT;
use super::clock_ms;
use super::network::{Io, Network, Place, dial};
use super::side::Failure;
use crate::h2::{Config, Connection, ErrorCode, Event, Growth, Role, Spare, StreamError, StreamId};
use crate::wire::{code_of_http, framed, status_of};

/// Octets that an answer may have: it is a word on somebody's health.
const MOST: usize = 64 * 1024;
/// Octets that may come between two calls: a peer has to say little then.
const AT_REST: usize = 64 * 1024;
/// Read at once.
const READ: usize = 2 * 1024;

/// A connection.
pub(super) struct Line {
    io: Box<dyn Io>,
    engine: Connection,
    calls: u64,
    /// It can carry another call.
    lasts: bool,
    /// Octets that came since the last call.
    at_rest: usize,
    /// Of the last call.
    stream: Option<StreamId>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// The connection is of no more use, and why.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    settled: bool,
    head: Option<ResponseHead>,
    body: BytesMut,
    trailers: Option<Fields>,
    /// Nothing more comes.
    over: bool,
    too_long: bool,
    reset: Option<StreamError>,
}

impl Line {
    /// Connects, and says our SETTINGS with the first call.
    pub(super) async fn connect(network: &dyn Network, place: &Place) -> io::Result<Self> {
        Ok(Self::over(dial(network, place).await?, place.is_secure()))
    }

    /// Over a socket that is connected, by TLS or not.
    pub(super) fn over(io: Box<dyn Io>, secure: bool) -> Self {
        let config = Config { secure, ..Config::client() };
        let engine = Connection::new(Role::Client, config, Growth::default(), clock_ms(Instant::now()));
        Self { io, engine, calls: 0, lasts: true, at_rest: 0, stream: None }
    }

    /// Waits for the peer's SETTINGS: it is there, and speaks HTTP/2.
    pub(super) async fn greet(&mut self) -> Result<(), Broken> {
        let mut answer = Answer::default();
        while !answer.settled {
            self.turn(&mut answer).await?;
        }
        Ok(())
    }

    /// Whether it can carry another call.
    pub(super) fn lasts(&self) -> bool {
        self.lasts
    }

    /// Answers what has come while it rests (PING, SETTINGS), without waiting, and has `cx` woken by what comes next. Whether it still is
    /// a connection: a peer that ends politely waits for us to close it.
    pub(super) fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        let (mut buffer, mut answer) = ([0; READ], Answer::default());
        loop {
            let mut octets = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.io).poll_read(cx, &mut octets) {
                Poll::Pending => return self.write_at_once(cx).is_ok(),
                Poll::Ready(Err(_)) => return false,
                Poll::Ready(Ok(())) => {
                    self.at_rest += octets.filled().len();
                    if self.at_rest > AT_REST || self.take(octets.filled(), &mut answer).is_err() {
                        return false;
                    }
                }
            }
        }
    }

    /// Writes what is to be written. A peer that does not take so little at once is no peer to rest with.
    fn write_at_once(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let full = || io::Error::from(io::ErrorKind::WouldBlock);
        if self.engine.output().is_empty() {
            return Ok(());
        }
        while !self.engine.output().is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.engine.output()) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.engine.wrote(written, false, clock_ms(Instant::now()));
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(_)) | Poll::Pending => return Err(full()),
            }
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Err(full()),
        }
    }

    /// Calls a method: the answer, or what its status is.
    ///
    /// # Errors
    /// The connection broke. The call may have been carried out.
    pub(super) async fn unary(
        &mut self,
        authority: &str,
        path: &str,
        message: &[u8],
    ) -> Result<Result<Bytes, Failure>, Broken> {
        let mut answer = Answer { settled: self.calls > 0, ..Answer::default() };
        // From here on, what still comes of the last call is nobody's.
        self.calls += 1;
        self.at_rest = 0;
        poll_fn(|cx| Poll::Ready(self.take_what_came(cx, &mut answer))).await?;
        while !answer.settled {
            self.turn(&mut answer).await?;
        }
        let stream = self.begin(authority, path, message)?;
        self.stream = Some(stream);
        while !answer.over {
            self.turn(&mut answer).await?;
        }
        // An answer can come before all of the request went, or be too long: then the stream is not over, and of no more use.
        self.engine.reset(stream, ErrorCode::CANCEL);
        if answer.reset == Some(StreamError::NotStarted) {
            return Err(Broken("it refused a call on this connection".into()));
        }
        // Acknowledgements, and credit: whoever waits for them must not wait until the next call.
        self.lasts = self.write().await.is_ok();
        Ok(answer.read())
    }

    fn begin(&mut self, authority: &str, path: &str, message: &[u8]) -> Result<StreamId, Broken> {
        let mut head = RequestHead::new(Method::Post, path, authority, (3, 96));
        head.fields.push("content-type", b"application/grpc");
        head.fields.push("te", b"trailers");
        head.fields.push("user-agent", AGENT.as_bytes());
        let now = clock_ms(Instant::now());
        let stream = self.engine.open(&head, false, self.calls, now);
        let stream = stream.map_err(|_| Broken("it takes no more calls on this connection".into()))?;
        self.engine.data(stream, &framed(message), true, now).map_err(|_| Broken("the call could not begin".into()))?;
        Ok(stream)
    }

    /// Looks, without waiting, at what came while the connection rested.
    fn take_what_came(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Result<(), Broken> {
        while let Poll::Ready(read) = self.read(cx, answer) {
            read?;
        }
        Ok(())
    }

    /// Writes what is to be written, and waits for what comes.
    async fn turn(&mut self, answer: &mut Answer) -> Result<(), Broken> {
        self.write().await?;
        poll_fn(|cx| self.read(cx, answer)).await
    }

    /// Takes what comes. The buffer is on the stack, and not in the future: a thousand calls a second need not move it.
    fn read(&mut self, cx: &mut Context<'_>, answer: &mut Answer) -> Poll<Result<(), Broken>> {
        let mut buffer = [0; READ];
        let mut octets = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut octets))?;
        Poll::Ready(self.take(octets.filled(), answer))
    }

    async fn write(&mut self) -> io::Result<()> {
        while !self.engine.output().is_empty() {
            let written = self.io.write(self.engine.output()).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.engine.wrote(written, false, clock_ms(Instant::now()));
        }
        // What is encrypted may still wait for the socket.
        self.io.flush().await
    }

    fn take(&mut self, mut octets: &[u8], answer: &mut Answer) -> Result<(), Broken> {
        if octets.is_empty() {
            return Err(Broken("it closed the connection".into()));
        }
        let (now, mut spare) = (clock_ms(Instant::now()), Spare::default());
        loop {
            match self.engine.receive(&mut octets, now, &mut spare) {
                Ok(Some(event)) => {
                    let passed = if let Event::Data { bytes, .. } = &event { bytes.len() } else { 0 };
                    answer.take(event, self.calls);
                    if let Some(stream) = self.stream.filter(|_| passed > 0) {
                        self.engine.release(stream, passed);
                    }
                }
                Ok(None) if self.engine.is_over() && !answer.over => {
                    return Err(Broken("it said goodbye".into()));
                }
                Ok(None) => return Ok(()),
                Err(fatal) => return Err(Broken(fatal.to_string())),
            }
        }
    }
}

impl Answer {
    fn take(&mut self, event: Event<'_>, call: u64) {
        match event {
            // A reset behind a whole answer says that the rest of the request is of no use.
            _ if self.over => {}
            Event::Settled => self.settled = true,
            Event::Response { tag, head, end } if tag == call => {
                self.head = Some(head);
                self.over |= end;
            }
            Event::Data { tag, bytes, end } if tag == call => {
                if self.body.len() + bytes.len() > MOST {
                    self.too_long = true;
                    self.over = true;
                } else {
                    self.body.put_slice(bytes);
                }
                self.over |= end;
            }
            Event::Trailers { tag, fields } if tag == call => {
                self.trailers = Some(fields);
                self.over = true;
            }
            Event::Reset { tag, error } if tag == call => {
                self.reset = Some(error);
                self.over = true;
            }
            _ => {}
        }
    }

    /// The message, or why there is none.
    fn read(self) -> Result<Bytes, Failure> {
        match self.reset {
            Some(StreamError::Reset(ErrorCode(code))) => {
                return Err(Failure::Unreachable(format!("it reset the call (HTTP/2 error {code})")));
            }
            Some(_) => return Err(Failure::Unreachable("its answer breaks the rules of HTTP/2".into())),
            None => {}
        }
        if self.too_long {
            let message = format!("its answer is longer than {MOST} octets");
            return Err(Failure::Status(Code::ResourceExhausted, message));
        }
        let Some(head) = self.head else {
            return Err(Failure::Unreachable("it ended the call without an answer".into()));
        };
        let status = self.trailers.as_ref().and_then(status_of).or_else(|| status_of(&head.fields));
        let (code, message) = status.unwrap_or_else(|| {
            let message = format!("HTTP status {} and no gRPC status: is it a gRPC server?", head.status);
            (code_of_http(head.status), message)
        });
        match Code::from(i32::from(code.number())) {
            Code::Ok => one_message(self.body.freeze()),
            code => Err(Failure::Status(code, message)),
        }
    }
}

/// The only message of an answer.
fn one_message(mut body: Bytes) -> Result<Bytes, Failure> {
    let broken = |what: &str| Err(Failure::Status(Code::Internal, format!("its answer {what}")));
    let Some(([flag, length @ ..], _)) = body.split_first_chunk::<5>() else { return broken("has no message") };
    let (flag, length) = (*flag, u32::from_be_bytes(*length) as usize);
    if flag != 0 {
        return broken("is compressed, which was not asked for");
    }
    if body.len() - 5 != length {
        return broken("is not one message");
    }
    Ok(body.split_off(5))
}
