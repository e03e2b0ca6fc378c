//! What a scraper sees: names, labels, values, and what goes away.

use std::sync::Arc;
use std::time::Duration;

use filter_api::{Code, Reason};

use super::{AuditFile, CallKind, ConnectionState, Format, InstanceCount, Metrics, Seen};

fn page(metrics: &Arc<Metrics>, format: Format) -> String {
    let instances = vec![InstanceCount { cluster: Arc::from("agents"), state: "healthy", count: 3 }];
    let audit = vec![AuditFile { file: "audit.jsonl".into(), last: 17, lost: 2, failing: true }];
    metrics.expose(format, Seen { instances, keys: vec![], audit }).unwrap()
}

/// The lines of the families in question, without those that differ at each run.
fn ours(page: &str) -> String {
    let stable = |line: &&str| !line.contains("process_") && !line.contains("allocated_bytes");
    page.lines().filter(stable).fold(String::new(), |text, line| text + line + "\n")
}

fn busy() -> (Arc<Metrics>, impl Sized) {
    let metrics = Metrics::new();
    metrics.know("bindu.grpc.AgentHandler", "HandleMessages", CallKind::Unary);
    let method = metrics.method("bindu.grpc.AgentHandler", "HandleMessages");
    for (code, millis) in [(Code::Ok, 4), (Code::Ok, 7), (Code::DeadlineExceeded, 11_000)] {
        method.received(1);
        Arc::clone(&method).begin().end(code, Duration::from_millis(millis));
    }
    method.sent(2);
    let stranger = metrics.method("a\"b\\c\n", "X");
    stranger.begin().end(Code::Unimplemented, Duration::from_micros(10));

    let listener = metrics.listener("sdk");
    listener.refused(Reason::NoRoute);
    let cluster = metrics.cluster("agents");
    let instance = cluster.instance("127.0.0.1:4001");
    instance.handled(Code::Ok, Duration::from_millis(3));
    instance.handled(Code::Unavailable, Duration::from_millis(30));
    cluster.retried("connect_failed");
    cluster.keyless();
    cluster.registered("added");
    cluster.heartbeat("acknowledged");
    cluster.unregistered("removed");
    cluster.forwarded("ok");
    cluster.checked("passed");
    cluster.written("ok");
    cluster.schema_fetched("new");
    cluster.schema_incompatible(1);
    let schema = cluster.schema_digest("5d41402a");
    drop(cluster.schema_digest("it was in use once"));
    let mut upstream = cluster.connection();
    upstream.turn(ConnectionState::Ready);
    metrics.set_generation(1);
    metrics.access_dropped().add(2);
    let held = (metrics.method("x", "y").begin(), listener.connection(), instance, upstream, schema);
    (metrics, held)
}

#[test]
fn open_metrics_page() {
    let (metrics, _held) = busy();
    let page = page(&metrics, Format::OpenMetrics);
    assert!(page.ends_with("# EOF\n"));
    insta::assert_snapshot!(ours(&page));
}

#[test]
fn prometheus_page_declares_counters_with_their_suffix() {
    let (metrics, _held) = busy();
    let page = page(&metrics, Format::Prometheus);
    for line in [
        "# TYPE grpc_server_handled_total counter",
        "# TYPE grpc_server_handling_seconds histogram",
        "# TYPE portunus_open_calls gauge",
        "# TYPE process_cpu_seconds_total counter",
        "portunus_open_calls 1",
        "portunus_instances{cluster=\"agents\",state=\"healthy\"} 3",
    ] {
        assert!(page.lines().any(|there| there == line), "missing: {line}\n{page}");
    }
    assert!(!page.contains("# EOF"), "only OpenMetrics ends so");
    // Every sample belongs to a family that was declared just so: an undeclared one would be untyped.
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(page.contains(&format!("# TYPE {bare} ")), "undeclared: {name}");
    }
}

#[test]
fn a_strangers_names_are_never_on_the_page() {
    let (metrics, _held) = busy();
    let page = page(&metrics, Format::Prometheus);
    assert!(!page.contains("a\\\"b"), "{page}");
    assert!(
        page.contains(
            "grpc_server_started_total{grpc_service=\"_other\",grpc_method=\"_other\",grpc_type=\"unknown\"} 2"
        )
    );
}

#[test]
fn an_instances_series_go_with_its_handle() {
    let metrics = Metrics::new();
    let cluster = metrics.cluster("agents");
    let instance = cluster.instance("127.0.0.1:4001");
    let again = cluster.instance("127.0.0.1:4001");
    instance.handled(Code::Ok, Duration::ZERO);
    again.handled(Code::Ok, Duration::ZERO);
    let series = "portunus_upstream_calls_total{cluster=\"agents\",instance=\"127.0.0.1:4001\",code=\"OK\"} 2";
    drop(instance);
    assert!(page(&metrics, Format::Prometheus).contains(series), "an open call still holds it");
    drop(again);
    let after = page(&metrics, Format::Prometheus);
    assert!(!after.contains("127.0.0.1:4001"));
    assert!(after.contains("portunus_upstream_call_seconds_count{cluster=\"agents\"} 2"), "the cluster's sum stays");
    let back = cluster.instance("127.0.0.1:4001");
    assert_eq!(back.handled_total(Code::Ok), 0, "an instance that comes back starts anew");
}

#[test]
fn a_cluster_and_a_listener_go_with_their_holders() {
    let metrics = Metrics::new();
    let instance = metrics.cluster("gone").instance("10.0.0.1:1");
    let connection = metrics.listener("closed").connection();
    let during = page(&metrics, Format::Prometheus);
    assert!(during.contains("cluster=\"gone\"") && during.contains("listener=\"closed\"} 1"));
    drop((instance, connection));
    let after = page(&metrics, Format::Prometheus);
    assert!(!after.contains("\"gone\"") && !after.contains("\"closed\""), "{after}");
}

#[test]
fn a_connection_is_counted_in_one_state_at_a_time() {
    let metrics = Metrics::new();
    let cluster = metrics.cluster("c");
    let states = || ConnectionState::ALL.map(|state| cluster.connections(state));
    let mut connection = cluster.connection();
    assert_eq!(states(), [1, 0, 0]);
    connection.turn(ConnectionState::Ready);
    assert_eq!(states(), [0, 1, 0]);
    connection.turn(ConnectionState::Draining);
    assert_eq!(states(), [0, 0, 1]);
    drop(connection);
    assert_eq!(states(), [0, 0, 0]);
}
