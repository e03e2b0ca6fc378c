//! Octets over a connection that has shaken hands. Reads and writes in large pieces: rustls takes four KiB of a socket at a time and gives
//! one record at a time, which costs a system call and a turn for each; here a read takes what the socket has and gives all of it.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{AlertDescription, CertificateError, Connection, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is read of a socket at once.
const READ: usize = 64 * 1024;

thread_local! {
    /// What came of a socket, before it is decrypted: of one connection at a time, so that one that says nothing holds no buffer.
    static CAME: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// In words, for a log.
    pub why: String,
    /// It is for the other end's certificate, or for its lack.
    pub for_certificate: bool,
}

impl Refused {
    pub(crate) fn of(why: String) -> Self {
        Self { why, for_certificate: true }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let for_certificate =
            matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented));
        let why = match inner {
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => other.0.to_string(),
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                format!("the other end does not speak TLS ({error})")
            }
            Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                format!("the other end has no protocol in common with us, by ALPN ({error})")
            }
            _ => error.to_string(),
        };
        Self { why, for_certificate }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Stream<T> {
    io: T,
    connection: Connection,
    /// What came and was not taken: the reader had no room for more.
    left: Vec<u8>,
    ended: bool,
}

impl<T> Stream<T> {
    pub(crate) fn new(io: T, connection: Connection) -> Self {
        Self { io, connection, left: Vec::new(), ended: false }
    }

    /// The protocol inside that both ends agreed on.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.connection.alpn_protocol()
    }

    /// What carries it.
    pub fn carrier(&self) -> &T {
        &self.io
    }

    /// Decrypts what came, for as long as the reader has room; what is over waits in `left`.
    fn take_in(&mut self, mut came: &[u8], buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        while !came.is_empty() && !self.ended {
            if self.connection.read_tls(&mut came)? == 0 {
                // The other end has said that it is done; what follows is nobody's.
                break;
            }
            self.connection.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.give(buffer)?;
            if buffer.remaining() == 0 {
                break;
            }
        }
        self.left.extend_from_slice(came);
        Ok(())
    }

    /// Gives what is decrypted.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        while buffer.remaining() > 0 {
            match self.connection.reader().read(buffer.initialize_unfilled()) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(given) => buffer.advance(given),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<T: AsyncWrite + Unpin> Stream<T> {
    /// Writes what is encrypted, as far as the socket takes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, connection, .. } = self;
        while connection.wants_write() {
            let mut socket = Socket { io, cx };
            match connection.write_tls(&mut socket) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        this.give(buffer)?;
        if !this.left.is_empty() && buffer.remaining() > 0 {
            let left = std::mem::take(&mut this.left);
            this.take_in(&left, buffer)?;
        }
        while buffer.filled().len() == before && buffer.remaining() > 0 && !this.ended {
            let mut came = CAME.take();
            came.resize(READ, 0);
            let mut octets = ReadBuf::new(&mut came);
            let polled = Pin::new(&mut this.io).poll_read(cx, &mut octets);
            let taken = match (&polled, octets.filled()) {
                (Poll::Ready(Ok(())), []) => {
                    // Without a goodbye it could be cut short: rustls then says so to whoever reads on.
                    this.connection.read_tls(&mut io::empty()).map(drop).and_then(|()| this.give(buffer))
                }
                (Poll::Ready(Ok(())), octets) => this.take_in(octets, buffer),
                _ => Ok(()),
            };
            CAME.set(came);
            ready!(polled)?;
            taken.inspect_err(|_| {
                // The other end is told what it did wrong, if it can be told at once.
                let _: Poll<_> = this.poll_send(cx);
            })?;
            // Keys are renewed, or the like. If it cannot be written now, it goes with what is written next.
            if this.connection.wants_write() {
                let _: Poll<_> = this.poll_send(cx)?;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Stream<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let taken = this.connection.writer().write(octets)?;
            let sent = this.poll_send(cx)?;
            if taken > 0 || octets.is_empty() {
                // What the socket did not take is its own to write when it can: `poll_flush`.
                return Poll::Ready(Ok(taken));
            }
            ready!(sent);
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Said once, however often this is asked.
        this.connection.send_close_notify();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

/// A socket as rustls writes to it.
struct Socket<'a, 'b, T> {
    io: &'a mut T,
    cx: &'a mut Context<'b>,
}

impl<T: AsyncWrite + Unpin> Socket<'_, '_, T> {
    fn blocking(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
        match polled {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<T: AsyncWrite + Unpin> io::Write for Socket<'_, '_, T> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Self::blocking(Pin::new(&mut *self.io).poll_write(self.cx, octets))
    }

    fn write_vectored(&mut self, octets: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Self::blocking(Pin::new(&mut *self.io).poll_write_vectored(self.cx, octets))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
