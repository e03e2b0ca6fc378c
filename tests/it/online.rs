//! `check --online`, the command itself, over real sockets: whom it dials, what it says, and how long it takes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use portunus::{app, config, filters};
use tokio::process::Command;
use tokio::time::Instant;

use crate::harness::{Folder, KeyServer, Manner, Reflecting, Signer, refused_port, set, silent_port};

fn proto(fields: &str) -> String {
    format!("syntax = \"proto3\"; package t; service S {{ rpc M(R) returns (R); }} message R {{ {fields} }}")
}

fn one() -> String {
    proto("string secret = 1; string name = 2;")
}

fn renumbered() -> String {
    proto("string secret = 3; string name = 2;")
}

/// What the command said.
struct Said {
    code: i32,
    out: String,
    err: String,
    took: Duration,
}

/// A folder with a configuration; it goes with this.
struct Site(Folder);

impl Site {
    fn new(yaml: &str) -> Self {
        let folder = Folder::new(&format!("online-{}", uuid::Uuid::new_v4()));
        folder.write("c.yaml", yaml);
        Self(folder)
    }

    async fn check(&self, how: &[&str]) -> Said {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_portunus"));
        command.current_dir(self.0.path()).args(["check", "-c", "c.yaml"]).args(how);
        let output = command.output().await.unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
            took: begun.elapsed(),
        }
    }
}

/// One cluster `echo` with a route to it: the cluster's keys and the route's are in lines 4 and 8.
fn yaml(instances: &[SocketAddr], cluster: &str, route: &str) -> String {
    let addresses: Vec<_> = instances.iter().map(ToString::to_string).collect();
    format!(
        "clusters:\n  echo:\n    endpoints: [{}]\n    {cluster}\nlisteners:\n  edge:\n    address: 127.0.0.1:1\n    \
         routes: [{{{route}cluster: echo}}]\n",
        addresses.join(", ")
    )
}

const PLAIN: &str = "balance: round_robin";
const WHEN: &str = "match: {when: 'message.name == \"x\"'}, ";
const REDACT: &str = "filters: [{redact: {request: [secret]}}], ";

async fn online(instances: &[SocketAddr], cluster: &str, route: &str) -> Said {
    Site::new(&yaml(instances, cluster, route)).check(&["--online"]).await
}

#[tokio::test]
async fn all_is_well() {
    let (a, b) = (Reflecting::with(&one()).await, Reflecting::start(Manner::Alpha(set(&one()))).await);
    let said = online(&[a.address(), b.address()], PLAIN, WHEN).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let lines: Vec<_> = said.out.lines().collect();
    for address in [a.address(), b.address()] {
        let begin = format!("clusters.echo: {address}: schema sha256:");
        assert!(lines.iter().any(|line| line.starts_with(&begin) && line.ends_with(": t.S (reflection)")), "{lines:?}");
    }
    assert_eq!(lines.last(), Some(&"c.yaml: ok (1 listener, 1 route, 1 cluster)"));
    assert!(
        said.err.lines().all(|line| line.starts_with("warning: clusters.echo: policies read messages")),
        "{}",
        said.err
    );
    let defaults = Site::new(&yaml(&[a.address()], PLAIN, WHEN)).check(&["--online", "--defaults"]).await;
    assert_eq!(defaults.code, 0, "{}", defaults.err);
    assert!(defaults.out.contains("balance: round_robin") && !defaults.out.contains("sha256"), "{}", defaults.out);
}

