//! The prober: one task a cluster whose instances are checked, on the control runtime, that asks each for its health when the registry,
//! or the list, says so. What an answer says is told by the check; what becomes of it, by whoever is told.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use portunus_proto::bindu::HealthCheckResponse;
use portunus_proto::health::HealthCheckResponse as StandardResponse;
use portunus_proto::health::health_check_response::ServingStatus;
use prost::Message;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;

use super::side::{Failure, UnaryClient};
use crate::registry::{Finding, Instance, Patients, Probe};

/// Probes under way at once: a thousand silent instances must not open a thousand connections.
const AT_ONCE: usize = 64;
/// Those that come due within this are asked together: waking for each of a thousand a second costs more than the asking.
const TURN: Duration = Duration::from_millis(20);
/// How often what has run out is forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// How an instance is asked, and what its answer says.
#[derive(Clone, Debug)]
pub struct Check {
    path: Arc<str>,
    wellness: Wellness,
}

/// Which answer says that an instance is well.
#[derive(Clone, Debug)]
pub enum Wellness {
    /// That of an agent of Bindu which says so; and that of one that has no such method.
    Agent,
    /// That of `grpc.health.v1` which says `SERVING`.
    Serving,
    /// Any, with the status OK.
    Any,
    /// Somebody else knows.
    Told(Arc<dyn Judge>),
}

/// Knows which answer says that an instance is well.
pub trait Judge: Debug + Send + Sync {
    /// Judges an answer: its message, or its status and what was said with it.
    ///
    /// # Errors
    /// The instance is not well, and why.
    fn judge(&self, instance: &Instance, answer: Result<&[u8], (i32, &str)>) -> Result<(), String>;
}

impl Check {
    /// Calls this method with an empty message.
    pub fn new(service: &str, method: &str, wellness: Wellness) -> Self {
        Self { path: format!("/{service}/{method}").into(), wellness }
    }

    /// That of agents of Bindu.
    pub fn of_agents() -> Self {
        Self::new("bindu.grpc.AgentHandler", "HealthCheck", Wellness::Agent)
    }

    /// The method's name.
    fn method(&self) -> &str {
        self.path.rsplit_once('/').map_or(&*self.path, |(_, method)| method)
    }
}

/// Probes instances for as long as it is polled; each by the check of its moment, which a reload may replace.
pub async fn run(patients: Arc<impl Patients>, client: Arc<dyn UnaryClient>, check: Arc<ArcSwap<Check>>) {
    let mut under_way = FuturesUnordered::new();
    let mut sweep = Instant::now() + SWEEP;
    let mut turn = Instant::now();
    let mut attending = client.attend();
    loop {
        let now = Instant::now();
        if now >= sweep {
            patients.sweep(now);
            client.tidy();
            sweep = now + SWEEP;
        }
        if now >= turn {
            for probe in patients.take_probes(AT_ONCE - under_way.len(), now) {
                under_way.push(ask(&*client, check.load_full(), probe));
            }
            // With all hands busy the next turn comes when one is free.
            turn = if under_way.len() < AT_ONCE { now + TURN } else { now };
        }
        let due = patients.next_probe().filter(|_| under_way.len() < AT_ONCE);
        let until = due.map_or(sweep, |due| due.max(turn).min(sweep));
        tokio::select! {
            Some((probe, finding)) = under_way.next() => patients.probed(&probe, &finding, Instant::now()),
            // Somebody waits for what it finds.
            () = patients.probe_wanted() => turn = Instant::now(),
            () = &mut attending => {}
            () = sleep_until(until) => {}
        }
    }
}

async fn ask(client: &dyn UnaryClient, check: Arc<Check>, probe: Probe) -> (Probe, Finding) {
    let asked = client.unary(&probe.instance, &check.path, Bytes::new());
    let finding = match timeout(probe.timeout, asked).await {
        Err(_) => Finding::Silent(format!("no answer to {} within {:?}", check.method(), probe.timeout)),
        Ok(answer) => check.finding(&probe.instance, answer),
    };
    (probe, finding.clipped())
}

impl Check {
    fn finding(&self, instance: &Instance, answer: Result<Bytes, Failure>) -> Finding {
        let judged = |told: Result<(), String>| told.map_or_else(Finding::Ill, |()| Finding::Alive(None));
        match (&self.wellness, answer) {
            (_, Err(Failure::Refused(why))) => Finding::Refused(why),
            (_, Err(Failure::Unreachable(why))) => Finding::Silent(why),
            (Wellness::Agent, Ok(message)) => of_agent(message),
            // The Kotlin SDK and home-made ones: no reason to keep calls from somebody who is there.
            (Wellness::Agent, Err(Failure::Status(Code::Unimplemented, _))) => {
                Finding::Alive(Some("HealthCheck is not implemented; it answers, so it counts as healthy".into()))
            }
            (Wellness::Serving, Ok(message)) => of_standard(message),
            (Wellness::Serving, Err(Failure::Status(Code::Unimplemented, _))) => {
                let why =
                    "it does not serve grpc.health.v1: name a method that it has as the cluster's `health.method`";
                Finding::Ill(why.into())
            }
            (Wellness::Any, Ok(_)) => Finding::Alive(None),
            (Wellness::Told(judge), Ok(message)) => judged(judge.judge(instance, Ok(&message))),
            (Wellness::Told(judge), Err(Failure::Status(code, message))) => {
                judged(judge.judge(instance, Err((code.into(), &message))))
            }
            (_, Err(Failure::Status(code, message))) => {
                Finding::Ill(format!("{} answered {code:?}: {message}", self.method()))
            }
        }
    }
}

fn of_agent(message: Bytes) -> Finding {
    match HealthCheckResponse::decode(message) {
        Ok(response) if response.healthy => Finding::Alive(None),
        Ok(response) if response.message.is_empty() => Finding::Ill("it answers that it is not healthy".into()),
        Ok(response) => Finding::Ill(format!("it answers that it is not healthy: {}", response.message)),
        Err(error) => Finding::Ill(format!("its answer is no HealthCheckResponse: {error}")),
    }
}

fn of_standard(message: Bytes) -> Finding {
    match StandardResponse::decode(message) {
        Ok(response) if response.status() == ServingStatus::Serving => Finding::Alive(None),
        Ok(response) => Finding::Ill(format!("it answers {}", response.status().as_str_name())),
        Err(error) => Finding::Ill(format!("its answer is no HealthCheckResponse: {error}")),
    }
}

#[cfg(test)]
mod tests;
