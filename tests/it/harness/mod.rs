//! What whole-proxy tests are made of: a proxy to test, callers that speak HTTP/2 frame by frame, upstreams that do as
//! they are told, and patience in place of sleeps.

mod admin;
mod caller;
mod filters;
mod folder;
mod front;
mod grpc;
mod issuer;
mod process;
mod proxy;
mod raw;
mod reflecting;
#[path = "../../../tokens/tests/support/mod.rs"]
mod signing;
mod tls;
mod upstream;
mod worker;

use std::net::SocketAddr;
use std::time::Duration;

use portunus_agents::echo;

pub(crate) use admin::{Series, get, post, post_body};
pub(crate) use caller::{Answer, Ask, Caller, Open};
pub(crate) use filters::seen;
pub(crate) use folder::Folder;
pub(crate) use front::Front;
pub(crate) use grpc::{chunk, framed, framed_with, messages, unchunk};
pub(crate) use issuer::{KeyServer, Signer, claims, now};
pub(crate) use process::{Process, free_addresses, full_at, running};
pub(crate) use proxy::{Setup, TestProxy};
pub(crate) use raw::{Frame, RawUpstream, RawWire, Say, kind};
pub(crate) use reflecting::{Manner, Reflecting, Said, set};
pub(crate) use tls::{Authority, Shown};
pub(crate) use upstream::{Got, Upstream, fields, head};
pub(crate) use worker::{Held, TestWorker};

/// The longest that a test waits for something that must come. Only a broken proxy makes it wait that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Waits until a condition holds, which may `.await`.
macro_rules! eventually {
    ($condition:expr) => {
        $crate::harness::eventually!($condition, "`{}` never came true", stringify!($condition))
    };
    ($condition:expr, $($why:tt)+) => {{
        let begun = tokio::time::Instant::now();
        while !$condition {
            assert!(begun.elapsed() < $crate::harness::PATIENCE, $($why)+);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }};
}
pub(crate) use eventually;

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it did not come within the patience of a test")
}

/// An Echo that names itself.
pub(crate) async fn echo(instance: &str) -> echo::Server {
    let options = echo::Options { instance: instance.to_owned(), max_message: 64 << 20, ..echo::Options::default() };
    echo::Server::start(options).await.unwrap()
}

/// A port where nobody listens.
pub(crate) fn refused_port() -> SocketAddr {
    // Bound and not listening: nobody else can take it, and a connect is refused.
    static HELD: std::sync::OnceLock<(socket2::Socket, SocketAddr)> = std::sync::OnceLock::new();
    HELD.get_or_init(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    })
    .1
}

/// A port that accepts and never says a word.
pub(crate) fn silent_port() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
