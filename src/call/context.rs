//! What a call runs in: the things that all calls share, the connection it came over, and what is known of it so far.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use fields::{Fields, RequestHead};
use filter_api::{Bounds, CallInfo, Code, MethodKind, Outcome, PeerIdentity, Reason, Types};
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::snapshot::Listener;
use crate::expr::Facts;
use crate::filters::Followers;
use crate::in_force::InForce;
use crate::observe::metrics::{ListenerMetrics, MethodMetrics, OpenCall};
use crate::observe::{AccessLog, CallRecord, Metrics};
use crate::registry::Connection;
use crate::wire::{self, HopId};

use super::budget::Budget;
use super::plan::Forward;
use super::standing::Told;
use super::visitors::{Visit, Visitors};

/// What outlives a configuration and is shared by all workers.
#[derive(Debug)]
pub struct Shared {
    /// The configuration in force with its clusters. Loaded once a call, so that a call sees one version.
    pub in_force: Arc<ArcSwap<InForce>>,
    /// Tells whoever has to look again that there is another one.
    pub replaced: watch::Sender<()>,
    /// Every counter.
    pub metrics: Arc<Metrics>,
    /// This proxy among those that a call passes.
    pub hop: HopId,
    /// Those who ask what they may call.
    pub visitors: Arc<Visitors>,
    /// Where calls are written down.
    pub access_log: Option<AccessLog>,
}

impl Shared {
    /// Puts another configuration in force. Connections by TLS are judged again by it at once: who would not be let in any more has to go.
    /// Those to instances are opened by it from now on.
    pub fn put_in_force(&self, next: InForce) {
        for (name, cluster) in &next.clusters {
            // One within has none.
            if let Some(tls) = next.snapshot.tls.get(name) {
                cluster.security.replace(tls.clone());
            }
        }
        self.in_force.store(Arc::new(next));
        self.replaced.send_replace(());
    }
}

/// The connection that a call came over.
#[derive(Debug)]
pub struct Origin {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The listener's counters.
    pub metrics: Arc<ListenerMetrics>,
    /// The other end, or who a balancer before us says that is.
    pub peer: SocketAddr,
    /// A balancer cannot say who that is, and `peer` is the balancer.
    pub nameless: bool,
    /// Our end.
    pub local: SocketAddr,
    /// Who is at the other end, if they have shown a certificate.
    pub identity: Option<Arc<PeerIdentity>>,
    /// The same as instances are told it, once one is.
    pub client_cert: OnceLock<Vec<u8>>,
    /// Whether the listener has a port an agent, so that our end's port names one.
    pub port_names_agent: bool,
    /// What the listener's calls may hold, and keep for another try.
    pub buffered: Arc<Budget>,
    /// The connection as the registrar knows it.
    pub connection: Connection,
    /// What was shown when it was let in.
    pub certified: Arc<dyn Certified>,
}

impl Origin {
    /// Who is at the other end, as instances are told where the listener says so.
    pub(super) fn client_cert(&self, listener: &Listener) -> Option<&[u8]> {
        let identity = self.identity.as_ref().filter(|_| listener.client_cert_header)?;
        Some(self.client_cert.get_or_init(|| wire::client_cert(identity)))
    }
}

/// What a caller has shown of itself when its connection was let in: for what outlives the connection.
pub trait Certified: std::fmt::Debug + Send + Sync {
    /// Whether a listener would let it in now, whatever time it is.
    ///
    /// # Errors
    /// It would not, and why.
    fn judge(&self, listener: &Listener) -> Result<(), String>;
}

/// A call, from its head to its end.
pub struct Call {
    /// What filters see of it.
    pub info: CallInfo,
    /// Its head, as each try begins with it.
    pub head: RequestHead,
    /// What was taken off its head before the first try.
    pub(super) taken: Fields,
    /// Of which of the worker's snapshots it was judged last.
    pub(super) era: u64,
    /// What conditions of routes said of its first message.
    pub(super) whens: Vec<Told>,
    /// It has been here before.
    pub loops: bool,
    /// It comes from a proxy that speaks for others: where it is from is in `info`.
    pub relayed: bool,
    /// It was let in as one that nobody has to be known for.
    pub stranger: bool,
    /// Its first message is none that a stranger may send: it is decided about as if nobody could, without waiting for the rest.
    pub(super) names_service: bool,
    /// When the whole request must be there, where nothing of it goes on before.
    pub(super) whole_by: Option<Instant>,
    /// When the head came.
    pub started: Instant,
    /// Bounds that filters and the route set.
    pub bounds: Bounds,
    /// When it must be over: the sooner of the caller's and our own.
    pub deadline: Option<Instant>,
    /// The filters that follow it.
    pub followers: Followers,
    /// Messages and bytes, in both directions.
    pub tally: Tally,
    /// Where it went.
    pub path: CallPath,
    /// `x-request-id`, the caller's or ours.
    pub(super) request_id: RequestId,
    /// Where it is to go, once that is chosen.
    pub(super) forward: Option<Forward>,
    /// Instances that failed it.
    pub(super) tried: SmallVec<[u64; 4]>,
    /// How many messages its method takes and gives, where its cluster knows.
    pub(super) kind: Option<MethodKind>,
    /// By what messages are to be read: before an instance is chosen, and once it is.
    pub(super) in_force: Option<Arc<Types>>,
    pub(super) of_instance: Option<Arc<Types>>,
    /// What is in the first message of the request, while it is decided where the call goes, if somebody has to know. What is made of
    /// it (an agent, a key) is kept in its place.
    pub(super) first_message: Option<Vec<u8>>,
    /// Its entry among those who ask what they may call, if it does.
    pub(super) visit: Option<Visit>,
    counted: OpenCall,
}

