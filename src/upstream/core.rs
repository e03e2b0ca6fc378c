//! The client towards the Bindu core: carries out what the registry wishes to have the core told, one thing an agent at a
//! time. One task a registry cluster, on the control runtime. Whether and what to tell is the registry's to decide.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{HeartbeatRequest, RegisterAgentRequest, RegisterAgentResponse, UnregisterAgentRequest};
use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Channel;

use super::channel::{channel_to, failure};
use super::network::{Network, Place, addresses};
use super::side::Failure;
use crate::registry::instance::Target;
use crate::registry::{Registry, Wish};

const CONNECT: Duration = Duration::from_secs(5);
/// For one try. The real core takes about a second to start an agent's server; far longer when it is loaded.
const ATTEMPT: Duration = Duration::from_secs(30);
/// The wait after a first failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Between two questions whether the core still knows an agent; while it does not answer; and for the answer.
const WATCH: Duration = Duration::from_secs(2);
const RETURN: Duration = Duration::from_millis(500);
const BEAT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A core that cannot be told of a departure has most likely been restarted, and forgotten the agent by itself.
const FAREWELLS: u32 = 6;

/// Tells a registry's core what it should know.
#[derive(Debug)]
pub struct CoreClient {
    registry: Arc<Registry>,
    network: Arc<dyn Network>,
    channel: Mutex<Option<(Target, Channel)>>,
}

impl CoreClient {
    /// For the core that the registry's settings name (at any time: it follows reloads).
    pub fn new(registry: Arc<Registry>, network: Arc<dyn Network>) -> Arc<Self> {
        Arc::new(Self { registry, network, channel: Mutex::new(None) })
    }

    /// Works for as long as it is polled. Several agents at once, but one thing an agent: concurrent registrations of one
    /// agent become one call, and a departure never overtakes a registration.
    pub async fn run(self: Arc<Self>) {
        self.look_up_core().await;
        // Goes with this future, like the lanes.
        let mut watch = JoinSet::new();
        watch.spawn(Arc::clone(&self).watch());
        let mut lanes = JoinSet::new();
        let mut busy: HashMap<Arc<str>, (task::Id, Arc<Notify>)> = HashMap::new();
        loop {
            let mut wished = self.registry.take_wishes();
            tokio::select! {
                () = self.registry.wished(), if wished.is_empty() => continue,
                Some(done) = lanes.join_next_with_id(), if wished.is_empty() => {
                    let ended = done.map_or_else(|error| error.id(), |(id, ())| id);
                    let freed = busy.extract_if(|_, (task, _)| *task == ended);
                    // What was wished while the lane ended nobody has seen.
                    wished.extend(freed.map(|(id, _)| id));
                }
                () = std::future::ready(()), if !wished.is_empty() => {}
            }
            for id in wished {
                if let Some((_, nudge)) = busy.get(&id) {
                    nudge.notify_one();
                } else if self.registry.core_wish(&id).is_some() {
                    let nudge = Arc::new(Notify::new());
                    let task = lanes.spawn(Arc::clone(&self).lane(Arc::clone(&id), Arc::clone(&nudge))).id();
                    busy.insert(id, (task, nudge));
                }
            }
        }
    }

    /// Does what is wished about one agent until nothing is.
    async fn lane(self: Arc<Self>, id: Arc<str>, nudge: Arc<Notify>) {
        let mut failures = 0;
        while let Some(wish) = self.registry.core_wish(&id) {
            let done = match wish {
                Wish::Register { request, core_id, by_us } => self.register(&id, *request, core_id, by_us).await,
                Wish::Unregister(core_id) => self.unregister(&id, core_id, failures).await,
            };
            if done {
                failures = 0;
                continue;
            }
            let wait = FIRST_WAIT.saturating_mul(1 << failures.min(8)).min(LONGEST_WAIT);
            failures += 1;
            // Somebody who registers now waits for the answer: worth a try, but not a try for each of a crowd.
            sleep(FIRST_WAIT).await;
            tokio::select! {
                () = sleep(wait - FIRST_WAIT) => {}
                () = nudge.notified() => {}
            }
        }
    }

