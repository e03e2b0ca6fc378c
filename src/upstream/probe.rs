//! The prober: one task a registry cluster, on the control runtime, that asks each instance for its health when the
//! registry says so. It judges nothing: what it finds, it tells the registry.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use portunus_proto::bindu::HealthCheckResponse;
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;

use super::side::{Failure, UnaryClient};
use crate::registry::{Finding, Probe, Registry};

/// Probes under way at once: a thousand silent instances must not open a thousand connections.
const AT_ONCE: usize = 64;
/// How often what has run out is forgotten.
const SWEEP: Duration = Duration::from_secs(10);
const HEALTH_CHECK: &str = "/bindu.grpc.AgentHandler/HealthCheck";

/// Probes the registry's instances for as long as it is polled.
pub async fn run(registry: Arc<Registry>, client: Arc<dyn UnaryClient>) {
    let mut under_way = FuturesUnordered::new();
    let mut sweep = Instant::now() + SWEEP;
    loop {
        let now = Instant::now();
        if now >= sweep {
            registry.sweep(now);
            client.tidy();
            sweep = now + SWEEP;
        }
        for probe in registry.take_probes(AT_ONCE - under_way.len(), now) {
            under_way.push(ask(&*client, probe));
        }
        // With all hands busy the next turn comes when one is free.
        let due = registry.next_probe().filter(|_| under_way.len() < AT_ONCE);
        let until = due.map_or(sweep, |due| due.min(sweep));
        tokio::select! {
            Some((probe, finding)) = under_way.next() => registry.probed(&probe, &finding, Instant::now()),
            () = registry.probe_wanted() => {}
            () = sleep_until(until) => {}
        }
    }
}

async fn ask(client: &dyn UnaryClient, probe: Probe) -> (Probe, Finding) {
    let asked = client.unary(&probe.instance, HEALTH_CHECK, Bytes::new());
    let finding = match timeout(probe.timeout, asked).await {
        Err(_) => Finding::Silent(format!("no answer to HealthCheck within {:?}", probe.timeout)),
        Ok(Ok(message)) => read(message),
        Ok(Err(Failure::Refused(why))) => Finding::Refused(why),
        Ok(Err(Failure::Unreachable(why))) => Finding::Silent(why),
        // The Kotlin SDK and home-made ones: no reason to keep calls from somebody who is there.
        Ok(Err(Failure::Status(Code::Unimplemented, _))) => {
            Finding::Alive(Some("HealthCheck is not implemented; it answers, so it counts as healthy".into()))
        }
        Ok(Err(Failure::Status(code, message))) => Finding::Ill(format!("HealthCheck answered {code:?}: {message}")),
    };
    (probe, finding.clipped())
}

fn read(message: Bytes) -> Finding {
    match HealthCheckResponse::decode(message) {
        Ok(response) if response.healthy => Finding::Alive(None),
        Ok(response) if response.message.is_empty() => Finding::Ill("it answers that it is not healthy".into()),
        Ok(response) => Finding::Ill(format!("it answers that it is not healthy: {}", response.message)),
        Err(error) => Finding::Ill(format!("its answer is no HealthCheckResponse: {error}")),
    }
}

#[cfg(test)]
mod tests;
