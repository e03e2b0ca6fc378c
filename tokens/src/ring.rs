//! The keys of an issuer as they are now, and how they are kept fresh: fetched in the background, one fetch at a time, and once more where
//! a token names a key that is not there, at most every ten seconds. While the issuer is down, the last keys stay.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::KeySet;
use crate::key::Key;

/// From one fetch to the next that a token may ask for.
pub const GAP: Duration = Duration::from_secs(10);
/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a fetch that failed; doubled each time, up to [`GAP`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Calls that wait for a fetch at one time; others are told at once that their key is not known.
const MOST_WAITING: usize = 256;

/// A fetch under way: the octets of a key set, or what went wrong, in words for the log.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>>;

/// Gets a key set from where it is published.
pub trait Fetch: Send + Sync {
    /// Gets it. Whoever asks gives up after five seconds.
    fn fetch(&self) -> Fetching<'_>;
}

/// The keys of an issuer as they are now.
#[derive(Debug)]
pub struct Ring {
    /// For the log.
    name: String,
    keys: ArcSwapOption<KeySet>,
    made: Instant,
    /// Whether somebody fetches them.
    is_fetched: bool,
    state: Mutex<State>,
    /// Rings when a token has named a key that is not there.
    wanted: Notify,
    /// Counts fetches that have ended.
    ended: watch::Sender<u64>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct State {
    obtained: Option<Instant>,
    begun: Option<Instant>,
    is_fetching: bool,
    /// A token has named a key that was not there, since the last fetch began.
    is_wanted: bool,
    failure: Option<String>,
}

/// Waits for the end of a fetch that may bring the key.
#[derive(Debug)]
pub struct Waiting {
    ended: watch::Receiver<u64>,
    /// Gives its place back when it is dropped.
    _place: Place,
}

#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Waiting {
    /// Until the fetch has ended, well or not.
    pub async fn over(mut self) {
        // A little longer than the fetch may take: nobody waits for ever, not even where nothing fetches any more.
        let _ = timeout(PATIENCE + Duration::from_secs(1), self.ended.changed()).await;
    }
}

impl Ring {
    /// Keys that somebody [keeps](Self::keep) fresh. There are none yet.
    pub fn fetched(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            keys: ArcSwapOption::empty(),
            made: Instant::now(),
            is_fetched: true,
            state: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
            waiting: Arc::default(),
        }
    }

    /// Keys that stay as they are.
    pub fn fixed(name: impl Into<String>, keys: KeySet) -> Self {
        let ring = Self { is_fetched: false, ..Self::fetched(name) };
        ring.publish(keys);
        ring
    }

    /// Takes the keys of another ring for the same issuer, so that a new configuration does not begin without. For before it is used.
    pub fn take_over(&self, other: &Self) {
        self.keys.store(other.keys.load_full());
        let other = other.state.lock();
        let mut state = self.state.lock();
        state.obtained = other.obtained;
        state.begun = other.begun.filter(|_| other.obtained.is_some());
    }

    /// The keys; none as long as they were never obtained.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// Whether a key is still among them.
    pub(crate) fn has(&self, key: &Arc<Key>) -> bool {
        self.keys.load().as_ref().is_some_and(|keys| keys.has(key))
    }

    /// How old they are; where there are none, for how long they have been missing.
    pub fn age(&self) -> Duration {
        self.state.lock().obtained.unwrap_or(self.made).elapsed()
    }

    /// What went wrong with the last fetch, if it did.
    pub fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// A token names a key that is not there: they are fetched again, as soon as that may be. Answers what to wait for, where a fetch is
    /// under way or begins at once.
    pub(crate) fn want(&self) -> Option<Waiting> {
        if !self.is_fetched {
            return None;
        }
        let soon = {
            let mut state = self.state.lock();
            state.is_wanted = true;
            state.is_fetching || state.begun.is_none_or(|begun| begun.elapsed() >= GAP)
        };
        let ended = self.ended.subscribe();
        self.wanted.notify_one();
        if !soon {
            return None;
        }
        let place = Place(Arc::clone(&self.waiting));
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        (before < MOST_WAITING).then_some(Waiting { ended, _place: place })
    }

    /// Keeps them fresh: fetches at once, then every `refresh`, sooner where a fetch failed or a token asks. Never ends.
    pub async fn keep(&self, fetch: &dyn Fetch, refresh: Duration) {
        let mut retry = FIRST_RETRY;
        // What was taken over is as good as fetched.
        let taken_over = self.state.lock().begun;
        if let Some(begun) = taken_over {
            self.rest(begun, refresh).await;
        }
        loop {
            let begun = Instant::now();
            {
                let mut state = self.state.lock();
                state.begun = Some(begun);
                state.is_fetching = true;
                state.is_wanted = false;
            }
            let fetched = match timeout(PATIENCE, fetch.fetch()).await {
                Ok(fetched) => fetched,
                Err(_) => Err(format!("it took longer than {} s", PATIENCE.as_secs())),
            };
            let failure = fetched.and_then(|octets| KeySet::read(&octets)).map(|keys| self.publish(keys)).err();
            let pause = if failure.is_some() { retry.min(refresh) } else { refresh };
            retry = if failure.is_some() { (retry * 2).min(GAP) } else { FIRST_RETRY };
            self.conclude(failure);
            self.rest(begun, pause).await;
        }
    }

    /// Until the next fetch is due.
    async fn rest(&self, begun: Instant, pause: Duration) {
        loop {
            let pause = if self.state.lock().is_wanted { pause.min(GAP) } else { pause };
            tokio::select! {
                () = sleep_until(begun + pause) => return,
                () = self.wanted.notified() => {}
            }
        }
    }

    pub(crate) fn publish(&self, keys: KeySet) {
        let before = self.keys.load_full();
        let keys = match &before {
            Some(before) => keys.taking_from(before),
            None => keys,
        };
        let skipped = |keys: &KeySet| keys.skipped().to_vec();
        if before.as_deref().map(skipped).unwrap_or_default() != keys.skipped() {
            for why in keys.skipped() {
                tracing::warn!(issuer = self.name, "{why}");
            }
        }
        if keys.is_empty() {
            tracing::warn!(
                issuer = self.name,
                "the issuer publishes no key that can be used: all its tokens are refused"
            );
        }
        self.keys.store(Some(Arc::new(keys)));
        self.state.lock().obtained = Some(Instant::now());
    }

    fn conclude(&self, failure: Option<String>) {
        {
            let mut state = self.state.lock();
            match (&state.failure, &failure) {
                (None, Some(why)) => {
                    let have = if state.obtained.is_some() { "the last ones stay" } else { "there are none yet" };
                    tracing::warn!(issuer = self.name, why, "the keys of the issuer cannot be fetched; {have}");
                }
                (Some(_), None) => tracing::info!(issuer = self.name, "the keys of the issuer are fetched again"),
                _ => {}
            }
            state.failure = failure;
            state.is_fetching = false;
        }
        self.ended.send_modify(|ended| *ended += 1);
    }
}

#[cfg(test)]
mod tests;
