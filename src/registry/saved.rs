//! What of a registry outlives the process: records as they are written, which of them have changed since, and how a registry begins
//! with them. Who writes them (store/) is told that something changed, takes the changes, and says what became of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

use portunus_proto::bindu::{RegisterAgentResponse, SkillDefinition};
use tokio::time::Instant;

use super::Registry;
use super::agent::{Agent, Caller, Connection};
use super::book::{Book, Entry, Record};
use super::core::{CoreState, Forward, Standing};
use super::health::Health;
use super::identity::Identity;
use super::instance::Target;
use super::shown::Shown;

/// An agent as it is kept. Numbers are never given to another field.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedAgent {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub author: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub owner: String,
    /// Unix milliseconds of its first registration.
    #[prost(uint64, tag = "5")]
    pub created_ms: u64,
    /// In the form with ports: the one that the core was told. 0: none.
    #[prost(uint32, tag = "6")]
    pub port: u32,
    /// For the core: rebuilt `config_json`, and skills.
    #[prost(string, tag = "7")]
    pub config: String,
    #[prost(message, repeated, tag = "8")]
    pub skills: Vec<SkillDefinition>,
    /// The core may know it.
    #[prost(bool, tag = "9")]
    pub told: bool,
    /// The callback under which the core registered it for us.
    #[prost(string, optional, tag = "10")]
    pub callback: Option<String>,
    /// What the core answered.
    #[prost(message, optional, tag = "11")]
    pub answer: Option<RegisterAgentResponse>,
    /// Unix milliseconds since which it has no instance; 0 where it has.
    #[prost(uint64, tag = "12")]
    pub vacant_since_ms: u64,
    /// An operator took it from its owner.
    #[prost(bool, tag = "13")]
    pub released: bool,
}

/// An instance as it is kept.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedInstance {
    /// As its SDK named it: `ip:port`, `localhost:port` or `name:port`.
    #[prost(string, tag = "1")]
    pub address: String,
    #[prost(string, tag = "2")]
    pub registered_by: String,
    /// The address from which it was registered.
    #[prost(string, tag = "3")]
    pub peer: String,
    /// Our end of that connection; empty if it is not known.
    #[prost(string, tag = "4")]
    pub local: String,
    /// Its address was found free: whoever is there now may be another, until its SDK is heard again.
    #[prost(bool, tag = "5")]
    pub awaited: bool,
    /// By what its registrant was told from others: 1 a SPIFFE ID, 2 the subject and issuer of a certificate, 3 a token, 4 nothing. 0: an
    /// older Portunus wrote it. An older one that reads it has no TLS to instances, and so no need of it.
    #[prost(uint32, tag = "6")]
    pub shown: u32,
    /// The SPIFFE ID, or the subject.
    #[prost(string, tag = "7")]
    pub shown_name: String,
    #[prost(string, tag = "8")]
    pub shown_issuer: String,
}

/// An agent and its instances.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub agent: SavedAgent,
    pub instances: Vec<SavedInstance>,
}

/// What is to be written.
#[derive(Debug)]
pub struct Changes {
    /// What is kept after they are written.
    pub revision: u64,
    /// The agents that changed, by id; none: it is forgotten.
    pub agents: Vec<(Arc<str>, Option<Saved>)>,
}

/// How far the writing has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    revision: u64,
    /// The last try failed, for this reason, and would have kept so much.
    failed: Option<(u64, Arc<str>)>,
}

impl Registry {
    /// Has changes kept: whoever receives is told whenever there may be some.
    pub fn keep(&self, changed: SyncSender<()>) {
        *self.keeper.lock() = Some(changed);
    }

    /// Nothing is kept from now on.
    pub fn keep_no_more(&self) {
        *self.keeper.lock() = None;
    }

    /// Another process keeps the registry from now on, or does no more. Nobody is told meanwhile that what changes here is kept.
    pub fn hand_over(&self, handed_over: bool) {
        self.handed_over.store(handed_over, Ordering::Release);
    }

