//! Keeps a cluster's schemas current: one task a cluster on the control runtime. Looks at an instance when it appears, turns healthy,
//! registers again, is connected to again or does not know a method any more, and now and then; a few at once, each once at a time.

use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::assemble::{assembled, compared, grouped};
use super::doubts::Unconfirmed;
use super::judge::{Bench, LARGE};
use super::look::{Found, Looked, Looks};
use super::pace::{LEAST, Pace, RARELY, Rates, SPREAD};
use super::places::Places;
use super::published::{Drift, InstanceReport, Kind, Source};
use super::queue::{Due, Queue};
use super::watch::Watch;
use super::{Asked, Schemas};
use crate::registry::{Instance, State};
use crate::schema::{Definitions, Schema};
use crate::upstream::{Cluster, Group, Network};

/// Schemas of a cluster that are kept at once, and those among them that are large.
const KEPT: usize = 64;
const KEPT_LARGE: usize = 4;
/// How old what the admin port shows may be, where nothing is new.
const STALE: Duration = Duration::from_secs(5);

/// Those that all clusters have together.
static PLACES: LazyLock<Arc<Places>> = LazyLock::new(|| Arc::new(Places::of_all()));

struct Keeper {
    schemas: Arc<Schemas>,
    cluster: Arc<Cluster>,
    looks: Arc<Looks>,
    refresh: Duration,
    watched: FxHashMap<u64, Watch>,
    queue: Queue,
    places: Places,
    pace: Pace,
    /// Agents of which some instance has said what it serves, or that it does not say.
    told: FxHashSet<Arc<str>>,
    /// Some instance has no reflection, and what comes with Portunus stands in.
    stands_in: bool,
    kinds: Vec<Weak<Kind>>,
    bundled: Option<Arc<Kind>>,
    order: u64,
    /// Judging may panic: what was accepted stays.
    bench: Arc<Mutex<Bench>>,
    drifts: Vec<Arc<Drift>>,
    /// Instances that have said what they serve, since when that is so, and who waits to hear of it: told once it is published.
    confirmed: FxHashMap<u64, (Instant, Vec<Unconfirmed>)>,
    /// Instances have come, gone or changed; and when that was looked at last.
    altered: bool,
    listed: Instant,
    /// Something is to be published; and when that was done last.
    anew: bool,
    published: Instant,
    /// That failed, and is tried again after a while.
    failed: bool,
}

/// Keeps a cluster's schemas current for as long as it is polled.
pub async fn keep(cluster: Arc<Cluster>, network: Arc<dyn Network>) {
    keep_among(Arc::clone(&PLACES), cluster, network).await;
}

