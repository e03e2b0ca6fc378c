//! A thousand configurations, one after the other, under load: routes, filters, endpoints and certificates change each time. No call fails
//! or sees two of them, each is in force at once, and nothing grows. Also how long a large one takes to be built.

mod connection;
mod load;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use portunus_agents::echo;
use portunus_dev::Authority;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::proxy::Proxy;
use crate::report::{Report, mib, percentile};
use crate::{Options, Result, backends};
use connection::{Connection, Shown};
use load::{Board, IN_FORCE, Load};

const RELOADS: u64 = 1_000;
const CALLERS: usize = 200;
const STREAMS: usize = 50;
/// How long one is in force, at least. A hundred of them take longer than what nothing leads to any more may go on (10 s): after those there
/// is as much of it as there will ever be.
const STAYS: Duration = Duration::from_millis(110);
/// From the signal until a call goes by it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Every so often somebody new comes and is shown the new certificate.
const NEWCOMER: u64 = 10;
/// Reloads after which nothing may grow, and from one look at what is held to the next.
const SETTLED: u64 = 100;
/// By how much memory may grow after those, in percent.
const GROWTH: u64 = 5;
/// What may come and go: descriptors with connections to instances, threads with work that blocks.
const DESCRIPTORS: u64 = 30;
const THREADS: u64 = 8;
/// What nothing leads to any more goes on for ten seconds at most, for calls that were decided before: what reloads leave is seen after that,
/// with the load going on.
const REST: Duration = Duration::from_secs(15);
/// Looks within the last of it, of which the one in the middle counts: what the load needs moves from one to the next.
const LOOKS: usize = 5;
const LOOK: Duration = Duration::from_millis(400);
/// A large configuration, and how long it may take.
const ROUTES: usize = 1_000;
const ENDPOINTS: usize = 10_000;
const BUILT: Duration = Duration::from_millis(200);
const TRIES: usize = 5;

pub(crate) async fn run(options: &Options, report: &mut Report) -> Result<()> {
    report.section(&format!("reload: {RELOADS} configurations under {CALLERS} callers and {STREAMS} open streams"));
    let servers = backends().await?;
    let authority = Authority::new()?;
    let files = Files::new(&authority)?;
    let version = |number| config(number, &servers, &files.folder, options.workers);
    let mut proxy = Proxy::start(&options.proxy()?, &version(1)).await?;
    let (to, tls) = (proxy.listener("edge")?, connection::connector(&authority)?);
    let board = Arc::new(Board::default());
    let load = Load::start(&board, (to, &tls), (CALLERS, STREAMS)).await?;

    let mut run = Run { took: Vec::new(), passing: Vec::new(), left: Vec::new(), newcomers: (0, Vec::new()) };
    let began = Instant::now();
    for number in 2..RELOADS + 2 {
        let asked = Instant::now();
        proxy.reload(&version(number)).await?;
        run.took.push(until_seen(&board, number).await?.saturating_duration_since(asked));
        if number.is_multiple_of(NEWCOMER) {
            run.welcome((to, &tls), &files, number).await?;
        }
        sleep(STAYS).await;
        if (number - 1).is_multiple_of(SETTLED) {
            run.passing.push(Held::of(&proxy).await?);
        }
        if number == SETTLED + 1 || number == RELOADS + 1 {
            run.left.push(at_rest(&proxy).await?);
        }
    }
    report.figure("it took", format!("{:?}", began.elapsed()));
    load.end().await?;
    run.speak(report, &board);
    let applied = proxy.metrics().await?.by("portunus_config_reloads_total", "result");
    let all = applied.get("applied").is_some_and(|count| *count >= RELOADS)
        && applied.get("failed").is_none_or(|count| *count == 0);
    report.check("every one was taken", all, format!("{applied:?}"));
    let complaints = proxy.complaints();
    report.check("no panic, error or warning in the proxy's log", complaints.is_empty(), complaints.join("\n"));
    report.check("the proxy still runs", proxy.runs(), "");
    report.check("it ends with 0 after SIGTERM", proxy.end().await?, "");
    build(options, report, &files.folder).await
}

/// Waits until a call has gone by this version; when.
async fn until_seen(board: &Board, version: u64) -> Result<Instant> {
    let seen = async {
        loop {
            match board.seen(version) {
                Some(seen) => return seen,
                None => sleep(Duration::from_millis(1)).await,
            }
        }
    };
    Ok(timeout(PATIENCE, seen).await.map_err(|_| {
        format!(
            "no call went by version {version} after {PATIENCE:?}: {} {}",
            board.failed.count(),
            board.failed.words()
        )
    })?)
}

