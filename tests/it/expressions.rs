//! What expressions over heads decide, in a whole proxy.

use std::sync::Arc;

use parking_lot::Mutex;
use portunus_agents::{bindu, core};
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{HeartbeatRequest, UnregisterAgentRequest};
use tonic::transport::Channel;

use crate::agents::{ask, instances, proxy_with, proxy_with_route, said, sdk};

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
async fn an_expression_counts_more_than_headers_and_less_than_a_service() {
    let upstream = echo("1").await;
    let route = |name: &str, condition: &str| {
        format!(
            "{{match: {{{condition}}}, cluster: c, filters: [{{metadata: {{response: {{set: {{x-went: {name}}}}}}}}}]}}"
        )
    };
    let went = "when: 'metadata[\"x-go\"] == \"yes\"'";
    // The least specific first: it is not their order in the file that decides, but for the two that are equal.
    let routes = [
        route("any", ""),
        route("headers", "headers: {x-a: {present: true}, x-b: {present: true}}"),
        route("when", went),
        route("when-again", "when: 'metadata[\"x-go\"] != \"no\"'"),
        route("service", "service: portunus.test.Echo, headers: {x-service: {present: true}}"),
    ];
    let text = format!(
        "workers: 1\nclusters: {{c: {{endpoints: [{}]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    routes:\n      - {}\n",
        upstream.address(),
        routes.join("\n      - ")
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let both = |go: &str| Ask::echo("Unary").with("x-a", "1").with("x-b", "1").with("x-go", go);
    for (ask, wanted) in [
        (both("yes"), "when"),
        (both("perhaps"), "when-again"),
        (both("no"), "headers"),
        (Ask::echo("Unary").with("x-go", "no"), "any"),
        (both("yes").with("x-service", "1"), "service"),
        // Another route was there first: an expression that would fail is not asked.
        (Ask::echo("Unary").with("x-service", "1"), "service"),
    ] {
        let answer = caller.unary(ask.clone(), b"").await;
        assert_eq!(answer.field("x-went").as_deref(), Some(wanted), "{ask:?}: {}", answer.message());
    }
    // The first expression fails, and none of the three routes behind it gets the call.
    let failed = caller.unary(Ask::echo("Unary").with("x-a", "1").with("x-b", "1"), b"").await;
    assert_eq!(failed.refusal(), (7, "route_undecided".into()), "{}", failed.message());
    assert_eq!(proxy.metric("portunus_refused_total", &[("reason", "route_undecided")]).await, 1.0);
}

#[tokio::test]
async fn metadata_of_answers_is_computed_from_the_request_and_what_cannot_be_refuses() {
    let upstream = Upstream::start(|mut got: Got| async move {
        got.read().await.ok();
        let head = crate::harness::head(&[("x-kept", "theirs"), ("x-own", "theirs"), ("x-gone", "theirs")]);
        let mut up = got.reply.send_response(head, false).unwrap();
        up.send_trailers(crate::harness::fields(&[("grpc-status", "0")])).unwrap();
    })
    .await;
    let filters =
        "filters: [{metadata: {response: {set_expr: {x-own: 'metadata[\"x-say\"]', x-gone: 'true ? null : \"x\"'}}}}]";
    let proxy = TestProxy::with(&[upstream.address()], Setup { route: filters, ..Setup::default() }).await;
    let caller = proxy.caller().await;
    let answer = caller.unary(Ask::echo("Unary").with("x-say", "a").with("x-say", "b"), b"").await;
    let fields = ["x-kept", "x-own", "x-gone"].map(|name| answer.field(name));
    assert_eq!(fields, [Some("theirs".into()), Some("a,b".into()), None], "{}", answer.message());
    let long = "x".repeat(1_025);
    for say in [None, Some(""), Some("t\u{e4}m"), Some(&*long)] {
        let ask = say.into_iter().fold(Ask::echo("Unary"), |ask, say| ask.with("x-say", say));
        let refused = caller.unary(ask, b"").await;
        assert_eq!(refused.refusal(), (7, "denied".into()), "{say:?}: {}", refused.message());
        assert_eq!(upstream.calls(), 1, "it is refused before anybody does anything");
        assert!(refused.message().contains("`x-own`"), "{}", refused.message());
    }
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

async fn sdk_of(proxy: &TestProxy) -> BinduServiceClient<Channel> {
    BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap()
}

/// Says something as a team.
fn of_team<T>(team: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("x-team", team.parse().unwrap());
    request
}

#[tokio::test]
async fn another_owner_can_neither_renew_nor_remove_an_agent() {
    let proxy = proxy_with("owner: 'metadata[\"x-team\"]'").await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let mut client = sdk_of(&proxy).await;
    let port = agent.address().port();
    assert!(client.register_agent(of_team("ops", registration("n", port))).await.unwrap().into_inner().success);
    // The same connection, the same address: it is the expression that tells them apart.
    let id = core::agent_id("a@b.test", "n");
    let beat = || HeartbeatRequest { agent_id: id.clone(), timestamp: 1 };
    let leave = || UnregisterAgentRequest { agent_id: id.clone() };
    assert!(!client.heartbeat(of_team("dev", beat())).await.unwrap().into_inner().acknowledged);
    let refused = client.unregister_agent(of_team("dev", leave())).await.unwrap().into_inner();
    assert!(!refused.success && refused.error.contains("owner"), "{refused:?}");
    // Another agent of another team does not take the address either.
    let taken = client.register_agent(of_team("dev", registration("other", port))).await.unwrap().into_inner();
    assert!(!taken.success, "{taken:?}");
    for nobody in [None, Some("")] {
        let mut request = tonic::Request::new(leave());
        if let Some(team) = nobody {
            request.metadata_mut().insert("x-team", team.parse().unwrap());
        }
        let refused = client.unregister_agent(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{nobody:?}: {refused}");
    }
    assert_eq!(instances(&proxy).await, 1);
    assert!(client.heartbeat(of_team("ops", beat())).await.unwrap().into_inner().acknowledged);
    assert!(client.unregister_agent(of_team("ops", leave())).await.unwrap().into_inner().success);
}

#[tokio::test]
async fn admission_sees_where_an_sdk_wants_its_calls_and_refuses_where_it_fails() {
    let proxy =
        proxy_with("admit: 'registration.callback.startsWith(\"localhost:\") && registration.config.tier == \"gold\"'")
            .await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let mut client = sdk_of(&proxy).await;
    let port = agent.address().port();
    let wants = |callback: &str, more: &str| {
        let mut request = registration("n", port);
        request.config_json = request.config_json.replacen('{', &format!("{{{more}"), 1);
        request.grpc_callback_address = format!("{callback}:{port}");
        request
    };
    let gold = "\"tier\": \"gold\", ";
    for (request, why) in [
        (
            wants("127.0.0.1", gold),
            "this registration is not admitted here: the rule `registry.admit` of the proxy says no",
        ),
        (
            wants("localhost", "\"tier\": \"tin\", "),
            "this registration is not admitted here: the rule `registry.admit` of the proxy says no",
        ),
        (wants("localhost", ""), "whether this registration is admitted cannot be told: no such key"),
    ] {
        let refused = client.register_agent(request).await.unwrap().into_inner();
        assert_eq!((refused.success, &*refused.error), (false, why));
    }
    assert_eq!(instances(&proxy).await, 0);
    let admitted = client.register_agent(wants("localhost", gold)).await.unwrap().into_inner();
    assert!(admitted.success, "{admitted:?}");
}

#[tokio::test]
async fn an_agent_is_named_by_id_too_and_null_names_nobody() {
    let proxy = proxy_with_route("agent: 'metadata[\"x-tenant\"] == \"none\" ? null : metadata[\"x-tenant\"]'").await;
    let (one, _two) = (sdk(&proxy, "one", "1").await, sdk(&proxy, "two", "2").await);
    let id = one.registration().unwrap().agent_id.clone();
    let caller = proxy.caller().await;
    let for_tenant = |tenant: &str| ask().with("x-tenant", tenant);
    assert_eq!(said(&caller, for_tenant(&id)).await, "1");
    assert_eq!(said(&caller, for_tenant(&id).with("x-portunus-agent", "one")).await, "1", "both name the same");
    for nobody in ["none", ""] {
        assert_eq!(said(&caller, for_tenant(nobody).with("x-portunus-agent", "two")).await, "2", "{nobody:?}");
        assert_eq!(caller.unary(for_tenant(nobody), b"").await.refusal(), (3, "agent_unnamed".into()));
    }
    assert_eq!(caller.unary(for_tenant("nobody"), b"").await.refusal(), (5, "agent_unknown".into()));
    // Two values are the name of no agent.
    assert_eq!(
        caller.unary(for_tenant("one").with("x-tenant", "two"), b"").await.refusal(),
        (5, "agent_unknown".into())
    );
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
