//! Unary calls that Portunus makes by itself, beside the data path: health checks. A connection an instance, which rests in between
//! and costs nothing then. Knows neither registry records nor calls.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::Code;

use super::line::{Broken, Line};
use super::network::{Network, Place};
use super::security::Security;
use crate::registry::instance::Instance;

/// For a connection to be made; whoever asks has a limit for all of it.
const CONNECT: Duration = Duration::from_secs(5);

/// Why a side call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody listens there.
    #[error("connection refused: {0}")]
    Refused(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// It answered with this status.
    #[error("{0:?}: {1}")]
    Status(Code, String),
}

/// Calls a method of an instance with an encoded message. The caller sets the time limit.
pub trait UnaryClient: Send + Sync {
    /// `path` is `/package.Service/Method`, of a method that may be called twice; answers the encoded response message.
    fn unary(
        &self,
        instance: &Arc<Instance>,
        path: &Arc<str>,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>>;

    /// Lets go of what instances had that are gone.
    fn tidy(&self) {}

    /// Looks after connections that rest, for as long as it is polled; it never ends.
    fn attend(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }
}

/// Side calls over connections of their own.
#[derive(Debug)]
pub struct SideClient {
    network: Arc<dyn Network>,
    security: Arc<Security>,
    resting: Arc<Resting>,
}

/// Connections between two calls.
#[derive(Debug, Default)]
struct Resting {
    lines: Mutex<HashMap<u64, Rested>>,
    /// Instances that have said something on theirs.
    rung: Mutex<Vec<u64>>,
    ring: Notify,
}

/// One of them.
#[derive(Debug)]
struct Rested {
    instance: Weak<Instance>,
    /// Boxed, for it moves with every check.
    line: Box<Line>,
    /// Of TLS, when it was made.
    era: u64,
    /// Kept for as long as the connection: a check must not cost more for it.
    bell: Waker,
}

/// Rung by what comes over a connection that rests. One a connection, and no task: nothing is done until something comes.
struct Bell {
    instance: u64,
    resting: Weak<Resting>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Some(resting) = self.resting.upgrade() {
            resting.rung.lock().push(self.instance);
            resting.ring.notify_one();
        }
    }
}

impl Resting {
    fn take(&self, instance: u64, era: u64) -> Option<Rested> {
        self.lines.lock().remove(&instance).filter(|rested| rested.era == era)
    }

    fn put(&self, instance: u64, mut rested: Rested) {
        let mut lines = self.lines.lock();
        // What rings from here on finds it.
        if rested.line.rest(&mut Context::from_waker(&rested.bell)) {
            lines.insert(instance, rested);
        }
    }

    /// Looks at connections on which something came.
    fn look(&self) {
        for instance in std::mem::take(&mut *self.rung.lock()) {
            // It may carry a call by now, and rest again.
            let rested = self.lines.lock().remove(&instance);
            if let Some(rested) = rested {
                self.put(instance, rested);
            }
        }
    }
}

impl UnaryClient for SideClient {
    fn unary(
        &self,
        instance: &Arc<Instance>,
        path: &Arc<str>,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let (network, resting) = (Arc::clone(&self.network), Arc::clone(&self.resting));
        let place = Place::of(instance, &self.security);
        let (instance, path) = (Arc::clone(instance), Arc::clone(path));
        async move {
            let rested = resting.take(instance.id, place.era()).map(|rested| (rested.line, rested.bell));
            let (line, bell) = rested.map_or((None, None), |(line, bell)| (Some(line), Some(bell)));
            let (line, answer) = ask(&*network, &place, line, &path, &message).await?;
            if line.lasts() && !instance.is_gone() {
                let bell = bell.unwrap_or_else(|| {
                    Waker::from(Arc::new(Bell { instance: instance.id, resting: Arc::downgrade(&resting) }))
                });
                let rested = Rested { instance: Arc::downgrade(&instance), line, era: place.era(), bell };
                resting.put(instance.id, rested);
            }
            answer
        }
        .boxed()
    }

    fn tidy(&self) {
        let mut lines = self.resting.lines.lock();
        lines.retain(|_, rested| rested.instance.upgrade().is_some_and(|known| !known.is_gone()));
        lines.shrink_to_fit();
    }

    fn attend(&self) -> BoxFuture<'_, ()> {
        async {
            loop {
                self.resting.ring.notified().await;
                self.resting.look();
            }
        }
        .boxed()
    }
}

impl SideClient {
    /// No connection yet to the instances of a cluster that has this of TLS.
    pub fn new(network: Arc<dyn Network>, security: Arc<Security>) -> Self {
        Self { network, security, resting: Arc::default() }
    }
}

/// The answer, and the connection that can be used again. One that has rested may have broken meanwhile, or its peer may have said
/// goodbye on it: that is found out by asking, and asked again on a new one.
async fn ask(
    network: &dyn Network,
    place: &Place,
    rested: Option<Box<Line>>,
    path: &str,
    message: &[u8],
) -> Result<(Box<Line>, Result<Bytes, Failure>), Failure> {
    let authority = &place.authority();
    if let Some(mut line) = rested
        && let Ok(answer) = line.unary(authority, path, message).await
    {
        return Ok((line, answer));
    }
    let connected = timeout(CONNECT, Line::connect(network, place));
    let silent = |_| Failure::Unreachable(format!("no connection within {CONNECT:?}"));
    let line = connected.await.map_err(silent)?.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::Refused(error.to_string()),
        _ => Failure::Unreachable(error.to_string()),
    })?;
    let mut line = Box::new(line);
    let answer = line.unary(authority, path, message).await;
    answer.map(|answer| (line, answer)).map_err(|Broken(why)| Failure::Unreachable(why))
}

#[cfg(test)]
mod tests;
