//! SIGUSR2: a new process takes the place of the one that runs, under load and with instances that registered; or cannot, and nothing
//! changes. And what systemd gives and is told.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use portunus_agents::bindu;
use portunus_proto::bindu::HeartbeatRequest;
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::harness::{Ask, Caller, Folder, Process, chunk, echo, eventually, framed, free_addresses, get, soon};
use crate::registrar::registration;

const BINARY: &str = env!("CARGO_BIN_EXE_portunus");

/// A folder with a configuration, and ports that nobody else has.
struct Site {
    folder: Folder,
    admin: SocketAddr,
    sdk: SocketAddr,
    edge: SocketAddr,
    callback: SocketAddr,
}

impl Site {
    fn new(name: &str, echo: SocketAddr) -> Self {
        let folder = Folder::new(&format!("upgrade-{name}"));
        let [admin, sdk, edge, callback] = free_addresses();
        folder.write(
            "proxy.yaml",
            format!(
                "workers: 2\nadmin: {{address: {admin}}}\nstate: {{dir: ./data}}\ndrain: {{delay: 1m, timeout: 5s}}\n\
                 clusters:\n  agents: {{registry: {{}}}}\n  echo: {{endpoints: [\"{echo}\"], schema: {{reflection: false}}}}\n\
                 listeners:\n  sdk: {{address: {sdk}, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]}}\n  \
                 edge: {{address: {edge}, filters: [{{audit: {{file: audit.jsonl}}}}], routes: [{{cluster: echo}}]}}\n  \
                 callback: {{address: {callback}, routes: [{{match: {{service: bindu.grpc.AgentHandler}}, cluster: agents}}]}}\n"
            ),
        );
        Self { folder, admin, sdk, edge, callback }
    }

    /// A binary of its own, which may be replaced.
    fn binary(&self) -> PathBuf {
        let binary = self.folder.at("portunus");
        fs::hard_link(BINARY, &binary).or_else(|_| fs::copy(BINARY, &binary).map(drop)).unwrap();
        binary
    }

    /// Puts a script in the place of that.
    fn replace_binary(&self, script: &str) {
        let binary = self.folder.at("portunus");
        fs::remove_file(&binary).unwrap();
        fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.at("proxy.yaml")
    }

    async fn start(&self, binary: &Path) -> Process {
        let mut command = Command::new(binary);
        command.arg("run").arg("-c").arg(self.file());
        self.spawn(command).await
    }

    async fn spawn(&self, command: Command) -> Process {
        let mut process = Process::spawn(command, &self.folder.at("log"), self.admin);
        process.until_ready(200).await;
        process
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.at("log")).unwrap_or_default()
    }

    /// Ends the process that has taken the place of one, however the test ends.
    fn heir(&self) -> Heir {
        let said = self.said();
        let line = said.lines().rfind(|line| line.contains("has taken the place")).expect("the old one says so");
        let at = line.find("pid").unwrap() + 3;
        let digits = line[at..].chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit);
        Heir(digits.collect())
    }

    async fn channel(&self) -> BinduServiceClient<Channel> {
        let channel = Channel::from_shared(format!("http://{}", self.sdk)).unwrap();
        BinduServiceClient::new(channel.connect().await.unwrap())
    }

    async fn hello(&self) -> Option<u32> {
        Caller::connect(self.callback).await.unary(crate::agents::ask(), &crate::agents::hello()).await.code()
    }
}

struct Heir(String);

impl Heir {
    async fn stop(&self) {
        assert!(Command::new("kill").arg(&self.0).status().await.unwrap().success());
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        drop(std::process::Command::new("kill").args(["-9", &self.0]).stderr(Stdio::null()).status());
    }
}

