//! Unary calls that Portunus makes by itself, beside the data path: health checks. A connection an instance, which rests in between
//! and costs nothing then. Knows neither registry records nor calls.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
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

/// Connections between two calls, by instance; each with the era of TLS that it is of.
type Resting = HashMap<u64, (Weak<Instance>, Line, u64)>;

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
            let rested = resting.lock().remove(&instance.id).filter(|(_, _, era)| *era == place.era());
            let (line, answer) = ask(&*network, &place, rested.map(|(_, line, _)| line), &path, &message).await?;
            if line.lasts() && !instance.is_gone() {
                resting.lock().insert(instance.id, (Arc::downgrade(&instance), line, place.era()));
            }
            answer
        }
        .boxed()
    }

    fn tidy(&self) {
        let mut resting = self.resting.lock();
        resting.retain(|_, (known, ..)| known.upgrade().is_some_and(|known| !known.is_gone()));
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
