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
    /// Calls that ended without a status: the proxy stopped before they did.
    lost: Counter,
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
            lost: Counter::default(),
            seconds: Histogram::default(),
        })
    }

    /// A call begins: it is open until the answer is ended or dropped.
    pub fn begin(self: Arc<Self>) -> OpenCall {
        self.started.inc();
        OpenCall { method: self, open: true }
    }

    /// Calls that are open now. No gauge that every call would move twice: what began and has not ended.
    pub(super) fn open(&self) -> u64 {
        // The ends first: a call that begins and ends in between must not count as less than nothing.
        let ended = self.lost.value() + self.handled.seen().map(|(_, count)| count).sum::<u64>();
        self.started.value().saturating_sub(ended)
    }

    /// `n` messages came from the caller.
    pub fn received(&self, n: u64) {
        self.received.add(n);
    }

    /// `n` messages went to the caller.
    pub fn sent(&self, n: u64) {
        self.sent.add(n);
    }

    /// Its service and its method.
    pub fn own_names(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.service), Arc::clone(&self.method))
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

/// One open call of a method.
#[derive(Debug)]
#[must_use = "the call counts as lost when this is dropped"]
pub struct OpenCall {
    method: Arc<MethodMetrics>,
    open: bool,
}

impl OpenCall {
    /// The call ended with this code, this long after its start. Calls that the caller cancelled count as `Cancelled`.
    pub fn end(&mut self, code: Code, took: Duration) -> &MethodMetrics {
        if std::mem::take(&mut self.open) {
            self.method.handled.inc(code);
            self.method.seconds.observe(took);
        }
        &self.method
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.open {
            self.method.lost.inc();
        }
    }
}

/// One service: its known methods, and the handle for all others.
#[derive(Clone, Debug)]
struct Service {
    methods: HashMap<Arc<str>, Arc<MethodMetrics>>,
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

type Services = HashMap<Arc<str>, Arc<Service>>;
type Paths = HashMap<Box<[u8]>, Arc<MethodMetrics>, RandomState>;

/// All methods. Reading is one atomic load and a look-up or two; writing copies the outer maps and happens once for all that are new.
#[derive(Debug)]
pub(super) struct Methods {
    services: ArcSwap<Services>,
    /// The methods that have a handle of their own, by `/service/method`. Strangers choose some of the names.
    paths: ArcSwap<Paths>,
    other: Arc<MethodMetrics>,
    ledger: Mutex<Ledger>,
}

impl Default for Methods {
    fn default() -> Self {
        let other = MethodMetrics::new(Arc::from(OTHER), Arc::from(OTHER), CallKind::Unknown);
        let ledger = Mutex::new(Ledger { all: vec![Arc::clone(&other)], learned: 0 });
        Self { services: ArcSwap::default(), paths: ArcSwap::default(), other, ledger }
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

    /// The handle of the method that a path names, where it has one of its own.
    pub(super) fn at(&self, path: &[u8]) -> Option<Arc<MethodMetrics>> {
        self.paths.load().get(path).cloned()
    }

    /// A route, a file or a schema names this method. A kind that becomes known later starts a series of its own.
    pub(super) fn know(&self, service: &str, method: &str, kind: CallKind) {
        self.know_all([(service, Some((method, kind)))]);
    }

    /// The same for many. Where a service is named but not its methods, they count under the service, as method `_other`.
    pub(super) fn know_all<'n>(&self, named: impl IntoIterator<Item = Named<'n>>) {
        self.insert(named, &mut self.ledger.lock());
    }

    /// A backend answered this method with anything but UNIMPLEMENTED, so that its names are real. After 2,000 such
    /// methods, or for names over 200 bytes, nothing happens and the method stays with `_other`.
    pub(super) fn learn(&self, service: &str, method: &str) {
        if service.len() > LONGEST_NAME || method.len() > LONGEST_NAME || !self.find(service, method).is_other() {
            return;
        }
        let mut ledger = self.ledger.lock();
        if ledger.learned < MOST_LEARNED && self.insert([(service, Some((method, CallKind::Unknown)))], &mut ledger) {
            ledger.learned += 1;
        }
    }

    /// Every series, in the order in which they were made.
    pub(super) fn all(&self) -> Vec<Arc<MethodMetrics>> {
        self.ledger.lock().all.clone()
    }

    /// Whether series were made. Callers hold the ledger's lock: two writers must not lose each other's method.
    fn insert<'n>(&self, named: impl IntoIterator<Item = Named<'n>>, ledger: &mut Ledger) -> bool {
        let now = self.services.load();
        let mut draft: Option<Draft> = None;
        for (service, method) in named {
            let services = draft.as_ref().map_or(&**now, |draft| &draft.services);
            if !is_known(services, (service, method)) {
                let begun = || Draft { services: HashMap::clone(&now), paths: HashMap::clone(&self.paths.load()) };
                draft.get_or_insert_with(begun).add((service, method), ledger);
            }
        }
        let Some(Draft { services, paths }) = draft else { return false };
        self.services.store(Arc::new(services));
        self.paths.store(Arc::new(paths));
        true
    }
}

/// A service, and one of its methods if one is named.
pub type Named<'n> = (&'n str, Option<(&'n str, CallKind)>);

fn is_known(services: &Services, (service, method): Named<'_>) -> bool {
    services.get(service).is_some_and(|known| {
        method.is_none_or(|(method, kind)| {
            known.methods.get(method).is_some_and(|there| there.kind == kind || kind == CallKind::Unknown)
        })
    })
}

/// What is to be published at once, however many methods are new.
struct Draft {
    services: Services,
    paths: Paths,
}

impl Draft {
    fn add(&mut self, (service, method): Named<'_>, ledger: &mut Ledger) {
        let known = self.services.entry(Arc::from(service)).or_insert_with(|| Arc::new(new_service(service, ledger)));
        let Some((method, kind)) = method else { return };
        let known = Arc::make_mut(known);
        let handle = MethodMetrics::new(Arc::clone(&known.other.service), Arc::from(method), kind);
        ledger.all.push(Arc::clone(&handle));
        known.methods.insert(Arc::clone(&handle.method), Arc::clone(&handle));
        self.paths.insert(format!("/{service}/{method}").into_bytes().into(), handle);
    }
}

fn new_service(name: &str, ledger: &mut Ledger) -> Service {
    let other = MethodMetrics::new(Arc::from(name), Arc::from(OTHER), CallKind::Unknown);
    ledger.all.push(Arc::clone(&other));
    Service { methods: HashMap::new(), other }
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
            methods.find(&format!("x{n}.S"), "M").begin().end(Code::Ok, Duration::ZERO);
            methods.find("a.S", &format!("M{n}")).begin().end(Code::Ok, Duration::ZERO);
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
        methods.find("a.S", "M").begin().end(Code::Ok, Duration::ZERO);
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
        methods.know_all([("a.S", None)]);
        methods.know_all([("a.S", None)]);
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

    #[test]
    fn a_call_is_open_until_it_ends_or_is_dropped() {
        let methods = Methods::default();
        let open = || methods.all().iter().map(|method| method.open()).sum::<u64>();
        let (mut ended, dropped) = (methods.find("a", "b").begin(), methods.find("c", "d").begin());
        assert_eq!(open(), 2);
        ended.end(Code::Ok, Duration::ZERO);
        ended.end(Code::Ok, Duration::ZERO);
        assert_eq!(open(), 1);
        drop((ended, dropped));
        assert_eq!(open(), 0);
    }
}
