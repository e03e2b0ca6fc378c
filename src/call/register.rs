//! Serves `bindu.grpc.BinduService` for a `register_into` route: from a decoded request to its response. A refusal is
//! gRPC OK with success = false (acknowledged = false), as the core does it. Knows no wire, no route and no core: it asks
//! the registry, which has the core told.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use filter_api::Reason;
use portunus_proto::bindu::{
    HeartbeatRequest, HeartbeatResponse, RegisterAgentRequest, RegisterAgentResponse, UnregisterAgentRequest,
    UnregisterAgentResponse,
};
use prost::Message;
use tokio::time::Instant;

use super::judge::Applicant;
use crate::observe::metrics::ListenerMetrics;
use crate::registry::{
    Admitted, Beat, Caller, Card, Departure, Forward, Judgement, Place, Plan, Refusal, Registered, Registry, Verdict,
    Warrant, clip,
};
use crate::upstream::Network;

/// How long the core has to answer before an SDK is told success without it. SDKs set no deadline, but people wait.
const CORE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the disk has.
const DISK_PATIENCE: Duration = Duration::from_secs(10);
/// For the look-up of a name.
const LOOK_UP: Duration = Duration::from_secs(5);

/// The registrar of one registry cluster.
#[derive(Clone, Debug)]
pub struct Registrar {
    registry: Arc<Registry>,
    /// Looks up what an SDK gives by name.
    network: Arc<dyn Network>,
    /// Where refusals of another owner are counted as what they are; what else is refused is counted by the registry alone.
    listener: Option<Arc<ListenerMetrics>>,
    /// Who wants to register, where not everybody may.
    applicant: Option<Applicant>,
    /// By what its caller was let in: kept with what it registers.
    warrant: Option<Arc<dyn Warrant>>,
}

impl Registrar {
    /// Registers into `registry`.
    pub fn new(registry: Arc<Registry>, network: Arc<dyn Network>) -> Self {
        Self { registry, network, listener: None, applicant: None, warrant: None }
    }

    /// The same, for calls that come in on this listener.
    #[must_use]
    pub fn on(self, listener: &Arc<ListenerMetrics>) -> Self {
        Self { listener: Some(Arc::clone(listener)), ..self }
    }

    /// The same, for a caller that may have to be admitted first.
    #[must_use]
    pub(super) fn for_applicant(self, applicant: Option<Applicant>) -> Self {
        Self { applicant, ..self }
    }

    /// The same, for a caller that was let in by this.
    #[must_use]
    pub(super) fn under(self, warrant: Arc<dyn Warrant>) -> Self {
        Self { warrant: Some(warrant), ..self }
    }

    fn count_refused(&self, reason: &str) {
        if let Some(listener) = self.listener.as_ref().filter(|_| reason == Reason::Owner.as_str()) {
            listener.refused(Reason::Owner);
        }
    }

    /// Whether another process takes registrations now.
    pub fn is_handed_over(&self) -> bool {
        self.registry.is_handed_over()
    }

    /// RegisterAgent. Takes as long as the core does, at most 10 s. Dropping it gives the registration up.
    pub async fn register(&self, request: RegisterAgentRequest, caller: &Caller) -> RegisterAgentResponse {
        match self.try_register(request, caller).await {
            Ok((admitted, response)) => {
                self.registry.metrics().registered(admitted.as_str());
                response
            }
            Err(refusal) => {
                self.registry.metrics().registered("refused");
                self.count_refused(refusal.reason);
                let (cluster, peer) = (&**self.registry.name(), caller.peer);
                tracing::warn!(cluster, %peer, reason = refusal.reason, error = refusal.error, "registration is refused");
                RegisterAgentResponse { success: false, error: refusal.error, ..RegisterAgentResponse::default() }
            }
        }
    }

    /// Heartbeat: acknowledged for every agent that the registry knows, if the caller is its owner.
    pub fn heartbeat(&self, request: &HeartbeatRequest, caller: &Caller, now: Instant) -> HeartbeatResponse {
        let (word, acknowledged) = match self.registry.heartbeat(&request.agent_id, caller, now) {
            Beat::Acknowledged(_) => {
                if let Some(warrant) = &self.warrant {
                    self.registry.vouch(&request.agent_id, caller, warrant);
                }
                ("acknowledged", true)
            }
            Beat::Unknown => ("unknown", false),
            Beat::NotOwner => ("refused", false),
        };
        if word == "refused" {
            self.count_refused(Reason::Owner.as_str());
        }
        self.registry.metrics().heartbeat(word);
        HeartbeatResponse { acknowledged, server_timestamp: unix_millis() }
    }

    /// UnregisterAgent: the caller's instance gets no new calls and keeps those that it has.
    pub fn unregister(
        &self,
        request: &UnregisterAgentRequest,
        caller: &Caller,
        now: Instant,
    ) -> UnregisterAgentResponse {
        match self.registry.unregister(&request.agent_id, caller, now) {
            Ok(departure) => {
                let (cluster, agent) = (&**self.registry.name(), request.agent_id.as_str());
                if let Departure::Watched(count) = departure {
                    tracing::info!(
                        cluster,
                        agent,
                        count,
                        "several instances may be leaving: the first to stop answering is"
                    );
                }
                self.registry.metrics().unregistered("removed");
                UnregisterAgentResponse { success: true, error: String::new() }
            }
            Err(Refusal { reason, error }) => {
                self.count_refused(reason);
                self.registry.metrics().unregistered(if reason == "unknown" { "unknown" } else { "refused" });
                UnregisterAgentResponse { success: false, error }
            }
        }
    }

