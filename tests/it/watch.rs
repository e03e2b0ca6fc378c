//! The process follows its files: whatever is done to them, what ran goes on, why is said, and what is right again is taken by itself.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::harness::{
    Ask, Authority, Caller, Folder, Got, Process, Upstream, chunk, eventually, fields, framed, free_addresses, head,
    running,
};

/// Says which mark a request had.
async fn marked() -> Upstream {
    Upstream::start(|mut got: Got| async move {
        let mark = got.field("x-mark").unwrap_or_default();
        let mut body = got.reply.send_response(head(&[("x-mark", mark)]), false).unwrap();
        body.send_data(framed(b""), false).unwrap();
        body.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    })
    .await
}

/// A proxy that runs from a file in a folder.
struct Run {
    folder: Folder,
    file: PathBuf,
    process: Process,
    caller: Caller,
    instance: Upstream,
    edge: SocketAddr,
}

impl Run {
    async fn new(name: &str) -> Self {
        Self::of(name, |folder, text| folder.write("proxy.yaml", text)).await
    }

    /// `place` puts the file where it is to be, and says where that is.
    async fn of(name: &str, place: impl FnOnce(&Folder, &str) -> PathBuf) -> Self {
        let (folder, instance) = (Folder::new(&format!("watch-{name}")), marked().await);
        let [admin, edge] = free_addresses();
        let file = place(&folder, &text(admin, edge, instance.address(), "0", ""));
        let mut process = Process::spawn(running(&file), &folder.at("log"), admin);
        process.until_ready(200).await;
        let caller = Caller::connect(edge).await;
        let run = Self { folder, file, process, caller, instance, edge };
        assert_eq!(run.mark().await, "0");
        run
    }

    fn text(&self, mark: &str, more: &str) -> String {
        text(self.process.admin, self.edge, self.instance.address(), mark, more)
    }

    fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(&self.file, text).unwrap();
    }

    /// What calls go by.
    async fn mark(&self) -> String {
        let answer = self.caller.unary(Ask::echo("Unary"), &chunk(b"ping")).await;
        assert_eq!(answer.code(), Some(0), "{answer:?}");
        answer.field("x-mark").unwrap()
    }

    async fn status(&self, key: &str) -> Value {
        self.process.json("/config/status").await[key].take()
    }

    /// A configuration is in force, without any help.
    async fn is_taken(&self, mark: &str) {
        eventually!(self.status("last_error").await.is_null() && self.mark().await == mark, "{mark} is not in force");
    }

    /// What is there is refused for this reason, and calls go by what was before.
    async fn is_refused(&self, words: &str, mark: &str) {
        let says = |error: &Value| error.as_str().is_some_and(|error| error.contains(words));
        eventually!(says(&self.status("last_error").await), "no word of {words}");
        assert_eq!(self.mark().await, mark);
    }

    async fn end(self) -> String {
        let Self { folder, process, caller, .. } = self;
        drop(caller);
        assert_eq!(process.stop().await, Some(0));
        fs::read_to_string(folder.at("log")).unwrap()
    }
}

fn text(admin: SocketAddr, edge: SocketAddr, instance: SocketAddr, mark: &str, more: &str) -> String {
    format!(
        "admin: {{address: {admin}}}\nclusters: {{c: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\n\
         listeners:\n  edge:\n    address: {edge}\n    filters: [{{metadata: {{set: {{x-mark: \"{mark}\"}}}}}}]\n    \
         routes: [{{cluster: c}}]\n{more}"
    )
}

