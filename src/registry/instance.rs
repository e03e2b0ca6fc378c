//! One place where calls can go: an address, its health and its load. Shared by all workers.
//!
//! Endpoint clusters and registry clusters use the same type, so that balancing and the upstream pools know one form.
//! Passive: it dials nobody and owns no timer; what is learnt about an instance is told to it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::address::Permit;
use super::shown::Shown;

/// Where an instance listens, as it was written down: it is resolved again at every dial.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// `ip:port`.
    Socket(SocketAddr),
    /// `localhost:port` of a peer on this machine: 127.0.0.1 is tried first, then ::1.
    Loopback(u16),
    /// `name:port`, looked up by the system's resolver.
    Name(String, u16),
    /// A server of this process, which has no address. No text is read as one.
    Within(Arc<str>),
}

impl Target {
    /// Reads `ip:port`, `[v6]:port`, `localhost:port` or `name:port`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return (socket.port() != 0).then_some(Self::Socket(socket));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        if host.eq_ignore_ascii_case("localhost") {
            return Some(Self::Loopback(port));
        }
        let fits = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        fits.then(|| Self::Name(host.to_ascii_lowercase(), port))
    }

    /// The addresses to try in order, where no resolver is needed.
    pub fn known_addresses(&self) -> Option<Vec<SocketAddr>> {
        match self {
            Self::Socket(socket) => Some(vec![*socket]),
            Self::Loopback(port) => Some(vec![
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), *port),
                SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), *port),
            ]),
            Self::Name(..) | Self::Within(_) => None,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(socket) => write!(f, "{socket}"),
            Self::Loopback(port) => write!(f, "localhost:{port}"),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Within(name) => f.write_str(name),
        }
    }
}

/// The way to a server of this process: it is handed the other ends of connections that lie in memory.
#[derive(Clone, Debug)]
pub struct Door(mpsc::Sender<DuplexStream>);

/// Octets that are on their way through a connection in memory, in each direction.
const IN_MEMORY: usize = 64 << 10;
/// Connections that a server has not taken yet.
const AT_THE_DOOR: usize = 64;

impl Door {
    /// A door, and where its server finds who came.
    pub fn new() -> (Self, mpsc::Receiver<DuplexStream>) {
        let (door, arrivals) = mpsc::channel(AT_THE_DOOR);
        (Self(door), arrivals)
    }

    /// Connects.
    ///
    /// # Errors
    /// The server is gone, or does not take anybody at the moment.
    pub fn open(&self) -> io::Result<DuplexStream> {
        let (ours, its) = tokio::io::duplex(IN_MEMORY);
        self.0.try_send(its).map(|()| ours).map_err(|_| io::ErrorKind::ConnectionRefused.into())
    }
}

/// What is known of an instance's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Registered, not yet probed with success: gets calls only where its agent has no other.
    New = 0,
    /// Gets calls.
    Healthy = 1,
    /// Failing its health check: gets no calls.
    Unhealthy = 2,
    /// Lease out and health failing: gets no calls, is probed ever more rarely.
    Lost = 3,
}

impl State {
    /// The word that metrics and the admin port use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Lost => "lost",
        }
    }

    fn of(number: u8) -> Self {
        match number {
            0 => Self::New,
            1 => Self::Healthy,
            2 => Self::Unhealthy,
            _ => Self::Lost,
        }
    }
}

/// One instance. Kept in an `Arc`: balancing, pools and open calls hold it.
#[derive(Debug)]
pub struct Instance {
    /// Unique in this process and never used again: pools are keyed by it.
    pub id: u64,
    /// The cluster it belongs to.
    pub cluster: Arc<str>,
    /// Where it listens.
    pub target: Target,
    /// `target` as text, for `:authority`, labels and logs.
    pub authority: Arc<str>,
    /// Relative share of calls; at least 1.
    pub weight: u32,
    /// When it was added.
    pub created: Instant,
    /// Counters of the calls that went to it.
    pub metrics: Arc<crate::observe::InstanceMetrics>,
    /// Where it may be dialled; anywhere, where the file names it.
    pub permit: Option<Permit>,
    /// What was shown when it registered; none where nobody did.
    pub shown: Option<Shown>,
    /// Of a server of this process: connections go through it.
    pub door: Option<Door>,
    state: AtomicU8,
    in_flight: AtomicU32,
    waiting: AtomicU32,
    gone: AtomicBool,
    /// How often it was registered again.
    renewals: AtomicU32,
    /// Failed connects in a row, and the moment (ms of the process clock) before which nobody should dial again.
    refusals: AtomicU32,
    avoid_until_ms: AtomicU64,
}

impl Instance {
    /// A fresh instance in `state`, added at `now`.
    pub fn new(
        cluster: Arc<str>,
        target: Target,
        weight: u32,
        state: State,
        metrics: Arc<crate::observe::InstanceMetrics>,
        now: Instant,
    ) -> Arc<Self> {
        Arc::new(Self::made(cluster, target, weight, state, metrics, now))
    }

