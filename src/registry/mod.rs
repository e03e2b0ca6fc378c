//! The agents of a registry cluster and the instances behind them (DESIGN.md §3): who registered, who is well, who gets
//! calls. Read by every call ([`Registry::choose`], without a lock), changed by the registrar (call/register.rs), the
//! prober and the core's client (upstream/). Passive: it dials nobody, runs no task and is told the time.

mod address;
mod admit;
mod agent;
mod book;
mod card;
mod choose;
mod core;
mod health;
mod holders;
mod identity;
pub mod instance;
mod lease;
mod listed;
mod probing;
mod release;
mod saved;
mod schedule;
mod settings;
mod shown;
#[cfg(test)]
mod tests;
mod view;
mod warrant;

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use self::address::{Permit, clip};
pub use self::admit::{Admitted, Place, Plan, Refusal};
pub use self::agent::{Agent, Caller, Connection, owner_by_address};
pub use self::card::Card;
pub use self::choose::{Asked, ChooseError, ChooseErrorKind};
pub use self::core::{CoreState, Forward, Verdict, Wish};
pub use self::health::Finding;
pub use self::identity::Identity;
pub use self::instance::{Door, EndpointSet, InFlight, Instance, State, Tables, Target, Waiting};
pub use self::lease::{Beat, Departure};
pub use self::listed::Listed;
pub use self::probing::{Patients, Probe};
pub use self::saved::{Changes, Saved, SavedAgent, SavedInstance};
pub use self::settings::{Callback, Forbidden, HealthSettings, HostPattern, Limits, Settings};
pub use self::shown::Shown;
pub use self::view::{AgentView, InstanceView, ProbeView};
pub use self::warrant::{Judgement, Registered, Warrant};

use self::book::Book;
use self::choose::Index;
use self::holders::Holders;
use self::saved::Kept;
use crate::observe::ClusterMetrics;

/// The registry of one cluster. It outlives snapshots: a reload gives it new settings.
#[derive(Debug)]
pub struct Registry {
    name: Arc<str>,
    metrics: Arc<ClusterMetrics>,
    settings: Arc<ArcSwap<Settings>>,
    /// Where the core is, if the settings give it by name.
    core_addresses: Arc<ArcSwap<Vec<SocketAddr>>>,
    /// Whose an address is: the book's.
    holders: Arc<Holders>,
    index: ArcSwap<Index>,
    book: Mutex<Book>,
    /// Agents about which the core may have to be told something.
    wishes: Mutex<Vec<Arc<str>>>,
    wishing: Notify,
    /// The core has answered about somebody.
    settled: Notify,
    /// Told that something changed that is to be kept, where it is.
    keeper: Mutex<Option<SyncSender<()>>>,
    /// Another process keeps it from now on.
    handed_over: AtomicBool,
    /// How far that has come.
    kept: watch::Sender<Kept>,
    /// A probe is due sooner than was last answered.
    probing: Notify,
    /// An instance came, went, or is in another state.
    altering: Notify,
}

impl Registry {
    /// An empty registry for the cluster of this name.
    pub fn new(name: impl Into<Arc<str>>, settings: Settings, metrics: Arc<ClusterMetrics>) -> Arc<Self> {
        let (settings, book) = (Arc::new(settings), Book::default());
        Arc::new(Self {
            name: name.into(),
            metrics,
            index: ArcSwap::from_pointee(Index::build(&book, Arc::clone(&settings))),
            settings: Arc::new(ArcSwap::new(settings)),
            core_addresses: Arc::default(),
            holders: Arc::clone(&book.holders),
            book: Mutex::new(book),
            wishes: Mutex::new(Vec::new()),
            wishing: Notify::new(),
            settled: Notify::new(),
            keeper: Mutex::default(),
            handed_over: AtomicBool::new(false),
            kept: watch::Sender::default(),
            probing: Notify::new(),
            altering: Notify::new(),
        })
    }

