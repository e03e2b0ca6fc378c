//! TLS towards the instances of a cluster: whom they must prove to be, and how a connection is secured. Where a cluster has it, nothing
//! goes to an instance in the clear: every way there leads through a [`Place`](super::Place), and only this makes one of an instance.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use portunus_tls::{Client, Expected, Refused};
use tokio::time::Instant;

use super::network::Io;
use crate::registry::{Shown, Target};

/// The same failure is told once in this time.
const QUIET: Duration = Duration::from_secs(10);

/// What a cluster has of TLS: nothing, where its instances are reached in the clear. Outlives a configuration.
#[derive(Debug, Default)]
pub struct Security {
    now: ArcSwap<InForce>,
    /// What was last told of failures, and when.
    told: Mutex<Option<(String, Instant)>>,
}

#[derive(Debug, Default)]
struct InForce {
    client: Option<Arc<Client>>,
    era: u64,
}

impl InForce {
    /// Whether connections that were made for one are as good as if they were made for the other.
    fn trusts_as(&self, other: Option<&Client>) -> bool {
        Client::trust_alike(self.client.as_deref(), other)
    }
}

impl Security {
    /// With these settings, if TLS is spoken.
    pub fn new(client: Option<Arc<Client>>) -> Arc<Self> {
        Arc::new(Self { now: ArcSwap::from_pointee(InForce { client, era: 0 }), told: Mutex::default() })
    }

    /// Other settings are in force, for connections that are opened from now on. Where others are trusted than before, those that are open
    /// are of an [`era`](Self::era) that is over.
    pub fn replace(&self, client: Option<Arc<Client>>) {
        let before = self.now.load();
        let era = before.era + u64::from(!before.trusts_as(client.as_deref()));
        self.now.store(Arc::new(InForce { client, era }));
    }

    /// Counts the times at which others were trusted than before. What was opened in another takes no more calls.
    pub fn era(&self) -> u64 {
        self.now.load().era
    }

    /// Whom every instance must prove to be, if the settings say: the authority of what is asked of them, too.
    pub fn server_name(&self) -> Option<Arc<str>> {
        self.now.load().client.as_ref().and_then(|client| client.server_name().cloned())
    }

    /// What a connection needs to whoever has shown this (none where it is in the clear), and in which era.
    pub(super) fn secured(&self, shown: Option<&Shown>) -> (Option<Secured>, u64) {
        let now = self.now.load();
        let secured = now.client.as_ref().map(|client| Secured { client: Arc::clone(client), shown: shown.cloned() });
        (secured, now.era)
    }

    /// A connection could not be secured: the operator is told why, and not for every call.
    pub(super) fn tell(&self, cluster: &str, instance: &str, why: &str) {
        let (now, line) = (Instant::now(), format!("{instance}: {why}"));
        let mut told = self.told.lock();
        if told.as_ref().is_some_and(|(last, at)| *last == line && now.saturating_duration_since(*at) < QUIET) {
            return;
        }
        *told = Some((line, now));
        drop(told);
        tracing::warn!(cluster, instance, why, "no TLS connection to an instance: calls do not reach it");
    }
}

/// How a connection is secured, and who must be at its other end.
#[derive(Clone, Debug)]
pub(super) struct Secured {
    pub(super) client: Arc<Client>,
    /// What was shown when the instance registered; none where the file names it.
    shown: Option<Shown>,
}

impl Secured {
    /// Shakes hands: whoever is at the other end is who is expected, and speaks HTTP/2.
    pub(super) async fn shake_hands(&self, io: Box<dyn Io>, target: &Target) -> Result<Box<dyn Io>, Insecure> {
        let host = host(target);
        let stream = self.client.connect(io, &host, self.expected(&host)).await?;
        if stream.protocol() != Some(b"h2") {
            return Err(Insecure("it does not say that it speaks HTTP/2 (ALPN `h2`): have it do so".to_owned()));
        }
        Ok(Box::new(stream))
    }

    fn expected<'a>(&'a self, host: &'a str) -> Expected<'a> {
        match &self.shown {
            None | Some(Shown::Nothing) => Expected::Host(host),
            Some(Shown::Spiffe(id)) => Expected::Spiffe(id),
            Some(Shown::Certificate { subject, issuer }) => Expected::Subject { subject, issuer },
            Some(Shown::Token | Shown::Unknown) => Expected::Named,
        }
    }
}

/// Why a connection is not secured: in words, for the operator.
#[derive(Clone, Debug, thiserror::Error)]
#[error("TLS: {0}")]
pub(super) struct Insecure(pub(super) String);

impl From<Refused> for Insecure {
    fn from(refused: Refused) -> Self {
        Self(refused.why)
    }
}

/// Who is at a target as far as its own address says: a name, or an IP address.
fn host(target: &Target) -> String {
    match target {
        Target::Socket(socket) => socket.ip().to_string(),
        Target::Loopback(_) => "localhost".to_owned(),
        Target::Name(host, _) => host.clone(),
        Target::Within(name) => name.to_string(),
    }
}
