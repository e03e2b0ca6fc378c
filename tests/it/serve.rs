//! What a listener serves itself: reflection of what it routes, and health by the instances behind it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use portunus_proto::health::health_check_response::ServingStatus;
use portunus_proto::health::health_client::HealthClient;
use portunus_proto::health::{HealthCheckRequest, HealthListRequest};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse};
use tonic_reflection::pb::v1alpha;

use crate::agents::sdk;
use crate::harness::{Ask, Got, Manner, Reflecting, TestProxy, Upstream, eventually, refused_port, set, soon};

const OURS: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

async fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// The answers to questions on one stream.
async fn asked(address: SocketAddr, questions: Vec<MessageRequest>) -> Result<Vec<MessageResponse>, Status> {
    let request = |one| ServerReflectionRequest { host: "h".into(), message_request: Some(one) };
    let questions: Vec<_> = questions.into_iter().map(request).collect();
    let mut client = ServerReflectionClient::new(channel(address).await);
    let mut answers = client.server_reflection_info(tokio_stream::iter(questions.clone())).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = soon(answers.message()).await? {
        assert_eq!(answer.valid_host, "h");
        assert_eq!(answer.original_request.as_ref(), questions.get(all.len()));
        all.push(answer.message_response.unwrap());
    }
    Ok(all)
}

async fn ask(address: SocketAddr, question: MessageRequest) -> MessageResponse {
    asked(address, vec![question]).await.unwrap().remove(0)
}

async fn listed(address: SocketAddr) -> Vec<String> {
    match ask(address, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => list.service.into_iter().map(|service| service.name).collect(),
        other => panic!("{other:?}"),
    }
}

fn files(answer: &MessageResponse) -> Vec<FileDescriptorProto> {
    let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
    files.file_descriptor_proto.iter().map(|file| FileDescriptorProto::decode(file.as_slice()).unwrap()).collect()
}

/// The file of a symbol, and what came along with it.
async fn resolved(address: SocketAddr, symbol: &str) -> Vec<FileDescriptorProto> {
    files(&ask(address, MessageRequest::FileContainingSymbol(symbol.into())).await)
}

fn code(answer: &MessageResponse) -> Option<i32> {
    if let MessageResponse::ErrorResponse(error) = answer { Some(error.error_code) } else { None }
}

fn proto(services: &str, number: u32) -> String {
    let services: String =
        services.split(' ').map(|service| format!("service {service} {{ rpc M(R) returns (R); }} ")).collect();
    format!("syntax = \"proto3\"; package t; {services} message R {{ string secret = {number}; }}")
}

