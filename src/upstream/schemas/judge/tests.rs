use super::*;
use crate::observe::ClusterMetrics;
use crate::registry::{Instance, State, Target};
use crate::schema::tests::compile::with;
use crate::schema::{Definitions, Side};
use crate::upstream::schemas::assemble::{assembled, grouped};
use crate::upstream::schemas::published::{InstanceReport, Judged, Published, Source};

/// Policies that read `x` of `a.S/M`.
struct ReadsX;

impl Demands for ReadsX {
    fn concern(&self, _: &str, method: &str) -> bool {
        method == "M"
    }

    fn judge(&self, _: &str, _: &str, new: &Definition, accepted: Option<&Definition>) -> Result<(), String> {
        if new.schema.request_from_json(new.method, "{\"x\": \"\"}").is_err() {
            return Err("it has no `x`".to_owned());
        }
        accepted.and_then(|accepted| new.conflicts(accepted, Side::Request, "x")).map_or(Ok(()), Err)
    }
}

fn kind(order: u64, fields: &str) -> Arc<Kind> {
    let schema = with(&format!("message R {{ {fields} }}"));
    let metrics = Arc::new(ClusterMetrics::default());
    Kind::new(Arc::new(Definitions::of(Arc::new(schema))), Source::Reflection, order, &metrics)
}

/// The orders of those that are refused.
fn refused(bench: &mut Bench, kinds: &[(&Arc<Kind>, usize)], settled: bool) -> Vec<u64> {
    refused_at(bench, kinds, settled, Instant::now())
}

fn refused_at(bench: &mut Bench, kinds: &[(&Arc<Kind>, usize)], settled: bool, now: Instant) -> Vec<u64> {
    let kinds = kinds.iter().map(|(kind, count)| (Arc::clone(kind), *count)).collect();
    let groups = Groups::from([(Arc::from(""), kinds)]);
    let refusals = bench.judge(&groups, &ReadsX, settled, now);
    let mut orders: Vec<u64> = refusals.into_keys().map(|(_, order)| order).collect();
    orders.sort_unstable();
    orders
}

const OLD: &str = "string x = 1; string y = 2;";
const MORE: &str = "string x = 1; string y = 2; string z = 3;";
const MOVED: &str = "string x = 5; string y = 2;";
const GONE: &str = "string y = 2;";

#[tokio::test]
async fn most_decide_and_not_who_came_first() {
    let (canary, old, gone) = (kind(2, MOVED), kind(3, OLD), kind(4, GONE));
    let mut bench = Bench::default();
    // While somebody has not been asked, only what cannot work at all is refused.
    assert_eq!(refused(&mut bench, &[(&canary, 1), (&gone, 1)], false), [4]);
    assert_eq!(refused(&mut bench, &[(&canary, 1), (&old, 9), (&gone, 20)], true), [2, 4]);
    // It stays so, whatever most have later.
    assert_eq!(refused(&mut bench, &[(&canary, 9), (&old, 1)], true), [2]);
    assert_eq!(refused(&mut bench, &[(&canary, 9)], true), [2]);
    bench.accept([(Arc::from(""), "a.S/M".to_owned())].into_iter());
    assert_eq!(refused(&mut bench, &[(&canary, 9), (&old, 1)], true), [3]);
    // What does not work is not made to work by saying so.
    bench.accept([(Arc::from(""), "a.S/M".to_owned())].into_iter());
    assert_eq!(refused(&mut bench, &[(&gone, 9), (&old, 1)], true), [4]);
}

/// A policy that panics.
struct Panics;

impl Demands for Panics {
    fn concern(&self, _: &str, _: &str) -> bool {
        true
    }

    fn judge(&self, _: &str, _: &str, _: &Definition, _: Option<&Definition>) -> Result<(), String> {
        panic!("as a test wants it");
    }
}

#[tokio::test]
async fn what_was_accepted_outlives_a_panic() {
    let (old, moved, more) = (kind(2, OLD), kind(3, MOVED), kind(4, MORE));
    let mut bench = Bench::default();
    assert!(refused(&mut bench, &[(&old, 1)], true).is_empty());
    let groups = Groups::from([(Arc::from(""), vec![(more, 1)])]);
    let judged = std::panic::AssertUnwindSafe(|| drop(bench.judge(&groups, &Panics, true, Instant::now())));
    assert!(std::panic::catch_unwind(judged).is_err());
    assert_eq!(refused(&mut bench, &[(&moved, 9)], true), [3], "the next one is judged by it");
}

#[tokio::test]
async fn what_fits_is_what_the_next_ones_are_judged_by() {
    let (old, more, moved) = (kind(2, "string y = 2; string x = 1;"), kind(3, MORE), kind(4, MOVED));
    let mut bench = Bench::default();
    assert!(refused(&mut bench, &[(&old, 2)], true).is_empty());
    assert!(refused(&mut bench, &[(&old, 1), (&more, 1)], true).is_empty());
    assert_eq!(refused(&mut bench, &[(&more, 1), (&moved, 1)], true), [4]);
}

