//! What instances serve: learnt by reflection, kept current, compared, and judged by what policies rely on.

use std::net::SocketAddr;
use std::time::Duration;

use portunus::schema::{Definition, Side};
use portunus::upstream::schemas::Demands;
use portunus::{app, config, filters};
use portunus_agents::bindu;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use serde_json::Value;

use crate::agents::sdk;
use crate::harness::{Ask, Folder, Manner, Reflecting, Setup, TestProxy, eventually, set};
use crate::registrar::registration;

fn proto(fields: &str) -> String {
    format!(
        "syntax = \"proto3\"; package t; service S {{ rpc M(R) returns (R); rpc N(O) returns (O); }}
        message R {{ {fields} }} message O {{ string o = 1; }}"
    )
}

pub(crate) fn one() -> String {
    proto("string secret = 1; string name = 2;")
}

fn renumbered() -> String {
    proto("string secret = 3; string name = 2;")
}

async fn with(instances: &[&Reflecting], schema: &str) -> TestProxy {
    let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address()).collect();
    let cluster = format!("schema: {schema}\nbalance: round_robin");
    TestProxy::with(&addresses, Setup { cluster: &cluster, ..Setup::default() }).await
}

/// What `/schema` shows of a cluster.
async fn shown(proxy: &TestProxy, cluster: &str) -> Value {
    let page = proxy.json("/schema").await;
    let found = page.as_array().unwrap().iter().find(|one| one["cluster"] == cluster);
    found.unwrap_or_else(|| panic!("{page}")).clone()
}

/// The digests that instances have, in order.
async fn digests(proxy: &TestProxy) -> Vec<String> {
    let shown = shown(proxy, "echo").await;
    let instances = shown["instances"].as_array().unwrap();
    instances.iter().filter_map(|one| one["digest"].as_str().map(str::to_owned)).collect()
}

async fn info(proxy: &TestProxy) -> usize {
    proxy.metrics().await.iter().filter(|series| series.name == "portunus_schema_digest_info").count()
}

#[tokio::test]
async fn drift_is_shown_within_one_refresh_and_goes_when_the_rollout_is_over() {
    let (a, b) = (Reflecting::with(&one()).await, Reflecting::with(&one()).await);
    let proxy = with(&[&a, &b], "{reflection: {refresh: 200ms}}").await;
    eventually!(digests(&proxy).await.len() == 2);
    let before = shown(&proxy, "echo").await;
    assert_eq!((before["mode"].as_str(), before["drifts"].as_array().unwrap().len()), (Some("live"), 0), "{before}");
    let instance = &before["instances"][0];
    assert_eq!(instance["services"], serde_json::json!(["t.S"]));
    assert_eq!((instance["source"].as_str(), &instance["error"]), (Some("reflection"), &Value::Null), "{instance}");
    assert!(instance["known_since"].is_string());
    assert_eq!(info(&proxy).await, 1, "both have the same");

    b.turn(Manner::Honest(set(&renumbered())));
    eventually!(!shown(&proxy, "echo").await["drifts"].as_array().unwrap().is_empty());
    let drift = shown(&proxy, "echo").await["drifts"][0].clone();
    let change = &drift["changes"][0];
    assert_eq!((change["name"].as_str(), change["what"].as_str()), (Some("t.R.secret"), Some("renumbered")), "{drift}");
    assert_eq!((&change["breaking"], &drift["breaking"]), (&Value::Bool(true), &Value::Bool(true)), "{drift}");
    assert_eq!(info(&proxy).await, 2);

    a.turn(Manner::Honest(set(&renumbered())));
    eventually!(shown(&proxy, "echo").await["drifts"].as_array().unwrap().is_empty());
    eventually!(info(&proxy).await == 1);
    // Nothing is linked again that has not changed.
    let new = [("cluster", "echo"), ("result", "new")];
    let linked = proxy.metric("portunus_schema_fetches_total", &new).await;
    let unchanged = async || {
        let same = [("cluster", "echo"), ("result", "unchanged")];
        proxy.metric("portunus_schema_fetches_total", &same).await
    };
    let seen = unchanged().await;
    eventually!(unchanged().await as u64 >= seen as u64 + 4);
    assert_eq!((linked, proxy.metric("portunus_schema_fetches_total", &new).await), (4.0, 4.0));
}

