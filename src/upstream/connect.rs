//! One connection to an instance: looked up, dialled, and heard from, all within one bound of time.

use std::io;
use std::time::Duration;

use super::line::Line;
use super::network::{Forbidden, Io, Network, Place, dial};
use super::security::Insecure;

/// From the look-up to the peer's first word. A peer that connects and stays silent must not hold calls for longer
/// (FIELD.md T21: a pool that waits for ever).
const PATIENCE: Duration = Duration::from_secs(5);

/// Of somebody who shakes hands and then says nothing of HTTP/2.
const HUNG_UP: &str = "after the handshake it hung up, or spoke something else than HTTP/2: it may want a certificate of ours (`certificate` and `key`), or another than it was shown";

/// Why a connection could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// The name has no address.
    #[error("the name could not be resolved")]
    Unresolved,
    /// Nothing came within the time.
    #[error("no answer within 5 s")]
    TimedOut,
    /// The peer hung up, or does not speak HTTP/2.
    #[error("the peer does not speak HTTP/2")]
    NoHttp2,
    /// Its address is one that may not be dialled (any more).
    #[error("its address may not be dialled")]
    Forbidden,
    /// It is not who it should be, or does not speak TLS as it should: why, for the operator alone.
    #[error("TLS: {0}")]
    Insecure(String),
    /// Another error of the network.
    #[error("the network failed: {0}")]
    Io(io::ErrorKind),
}

impl ConnectError {
    fn of(error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Forbidden>()) {
            return Self::Forbidden;
        }
        if let Some(Insecure(why)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::Insecure(why.clone());
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::NotFound => Self::Unresolved,
            kind => Self::Io(kind),
        }
    }
}

/// Dials an instance, and has `greet` wait for the peer's first word on the socket, all within one bound of time: who connects
/// and says nothing is not an upstream.
pub async fn connect<T, F>(
    network: &dyn Network,
    place: &Place,
    greet: impl FnOnce(Box<dyn Io>) -> F,
) -> Result<T, ConnectError>
where
    F: Future<Output = Option<T>>,
{
    let opened = async {
        let socket = dial(network, place).await.map_err(|error| ConnectError::of(&error))?;
        greet(socket).await.ok_or_else(|| match place.is_secure() {
            false => ConnectError::NoHttp2,
            // With TLS 1.3 it judges what we have shown only once we take the handshake to be over.
            true => ConnectError::Insecure(HUNG_UP.to_owned()),
        })
    };
    tokio::time::timeout(PATIENCE, opened).await.unwrap_or(Err(ConnectError::TimedOut))
}

/// Whether somebody at a place takes connections and speaks HTTP/2.
///
/// # Errors
/// Nobody does.
pub async fn knock(network: &dyn Network, place: &Place) -> Result<(), ConnectError> {
    let secure = place.is_secure();
    connect(network, place, |io| async move { Line::over(io, secure).greet().await.ok() }).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::{ConnectError, Place, connect};
    use crate::registry::Target;
    use crate::upstream::Tcp;

    fn place(address: std::net::SocketAddr) -> Place {
        Place::of_core(Target::Socket(address))
    }

    #[tokio::test]
    async fn a_closed_port_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let greet = |_| async { Some(()) };
        assert_eq!(connect(&Tcp, &place(address), greet).await, Err(ConnectError::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = tokio::spawn(async move { listener.accept().await });
        let greet = |_| std::future::pending::<Option<()>>();
        assert_eq!(connect(&Tcp, &place(address), greet).await, Err(ConnectError::TimedOut));
        drop(silent.await.unwrap());
    }
}