#[tokio::test]
async fn what_is_wrong_changes_nothing_and_what_is_right_again_is_taken() {
    let run = Run::new("wrong").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let more = |what: &str| format!("  more: {{address: \"127.0.0.1:0\", {what}, routes: [{{cluster: c}}]}}\n");
    let wrong = [
        ("listeners: [".to_owned(), "not YAML"),
        (run.text("x", &more("filters: [{authz: {rules: [{allow: 'request.'}]}}]")), "listeners.more.filters[0]"),
        (run.text("x", &more("tls: {certificate: /no/such/file, key: /no/such/key}")), "/no/such/"),
        (run.text("x", &format!("  more: {{address: \"{port}\", routes: [{{cluster: c}}]}}\n")), "cannot listen on"),
        (run.text("x", &more("filters: [{jwt: {issuers: [nobody]}}]")), "no issuer is named `nobody`"),
    ];
    for (at, (wrong, words)) in wrong.iter().enumerate() {
        let before = at.to_string();
        run.write(wrong);
        run.is_refused(words, &before).await;
        assert!(run.status("failing_since").await.is_string());
        let right = (at + 1).to_string();
        run.write(run.text(&right, ""));
        run.is_taken(&right).await;
    }
    assert_eq!(run.status("generation").await, wrong.len() + 1, "each that was right, and nothing else");
    let status = run.process.json("/config/status").await;
    assert_eq!((&status["failing_since"], &status["errors"]), (&Value::Null, &serde_json::json!([])));
    run.write(run.text("x", "").replace("cluster: c}", "cluster: d}"));
    run.is_refused("`d`", "5").await;
    let error = &run.status("errors").await[0];
    assert_eq!((&error["line"], &error["path"]), (&7.into(), &"listeners.edge.routes[0].cluster".into()), "{error}");
    let diff = run.process.json("/config/diff").await;
    let told = "listener `edge`: filters[0].metadata.set.x-mark was \"4\" and is \"5\"";
    assert_eq!(diff["changes"], serde_json::json!([told]), "what is in force, and not what was refused");
    let log = run.end().await;
    assert!(log.contains("proxy.yaml changed"), "{log}");
}

#[tokio::test]
async fn a_port_that_was_in_use_is_taken_once_it_is_free() {
    let run = Run::new("port").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    run.write(run.text("1", &format!("  more: {{address: \"{port}\", routes: [{{cluster: c}}]}}\n")));
    run.is_refused("cannot listen on", "0").await;
    drop(taken);
    run.is_taken("1").await;
    run.end().await;
}

#[tokio::test]
async fn half_a_file_is_no_configuration_and_the_rest_makes_it_one() {
    let run = Run::new("half").await;
    let whole = run.text("1", "");
    // In the middle of a key.
    let half = &whole[..whole.find("routes").unwrap() + 3];
    run.write(half);
    run.is_refused("proxy.yaml", "0").await;
    sleep(Duration::from_secs(1)).await;
    run.write(&whole);
    run.is_taken("1").await;
    run.end().await;
}

#[tokio::test]
async fn a_file_that_is_gone_is_taken_once_it_is_back() {
    let run = Run::new("gone").await;
    fs::remove_file(&run.file).unwrap();
    run.is_refused("cannot be read", "0").await;
    run.write(run.text("1", ""));
    run.is_taken("1").await;
    // As editors save: another file takes the name.
    fs::write(run.folder.at("proxy.yaml~"), run.text("2", "")).unwrap();
    fs::rename(run.folder.at("proxy.yaml~"), &run.file).unwrap();
    run.is_taken("2").await;
    run.end().await;
}

