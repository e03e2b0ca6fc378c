//! What the files in tests/malformed cannot say: positions asked for later, defaults, secrets, and time.

use std::fmt::Write;

use super::*;
use crate::path;

const SMALL: &str = "
clusters:
  a: {registry: {}}
listeners:
  edge:
    address: 127.0.0.1:8443
    routes:
      - cluster: a
        filters: []
";

fn read(text: &str) -> Result<Loaded, Errors> {
    let environment = |name: &str| (name == "SECRET").then(|| "hunter2".to_owned());
    load_str(text, FilePath::new("conf/portunus.yaml"), &environment, &[])
}

#[test]
fn a_source_finds_what_is_asked_for_later() {
    let Loaded { config, source } = read(SMALL).unwrap();
    let at = |path: &Path| {
        let Position { line, column, .. } = source.position(path);
        (line, column)
    };
    assert_eq!(at(&path!["listeners", "edge", "routes", 0, "cluster"]), (8, 18));
    assert_eq!(at(&path!["listeners", "edge", "routes", 0]), (8, 9));
    assert_eq!(at(&path!["listeners", "edge"]), (5, 3));
    // Defaults stand where they would be written.
    assert_eq!(at(&path!["listeners", "edge", "limits", "streams"]), (5, 3));
    assert_eq!(at(&path!["workers"]), (2, 1));
    assert_eq!(source.resolve(FilePath::new("keys/a.pem")), FilePath::new("conf/keys/a.pem"));
    assert_eq!(source.resolve(FilePath::new("/a.pem")), FilePath::new("/a.pem"));
    let errors = source.errors(vec![
        source.error_at(&path!["listeners", "edge", "routes", 0, "cluster"], "later"),
        source.error_at(&path!["clusters", "a"], "first"),
    ]);
    let text = "conf/portunus.yaml:3:3: clusters.a: first\n\
                conf/portunus.yaml:8:18: listeners.edge.routes[0].cluster: later";
    assert_eq!(errors.to_string(), text);
    assert!(matches!(config.clusters["a"].members(), Some(Members::Registry(_))));
    assert_eq!(config.listeners["edge"].routes[0].target(), Some(Target::Cluster("a")));
}

#[test]
fn defaults_are_those_of_the_design() {
    let config = read(SMALL).unwrap().config;
    let seconds = |period: filter_api::units::Period| period.0.as_secs();
    assert!(config.workers >= 1);
    assert_eq!(
        (config.admin.address.to_string().as_str(), config.state, config.access_log),
        ("127.0.0.1:9901", None, None)
    );
    let cluster = &config.clusters["a"];
    assert_eq!(cluster.balance, Balance::LeastRequest);
    assert_eq!(cluster.limits, ClusterLimits { connections: 8, requests: 1024, pending: 256 });
    let health = cluster.health.as_ref().unwrap();
    assert_eq!((seconds(health.interval), seconds(health.timeout)), (10, 2));
    assert_eq!((health.unhealthy_after, health.healthy_after), (2, 1));
    let registry = cluster.registry.as_ref().unwrap();
    assert_eq!((seconds(registry.lease), seconds(registry.forget)), (90, 86_400));
    let limits = &config.listeners["edge"].limits;
    assert_eq!((limits.connections, limits.streams), (10_000, 256));
    assert_eq!((limits.message.0, limits.headers.0, limits.buffered.0), (4 << 20, 64 << 10, 64 << 20));
    assert_eq!((seconds(limits.handshake), seconds(limits.idle), seconds(limits.connection_age)), (10, 3600, 0));
    assert_eq!(limits.response_message, None);
}