#[tokio::test]
async fn without_it_nobody_is_dialled_and_with_it_nothing_is_bound() {
    let (listener, address) = silent_port();
    listener.set_nonblocking(true).unwrap();
    let site = Site::new(&yaml(&[address], PLAIN, WHEN).replace("127.0.0.1:1\n", &format!("{address}\n")));
    let said = site.check(&[]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let nobody = listener.accept().err().map(|error| error.kind());
    assert_eq!(nobody, Some(std::io::ErrorKind::WouldBlock));
    // Its own listener's address is taken, which it does not notice.
    let said = site.check(&["--online"]).await;
    assert!(said.code == 2 && said.err.contains("cannot be reached: no answer within 5 s"), "{}", said.err);
    assert!(!said.err.contains("listen"), "{}", said.err);
    listener.accept().unwrap();
}

#[tokio::test]
async fn who_does_not_answer_is_named_with_its_place() {
    let up = Reflecting::with(&one()).await;
    let none = Reflecting::start(Manner::None).await;
    let down = refused_port();
    let said = online(&[up.address(), none.address(), down], PLAIN, "").await;
    assert_eq!(said.code, 2);
    let column = format!("    endpoints: [{}, {}, ", up.address(), none.address()).len() + 1;
    let wanted = format!(
        "c.yaml:3:{column}: clusters.echo.endpoints[2]: {down} cannot be reached: the connection was refused\n"
    );
    assert_eq!(said.err, wanted, "and that is all");
    assert!(said.out.contains(&format!("{} answers; it has no server reflection\n", none.address())), "{}", said.out);
    assert!(!said.out.contains(": ok ("), "{}", said.out);

    // Where messages are read, one without a schema is an error.
    let said = online(&[up.address(), none.address()], PLAIN, WHEN).await;
    let wanted = format!(
        "clusters.echo.endpoints[1]: {} gives no schema, and listeners.edge.routes[0].match.when reads its messages: no server \
         reflection",
        none.address()
    );
    assert!(said.code == 2 && said.err.contains(&wanted), "{}", said.err);
}

#[tokio::test]
async fn a_field_that_is_not_there_is_named_with_place_and_instance() {
    let instance = Reflecting::with(&one()).await;
    let address = instance.address();
    let said = online(&[address], PLAIN, "match: {when: 'message.nam == \"x\"'}, ").await;
    assert_eq!(said.code, 2);
    let column = "    routes: [{match: {when: ".len() + 1;
    let wanted = format!("c.yaml:8:{column}: listeners.edge.routes[0].match.when: at {address}, t.S/M: ");
    let line = said.err.lines().find(|line| line.starts_with(&wanted)).unwrap_or_else(|| panic!("{}", said.err));
    assert!(line.contains("t.R has no field `nam`") && line.contains("`name`"), "{line}");

    let keys = "balance: ring_hash\n    hash_by: {\"*/M\": message.nam, default: 'metadata[\"k\"]'}";
    let said = online(&[address], keys, "").await;
    assert!(said.err.contains(&format!("clusters.echo.hash_by.*/M: at {address}, t.S/M: ")), "{}", said.err);
    let column = "    hash_by: {\"*/M\": ".len() + 1;
    assert!(said.err.contains(&format!("c.yaml:5:{column}: ")), "{}", said.err);

    let said = online(&[address], PLAIN, "filters: [{redact: {request: [secrets]}}], ").await;
    let wanted = format!("listeners.edge.routes[0].filters[0].redact: at {address}, t.S/M: ");
    assert!(said.code == 2 && said.err.contains(&wanted), "{}", said.err);

    let said = online(&[address], PLAIN, "match: {service: t.Q, when: 'message.name == \"x\"'}, ").await;
    let wanted = "listeners.edge.routes[0].match.when: reads messages of methods that no schema of clusters.echo has\n";
    assert!(said.code == 2 && said.err.contains(wanted), "{}", said.err);

    let said = online(&[address], "schema: {reflection: false}", WHEN).await;
    let wanted =
        "reads messages, and nobody says what those are: clusters.echo.schema has neither `files` nor reflection\n";
    assert!(said.code == 2 && said.err.contains(wanted), "{}", said.err);
    assert!(said.out.contains(&format!("{address} answers; not asked (`reflection: false`)\n")), "{}", said.out);
}

#[tokio::test]
async fn two_schemas_of_one_cluster_are_compared_and_judged_by_each_other() {
    let old = [Reflecting::with(&one()).await, Reflecting::with(&one()).await];
    let new = Reflecting::with(&renumbered()).await;
    let addresses = [old[0].address(), new.address(), old[1].address()];
    let said = online(&addresses, PLAIN, "").await;
    assert_eq!(said.code, 0, "nobody reads messages: {}", said.err);
    let drift = format!("warning: clusters.echo: {}, unlike ", new.address());
    let line = said.err.lines().find(|line| line.starts_with(&drift)).unwrap_or_else(|| panic!("{}", said.err));
    assert!(line.contains("field t.R.secret renumbered") && line.ends_with("which breaks on the wire"), "{line}");
    assert!(line.contains(&old[0].address().to_string()) && line.contains(&old[1].address().to_string()), "{line}");

    let said = online(&addresses, PLAIN, REDACT).await;
    let wanted = format!("listeners.edge.routes[0].filters[0].redact: at {}, t.S/M: ", new.address());
    let line = said.err.lines().find(|line| line.contains(&wanted)).unwrap_or_else(|| panic!("{}", said.err));
    assert!(said.code == 2 && line.ends_with("`secret` has the number 3, and the accepted definition has 1"), "{line}");
}

#[tokio::test]
async fn files_are_compared_with_what_instances_serve() {
    let new = Reflecting::with(&renumbered()).await;
    for mode in ["verify", "pinned"] {
        let schema = format!("schema: {{files: [t.proto], mode: {mode}}}");
        let site = Site::new(&yaml(&[new.address()], &schema, ""));
        site.0.write("t.proto", one());
        let said = site.check(&["--online"]).await;
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.out.contains("clusters.echo: files: schema sha256:"), "{}", said.out);
        let drift = format!("{}, unlike the files: field t.R.secret renumbered", new.address());
        assert!(said.err.contains(&drift), "{}", said.err);

        site.0.write("c.yaml", yaml(&[new.address()], &schema, REDACT));
        let said = site.check(&["--online"]).await;
        let wanted = format!("redact: at {}, t.S/M: `secret` has the number 3", new.address());
        assert!(said.code == 2 && said.err.contains(&wanted), "{mode}: {}", said.err);
        assert_eq!(site.check(&[]).await.code, 0, "the file by itself is right");
    }
    // Whoever has no reflection is why there are files.
    let none = Reflecting::start(Manner::None).await;
    let site = Site::new(&yaml(&[none.address()], "schema: {files: [t.proto]}", REDACT));
    site.0.write("t.proto", one());
    let said = site.check(&["--online"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
}

#[tokio::test]
async fn names_and_cores_are_dialled_and_nothing_is_registered() {
    let (instance, core) = (Reflecting::with(&one()).await, Reflecting::start(Manner::None).await);
    let text = |core: SocketAddr| {
        format!(
            "state: memory\nclusters:\n  named: {{dns: {{name: localhost, port: {}}}}}\n  lost: {{dns: {{name: no.such.invalid, port: 1}}}}
  agents: {{registry: {{core: \"{core}\", callback: \"{{agent}}.localhost:3790\"}}}}
listeners:\n  edge:\n    address: 127.0.0.1:1\n    routes:
      - {{match: {{service: bindu.grpc.AgentHandler, when: 'message.messages[0].rol == \"x\"'}}, cluster: agents}}\n",
            instance.address().port()
        )
    };
    let said = Site::new(&text(core.address())).check(&["--online"]).await;
    assert_eq!(said.code, 2);
    let served = format!("clusters.named: {}: schema sha256:", instance.address());
    let registered =
        format!("clusters.agents: the core {} answers; its instances are those that register", core.address());
    assert!(said.out.contains(&served) && said.out.contains(&registered), "{}{}", said.out, said.err);
    assert_eq!(core.calls(), 0);
    assert!(said.err.contains("clusters.lost.dns.name: `no.such.invalid` cannot be looked up: "), "{}", said.err);
    let wanted = "match.when: with the contract that comes with Portunus, bindu.grpc.AgentHandler/HandleMessages: ";
    assert!(said.err.contains(wanted), "{}", said.err);
    let said = Site::new(&text(refused_port())).check(&["--online"]).await;
    let wanted = format!("clusters.agents.registry.core: the core {} cannot be reached: ", refused_port());
    assert!(said.err.contains(&wanted), "{}", said.err);
}

/// Silent servers, endless ones and slow ones hold nobody up for long, and the others are asked all the same.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_servers_are_bounded_in_time() {
    let good = Reflecting::with(&one()).await;
    let manners = [Manner::Drip, Manner::Silent, Manner::Endless, Manner::Huge];
    let mut servers = Vec::new();
    for manner in manners {
        servers.push(Reflecting::start(manner).await);
    }
    let (_held, silent) = silent_port();
    let mut text = String::from("clusters:\n");
    for (index, address) in servers.iter().map(Reflecting::address).chain([silent, good.address()]).enumerate() {
        text += &format!("  c{index}: {{endpoints: [\"{address}\"]}}\n");
    }
    text += "listeners:\n  edge: {address: \"127.0.0.1:1\", routes: [{cluster: c5}]}\n";
    let site = Site::new(&text);
    let said = site.check(&["--online"]).await;
    assert!(said.took < Duration::from_secs(25), "{:?}", said.took);
    assert!(said.out.contains(&format!("clusters.c5: {}: schema sha256:", good.address())), "{}", said.out);
    let errors: Vec<_> = said.err.lines().filter(|line| !line.starts_with("warning: ")).collect();
    assert!(said.code == 2 && errors.len() == 1, "only who does not answer at all: {}", said.err);
    assert!(errors[0].contains(&format!("{silent} cannot be reached: no answer within 5 s")), "{errors:?}");
    let warned = |cluster: &str, words: &str| {
        said.err.lines().any(|line| line.contains(&format!("clusters.{cluster}: ")) && line.contains(words))
    };
    assert!(warned("c0", "10 seconds") && warned("c1", "10 seconds") && warned("c2", "2000"), "{}", said.err);

    // The whole of it has a bound too.
    let loaded = config::load_str(&text, Path::new("c.yaml"), &|_| None, filters::ALL).unwrap();
    let snapshot = app::build(&loaded).unwrap();
    let begun = Instant::now();
    let within = Duration::from_millis(1500);
    let findings = app::online::look(&loaded, &snapshot, within).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let late = |text: &str, words: &str| text.contains(words) && text.contains("within 1.5s");
    assert!(findings.warnings.iter().any(|text| late(text, "clusters.c0")), "{findings:?}");
    assert!(findings.wrong.iter().any(|problem| late(&problem.message, &silent.to_string())), "{findings:?}");
    assert!(findings.reached.iter().any(|text| text.contains("clusters.c5")), "{findings:?}");
}

#[tokio::test]
async fn keys_of_issuers_are_fetched_and_told_of() {
    let one = Reflecting::with(&one()).await;
    let with = |url: &str, more: &str| {
        let issuer = format!("issuers:\n  idp: {{issuer: idp, audiences: [a], {more}jwks: {{url: \"{url}\"}}}}\n");
        Site::new(&(issuer + &yaml(&[one.address()], PLAIN, "")))
    };
    let signer = Signer::new("ES256", "first");
    let server = KeyServer::start(signer.set()).await;
    let said = with(&server.url(), "").check(&["--online"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.lines().any(|line| line == "issuers.idp.jwks.url: keys `first` (ES256)"), "{}", said.out);
    // What is left out is said, and why.
    let secret = r#"{"keys": [{"kty": "oct", "k": "AAAA"}, "#;
    server.publish(signer.set().replacen(r#"{"keys":["#, secret, 1), Duration::ZERO);
    let said = with(&server.url(), "").check(&["--online"]).await;
    assert!(
        said.code == 0 && said.err.contains("keys[0] is not used: secrets do not belong into a key set"),
        "{}",
        said.err
    );
    let said = with(&server.url(), "algorithms: [RS256], ").check(&["--online"]).await;
    assert!(said.code == 2 && said.err.contains("issuers.idp.jwks.url: none of its keys can be used"), "{}", said.err);
    assert!(said.err.contains("`first` is for none of the issuer's `algorithms`"), "{}", said.err);
    server.publish("<html>", Duration::ZERO);
    let said = with(&server.url(), "").check(&["--online"]).await;
    assert!(said.code == 2 && said.err.contains("its keys cannot be had: it is no JSON object"), "{}", said.err);
    let said = with(&format!("http://{}/keys", refused_port()), "").check(&["--online"]).await;
    assert!(said.code == 2 && said.err.contains("c.yaml:2:"), "{}", said.err);
    assert!(said.err.contains("issuers.idp.jwks.url: its keys cannot be had"), "{}", said.err);
}