/// What a proxy has at one moment.
#[derive(Clone, Copy)]
struct Held {
    resident: u64,
    allocated: u64,
    descriptors: u64,
    threads: u64,
}

impl Held {
    async fn of(proxy: &Proxy) -> Result<Self> {
        let metrics = proxy.metrics().await?;
        Ok(Self {
            resident: metrics.sum("process_resident_memory_bytes", None),
            allocated: metrics.sum("portunus_allocated_bytes", None),
            descriptors: metrics.sum("process_open_fds", None),
            threads: proxy.threads()? as u64,
        })
    }
}

/// What is left when no reloads have come for a while, under the same load.
async fn at_rest(proxy: &Proxy) -> Result<Held> {
    sleep(REST).await;
    let mut looks = Vec::new();
    for _ in 0..LOOKS {
        looks.push(Held::of(proxy).await?);
        sleep(LOOK).await;
    }
    looks.sort_by_key(|held| held.resident);
    looks.get(LOOKS / 2).copied().ok_or_else(|| "no looks".into())
}

/// What was seen from without.
struct Run {
    /// From the writing of the file to the first call that went by it.
    took: Vec<Duration>,
    /// After each hundred, while they go on.
    passing: Vec<Held>,
    /// After the first hundred, and after the last: once the allocator has given back what nobody uses.
    left: Vec<Held>,
    /// How many came, and what was wrong with the certificates that they were shown.
    newcomers: (u32, Vec<String>),
}

impl Run {
    /// Somebody new: is shown the certificate of the version in force, and is answered.
    async fn welcome(
        &mut self,
        (to, tls): (std::net::SocketAddr, &TlsConnector),
        files: &Files,
        number: u64,
    ) -> Result<()> {
        let (connection, shown) = Connection::new(to, tls).await?;
        self.newcomers.0 += 1;
        if shown != *files.of(number) {
            self.newcomers.1.push(format!("the former one after reload {number}"));
        }
        if let Err(error) = connection.unary(0).await {
            self.newcomers.1.push(error.to_string());
        }
        Ok(())
    }

    fn speak(mut self, report: &mut Report, board: &Board) {
        let (calls, messages) = (board.calls.load(Ordering::Relaxed), board.messages.load(Ordering::Relaxed));
        for (what, wrong, of) in [
            ("failed calls, or calls that saw two versions", &board.failed, format!("{calls} calls")),
            ("failed streams", &board.failed_streams, format!("{STREAMS}, {messages} messages")),
        ] {
            report.check(what, wrong.count() == 0, format!("{} of {of} {}", wrong.count(), wrong.words()));
        }
        report.check(
            "there was load",
            calls > RELOADS * 100 && messages > RELOADS * 10,
            format!("{calls}, {messages}"),
        );
        let late =
            format!("{} later, the last {:?} after {}", board.late.count(), board.latest.lock(), board.late.words());
        report.check(&format!("in force for calls begun {IN_FORCE:?} after the swap"), board.late.count() == 0, late);
        self.took.sort();
        for share in [50, 95, 99, 100] {
            let took = percentile(&self.took, share).unwrap_or_default();
            report.figure(&format!("from the file's writing to the first call, {share}%"), format!("{took:.1?}"));
        }
        let (came, wrong) = &self.newcomers;
        let all = wrong.is_empty() && u64::from(*came) == RELOADS / NEWCOMER;
        report.check("new handshakes show the new certificate", all, format!("{came} {}", wrong.join("; ")));
        self.speak_of_growth(report);
    }

    fn speak_of_growth(&self, report: &mut Report) {
        let shown =
            |held: &[Held], of: fn(&Held) -> u64| held.iter().map(|held| mib(of(held))).collect::<Vec<_>>().join(", ");
        let mut at_most = |what: &str, held: &[Held], of: fn(&Held) -> u64| {
            let Some((first, later)) = held.split_first() else { return };
            let flat = |held: &Held| of(held).saturating_sub(of(first)) * 100 <= of(first) * GROWTH;
            let what = format!("{what} is at most {GROWTH}% more than after {SETTLED}");
            report.check(&what, !later.is_empty() && later.iter().all(flat), shown(held, of));
        };
        at_most("allocated memory in passing", &self.passing, |held| held.allocated);
        at_most("allocated memory at rest", &self.left, |held| held.allocated);
        at_most("resident memory at rest", &self.left, |held| held.resident);
        // Some of it is pages that the allocator keeps for ten seconds, in case somebody wants them again.
        report.figure("resident memory in passing", shown(&self.passing, |held| held.resident));
        let Some((first, later)) = self.left.split_first() else { return };
        let few = |held: &Held| {
            held.descriptors <= first.descriptors + DESCRIPTORS && held.threads <= first.threads + THREADS
        };
        let counts: Vec<_> = self.left.iter().map(|held| (held.descriptors, held.threads)).collect();
        let passing = self.passing.iter().map(|held| held.descriptors).collect::<Vec<_>>();
        report.figure("descriptors after each hundred, in passing", format!("{passing:?}"));
        report.check("at rest descriptors and threads do not grow", later.iter().all(few), format!("{counts:?}"));
    }
}

