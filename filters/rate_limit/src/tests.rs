use std::time::Duration;

use filter_api::{Code, Detail, Keep, Reason, Refusal};
use filter_testkit::Bench;
use serde_json::json;

use super::RateLimit;

fn refused(bench: &Bench) -> Option<Box<Refusal>> {
    bench.call(&[]).err()
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_rate_is_told_when_to_come_back() {
    let bench = Bench::build::<RateLimit>(json!({"key": "'one'", "rate": "3/s", "burst": 2})).unwrap();
    assert!(refused(&bench).is_none() && refused(&bench).is_none());
    let refusal = refused(&bench).unwrap();
    assert_eq!((refusal.code, refusal.reason), (Code::ResourceExhausted, Reason::RateLimited));
    assert_eq!(refusal.details, [Detail::RetryAfter(Duration::from_millis(334))], "rounded up");
    tokio::time::advance(Duration::from_millis(334)).await;
    assert!(refused(&bench).is_none());
    assert!(refused(&bench).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_second_of_the_rate_may_come_at_once_by_default() {
    for (rate, burst) in [("5/s", 5), ("5/m", 1), ("600/m", 10), ("3600/h", 1)] {
        let bench = Bench::build::<RateLimit>(json!({"key": "'one'", "rate": rate})).unwrap();
        let begun = (0..50).filter(|_| refused(&bench).is_none()).count();
        assert_eq!(begun, burst, "{rate}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_cannot_be_told_refuses_and_none_is_one() {
    let bench = Bench::build::<RateLimit>(json!({"key": "fails", "rate": "5/s"})).unwrap();
    let refusal = refused(&bench).unwrap();
    assert_eq!((refusal.code, refusal.reason), (Code::PermissionDenied, Reason::Denied));
    assert!(refusal.message.contains("rate_limit.key"), "{}", refusal.message);
    let bench = Bench::build::<RateLimit>(json!({"key": "null", "rate": "1/s"})).unwrap();
    assert!(refused(&bench).is_none());
    assert_eq!(refused(&bench).unwrap().reason, Reason::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn what_was_used_outlives_a_reload() {
    let keep = Keep::default();
    let build = |config, keep: &Keep| Bench::build_keeping::<RateLimit>(config, keep).unwrap();
    let first = build(json!({"key": "'one'", "rate": "1/m", "burst": 3}), &keep);
    assert!((0..3).all(|_| refused(&first).is_none()) && refused(&first).is_some());
    let next = Keep::after(&keep);
    let second = build(json!({"key": "'one'", "rate": "2/m", "burst": 3}), &next);
    next.settle();
    drop((first, keep));
    let wait = |refusal: Box<Refusal>| match refusal.details[..] {
        [Detail::RetryAfter(wait)] => wait,
        _ => panic!("{refusal:?}"),
    };
    // Three minutes are used up, of which one and a half would be ahead at two calls a minute.
    assert_eq!(wait(refused(&second).unwrap()), Duration::from_secs(120));
    let third = Keep::after(&next);
    let other = build(json!({"key": "'two'", "rate": "1/m"}), &third);
    assert!(refused(&other).is_none(), "another key, another count");
}

#[test]
fn each_message_counts_where_the_key_is_in_it() {
    let bench = Bench::build::<RateLimit>(json!({"key": "says word", "rate": "1/m", "burst": 2})).unwrap();
    let mut call = bench.call(&[]).unwrap();
    assert_eq!(call.request_body(b"a word").unwrap(), None);
    assert_eq!(call.request_body(b"another word").unwrap(), None);
    let refusal = call.request_body(b"one word more").unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (Code::ResourceExhausted, Reason::RateLimited));
    assert_eq!(call.request_body(b"of another key").unwrap(), None);
    let unread = bench.call(&[]).unwrap().request_body(&[0xff]).unwrap_err();
    assert_eq!((unread.code, unread.reason), (Code::Unavailable, Reason::SchemaUnavailable));
}

#[test]
fn mistakes_are_told_when_it_is_built() {
    for (bad, why) in [
        (json!({"key": "nonsense", "rate": "1/s"}), "is none of"),
        (json!({"key": "'k'", "rate": "1/d"}), "is no rate"),
        (json!({"key": "'k'", "rate": "1/s", "burst": 0}), "`burst` must be from 1"),
        (json!({"key": "'k'", "rate": "1/s", "keys": 0}), "`keys` must be from 1"),
        (json!({"key": "'k'"}), "missing field `rate`"),
        (json!({"rate": "1/s"}), "missing field `key`"),
        (json!({"key": "'k'", "rate": "1/s", "by": "x"}), "unknown field `by`"),
    ] {
        let error = Bench::build::<RateLimit>(bad.clone()).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{bad}: {error:?}");
    }
}
