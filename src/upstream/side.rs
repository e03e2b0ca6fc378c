//! Unary calls that Portunus makes by itself, beside the data path: health checks. A connection an instance, which rests in between
//! in a task of its own and costs next to nothing then: a peer that says goodbye must not wait until it is asked again. Knows neither registry records nor calls.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;
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
}

/// Side calls over connections of their own.
#[derive(Debug)]
pub struct SideClient {
    network: Arc<dyn Network>,
    security: Arc<Security>,
    resting: Arc<Mutex<Resting>>,
}

/// Connections between two calls, by instance.
type Resting = HashMap<u64, Rested>;

/// A connection that rests. Dropped, it is closed.
#[derive(Debug)]
struct Rested {
    instance: Weak<Instance>,
    /// The era of TLS that it is of.
    era: u64,
    /// Has it given back.
    wake: oneshot::Sender<oneshot::Sender<Line>>,
}

impl Rested {
    fn begin(instance: &Arc<Instance>, era: u64, mut line: Line) -> Self {
        let (wake, woken) = oneshot::channel::<oneshot::Sender<Line>>();
        tokio::spawn(async move {
            tokio::select! {
                () = line.rest() => {}
                woken = woken => {
                    // Where nobody wants it back, it is closed.
                    if let Ok(back) = woken {
                        back.send(line).ok();
                    }
                }
            }
        });
        Self { instance: Arc::downgrade(instance), era, wake }
    }

    /// The connection, if it is still one.
    async fn end(self) -> Option<Line> {
        let (back, line) = oneshot::channel();
        self.wake.send(back).ok()?;
        line.await.ok()
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
            let rested = resting.lock().remove(&instance.id).filter(|rested| rested.era == place.era());
            let line = match rested {
                Some(rested) => rested.end().await,
                None => None,
            };
            let (line, answer) = ask(&*network, &place, line, &path, &message).await?;
            if line.lasts() && !instance.is_gone() {
                resting.lock().insert(instance.id, Rested::begin(&instance, place.era(), line));
            }
            answer
        }
        .boxed()
    }

    fn tidy(&self) {
        let mut resting = self.resting.lock();
        resting.retain(|_, rested| rested.instance.upgrade().is_some_and(|instance| !instance.is_gone()));
        resting.shrink_to_fit();
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
    rested: Option<Line>,
    path: &str,
    message: &[u8],
) -> Result<(Line, Result<Bytes, Failure>), Failure> {
    let authority = &place.authority();
    if let Some(mut line) = rested
        && let Ok(answer) = line.unary(authority, path, message).await
    {
        return Ok((line, answer));
    }
    let connected = timeout(CONNECT, Line::connect(network, place));
    let silent = |_| Failure::Unreachable(format!("no connection within {CONNECT:?}"));
    let mut line = connected.await.map_err(silent)?.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::Refused(error.to_string()),
        _ => Failure::Unreachable(error.to_string()),
    })?;
    let answer = line.unary(authority, path, message).await;
    answer.map(|answer| (line, answer)).map_err(|Broken(why)| Failure::Unreachable(why))
}

#[cfg(test)]
mod tests;
