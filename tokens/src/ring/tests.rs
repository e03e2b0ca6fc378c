use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, advance, sleep};

use super::{Fetch, Fetching, GAP, Ring};

/// Answers what it is told, each after a while, and the last of them for ever.
struct Told {
    answers: Mutex<VecDeque<(Duration, Result<String, String>)>>,
    asked: AtomicU32,
    open: AtomicU32,
}

impl Told {
    fn new(answers: impl IntoIterator<Item = (u64, Result<&'static str, &'static str>)>) -> Arc<Self> {
        let answer = |(ms, answer): (u64, Result<&str, &str>)| {
            (Duration::from_millis(ms), answer.map(str::to_owned).map_err(str::to_owned))
        };
        let answers = Mutex::new(answers.into_iter().map(answer).collect());
        Arc::new(Self { answers, asked: AtomicU32::new(0), open: AtomicU32::new(0) })
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Fetch for Told {
    fn fetch(&self) -> Fetching<'_> {
        Box::pin(async {
            self.asked.fetch_add(1, Ordering::Relaxed);
            assert_eq!(self.open.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
            let (while_, answer) = {
                let mut answers = self.answers.lock();
                let next = answers.front().cloned().unwrap();
                if answers.len() > 1 {
                    answers.pop_front();
                }
                next
            };
            // Whoever gives up drops this: counted by a guard.
            let _open = Open(&self.open);
            sleep(while_).await;
            answer.map(String::into_bytes)
        })
    }
}

struct Open<'a>(&'a AtomicU32);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const ED: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const BOTH: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty":"OKP","crv":"Ed25519","kid":"b","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn kept(told: &Arc<Told>, refresh: Duration) -> Arc<Ring> {
    let ring = Arc::new(Ring::fetched("test"));
    let (own, told) = (Arc::clone(&ring), Arc::clone(told));
    tokio::spawn(async move { own.keep(&*told, refresh).await });
    ring
}

fn keys(ring: &Ring) -> Option<usize> {
    ring.keys().map(|keys| keys.len())
}

const MINUTES: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn an_issuer_that_is_down_at_the_start_is_asked_again_soon_and_then_seldom() {
    let told = Told::new([(1, Err("down")); 7].into_iter().chain([(1, Ok(ED))]));
    let ring = kept(&told, MINUTES);
    let begun = Instant::now();
    let mut times = Vec::new();
    while keys(&ring).is_none() {
        sleep(Duration::from_millis(500)).await;
        if told.asked() as usize > times.len() {
            times.push(begun.elapsed().as_secs());
        }
    }
    // 1, 2, 4, 8, then every ten seconds.
    assert_eq!(times, [0, 1, 3, 7, 15, 25, 35, 45]);
    assert_eq!((keys(&ring), ring.failure()), (Some(1), None));
}

#[tokio::test(start_paused = true)]
async fn the_last_keys_stay_while_the_issuer_is_down_or_talks_nonsense() {
    let told =
        Told::new([(1, Ok(ED)), (1, Err("down")), (1, Ok("<html>")), (1, Ok("{\"keys\":{}}")), (60_000, Ok(BOTH))]);
    let ring = kept(&told, MINUTES);
    sleep(Duration::from_secs(3_600)).await;
    assert!(told.asked() > 20, "{}", told.asked());
    assert_eq!(keys(&ring), Some(1));
    assert!(ring.age() > Duration::from_secs(3_500));
    assert!(ring.failure().unwrap().contains("longer than 5 s"), "{:?}", ring.failure());
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_takes_all_its_keys_back_is_believed() {
    let told = Told::new([(1, Ok(ED)), (1, Ok("{\"keys\":[]}"))]);
    let ring = kept(&told, MINUTES);
    sleep(Duration::from_secs(301)).await;
    assert_eq!(keys(&ring), Some(0));
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_ask_once_in_ten_seconds_whatever_their_number() {
    let told = Told::new([(10, Ok(ED))]);
    let ring = kept(&told, MINUTES);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(told.asked(), 1);
    for _ in 0..1_000 {
        if let Some(waiting) = ring.want() {
            tokio::spawn(waiting.over());
        }
        advance(Duration::from_millis(5)).await;
    }
    assert_eq!(told.asked(), 2, "at once");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(told.asked(), 3, "and for those that came meanwhile, once");
    assert!(ring.want().is_some());
    sleep(Duration::from_secs(1)).await;
    assert!(ring.want().is_none(), "too soon: nobody waits ten seconds");
}

#[tokio::test(start_paused = true)]
async fn who_waits_sees_the_new_key() {
    let told = Told::new([(10, Ok(ED)), (700, Ok(BOTH))]);
    let ring = kept(&told, MINUTES);
    sleep(GAP).await;
    let begun = Instant::now();
    let (one, two) = (ring.want().unwrap(), ring.want().unwrap());
    tokio::join!(one.over(), two.over());
    assert_eq!((keys(&ring), begun.elapsed().as_millis() / 10), (Some(2), 70));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_stays_is_the_same_and_one_that_goes_is_gone() {
    let told = Told::new([(1, Ok(BOTH)), (1, Ok(ED)), (1, Ok("{\"keys\":[]}"))]);
    let ring = kept(&told, MINUTES);
    sleep(Duration::from_secs(1)).await;
    let first = ring.keys().unwrap();
    sleep(MINUTES).await;
    assert_eq!(first.all().iter().map(|key| ring.has(key)).collect::<Vec<_>>(), [true, false]);
    sleep(MINUTES).await;
    assert!(first.all().iter().all(|key| !ring.has(key)));
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait() {
    let told = Told::new([(1, Ok(ED)), (4_000, Ok(ED))]);
    let ring = kept(&told, MINUTES);
    sleep(GAP).await;
    let waiting: Vec<_> = (0..300).filter_map(|_| ring.want()).collect();
    assert_eq!(waiting.len(), super::MOST_WAITING);
    drop(waiting);
    assert!(ring.want().is_some(), "their places are free again");
}

#[tokio::test(start_paused = true)]
async fn keys_that_were_taken_over_are_fetched_when_they_are_due() {
    let told = Told::new([(1, Ok(ED))]);
    let old = kept(&told, MINUTES);
    sleep(Duration::from_secs(100)).await;
    let ring = Arc::new(Ring::fetched("test"));
    ring.take_over(&old);
    assert_eq!((keys(&ring), ring.age().as_secs()), (Some(1), 99));
    let anew = Told::new([(1, Ok(BOTH))]);
    let (own, fetch) = (Arc::clone(&ring), Arc::clone(&anew));
    tokio::spawn(async move { own.keep(&*fetch, MINUTES).await });
    sleep(Duration::from_secs(199)).await;
    assert_eq!(anew.asked(), 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((anew.asked(), keys(&ring)), (1, Some(2)));
}
