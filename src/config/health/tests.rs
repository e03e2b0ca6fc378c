//! What a file says of health checks, and what a check makes of answers.

use std::path::Path as FilePath;

use super::{Expected, HealthCheck, Wellness};
use crate::config::snapshot::{Snapshot, build};
use crate::config::{Errors, load_str};
use crate::filters;

fn built(clusters: &str) -> Result<Snapshot, Errors> {
    let text = format!(
        "state: memory\nclusters:\n{clusters}\nlisteners: {{edge: {{address: \"127.0.0.1:1\", routes: [{{cluster: a}}]}}}}\n"
    );
    build(&load_str(&text, FilePath::new("t.yaml"), &|_| None, filters::ALL)?, filters::ALL, 1)
}

fn check(cluster: &str) -> Option<HealthCheck> {
    built(&format!("  a: {{{cluster}}}")).unwrap().checks.get("a").cloned()
}

fn expected(expect: &str) -> std::sync::Arc<Expected> {
    let check = check(&format!("endpoints: [\"127.0.0.1:2\"], health: {{method: a.A/M, expect: '{expect}'}}")).unwrap();
    let Wellness::Expected(expected) = check.wellness else { panic!("{check:?}") };
    expected
}

#[test]
fn what_is_asked_if_nothing_is_said() {
    let listed = "endpoints: [\"127.0.0.1:2\"]";
    assert!(check(listed).is_none());
    let is = |cluster: &str, method: &str, wellness: fn(&Wellness) -> bool| {
        let check = check(cluster).unwrap();
        assert_eq!(format!("{}/{}", check.service, check.method), method, "{cluster}");
        assert!(wellness(&check.wellness), "{cluster}: {check:?}");
    };
    let (agent, standard) = ("bindu.grpc.AgentHandler/HealthCheck", "grpc.health.v1.Health/Check");
    let is_agent = |is: &Wellness| matches!(is, Wellness::Agent);
    let is_serving = |is: &Wellness| matches!(is, Wellness::Serving);
    is("registry: {}", agent, is_agent);
    is("registry: {}, health: {interval: 1s}", agent, is_agent);
    is("registry: {}, health: {method: grpc.health.v1.Health/Check}", standard, is_serving);
    is("registry: {}, health: {expect: response.healthy}", agent, |is| matches!(is, Wellness::Expected(_)));
    is(&format!("{listed}, health: {{}}"), standard, is_serving);
    is(&format!("{listed}, health: {{method: {agent}}}"), agent, is_agent);
    is(&format!("{listed}, health: {{method: a.A/M}}"), "a.A/M", |is| matches!(is, Wellness::Any));
}

#[test]
fn a_check_is_no_policy_that_asks_for_a_pinned_schema() {
    let built = built("  a: {endpoints: [\"127.0.0.1:2\"], health: {method: a.A/M, expect: response.ok}}").unwrap();
    assert!(built.policies.contains_key("a"), "it is made ready for every definition");
    assert_eq!(built.warnings(), Vec::<String>::new());
}

#[test]
fn a_status_is_no_good_answer_unless_the_expression_says_so() {
    let (ok, failed) = (Ok(&[][..]), Err((5, "not here")));
    let always = expected("true");
    assert_eq!(always.holds(ok, None), Ok(()));
    assert_eq!(always.holds(failed, None), Err("M answered with the status 5: not here".to_owned()));
    let by_status = expected("status.code in [0, 5]");
    assert!(!by_status.needs_schema());
    assert_eq!((by_status.holds(ok, None), by_status.holds(failed, None)), (Ok(()), Ok(())));
    assert_eq!(by_status.holds(Err((14, "")), None), Err("`expect` does not hold for its answer to M".to_owned()));
    let by_answer = expected("response.ok");
    assert!(by_answer.needs_schema());
    assert!(by_answer.holds(ok, None).unwrap_err().contains("is not known (see /schema)"));
}