/// Certificates for even versions and for odd ones.
struct Files {
    folder: PathBuf,
    shown: [Shown; 2],
}

impl Files {
    fn new(authority: &Authority) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("portunus-load-reload-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let issue = |name: &str| -> Result<Shown> {
            let issued = authority.server(&["localhost"])?;
            std::fs::write(folder.join(format!("{name}.pem")), &issued.certificate)?;
            std::fs::write(folder.join(format!("{name}.key")), &issued.key)?;
            connection::shown(&issued.certificate)
        };
        let shown = [issue("even")?, issue("odd")?];
        Ok(Self { folder, shown })
    }

    fn of(&self, number: u64) -> &Shown {
        let [even, odd] = &self.shown;
        if number.is_multiple_of(2) { even } else { odd }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// A version: its number is what it sets on requests, which the instances send back, and on answers.
fn config(number: u64, servers: &[echo::Server], folder: &Path, workers: u16) -> String {
    let even = number.is_multiple_of(2);
    let version = if even { "even" } else { "odd" };
    let extra = if even { "" } else { "      - {match: {service: not.Here}, cluster: odd}\n" };
    let limits = if even { ", {limits: {messages: 100000}}" } else { "" };
    // The one in the middle stays, the two others come and go.
    let addresses: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    let listed = addresses.get(if even { 0..2 } else { 1..3 }).unwrap_or_default().join(", ");
    let folder = folder.display();
    format!(
        "workers: {workers}\nadmin: {{address: 127.0.0.1:0}}\nclusters:\n  both: {{endpoints: [{listed}]}}\n  \
         {version}: {{endpoints: [{listed}]}}\nlisteners:\n  edge:\n    address: 127.0.0.1:0\n    \
         tls: {{certificate: {folder}/{version}.pem, key: {folder}/{version}.key}}\n    \
         filters: [{{metadata: {{set: {{x-echo-gen: \"{number}\"}}, response: {{set: {{x-gen: \"{number}\"}}}}}}}}]\n    \
         routes:\n{extra}      - {{match: {{method: Bidi}}, cluster: both}}\n      \
         - {{cluster: {version}, filters: [{{metadata: {{set: {{x-kind: {version}}}}}}}{limits}]}}\n"
    )
}

/// How long a large one takes to be built: all of `portunus check`, at its best. What else this machine does adds to a
/// measurement, and takes nothing off.
async fn build(options: &Options, report: &mut Report, folder: &Path) -> Result<()> {
    let file = folder.join("large.yaml");
    std::fs::write(&file, large())?;
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let mut check = Command::new(options.proxy()?);
        check.arg("check").arg("-c").arg(&file).stdin(Stdio::null());
        let began = Instant::now();
        let output = check.output().await?;
        best = best.min(began.elapsed());
        if !output.status.success() {
            return Err(format!("check: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    let what = format!("{ROUTES} routes and {ENDPOINTS} endpoints are built in {BUILT:?}");
    report.check(&what, best < BUILT, format!("{best:.1?}"));
    Ok(())
}

/// A hundred clusters, to which the routes go by turns.
fn large() -> String {
    const CLUSTERS: usize = 100;
    let mut text = "clusters:\n".to_owned();
    for cluster in 0..CLUSTERS {
        let addresses: Vec<_> = (0..ENDPOINTS / CLUSTERS)
            .map(|at| format!("\"10.{cluster}.{}.{}:50051\"", at / 200, at % 200 + 1))
            .collect();
        writeln!(text, "  c{cluster}: {{endpoints: [{}]}}", addresses.join(", ")).ok();
    }
    text.push_str("listeners:\n  edge:\n    address: 127.0.0.1:0\n    routes:\n");
    for route in 0..ROUTES {
        let cluster = route % CLUSTERS;
        writeln!(text, "      - {{match: {{service: pkg.Service{route}, method: Method}}, cluster: c{cluster}}}").ok();
    }
    text
}
