//! The registrar as a call: gathers the one request message, asks [`register`](super::register), writes the one answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fields::{Fields, ResponseHead};
use filter_api::{CallInfo, Code, Reason};
use portunus_proto::bindu::{HeartbeatRequest, RegisterAgentRequest, UnregisterAgentRequest};
use prost::Message;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::context::{Call, Origin};
use super::judge::{self, Applicant};
use super::passage::Stage;
use super::register::Registrar;
use super::splice::Ending;
use super::stop::Stop;
use super::turn::Turn;
use super::warrant::Registrant;
use super::worker::{CallKey, Worker};
use crate::config::snapshot::Registrants;
use crate::expr::Failure;
use crate::registry::{Caller, Connection, Shown};
use crate::upstream::Cluster;
use crate::wire::framed;

/// What a request may be larger than the registry's own bound: leaves room to say so.
const MARGIN: usize = 64 * 1024;
/// How long a request may take to come: what it holds meanwhile is counted nowhere else.
const PATIENCE: Duration = Duration::from_secs(15);

/// A call of `bindu.grpc.BinduService`.
pub(super) struct Registering {
    /// Whether anybody who reaches the route may register.
    open: bool,
    who: Arc<Registrants>,
    /// The largest request.
    most: usize,
    body: Vec<u8>,
    until: Instant,
    /// The registry is asked.
    asking: Option<AbortHandle>,
}

impl Registering {
    /// `config`: the most that the registry takes of a configuration.
    pub(super) fn new((open, who): (bool, Arc<Registrants>), config: usize, now: Instant) -> Self {
        Self { open, who, most: config.saturating_add(MARGIN), body: Vec::new(), until: now + PATIENCE, asking: None }
    }

    /// How long the request may take to come; none once it has.
    pub(super) fn until(&self) -> Option<Instant> {
        self.asking.is_none().then_some(self.until)
    }

    /// The caller waits no longer: a registration that is under way goes with it.
    pub(super) fn give_up(&self) {
        if let Some(task) = &self.asking {
            task.abort();
        }
    }
}

impl Turn<'_> {
    /// What came before it was clear that the call is the registrar's.
    pub(super) fn register_what_came(&mut self, key: CallKey) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        passage.upload.stop_holding();
        let held = passage.upload.take_unread();
        passage.upload.forget(&passage.origin.buffered);
        self.register_data(key, &held);
    }

    /// Octets of the request.
    pub(super) fn register_data(&mut self, key: CallKey, octets: &[u8]) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        let ended = passage.upload.ended;
        let Stage::Registering(registering) = &mut passage.stage else { return };
        if !passage.upload.charge(octets.len(), &passage.origin.buffered) {
            return self.stop(key, Stop::overloaded());
        }
        registering.body.extend_from_slice(octets);
        let (came, most) = (registering.body.len(), registering.most);
        if came > most {
            let size = u32::try_from(came).unwrap_or(u32::MAX);
            return self.stop(key, Stop::too_large("request", size, most as u64));
        }
        let body = if ended { std::mem::take(&mut registering.body) } else { Vec::new() };
        self.request_went(key, octets.len());
        if ended {
            match one_message(&body) {
                Ok(message) => self.ask_registry(key, message.to_vec()),
                Err(stop) => self.stop(key, stop),
            }
        }
    }

    fn ask_registry(&mut self, key: CallKey, request: Vec<u8>) {
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        if let Some(link) = self.hub.links.get_mut(passage.down.link.0) {
            link.registers = true;
        }
        let (Some(call), Stage::Registering(registering)) = (&mut passage.call, &mut passage.stage) else { return };
        let Some(forward) = &call.forward else { return };
        call.tally.request_messages = 1;
        call.tally.request_bytes = request.len() as u64;
        let owner = judge::owner(&registering.who, registering.open, &passage.origin, call);
        let shown = judge::shown(call);
        let applicant = Applicant::of(call, &registering.who);
        let info = call.info.clone();
        let origin = Arc::clone(&passage.origin);
        let from = (caller_address(&origin, call), connection(&origin, call));
        let registrant = Registrant::of(call, &self.worker.shared, &origin, &forward.cluster.name);
        let registrar = registrar(self.worker, &origin, &forward.cluster);
        let registrar = registrar.map(|own| own.for_applicant(applicant).under(Arc::new(registrant)));
        let worker = Arc::clone(self.worker);
        let task = tokio::spawn(async move {
            let answer = match owner {
                Ok(owner) => dispatch(&info, caller(&origin, from, (owner, shown)), registrar, &request).await,
                Err(failure) => Err(nobody(failure)),
            };
            worker.turn(|turn| turn.registered(key, answer));
        });
        registering.asking = Some(task.abort_handle());
    }

    /// The whole answer: head, message, status.
    fn registered(&mut self, key: CallKey, answer: Result<Vec<u8>, Stop>) {
        let message = match answer {
            Ok(message) => message,
            Err(stop) => return self.stop(key, stop),
        };
        let millis = self.millis;
        let Some(passage) = self.hub.calls.get_mut(key.0) else { return };
        if let Some(call) = &mut passage.call {
            call.tally.response_messages = 1;
            call.tally.response_bytes = message.len() as u64;
        }
        let mut fields = Fields::with_capacity(1, 32);
        fields.push("content-type", b"application/grpc");
        let down = passage.down;
        passage.stage = Stage::Answering;
        if let Some(link) = self.hub.links.get_mut(down.link.0) {
            link.engine.respond(down.stream, &ResponseHead { status: 200, fields }, false).ok();
            link.engine.data(down.stream, &framed(&message), false, millis).ok();
        }
        let status = [("grpc-status", &b"0"[..])].into_iter().collect();
        self.end_answer(key, Ending::Upstream(status));
    }
}