#[tokio::test]
async fn one_that_never_answers_does_not_hold_it_up_for_ever() {
    let (old, moved) = (kind(2, OLD), kind(3, MOVED));
    let mut bench = Bench::default();
    let now = Instant::now();
    assert!(refused_at(&mut bench, &[(&old, 2), (&moved, 1)], false, now).is_empty());
    assert_eq!(refused_at(&mut bench, &[(&old, 2), (&moved, 1)], false, now + PATIENCE), [3]);
}

#[tokio::test]
async fn what_was_accepted_outlives_who_had_it_within_bounds() {
    let (old, moved) = (kind(2, OLD), kind(3, MOVED));
    let mut bench = Bench::default();
    assert!(refused(&mut bench, &[(&old, 1)], true).is_empty());
    assert!(bench.judge(&Groups::new(), &ReadsX, true, Instant::now()).is_empty());
    assert_eq!(refused(&mut bench, &[(&moved, 1)], true), [3], "the next one is judged by it");
    for order in 0..200 {
        let kinds = vec![(kind(order, &format!("string x = {};", order + 10)), 1)];
        bench.judge(&Groups::from([(Arc::from(format!("agent {order}")), kinds)]), &ReadsX, true, Instant::now());
    }
    assert!(bench.standings.len() <= ORPHANS + 1, "{}", bench.standings.len());
}

#[tokio::test]
async fn agents_are_judged_each_by_itself() {
    let (old, moved) = (kind(2, OLD), kind(3, MOVED));
    let groups = Groups::from([
        (Arc::from("one"), vec![(Arc::clone(&old), 1)]),
        (Arc::from("two"), vec![(Arc::clone(&moved), 100)]),
    ]);
    let mut bench = Bench::default();
    assert!(bench.judge(&groups, &ReadsX, true, Instant::now()).is_empty());
}

#[tokio::test]
async fn what_is_published_says_who_has_what() {
    let metrics = Arc::new(ClusterMetrics::default());
    let made = |port| {
        Instance::new("c".into(), Target::Loopback(port), 1, State::Healthy, metrics.instance("i"), Instant::now())
    };
    let instances: Vec<_> = (1..=6).map(made).collect();
    let (old, more, moved) = (kind(2, OLD), kind(3, MORE), kind(4, MOVED));
    let same = kind(5, &format!("{MORE} /* In another file. */"));
    let kinds = [Some(&old), Some(&more), Some(&more), Some(&moved), None, Some(&same)];
    let reports = |agent: &str| -> Vec<InstanceReport> {
        let one = |(instance, kind): (&Arc<Instance>, &Option<&Arc<Kind>>)| InstanceReport {
            instance: instance.id,
            address: Arc::clone(&instance.authority),
            agent: agent.into(),
            kind: kind.map(Arc::clone),
            known_since: None,
            asked: true,
            error: None,
            unoffered: false,
        };
        instances.iter().zip(&kinds).map(one).collect()
    };
    let groups = grouped(&reports("a"));
    let refusals = Bench::default().judge(&groups, &ReadsX, true, Instant::now());
    let published = assembled(reports("a"), &groups, refusals, None, Vec::new());
    let id = |kind: &Arc<Kind>| kind.definitions.get("a.S", "M").unwrap().id;
    assert_eq!(id(&more), id(&same));
    let in_force = |published: &Published, among: Option<&[Arc<Instance>]>| {
        published.in_force(among, "a.S", "M").iter().map(|definition| definition.id).collect::<Vec<_>>()
    };
    assert_eq!(in_force(&published, None), [id(&old), id(&more)], "each once, and none that gets no calls");
    assert_eq!(in_force(&published, Some(&instances[2..])), [id(&more)]);
    assert_eq!(in_force(&published, Some(&instances[3..5])), [0u64; 0]);
    assert_eq!(published.majority(None, "a.S", "M").unwrap().id, id(&more));
    assert_eq!(
        published.majority(Some(&instances[..2]), "a.S", "M").unwrap().id,
        id(&old),
        "of two the one seen first"
    );
    let of = |at: usize| published.of_instance(instances[at].id, "a.S", "M").map(|definition| definition.id);
    assert_eq!([of(0), of(3), of(4), of(5)], [Some(id(&old)), None, None, Some(id(&same))]);
    assert_eq!(published.excluded("a.S", "M"), [instances[3].id]);
    assert!(published.excluded("a.S", "N").is_empty());
    assert_eq!(published.excluded_of(instances[3].id), ["a.S/M"]);
    assert!(published.excluded_of(instances[0].id).is_empty());
    // Who asks about the whole cluster does not go through all agents.
    let both: Vec<_> = reports("a").into_iter().chain(reports("b")).collect();
    let groups = grouped(&both);
    let refusals = Bench::default().judge(&groups, &ReadsX, true, Instant::now());
    let published = assembled(both, &groups, refusals, None, Vec::new());
    let counts = |counts: &[(Arc<Judged>, usize)]| counts.iter().map(|(_, count)| *count).collect::<Vec<_>>();
    assert_eq!(counts(&published.counts), [1, 2, 1, 1, 1, 2, 1, 1]);
    assert_eq!(counts(&published.overall), [2, 4, 1, 2, 1], "but for those that get no calls of some method");
    assert_eq!(in_force(&published, None), [id(&old), id(&more)]);
}
