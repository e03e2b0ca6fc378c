//! The schemas of a cluster: which instance has which, kept current in the background (`keeper`), judged by what policies rely on
//! (`judge`), and published so that a call only has to look (`published`). Knows no policy: what is relied on, others hand in.

mod assemble;
mod doubts;
mod judge;
mod keeper;
mod look;
mod methods;
mod pace;
mod places;
mod published;
mod queue;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;
use tokio::time::Instant;

use doubts::{Doubts, Unconfirmed};
pub use judge::Demands;
pub use keeper::keep;
pub use published::{Drift, InForce, InstanceReport, Kind, Published, Refused, Source};

use crate::observe::ClusterMetrics;
use crate::schema::{Definitions, Schema};

/// Between two questions that calls bring about, of one instance.
const LEAST_BETWEEN: Duration = Duration::from_secs(10);

/// How long a connection to an instance that may have been started anew waits to hear what it serves.
const CONFIRMED: Duration = Duration::from_secs(2);

/// Where a cluster's schemas come from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of files. With them instances are only compared.
    pub pinned: Option<Arc<Definitions>>,
    /// How often instances are asked; none: they are not.
    pub refresh: Option<Duration>,
    /// For instances that have no reflection.
    pub bundled: Option<Arc<Definitions>>,
}

/// The schemas of one cluster.
#[derive(Debug)]
pub struct Schemas {
    settings: Settings,
    metrics: Arc<ClusterMetrics>,
    published: ArcSwap<Published>,
    version: AtomicU64,
    /// Whether some instance gets no calls of some method: nearly never, so that calls look at this first.
    excluding: AtomicBool,
    demands: ArcSwapOption<Box<dyn Demands>>,
    asked: Mutex<Asked>,
    doubts: Doubts,
    wake: Notify,
}

/// What the keeper is asked for.
#[derive(Debug, Default)]
struct Asked {
    /// To look at these instances again.
    again: FxHashSet<u64>,
    /// To look at these too, even if they are not well: they answer.
    answering: FxHashSet<u64>,
    /// When that was asked last, over calls.
    last: FxHashMap<u64, Instant>,
    /// To look at these, each of which somebody is connected to anew and waits to hear of.
    confirm: Vec<Unconfirmed>,
    /// To take what is there as accepted.
    accept: bool,
    /// To judge anew.
    judge: bool,
    /// To see who is there.
    list: bool,
}

/// Which definitions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What each instance says.
    Live,
    /// Files; instances are compared with them.
    Verify,
    /// Files.
    Pinned,
}

impl Mode {
    /// Its name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Verify => "verify",
            Self::Pinned => "pinned",
        }
    }
}

impl Schemas {
    /// Nothing but what files say is known yet. [`keep`] learns the rest.
    pub fn new(settings: Settings, metrics: Arc<ClusterMetrics>) -> Arc<Self> {
        let published = Published::begin(&settings, &metrics);
        Arc::new(Self {
            settings,
            metrics,
            published: ArcSwap::from_pointee(published),
            version: AtomicU64::new(0),
            excluding: AtomicBool::new(false),
            demands: ArcSwapOption::empty(),
            asked: Mutex::default(),
            doubts: Doubts::default(),
            wake: Notify::new(),
        })
    }

    /// Whether they come from where these settings say.
    pub fn come_from(&self, settings: &Settings) -> bool {
        fn digest(definitions: &Option<Arc<Definitions>>) -> Option<&str> {
            definitions.as_ref().map(|definitions| definitions.schema().digest())
        }
        let Settings { pinned, refresh, bundled } = &self.settings;
        *refresh == settings.refresh
            && digest(pinned) == digest(&settings.pinned)
            && digest(bundled) == digest(&settings.bundled)
    }

    /// Every method of every schema that counts now, as something that is to be made ready for it needs them.
    pub fn known(&self) -> Vec<Arc<Definitions>> {
        self.load().held().iter().map(|kind| Arc::clone(&kind.definitions)).collect()
    }

    /// What is known now. A call loads it once for each thing that it decides.
    pub fn load(&self) -> Guard<Arc<Published>> {
        self.published.load()
    }

    /// Counts what was published: who has made something of it sees whether that is still so.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Schemas by which the cluster's services can be described: what decides; or what instances have, that of most of them first,
    /// and behind those what comes with Portunus.
    pub fn described(&self) -> Vec<Arc<Schema>> {
        let held = self.load().held();
        let bundled = self.settings.bundled.as_ref().filter(|_| self.settings.pinned.is_none());
        let all = held.iter().map(|kind| &kind.definitions).chain(bundled);
        let mut schemas: Vec<Arc<Schema>> = Vec::new();
        for definitions in all {
            if !schemas.iter().any(|known| known.digest() == definitions.schema().digest()) {
                schemas.push(Arc::clone(definitions.schema()));
            }
        }
        schemas
    }

