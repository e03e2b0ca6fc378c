//! The `grpc_server_*` counters, one handle a method. A call resolves its handle once and then touches atomics only.
//! A name gets a label only after `know` or `learn`: a stranger cannot grow the label set.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use filter_api::Code;
use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::cells::{CodeCounts, Counter, Histogram};

/// The label of a service or method that nobody vouches for.
const OTHER: &str = "_other";

/// The most methods that calls may add. A backend that answers any name (an echo server) could make a stranger's
/// names real; 2,000 methods are some 40,000 series, about what one Prometheus target should carry.
const MOST_LEARNED: usize = 2_000;

/// Longer service or method names are never learned: labels are kept for ever.
const LONGEST_NAME: usize = 200;

/// The kind of a method: the `grpc_type` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// No schema has said.
    Unknown,
    /// One message each way.
    Unary,
    /// Many requests, one answer.
    ClientStream,
    /// One request, many answers.
    ServerStream,
    /// Many both ways.
    BidiStream,
}

impl CallKind {
    /// The label value that go-grpc-prometheus uses; `unknown` is ours.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Unary => "unary",
            Self::ClientStream => "client_stream",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// The counters of one method, shared by all workers.
#[derive(Debug)]
pub struct MethodMetrics {
    pub(super) service: Arc<str>,
    pub(super) method: Arc<str>,
    pub(super) kind: CallKind,
    pub(super) started: Counter,
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) handled: CodeCounts,
    pub(super) seconds: Histogram,
}

impl MethodMetrics {
    fn new(service: Arc<str>, method: Arc<str>, kind: CallKind) -> Arc<Self> {
        Arc::new(Self {
            service,
            method,
            kind,
            started: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            handled: CodeCounts::default(),
            seconds: Histogram::default(),
        })
    }

    /// A call began. Each start is owed exactly one [`MethodMetrics::handled`].
    pub fn started(&self) {
        self.started.inc();
    }

    /// `n` messages came from the caller.
    pub fn received(&self, n: u64) {
        self.received.add(n);
    }

    /// `n` messages went to the caller.
    pub fn sent(&self, n: u64) {
        self.sent.add(n);
    }

    /// The call ended with this code, this long after its start. Calls that the caller cancelled count as `Cancelled`.
    pub fn handled(&self, code: Code, took: Duration) {
        self.handled.inc(code);
        self.seconds.observe(took);
    }

    /// The names of a call that counts here, which are this handle's own where it has them.
    pub fn names(&self, service: &str, method: &str) -> (Arc<str>, Arc<str>) {
        let name = |own: &Arc<str>, called: &str| if **own == *called { Arc::clone(own) } else { called.into() };
        (name(&self.service, service), name(&self.method, method))
    }

    /// Whether this is the handle of names that nobody vouches for. When a backend has answered such a call with
    /// anything but UNIMPLEMENTED, the data path calls [`super::Metrics::learn`] with the real names.
    pub fn is_other(&self) -> bool {
        &*self.method == OTHER
    }

    /// Calls that began, for the admin page and tests.
    pub fn started_total(&self) -> u64 {
        self.started.value()
    }

    /// Calls that ended with this code.
    pub fn handled_total(&self, code: Code) -> u64 {
        self.handled.value(code)
    }
}

/// One service: its known methods, and the handle for all others.
#[derive(Clone, Debug)]
struct Service {
    methods: HashMap<Arc<str>, Arc<MethodMetrics>, RandomState>,
    other: Arc<MethodMetrics>,
}

/// What the owner of the write lock keeps.
#[derive(Debug, Default)]
struct Ledger {
    /// Every series ever made, in that order. A method whose kind became known leaves its `unknown` series here, so
    /// that a counter never vanishes or goes back.
    all: Vec<Arc<MethodMetrics>>,
    learned: usize,
}

/// All methods. Reading is one atomic load and two look-ups; writing copies the outer map and happens once a method.
#[derive(Debug)]
pub(super) struct Methods {
    services: ArcSwap<HashMap<Arc<str>, Arc<Service>, RandomState>>,
    other: Arc<MethodMetrics>,
    ledger: Mutex<Ledger>,
}

impl Default for Methods {
    fn default() -> Self {
        let other = MethodMetrics::new(Arc::from(OTHER), Arc::from(OTHER), CallKind::Unknown);
        let ledger = Mutex::new(Ledger { all: vec![Arc::clone(&other)], learned: 0 });
        Self { services: ArcSwap::default(), other, ledger }
    }
}

impl Methods {
    /// The handle of this method: its own if it is known or learned, else its service's `_other` if the service is
    /// known, else `_other`/`_other`.
    pub(super) fn find(&self, service: &str, method: &str) -> Arc<MethodMetrics> {
        match self.services.load().get(service) {
            Some(known) => Arc::clone(known.methods.get(method).unwrap_or(&known.other)),
            None => Arc::clone(&self.other),
        }
    }

    /// A route, a file or a schema names this method. A kind that becomes known later starts a series of its own.
    pub(super) fn know(&self, service: &str, method: &str, kind: CallKind) {
        self.insert(service, method, kind, &mut self.ledger.lock());
    }

    /// A route names this service but not its methods: they count under the service, as method `_other`.
    pub(super) fn know_service(&self, service: &str) {
        let mut ledger = self.ledger.lock();
        if !self.services.load().contains_key(service) {
            let made = Arc::new(new_service(service, &mut ledger));
            self.publish(service, made);
        }
    }