#[tokio::test]
async fn the_older_protocol_will_do_and_who_has_none_is_called_all_the_same() {
    let (alpha, none) = (Reflecting::start(Manner::Alpha(set(&one()))).await, Reflecting::start(Manner::None).await);
    let text = format!(
        "workers: 1\nclusters:
  alpha: {{endpoints: [{}], schema: {{}}}}
  none: {{endpoints: [{}], schema: {{}}}}
  off: {{endpoints: [{}], schema: {{reflection: false}}}}
  gone: {{endpoints: [{}], schema: {{}}}}
listeners:
  edge:
    address: 127.0.0.1:0
    routes: [{{cluster: none}}]\n",
        alpha.address(),
        none.address(),
        none.address(),
        crate::harness::refused_port(),
    );
    let proxy = TestProxy::yaml(&text).await;
    eventually!(shown(&proxy, "alpha").await["instances"][0]["digest"].is_string());
    eventually!(shown(&proxy, "none").await["instances"][0]["error"].is_string());
    let error = shown(&proxy, "none").await["instances"][0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("no server reflection, neither v1 nor v1alpha"), "{error}");
    assert_eq!(shown(&proxy, "off").await["instances"].as_array().unwrap().len(), 0);
    eventually!(shown(&proxy, "gone").await["instances"][0]["error"].is_string());
    let ready = proxy.json("/ready").await;
    let degraded = ready["degraded"].to_string();
    assert!(
        ready["ready"] == true && degraded.contains("cluster `gone` lacks the schema of 1 of 1 instances"),
        "{ready}"
    );
    assert!(!degraded.contains("`none`") && !degraded.contains("`alpha`"), "nobody needs it: {ready}");
    proxy.caller().await.echoed(Ask::echo("Unary")).await;
}

/// Servers that tell what cannot be, of which some can be used all the same.
pub(crate) fn odd() -> Vec<(&'static str, Manner)> {
    let file = |name: &str, import: &str| prost_types::FileDescriptorProto {
        name: Some(name.into()),
        package: Some("p2".into()),
        dependency: if import.is_empty() { Vec::new() } else { vec![import.into()] },
        message_type: vec![prost_types::DescriptorProto { name: Some("R".into()), ..Default::default() }],
        service: vec![prost_types::ServiceDescriptorProto { name: Some("S".into()), ..Default::default() }],
        ..Default::default()
    };
    let of = |files: Vec<prost_types::FileDescriptorProto>| {
        prost::Message::encode_to_vec(&prost_types::FileDescriptorSet { file: files })
    };
    let cycle = of(vec![
        file("a.proto", "b.proto"),
        prost_types::FileDescriptorProto {
            service: Vec::new(),
            message_type: Vec::new(),
            ..file("b.proto", "a.proto")
        },
    ]);
    let twice = of(vec![file("a.proto", ""), file("b.proto", "")]);
    vec![("cycle", Manner::Honest(cycle)), ("twice", Manner::Honest(twice))]
}

