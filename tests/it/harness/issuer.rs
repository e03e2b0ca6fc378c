//! An issuer of tokens: keys of its own, and a server that publishes them as a test says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) use super::signing::Signer;

/// Publishes a key set. Dropped, it stops.
pub(crate) struct KeyServer {
    address: SocketAddr,
    state: Arc<Mutex<Published>>,
    task: JoinHandle<()>,
}

struct Published {
    body: String,
    delay: Duration,
    asked: Vec<Instant>,
}

impl KeyServer {
    pub(crate) async fn start(body: impl Into<String>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), body).await
    }

    pub(crate) async fn start_at(address: SocketAddr, body: impl Into<String>) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let published = Published { body: body.into(), delay: Duration::ZERO, asked: Vec::new() };
        let state = Arc::new(Mutex::new(published));
        let task = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// From now on it answers so.
    pub(crate) fn publish(&self, body: impl Into<String>, delay: Duration) {
        let mut state = self.state.lock();
        state.body = body.into();
        state.delay = delay;
    }

    /// When it was asked.
    pub(crate) fn asked(&self) -> Vec<Instant> {
        self.state.lock().asked.clone()
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<Published>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(octet) = stream.read_u8().await else { return };
                head.push(octet);
            }
            let (body, delay) = {
                let mut state = state.lock();
                state.asked.push(Instant::now());
                (state.body.clone(), state.delay)
            };
            tokio::time::sleep(delay).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.ok();
        });
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Good claims of this issuer about somebody, with these changed.
pub(crate) fn claims(issuer: &str, subject: &str, changed: Value) -> Value {
    let mut claims = json!({"iss": issuer, "aud": "test", "sub": subject, "exp": now() + 600});
    claims.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    claims
}