/// The name of a call: those of ours need no allocation.
pub(super) type RequestId = SmallVec<[u8; 32]>;

/// What went through, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages from the caller.
    pub request_messages: u64,
    /// Messages to the caller.
    pub response_messages: u64,
    /// Their bytes, as their prefixes announce them.
    pub request_bytes: u64,
    /// Their bytes, as their prefixes announce them.
    pub response_bytes: u64,
}

/// Where a call went, for those who look later.
#[derive(Debug, Default)]
pub struct CallPath {
    /// The address of the last instance, if calls are written down.
    pub instance: Option<Arc<str>>,
    /// How often it was sent.
    pub attempts: u32,
    /// From the last try's start to its end.
    pub upstream: Option<Duration>,
    /// The caller's `traceparent`.
    pub trace_id: Option<String>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The status that the caller got, or would have got.
    pub code: Code,
    /// Why the proxy ended it; none where the upstream's own answer went through.
    pub reason: Option<Reason>,
}

impl Call {
    /// A call whose head has been read.
    pub fn begin(info: CallInfo, method: Arc<MethodMetrics>, head: RequestHead, now: Instant) -> Self {
        Self {
            info,
            head,
            taken: Fields::default(),
            era: 0,
            whens: Vec::new(),
            loops: false,
            relayed: false,
            stranger: false,
            names_service: false,
            whole_by: None,
            started: now,
            bounds: Bounds::default(),
            deadline: None,
            followers: Followers::default(),
            tally: Tally::default(),
            path: CallPath::default(),
            request_id: RequestId::new(),
            forward: None,
            tried: SmallVec::new(),
            kind: None,
            in_force: None,
            of_instance: None,
            first_message: None,
            visit: None,
            counted: method.begin(),
        }
    }

    /// Makes the deadline the sooner of what it is and `within` from the head on.
    pub fn limit(&mut self, within: Option<Duration>) {
        let limit = within.and_then(|within| self.started.checked_add(within));
        self.deadline = [self.deadline, limit].into_iter().flatten().min();
    }

    /// Whether the access log's rule wants it. Where that cannot be told, it does.
    fn is_worth_a_line(&self, shared: &Shared, end: End) -> bool {
        let in_force = shared.in_force.load();
        let Some(when) = &in_force.snapshot.log_when else { return true };
        let status = i32::try_from(end.code as u32).ok();
        when.holds(&Facts { status, ..Facts::of_call(&self.info, &self.head) }, None).unwrap_or(true)
    }

    /// Counts, logs and tells the filters. The last thing that happens to a call.
    pub fn finish(&mut self, shared: &Shared, origin: &Origin, end: End, now: Instant) {
        let duration = now.saturating_duration_since(self.started);
        let method = self.counted.end(end.code, duration);
        method.received(self.tally.request_messages);
        method.sent(self.tally.response_messages);
        if let Some(reason) = end.reason {
            // A caller that goes away is not refused.
            if reason != Reason::Cancelled {
                origin.metrics.refused(reason);
            }
        } else if method.is_other() && end.code != Code::Unimplemented {
            // A backend answered it, so that no stranger can have made it up: it may have series of its own.
            shared.metrics.learn(&self.info.service, &self.info.method);
        }
        self.followers.end(&Outcome {
            call: Some(&self.info),
            code: end.code,
            reason: end.reason,
            duration,
            request_messages: self.tally.request_messages,
            response_messages: self.tally.response_messages,
        });
        let Some(log) = shared.access_log.as_ref() else { return };
        if !self.is_worth_a_line(shared, end) || !log.wants() {
            return;
        }
        let (subject, issuer) = match (&self.info.claims, &self.info.identity) {
            (Some(claims), _) => (claims.subject().map(Arc::from), Some(Arc::clone(&claims.issuer))),
            (None, Some(shown)) => (Some(Arc::clone(shown.name())), Some(Arc::clone(&shown.issuer))),
            (None, None) => (None, None),
        };
        log.write(CallRecord {
            time: SystemTime::now().checked_sub(duration).unwrap_or_else(SystemTime::now),
            listener: Arc::clone(&origin.listener),
            protocol: self.info.protocol,
            authority: self.head.authority().to_owned(),
            service: self.info.service.to_string(),
            method: self.info.method.to_string(),
            code: end.code,
            reason: end.reason,
            duration,
            upstream: self.path.upstream,
            request_messages: self.tally.request_messages,
            response_messages: self.tally.response_messages,
            request_bytes: self.tally.request_bytes,
            response_bytes: self.tally.response_bytes,
            cluster: self.forward.as_ref().map(|forward| Arc::clone(&forward.cluster.name)),
            agent: self.forward.as_ref().and_then(|forward| forward.agent.as_ref()).map(|agent| Arc::clone(&agent.id)),
            instance: self.path.instance.take(),
            attempts: self.path.attempts,
            peer: self.info.peer,
            subject,
            issuer,
            request_id: Some(String::from_utf8_lossy(&self.request_id).into_owned()).filter(|id| !id.is_empty()),
            trace_id: self.path.trace_id.take(),
        });
    }
}
