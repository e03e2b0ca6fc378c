//! A write buffer around a socket that leaves when its connection is polled next, not when it is asked to flush.
//!
//! h2 flushes after every DATA frame of 256 bytes or more: one to two system calls a request. Flushing here only marks
//! the buffer and wakes the connection's task, so that everything that other tasks queue in the same turn leaves in one
//! write (../shared/PERFORMANCE.md, "h2 write batching", measured at a half of the cost of a small call).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait at the most. A larger write goes to the socket at once.
const CAPACITY: usize = 64 * 1024;

/// The wrapper.
#[derive(Debug)]
pub struct Deferred<T> {
    socket: T,
    waiting: BytesMut,
    /// The next poll of the connection writes.
    marked: bool,
}

impl<T> Deferred<T> {
    /// Wraps a socket.
    pub fn new(socket: T) -> Self {
        Self { socket, waiting: BytesMut::new(), marked: false }
    }
}

impl<T: AsyncWrite + Unpin> Deferred<T> {
    /// Writes what waits.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        // An idle connection keeps no buffer: a thousand of them would keep 64 MiB.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Makes room for `more` bytes, by writing what waits where they would not fit.
    fn make_room(&mut self, cx: &mut Context<'_>, more: usize) -> Poll<io::Result<()>> {
        if self.waiting.len() + more > CAPACITY { self.drain(cx) } else { Poll::Ready(Ok(())) }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Deferred<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        // A connection reads first when it is polled: this is the turn after the one that filled the buffer.
        if me.marked {
            match me.drain(cx) {
                Poll::Ready(Ok(())) => me.marked = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // The socket is full; its writability wakes the task, and the mark stays.
                Poll::Pending => {}
            }
        }
        Pin::new(&mut me.socket).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deferred<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        ready!(me.make_room(cx, bytes.len()))?;
        if bytes.len() >= CAPACITY {
            return Pin::new(&mut me.socket).poll_write(cx, bytes);
        }
        me.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Not vectored: h2 then copies small payloads behind their frame heads instead of writing two slices each.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.marked {
            self.marked = true;
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::{CAPACITY, Deferred};

    #[tokio::test]
    async fn a_flush_waits_for_the_next_read() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let mut near = Deferred::new(near);
        near.write_all(b"one").await.unwrap();
        near.flush().await.unwrap();
        let mut buffer = [0; 8];
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), far.read(&mut buffer)).await;
        assert!(early.is_err(), "the bytes left with the flush");
        far.write_all(b"x").await.unwrap();
        near.read_u8().await.unwrap();
        assert_eq!(far.read(&mut buffer).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_reordered_over_the_capacity() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let expected: Vec<u8> = (0..3 * CAPACITY).map(|i| (i % 251) as u8).collect();
        let sent = expected.clone();
        let writer = tokio::spawn(async move {
            let mut near = Deferred::new(near);
            for chunk in sent.chunks(1_000) {
                near.write_all(chunk).await.unwrap();
                near.flush().await.unwrap();
            }
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        writer.await.unwrap();
        assert_eq!(got.len(), 2 * expected.len());
        assert!(got[..expected.len()] == expected && got[expected.len()..] == expected);
    }
}
