//! What outlives the process, with real processes that are killed: `state.dir`, standby, a full disk, damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portunus_agents::{bindu, core};
use portunus_proto::bindu::bindu_service_client::BinduServiceClient;
use portunus_proto::bindu::{RegisterAgentRequest, RegisterAgentResponse};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::harness::{Caller, Folder, Process, free_addresses, full_at, get, running, soon};
use crate::registrar::registration;

/// A folder with a configuration, and ports that nobody else has.
struct Site {
    folder: Folder,
    admin: SocketAddr,
    sdk: SocketAddr,
    callback: SocketAddr,
}

impl Site {
    fn new(name: &str, registry: &str) -> Self {
        let folder = Folder::new(&format!("state-{name}"));
        // A listener that comes back takes its port again.
        let [admin, sdk, callback] = free_addresses();
        let site = Self { folder, admin, sdk, callback };
        site.configure("proxy.yaml", admin, registry);
        site
    }

    fn configure(&self, file: &str, admin: SocketAddr, registry: &str) {
        let Self { sdk, callback, .. } = self;
        let text = format!(
            "workers: 1\nadmin: {{address: {admin}}}\nstate: {{dir: ./data}}\n\
             clusters: {{agents: {{registry: {{{registry}}}}}}}\n\
             listeners:\n  sdk: {{address: {sdk}, routes: [{{match: {{service: bindu.grpc.BinduService}}, register_into: agents}}]}}\n  \
             callback: {{address: {callback}, routes: [{{match: {{service: bindu.grpc.AgentHandler}}, cluster: agents}}]}}\n"
        );
        self.folder.write(file, text);
    }

    fn command(&self, file: &str) -> Command {
        running(self.folder.at(file))
    }

    fn spawn(&self, command: Command, admin: SocketAddr) -> Process {
        Process::spawn(command, &self.log(), admin)
    }

    async fn start(&self) -> Process {
        let mut process = self.spawn(self.command("proxy.yaml"), self.admin);
        process.until_ready(200).await;
        process
    }

    /// A second process on the same state, which another one has.
    async fn standby(&self) -> Process {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = held.local_addr().unwrap();
        drop(held);
        self.configure("standby.yaml", admin, "");
        let mut standby = self.spawn(self.command("standby.yaml"), admin);
        standby.until_ready(503).await;
        standby
    }

    fn log(&self) -> PathBuf {
        self.folder.at("log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    async fn register(&self, request: RegisterAgentRequest) -> Result<RegisterAgentResponse, tonic::Status> {
        let channel = Channel::from_shared(format!("http://{}", self.sdk)).unwrap().connect().await;
        let mut client =
            BinduServiceClient::new(channel.map_err(|error| tonic::Status::unavailable(error.to_string()))?);
        Ok(client.register_agent(request).await?.into_inner())
    }
}

impl Process {
    /// The addresses of each agent's instances, by its id.
    async fn instances(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for agent in self.json("/agents").await.as_array().unwrap() {
            found.insert(agent["id"].as_str().unwrap().to_owned(), BTreeSet::new());
        }
        for instance in self.json("/instances").await.as_array().unwrap() {
            let of = instance["agent"].as_str().unwrap().to_owned();
            let address = instance["address"].as_str().unwrap().to_owned();
            assert!(found.get_mut(&of).expect("its agent is there").insert(address), "twice");
        }
        found
    }
}

#[tokio::test]
async fn calls_go_on_after_a_kill_without_any_sdk_doing_anything() {
    let site = Site::new("kill", "");
    let process = site.start().await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    assert!(site.register(registration("n", agent.address().port())).await.unwrap().success);
    process.kill().await;
    let since = Instant::now();
    let process = site.start().await;
    let answer = Caller::connect(site.callback).await.unary(crate::agents::ask(), &crate::agents::hello()).await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    let shown = &process.json("/agents").await[0];
    assert_eq!((shown["owner"].as_str(), shown["name"].as_str()), (Some("127.0.0.1"), Some("n")), "{shown}");
    assert_eq!(process.stop().await, Some(0));
}

/// 50 kills at random moments of 500 registrations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_registration_that_was_answered_survives_a_kill_and_none_is_half_there() {
    let site = Site::new("kills", "limits: {instances_per_agent: 1000}");
    let mut answered: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut asked = answered.clone();
    for round in 0..50_u16 {
        let process = site.start().await;
        let kept = process.instances().await;
        for (id, addresses) in &answered {
            let found = kept.get(id).unwrap_or_else(|| panic!("round {round}: agent {id} is lost"));
            assert!(found.is_superset(addresses), "round {round}: {addresses:?} of {found:?}");
        }
        for (id, found) in &kept {
            assert!(asked[id].is_superset(found) && !found.is_empty(), "round {round}: {id} has {found:?}");
        }
        let mut registrations = JoinSet::new();
        for at in 0..10_u16 {
            let (name, port) = (format!("agent-{}", (round * 10 + at) % 97), 20_000 + round * 10 + at);
            let id = core::agent_id("a@b.test", &name);
            asked.entry(id.clone()).or_default().insert(format!("localhost:{port}"));
            let (sdk, request) = (site.sdk, registration(&name, port));
            registrations.spawn(async move {
                let mut client = BinduServiceClient::connect(format!("http://{sdk}")).await.ok()?;
                let answer = client.register_agent(request).await.ok()?.into_inner();
                assert!(answer.success, "{answer:?}");
                Some((id, format!("localhost:{port}")))
            });
        }
        // From before the first to after the last.
        tokio::time::sleep(Duration::from_micros(u64::from(round) * 1_009 % 40_000)).await;
        process.kill().await;
        for (id, address) in registrations.join_all().await.into_iter().flatten() {
            answered.entry(id).or_default().insert(address);
        }
    }
    let count: usize = answered.values().map(BTreeSet::len).sum();
    assert!((50..=500).contains(&count), "{count} were answered: kills that come too early or too late show nothing");
}