    /// Whether it does.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    /// What has changed since it was asked last.
    pub fn take_changes(&self) -> Option<Changes> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut book = self.book();
        if book.touched.is_empty() {
            return None;
        }
        let touched = std::mem::take(&mut book.touched);
        let saved = |id: &Arc<str>| book.records.get(id).filter(|record| record.is_kept()).map(|r| save(r, now, wall));
        let agents = touched.into_iter().map(|id| (Arc::clone(&id), saved(&id))).collect();
        Some(Changes { revision: book.revision, agents })
    }

    /// Changes are written; or they are not, and are taken again.
    pub fn changes_kept(&self, changes: Changes, result: Result<(), &str>) {
        self.metrics.written(if result.is_ok() { "ok" } else { "failed" });
        match result {
            Ok(()) => {
                let mut book = self.book();
                for (id, saved) in &changes.agents {
                    if let Some(record) = book.records.get_mut(id) {
                        record.kept = saved.is_some();
                    }
                }
                drop(book);
                self.kept.send_modify(|kept| *kept = Kept { revision: changes.revision, failed: None });
            }
            Err(why) => {
                self.book().touched.extend(changes.agents.into_iter().map(|(id, _)| id));
                self.kept.send_modify(|kept| kept.failed = Some((changes.revision, why.into())));
            }
        }
    }

    /// Waits until what was so far at `revision` is kept; at once where nothing is.
    pub async fn is_kept(&self, revision: u64) -> Result<(), Arc<str>> {
        if self.keeper.lock().is_none() {
            if self.is_handed_over() {
                return Err("another process takes registrations now: register again".into());
            }
            return Ok(());
        }
        let mut kept = self.kept.subscribe();
        let done = kept.wait_for(|kept| {
            kept.revision >= revision || kept.failed.as_ref().is_some_and(|(failed, _)| *failed >= revision)
        });
        match done.await.map(|kept| kept.clone()) {
            Ok(Kept { revision: reached, .. }) if reached >= revision => Ok(()),
            Ok(Kept { failed: Some((_, why)), .. }) => Err(why),
            Ok(_) | Err(_) => Err("the state is not written any more".into()),
        }
    }

    /// Why the last try to write failed, if it did.
    pub fn keeping_fails(&self) -> Option<Arc<str>> {
        self.kept.borrow().failed.as_ref().map(|(_, why)| Arc::clone(why))
    }

    /// Begins with what was kept. Instances get calls at once, and are probed; leases begin anew; the core is asked about each agent.
    pub fn restore(&self, saved: Vec<Saved>, now: Instant) {
        let settings = self.settings();
        let wall = SystemTime::now();
        let mut book = self.book();
        for Saved { agent, instances } in saved {
            let Some((id, record)) = restored(&agent, settings.core.is_some(), now, wall) else {
                tracing::warn!(
                    cluster = &*self.name,
                    agent = agent.id,
                    "what was kept of the agent makes no sense; forgotten"
                );
                book.touched.insert(agent.id.into());
                continue;
            };
            if let Some(core_id) = record.core.answer.as_ref().map(|answer| answer.agent_id.to_ascii_lowercase())
                && !core_id.is_empty()
                && *core_id != *id
            {
                book.aliases.insert(core_id.into(), Arc::clone(&id));
            }
            book.records.insert(Arc::clone(&id), record);
            for instance in &instances {
                let made = self.restored_instance(instance, now);
                if let Some(entry) = made.filter(|entry| book.holder(&entry.instance.target).is_none()) {
                    book.add(&id, entry, now);
                }
            }
            self.wish(&id);
        }
        let Book { records, touched, .. } = &mut *book;
        touched.retain(|id| !records.contains_key(id));
        self.reindex(&book);
        drop(book);
        self.probing.notify_one();
    }

    fn restored_instance(&self, saved: &SavedInstance, now: Instant) -> Option<Entry> {
        let target = Target::parse(&saved.address)?;
        let (peer, local): (IpAddr, _) = (saved.peer.parse().ok()?, saved.local.parse().ok());
        let by = Caller {
            peer: (peer, 0).into(),
            local,
            connection: Connection::unknown(),
            owner: saved.registered_by.as_str().into(),
            shown: Shown::of_kept((saved.shown, &saved.shown_name, &saved.shown_issuer)),
        };
        Some(self.entry((target, self.permit(&by)), Health::restored(saved.awaited, now), &by, now))
    }
}