fn registrar(worker: &Worker, origin: &Origin, cluster: &Cluster) -> Option<Registrar> {
    let registry = Arc::clone(cluster.registry()?);
    Some(Registrar::new(registry, Arc::clone(&worker.network)).on(&origin.metrics))
}

/// From where a caller of the registrar calls, and where its instances may be by that. A proxy speaks for others: that it is beside us, or
/// says that they are, does not let them name addresses of this machine. Whom a balancer cannot name is nowhere.
fn caller_address(origin: &Origin, call: &Call) -> SocketAddr {
    let peer = call.info.peer;
    let nowhere = origin.nameless || (call.relayed && peer.ip().to_canonical().is_loopback());
    if nowhere { SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), peer.port()) } else { peer }
}

/// The connection by which an instance is known again. A proxy's has calls of many: it is none of theirs, and tells of none whether it
/// is still there.
fn connection(origin: &Origin, call: &Call) -> Connection {
    if call.relayed { Connection::unknown() } else { origin.connection.clone() }
}

fn caller(origin: &Origin, (peer, connection): (SocketAddr, Connection), (owner, shown): (Arc<str>, Shown)) -> Caller {
    Caller { peer, local: Some(origin.local.ip()), connection, owner, shown }
}

/// Who calls is decided by an expression, and it names nobody.
fn nobody(failure: Failure) -> Stop {
    let message = format!("whose registration this is cannot be told (`registry.owner` of the proxy): {failure}");
    Stop::refuse(Code::PermissionDenied, Reason::Denied, message)
}

async fn dispatch(
    info: &CallInfo,
    caller: Caller,
    registrar: Option<Registrar>,
    request: &[u8],
) -> Result<Vec<u8>, Stop> {
    let registrar = registrar.ok_or_else(|| unimplemented("this cluster has no registry"))?;
    let beats = &*info.method == "Heartbeat";
    if registrar.is_handed_over() && !beats {
        return Err(Stop::draining("another process takes registrations now: connect again"));
    }
    Ok(match (&*info.service, &*info.method) {
        ("bindu.grpc.BinduService", "RegisterAgent") => {
            registrar.register(decode::<RegisterAgentRequest>(request)?, &caller).await.encode_to_vec()
        }
        ("bindu.grpc.BinduService", "Heartbeat") => {
            registrar.heartbeat(&decode::<HeartbeatRequest>(request)?, &caller, Instant::now()).encode_to_vec()
        }
        ("bindu.grpc.BinduService", "UnregisterAgent") => {
            registrar.unregister(&decode::<UnregisterAgentRequest>(request)?, &caller, Instant::now()).encode_to_vec()
        }
        _ => {
            return Err(unimplemented(
                "the registrar has RegisterAgent, Heartbeat and UnregisterAgent of bindu.grpc.BinduService",
            ));
        }
    })
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Stop> {
    M::decode(bytes).map_err(|error| {
        let message = format!("the request is no message of this method: {error}");
        Stop::refuse(Code::InvalidArgument, Reason::Framing, message)
    })
}

fn unimplemented(message: &str) -> Stop {
    Stop::refuse(Code::Unimplemented, Reason::NoRoute, message)
}

/// The one message of a unary request, without its prefix.
fn one_message(body: &[u8]) -> Result<&[u8], Stop> {
    let Some((prefix, message)) = body.split_at_checked(5) else {
        return Err(if body.is_empty() { Stop::cardinality("none") } else { Stop::torn() });
    };
    let [flag, length @ ..] = prefix else { return Err(Stop::torn()) };
    if *flag != 0 {
        // The method takes no encoding; `grpc-accept-encoding` in the answer would name none.
        return Err(unimplemented("the registrar takes no compressed messages: send identity"));
    }
    let size = length.iter().fold(0_usize, |size, octet| size << 8 | usize::from(*octet));
    match message.len() {
        len if len < size => Err(Stop::torn()),
        len if len > size => Err(Stop::cardinality("more")),
        _ => Ok(message),
    }
}
