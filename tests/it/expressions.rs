//! What expressions over heads decide, in a whole proxy.

use portunus_agents::bindu;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;

use crate::agents::{ask, proxy_with, proxy_with_route, said, sdk};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::harness::{Ask, Got, Setup, TestProxy, Upstream, echo, eventually};
use crate::registrar::registration;

#[tokio::test]
async fn a_route_is_taken_where_its_expression_holds_and_refuses_where_it_fails() {
    let (one, other) = (echo("1").await, echo("2").await);
    let text = format!(
        "workers: 1\nclusters: {{a: {{endpoints: [{}]}}, b: {{endpoints: [{}]}}}}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{when: 'metadata[\"x-tier\"] == \"gold\"', headers: {{x-tier: {{present: true}}}}}}, cluster: a, filters: [{{metadata: {{response: {{set: {{x-went: a}}}}}}}}]}}
      - {{match: {{headers: {{x-odd: {{present: true}}}}, when: 'metadata[\"x-none\"] == \"\"'}}, cluster: a}}
      - {{cluster: b, filters: [{{metadata: {{response: {{set: {{x-went: b}}}}}}}}]}}\n",
        one.address(),
        other.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    for (tier, went) in [("gold", "a"), ("silver", "b")] {
        let answer = caller.unary(Ask::echo("Unary").with("x-tier", tier), b"").await;
        assert_eq!(answer.field("x-went"), Some(went.into()), "{tier}");
    }
    // Two values are not one of them.
    let twice = caller.unary(Ask::echo("Unary").with("x-tier", "gold").with("x-tier", "gold"), b"").await;
    assert_eq!(twice.field("x-went"), Some("b".into()));
    let failed = caller.unary(Ask::echo("Unary").with("x-odd", "1"), b"").await;
    assert_eq!(failed.refusal(), (7, "route_undecided".into()), "{}", failed.message());
    let routes = proxy.json("/routes").await.to_string();
    assert!(routes.contains("when metadata"), "{routes}");
}

#[tokio::test]
async fn metadata_is_computed_and_what_cannot_be_refuses() {
    let heads: Arc<Mutex<Vec<http::HeaderMap>>> = Arc::default();
    let seen = Arc::clone(&heads);
    let upstream = Upstream::start(move |got: Got| {
        seen.lock().push(got.head.headers.clone());
        got.echo()
    })
    .await;
    let filters = "filters: [{metadata: {set_expr: {x-who: 'request.method + \" from \" + metadata[\"x-team\"]', x-gone: 'size(metadata) > 0 ? null : \"x\"'}, \
                   response: {set_expr: {x-said: 'string(size(request.service))'}}}}]";
    let proxy = TestProxy::with(&[upstream.address()], Setup { route: filters, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let answer = caller.unary(Ask::echo("Unary").with("x-team", "ops").with("x-gone", "1"), b"").await;
    assert_eq!((answer.code(), answer.field("x-said")), (Some(0), Some("18".into())), "{}", answer.message());
    let head = heads.lock().last().cloned().unwrap();
    assert_eq!(head.get("x-who").unwrap(), "Unary from ops");
    assert!(head.get("x-gone").is_none());
    for team in [None, Some("t\u{e4}m")] {
        let ask = team.into_iter().fold(Ask::echo("Unary"), |ask, team| ask.with("x-team", team));
        let refused = caller.unary(ask, b"").await;
        assert_eq!(refused.refusal(), (7, "denied".into()), "{team:?}: {}", refused.message());
    }
}

#[tokio::test]
async fn a_route_names_the_agent() {
    let proxy = proxy_with_route("agent: 'metadata[\"x-tenant\"]'").await;
    let (_one, _two) = (sdk(&proxy, "one", "1").await, sdk(&proxy, "two", "2").await);
    let caller = proxy.caller().await;
    for (tenant, instance) in [("one", "1"), ("two", "2")] {
        assert_eq!(said(&caller, ask().with("x-tenant", tenant)).await, instance);
    }
    let conflict = ask().with("x-tenant", "one").with("x-portunus-agent", "two");
    assert_eq!(caller.unary(conflict, b"").await.refusal(), (3, "agent_conflict".into()));
    assert_eq!(caller.unary(ask(), b"").await.refusal(), (7, "denied".into()), "it fails without the tenant");
}

#[tokio::test]
async fn who_may_register_is_an_expression() {
    let registry = "admit: 'registration.author.endsWith(\"@b.test\") && !(\"debug\" in registration.config)'\n      \
                    owner: 'metadata[\"x-team\"]'";
    let proxy = proxy_with(registry).await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let mut client = BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap();
    let from = |team: Option<&str>, author: &str| {
        let mut request = registration("n", agent.address().port());
        request.config_json = request.config_json.replace("a@b.test", author);
        let mut request = tonic::Request::new(request);
        if let Some(team) = team {
            request.metadata_mut().insert("x-team", team.parse().unwrap());
        }
        request
    };
    let stranger = client.register_agent(from(Some("ops"), "a@c.test")).await.unwrap().into_inner();
    assert!(!stranger.success && stranger.error.contains("is not admitted here"), "{stranger:?}");
    let nobody = client.register_agent(from(None, "a@b.test")).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::PermissionDenied, "{nobody}");
    assert!(client.register_agent(from(Some("ops"), "a@b.test")).await.unwrap().into_inner().success);
    let other = client.register_agent(from(Some("dev"), "a@b.test")).await.unwrap().into_inner();
    assert!(!other.success && other.error.contains("another owner"), "{other:?}");
    eventually!(proxy.json("/agents").await[0]["owner"] == "ops");
}

#[tokio::test]
async fn the_access_log_has_the_calls_that_are_asked_for() {
    let upstream = echo("1").await;
    let file = std::env::temp_dir().join(format!("portunus-when-{}.log", std::process::id()));
    let text = format!(
        "workers: 1\naccess_log: {{file: {}, when: 'status.code != 0 || metadata[\"x-log\"] == \"yes\"'}}
clusters: {{c: {{endpoints: [{}]}}}}
listeners: {{edge: {{address: 127.0.0.1:0, routes: [{{match: {{method: Unary}}, cluster: c}}]}}}}\n",
        file.display(),
        upstream.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let named = |method: &str, id: &str, log: Option<&str>| {
        let ask = Ask::echo(method).with("x-request-id", id);
        log.into_iter().fold(ask, |ask, log| ask.with("x-log", log))
    };
    caller.unary(named("Unary", "left-out", Some("no")), b"").await;
    caller.unary(named("Unary", "asked-for", Some("yes")), b"").await;
    caller.unary(named("None", "no-route", Some("no")), b"").await;
    // Whether it is to be written cannot be told.
    caller.unary(named("Unary", "untold", None), b"").await;
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually!(lines().contains("untold"));
    let lines = lines();
    assert!(lines.contains("asked-for") && lines.contains("no-route") && !lines.contains("left-out"), "{lines}");
    std::fs::remove_file(&file).ok();
}