    /// A backend answered this method with anything but UNIMPLEMENTED, so that its names are real. After 2,000 such
    /// methods, or for names over 200 bytes, nothing happens and the method stays with `_other`.
    pub(super) fn learn(&self, service: &str, method: &str) {
        if service.len() > LONGEST_NAME || method.len() > LONGEST_NAME || !self.find(service, method).is_other() {
            return;
        }
        let mut ledger = self.ledger.lock();
        if ledger.learned < MOST_LEARNED && self.insert(service, method, CallKind::Unknown, &mut ledger) {
            ledger.learned += 1;
        }
    }

    /// Every series, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<Arc<MethodMetrics>> {
        self.ledger.lock().all.clone()
    }

    /// Whether a series was made. Callers hold the ledger's lock: two writers must not lose each other's method.
    fn insert(&self, service: &str, method: &str, kind: CallKind, ledger: &mut Ledger) -> bool {
        let known = self.services.load().get(service).cloned();
        if let Some(there) = known.as_ref().and_then(|known| known.methods.get(method))
            && (there.kind == kind || kind == CallKind::Unknown)
        {
            return false;
        }
        let mut changed = known.map_or_else(|| new_service(service, ledger), Arc::unwrap_or_clone);
        let handle = MethodMetrics::new(Arc::clone(&changed.other.service), Arc::from(method), kind);
        ledger.all.push(Arc::clone(&handle));
        changed.methods.insert(Arc::clone(&handle.method), handle);
        self.publish(service, Arc::new(changed));
        true
    }

    fn publish(&self, name: &str, service: Arc<Service>) {
        let mut services = HashMap::clone(&self.services.load());
        services.insert(Arc::from(name), service);
        self.services.store(Arc::new(services));
    }
}

fn new_service(name: &str, ledger: &mut Ledger) -> Service {
    let other = MethodMetrics::new(Arc::from(name), Arc::from(OTHER), CallKind::Unknown);
    ledger.all.push(Arc::clone(&other));
    Service { methods: HashMap::default(), other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_grow_the_label_set() {
        let methods = Methods::default();
        methods.know("a.S", "M", CallKind::Unary);
        let before = methods.all().len();
        for n in 0..1_000 {
            methods.find(&format!("x{n}.S"), "M").started();
            methods.find("a.S", &format!("M{n}")).started();
        }
        assert_eq!(methods.all().len(), before);
        assert_eq!(methods.find("nobody", "M").started_total(), 1_000);
        let under_service = methods.find("a.S", "Nope");
        assert_eq!((&*under_service.service, &*under_service.method), ("a.S", "_other"));
        assert_eq!(under_service.started_total(), 1_000);
        assert_eq!(methods.find("a.S", "M").started_total(), 0);
    }

    #[test]
    fn learning_stops_at_the_bound() {
        let methods = Methods::default();
        methods.learn("echo.Any", &"m".repeat(LONGEST_NAME + 1));
        assert!(methods.find("echo.Any", &"m".repeat(LONGEST_NAME + 1)).is_other());
        for n in 0..MOST_LEARNED + 50 {
            methods.learn("echo.Any", &format!("M{n}"));
        }
        methods.learn("echo.Any", "M0");
        assert!(!methods.find("echo.Any", "M0").is_other());
        assert!(!methods.find("echo.Any", &format!("M{}", MOST_LEARNED - 1)).is_other());
        assert!(methods.find("echo.Any", &format!("M{MOST_LEARNED}")).is_other());
        // the learned ones, the service's `_other` and the global one
        assert_eq!(methods.all().len(), MOST_LEARNED + 2);
        // what a schema or a route names is not bounded by what strangers did
        methods.know("echo.Any", "Late", CallKind::Unary);
        assert_eq!(methods.find("echo.Any", "Late").kind, CallKind::Unary);
    }

    #[test]
    fn a_kind_learned_later_keeps_the_old_series() {
        let methods = Methods::default();
        methods.learn("a.S", "M");
        methods.find("a.S", "M").started();
        methods.know("a.S", "M", CallKind::ServerStream);
        methods.know("a.S", "M", CallKind::ServerStream);
        methods.know("a.S", "M", CallKind::Unknown);
        let now = methods.find("a.S", "M");
        assert_eq!((now.kind, now.started_total()), (CallKind::ServerStream, 0));
        let series: Vec<_> =
            methods.all().iter().filter(|m| !m.is_other()).map(|m| (m.kind, m.started_total())).collect();
        assert_eq!(series, [(CallKind::Unknown, 1), (CallKind::ServerStream, 0)]);
    }

    #[test]
    fn a_known_service_counts_its_own_strangers() {
        let methods = Methods::default();
        methods.know_service("a.S");
        methods.know_service("a.S");
        assert_eq!(methods.all().len(), 2);
        assert_eq!(&*methods.find("a.S", "M").service, "a.S");
        methods.learn("a.S", "M");
        assert_eq!(&*methods.find("a.S", "M").method, "M");
    }

    #[test]
    fn writers_do_not_lose_each_other() {
        let methods = Methods::default();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let methods = &methods;
                scope.spawn(move || {
                    for n in 0..50 {
                        methods.know(&format!("s{n}"), &format!("m{writer}"), CallKind::Unary);
                    }
                });
            }
        });
        assert_eq!(methods.all().iter().filter(|m| !m.is_other()).count(), 200);
        assert!(
            (0..4).all(|writer| (0..50).all(|n| !methods.find(&format!("s{n}"), &format!("m{writer}")).is_other()))
        );
    }
}