#[tokio::test]
async fn a_configmap_is_swapped_by_a_link() {
    let version = |folder: &Folder, name: &str, text: &str| {
        fs::create_dir_all(folder.at(name)).unwrap();
        fs::write(folder.at(name).join("proxy.yaml"), text).unwrap();
    };
    let run = Run::of("swap", |folder, text| {
        version(folder, "..v1", text);
        symlink("..v1", folder.at("..data")).unwrap();
        symlink("..data/proxy.yaml", folder.at("proxy.yaml")).unwrap();
        folder.at("proxy.yaml")
    })
    .await;
    for number in 2..5 {
        let (mark, name) = (number.to_string(), format!("..v{number}"));
        version(&run.folder, &name, &run.text(&mark, ""));
        symlink(&name, run.folder.at("..data_tmp")).unwrap();
        fs::rename(run.folder.at("..data_tmp"), run.folder.at("..data")).unwrap();
        fs::remove_dir_all(run.folder.at(&format!("..v{}", number - 1))).unwrap();
        run.is_taken(&mark).await;
    }
    run.end().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_any_more() {
    let run = Run::of("folder", |folder, text| {
        fs::create_dir(folder.at("conf")).unwrap();
        folder.write("conf/proxy.yaml", text)
    })
    .await;
    // Taken away from the superuser too: something else has its place.
    fs::rename(run.folder.at("conf"), run.folder.at("aside")).unwrap();
    fs::write(run.folder.at("conf"), "no folder").unwrap();
    run.is_refused("cannot be read", "0").await;
    fs::remove_file(run.folder.at("conf")).unwrap();
    fs::create_dir(run.folder.at("conf")).unwrap();
    run.write(run.text("1", ""));
    run.is_taken("1").await;
    // In the folder that is new.
    run.write(run.text("2", ""));
    run.is_taken("2").await;
    run.end().await;
}

#[tokio::test]
async fn what_the_file_names_is_followed_too_and_the_same_again_is_nothing_new() {
    let run = Run::new("named").await;
    let rules = |mark: &str| {
        format!(
            "syntax = \"proto3\";\npackage p;\nimport \"other.proto\";\nmessage M {{ O o = 1; }}\nservice {mark} {{ rpc R(M) returns (M); }}\n"
        )
    };
    let other = |field: &str| format!("syntax = \"proto3\";\npackage p;\nmessage O {{ string {field} = 1; }}\n");
    run.folder.write("other.proto", other("a"));
    run.folder.write("rules.proto", rules("One"));
    let pinned =
        run.text("1", "").replace("schema: {reflection: false}", "schema: {files: [rules.proto], reflection: false}");
    run.write(&pinned);
    run.is_taken("1").await;
    assert_eq!(run.status("generation").await, 2);
    for (generation, (file, text)) in
        [("rules.proto", rules("Two")), ("other.proto", other("b"))].into_iter().enumerate()
    {
        run.folder.write(file, text);
        eventually!(run.status("generation").await == generation + 3, "{file} is not followed");
    }
    let diff = run.process.json("/config/diff").await;
    assert_eq!((&diff["from"], &diff["to"]), (&3.into(), &4.into()));
    let changes: Vec<_> = diff["changes"].as_array().unwrap().iter().map(|change| change.as_str().unwrap()).collect();
    assert!(changes.len() == 1 && changes[0].contains("other.proto` has another content"), "{changes:?}");
    // An import that breaks is said, and its return is seen.
    run.folder.write("other.proto", "syntax = ");
    run.is_refused("rules.proto", "1").await;
    run.folder.write("other.proto", other("c"));
    run.is_taken("1").await;
    assert_eq!(run.status("generation").await, 5);
    // Written again as it is, touched, moved: nothing.
    run.write(&pinned);
    run.folder.write("other.proto", other("c"));
    fs::write(run.folder.at("aside"), &pinned).unwrap();
    fs::rename(run.folder.at("aside"), &run.file).unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(run.status("generation").await, 5);
    run.end().await;
}

#[tokio::test]
async fn files_that_are_included_are_followed_as_they_come_and_go() {
    let run = Run::new("include").await;
    fs::create_dir(run.folder.at("conf.d")).unwrap();
    let included = |mark: &str| format!("include: [conf.d/*.yaml]\n{}", run.text(mark, ""));
    run.write(included("1"));
    run.is_taken("1").await;
    let part = |name: &str, service: &str| {
        let instance = run.instance.address();
        let listener =
            format!("{{address: \"127.0.0.1:0\", routes: [{{cluster: {name}, match: {{service: {service}}}}}]}}");
        format!(
            "clusters: {{{name}: {{endpoints: [\"{instance}\"], schema: {{reflection: false}}}}}}\nlisteners: {{{name}: {listener}}}\n"
        )
    };
    let routes = || async {
        let routes = run.process.json("/routes").await;
        let named = |route: &Value| route["listener"].as_str().unwrap().to_owned();
        routes.as_array().unwrap().iter().map(named).collect::<Vec<_>>().join(" ")
    };
    // One comes, by the name that it gets last; another; one is changed; one goes.
    run.folder.write("conf.d/a.yaml.tmp", part("a", "x.A"));
    fs::rename(run.folder.at("conf.d/a.yaml.tmp"), run.folder.at("conf.d/a.yaml")).unwrap();
    eventually!(routes().await == "a edge", "a file that came");
    assert_eq!(run.status("generation").await, 3, "not the one by another name");
    run.folder.write("conf.d/b.yaml", part("b", "x.B"));
    eventually!(routes().await == "a b edge", "another one");
    let diff = run.process.json("/config/diff").await;
    assert_eq!(diff["changes"], serde_json::json!(["cluster `b` was added", "listener `b` was added"]));
    run.folder.write("conf.d/b.yaml", part("g", "x.G"));
    eventually!(routes().await == "a edge g", "one that is changed");
    // What is there twice changes nothing, and both places are named.
    run.folder.write("conf.d/d.yaml", part("a", "x.D"));
    run.is_refused("conf.d/d.yaml:1:12: clusters.a: is in line 1 of ", "1").await;
    let error = &run.status("errors").await[0];
    assert!(error["file"].as_str().unwrap().ends_with("conf.d/d.yaml"), "{error}");
    assert_eq!((&error["line"], &error["path"]), (&1.into(), &"clusters.a".into()), "{error}");
    assert_eq!(routes().await, "a edge g");
    fs::remove_file(run.folder.at("conf.d/d.yaml")).unwrap();
    run.is_taken("1").await;
    fs::remove_file(run.folder.at("conf.d/a.yaml")).unwrap();
    eventually!(routes().await == "edge g", "a file that went");
    // The folder itself goes, and comes back with another file.
    fs::remove_dir_all(run.folder.at("conf.d")).unwrap();
    run.is_refused("names a folder that cannot be read", "1").await;
    assert_eq!(routes().await, "edge g");
    fs::create_dir(run.folder.at("conf.d")).unwrap();
    run.is_taken("1").await;
    run.folder.write("conf.d/e.yaml", part("e", "x.E"));
    eventually!(routes().await == "e edge", "a file in the folder that is new");
    run.end().await;
}

#[tokio::test]
async fn a_certificate_that_is_replaced_under_load_is_shown_to_the_next_and_the_others_go_on() {
    let (ca, folder, instance) = (Authority::new(), Folder::new("watch-certificate"), marked().await);
    let [admin, edge] = free_addresses();
    let tls = format!("    address: {edge}\n    {}\n", ca.listener(""));
    let text = text(admin, edge, instance.address(), "0", "").replace(&format!("    address: {edge}\n"), &tls);
    let mut process = Process::spawn(running(folder.write("proxy.yaml", text)), &folder.at("log"), admin);
    process.until_ready(200).await;

    let (over, calls, mut callers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..10 {
        let caller = ca.caller(edge, None).await.unwrap();
        let (over, calls) = (Arc::clone(&over), Arc::clone(&calls));
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let answer = caller.unary(Ask::echo("Unary"), &chunk(b"ping")).await;
                assert_eq!(answer.code(), Some(0), "{answer:?}");
                calls.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    for round in 2..5 {
        let next = ca.server(&["localhost"]);
        assert!(!next.is_at(&ca.connect(edge, None, &["h2"]).await.unwrap()));
        // One after the other, as they are copied: between the two they do not fit, and nothing changes.
        ca.write("server.key", &next.key_pem);
        ca.write("server.pem", &next.pem);
        let replaced = Instant::now();
        while !next.is_at(&ca.connect(edge, None, &["h2"]).await.unwrap()) {
            assert!(replaced.elapsed() < Duration::from_secs(2), "the former one after {:?}", replaced.elapsed());
            sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..20 {
            assert!(next.is_at(&ca.connect(edge, None, &["h2"]).await.unwrap()), "the former one again");
        }
        // Those who were shown a former one are answered by what is in force now.
        let before = calls.load(Ordering::Relaxed);
        eventually!(calls.load(Ordering::Relaxed) > before + 100);
        assert_eq!(process.json("/config/status").await["generation"], round);
    }
    over.store(true, Ordering::Relaxed);
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    assert_eq!(process.stop().await, Some(0));
}

#[tokio::test]
async fn edits_that_follow_each_other_are_one_and_many_starve_nobody() {
    let run = Run::new("edits").await;
    run.write(run.text("1", ""));
    run.write(run.text("2", ""));
    run.is_taken("2").await;
    assert_eq!(run.status("generation").await, 2, "two edits within one look");

    // Fifty a second for ten seconds, every other one wrong.
    let (begun, mut edits, mut calls) = (Instant::now(), 0_u32, 0);
    while begun.elapsed() < Duration::from_secs(10) {
        edits += 1;
        run.write(if edits % 2 == 0 { run.text(&format!("m{edits}"), "") } else { "listeners: [".to_owned() });
        let mark = run.mark().await;
        assert!(mark == "2" || mark.starts_with('m'), "{mark}");
        calls += 1;
        tokio::time::sleep_until(begun + Duration::from_millis(20) * edits).await;
    }
    assert!(edits >= 300 && calls >= 300, "{edits} edits, {calls} calls");
    run.write(run.text("end", ""));
    run.is_taken("end").await;
    let generation = run.status("generation").await.as_u64().unwrap();
    assert!(generation <= 15, "{generation}: a look a second at most, while it goes on");
    run.end().await;
}

#[tokio::test]
async fn five_megabytes_are_a_configuration_too() {
    let run = Run::new("large").await;
    let comment = format!("# {}\n", "x".repeat(98));
    let large = format!("{}{}", comment.repeat(50_000), run.text("1", ""));
    assert!(large.len() >= 5_000_000);
    run.write(&large);
    run.is_taken("1").await;
    // As much of it as counts.
    let routes: String = (0..20_000)
        .map(|n| format!("      - {{match: {{service: pkg.Service{n}, method: Method}}, cluster: c, timeout: 1s}}\n"))
        .collect();
    let (head, _) = run.text("2", "").split_once("routes: ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let many = format!("{head}routes:\n      - {{cluster: c}}\n{routes}");
    run.write(&many);
    run.is_taken("2").await;
    run.write(format!("{}{}", comment.repeat(100_000), run.text("3", "")));
    run.is_refused("over 8388608 bytes", "2").await;
    run.end().await;
}

#[tokio::test]
async fn whatever_comes_after_whatever_the_last_that_was_right_is_in_force() {
    for seed in 0..3 {
        let (mut rng, run) = (SmallRng::seed_from_u64(seed), Run::new(&format!("any-{seed}")).await);
        let mut last = "0".to_owned();
        for step in 1..=15 {
            let mark = format!("s{step}");
            match rng.random_range(0..6) {
                0 => {
                    run.write(format!("wrong{step}: 1\n{}", run.text(&mark, "")));
                    run.is_refused(&format!("wrong{step}"), &last).await;
                }
                1 => {
                    run.write(run.text(&mark, "").replace("cluster: c}", &format!("cluster: c{step}}}")));
                    run.is_refused(&format!("c{step}"), &last).await;
                }
                2 => {
                    fs::remove_file(&run.file).ok();
                    run.is_refused("cannot be read", &last).await;
                }
                3 => {
                    let key = format!("/no/such/key{step}");
                    let tls = format!(
                        "  more: {{address: \"127.0.0.1:0\", tls: {{certificate: {key}, key: {key}}}, routes: [{{cluster: c}}]}}\n"
                    );
                    run.write(run.text(&mark, &tls));
                    run.is_refused(&key, &last).await;
                }
                _ => {
                    run.write(run.text(&mark, ""));
                    run.is_taken(&mark).await;
                    last = mark;
                }
            }
        }
        assert_eq!(run.mark().await, last);
        run.end().await;
    }
}
