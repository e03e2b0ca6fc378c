//! `audit` in a whole proxy: what is written of which calls, killed, out of disk, rotated; and what `audit verify` says of the files.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::harness::{
    Ask, Caller, Folder, Got, Process, Reflecting, Setup, TestProxy, Upstream, chunk, echo, eventually, free_addresses,
    full_at, running,
};

fn key(folder: &Folder) -> PathBuf {
    let path = folder.write("key", "0123456789abcdef0123456789abcdef\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Lines that are JSON.
fn lines(path: &Path) -> Vec<Value> {
    let octets = fs::read(path).unwrap();
    octets.split(|octet| *octet == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn events(path: &Path) -> Vec<String> {
    lines(path).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
}

/// What `audit verify` answers: the exit code, and what it says.
async fn verify(arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_portunus")).args(["audit", "verify"]).args(arguments).output().await.unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
    )
}

/// An instance that remembers the ids of the calls that reached it.
async fn remembering() -> (Upstream, Arc<Mutex<BTreeSet<String>>>) {
    let reached: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let seen = Arc::clone(&reached);
    let upstream = Upstream::start(move |got: Got| {
        seen.lock().insert(got.field("x-request-id").unwrap().to_owned());
        got.echo()
    })
    .await;
    (upstream, reached)
}

/// A proxy in a process of its own before an instance, whose calls are audited.
struct Site {
    folder: Folder,
    admin: SocketAddr,
    edge: SocketAddr,
}

impl Site {
    fn new(name: &str, instance: SocketAddr, audit: &str) -> Self {
        let folder = Folder::new(&format!("audit-{name}"));
        let [admin, edge] = free_addresses();
        key(&folder);
        let text = format!(
            "workers: 2\nadmin: {{address: {admin}}}\nclusters: {{c: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\n\
             listeners:\n  edge:\n    address: {edge}\n    filters: [{{audit: {{file: audit.jsonl, key_file: key{audit}}}}}]\n    \
             routes: [{{cluster: c}}]\n"
        );
        fs::write(folder.at("proxy.yaml"), text).unwrap();
        Self { folder, admin, edge }
    }

    async fn start(&self, command: Option<Command>) -> Process {
        let command = command.unwrap_or_else(|| running(self.folder.at("proxy.yaml")));
        let mut process = Process::spawn(command, &self.folder.at("log"), self.admin);
        process.until_ready(200).await;
        process
    }

    fn file(&self) -> PathBuf {
        self.folder.at("audit.jsonl")
    }

    async fn verify(&self, more: &[&str]) -> (i32, String) {
        let (file, key) = (self.file(), self.folder.at("key"));
        verify(&[&[file.to_str().unwrap(), "--key-file", key.to_str().unwrap()], more].concat()).await
    }

    /// Every call that reached the instance has been written before.
    fn assert_all_written(&self, reached: &Mutex<BTreeSet<String>>) {
        let begins = lines(&self.file()).into_iter().filter(|line| line["event"] == "begin");
        let written: BTreeSet<String> = begins.map(|line| line["request_id"].as_str().unwrap().to_owned()).collect();
        let unwritten: Vec<_> = reached.lock().iter().filter(|id| !written.contains(*id)).cloned().collect();
        assert!(unwritten.is_empty(), "{unwritten:?} ran and were not written");
    }
}

fn ask(id: &str) -> Ask {
    Ask::echo("Unary").with("x-request-id", id)
}

#[tokio::test]
async fn calls_are_written_with_who_what_and_how_they_ended() {
    let (folder, instance) = (Folder::new("audit-lines"), echo("a").await);
    let file = folder.at("audit.jsonl");
    let listener = format!(
        "filters: [{{audit: {{file: {}, sync: each}}}}, {{rate_limit: {{key: 'metadata[\"x-tenant\"]', rate: 1/h}}}}]",
        file.display()
    );
    let route = "match: {service: portunus.test.Echo}";
    let setup = Setup { listener: &listener, route, ..Setup::default() };
    let proxy = TestProxy::with(&[instance.address()], setup).await;
    let caller = proxy.caller().await;
    caller.echoed(ask("one").with("x-tenant", "t")).await;
    assert_eq!(caller.unary(ask("two").with("x-tenant", "t"), &chunk(b"x")).await.code(), Some(8));
    assert_eq!(caller.unary(ask("three"), &chunk(b"x")).await.code(), Some(7));
    assert_eq!(caller.unary(Ask::path("/no.Such/M").with("x-request-id", "four"), b"").await.code(), Some(12));
    eventually!(events(&file).len() == 9);
    assert_eq!(proxy.metric("portunus_audit_last_number", &[]).await, 9.0);
    assert!(proxy.drain(Duration::from_secs(5)).await);
    let written = lines(&file);
    let begun: Vec<_> = written.iter().filter(|line| line["event"] == "begin").collect();
    assert_eq!(begun.len(), 4);
    for (begin, id) in begun.iter().zip(["one", "two", "three", "four"]) {
        assert_eq!((&begin["request_id"], &begin["handler"]), (&json!(id), &json!("grpc")));
        assert_eq!((&begin["listener"], &begin["peer"]), (&json!("edge"), &json!("127.0.0.1")));
    }
    assert_eq!((&begun[0]["service"], &begun[0]["method"]), (&json!("portunus.test.Echo"), &json!("Unary")));
    let ended = |at: usize| {
        let end = written.iter().find(|line| line["event"] == "end" && line["call"] == begun[at]["call"]).unwrap();
        (
            end["code"].as_str().unwrap(),
            end["reason"].as_str().unwrap_or_default(),
            end["request_messages"].as_u64().unwrap(),
        )
    };
    assert_eq!(ended(0), ("OK", "", 1));
    assert_eq!([ended(1).1, ended(2).1, ended(3).1], ["rate_limited", "denied", "no_route"]);
    assert_eq!(events(&file).last().map(String::as_str), Some("stop"));
    let (code, said) = verify(&[file.to_str().unwrap(), "--last", "9"]).await;
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("10 lines, the last is number 10: whole\nwithout a key this shows accidents"), "{said}");
}

#[tokio::test]
async fn chosen_fields_are_written_but_for_those_that_are_redacted() {
    let instance = Reflecting::with(
        "syntax = \"proto3\"; package t; service S { rpc M(R) returns (R); rpc N(R) returns (R); } message R { string secret = 1; string name = 2; }",
    )
    .await;
    let (folder, address) = (Folder::new("audit-fields"), instance.address());
    let file = folder.at("audit.jsonl");
    let text = format!(
        "workers: 1\nclusters: {{t: {{endpoints: [\"{address}\"], schema: {{}}}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    \
         filters: [{{audit: {{file: {}, fields: [name, secret, other]}}}}]\n    routes:\n      \
         - {{match: {{service: t.S, method: M}}, cluster: t, filters: [{{redact: {{request: [secret]}}}}]}}\n      - {{cluster: t}}\n",
        file.display()
    );
    let proxy = TestProxy::yaml(&text).await;
    let caller = proxy.caller().await;
    let message = [&[10, 6][..], b"hidden", &[18, 3], b"ann"].concat();
    eventually!(caller.unary(Ask::path("/t.S/M"), &message).await.code() == Some(0));
    assert_eq!(caller.unary(Ask::path("/t.S/M"), &message).await.code(), Some(0));
    assert_eq!(caller.unary(Ask::path("/t.S/N"), &message).await.code(), Some(0));
    let torn = caller.unary(Ask::path("/t.S/N"), &[10, 9]).await;
    assert_eq!(torn.refusal(), (3, "schema".into()), "{}", torn.message());
    drop(caller);
    assert!(proxy.drain(Duration::from_secs(5)).await);
    let requests: Vec<_> = lines(&file).into_iter().filter(|line| line["event"] == "request").collect();
    let [.., redacted, open, unread] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!((&redacted["fields"], &redacted["hidden"]), (&json!({"name": "ann"}), &json!(["secret"])));
    assert_eq!(redacted["unknown"], json!(["other"]), "as a slip of the pen would show");
    assert_eq!((&open["fields"], &open["hidden"]), (&json!({"name": "ann", "secret": "hidden"}), &Value::Null));
    assert!(unread["unread"].is_string() && unread["fields"].is_null(), "{unread}");
    assert_eq!(verify(&[file.to_str().unwrap()]).await.0, 0);
}

/// 100 calls, four at a time, killed in the middle of them, and again on the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_ran_unwritten_before_a_kill() {
    let (upstream, reached) = remembering().await;
    for sync in ["", ", sync: each"] {
        let site = Site::new(if sync.is_empty() { "kill" } else { "kill-each" }, upstream.address(), sync);
        reached.lock().clear();
        for round in 0..8_u64 {
            let process = site.start(None).await;
            let caller = Arc::new(Caller::connect(site.edge).await);
            let (mut calls, before) = (JoinSet::new(), reached.lock().len());
            for lane in 0..4 {
                let caller = Arc::clone(&caller);
                calls.spawn(async move {
                    for call in 0..25 {
                        let opened = caller.try_open(ask(&format!("{round}-{lane}-{call}")), false).await;
                        let Ok(mut open) = opened else { return };
                        open.finish(crate::harness::framed(&chunk(b"ping")));
                        open.answer().await;
                    }
                });
            }
            // In the middle of them: when so many have come through.
            eventually!(reached.lock().len() >= before + usize::try_from(round).unwrap() * 9);
            process.kill().await;
            calls.join_all().await;
            site.assert_all_written(&reached);
            let (code, said) = site.verify(&[]).await;
            assert_eq!(code, 0, "round {round}: {said}");
        }
        let count = reached.lock().len();
        assert!((252..760).contains(&count), "{count} calls reached the instance: the kills show nothing");
        // The chain goes on over all of it.
        let process = site.start(None).await;
        assert_eq!(process.stop().await, Some(0));
        let (code, said) = site.verify(&[]).await;
        assert!(code == 0 && said.contains(": whole"), "{said}");
        assert_eq!(events(&site.file()).iter().filter(|event| *event == "open").count(), 9);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_calls_until_there_is_room() {
    let (upstream, reached) = remembering().await;
    let site = Site::new("full", upstream.address(), "");
    let process = site.start(Some(full_at(8_192, &site.folder.at("proxy.yaml")))).await;
    let caller = Caller::connect(site.edge).await;
    let mut passed = 0;
    let refused = loop {
        let answer = caller.unary(ask(&format!("full-{passed}")), &chunk(b"ping")).await;
        match answer.code() {
            Some(0) => passed += 1,
            _ => break answer,
        }
        assert!(passed < 100, "the file takes no more than 8 KiB");
    };
    assert_eq!(refused.refusal(), (14, "audit".into()), "{}", refused.message());
    assert_eq!(refused.field("grpc-retry-pushback-ms").as_deref(), Some("1000"));
    assert!(passed > 3, "{passed}");
    for at in 0..20 {
        assert_eq!(caller.unary(ask(&format!("none-{at}")), &chunk(b"ping")).await.refusal(), (14, "audit".into()));
    }
    assert_eq!(reached.lock().len(), passed, "nothing that was refused ran");
    let ready = process.json("/ready").await;
    assert!(ready.to_string().contains("the audit file `audit.jsonl` cannot be written"), "{ready}");

    process.has_room().await;
    eventually!(caller.unary(ask("room"), &chunk(b"ping")).await.code() == Some(0));
    assert!(!process.json("/ready").await.to_string().contains("cannot be written"));
    assert_eq!(process.stop().await, Some(0));
    site.assert_all_written(&reached);
    let (code, said) = site.verify(&[]).await;
    assert!(code == 0 && said.contains("torn and recovered"), "{said}");
    // Every call that ran has its end, written once there was room.
    let all = lines(&site.file());
    let of = |event: &str| all.iter().filter(|line| line["event"] == event).count();
    assert_eq!(of("begin"), of("end"));
}

#[tokio::test]
async fn a_file_that_was_moved_aside_goes_on_in_a_new_one() {
    let (folder, instance) = (Folder::new("audit-rotated"), echo("a").await);
    let (file, key) = (folder.at("audit.jsonl"), key(&folder));
    let audit = format!("{{audit: {{file: {}, key_file: {}}}}}", file.display(), key.display());
    let listener = format!("filters: [{audit}]");
    // The route names the same file: one chain, two lines more.
    let route = format!("filters: [{audit}]");
    let setup = Setup { workers: 2, listener: &listener, route: &route, ..Setup::default() };
    let proxy = TestProxy::with(&[instance.address()], setup).await;
    let caller = proxy.caller().await;
    for at in 0..3 {
        let old = folder.at(&format!("old-{at}"));
        caller.echoed(ask("x")).await;
        caller.echoed(ask("y")).await;
        fs::rename(&file, old).unwrap();
        assert_eq!(proxy.reopen_audit().await, Vec::<String>::new());
        assert_eq!(proxy.reopen_audit().await, Vec::<String>::new(), "nothing to do");
        assert_eq!(events(&file)[0], "open");
    }
    drop(caller);
    assert!(proxy.drain(Duration::from_secs(5)).await);
    let names = ["old-0", "old-1", "old-2", "audit.jsonl"].map(|name| folder.at(name).to_str().unwrap().to_owned());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let key = key.to_str().unwrap();
    fn with_key<'a>(files: &[&'a str], key: &'a str) -> Vec<&'a str> {
        [files, &["--key-file", key]].concat()
    }
    let shuffled = [names[2], names[0], names[3], names[1]];
    let (code, said) = verify(&with_key(&shuffled, key)).await;
    assert!(code == 0 && !said.contains("note"), "{said}");
    assert_eq!(events(Path::new(names[0])).last().map(String::as_str), Some("rotated"));

    // What can be done to them, and what is said of it.
    let (code, said) = verify(&with_key(&[names[0], names[2], names[3]], key)).await;
    assert!(code == 3 && said.contains("old-2:1: missing: lines number"), "{said}");
    let second = fs::read_to_string(names[1]).unwrap();
    fs::write(names[1], second.lines().take(3).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (code, said) = verify(&with_key(&names, key)).await;
    assert!(code == 4 && said.contains("old-1: cut: the file ends at number"), "{said}");
    fs::write(names[1], second).unwrap();
    let (code, said) = verify(&names).await;
    assert!(code == 5 && said.contains("no line was written with this key"), "{said}");
    let last = fs::read_to_string(names[3]).unwrap();
    fs::write(&file, last.lines().next().unwrap().to_owned() + "\n").unwrap();
    let (code, said) = verify(&with_key(&names, key)).await;
    assert!(code == 0 && said.contains("note: open"), "{said}");
    let (code, said) = verify(&[with_key(&names, key), vec!["--last", "1000"]].concat()).await;
    assert!(code == 4 && said.contains("and there was a number 1000"), "{said}");
    let first = fs::read_to_string(names[0]).unwrap();
    for (changed, wanted) in [
        (first.replacen("\"method\":\"Unary\"", "\"method\":\"Other\"", 1), "old-0:2: changed"),
        (
            first.lines().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| format!("{line}\n")).collect(),
            "missing: line number 3",
        ),
        (first.lines().rev().map(|line| format!("{line}\n")).collect(), "reordered: line number"),
    ] {
        fs::write(names[0], changed).unwrap();
        let (code, said) = verify(&with_key(&names, key)).await;
        assert!(code == 3 && said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(verify(&["/no/such/file"]).await.0, 1);
}

#[tokio::test]
async fn sighup_has_it_go_on_in_a_new_file_and_calls_go_on() {
    let (instance, _) = remembering().await;
    let site = Site::new("hangup", instance.address(), "");
    let process = site.start(None).await;
    let caller = Caller::connect(site.edge).await;
    assert_eq!(caller.unary(ask("before"), b"x").await.code(), Some(0));
    let old = site.folder.at("old.jsonl");
    fs::rename(site.file(), &old).unwrap();
    process.signal("HUP").await;
    eventually!(site.file().exists() && events(&site.file()).first().is_some_and(|first| first == "open"));
    assert_eq!(caller.unary(ask("after"), b"x").await.code(), Some(0), "the connection goes on");
    drop(caller);
    assert_eq!(process.stop().await, Some(0));
    let (code, said) = site.verify(&[old.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(events(&old).last().map(String::as_str), Some("rotated"));
}

#[tokio::test]
async fn a_file_that_is_not_ours_ends_the_start() {
    let (folder, instance) = (Folder::new("audit-theirs"), echo("a").await);
    fs::write(folder.at("audit.jsonl"), "my diary\n").unwrap();
    let text = format!(
        "clusters: {{c: {{endpoints: [\"{}\"]}}}}\nlisteners: {{edge: {{address: \"127.0.0.1:0\", filters: [{{audit: {{file: audit.jsonl}}}}], \
         routes: [{{cluster: c}}]}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n",
        instance.address()
    );
    let path = folder.at("proxy.yaml");
    let loaded = portunus::config::load_str(&text, &path, &|_| None, portunus::filters::ALL).unwrap();
    let error = portunus::app::start(loaded).await.err().unwrap().to_string();
    assert!(error.contains("audit.jsonl has no line that was written with this key"), "{error}");
    assert_eq!(fs::read_to_string(folder.at("audit.jsonl")).unwrap(), "my diary\n");
}
