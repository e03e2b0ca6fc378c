//! `portunus call` and `portunus descriptors pull`, as a person runs them, against real servers and through the proxy.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portunus::{app, config, filters};
use portunus_agents::{bindu, echo, openastra};
use tokio::task::spawn_blocking;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a command of the binary.
async fn portunus(arguments: &[&str], stdin: &str) -> Said {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let stdin = stdin.to_owned();
    let run = move || -> std::io::Result<Output> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portunus"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // One that does not read stdin may have ended before this.
        drop(child.stdin.take().map(|mut to| to.write_all(stdin.as_bytes())));
        child.wait_with_output()
    };
    let output = spawn_blocking(run).await.unwrap().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    Said { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

async fn call(address: &str, method: &str, more: &[&str], stdin: &str) -> Said {
    portunus(&[&["call", address, method], more].concat(), stdin).await
}

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/protos")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_with_json_in_and_out() {
    let server = echo::Server::start(echo::Options::default()).await.unwrap();
    let address = server.address().to_string();
    let one = call(&address, "portunus.test.Echo/Unary", &["-d", r#"{"text": "hi", "count": 3}"#], "").await;
    assert_eq!((one.code, one.out.as_str()), (0, "{\"count\":3,\"text\":\"hi\"}\n"), "{}", one.err);
    let many = call(&address, "portunus.test.Echo.ServerStream", &["-d", r#"{"count": 3, "text": "x"}"#], "").await;
    assert_eq!(many.out.lines().count(), 3, "{}", many.err);
    assert!(many.out.lines().last().unwrap().contains("\"index\":2"), "{}", many.out);
    let lines = "{\"text\": \"a\"}\n\n{\"text\": \"b\"}\n";
    let last = call(&address, "portunus.test.Echo/ClientStream", &[], lines).await;
    assert!(last.out.contains("\"count\":2") && last.code == 0, "{} {}", last.out, last.err);
    let both = call(&address, "portunus.test.Echo/Bidi", &["-d", r#"{"text":"a"}{"text":"b"} {"text":"c"}"#], "").await;
    assert_eq!(both.out.lines().count(), 3, "{}", both.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_the_status_and_the_error_says_what_to_do() {
    let server = echo::Server::start(echo::Options::default()).await.unwrap();
    let address = server.address().to_string();
    let unary = "portunus.test.Echo/Unary";
    for (method, more, code, says) in [
        ("portunus.test.Echo/Nope", &[][..], 12, "it has: Unary, ClientStream, ServerStream, Bidi"),
        ("portunus.test.Nope/X", &[], 12, "there are: portunus.test.Echo"),
        ("Unary", &[], 3, "write package.Service/Method"),
        (unary, &["-d", r#"{"txt": "a"}"#], 3, "unknown field \"txt\" on message portunus.test.Chunk"),
        (unary, &["-d", "{"], 3, "no portunus.test.Chunk in JSON"),
        (unary, &["-H", "no colon"], 3, "NAME:VALUE"),
        (unary, &["-H", "bad name: x"], 3, "cannot be sent"),
        ("portunus.test.Echo/ServerStream", &["-d", r#"{"count": 9, "gapUs": 900000}"#, "--timeout", "300ms"], 4, ""),
        (
            "portunus.test.Echo/ClientStream",
            &["-d", r#"{"text": "a"} {"count": "x"}"#],
            3,
            "no portunus.test.Chunk in JSON",
        ),
    ] {
        let said = call(&address, method, more, "").await;
        assert_eq!(said.code, code, "{method} {more:?}: {}", said.err);
        assert!(said.err.contains(says), "{method} {more:?}: {}", said.err);
    }
    let nobody = call("127.0.0.1:1", unary, &[], "").await;
    assert!(nobody.code == 14 && nobody.err.contains("refused"), "{}", nobody.err);
    let secret = call(&address, unary, &["-H", "x-key\u{1}: hunter2"], "").await;
    assert!(secret.code == 3 && !secret.err.contains("hunter2"), "{}", secret.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_files_where_there_is_no_reflection_and_through_the_proxy() {
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let astra = openastra::Server::start(portunus_agents::Options::default()).await.unwrap();
    let text = format!(
        "workers: 1\nadmin: {{address: 127.0.0.1:0}}\nclusters:\n  a: {{endpoints: [{}]}}\n  b: {{endpoints: [{}]}}\nlisteners:\n  \
         edge:\n    address: 127.0.0.1:0\n    routes: [{{match: {{service: bindu.grpc.AgentHandler}}, cluster: a}}, {{match: {{headers: {{x-key: \"1\"}}}}, cluster: b}}]\n",
        agent.address(),
        astra.address()
    );
    let loaded = config::load_str(&text, Path::new("call.yaml"), &|_| None, filters::ALL).unwrap();
    let proxy = app::start(loaded).await.unwrap();
    let address = proxy.address("edge").unwrap().to_string();
    let ask = r#"{"messages": [{"role": "user", "content": "2 + 3"}]}"#;
    let method = "bindu.grpc.AgentHandler/HandleMessages";

    let without = call(&agent.address().to_string(), method, &["-d", ask], "").await;
    assert!(without.code == 12 && without.err.contains("--proto"), "{}", without.err);
    let proto = protos().join("bindu/agent_handler.proto");
    let by_proto = call(&address, method, &["--proto", proto.to_str().unwrap(), "-d", "@"], ask).await;
    assert!(by_proto.code == 0 && by_proto.out.contains("2 + 3 is 5"), "{} {}", by_proto.out, by_proto.err);

    // The rest by the reflection of the backend behind the proxy.
    let folder = std::env::temp_dir().join(format!("portunus-call-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let set = folder.join("astra.bin");
    let keyless = portunus(&["descriptors", "pull", &address, "-o", set.to_str().unwrap()], "").await;
    assert!(
        keyless.code == 1 && !set.exists(),
        "questions for the schema need the metadata of the call: {}",
        keyless.err
    );
    let pulled = portunus(&["descriptors", "pull", &address, "-H", "x-key: 1", "-o", set.to_str().unwrap()], "").await;
    assert!(pulled.code == 0 && pulled.out.contains("sha256:"), "{} {}", pulled.out, pulled.err);
    let again = portunus(&["descriptors", "pull", &astra.address().to_string(), "-o", set.to_str().unwrap()], "").await;
    assert_eq!(pulled.out, again.out, "the same schema has the same digest");
    let reflected = call(&address, "openastra.AgentService/Nope", &["-H", "x-key:1"], "").await;
    assert!(
        reflected.code == 12 && reflected.err.contains("openastra.AgentService has no method"),
        "{}",
        reflected.err
    );
    let pinned = call(&address, "openastra.AgentService/Nope", &["--descriptors", set.to_str().unwrap()], "").await;
    assert!(pinned.code == 12 && pinned.err.contains("openastra.AgentService has no method"), "{}", pinned.err);
    let missing = call(&address, method, &["--descriptors", "/nowhere.bin"], "").await;
    assert!(missing.code == 12 && missing.err.contains("/nowhere.bin"), "{}", missing.err);
    std::fs::remove_dir_all(folder).unwrap();
    proxy.drain(std::time::Duration::from_secs(1)).await;
}

/// An authority, and what it signed: the files that the command is given.
struct Authority {
    certificate: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        Self { certificate: rcgen::CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A certificate for a name, and its key.
    fn signs(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.certificate).unwrap().pem(), key.serialize_pem())
    }
}

/// A server with nothing but reflection, which wants certificates of its callers.
async fn tls_server(identity: (String, String), callers: &Authority) -> std::net::SocketAddr {
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(identity.0, identity.1))
        .client_ca_root(Certificate::from_pem(callers.pem()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
        .build_v1()
        .unwrap();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().tls_config(tls).unwrap().add_service(reflection);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls_with_certificates_of_both_ends() {
    let folder = std::env::temp_dir().join(format!("portunus-call-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (servers, callers, others) = (Authority::new("servers"), Authority::new("callers"), Authority::new("others"));
    let address = tls_server(servers.signs("portunus.test"), &callers).await.to_string();
    let (cert, key) = callers.signs("me");
    let (other_cert, other_key) = others.signs("me");
    let (ca, other_ca) = (write("ca.pem", &servers.pem()), write("other-ca.pem", &others.pem()));
    let (cert, key) = (write("cert.pem", &cert), write("key.pem", &key));
    let (other_cert, other_key) = (write("other.pem", &other_cert), write("other-key.pem", &other_key));
    let list = |more: Vec<&str>| {
        let method = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let mut all: Vec<String> =
            ["call", &address, method, "-d", r#"{"listServices": ""}"#].map(str::to_owned).into();
        all.extend(more.into_iter().map(str::to_owned));
        async move { portunus(&all.iter().map(String::as_str).collect::<Vec<_>>(), "").await }
    };
    let name = ["--authority", "portunus.test"];
    let good = list([&["--cacert", &ca, "--cert", &cert, "--key", &key][..], &name].concat()).await;
    assert!(good.code == 0 && good.out.contains("grpc.reflection.v1.ServerReflection"), "{} {}", good.out, good.err);
    for (what, more, code) in [
        ("no certificate of the caller", [&["--cacert", &ca][..], &name].concat(), 14),
        (
            "one of another authority",
            [&["--cacert", &ca, "--cert", &other_cert, "--key", &other_key][..], &name].concat(),
            14,
        ),
        (
            "a server of another authority",
            [&["--cacert", &other_ca, "--cert", &cert, "--key", &key][..], &name].concat(),
            14,
        ),
        ("another name", vec!["--cacert", &ca, "--cert", &cert, "--key", &key], 14),
        ("plaintext", vec![], 14),
        ("no such file", [&["--cacert", "/nowhere.pem"][..], &name].concat(), 3),
        ("a certificate without a key", vec!["--cert", &cert], 2),
    ] {
        let said = list(more).await;
        assert_eq!(said.code, code, "{what}: {} {}", said.out, said.err);
        assert_eq!(said.err.contains("if the server wants TLS"), what == "plaintext", "{what}: {}", said.err);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_that_is_refused_ends_with_that_status() {
    let guarded = |filter: &str| {
        let text = format!(
            "workers: 1\nadmin: {{address: 127.0.0.1:0}}\nissuers:\n  idp: {{issuer: a, audiences: [a], jwks: {{url: \"http://127.0.0.1:1/keys\"}}}}\n\
             clusters:\n  a: {{endpoints: [127.0.0.1:1]}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    serve: [reflection]\n    \
             filters: [{filter}]\n    routes: [{{cluster: a}}]\n"
        );
        config::load_str(&text, Path::new("call.yaml"), &|_| None, filters::ALL).unwrap()
    };
    for (filter, code, says) in [
        ("jwt: {issuers: [idp]}", 16, "say who you are with --token"),
        ("authz: {allow: 'peer.address == \"10.9.9.9\"'}", 7, "show another --token"),
    ] {
        let proxy = app::start(guarded(filter)).await.unwrap();
        let address = proxy.address("edge").unwrap().to_string();
        let said = call(&address, "portunus.test.Echo/Unary", &[], "").await;
        assert!(
            said.code == code && said.err.contains(says) && said.err.contains("--proto"),
            "{filter}: {} {}",
            said.code,
            said.err
        );
    }
}
