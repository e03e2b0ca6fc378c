//! Work on a call that may take its time: most of it does not, and is done within the turn.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;

use super::context::Call;
use super::turn::Turn;
use super::worker::{CallKey, Worker};

impl Turn<'_> {
    /// Does work that may take its time: what it comes to, where it does not. Where it does, it goes on beside the turn, and `then`
    /// takes what it comes to in a turn of its own.
    pub(super) fn at_once<T, F>(
        &self,
        work: F,
        then: impl FnOnce(&mut Turn<'_>, T) + Send + 'static,
    ) -> Result<T, AbortHandle>
    where
        T: Send,
        F: Future<Output = T> + Send + 'static,
    {
        let mut work = Box::pin(work);
        if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Ok(done);
        }
        let worker = Arc::clone(self.worker);
        let task = tokio::spawn(async move {
            let done = work.await;
            worker.turn(|turn| then(turn, done));
        });
        Err(task.abort_handle())
    }
}

/// A call that is away with such work. However the work ends, also by being dropped, the call comes back to its worker.
pub(super) struct Away {
    worker: Arc<Worker>,
    key: CallKey,
    call: Option<Box<Call>>,
}

impl Away {
    pub(super) fn new(worker: &Arc<Worker>, key: CallKey, call: Box<Call>) -> Self {
        Self { worker: Arc::clone(worker), key, call: Some(call) }
    }

    /// The call; `None` once it is back.
    pub(super) fn call(&mut self) -> Option<&mut Call> {
        self.call.as_deref_mut()
    }

    /// Gives it back.
    pub(super) fn back(mut self) -> Option<Box<Call>> {
        self.call.take()
    }
}

impl Drop for Away {
    /// The work was given up, because the call is over: only now can it be finished. A runtime that shuts down drops what is spawned
    /// at once, within a turn: then nobody is left to finish it for.
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let key = self.key;
            self.worker.turn_unless_within_one(|turn| turn.take_back(key, Some(call)));
        }
    }
}