    /// The cluster's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is counted of the cluster.
    pub fn metrics(&self) -> &Arc<ClusterMetrics> {
        &self.metrics
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Puts other settings in force (a reload). Instances stay, and are checked under the new ones from now on. An agent
    /// for which the new range has no port left keeps its instances and cannot be called by port; a log line says so.
    pub fn apply(&self, settings: Settings) {
        let mut book = self.book();
        let before = self.settings.swap(Arc::new(settings));
        let settings = self.settings();
        if before.callback != settings.callback {
            admit::give_ports_anew(&mut book, &settings, &self.name);
        }
        if before.core != settings.core {
            self.core_changed(&mut book, settings.core.is_some());
        }
        if before.callback != settings.callback {
            core::callback_changed(&mut book, &settings);
        }
        self.reindex(&book);
        drop(book);
        self.probing.notify_one();
    }

    /// Which agent a call means. Takes no lock.
    pub fn choose(&self, asked: &Asked<'_>) -> Result<Arc<Agent>, ChooseError> {
        self.index.load().choose(asked)
    }

    /// Waits until an instance comes, goes, or is in another state; returns at once if that was so since the last time. For one who
    /// waits.
    pub async fn altered(&self) {
        self.altering.notified().await;
    }

    /// Every instance with its agent, whatever its state.
    pub fn instances(&self) -> Vec<(Arc<Agent>, Arc<Instance>)> {
        let book = self.book();
        let of = |record: &book::Record| {
            let agent = Arc::clone(&record.agent);
            record
                .entries
                .iter()
                .map(move |entry| (Arc::clone(&agent), Arc::clone(&entry.instance)))
                .collect::<Vec<_>>()
        };
        book.records.values().flat_map(of).collect()
    }

    /// Whether some agent has an instance that gets calls. Takes no lock.
    pub fn has_usable(&self) -> bool {
        self.index.load().agents().any(|agent| !agent.endpoints.load().is_empty())
    }

    /// Learns where the core is that the settings give by name.
    pub fn core_is_at(&self, addresses: Vec<SocketAddr>) {
        self.core_addresses.store(Arc::new(addresses));
    }

    /// Where an instance that this caller registers may be dialled.
    pub fn permit(&self, caller: &Caller) -> Permit {
        let (settings, holders) = (Arc::clone(&self.settings), Arc::clone(&self.holders));
        let (peer, local) = (caller.peer.ip(), caller.local);
        Permit { settings, core: Arc::clone(&self.core_addresses), holders, peer, local }
    }

    /// Waits for the core's word on an agent, for as long as the caller cares to.
    pub async fn core_settles(&self, id: &str) -> Verdict {
        loop {
            // Made before looking: it is woken by an answer that comes in between.
            let settled = self.settled.notified();
            if let Some(verdict) = self.core_verdict(id) {
                return verdict;
            }
            settled.await;
        }
    }

    /// The records; whoever keeps them is told if they have changed once the guard is gone.
    fn book(&self) -> Open<'_> {
        let book = self.book.lock();
        Open { before: book.revision, book, keeper: &self.keeper, altering: &self.altering }
    }

    fn reindex(&self, book: &Book) {
        self.index.store(Arc::new(Index::build(book, self.settings())));
    }

    /// Runs `change` on the book and publishes the index anew if agents came or went by it.
    fn change<T>(&self, now: Instant, change: impl FnOnce(&mut Book, Instant) -> T) -> T {
        let mut book = self.book();
        let before = book.presence;
        let done = change(&mut book, now);
        if book.presence != before {
            self.reindex(&book);
        }
        done
    }
}

/// The records, locked.
struct Open<'a> {
    book: MutexGuard<'a, Book>,
    before: u64,
    keeper: &'a Mutex<Option<SyncSender<()>>>,
    altering: &'a Notify,
}

impl Deref for Open<'_> {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.book
    }
}

impl DerefMut for Open<'_> {
    fn deref_mut(&mut self) -> &mut Book {
        &mut self.book
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if std::mem::take(&mut self.book.altered) {
            self.altering.notify_one();
        }
        if self.book.revision != self.before
            && let Some(keeper) = &*self.keeper.lock()
        {
            // Full: it is told already.
            keeper.try_send(()).ok();
        }
    }
}
