//! What a listener serves itself: reflection and health.

use portunus::schema::{Bounds, Schema};
use portunus::upstream::reflection::reflect;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use crate::harness::{Ask, Manner, Reflecting, TestProxy, eventually};

fn proto(package: &str, field: &str) -> String {
    format!(
        "syntax = \"proto3\"; package {package}; service S {{ rpc M(R) returns (R); }} message R {{ string {field} = 1; }}"
    )
}

async fn channel(proxy: &TestProxy) -> Channel {
    Channel::from_shared(format!("http://{}", proxy.address())).unwrap().connect().await.unwrap()
}

async fn told(proxy: &TestProxy) -> Result<Schema, String> {
    let told = reflect(channel(proxy).await, &MetadataMap::new(), Bounds::REMOTE).await;
    told.map_err(|error| error.to_string())
}

fn services(schema: &Schema) -> Vec<String> {
    let mut services: Vec<_> = schema.services().map(str::to_owned).collect();
    services.sort();
    services
}

#[tokio::test]
async fn reflection_tells_of_all_that_the_listener_routes() {
    let (a, b) = (Reflecting::with(&proto("a", "one")).await, Reflecting::with(&proto("b", "two")).await);
    // It has no reflection, and what it serves is Bindu's.
    let bindu = Reflecting::start(Manner::None).await;
    let text = format!(
        "workers: 1
clusters:
  a: {{endpoints: [{}], schema: {{}}}}
  b: {{endpoints: [{}], schema: {{}}}}
  agents: {{endpoints: [{}], schema: {{}}}}
listeners:
  edge:
    address: 127.0.0.1:0
    serve: [reflection, health]
    routes:
      - {{match: {{service: a.S}}, cluster: a}}
      - {{match: {{service: bindu.grpc.AgentHandler}}, cluster: agents}}
      - {{cluster: b}}\n",
        a.address(),
        b.address(),
        bindu.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    let wanted = [
        "a.S",
        "b.S",
        "bindu.grpc.AgentHandler",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];
    eventually!(told(&proxy).await.is_ok_and(|schema| services(&schema) == wanted));
    let schema = told(&proxy).await.unwrap();
    let method = schema.method("a.S", "M").unwrap();
    assert_eq!(schema.request_from_json(method, r#"{"one":"x"}"#).unwrap(), b"\x0a\x01x");
    assert!(schema.method("bindu.grpc.AgentHandler", "HandleMessages").is_some());
    // Calls go on beside it.
    assert_eq!(proxy.caller().await.unary(Ask::path("/a.S/M"), b"").await.code(), Some(0));
}

#[tokio::test]
async fn health_is_that_of_the_instances_behind_a_service() {
    let one = Reflecting::with(&proto("a", "one")).await;
    let text = format!(
        "workers: 1
clusters:
  a: {{endpoints: [{}], schema: {{}}}}
  empty: {{registry: {{}}}}
state: memory
listeners:
  edge:
    address: 127.0.0.1:0
    serve: [health]
    routes:
      - {{match: {{service: a.S}}, cluster: a}}
      - {{match: {{service: bindu.grpc.AgentHandler}}, cluster: empty}}\n",
        one.address()
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let check = async |service: &str| {
        let mut request = portunus::schema::Writer::default();
        request.octets(1, service.as_bytes());
        let answer = caller.unary(Ask::path("/grpc.health.v1.Health/Check"), &request.finish()).await;
        (answer.code(), answer.messages().first().cloned())
    };
    let (serving, not_serving) = (Some(vec![8, 1]), Some(vec![8, 2]));
    eventually!(check("a.S").await == (Some(0), serving.clone()));
    assert_eq!(check("").await, (Some(0), serving));
    assert_eq!(check("bindu.grpc.AgentHandler").await, (Some(0), not_serving));
    assert_eq!(check("nobody.S").await.0, Some(5));
    // Reflection was not asked for.
    let none = told(&proxy).await.unwrap_err();
    assert!(none.contains("no server reflection"), "{none}");
}

#[tokio::test]
async fn a_route_that_names_it_wins_and_a_route_for_all_does_not() {
    let own = Reflecting::with(&proto("own", "o")).await;
    for (route, wanted) in
        [("{match: {service: grpc.reflection.*}, cluster: a}", "own.S"), ("{cluster: a}", "grpc.health.v1.Health")]
    {
        let text = format!(
            "workers: 1\nclusters: {{a: {{endpoints: [{}], schema: {{}}}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    \
             serve: [reflection, health]\n    routes: [{route}]\n",
            own.address()
        );
        let proxy = TestProxy::yaml(&text).await;
        eventually!(
            told(&proxy).await.is_ok_and(|schema| services(&schema).iter().any(|name| name == wanted)),
            "{route}"
        );
        let all = services(&told(&proxy).await.unwrap());
        assert_eq!(all.contains(&"grpc.health.v1.Health".to_owned()), wanted != "own.S", "{route}: {all:?}");
    }
}