    async fn register(&self, id: &str, request: RegisterAgentRequest, core_id: String, by_us: bool) -> bool {
        // An agent that is known there keeps the callback that the core was told first, whatever it is told now.
        let known = self.knows(core_id).await.unwrap_or(false);
        if known && by_us {
            self.registry.core_confirmed(id);
            return true;
        }
        let answer = match self.client() {
            Ok(mut client) => timeout(ATTEMPT, client.register_agent(request)).await,
            Err(why) => Ok(Err(tonic::Status::unavailable(why.to_string()))),
        };
        let silent = match answer {
            Ok(Ok(answer)) => {
                self.registry.core_answered(id, answer.into_inner(), known);
                return true;
            }
            Ok(Err(status)) => match failure(&status) {
                // The real core throws on some configurations; asking again would make it throw for ever.
                Failure::Status(code, message) if !is_passing(code) => {
                    let error = format!("the core failed on the registration ({code:?}: {message}): see its log");
                    let answer = RegisterAgentResponse { success: false, error, ..RegisterAgentResponse::default() };
                    self.registry.core_answered(id, answer, false);
                    return true;
                }
                passing => ("unreachable", format!("the core cannot be asked: {passing}")),
            },
            Err(_) => ("timeout", format!("the core has not answered within {ATTEMPT:?}")),
        };
        self.registry.core_silent(id, silent.0, &silent.1);
        false
    }

    /// Asks now and then about one agent that the core should know: a core that has restarted knows none.
    async fn watch(self: Arc<Self>) {
        let mut reached = true;
        loop {
            sleep(if reached { WATCH } else { RETURN }).await;
            self.look_up_core().await;
            let Some((id, core_id)) = self.registry.core_should_know() else { continue };
            let knows = self.knows(core_id).await;
            if knows == Some(false) {
                self.registry.core_forgot(&id);
            }
            let answers = knows.is_some();
            if answers != std::mem::replace(&mut reached, answers) {
                let cluster = &**self.registry.name();
                if answers {
                    tracing::info!(cluster, "the core answers again");
                } else {
                    tracing::warn!(cluster, "the core does not answer");
                }
            }
        }
    }

    /// Whether the core knows an agent; nothing if it does not say.
    async fn knows(&self, agent_id: String) -> Option<bool> {
        let mut client = self.client().ok()?;
        let timestamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let beat = HeartbeatRequest { agent_id, timestamp: i64::try_from(timestamp).unwrap_or_default() };
        Some(timeout(BEAT, client.heartbeat(beat)).await.ok()?.ok()?.into_inner().acknowledged)
    }

    /// An instance must not be where the core is, whatever its name means now.
    async fn look_up_core(&self) {
        let core = self.registry.settings().core.clone();
        if let Some(core @ Target::Name(..)) = &core
            && let Ok(addresses) = addresses(&*self.network, core).await
        {
            self.registry.core_is_at(addresses);
        }
    }

    async fn unregister(&self, id: &str, core_id: String, failures: u32) -> bool {
        let Ok(mut client) = self.client() else { return self.give_up(id, failures, "no channel") };
        match timeout(ATTEMPT, client.unregister_agent(UnregisterAgentRequest { agent_id: core_id })).await {
            Ok(Ok(answer)) => {
                let answer = answer.into_inner();
                tracing::info!(
                    agent = id,
                    success = answer.success,
                    error = answer.error,
                    "the core was told that the agent left"
                );
                self.registry.core_left(id);
                true
            }
            Ok(Err(status)) => self.give_up(id, failures, &failure(&status).to_string()),
            Err(_) => self.give_up(id, failures, "no answer"),
        }
    }

    fn give_up(&self, id: &str, failures: u32, why: &str) -> bool {
        let enough = failures + 1 >= FAREWELLS;
        if enough {
            tracing::warn!(agent = id, error = why, "the core could not be told that the agent left; given up");
            self.registry.core_left(id);
        }
        enough
    }

    fn client(&self) -> Result<BinduServiceClient<Channel>, Failure> {
        let target = self.registry.settings().core.clone();
        let target = target.ok_or_else(|| Failure::Unreachable("the registry has no core any more".into()))?;
        let mut kept = self.channel.lock();
        if let Some((known, channel)) = &*kept
            && *known == target
        {
            return Ok(BinduServiceClient::new(channel.clone()));
        }
        let channel = channel_to(&self.network, Place::of_core(target.clone()), CONNECT)?;
        *kept = Some((target, channel.clone()));
        Ok(BinduServiceClient::new(channel))
    }
}

/// Whether a status may be another one at the next try.
fn is_passing(code: Code) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable};
    matches!(code, Aborted | Cancelled | DeadlineExceeded | ResourceExhausted | Unavailable)
}

#[cfg(test)]
mod tests;