    /// Which definitions count.
    pub fn mode(&self) -> Mode {
        match (&self.settings.pinned, self.settings.refresh) {
            (None, _) => Mode::Live,
            (Some(_), Some(_)) => Mode::Verify,
            (Some(_), None) => Mode::Pinned,
        }
    }

    /// Whether instances are asked what they serve.
    pub fn asks(&self) -> bool {
        self.settings.refresh.is_some()
    }

    /// Instances that get no calls of a method, sorted. One atomic load where, as nearly always, there are none.
    pub fn excludes<T>(&self, service: &str, method: &str, pick: impl FnOnce(&[u64]) -> T) -> T {
        if self.excluding.load(Ordering::Acquire) {
            pick(self.published.load().excluded(service, method))
        } else {
            pick(&[])
        }
    }

    /// Puts in force what policies rely on, if there are some. Every definition is judged by it, those that are there too. With files it
    /// has nothing to say: they are judged when the configuration is built.
    pub fn demand(&self, demands: Option<Box<dyn Demands>>) {
        self.demands.store(demands.map(Arc::new));
        self.ask(|asked| asked.judge = true);
    }

    /// Whether policies read messages of some method.
    pub fn is_relied_on(&self) -> bool {
        self.demands.load().is_some()
    }

    /// Takes the definitions that most instances have as accepted, wherever some get no calls. Answers the methods, as
    /// `service/method`, with the agent where there are such; the keeper does it within moments.
    pub fn accept(&self) -> Vec<Refused> {
        let refused = self.published.load().refused();
        if !refused.is_empty() {
            self.ask(|asked| asked.accept = true);
        }
        refused
    }

    /// An instance answered UNIMPLEMENTED. If its schema has the method it has another one by now. Cheap, and seldom more than that.
    pub fn unimplemented(&self, instance: u64, service: &str, method: &str) {
        let known = self.asks()
            && self
                .published
                .load()
                .reported(instance)
                .is_some_and(|kind| kind.definitions.get(service, method).is_some());
        if known {
            self.look_again(instance);
        }
    }

    /// An instance answered its health check, and by what is known of its schema the answer says that it is not well, or says nothing. It
    /// may have another schema by now; and one that is not well is not looked at otherwise.
    pub fn doubted(&self, instance: u64) {
        // With files, what it serves decides nothing.
        if self.asks() && self.mode() == Mode::Live {
            self.ask(|asked| {
                asked.answering.insert(instance);
            });
        }
    }

    /// A connection to an instance was made, and no other takes calls: it may have been started anew, with another schema than it had
    /// when it was asked, and is in doubt until it has said it. Where policies read messages by what it says, this waits for it as long
    /// as calls may.
    pub async fn confirm(&self, instance: u64) {
        if !self.asks() {
            return;
        }
        // Of whom nothing is known nothing is read.
        let is_known = self.load().reported(instance).is_some();
        if self.mode() != Mode::Live || !is_known {
            return self.look_again(instance);
        }
        if !self.is_relied_on() {
            // Whoever comes to rely on it before it has said it again must not go by what it said before.
            self.doubts.add(instance);
            return self.look_again(instance);
        }
        let (unconfirmed, confirmed) = Unconfirmed::new(instance);
        self.ask(|asked| asked.confirm.push(unconfirmed));
        if !matches!(tokio::time::timeout(CONFIRMED, confirmed).await, Ok(Ok(()))) {
            tracing::warn!(instance, "an instance that was connected to again does not say what it serves");
            self.doubts.add(instance);
            // What it says from now on ends the doubt.
            self.ask(|asked| {
                asked.again.insert(instance);
            });
        }
    }

    /// Whether it is in doubt what an instance means by its messages.
    fn is_doubtful(&self, instance: u64) -> bool {
        self.mode() == Mode::Live && self.doubts.has(instance)
    }

    /// Whether of no instance it is in doubt what it means by its messages.
    pub fn is_sure(&self) -> bool {
        self.doubts.are_none()
    }

    /// Instances came or went.
    pub fn altered(&self) {
        self.ask(|asked| asked.list = true);
    }

    fn look_again(&self, instance: u64) {
        let now = Instant::now();
        let mut asked = self.asked.lock();
        let recent = |last: &Instant| now.saturating_duration_since(*last) < LEAST_BETWEEN;
        if asked.last.get(&instance).is_some_and(recent) {
            return;
        }
        asked.last.retain(|_, last| recent(last));
        asked.last.insert(instance, now);
        asked.again.insert(instance);
        drop(asked);
        self.wake.notify_one();
    }

    fn ask(&self, change: impl FnOnce(&mut Asked)) {
        change(&mut self.asked.lock());
        self.wake.notify_one();
    }

    fn publish(&self, published: Published) {
        let excluding = published.excludes_any();
        self.metrics.schema_incompatible(published.refused().iter().map(|refused| refused.instances).sum());
        self.published.store(Arc::new(published));
        self.version.fetch_add(1, Ordering::Release);
        self.excluding.store(excluding, Ordering::Release);
    }
}