    async fn try_register(
        &self,
        request: RegisterAgentRequest,
        caller: &Caller,
    ) -> Result<(Admitted, RegisterAgentResponse), Refusal> {
        let settings = self.registry.settings();
        let refuse = |error| Refusal { reason: "config", error };
        let skills: usize = request.skills.iter().map(Message::encoded_len).sum();
        let most = settings.limits.config_bytes;
        let left = most.checked_sub(skills).ok_or_else(|| {
            refuse(format!(
                "the skills have {skills} bytes, and at most {most} are taken with config_json: shorten their raw_content"
            ))
        })?;
        let card = Card::read(&request.config_json, left, &settings.config_allow).map_err(refuse)?;
        if let Some(applicant) = &self.applicant {
            let callback = &request.grpc_callback_address;
            let admitted = applicant.is_admitted(&card.identity, callback, &request.config_json);
            admitted.map_err(|error| Refusal { reason: "denied", error })?;
        }
        if let (None, Some(problem)) = (&settings.core, &card.problem) {
            return Err(refuse(problem.clone()));
        }
        if !card.dropped.is_empty() {
            let (cluster, agent) = (&**self.registry.name(), &*card.identity.id);
            let keys = card.dropped.join(", ");
            tracing::warn!(cluster, agent, keys, "keys of config_json that are not for the core are left out");
        }
        let registered = Registered::new(&card.identity, &request.grpc_callback_address, &request.config_json);
        let forward = Forward { config: card.config.clone(), skills: request.skills };
        let place = self.placed(&request.grpc_callback_address, caller).await?;
        let plan = self.registry.plan(&card, forward, place, caller, Instant::now())?;
        // Hangs here, and not in a task, so that an SDK that gives up takes its registration with it.
        let asked = tokio::time::timeout(CORE_PATIENCE, self.registry.core_settles(&card.identity.id));
        let response = match (asked.await.unwrap_or(Verdict::Unanswered), card.problem) {
            (Verdict::Refused(error), _) => return Err(Refusal { reason: "core", error }),
            (Verdict::Unanswered, Some(problem)) => return Err(refuse(problem)),
            // Not what the core accepted, but what it would refuse: it must not become what a restarted core is told.
            (Verdict::Accepted(_), Some(problem)) if !plan.is_forwarded() => return Err(refuse(problem)),
            (Verdict::Accepted(answer), _) if card.url.is_empty() => answer,
            (Verdict::Accepted(answer), _) => RegisterAgentResponse { agent_url: card.url, ..answer },
            (Verdict::Unanswered, None) => RegisterAgentResponse {
                success: true,
                agent_id: card.identity.id.to_string(),
                did: card.identity.did.to_string(),
                agent_url: card.url,
                error: String::new(),
            },
        };
        let place = plan.place().clone();
        let (admitted, revision) = self.admit(plan, registered)?;
        if let Some(revision) = revision
            && let Err(why) = self.kept(revision).await
            && admitted != Admitted::Renewed
        {
            self.registry.take_back(&card.identity.id, &place, Instant::now());
            let error =
                format!("the registration cannot be kept, and would be lost with a restart of the proxy: {why}");
            return Err(Refusal { reason: "state", error });
        }
        Ok((admitted, response))
    }
}

impl Registrar {
    /// Adds the instance, or renews it, and looks whether that is still what is in force: what is replaced from here on is looked at for all.
    fn admit(&self, plan: Plan, registered: Registered) -> Result<(Admitted, Option<u64>), Refusal> {
        let Some(warrant) = &self.warrant else { return plan.admit(Instant::now()) };
        let (id, registered) = (Arc::clone(&plan.agent().id), Arc::new(registered));
        let admitted = plan.under(warrant, &registered).admit(Instant::now())?;
        match warrant.judge(Some(&registered)) {
            Judgement::Good => Ok(admitted),
            Judgement::Undecided(error) | Judgement::Withdrawn(error) => {
                self.registry.judge_agent(&id, Instant::now());
                Err(Refusal { reason: "denied", error })
            }
        }
    }

    /// Waits until a change is on the disk.
    async fn kept(&self, revision: u64) -> Result<(), Arc<str>> {
        let kept = tokio::time::timeout(DISK_PATIENCE, self.registry.is_kept(revision)).await;
        kept.unwrap_or_else(|_| Err(format!("it has not been written within {DISK_PATIENCE:?}").into()))
    }

    /// Where a caller says that its instance is, looked up and checked.
    async fn placed(&self, callback: &str, caller: &Caller) -> Result<Place, Refusal> {
        let place = self.registry.place(callback, caller)?;
        let Some((host, port)) = place.name() else { return Ok(place) };
        let addresses = match tokio::time::timeout(LOOK_UP, self.network.resolve(host, port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => {
                let error =
                    format!("`{}` cannot be looked up: {error}; use an address, or see to the name", clip(host));
                return Err(Refusal { reason: "address", error });
            }
            Err(_) => {
                let error = format!("the look-up of `{}` has not ended within {LOOK_UP:?}: try again", clip(host));
                return Err(Refusal { reason: "address", error });
            }
        };
        place.resolved(&addresses)
    }
}

fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
