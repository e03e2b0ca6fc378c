//! Waiting for the proxy to come to rest, and what it holds then. Used by the soak before and after its load.

use std::time::Duration;

use portunus_proto::echo::Chunk;
use portunus_proto::echo::echo_client::EchoClient;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::{Error, Result};

/// For open calls to end once their callers have.
const CALLS: Duration = Duration::from_secs(10);
/// h2 remembers streams that it reset for a second, and forgets them when something moves on the connection.
const QUIET: Duration = Duration::from_secs(4);
/// For memory to come back, beyond that.
const MEMORY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);

/// Memory of a proxy at rest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    /// jemalloc's count.
    pub(crate) allocated: u64,
    pub(crate) resident: u64,
}

impl Held {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        Self {
            allocated: metrics.sum("portunus_allocated_bytes", None),
            resident: metrics.sum("process_resident_memory_bytes", None),
        }
    }
}

/// Waits until every call that began has ended, at the proxy and by its own count.
pub(crate) async fn calls(proxy: &Proxy) -> Result<Metrics> {
    let deadline = Instant::now() + CALLS;
    loop {
        let metrics = proxy.metrics().await?;
        let open = metrics.sum("portunus_open_calls", None);
        let owed = metrics.sum("grpc_server_started_total", None) - metrics.sum("grpc_server_handled_total", None);
        if (open == 0 && owed == 0 && proxy.in_flight().await? == 0) || Instant::now() > deadline {
            return Ok(metrics);
        }
        sleep(LOOK).await;
    }
}

/// Waits for what is only kept for a while to go, then until at most `enough` bytes are allocated, if that comes. Also
/// how long that took.
pub(crate) async fn memory(proxy: &Proxy, clients: &[EchoClient<Channel>], enough: u64) -> Result<(Held, Duration)> {
    let start = Instant::now();
    loop {
        // So that every connection looks at what it remembers: the caller's, and a few each to the instances.
        for client in clients {
            for _ in 0..12 {
                client.clone().unary(Chunk::default()).await.map_err(|status| Error::from(status.to_string()))?;
            }
        }
        sleep(LOOK).await;
        let held = Held::of(&proxy.metrics().await?);
        let elapsed = start.elapsed();
        if (elapsed >= QUIET && held.allocated <= enough) || elapsed >= QUIET + MEMORY {
            return Ok((held, elapsed));
        }
    }
}