/// Two clusters that ask their instance often, an agents' registry, and these routes.
async fn proxy(one: SocketAddr, two: SocketAddr, listener: &str, routes: &[&str]) -> TestProxy {
    let routes: String = routes.iter().map(|route| format!("      - {route}\n")).collect();
    TestProxy::yaml(&format!(
        "state: memory
clusters:
  one: {{endpoints: [{one}], schema: {{reflection: {{refresh: 100ms}}}}}}
  two: {{endpoints: [{two}], schema: {{reflection: {{refresh: 100ms}}}}}}
  agents:
    registry: {{callback: \"{{agent}}.localhost:3790\"}}
    health: {{interval: 100ms, timeout: 1s, unhealthy_after: 1, healthy_after: 1}}
listeners:
  sdk:
    address: 127.0.0.1:0
    routes:
      - {{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}
  edge:
    address: 127.0.0.1:0
    {listener}
    routes:
{routes}"
    ))
    .await
}

#[tokio::test]
async fn what_a_listener_routes_is_reflected_by_both_versions() {
    let (one, two) = (Reflecting::with(&proto("S Hidden", 1)).await, Reflecting::start(Manner::None).await);
    let routes = [
        "{match: {service: t.S}, cluster: one}",
        "{match: {service: \"bindu.grpc.*\"}, cluster: agents}",
        "{match: {service: bindu.grpc.BinduService}, register_into: agents}",
        "{match: {service: nobody.Knows}, cluster: two}",
    ];
    let proxy = proxy(one.address(), two.address(), "serve: [reflection, health]", &routes).await;
    let at = proxy.address();
    // Neither the agents nor the registrar have a reflection, and nobody has registered.
    let expected: BTreeSet<_> =
        OURS.into_iter().chain(["bindu.grpc.AgentHandler", "bindu.grpc.BinduService", "t.S"]).collect();
    eventually!(listed(at).await.len() == expected.len(), "{:?}", listed(at).await);
    let services = listed(at).await;
    assert_eq!(services.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);

    let mut older = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(at).await);
    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let question = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let answer = older.server_reflection_info(tokio_stream::iter([question])).await.unwrap();
    let answer = soon(answer.into_inner().message()).await.unwrap().unwrap();
    let Some(v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answer.message_response
    else {
        panic!("{answer:?}")
    };
    assert_eq!(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>(), services);

    for service in &services {
        let files = resolved(at, service).await;
        let (package, name) = service.rsplit_once('.').unwrap();
        assert!(files[0].package() == package && files[0].service.iter().any(|one| one.name() == name), "{service}");
        for import in files.iter().flat_map(|file| &file.dependency) {
            assert!(files.iter().any(|file| file.name() == import), "{service}: {import} does not come along");
        }
    }
    // Its file has another service, to which no route leads.
    assert_eq!(resolved(at, "t.S").await[0].service.len(), 1);
    assert_eq!(resolved(at, "t.R.secret").await[0].name(), "t.proto");
}

#[tokio::test]
async fn what_is_not_known_is_said_and_the_stream_goes_on() {
    let one = Reflecting::with(&proto("S", 1)).await;
    let proxy = proxy(one.address(), refused_port(), "serve: [reflection]", &["{cluster: one}"]).await;
    let at = proxy.address();
    eventually!(listed(at).await.contains(&"t.S".to_owned()));
    let extension = |name: &str| {
        MessageRequest::FileContainingExtension(ExtensionRequest { containing_type: name.into(), extension_number: 7 })
    };
    let answers = asked(
        at,
        vec![
            MessageRequest::FileContainingSymbol("t.Hidden".into()),
            MessageRequest::FileByFilename("x.proto".into()),
            extension("t.R"),
            MessageRequest::AllExtensionNumbersOfType("t.X".into()),
            MessageRequest::AllExtensionNumbersOfType("t.R".into()),
            MessageRequest::FileByFilename("t.proto".into()),
        ],
    )
    .await
    .unwrap();
    assert_eq!(answers.iter().map(code).collect::<Vec<_>>(), [Some(5), Some(5), Some(5), Some(5), None, None]);
    let MessageResponse::AllExtensionNumbersResponse(numbers) = &answers[4] else { panic!("{answers:?}") };
    assert_eq!((numbers.base_type_name.as_str(), numbers.extension_number.len()), ("t.R", 0));
    assert_eq!(files(&answers[5])[0].name(), "t.proto");

    let mut client = ServerReflectionClient::new(channel(at).await);
    let nothing = ServerReflectionRequest { host: String::new(), message_request: None };
    let answer = client.server_reflection_info(tokio_stream::iter([nothing])).await.unwrap();
    let ServerReflectionResponse { message_response, .. } = soon(answer.into_inner().message()).await.unwrap().unwrap();
    assert_eq!(code(&message_response.unwrap()), Some(3));
    // Health is not served here, so its calls go where all others go, and are none of ours.
    assert!(!listed(at).await.contains(&OURS[0].to_owned()));
}

#[tokio::test]
async fn what_two_clusters_define_differently_is_as_the_routes_cluster_defines_it() {
    let (one, two) = (Reflecting::with(&proto("S T", 1)).await, Reflecting::with(&proto("S T", 3)).await);
    let routes = [
        "{match: {service: t.S}, cluster: one}",
        "{match: {service: t.T, headers: {x-canary: \"1\"}}, cluster: one}",
        "{match: {service: \"t.*\"}, cluster: two}",
    ];
    let proxy = proxy(one.address(), two.address(), "serve: [reflection]", &routes).await;
    let at = proxy.address();
    eventually!(listed(at).await.len() == 4, "{:?}", listed(at).await);
    // Both have to be known for this.
    eventually!(resolved(at, "t.T").await[0].message_type[0].field[0].number() == 3);
    let (s, t) = (resolved(at, "t.S").await.remove(0), resolved(at, "t.T").await.remove(0));
    assert_eq!(s.message_type[0].field[0].number(), 1);
    assert_ne!(s.name(), t.name(), "a client can hold both");
    assert_eq!((s.service.len(), t.service.len()), (1, 1));
    let by_name = ask(at, MessageRequest::FileByFilename(t.name().into())).await;
    assert_eq!(files(&by_name)[0], t);

    two.turn(Manner::Honest(set(&proto("T U", 4))));
    eventually!(listed(at).await.contains(&"t.U".to_owned()));
    assert_eq!(resolved(at, "t.T").await[0].message_type[0].field[0].number(), 4);
}

#[tokio::test]
async fn a_route_that_names_a_service_wins_and_any_other_does_not() {
    let upstream = Upstream::start(|mut got: Got| async move { got.succeed(&[b"upstream".to_vec()]) }).await;
    let check = || Ask::path("/grpc.health.v1.Health/Check");
    for (route, wins) in [
        ("{cluster: one}", false),
        ("{match: {service: \"grpc.*\"}, cluster: one}", false),
        ("{match: {authority: a.test}, cluster: one}", false),
        ("{match: {method: Check}, cluster: one}", false),
        ("{match: {service: grpc.health.v1.Health}, cluster: one}", true),
        ("{match: {service: \"grpc.health.*\"}, cluster: one}", true),
    ] {
        let proxy = TestProxy::yaml(&format!(
            "clusters:\n  one: {{endpoints: [{}]}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    \
             serve: [health]\n    routes:\n      - {route}\n",
            upstream.address()
        ))
        .await;
        let answer = proxy.caller().await.unary(check().authority("a.test"), &[]).await;
        assert_eq!(answer.code(), Some(0), "{route}: {answer:?}");
        assert_eq!(answer.messages()[0] == b"upstream", wins, "{route}");
    }
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn next(watch: &mut Streaming<portunus_proto::health::HealthCheckResponse>) -> Result<ServingStatus, Status> {
    Ok(soon(watch.message()).await?.expect("a watch does not end").status())
}

#[tokio::test]
async fn health_is_that_of_the_instances_behind_the_routes() {
    let one = Reflecting::with(&proto("S", 1)).await;
    let routes = [
        "{match: {service: t.S}, cluster: one}",
        "{match: {service: bindu.grpc.AgentHandler}, cluster: agents}",
        "{match: {service: bindu.grpc.BinduService}, register_into: agents}",
        "{match: {service: nobody.Knows}, split: [{cluster: one, weight: 0}, {cluster: agents, weight: 1}]}",
    ];
    let proxy = proxy(one.address(), refused_port(), "serve: [health, {reflection: {public: false}}]", &routes).await;
    let mut client = HealthClient::new(channel(proxy.address()).await);
    let mut check = async |service: &str| {
        client.check(request(service)).await.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
    };
    use ServingStatus::{NotServing, ServiceUnknown, Serving};
    for (service, expected) in [
        ("", Ok(Serving)),
        ("t.S", Ok(Serving)),
        ("grpc.health.v1.Health", Ok(Serving)),
        ("bindu.grpc.BinduService", Ok(Serving)),
        ("bindu.grpc.AgentHandler", Ok(NotServing)),
        ("nobody.Knows", Ok(NotServing)),
        ("t.Nobody", Err(Code::NotFound)),
    ] {
        assert_eq!(check(service).await, expected, "{service}");
    }
    let mut client = HealthClient::new(channel(proxy.address()).await);
    let mut agents = client.watch(request("bindu.grpc.AgentHandler")).await.unwrap().into_inner();
    let mut unknown = client.watch(request("t.Nobody")).await.unwrap().into_inner();
    assert_eq!(next(&mut agents).await.unwrap(), NotServing);
    assert_eq!(next(&mut unknown).await.unwrap(), ServiceUnknown);

    let agent = sdk(&proxy, "a", "1").await;
    assert_eq!(next(&mut agents).await.unwrap(), Serving);
    let list = client.list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    let serving: Vec<_> = list.iter().filter(|(_, one)| one.status() == Serving).map(|(name, _)| &**name).collect();
    assert_eq!(serving.len(), list.len(), "{list:?}");
    let named = ["", "bindu.grpc.AgentHandler", "bindu.grpc.BinduService", "nobody.Knows", "t.S"];
    assert!(named.iter().chain(&OURS).all(|name| serving.contains(name)), "{serving:?}");

    drop(agent);
    assert_eq!(next(&mut agents).await.unwrap(), NotServing);
}

#[tokio::test]
async fn a_drain_is_told_to_those_who_watch_and_does_not_wait_for_them() {
    let one = Reflecting::with(&proto("S", 1)).await;
    let proxy = proxy(one.address(), refused_port(), "serve: [health, reflection]", &["{cluster: one}"]).await;
    let mut client = HealthClient::new(channel(proxy.address()).await);
    let mut watch = client.watch(request("")).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await.unwrap(), ServingStatus::Serving);
    let mut reflection = ServerReflectionClient::new(channel(proxy.address()).await);
    // A stream that stays open, as those of pages for people do.
    let (_asks, questions) = tokio::sync::mpsc::channel(1);
    let questions = tokio_stream::wrappers::ReceiverStream::new(questions);
    let talk = reflection.server_reflection_info(questions).await.unwrap();
    let drained = tokio::spawn(proxy.drain(Duration::from_secs(20)));
    assert_eq!(next(&mut watch).await.unwrap(), ServingStatus::NotServing);
    assert_eq!(soon(watch.message()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(soon(talk.into_inner().message()).await.unwrap_err().code(), Code::Unavailable);
    drop((client, reflection));
    assert!(soon(drained).await.unwrap());
}

#[tokio::test]
async fn filters_and_counters_hold_and_the_server_within_is_no_instance() {
    let one = Reflecting::with(&proto("S", 1)).await;
    let listener = "serve: [reflection, health]\n    filters: [{limits: {message: 20B}}]";
    let proxy = proxy(one.address(), refused_port(), listener, &["{cluster: one}"]).await;
    let mut client = HealthClient::new(channel(proxy.address()).await);
    client.check(request("")).await.unwrap();
    let refused = client.check(request("a.service.whose.name.is.long")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    let name = ("grpc_service", "grpc.health.v1.Health");
    let handled = [name, ("grpc_method", "Check"), ("grpc_type", "unary"), ("grpc_code", "OK")];
    eventually!(proxy.metric("grpc_server_handled_total", &handled).await == 1.0);

    for page in ["/instances", "/clusters", "/schema"] {
        let text = proxy.page(page).await;
        assert!(!text.contains("serve") && text.contains("one"), "{page}: {text}");
    }
    assert!(!proxy.page("/metrics").await.contains("serve:"));
    let routes = proxy.json("/routes").await;
    let own = |route: &&serde_json::Value| route["target"] == "serve" && route["listener"] == "edge";
    let own: Vec<_> = routes.as_array().unwrap().iter().filter(own).map(|route| route["match"].to_string()).collect();
    assert_eq!(own.len(), 3, "{routes}");
    assert!(own.iter().all(|matches| matches.contains("grpc.")), "{routes}");
    assert!(routes.as_array().unwrap().iter().any(|route| route["filters"] == serde_json::json!(["limits"])));
}