    /// A fresh one that registered, to be dialled where `permit` says; whoever registered it had `shown` this.
    pub(super) fn registered(
        cluster: Arc<str>,
        target: Target,
        (permit, shown): (Permit, Shown),
        metrics: Arc<crate::observe::InstanceMetrics>,
        now: Instant,
    ) -> Arc<Self> {
        let made = Self::made(cluster, target, 1, State::New, metrics, now);
        Arc::new(Self { permit: Some(permit), shown: Some(shown), ..made })
    }

    /// A server of this process, behind `door`. It is always well.
    pub fn within(
        cluster: Arc<str>,
        door: Door,
        metrics: Arc<crate::observe::InstanceMetrics>,
        now: Instant,
    ) -> Arc<Self> {
        let target = Target::Within(Arc::clone(&cluster));
        Arc::new(Self { door: Some(door), ..Self::made(cluster, target, 1, State::Healthy, metrics, now) })
    }

    fn made(
        cluster: Arc<str>,
        target: Target,
        weight: u32,
        state: State,
        metrics: Arc<crate::observe::InstanceMetrics>,
        now: Instant,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let authority: Arc<str> = target.to_string().into();
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            cluster,
            target,
            authority,
            weight: weight.max(1),
            created: now,
            metrics,
            permit: None,
            shown: None,
            door: None,
            state: AtomicU8::new(state as u8),
            in_flight: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            gone: AtomicBool::new(false),
            renewals: AtomicU32::new(0),
            refusals: AtomicU32::new(0),
            avoid_until_ms: AtomicU64::new(0),
        }
    }

    /// Whether calls may go to it at all.
    pub fn is_usable(&self) -> bool {
        matches!(self.state(), State::Healthy | State::New)
    }

    /// Its health as last told.
    pub fn state(&self) -> State {
        State::of(self.state.load(Ordering::Relaxed))
    }

    /// Tells a new state; answers the one before.
    pub fn set_state(&self, state: State) -> State {
        State::of(self.state.swap(state as u8, Ordering::Relaxed))
    }

    /// Calls that are open on it now, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a call in until the guard is dropped; `None` if there are `most` already.
    pub fn try_enter(self: &Arc<Self>, most: u32) -> Option<InFlight> {
        count_in(&self.in_flight, most).then(|| InFlight { instance: Arc::clone(self) })
    }

    /// Counts a call that waits for a connection until the guard is dropped; `None` if there are `most` already.
    pub fn try_wait(self: &Arc<Self>, most: u32) -> Option<Waiting> {
        count_in(&self.waiting, most).then(|| Waiting { instance: Arc::clone(self) })
    }

    /// Whether it was removed from its cluster: pools then let its connections finish and close.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// How often it was registered again: each time it may be another program.
    pub fn renewals(&self) -> u32 {
        self.renewals.load(Ordering::Relaxed)
    }

    pub(super) fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes it out of service for good; open calls go on.
    pub fn retire(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    /// A connection could not be made at `now_ms`: others are preferred for a while that doubles up to 10 s.
    ///
    /// The wait is short at first (250 ms), since a restarting instance is usually back within a second.
    pub fn connect_failed(&self, now_ms: u64) {
        let failures = self.refusals.fetch_add(1, Ordering::Relaxed).min(6);
        let wait = (250u64 << failures).min(10_000);
        self.avoid_until_ms.store(now_ms + wait, Ordering::Relaxed);
    }

    /// A connection was made.
    pub fn connected(&self) {
        if self.refusals.swap(0, Ordering::Relaxed) != 0 {
            self.avoid_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the last connect failed so recently that another instance should be preferred.
    pub fn is_avoided(&self, now_ms: u64) -> bool {
        let until = self.avoid_until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms < until
    }
}

/// Adds one, unless there are `most`. A moment over the bound would be no harm, a count that stays over it would.
fn count_in(count: &AtomicU32, most: u32) -> bool {
    let fits = count.fetch_add(1, Ordering::Relaxed) < most;
    if !fits {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    fits
}

/// A call that waits for a connection; dropping it counts the call out.
#[derive(Debug)]
#[must_use = "the call counts as waiting no longer when this is dropped"]
pub struct Waiting {
    instance: Arc<Instance>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.instance.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A call that is open on an instance; dropping it counts the call out.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
}

impl InFlight {
    /// The instance that the call is on.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The instances among which a call is balanced: immutable once published, replaced whole.
#[derive(Debug, Default)]
pub struct EndpointSet {
    /// In the order of the file, or of registration.
    pub instances: Vec<Arc<Instance>>,
    /// Indexes into `instances`, each as often as its weight asks, spread evenly: what a round-robin cursor walks.
    pub schedule: Vec<u32>,
    /// Where keys lead to: what the policies that go by a key have worked out for these instances.
    pub tables: Tables,
}

/// A table for each policy that goes by a key, made when the policy first needs it: a cluster uses one of them at most. `balance`
/// fills and reads them. They are kept here so that a new set has new ones, and an old set takes its own with it.
#[derive(Debug, Default)]
pub struct Tables {
    /// Points on a ring, in order: a place in the upper half, an index into `instances` in the lower.
    pub ring: OnceLock<Box<[u64]>>,
    /// Indexes into `instances`, a key's at the remainder of its division by their number.
    pub maglev: OnceLock<Box<[u32]>>,
}

/// The longest schedule: enough to tell weights of 1 and 1,000 apart, small enough to build at every change.
const SCHEDULE_CAP: u64 = 1024;

impl EndpointSet {
    /// A set with its schedule (smooth weighted round robin, as nginx spreads weights: 5, 1, 1 gives `a a b a c a a`).
    ///
    /// The schedule is as long as the sum of the weights after their common divisor is taken out; where that is over
    /// 1,024, weights are scaled down to it, and no instance gets fewer than one turn.
    pub fn new(instances: Vec<Arc<Instance>>) -> Self {
        let weights: Vec<u64> = instances.iter().map(|i| u64::from(i.weight)).collect();
        let schedule = spread(&bounded(&weights));
        Self { instances, schedule, tables: Tables::default() }
    }

    /// Whether there is nobody to send a call to.
    pub fn is_empty(&self) -> bool {
        self.instances.is_empty()
    }
}

/// The weights in the same proportion, as small as they go, with a sum of at most [`SCHEDULE_CAP`] where there are not
/// more instances than that.
fn bounded(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let reduced: Vec<u64> = weights.iter().map(|w| w / divisor).collect();
    let sum: u64 = reduced.iter().sum();
    if sum <= SCHEDULE_CAP {
        return reduced;
    }
    // What is left once everybody has one turn is shared out; rounding down keeps the sum within the cap.
    let spare = SCHEDULE_CAP.saturating_sub(weights.len() as u64);
    reduced.iter().map(|w| 1 + (w - 1) * spare / sum).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn spread(weights: &[u64]) -> Vec<u32> {
    let sum: u64 = weights.iter().sum();
    if sum == weights.len() as u64 {
        return (0..weights.len() as u32).collect();
    }
    let mut credit = vec![0i64; weights.len()];
    let mut schedule = Vec::with_capacity(sum as usize);
    for _ in 0..sum {
        let mut best = 0;
        for (index, weight) in weights.iter().enumerate() {
            credit[index] += *weight as i64;
            if credit[index] > credit[best] {
                best = index;
            }
        }
        credit[best] -= sum as i64;
        schedule.push(best as u32);
    }
    schedule
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{EndpointSet, Instance, Instant, State, Target};

    fn set(weights: &[u32]) -> EndpointSet {
        let metrics = Arc::new(crate::observe::ClusterMetrics::default());
        EndpointSet::new(
            weights
                .iter()
                .map(|w| {
                    Instance::new(
                        "c".into(),
                        Target::Loopback(5000),
                        *w,
                        State::Healthy,
                        metrics.instance("a"),
                        Instant::now(),
                    )
                })
                .collect(),
        )
    }

    fn turns(set: &EndpointSet) -> Vec<usize> {
        let mut turns = vec![0; set.instances.len()];
        for index in &set.schedule {
            turns[*index as usize] += 1;
        }
        turns
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(set(&[7, 7, 7]).schedule, [0, 1, 2]);
        assert!(set(&[]).schedule.is_empty() && set(&[]).is_empty());
    }

    #[test]
    fn weights_are_spread_smoothly() {
        assert_eq!(set(&[5, 1, 1]).schedule, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(set(&[20, 10]).schedule, [0, 1, 0]);
    }

    #[test]
    fn a_schedule_is_bounded_and_starves_nobody() {
        let set = set(&[1_000_000, 1, 999_999]);
        assert!(set.schedule.len() <= 1024, "{}", set.schedule.len());
        let turns = turns(&set);
        assert_eq!(turns[1], 1);
        assert!(turns[0].abs_diff(turns[2]) <= 1 && turns[0] > 500, "{turns:?}");
        let many = vec![3; 1500];
        assert_eq!(self::set(&many).schedule.len(), 1500);
    }

    #[test]
    fn targets_are_read_as_written() {
        assert_eq!(Target::parse("LOCALHOST:80"), Some(Target::Loopback(80)));
        assert_eq!(Target::parse("[::1]:80").map(|t| t.to_string()), Some("[::1]:80".into()));
        for bad in ["", "localhost", "1.2.3.4:0", "http://a:1", "a b:1", ":5"] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }
}
