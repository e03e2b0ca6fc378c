use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::time::{Instant, advance};

use super::{Allowance, Buckets};

fn allowance(interval: Duration, burst: u64, keys: usize) -> Allowance {
    let interval = u64::try_from(interval.as_nanos()).unwrap();
    Allowance { interval, ahead: interval * (burst - 1), keys }
}

/// In no window does more begin than the burst and what the rate gives in it; and whoever comes when he was told to, gets in.
#[tokio::test(start_paused = true)]
async fn no_window_lets_more_through() {
    for seed in 0..60 {
        let mut random = SmallRng::seed_from_u64(seed);
        let interval = Duration::from_micros(random.random_range(1..200_000));
        let burst = random.random_range(1..20);
        let (buckets, allowance) = (Buckets::default(), allowance(interval, burst, 100));
        let mut begun: Vec<Instant> = Vec::new();
        for _ in 0..400 {
            let wait = interval.mul_f64([0.0, 0.1, 0.7, 1.0, 3.0][random.random_range(0..5)] * random.random::<f64>());
            advance(wait).await;
            match buckets.take("k", allowance) {
                Ok(()) => begun.push(Instant::now()),
                Err(nanos) if random.random_bool(0.2) => {
                    advance(Duration::from_nanos(nanos - 1)).await;
                    assert_eq!(buckets.take("k", allowance), Err(1), "seed {seed}");
                    advance(Duration::from_nanos(1)).await;
                    assert_eq!(buckets.take("k", allowance), Ok(()), "seed {seed}");
                    begun.push(Instant::now());
                }
                Err(_) => {}
            }
        }
        for (at, first) in begun.iter().enumerate() {
            for (more, last) in begun.iter().skip(at).enumerate() {
                let window = last.duration_since(*first);
                let most = burst + u64::try_from(window.as_nanos() / interval.as_nanos()).unwrap();
                assert!((more as u64) < most, "seed {seed}: {} in {window:?}, and {most} is the most", more + 1);
            }
        }
        assert!(begun.len() > 50, "seed {seed}: {}", begun.len());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_counted_one_by_one_and_forgotten_when_they_owe_nothing() {
    let (buckets, allowance) = (Buckets::default(), allowance(Duration::from_secs(1), 2, 100));
    for key in 0..50 {
        let key = key.to_string();
        assert_eq!((buckets.take(&key, allowance), buckets.take(&key, allowance)), (Ok(()), Ok(())));
        assert_eq!(buckets.take(&key, allowance), Err(1_000_000_000));
    }
    assert_eq!(buckets.len(), 50);
    advance(Duration::from_secs(3)).await;
    for _ in 0..60 {
        buckets.take("one", allowance).ok();
    }
    assert_eq!(buckets.len(), 1);
}

/// Somebody with ever new keys: what is kept is bounded, who has used up his rate has no more for it, and who calls now and then is not
/// shut out.
#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_neither_fills_memory_nor_frees_nor_locks_out_anybody() {
    for keys in [64, 2_048] {
        let (buckets, allowance) = (Buckets::default(), allowance(Duration::from_secs(60), 5, keys));
        for _ in 0..5 {
            assert_eq!(buckets.take("greedy", allowance), Ok(()));
        }
        let mut next_good = 0;
        for at in 0..50_000_u32 {
            assert_eq!(buckets.take(&format!("random {at}"), allowance), Ok(()), "it is new, as any caller once is");
            assert!(buckets.take("greedy", allowance).is_err(), "after {at} keys");
            if at % 10_000 == next_good {
                assert_eq!(buckets.take(&format!("good {at}"), allowance), Ok(()));
                next_good += 7;
            }
            advance(Duration::from_micros(10)).await;
        }
        assert!(buckets.len() <= keys, "{} of {keys}", buckets.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_was_lowered_holds() {
    let buckets = Buckets::default();
    let wide = allowance(Duration::from_secs(60), 1, 1_000);
    for key in 0..1_000 {
        assert_eq!(buckets.take(&key.to_string(), wide), Ok(()));
    }
    assert_eq!(buckets.take("one more", Allowance { keys: 10, ..wide }), Ok(()));
    assert_eq!(buckets.len(), 10);
}

/// Two workers count on one.
#[test]
fn what_is_counted_is_counted_once() {
    let (buckets, allowance) = (Buckets::default(), allowance(Duration::from_secs(3_600), 1_000, 100_000));
    let begun: usize = std::thread::scope(|scope| {
        let count = || (0..1_000).filter(|_| buckets.take("k", allowance).is_ok()).count();
        let threads = [scope.spawn(count), scope.spawn(count), scope.spawn(count)];
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(begun, 1_000);
}
