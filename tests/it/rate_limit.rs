//! `rate_limit` in a whole proxy.

use prost::Message as _;
use tonic_types::pb;

use crate::harness::{Ask, Setup, TestProxy, chunk, echo};

#[tokio::test]
async fn calls_over_the_rate_are_refused_for_all_workers_together() {
    let instance = echo("a").await;
    let listener = "filters: [{rate_limit: {key: 'metadata[\"x-tenant\"]', rate: 2/h, burst: 10}}]";
    let proxy = TestProxy::with(&[instance.address()], Setup { workers: 2, listener, ..Setup::default() }).await;
    // Connections are dealt to both workers.
    let callers = [proxy.caller().await, proxy.caller().await, proxy.caller().await];
    let ask = |tenant: &str| Ask::echo("Unary").with("x-tenant", tenant);
    let mut begun = 0;
    for at in 0..30 {
        let answer = callers[at % 3].unary(ask("acme"), &chunk(b"ping")).await;
        match answer.code() {
            Some(0) => begun += 1,
            _ => assert_eq!(answer.refusal(), (8, "rate_limited".into())),
        }
    }
    assert_eq!(begun, 10);
    let refused = callers[0].unary(ask("acme"), &chunk(b"ping")).await;
    // Half an hour from one to the next, less what has passed.
    let pushback: u64 = refused.field("grpc-retry-pushback-ms").unwrap().parse().unwrap();
    assert!((1_700_000..=1_800_000).contains(&pushback), "{pushback}");
    let details = refused.details().unwrap();
    let retry = details.details.iter().find(|any| any.type_url.ends_with("google.rpc.RetryInfo")).unwrap();
    let delay = pb::RetryInfo::decode(&*retry.value).unwrap().retry_delay.unwrap();
    assert_eq!(u64::try_from(delay.seconds).unwrap(), pushback / 1_000);
    callers[0].echoed(ask("other")).await;
    let keyless = callers[0].unary(Ask::echo("Unary"), &chunk(b"ping")).await;
    assert_eq!(keyless.refusal(), (7, "denied".into()), "{}", keyless.message());
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "rate_limited")]).await, 21.0);
}
