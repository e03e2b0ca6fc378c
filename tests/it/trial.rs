//! `POST /config/check`: a configuration is tried on a proxy that runs, and nothing of it is changed.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;

use portunus_agents::echo::Server;
use serde_json::{Value, json};

use crate::harness::{Ask, Caller, Folder, Process, chunk, echo, free_addresses, post_body, running};

/// A proxy that runs from a file in a folder.
struct Run {
    folder: Folder,
    process: Process,
    text: String,
    /// Answers calls.
    _instance: Server,
}

impl Run {
    async fn new(name: &str, more: &str) -> Self {
        let (folder, instance) = (Folder::new(&format!("trial-{name}")), echo("a").await);
        let [admin, edge] = free_addresses();
        let text = format!(
            "admin: {{address: {admin}}}\nclusters: {{c: {{endpoints: [\"{}\"], schema: {{reflection: false}}}}}}\n\
             listeners:\n  edge:\n    address: {edge}\n    routes: [{{cluster: c}}]\n{more}",
            instance.address()
        );
        let file = folder.write("proxy.yaml", &text);
        let mut command = running(file);
        command.env("SECRET_OF_TRIAL", "hunter2hunter2");
        let mut process = Process::spawn(command, &folder.at("log"), admin);
        process.until_ready(200).await;
        Self { folder, process, text, _instance: instance }
    }

    fn with(&self, more: &str) -> String {
        format!("{}{more}", self.text)
    }

    async fn check(&self, text: &str) -> (u16, Value) {
        check(self.process.admin, text).await
    }

    /// The first error of a text that is refused: its file, line, and all of it.
    async fn refused(&self, text: &str) -> (String, u64, String) {
        let (status, trial) = self.check(text).await;
        assert_eq!((status, &trial["ok"], &trial["changes"]), (422, &json!(false), &json!([])), "{trial}");
        let error = &trial["errors"][0];
        (error["file"].as_str().unwrap().to_owned(), error["line"].as_u64().unwrap(), error.to_string())
    }

    async fn end(self) {
        let status = self.process.json("/config/status").await;
        assert_eq!((&status["generation"], &status["last_error"]), (&json!(1), &Value::Null), "nothing came of any");
        assert_eq!(self.process.stop().await, Some(0));
    }
}

async fn check(admin: SocketAddr, text: &str) -> (u16, Value) {
    let (status, body) = post_body(admin, "/config/check", text).await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}")))
}

#[tokio::test]
async fn a_configuration_is_tried_and_nothing_changes() {
    let run = Run::new("tried", "").await;
    let before = run.process.json("/config").await;
    let (status, trial) = run.check(&run.text).await;
    assert_eq!((status, &trial), (200, &json!({"ok": true, "errors": [], "warnings": [], "changes": []})));
    // What it would change, and no port is bound for it.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let more =
        format!("  more: {{address: \"{port}\", routes: [{{cluster: c, timeout: 5s}}]}}\ndrain: {{timeout: 9s}}\n");
    let (status, trial) = run.check(&run.with(&more)).await;
    assert_eq!(status, 200, "{trial}");
    assert_eq!(trial["changes"], json!(["drain.timeout was \"30s\" and is \"9s\"", "listener `more` was added"]));
    // JSON is YAML too: what `/config` says can be sent back.
    let (status, trial) = run.check(&before.to_string()).await;
    assert_eq!((status, &trial["changes"]), (200, &json!([])), "{trial}");

    // What is wrong, at its line; and what a reload would not take.
    let (file, line, error) =
        run.refused(&run.with("  more: {address: \"127.0.0.1:0\", routes: [{cluster: nobody}]}\n")).await;
    assert!(file == "body" && line == 7 && error.contains("nobody"), "{error}");
    let (_, _, error) = run.refused(&run.with("workers: 99\n")).await;
    assert!(error.contains("cannot change while the proxy runs"), "{error}");
    for (text, words) in [("", "the file is empty"), ("listeners: [", "not YAML"), ("{}", "listeners")] {
        let (_, _, error) = run.refused(text).await;
        assert!(error.contains(words), "{text}: {error}");
    }
    // A filter that makes something when it comes into force makes nothing.
    let audit = "    filters: [{audit: {file: audit.log}}]\n";
    let (status, trial) = run.check(&run.with(audit)).await;
    assert_eq!(status, 200, "{trial}");
    assert!(!run.folder.at("audit.log").exists());
    assert_eq!(run.process.json("/config").await, before);
    run.end().await;
}

