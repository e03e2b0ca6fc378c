//! `check --online`: dials everybody whom a running proxy would dial, asks instances what they serve with the code by which that does
//! it (`survey`), fetches the keys of issuers (`issuers`), and says what is wrong (`findings`). It binds nothing, registers nothing, and
//! is over within a bound of time.

mod findings;
mod issuers;
mod survey;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use findings::Findings;

use crate::config::snapshot::Snapshot;
use crate::config::{self, Dns, Endpoint, Loaded, Members, Path};
use crate::observe::Metrics;
use crate::path;
use crate::registry::Target;
use crate::upstream::{Network, Place, Security, Tcp, knock};

/// All of it together.
pub const WITHIN: Duration = Duration::from_secs(30);
/// Connections that are being opened at once.
const AT_ONCE: usize = 64;
/// For the keys of an issuer.
const FETCH: Duration = Duration::from_secs(5);
/// For a name server.
const LOOK_UP: Duration = Duration::from_secs(5);

/// A look around.
struct Visit<'a> {
    loaded: &'a Loaded,
    snapshot: &'a Snapshot,
    network: Arc<dyn Network>,
    metrics: Arc<Metrics>,
    room: Semaphore,
    within: Duration,
    until: Instant,
}

/// Somebody to dial, and where the file names them.
struct Door {
    at: Path,
    target: Target,
}

/// Dials everybody in a configuration and asks them what they serve, within a time.
pub async fn look(loaded: &Loaded, snapshot: &Snapshot, within: Duration) -> Findings {
    let visit = Visit {
        loaded,
        snapshot,
        network: Arc::new(Tcp),
        metrics: Metrics::new(),
        room: Semaphore::new(AT_ONCE),
        within,
        until: Instant::now() + within,
    };
    let clusters = loaded.config.clusters.iter().map(|(name, cluster)| visit.cluster(name, cluster));
    let issuers = snapshot.issuers.iter().map(|signatory| visit.issuer(signatory));
    let mut findings = Findings::default();
    let (of_clusters, of_issuers) = tokio::join!(join_all(clusters), join_all(issuers));
    for found in of_clusters.into_iter().chain(of_issuers) {
        findings.add(found);
    }
    findings
}

impl Visit<'_> {
    async fn cluster(&self, name: &str, cluster: &config::Cluster) -> Findings {
        let at = path!["clusters", name];
        let mut findings = Findings::default();
        let answering = match cluster.members() {
            Some(Members::Endpoints(endpoints)) => self.dial(name, listed(&at, endpoints), &mut findings).await,
            Some(Members::Dns(dns)) => {
                let doors = self.named(&at.with("dns"), dns, &mut findings).await;
                self.dial(name, doors, &mut findings).await
            }
            Some(Members::Registry(registry)) => {
                let core = registry.core.as_ref().and_then(|core| Target::parse(&core.to_string()));
                self.core(&at, core, &mut findings).await;
                Vec::new()
            }
            None => Vec::new(),
        };
        self.survey((name, cluster), answering, &mut findings).await;
        findings
    }

    /// The instances that a name server lists now.
    async fn named(&self, at: &Path, dns: &Dns, findings: &mut Findings) -> Vec<Door> {
        let name = dns.name.to_string();
        let until = self.until.min(Instant::now() + LOOK_UP);
        let why = match timeout_at(until, self.network.resolve(&name, dns.port)).await {
            Ok(Ok(mut found)) if !found.is_empty() => {
                found.sort_unstable();
                found.dedup();
                let doors = found.into_iter().map(|address| Door { at: at.clone(), target: Target::Socket(address) });
                return doors.collect();
            }
            Ok(Ok(_)) => "it has no address".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the name server does not answer in time".to_owned(),
        };
        findings.wrong(self.loaded, &at.with("name"), format!("`{name}` cannot be looked up: {why}"));
        Vec::new()
    }

    /// Who registers is not known before a proxy runs; the core is.
    async fn core(&self, at: &Path, core: Option<Target>, findings: &mut Findings) {
        const OTHERS: &str = "its instances are those that register, so none is dialled";
        let Some(core) = core else { return findings.reached(format!("{at}: {OTHERS}")) };
        let door = Door { at: at.with("registry").with("core"), target: core.clone() };
        match self.knock(Place::of_core(core.clone())).await {
            Ok(()) => findings.reached(format!("{at}: the core {core} answers; {OTHERS}")),
            Err(why) => {
                findings.wrong(self.loaded, &door.at, format!("the core {core} cannot be reached: {why}"));
                findings.reached(format!("{at}: {OTHERS}"));
            }
        }
    }

    /// What a cluster has of TLS, as it would run.
    fn security(&self, cluster: &str) -> Arc<Security> {
        Security::new(self.snapshot.tls.get(cluster).cloned().flatten())
    }

    /// Those who answer.
    async fn dial(&self, cluster: &str, doors: Vec<Door>, findings: &mut Findings) -> Vec<Door> {
        let security = self.security(cluster);
        let places = doors.iter().map(|door| Place::listed(door.target.clone(), &security));
        let knocks = join_all(places.map(|place| self.knock(place))).await;
        let mut answering = Vec::new();
        for (door, knocked) in doors.into_iter().zip(knocks) {
            match knocked {
                Ok(()) => answering.push(door),
                Err(why) => findings.wrong(self.loaded, &door.at, format!("{} cannot be reached: {why}", door.target)),
            }
        }
        answering
    }

    async fn knock(&self, place: Place) -> Result<(), String> {
        let knocked = async {
            // It is never closed.
            let _room = self.room.acquire().await;
            knock(&*self.network, &place).await
        };
        match timeout_at(self.until, knocked).await {
            Ok(knocked) => knocked.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not come to its turn within {:?}", self.within)),
        }
    }
}

fn listed(at: &Path, endpoints: &[Endpoint]) -> Vec<Door> {
    let doors = endpoints.iter().enumerate().filter_map(|(index, endpoint)| {
        // The file's rules have seen to the form.
        let target = Target::parse(&endpoint.address().to_string())?;
        Some(Door { at: at.with("endpoints").with(index), target })
    });
    doors.collect()
}