#[tokio::test]
async fn a_second_process_stands_by_and_takes_over() {
    let site = Site::new("standby", "");
    let process = site.start().await;
    assert!(site.register(registration("n", 20_000)).await.unwrap().success);
    let mut standby = site.standby().await;
    assert!(get(standby.admin, "/ready").await.unwrap().1.contains("standby"));
    assert_eq!(get(standby.admin, "/live").await.unwrap().0, 200);
    process.kill().await;
    let since = Instant::now();
    standby.until_ready(200).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert_eq!(standby.instances().await.len(), 1);
    assert!(site.register(registration("m", 20_001)).await.unwrap().success);
    assert_eq!(standby.stop().await, Some(0));
}

#[tokio::test]
async fn a_standby_does_not_wait_for_the_calls_of_one_that_drains() {
    let site = Site::new("standby-drain", "");
    let mut process = site.start().await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    assert!(site.register(registration("n", agent.address().port())).await.unwrap().success);
    let caller = Caller::connect(site.callback).await;
    let mut open = caller.open(crate::agents::ask()).await;
    let mut standby = site.standby().await;
    process.signal("TERM").await;
    let since = Instant::now();
    standby.until_ready(200).await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(process.child.try_wait().unwrap().is_none(), "it has a call open");
    open.finish(crate::harness::framed(&crate::agents::hello()));
    assert_eq!(soon(open.answer()).await.code(), Some(0));
    assert_eq!(soon(process.child.wait()).await.unwrap().code(), Some(0));
    let answer = Caller::connect(site.callback).await.unary(crate::agents::ask(), &crate::agents::hello()).await;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    assert_eq!(standby.stop().await, Some(0));
}

#[tokio::test]
async fn a_standby_ends_when_it_is_told() {
    let site = Site::new("standby-ends", "");
    let _process = site.start().await;
    let standby = site.standby().await;
    assert_eq!(standby.stop().await, Some(0));
    let mut standby = site.standby().await;
    assert_eq!(crate::harness::post(standby.admin, "/drain").await.unwrap().0, 202);
    assert_eq!(soon(standby.child.wait()).await.unwrap().code(), Some(0));
}

/// A disk that takes no more: files that may not grow, whose signal is not taken.
#[tokio::test]
async fn a_full_disk_refuses_new_registrations_only() {
    let site = Site::new("full", "");
    let process = site.start().await;
    let agent = bindu::Agent::start(bindu::Options::default()).await.unwrap();
    let port = agent.address().port();
    assert!(site.register(registration("n", port)).await.unwrap().success);
    assert_eq!(process.stop().await, Some(0));
    let size = fs::metadata(site.folder.at("data/registry.redb")).unwrap().len();
    let mut process = site.spawn(full_at(size, &site.folder.at("proxy.yaml")), site.admin);
    process.until_ready(200).await;
    // Large enough that what is free in the file does not do.
    let large = |name: &str, port| {
        let mut request = registration(name, port);
        let more = format!(r#", "extra_metadata": {{"x": "{}"}}}}"#, "y".repeat(200_000));
        request.config_json.truncate(request.config_json.len() - 1);
        request.config_json += &more;
        request
    };
    let mut refused = None;
    for at in 0..100 {
        let answer = site.register(large(&format!("more-{at}"), 20_000 + at)).await.unwrap();
        if !answer.success {
            refused = Some(answer.error);
            break;
        }
    }
    let error = refused.expect("the disk is full");
    assert!(error.contains("cannot be kept"), "{error}");
    // Until the next try, a second later: the agent that was refused need not be written any more, and the rest fits.
    let (status, body) = get(site.admin, "/ready").await.unwrap();
    assert!(status == 200 && body.contains("cannot be kept"), "{status} {body}");
    assert!(site.register(registration("n", port)).await.unwrap().success, "a renewal writes nothing");
    let answer = Caller::connect(site.callback).await;
    let named = crate::agents::ask().with("x-portunus-agent", "n");
    assert_eq!(answer.unary(named, &crate::agents::hello()).await.code(), Some(0), "calls go on");
    let there = process.instances().await.len();
    process.kill().await;
    let process = site.start().await;
    assert_eq!(process.instances().await.len(), there, "what was refused is not there, what was answered is");
}

#[tokio::test]
async fn damage_ends_the_start_once_and_is_kept() {
    let site = Site::new("damage", "");
    let process = site.start().await;
    assert!(site.register(registration("n", 20_000)).await.unwrap().success);
    process.kill().await;
    let file = site.folder.at("data/registry.redb");
    let size = usize::try_from(fs::metadata(&file).unwrap().len()).unwrap();
    fs::write(&file, vec![7; size]).unwrap();
    let mut process = site.spawn(site.command("proxy.yaml"), site.admin);
    let code = soon(process.child.wait()).await.unwrap().code();
    assert_eq!(code, Some(1));
    assert!(site.said().contains("was damaged") && site.said().contains("recover: true"), "{}", site.said());
    let kept = |folder: &Path| {
        fs::read_dir(folder.join("data"))
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("registry.redb.damaged-"))
    };
    assert!(kept(site.folder.path()));
    let process = site.start().await;
    assert!(process.instances().await.is_empty());
}