#[test]
fn no_message_shows_what_came_from_the_environment() {
    for value in
        ["cluster: ${SECRET}", "cluster: \"x${SECRET}\"", "timeout: ${SECRET}", "match: {method: \"${SECRET}/M\"}"]
    {
        let text = SMALL.replace("cluster: a\n", &format!("{value}\n"));
        let errors = read(&text).unwrap_err().to_string();
        assert!(errors.contains("${SECRET}"), "{value}: {errors}");
        assert!(!errors.contains("hunter2"), "{value}: {errors}");
    }
    // Messages of whoever builds from it later.
    let source = read(&SMALL.replace("[]", "[]\n        match: {headers: {x: \"${SECRET}\"}}")).unwrap().source;
    let path = path!["listeners", "edge", "routes", 0, "match", "headers", "x"];
    let problem = source.error_at(&path, "invalid value: string \"hunter2\" or hunter2");
    assert_eq!(problem.message, "invalid value: string \"${SECRET}\" or ${SECRET}");
}

#[test]
fn errors_are_cut_where_nobody_reads_on() {
    let mut text = SMALL.to_owned();
    for number in 0..1000 {
        writeln!(text, "unknown{number}: 1").unwrap();
    }
    let errors = read(&text).unwrap_err();
    assert_eq!(errors.problems().len(), 1000);
    assert_eq!(errors.to_string().lines().count(), 101);
    assert!(errors.to_string().ends_with("portunus.yaml: and 900 more"), "{errors}");
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let folder = std::env::temp_dir();
    let file = folder.join(format!("portunus-{}.yaml", std::process::id()));
    std::fs::write(&file, [0xff, 0xfe, b'a']).unwrap();
    let latin = load(&file, &|_| None, &[]).unwrap_err().to_string();
    std::fs::write(&file, SMALL).unwrap();
    let fine = load(&file, &|_| None, &[]);
    std::fs::remove_file(&file).unwrap();
    assert!(latin.contains("is not UTF-8"), "{latin}");
    assert!(fine.is_ok());
    let errors = load(&folder, &|_| None, &[]).unwrap_err().to_string();
    assert!(errors.contains("is a folder"), "{errors}");
}

/// Ten thousand clusters, listeners and routes, and as many errors: what takes time in the square of that takes minutes.
#[test]
fn large_files_take_linear_time() {
    const MANY: usize = 10_000;
    let mut text = "clusters:\n".to_owned();
    for number in 0..MANY {
        writeln!(text, "  c{number}: {{endpoints: [127.0.0.1:50051]}}").unwrap();
    }
    text.push_str("listeners:\n");
    for number in 0..MANY {
        let (host, port) = (number / 250, number % 250 + 1);
        writeln!(text, "  l{number}: {{address: 127.0.{host}.{port}:8443, routes: [{{cluster: c{number}}}]}}").unwrap();
    }
    text.push_str("  many:\n    address: 127.0.0.1:1\n    routes:\n");
    for number in 0..MANY {
        writeln!(text, "      - {{cluster: c{number}, match: {{service: a.S{number}}}}}").unwrap();
    }
    let started = tokio::time::Instant::now();
    assert!(read(&text).is_ok());
    let wrong = text.replace("cluster: c", "cluster: x").replace("endpoints: ", "endpoint: ");
    let errors = read(&wrong).unwrap_err();
    assert_eq!(errors.problems().len(), 3 * MANY);
    assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
}

/// The schema and the types could come apart; then the types' own words get a place.
#[test]
fn what_only_the_types_refuse_has_its_place_too() {
    let source = read(SMALL).unwrap().source;
    let mut value = shape::check(source.root(), &compose(&[])).value.unwrap();
    value["listeners"]["edge"]["routes"][0]["cluster"] = serde_json::json!(3);
    let error = serde_path_to_error::deserialize::<_, Config>(value).unwrap_err();
    let problem = residual(&source, &error);
    assert_eq!(
        (problem.at, problem.path.to_string().as_str()),
        (Position { file: 0, line: 8, column: 18 }, "listeners.edge.routes[0].cluster")
    );
    assert!(problem.message.contains("expected a string"), "{}", problem.message);
}