#[tokio::test]
async fn it_reads_the_folder_of_the_configuration_and_nothing_else() {
    let outside = Folder::new("trial-outside");
    let secret = outside.write("secret.pem", "not for you");
    let run = Run::new("folder", "").await;
    run.folder.write("in.json", "{\"type\": \"object\"}");
    run.folder.write("parts.yaml", "clusters: {d: {endpoints: [\"127.0.0.1:1\"]}}\n");
    symlink(&secret, run.folder.at("link.pem")).unwrap();
    symlink(outside.path(), run.folder.at("up")).unwrap();
    let (status, trial) = run.check(&run.with("include: [parts.yaml, 'p*.nothing']\n")).await;
    assert_eq!((status, &trial["changes"]), (200, &json!(["cluster `d` was added"])), "{trial}");
    let outside = secret.display().to_string();
    let tls = |file: &str| {
        format!(
            "  more: {{address: \"127.0.0.1:0\", tls: {{certificate: {file}, key: {file}}}, routes: [{{cluster: c}}]}}\n"
        )
    };
    let key = |file: &str| format!("issuers: {{i: {{issuer: i, audiences: [a], jwks: {{file: {file}}}}}}}\n");
    let pinned = |file: &str| {
        run.text.replace("schema: {reflection: false}", &format!("schema: {{files: [{file}], reflection: false}}"))
    };
    let places = [outside.as_str(), "link.pem", "up/secret.pem", "../none.pem", "/etc/passwd"];
    for file in places {
        for text in [
            run.with(&tls(file)),
            run.with(&key(file)),
            pinned(file),
            run.with(&format!("include: [\"{file}\"]\n")),
            run.with(&format!("    filters: [{{audit: {{file: a.log, key_file: {file}}}}}]\n")),
            run.with(&format!("    filters: [{{validate: {{json_schema: {{input_json: {file}}}}}}}]\n")),
        ] {
            let (_, _, error) = run.refused(&text).await;
            assert!(error.contains("is outside the configuration's folder"), "{file}: {error}\n{text}");
            assert!(!error.contains("not for you"), "{error}");
        }
    }
    let (_, _, error) = run.refused(&run.with("include: [\"up/*.pem\"]\n")).await;
    assert!(error.contains("is outside"), "{error}");
    // Of what is in the folder it says what it would say of a file.
    let (_, _, error) = run.refused(&run.with(&tls("in.json"))).await;
    assert!(error.contains("in.json") && !error.contains("is outside"), "{error}");
    run.end().await;
}

#[tokio::test]
async fn what_the_environment_holds_is_not_told() {
    let run = Run::new("secret", "").await;
    for text in [
        run.with("workers: \"${SECRET_OF_TRIAL}\"\n"),
        run.with("include: [\"${SECRET_OF_TRIAL}\"]\n"),
        run.with("include: [\"${SECRET_OF_TRIAL}/*.yaml\"]\n"),
        run.text.replace("cluster: c}", "cluster: \"${SECRET_OF_TRIAL}\"}"),
        run.with("    filters: [{metadata: {set: {x-a: \"${SECRET_OF_TRIAL}\"}}}]\n"),
    ] {
        let (_, trial) = run.check(&text).await;
        assert!(!trial.to_string().contains("hunter2"), "{trial}");
    }
    run.end().await;
}

#[tokio::test]
async fn calls_and_what_filters_count_go_on_as_they_were() {
    let bound = "    filters: [{rate_limit: {key: peer.address, rate: 1/h, burst: 3}}]\n";
    let run = Run::new("counts", bound).await;
    let edge = run.process.json("/config").await["listeners"]["edge"]["address"].as_str().unwrap().parse().unwrap();
    let caller = Caller::connect(edge).await;
    for call in 1..=5 {
        let (status, trial) = run.check(&run.text.replace("burst: 3", "burst: 100")).await;
        assert_eq!(status, 200, "{trial}");
        let answer = caller.unary(Ask::echo("Unary"), &chunk(b"ping")).await;
        assert_eq!(answer.code(), Some(if call <= 3 { 0 } else { 8 }), "call {call}");
    }
    drop(caller);
    run.end().await;
}

#[tokio::test]
async fn it_is_bounded_and_guarded() {
    let run = Run::new("bounds", "").await;
    let (status, trial) = run.check(&format!("{}{}", "#".repeat(7 << 20), "\n{}")).await;
    assert_eq!(status, 422, "{trial}");
    // A web page cannot have it done.
    for (kind, status) in [("text/plain", "415"), ("application/json\r\norigin: http://evil.example", "403")] {
        let request = format!(
            "POST /config/check HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        let mut socket = tokio::net::TcpStream::connect(run.process.admin).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer).await.unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
    let log = fs::read_to_string(run.folder.at("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    run.end().await;
}
