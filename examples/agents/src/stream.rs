//! Streams of a backend, paced and broken off as the caller's metadata asks: `x-count`, `x-size` (bytes of a message),
//! `x-gap-us` (microseconds between messages), `x-fail-after` (messages before the stream fails with
//! `x-fail-after-status`, UNAVAILABLE by default).

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::front;

/// What a server-streaming method of ours returns.
pub(crate) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The stream knobs of one call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Knobs {
    pub(crate) count: Option<u64>,
    pub(crate) size: Option<usize>,
    pub(crate) gap: Duration,
    fail_after: Option<(u64, Code)>,
}

impl Knobs {
    pub(crate) fn of(metadata: &MetadataMap) -> Self {
        let number = |name| front::number_of(metadata.as_ref(), name);
        let status = number("x-fail-after-status")
            .map_or(Code::Unavailable, |code| Code::from_i32(i32::try_from(code).unwrap_or(i32::MAX)));
        Self {
            count: number("x-count"),
            size: number("x-size").map(|size| usize::try_from(size).unwrap_or(usize::MAX)),
            gap: Duration::from_micros(number("x-gap-us").unwrap_or(0)),
            fail_after: number("x-fail-after").map(|after| (after, status)),
        }
    }

    /// Sends what `items` gives, at this pace.
    pub(crate) fn send<T: Send + 'static>(self, items: impl Iterator<Item = T> + Send + 'static) -> Messages<T> {
        self.shape(stream::iter(items.map(Ok)))
    }

    /// Gives a stream this pace and this end.
    pub(crate) fn shape<T: Send + 'static>(
        self,
        messages: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Messages<T> {
        let state = (Box::pin(messages), 0_u64, Instant::now(), self);
        Box::pin(stream::unfold(Some(state), |state| async move {
            let (mut messages, number, start, knobs) = state?;
            if let Some((after, code)) = knobs.fail_after
                && number >= after
            {
                let why = format!("x-fail-after asked for {code:?} after {after} messages");
                return Some((Err(front::failure(code, &why, 0)), None));
            }
            let message = messages.next().await?;
            if number > 0 && !knobs.gap.is_zero() {
                // Against the start, not the last message: tokio sleeps whole milliseconds, and errors would add up.
                let sent = u32::try_from(number).unwrap_or(u32::MAX);
                tokio::time::sleep_until(start + knobs.gap.saturating_mul(sent)).await;
            }
            Some((message, Some((messages, number + 1, start, knobs))))
        }))
    }
}
