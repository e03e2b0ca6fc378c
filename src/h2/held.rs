//! Bytes that the proxy holds between two streams, by the connection that they came over.
//!
//! A stream's window bounds what it may have waiting here, and that is right: credit goes back when bytes have gone on. But
//! the same bytes count against the window of the whole connection, so that a few callers (or instances) that do not move
//! would stop everybody else on it (FIELD.md T2). So a connection's window is as much larger as bytes are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use futures_util::task::AtomicWaker;

/// The count of a connection, shared by its streams and by whoever moves it.
#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicUsize,
    /// What the connection's window was last enlarged by.
    granted: AtomicUsize,
    driver: AtomicWaker,
}

impl Held {
    /// Bytes were taken off the connection. Wakes the driver once `step` more are held than it knows of.
    pub(super) fn take(&self, bytes: usize, step: usize) {
        let held = self.0.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.0.granted.load(Ordering::Relaxed) + step {
            self.0.driver.wake();
        }
    }

    /// Bytes have gone on, and their credit with them.
    pub(super) fn release(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What the connection's window is to be, where that has changed by `step` or more. Called by the driver in each turn.
    pub(super) fn window(&self, base: usize, step: usize, cx: &Context<'_>) -> Option<u32> {
        self.register(cx.waker());
        let (held, granted) = (self.0.bytes.load(Ordering::Relaxed), self.0.granted.load(Ordering::Relaxed));
        if held.abs_diff(granted) < step {
            return None;
        }
        self.0.granted.store(held, Ordering::Relaxed);
        // HTTP/2 knows no larger one (RFC 9113 §6.9.1).
        Some(u32::try_from(base + held).unwrap_or(u32::MAX).min((1 << 31) - 1))
    }

    fn register(&self, waker: &Waker) {
        self.0.driver.register(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::Held;

    #[test]
    fn a_window_follows_what_is_held_in_steps() {
        let (held, cx) = (Held::default(), Context::from_waker(Waker::noop()));
        held.take(90, 100);
        assert_eq!(held.window(1_000, 100, &cx), None);
        held.take(20, 100);
        assert_eq!(held.window(1_000, 100, &cx), Some(1_110));
        assert_eq!(held.window(1_000, 100, &cx), None);
        held.release(110);
        assert_eq!(held.window(1_000, 100, &cx), Some(1_000));
        held.take(usize::from(u16::MAX) << 16, 100);
        assert_eq!(held.window(1_000, 100, &cx), Some((1 << 31) - 1));
    }
}
