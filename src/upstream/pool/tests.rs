use std::sync::Arc;

use tokio::time::Instant;

use super::{Found, Opening, Pool, Room};
use crate::observe::ClusterMetrics;
use crate::registry::{Instance, State, Target};
use crate::upstream::ClusterLimits;

const LIMITS: ClusterLimits = ClusterLimits { connections: 2, requests: 100, pending: 10 };

fn pool() -> (Pool<u8, u8>, Arc<Instance>, Arc<ClusterMetrics>) {
    let metrics = Arc::new(ClusterMetrics::default());
    let target = Target::Loopback(5000);
    let instance = Instance::new("c".into(), target, 1, State::Healthy, metrics.instance("a"), Instant::now());
    (Pool::default(), instance, metrics)
}

#[test]
fn the_next_connection_is_opened_before_this_one_is_full() {
    let (mut pool, instance, metrics) = pool();
    let lane = pool.lane(&instance, &metrics);
    assert_eq!(lane.find(LIMITS, |_| None), Found { link: None, open: Some(Opening::Alone) });
    lane.wait(9);
    assert_eq!(lane.find(LIMITS, |_| None), Found { link: None, open: None }, "one is on its way");
    lane.opened(1);
    let with = |calls| move |_| Some(Room { calls, most: 10 });
    assert_eq!(lane.find(LIMITS, with(0)), Found { link: Some(1), open: None });
    assert_eq!(lane.find(LIMITS, with(8)), Found { link: Some(1), open: Some(Opening::Further) });
    assert_eq!(lane.find(LIMITS, with(9)), Found { link: Some(1), open: None });
    lane.opened(2);
    let unequal = |link| Some(Room { calls: if link == 1 { 9 } else { 3 }, most: 10 });
    assert_eq!(lane.find(LIMITS, unequal), Found { link: Some(2), open: None });
    assert_eq!(lane.find(LIMITS, with(10)), Found { link: None, open: None }, "as many as may be");
    lane.closed(1);
    assert_eq!(lane.find(LIMITS, with(10)), Found { link: None, open: Some(Opening::Further) });
}

#[test]
fn calls_hear_of_a_failure_unless_another_connection_is_there() {
    let (mut pool, instance, metrics) = pool();
    let now_ms = 7;
    let lane = pool.lane(&instance, &metrics);
    let _ = lane.find(LIMITS, |_| None);
    lane.wait(1);
    lane.wait(2);
    lane.leave(1);
    assert_eq!(lane.failed(now_ms, |_| true), [2]);
    assert!(lane.instance.is_avoided(now_ms));
    lane.opened(7);
    lane.wait(3);
    assert!(lane.failed(now_ms, |link| link == 7).is_empty() && lane.first() == Some(3));
    assert_eq!(lane.failed(now_ms, |_| false), [3], "one that has said goodbye is nothing to wait for");
}

#[test]
fn a_lane_goes_with_its_instance() {
    let (mut pool, instance, metrics) = pool();
    pool.lane(&instance, &metrics).opened(1);
    pool.lane(&instance, &metrics).wait(5);
    assert!(pool.tidy().is_empty());
    instance.retire();
    assert_eq!(pool.tidy(), [(vec![1], vec![5])]);
    assert!(pool.get(instance.id).is_none());
}

#[test]
fn a_connection_without_others_that_take_calls_is_told() {
    let (mut pool, instance, metrics) = pool();
    let lane = pool.lane(&instance, &metrics);
    let opens = |lane: &mut super::Lane<u8, u8>, taking: &[u8]| {
        let found = lane.find(LIMITS, |link| taking.contains(&link).then_some(Room { calls: 9, most: 10 }));
        found.open
    };
    assert_eq!(opens(lane, &[]), Some(Opening::Alone), "the first: another worker may have known who was there before");
    lane.opened(1);
    assert_eq!(opens(lane, &[1]), Some(Opening::Further), "one more");
    lane.opened(2);
    lane.closed(1);
    assert_eq!(opens(lane, &[2]), Some(Opening::Further), "another takes calls");
    lane.opened(3);
    lane.closed(2);
    assert_eq!(opens(lane, &[]), Some(Opening::Alone), "the other has said goodbye");
    lane.failed(7, |_| false);
    lane.closed(3);
    assert_eq!(opens(lane, &[]), Some(Opening::Alone), "still");
}