/// The same, where clusters have these places together.
async fn keep_among(places: Arc<Places>, cluster: Arc<Cluster>, network: Arc<dyn Network>) {
    let schemas = Arc::clone(&cluster.schemas);
    let bundled = schemas.settings.bundled.as_ref();
    let bundled = bundled.map(|bundled| Kind::new(Arc::clone(bundled), Source::Bundled, 1, &schemas.metrics));
    let mut keeper = Keeper {
        refresh: schemas.settings.refresh.unwrap_or_default(),
        looks: Arc::new(Looks::new(network, Arc::clone(&cluster.security), places)),
        watched: FxHashMap::default(),
        queue: Queue::default(),
        places: Places::of_cluster(),
        pace: Pace::default(),
        told: FxHashSet::default(),
        stands_in: false,
        kinds: Vec::new(),
        bundled,
        order: 1,
        bench: Arc::default(),
        drifts: Vec::new(),
        confirmed: FxHashMap::default(),
        altered: false,
        listed: Instant::now(),
        anew: true,
        published: Instant::now(),
        failed: false,
        cluster,
        schemas,
    };
    // Goes with this future.
    let mut under_way = JoinSet::new();
    keeper.list();
    loop {
        if keeper.altered && Instant::now() >= keeper.after(keeper.listed) {
            keeper.list();
        }
        keeper.begin(&mut under_way);
        if keeper.anew && Instant::now() >= keeper.next_publication() {
            keeper.publish().await;
        }
        if !keeper.anew {
            keeper.tell();
        }
        let next = [
            keeper.next_look(),
            keeper.altered.then(|| keeper.after(keeper.listed)),
            keeper.anew.then(|| keeper.next_publication()),
        ];
        let next = next.into_iter().flatten().min();
        let cluster = Arc::clone(&keeper.cluster);
        let altered = async {
            match &cluster.group {
                Group::Registered(registry) => registry.altered().await,
                Group::Listed { health: Some(health), .. } => health.altered().await,
                Group::Listed { health: None, .. } => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = under_way.join_next() => {
                keeper.ended(done);
                // What is there already is published with it.
                while let Some(done) = under_way.try_join_next() {
                    keeper.ended(done);
                }
            }
            () = altered => keeper.altered = true,
            () = keeper.schemas.wake.notified() => keeper.heed(),
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

type Ended = Result<(u64, Looked), tokio::task::JoinError>;

impl Keeper {
    /// Takes in who is there now.
    fn list(&mut self) {
        self.altered = false;
        let present: Vec<(Arc<str>, Arc<Instance>)> = match &self.cluster.group {
            Group::Listed { set, .. } => {
                set.load().instances.iter().map(|instance| (Arc::from(""), Arc::clone(instance))).collect()
            }
            Group::Registered(registry) => {
                registry.instances().into_iter().map(|(agent, instance)| (Arc::clone(&agent.id), instance)).collect()
            }
        };
        let now = Instant::now();
        let ids: FxHashSet<u64> = present.iter().map(|(_, instance)| instance.id).collect();
        let before = self.watched.len();
        for (_, watch) in self.watched.extract_if(|id, _| !ids.contains(id)) {
            self.queue.remove(watch.due);
        }
        self.schemas.doubts.retain(|id| ids.contains(&id));
        if self.watched.len() != before {
            self.anew = true;
            let telling = || self.watched.values().filter(|watch| watch.has_told());
            self.told = telling().map(|watch| Arc::clone(&watch.agent)).collect();
            self.stands_in = telling().any(Watch::has_stand_in);
        }
        for (agent, instance) in present {
            let (id, state, renewals) = (instance.id, instance.state(), instance.renewals());
            if let Some(watch) = self.watched.get_mut(&id) {
                let turned = std::mem::replace(&mut watch.state, state) != state && state == State::Healthy;
                let renewed = std::mem::replace(&mut watch.renewals, renewals) != renewals;
                if turned || renewed {
                    self.look_soon(id, now);
                }
                continue;
            }
            self.anew = true;
            let watch = Watch::new(agent, instance, now);
            self.queue.add(watch.due);
            self.watched.insert(id, watch);
        }
        self.listed = Instant::now();
    }

    /// Does what was asked for.
    fn heed(&mut self) {
        let Asked { mut again, answering, confirm, accept, judge, list, .. } = {
            let mut asked = self.schemas.asked.lock();
            let last = std::mem::take(&mut asked.last);
            let taken = std::mem::take(&mut *asked);
            asked.last = last;
            taken
        };
        self.altered |= list;
        let now = Instant::now();
        for id in &answering {
            if let Some(watch) = self.watched.get_mut(id) {
                watch.answers = true;
            }
        }
        for unconfirmed in confirm {
            if let Some(watch) = self.watched.get_mut(&unconfirmed.instance) {
                again.insert(unconfirmed.instance);
                watch.unconfirmed.push(unconfirmed);
            }
        }
        again.into_iter().chain(answering).for_each(|id| self.look_soon(id, now));
        if accept {
            let refused = self.schemas.load().refused();
            self.bench.lock().accept(refused.into_iter().map(|refused| (refused.agent, refused.method)));
        }
        if judge {
            self.bench.lock().judge_anew();
            self.hurry(now);
        }
        self.anew |= accept || judge;
    }

    /// Has an instance looked at, as soon as that may be.
    fn look_soon(&mut self, id: u64, now: Instant) {
        let relied_on = self.schemas.is_relied_on();
        let Some(watch) = self.watched.get_mut(&id) else { return };
        watch.doubtful = relied_on && self.schemas.doubts.has(id);
        if watch.busy {
            watch.again = true;
            if watch.rank().awaited {
                watch.hurry.notify_one();
            }
            return;
        }
        let at = watch.looked.map_or(now, |looked| now.max(looked + watch.least()));
        // It may have come to be awaited, too.
        let at = at.min(watch.due.at);
        self.put(id, at);
    }

    /// Has an instance looked at next at this time.
    fn put(&mut self, id: u64, at: Instant) {
        let Some(watch) = self.watched.get_mut(&id) else { return };
        self.queue.remove(watch.due);
        watch.due = Due { at, id, rank: watch.rank() };
        self.queue.add(watch.due);
    }

    /// Policies read messages that did not before, perhaps: whoever was put off is asked, and whoever was connected to anew meanwhile.
    fn hurry(&mut self, now: Instant) {
        let doubts = &self.schemas.doubts;
        let is_due = |(id, watch): (&u64, &Watch)| (!watch.asked || doubts.has(*id)).then_some(*id);
        let due: Vec<u64> = self.watched.iter().filter_map(is_due).collect();
        due.into_iter().for_each(|id| self.look_soon(id, now));
    }

    /// How often instances may be asked.
    fn rates(&self) -> &'static Rates {
        Rates::of(self.schemas.is_relied_on())
    }

    /// When the next look may begin.
    fn next_look(&self) -> Option<Instant> {
        let due = self.queue.next_at(|rank| self.places.has_one(rank))?;
        Some(self.pace.ready(self.rates()).map_or(due, |ready| ready.max(due)))
    }

    /// Whether nobody waits for what an instance says, and it will hardly say anything new: that of another one of its agent is
    /// known, or Bindu's contract stands in for what instances here do not tell.
    fn can_wait(&self, watch: &Watch) -> bool {
        !self.schemas.is_relied_on() && (self.stands_in || self.told.contains(&watch.agent))
    }

    /// Begins looks that are due.
    fn begin(&mut self, under_way: &mut JoinSet<(u64, Looked)>) {
        let (now, rates, many) = (Instant::now(), self.rates(), self.watched.len());
        while let Some(due) = self.queue.next(now, |rank| self.places.has_one(rank)) {
            let id = due.id;
            let ready = self.pace.ready(rates).is_none_or(|ready| ready <= now);
            let can_wait = !ready && self.watched.get(&id).is_some_and(|watch| self.can_wait(watch));
            if !ready && !can_wait {
                break;
            }
            let Some(watch) = self.watched.get_mut(&id).filter(|watch| !watch.busy) else {
                self.queue.remove(due);
                continue;
            };
            if !watch.instance.is_usable() && !watch.answers {
                // It is looked at when it is well again, which is told.
                self.put(id, now + self.refresh.max(LEAST) * RARELY);
                continue;
            }
            if can_wait {
                let part: f64 = rand::random();
                let wait = watch.wait(self.refresh, many, rates).mul_f64(SPREAD * part);
                self.put(id, now + wait);
                continue;
            }
            let Some(place) = self.places.take(due.rank) else { break };
            self.queue.take(due);
            self.pace.take(now, rates);
            (watch.busy, watch.looked, watch.answers, watch.hurry) = (true, Some(now), false, Arc::default());
            let (looks, awaited) = (Arc::clone(&self.looks), (due.rank, Arc::clone(&watch.hurry)));
            let (instance, print) = (Arc::clone(&watch.instance), watch.print);
            let metrics = Arc::clone(&self.schemas.metrics);
            under_way.spawn(async move {
                let looked = looks.look(instance, print, awaited, metrics).await;
                drop(place);
                (id, looked)
            });
        }
    }

    /// A look has ended.
    fn ended(&mut self, done: Ended) {
        let Ok((id, Looked { began, took, found })) = done else {
            tracing::error!(cluster = %self.cluster.name, "a look at an instance's schema panicked");
            return self.free_all();
        };
        let now = Instant::now();
        let kind = match &found {
            Found::New(_, definitions) => Some(self.kind_of(definitions)),
            Found::Same | Found::Failed(..) => None,
        };
        let (bundled, many, rates) = (self.bundled.clone(), self.watched.len(), self.rates());
        let relied_on = self.schemas.is_relied_on();
        let Some(watch) = self.watched.get_mut(&id) else { return };
        (watch.busy, watch.took) = (false, took);
        let first = !std::mem::replace(&mut watch.asked, true);
        let before = (watch.kind.as_ref().map(|kind| kind.order), watch.error.take());
        let cluster = &*self.cluster.name;
        match found {
            Found::Same if watch.kind.is_some() => watch.know(),
            // It still serves what could not be used.
            Found::Same => watch.error.clone_from(&before.1),
            Found::New(print, _) => match kind.unwrap_or_else(|| Err("its schema is not kept".to_owned())) {
                Ok(kind) => {
                    if let Some(before) = before.0.filter(|before| *before != kind.order) {
                        let (instance, digest) = (&watch.instance.authority, kind.digest());
                        tracing::info!(cluster, %instance, digest, before, "an instance serves another schema");
                    }
                    watch.print = Some(print);
                    watch.kind = Some(kind);
                    watch.know();
                }
                Err(why) => {
                    watch.rarely = true;
                    watch.fail(None, None, why);
                }
            },
            Found::Failed(print, error) => watch.failed(print, error, bundled),
        }
        let waiting = watch.heard(began);
        let told = watch.error.is_none() || watch.unoffered;
        if told {
            let confirmed = self.confirmed.entry(id).or_insert((began, Vec::new()));
            confirmed.0 = began;
            confirmed.1.extend(waiting);
        }
        // Whoever waited in vain says so as well.
        watch.doubtful = !told && relied_on && self.schemas.doubts.has(id);
        if watch.error.is_some() && watch.error != before.1 {
            tracing::warn!(cluster, instance = %watch.instance.authority, error = watch.error.as_deref(), "no schema of an instance");
        }
        let changed = first || before != (watch.kind.as_ref().map(|kind| kind.order), watch.error.clone());
        if watch.has_told() {
            self.stands_in |= watch.has_stand_in();
            self.told.insert(Arc::clone(&watch.agent));
        }
        let wait = watch.wait(self.refresh, many, rates);
        let at = now + if std::mem::take(&mut watch.again) { watch.least() } else { wait };
        self.put(id, at);
        self.anew |= changed || now.saturating_duration_since(self.published) >= STALE;
    }

    /// What was found is published: those hear of it who waited for it.
    fn tell(&mut self) {
        for (id, (looked, waiting)) in self.confirmed.drain() {
            self.schemas.doubts.end(id, looked);
            waiting.into_iter().for_each(Unconfirmed::confirm);
        }
    }

    /// When something that takes longer the more instances there are, and was done at this time, may be done again.
    fn after(&self, done: Instant) -> Instant {
        let many = u32::try_from(self.watched.len()).unwrap_or(u32::MAX);
        done + (self.rates().settle * many).min(STALE)
    }

    /// When what is new may be published.
    fn next_publication(&self) -> Instant {
        if self.failed { self.published + STALE } else { self.after(self.published) }
    }

    /// Nobody knows whose look it was that panicked.
    fn free_all(&mut self) {
        let later = Instant::now() + self.refresh.max(LEAST) * RARELY;
        for (id, watch) in self.watched.iter_mut().filter(|(_, watch)| watch.busy) {
            watch.busy = false;
            watch.error.get_or_insert_with(|| "its schema cannot be read".into());
            watch.due = Due { at: later, id: *id, rank: watch.rank() };
            self.queue.add(watch.due);
        }
    }

    /// The kind that a schema is, if there is room for one more.
    fn kind_of(&mut self, definitions: &Arc<Definitions>) -> Result<Arc<Kind>, String> {
        let living: Vec<Arc<Kind>> = self.kinds.iter().filter_map(Weak::upgrade).collect();
        if let Some(known) = living.iter().find(|kind| Arc::ptr_eq(&kind.definitions, definitions)) {
            return Ok(Arc::clone(known));
        }
        let is_large = |schema: &Schema| schema.elements() >= LARGE;
        let large = living.iter().filter(|kind| is_large(kind.definitions.schema())).count();
        if living.len() >= KEPT || (large >= KEPT_LARGE && is_large(definitions.schema())) {
            return Err(format!(
                "the cluster's instances have more different schemas than are kept ({KEPT}, {KEPT_LARGE} of them large)"
            ));
        }
        self.order += 1;
        let kind = Kind::new(Arc::clone(definitions), Source::Reflection, self.order, &self.schemas.metrics);
        self.kinds = living.iter().chain([&kind]).map(Arc::downgrade).collect();
        Ok(kind)
    }

    /// Judges, compares, and has calls see it.
    async fn publish(&mut self) {
        self.anew = false;
        let reports: Vec<InstanceReport> = self.watched.values().map(Watch::report).collect();
        let demands = self.schemas.demands.load_full();
        // One that is not well cannot be asked, and has no say.
        let settled = self.watched.values().all(|watch| watch.asked || !watch.instance.is_usable());
        let (bench, known) = (Arc::clone(&self.bench), self.drifts.clone());
        let pinned = self.schemas.load().pinned.clone();
        let now = Instant::now();
        let made = tokio::task::spawn_blocking(move || {
            let groups = grouped(&reports);
            // With files, they decide: what instances say is only compared.
            let demands = demands.filter(|_| pinned.is_none());
            let refusals =
                demands.map(|demands| bench.lock().judge(&groups, &**demands, settled, now)).unwrap_or_default();
            let drifts = compared(&groups, pinned.as_ref(), &known);
            (assembled(reports, &groups, refusals, pinned, drifts.clone()), drifts)
        });
        let made = made.await;
        self.failed = made.is_err();
        match made {
            Ok((published, drifts)) => {
                self.drifts = drifts;
                self.schemas.publish(published);
            }
            Err(error) => {
                tracing::error!(cluster = %self.cluster.name, %error, "schemas could not be judged: calls go by what is known of before");
                // Calls do not see what was found: whoever waited for it is in doubt until they do.
                self.confirmed.values_mut().for_each(|(_, waiting)| waiting.clear());
                self.anew = true;
            }
        }
        self.published = Instant::now();
    }
}

#[cfg(test)]
mod tests;