/// Servers that mean ill, each with its name and what is said of it.
pub(crate) fn hostile() -> Vec<(&'static str, Manner, &'static str)> {
    let wrong = encoded(prost_types::FileDescriptorProto {
        name: Some("wrong.proto".into()),
        package: Some("p2".into()),
        message_type: vec![prost_types::DescriptorProto { name: Some("a..b".into()), ..Default::default() }],
        service: vec![prost_types::ServiceDescriptorProto { name: Some("S".into()), method: vec![], options: None }],
        ..Default::default()
    });
    vec![
        ("endless", Manner::Endless, "over the bound of 2000"),
        ("huge", Manner::Huge, "message length too large"),
        ("much", Manner::Much, "over the bound of 16777216 bytes"),
        ("drip", Manner::Drip, "over the bound of 10 seconds"),
        ("silent", Manner::Silent, "over the bound of 10 seconds"),
        ("deep", Manner::Raw(deep()), "messages within messages"),
        ("wrong", Manner::Honest(wrong), "`a..b` is no name"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_server_costs_only_itself() {
    let manners = hostile();
    let good = Reflecting::with(&one()).await;
    let (mut servers, mut clusters, mut routes) = (Vec::new(), String::new(), String::new());
    for (name, manner, _) in &manners {
        let server = Reflecting::start(manner.clone()).await;
        clusters +=
            &format!("  {name}: {{endpoints: [{}], schema: {{reflection: {{refresh: 1h}}}}}}\n", server.address());
        routes += &format!("      - {{match: {{service: t.{name}}}, cluster: {name}}}\n");
        servers.push(server);
    }
    let text = format!(
        "workers: 1\nclusters:\n{clusters}  good: {{endpoints: [{}], schema: {{}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    \
         routes:\n{routes}      - {{cluster: good}}\n",
        good.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    eventually!(shown(&proxy, "good").await["instances"][0]["digest"].is_string());
    let caller = proxy.caller().await;
    for (name, _, why) in &manners {
        eventually!(shown(&proxy, name).await["instances"][0]["error"].is_string(), "{name}");
        let shown = shown(&proxy, name).await["instances"][0].clone();
        let error = shown["error"].as_str().unwrap();
        assert!(error.contains(why) && error.len() <= 600, "{name}: {error}");
        assert_eq!(shown["digest"], Value::Null);
        let answer = caller.unary(Ask::path(&format!("/t.{name}/M")), b"x").await;
        assert_eq!(answer.code(), Some(0), "{name}: its calls go on");
    }
    assert_eq!(caller.unary(Ask::path("/t.S/M"), b"x").await.code(), Some(0));
}

/// A file whose messages are 10,000 deep in each other.
fn deep() -> Vec<u8> {
    let field = |number: u8, octets: &[u8]| {
        let mut field = vec![number << 3 | 2];
        prost::encoding::encode_varint(octets.len() as u64, &mut field);
        [&field, octets].concat()
    };
    let mut message = field(1, b"M");
    for _ in 0..10_000 {
        message = [field(1, b"M"), field(3, &message)].concat();
    }
    [field(1, b"deep.proto"), field(2, b"p2"), field(4, &message), field(6, &field(1, b"S"))].concat()
}

fn encoded(file: prost_types::FileDescriptorProto) -> Vec<u8> {
    prost::Message::encode_to_vec(&prost_types::FileDescriptorSet { file: vec![file] })
}

#[tokio::test]
async fn an_instance_is_looked_at_when_it_turns_healthy_and_when_it_registers_again() {
    let text = "workers: 1\nstate: memory\nclusters:
  echo:
    registry: {}
    health: {interval: 100ms, timeout: 1s, unhealthy_after: 1, healthy_after: 1}
    schema: {reflection: {refresh: 1h}}
listeners:
  sdk: {address: 127.0.0.1:0, routes: [{match: {service: bindu.grpc.BinduService}, register_into: echo}]}
  edge: {address: 127.0.0.1:0, routes: [{cluster: echo}]}\n";
    let proxy = TestProxy::yaml(text).await;
    let instance = Reflecting::with(&one()).await;
    // Who does not have this method counts as healthy; an echo of nothing says that it is not.
    let health = "/bindu.grpc.AgentHandler/HealthCheck";
    instance.refuse(health);
    let mut sdk = BinduServiceClient::connect(format!("http://{}", proxy.listener("sdk"))).await.unwrap();
    let request = registration("n", instance.address().port());
    assert!(sdk.register_agent(request.clone()).await.unwrap().into_inner().success);
    let is = async |state: &str| proxy.json("/instances").await[0]["state"] == state;
    eventually!(is("healthy").await && digests(&proxy).await.len() == 1);
    let mut before = digests(&proxy).await;

    instance.relent();
    eventually!(is("unhealthy").await);
    instance.turn(Manner::Honest(set(&renumbered())));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(digests(&proxy).await, before, "one that is ill is left alone");
    instance.refuse(health);
    eventually!(digests(&proxy).await != before);

    before = digests(&proxy).await;
    instance.turn(Manner::Honest(set(&one())));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(digests(&proxy).await, before, "nothing says that it has changed");
    assert!(sdk.register_agent(request).await.unwrap().into_inner().success);
    eventually!(digests(&proxy).await != before);
}

/// Policies that read `secret` of `t.S/M`.
struct Secret;

impl Demands for Secret {
    fn concern(&self, service: &str, method: &str) -> bool {
        (service, method) == ("t.S", "M")
    }

    fn judge(&self, _: &str, _: &str, new: &Definition, accepted: Option<&Definition>) -> Result<(), String> {
        let conflict = accepted.and_then(|accepted| new.conflicts(accepted, Side::Request, "secret"));
        conflict.map_or(Ok(()), Err)
    }
}

#[tokio::test]
async fn one_canary_of_ten_gets_no_calls_of_a_method_that_it_defines_otherwise() {
    let mut instances = vec![Reflecting::with(&renumbered()).await];
    for _ in 0..9 {
        instances.push(Reflecting::with(&one()).await);
    }
    let all: Vec<&Reflecting> = instances.iter().collect();
    let proxy = with(&all, "{reflection: {refresh: 200ms}}").await;
    proxy.cluster("echo").schemas.demand(Some(Box::new(Secret)));
    eventually!(shown(&proxy, "echo").await["incompatible"].as_array().unwrap().len() == 1);
    let refused = shown(&proxy, "echo").await["incompatible"][0].clone();
    assert_eq!((refused["method"].as_str(), refused["instances"].as_u64()), (Some("t.S/M"), Some(1)), "{refused}");
    assert_eq!(refused["why"], "`secret` has the number 3, and the accepted definition has 1");
    let listed = proxy.json("/instances").await;
    let canary = instances[0].address().to_string();
    for instance in listed.as_array().unwrap() {
        let wanted = if instance["address"] == canary.as_str() { vec!["t.S/M"] } else { vec![] };
        assert_eq!(instance["schema_incompatible"], serde_json::json!(wanted), "{instance}");
    }
    assert_eq!(proxy.metric("portunus_schema_incompatible", &[("cluster", "echo")]).await, 1.0);

    let at = |code: &'static str| [("instance", canary.clone()), ("code", code.to_owned())];
    let calls = async || {
        let labels = at("OK");
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        proxy.metric("portunus_upstream_calls_total", &labels).await
    };
    let caller = proxy.caller().await;
    for _ in 0..40 {
        assert_eq!(caller.unary(Ask::path("/t.S/M"), b"x").await.code(), Some(0));
    }
    assert_eq!(calls().await, 0.0, "not one went to the canary");
    for _ in 0..40 {
        assert_eq!(caller.unary(Ask::path("/t.S/N"), b"x").await.code(), Some(0));
    }
    assert_eq!(calls().await, 4.0, "of another method it gets its share");

    // The rollout goes on: it stays so, until somebody says that it is right.
    for instance in &instances[1..9] {
        instance.turn(Manner::Honest(set(&renumbered())));
    }
    eventually!(shown(&proxy, "echo").await["incompatible"][0]["instances"] == 9);
    for _ in 0..20 {
        assert_eq!(caller.unary(Ask::path("/t.S/M"), b"x").await.code(), Some(0));
    }
    assert_eq!(calls().await, 4.0, "the last of the old ones gets them all");
    let (status, body) = proxy.post("/schema/accept").await;
    assert!(status == 200 && body.contains("t.S/M"), "{status} {body}");
    eventually!(shown(&proxy, "echo").await["incompatible"][0]["instances"] == 1);
    for _ in 0..18 {
        assert_eq!(caller.unary(Ask::path("/t.S/M"), b"x").await.code(), Some(0));
    }
    assert_eq!(calls().await, 6.0, "nine share them");
    instances[9].turn(Manner::Honest(set(&renumbered())));
    eventually!(shown(&proxy, "echo").await["incompatible"].as_array().unwrap().is_empty());
    let (_, nothing) = proxy.post("/schema/accept").await;
    assert_eq!(serde_json::from_str::<Value>(&nothing).unwrap(), serde_json::json!({ "accepting": [] }));
}

#[tokio::test]
async fn an_unknown_method_that_was_known_has_the_instance_looked_at_again() {
    let instance = Reflecting::with(&one()).await;
    let proxy = with(&[&instance], "{reflection: {refresh: 1h}}").await;
    eventually!(digests(&proxy).await.len() == 1);
    let before = digests(&proxy).await;
    instance
        .turn(Manner::Honest(set("syntax = \"proto3\"; package t; service S { rpc N(O) returns (O); } message O {}")));
    instance.refuse("/t.S/M");
    let caller = proxy.caller().await;
    assert_eq!(caller.unary(Ask::path("/t.S/M"), b"x").await.code(), Some(12));
    eventually!(digests(&proxy).await != before);
    // Who is asked for what it never had is not looked at.
    let calls = instance.calls();
    instance.refuse("/t.S/Never");
    assert_eq!(caller.unary(Ask::path("/t.S/Never"), b"x").await.code(), Some(12));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(instance.calls(), calls + 1);
}

#[tokio::test]
async fn files_decide_and_what_is_live_is_compared_or_not_asked() {
    let folder = Folder::new("schemas");
    std::fs::create_dir_all(folder.at("protos/x")).unwrap();
    folder.write("protos/x/a.proto", one().replace("package t;", "package t; import \"x/b.proto\";"));
    folder.write("protos/x/b.proto", "syntax = \"proto3\"; package b;");
    folder.write("t.binpb", set(&one()));
    let live = Reflecting::with(&renumbered()).await;
    let files = |mode: &str, file: &str| format!("{{files: [{}]{mode}}}", folder.at(file).display());
    for file in ["protos/x/a.proto", "t.binpb"] {
        let proxy = with(&[&live], &files("", file)).await;
        let pinned = shown(&proxy, "echo").await;
        assert_eq!(
            (pinned["mode"].as_str(), &pinned["services"]),
            (Some("pinned"), &serde_json::json!(["t.S"])),
            "{pinned}"
        );
        assert!(pinned["digest"].is_string() && pinned["instances"].as_array().unwrap().is_empty());
    }
    assert_eq!(live.calls(), 0, "nobody was asked");
    let proxy = with(&[&live], &files(", mode: verify", "t.binpb")).await;
    eventually!(!shown(&proxy, "echo").await["drifts"].as_array().unwrap().is_empty());
    let verified = shown(&proxy, "echo").await;
    assert_eq!(
        (verified["mode"].as_str(), &verified["drifts"][0]["from"]),
        (Some("verify"), &verified["digest"]),
        "{verified}"
    );
    let known = proxy.cluster("echo").schemas.load().clone();
    let secret = set(&one());
    let file = portunus::schema::from_octets(&secret).unwrap();
    let in_force = known.in_force(None, "t.S", "M");
    assert_eq!((in_force.len(), in_force[0].schema.digest()), (1, file.digest()), "the file decides");
}

#[tokio::test]
async fn a_contract_that_comes_along_is_used_where_bindu_is_served_without_reflection() {
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let text = format!(
        "workers: 1\nstate: memory\nclusters:
  agents: {{registry: {{}}, schema: {{}}}}
  routed: {{endpoints: [{0}], schema: {{}}}}
  off: {{endpoints: [{0}], schema: {{reflection: false}}}}
  other: {{endpoints: [{0}], schema: {{}}}}
listeners:
  sdk: {{address: 127.0.0.1:0, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]}}
  edge:
    address: 127.0.0.1:0
    routes:
      - {{match: {{service: bindu.grpc.AgentHandler}}, split: [{{cluster: routed, weight: 1}}, {{cluster: off, weight: 1}}]}}
      - {{match: {{headers: {{x: y}}}}, cluster: other}}
      - {{cluster: agents}}\n",
        agent.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    let _registered = sdk(&proxy, "n", "one").await;
    for cluster in ["agents", "routed"] {
        eventually!(shown(&proxy, cluster).await["instances"][0]["source"] == "bundled", "{cluster}");
        let instance = shown(&proxy, cluster).await["instances"][0].clone();
        assert!(instance["services"].to_string().contains("bindu.grpc.AgentHandler"), "{instance}");
        assert_eq!(instance["error"], Value::Null);
        assert_eq!(instance["agent"].is_string(), cluster == "agents", "{instance}");
    }
    eventually!(shown(&proxy, "other").await["instances"][0]["error"].is_string());
    let handler = ("bindu.grpc.AgentHandler", "HandleMessages");
    assert!(
        proxy.cluster("off").schemas.load().in_force(None, handler.0, handler.1).len() == 1,
        "nobody needs to be asked"
    );
    assert!(proxy.cluster("other").schemas.load().in_force(None, handler.0, handler.1).is_empty());
}

#[test]
fn files_that_cannot_be_used_are_errors_of_the_configuration_with_their_place() {
    let folder = Folder::new("bad-schemas");
    folder.write("bad.proto", "syntax = \"proto3\";\nmessage M {\n  Nobody n = 1;\n}\n");
    folder.write("import.proto", "syntax = \"proto3\";\nimport \"gone.proto\";\n");
    folder.write("junk.binpb", [0xff, 0xff, 0xff]);
    folder.write("empty.binpb", []);
    let text = "clusters:
  a: {endpoints: [\"127.0.0.1:1\"], schema: {files: [bad.proto]}}
  b: {endpoints: [\"127.0.0.1:1\"], schema: {files: [import.proto]}}
  c: {endpoints: [\"127.0.0.1:1\"], schema: {files: [junk.binpb]}}
  d: {endpoints: [\"127.0.0.1:1\"], schema: {files: [empty.binpb]}}
  e: {endpoints: [\"127.0.0.1:1\"], schema: {files: [gone.binpb]}}
listeners:
  edge: {address: \"127.0.0.1:0\", routes: [{cluster: a}]}
";
    let loaded = config::load_str(text, &folder.at("p.yaml"), &|_| None, filters::ALL).unwrap();
    let errors = app::build(&loaded).unwrap_err().to_string();
    let place = format!("{}:", folder.at("p.yaml").display());
    let lines: Vec<_> = errors.lines().map(|line| line.replacen(&place, "", 1)).collect();
    let wanted = [
        ("2:52: clusters.a.schema.files[0]: `bad.proto` cannot be used:", "bad.proto:3:3"),
        ("3:52: clusters.b.schema.files[0]: `import.proto` cannot be used:", "import.proto:2:"),
        ("4:52: clusters.c.schema.files[0]: `junk.binpb` cannot be used:", "no descriptor set"),
        ("5:44: clusters.d.schema.files: the files cannot be used together:", "no service"),
        ("6:52: clusters.e.schema.files[0]: `gone.binpb` cannot be used:", "No such file"),
    ];
    assert_eq!(lines.len(), wanted.len(), "{errors}");
    for (line, (start, has)) in lines.iter().zip(wanted) {
        assert!(line.starts_with(start) && line.contains(has), "{line}");
    }
}