/// Unary calls one behind the other; a connection that is over is made anew.
struct Load {
    calls: Arc<AtomicU32>,
    stopped: Arc<AtomicBool>,
    failed: JoinHandle<Vec<String>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let (calls, stopped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (Arc::clone(&calls), Arc::clone(&stopped));
        let failed = tokio::spawn(async move {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                // It panics if nobody listens.
                let caller = Caller::connect(address).await;
                while let Ok(mut open) = caller.try_open(Ask::echo("Unary"), false).await {
                    open.finish(framed(&chunk(b"x")));
                    let answer = soon(open.answer()).await;
                    if answer.code() != Some(0) {
                        failed.push(format!("{answer:?}"));
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            failed
        });
        Self { calls, stopped, failed }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stopped.store(true, Ordering::Relaxed);
        let failed = soon(self.failed).await.expect("nobody is refused");
        assert!(failed.is_empty(), "{failed:?}");
    }
}

/// An SDK that says again and again that it lives. Answers what went wrong.
fn beat(mut client: BinduServiceClient<Channel>, agent_id: String, stop: Arc<AtomicBool>) -> JoinHandle<Vec<String>> {
    tokio::spawn(async move {
        let mut failed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let request = HeartbeatRequest { agent_id: agent_id.clone(), ..HeartbeatRequest::default() };
            match client.heartbeat(request).await {
                Ok(answer) if answer.get_ref().acknowledged => {}
                other => failed.push(format!("{other:?}")),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        failed
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_over_under_load_and_nobody_notices() {
    let echo = echo("e").await;
    let site = Site::new("load", echo.address());
    let mut process = site.start(Path::new(BINARY)).await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let mut client = site.channel().await;
    let registered = client.register_agent(registration("n", agent.address().port())).await.unwrap().into_inner();
    assert!(registered.success, "{registered:?}");
    let stop = Arc::new(AtomicBool::new(false));
    let beats = beat(client, registered.agent_id, Arc::clone(&stop));
    let loads: Vec<_> = (0..6).map(|_| Load::start(site.edge)).collect();
    let caller = Caller::connect(site.edge).await;
    let mut stream = caller.open(Ask::echo("ServerStream").with("x-count", "60").with("x-gap-us", "50000")).await;
    stream.finish(framed(&chunk(b"tick")));
    eventually!(loads.iter().all(|load| load.calls() > 5));

    process.signal("USR2").await;
    eventually!(site.said().contains("has taken the place"), "{}", site.said());
    let heir = site.heir();
    let before: Vec<_> = loads.iter().map(Load::calls).collect();
    // The stream goes on in the old process, and that ends when it has.
    let answer = soon(stream.answer()).await;
    assert_eq!((answer.code(), answer.messages().len()), (Some(0), 60), "{:?}", answer.trailers);
    assert_eq!(soon(process.child.wait()).await.unwrap().code(), Some(0), "{}", site.said());
    eventually!(loads.iter().zip(&before).all(|(load, before)| load.calls() > before + 20));
    for load in loads {
        load.end().await;
    }
    stop.store(true, Ordering::Relaxed);
    let failed = soon(beats).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");

    assert_eq!(get(site.admin, "/ready").await.unwrap().0, 200);
    let instances = process.json("/instances").await;
    assert!(instances.to_string().contains(&agent.address().port().to_string()), "{instances}");
    assert_eq!(site.hello().await, Some(0));
    let mut client = site.channel().await;
    assert!(client.register_agent(registration("m", 20_001)).await.unwrap().into_inner().success);
    // And once more, now that the one that runs is an heir itself: a new one has the sockets of sockets.
    assert!(Command::new("kill").args(["-s", "USR2", &heir.0]).status().await.unwrap().success());
    eventually!(site.said().matches("has taken the place").count() == 2, "{}", site.said());
    let second = site.heir();
    assert_eq!(Caller::connect(site.edge).await.echoed(Ask::echo("Unary")).await, "e");
    eventually!(process.json("/agents").await.as_array().unwrap().len() == 2);
    second.stop().await;
    eventually!(get(site.admin, "/ready").await.is_ok_and(|(status, _)| status == 503));
    second.stop().await;
    eventually!(get(site.admin, "/live").await.is_err());
    let audits = fs::read_dir(site.folder.at("")).unwrap().filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("audit.jsonl"))
    });
    assert_eq!(audits.count(), 3, "each process has audited to a file of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_that_fails_changes_nothing() {
    let echo = echo("e").await;
    let site = Site::new("broken", echo.address());
    let binary = site.binary();
    let process = site.start(&binary).await;
    let mut client = site.channel().await;
    assert!(client.register_agent(registration("n", 20_001)).await.unwrap().into_inner().success);
    let load = Load::start(site.edge);
    let goes_on = async |times: usize| {
        eventually!(site.said().matches("cannot take the place of this one").count() == times, "{}", site.said());
        // Whoever registers was sent away perhaps, and comes again.
        let mut client = site.channel().await;
        let answer = client.register_agent(registration(&format!("m{times}"), 20_010 + times as u16)).await;
        assert!(answer.unwrap().into_inner().success, "{}", site.said());
        assert_eq!(get(site.admin, "/ready").await.unwrap().0, 200);
        let calls = load.calls();
        eventually!(load.calls() > calls + 5);
    };

    let text = fs::read_to_string(site.file()).unwrap();
    fs::write(site.file(), text.replace("listeners:", "listners:")).unwrap();
    process.signal("USR2").await;
    goes_on(1).await;
    assert!(site.said().contains("listners"), "it has said why: {}", site.said());
    fs::write(site.file(), &text).unwrap();

    site.replace_binary("exit 3");
    process.signal("USR2").await;
    goes_on(2).await;
    // One that is ready, and fails once it has the state.
    let heard = "dd bs=1024 count=1 2>/dev/null";
    site.replace_binary(&format!(
        "while [ \"$({heard})\" != all ]; do :; done\nprintf ready >&0\n{heard} >\"$0.went\"\nexit 3"
    ));
    process.signal("USR2").await;
    goes_on(3).await;
    assert_eq!(fs::read_to_string(site.folder.at("portunus.went")).unwrap(), "go");
    fs::remove_file(&binary).unwrap();
    process.signal("USR2").await;
    goes_on(4).await;
    load.end().await;
    // What was registered meanwhile is on the disk.
    process.kill().await;
    let process = site.start(Path::new(BINARY)).await;
    assert_eq!(process.json("/agents").await.as_array().unwrap().len(), 5);
}

async fn told(socket: &UnixDatagram) -> String {
    let mut text = [0; 512];
    let length = soon(socket.recv(&mut text)).await.unwrap();
    String::from_utf8(text[..length].to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_gives_sockets_and_is_told() {
    let echo = echo("e").await;
    let site = Site::new("systemd", echo.address());
    let notify = UnixDatagram::bind(site.folder.at("notify")).unwrap();
    let edge = TcpListener::bind(site.edge).unwrap();
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run -c \"$1\"";
    command.arg("-c").arg(script).arg(BINARY).arg(site.file());
    // The socket listens before there is anybody.
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(edge))).env("NOTIFY_SOCKET", site.folder.at("notify"));
    let waiting = tokio::net::TcpStream::connect(site.edge).await.unwrap();
    let mut process = site.spawn(command).await;
    assert!(told(&notify).await.starts_with("READY=1"));
    let caller = Caller::over(waiting, h2::client::Builder::new()).await.unwrap();
    assert_eq!(caller.echoed(Ask::echo("Unary")).await, "e");
    process.signal("HUP").await;
    let reloading = told(&notify).await;
    let (_, at) = reloading.split_once("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(at.parse::<u64>().unwrap() > 0);
    assert!(told(&notify).await.starts_with("READY=1"));
    process.signal("USR2").await;
    let mut both = [told(&notify).await, told(&notify).await];
    both.sort();
    let heir = site.heir();
    assert_eq!((both[0].as_str(), both[1].starts_with("READY=1")), (format!("MAINPID={}", heir.0).as_str(), true));
    assert_eq!(soon(process.child.wait()).await.unwrap().code(), Some(0));
    heir.stop().await;
    assert!(told(&notify).await.starts_with("STOPPING=1"));
}

/// A new process that takes its time: it has been given the sockets, and begins only then.
async fn slow_heir(site: &Site, process: &Process) -> PathBuf {
    let here = site.folder.at("heir");
    let told = here.display();
    site.replace_binary(&format!("echo $$ >{told}.new && mv {told}.new {told}\nsleep 1\nexec {BINARY} \"$@\""));
    process.signal("USR2").await;
    eventually!(here.exists(), "{}", site.said());
    Path::new("/proc").join(fs::read_to_string(here).unwrap().trim())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_it_hands_over_is_succeeded_and_one_that_is_told_to_end_is_not() {
    let echo = echo("e").await;
    for (signal, succeeded) in [("KILL", true), ("TERM", false)] {
        let site = Site::new(&format!("dies-{signal}"), echo.address());
        let process = site.start(&site.binary()).await;
        let mut client = site.channel().await;
        assert!(client.register_agent(registration("n", 20_001)).await.unwrap().into_inner().success);
        let heir = slow_heir(&site, &process).await;
        let ends = Heir(heir.file_name().unwrap().to_string_lossy().into_owned());
        process.signal(signal).await;
        if !succeeded {
            eventually!(!heir.exists(), "{}", site.said());
            assert_eq!(get(site.admin, "/ready").await.unwrap().0, 503, "the old one drains");
            continue;
        }
        // Who comes waits in the queue of the socket, which is never closed.
        let caller = Caller::connect(site.edge).await;
        assert_eq!(caller.unary(Ask::echo("Unary"), &chunk(b"x")).await.code(), Some(0), "{}", site.said());
        assert!(site.said().contains("has died while it handed over"), "{}", site.said());
        assert_eq!(process.json("/agents").await.as_array().unwrap().len(), 1, "the state is its");
        assert_eq!(get(site.admin, "/ready").await.unwrap().0, 200);
        ends.stop().await;
    }
}