impl Record {
    /// Whether it is worth keeping: a registration that is under way and has no instance yet is not.
    pub(super) fn is_kept(&self) -> bool {
        self.is_present() || self.vacant_since.is_some()
    }
}

impl Book {
    /// Something of an agent has changed that is kept.
    pub(super) fn touch(&mut self, id: &Arc<str>) {
        self.revision += 1;
        self.touched.insert(Arc::clone(id));
    }
}

fn save(record: &Record, now: Instant, wall: SystemTime) -> Saved {
    let Record { agent, core, .. } = record;
    let instances = record.entries.iter().map(save_instance);
    let since = |moment: Instant| unix_ms(wall.checked_sub(now.saturating_duration_since(moment)).unwrap_or(wall));
    Saved {
        instances: instances.collect(),
        agent: SavedAgent {
            id: agent.id.to_string(),
            author: agent.author.to_string(),
            name: agent.name.to_string(),
            owner: agent.owner.to_string(),
            created_ms: since(record.created),
            port: record.port.map(u32::from).unwrap_or_default(),
            config: core.forward.config.clone(),
            skills: core.forward.skills.clone(),
            told: core.told,
            callback: core.callback.clone(),
            answer: core.answer.clone(),
            vacant_since_ms: record.vacant_since.map(since).unwrap_or_default(),
            released: record.released,
        },
    }
}

fn save_instance(entry: &Entry) -> SavedInstance {
    let Entry { instance, registered_by, .. } = entry;
    let permit = instance.permit.as_ref();
    let (shown, shown_name, shown_issuer) = instance.shown.as_ref().map(Shown::to_kept).unwrap_or_default();
    SavedInstance {
        address: instance.authority.to_string(),
        registered_by: registered_by.to_string(),
        peer: permit.map(|permit| permit.peer.to_string()).unwrap_or_default(),
        local: permit.and_then(|permit| permit.local).map(|ip| ip.to_string()).unwrap_or_default(),
        awaited: entry.health.is_awaited(),
        shown,
        shown_name,
        shown_issuer,
    }
}

fn restored(saved: &SavedAgent, has_core: bool, now: Instant, wall: SystemTime) -> Option<(Arc<str>, Record)> {
    let identity = Identity::new(&saved.author, &saved.name, Some(&saved.id)).ok()?;
    // A clock that was set back makes nobody younger than new.
    let at = |ms: u64| {
        let age = wall.duration_since(SystemTime::UNIX_EPOCH + Duration::from_millis(ms)).unwrap_or_default();
        now.checked_sub(age).unwrap_or(now)
    };
    let mut core = Standing::new(Arc::new(Forward { config: saved.config.clone(), skills: saved.skills.clone() }));
    if has_core {
        core.state = CoreState::Pending;
        core.told = saved.told;
        core.callback = saved.callback.clone();
        core.answer = saved.answer.clone();
    }
    let record = Record {
        agent: Agent::new(&identity, saved.owner.as_str().into()),
        created: at(saved.created_ms),
        entries: Vec::new(),
        plans: 0,
        port: u16::try_from(saved.port).ok().filter(|port| *port != 0),
        // Those with instances lose this when they get them back.
        vacant_since: Some(if saved.vacant_since_ms == 0 { now } else { at(saved.vacant_since_ms) }),
        released: saved.released,
        kept: true,
        core,
    };
    Some((identity.id, record))
}

fn unix_ms(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
