//! How sockets are opened and names looked up: one small trait, so that a simulator can take the network's place.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::security::{Insecure, Secured, Security};
use crate::registry::{Door, Instance, Permit, Target};

/// A connected socket.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What the proxy needs of a network towards instances and cores.
pub trait Network: Debug + Send + Sync {
    /// Connects to an address.
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;

    /// The addresses of a name, each with the port.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The system's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        async move {
            let socket = TcpStream::connect(address).await?;
            // Small frames must not wait for the peer's acknowledgement; the write buffer does the batching.
            socket.set_nodelay(true)?;
            keep_alive(&socket)?;
            Ok(Box::new(socket) as Box<dyn Io>)
        }
        .boxed()
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let host = host.to_owned();
        async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) }.boxed()
    }
}

/// Has the kernel find out that the other host is gone, where no bytes would: after 60 s of silence, within 30 s more.
fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    let patience =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(10)).with_retries(3);
    SockRef::from(socket).set_tcp_keepalive(&patience)
}

/// Where something listens, which of its addresses may be dialled, and who must be there.
#[derive(Clone, Debug)]
pub struct Place {
    pub(super) target: Target,
    /// None: whoever wrote the file may send us anywhere.
    pub(super) permit: Option<Permit>,
    /// Of a server of this process, which no network leads to.
    pub(super) door: Option<Door>,
    /// None: what goes there is in the clear.
    pub(super) secured: Option<Secured>,
    era: u64,
}

impl Place {
    /// Of an instance, whose cluster has this of TLS.
    pub fn of(instance: &Instance, security: &Security) -> Self {
        let Instance { target, permit, door, shown, .. } = instance;
        let (secured, era) = security.secured(shown.as_ref());
        Self { target: target.clone(), permit: permit.clone(), door: door.clone(), secured, era }
    }

    /// Of an instance that the file, or a name server, lists.
    pub fn listed(target: Target, security: &Security) -> Self {
        let (secured, era) = security.secured(None);
        Self { target, permit: None, door: None, secured, era }
    }

    /// Of a core: it is reached in the clear.
    pub fn of_core(target: Target) -> Self {
        Self { target, permit: None, door: None, secured: None, era: 0 }
    }

    /// Whether what goes there is by TLS.
    pub fn is_secure(&self) -> bool {
        self.secured.is_some()
    }

    /// Of which era of its cluster's TLS it is: [`Security::era`].
    pub fn era(&self) -> u64 {
        self.era
    }

    /// What to call whoever is there: by the name that it has to prove, or its address.
    pub(super) fn authority(&self) -> String {
        let name = self.secured.as_ref().and_then(|secured| secured.client.server_name());
        name.map_or_else(|| self.target.to_string(), |name| name.to_string())
    }
}

/// An address that may not be dialled, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Forbidden(String);

/// The addresses of a target now.
pub(super) async fn addresses(network: &dyn Network, target: &Target) -> io::Result<Vec<SocketAddr>> {
    match (target.known_addresses(), target) {
        (Some(known), _) => Ok(known),
        (None, Target::Name(host, port)) => network.resolve(host, *port).await,
        (None, _) => Ok(Vec::new()),
    }
}

/// Connects to a place, and has whoever is there prove who it is, where that is asked.
pub(super) async fn dial(network: &dyn Network, place: &Place) -> io::Result<Box<dyn Io>> {
    let socket = open(network, place).await?;
    match &place.secured {
        None => Ok(socket),
        Some(secured) => {
            secured.shake_hands(socket, &place.target).await.map_err(|why: Insecure| io::Error::other(why))
        }
    }
}

/// Connects to the first address of a place that takes it. Names are looked up anew at each dial, and each address is checked
/// again: what a name means can change after its registration.
async fn open(network: &dyn Network, place: &Place) -> io::Result<Box<dyn Io>> {
    let Place { target, permit, door, .. } = place;
    if let Some(door) = door {
        return Ok(Box::new(door.open()?));
    }
    let mut failed = None;
    for address in addresses(network, target).await? {
        if let Some(Err(why)) = permit.as_ref().map(|permit| permit.check_for(target, address)) {
            failed = failed.or(Some(io::Error::other(Forbidden(why))));
            continue;
        }
        match network.open(address).await {
            Ok(socket) => return Ok(socket),
            // The first error is the one that counts: ::1 is only tried because 127.0.0.1 failed.
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{target} has no address"))))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use portunus_proto::bindu::RegisterAgentRequest;
    use tokio::time::Instant;

    use super::*;
    use crate::call::register::Registrar;
    use crate::observe::ClusterMetrics;
    use crate::registry::{Caller, Connection, Patients, Registry, Settings, Shown};

    /// Names that mean something else at each look, and the addresses that were dialled.
    #[derive(Debug, Default)]
    struct Moving {
        looks: Mutex<VecDeque<Vec<SocketAddr>>>,
        dialled: Mutex<Vec<SocketAddr>>,
    }

    impl Network for Moving {
        fn open(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
            self.dialled.lock().push(address);
            async { Err(io::ErrorKind::ConnectionRefused.into()) }.boxed()
        }

        fn resolve(&self, _: &str, _: u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            let found = self.looks.lock().pop_front().unwrap_or_default();
            async { Ok(found) }.boxed()
        }
    }

    fn place(settings: Settings) -> Place {
        let registry = Registry::new("agents", settings, Arc::new(ClusterMetrics::default()));
        let peer = "10.0.0.9:40000".parse().unwrap();
        let caller =
            Caller { peer, local: None, connection: Connection::opened(), owner: "o".into(), shown: Shown::Nothing };
        Place {
            target: Target::Name("a.pods.internal".into(), 5000),
            permit: Some(registry.permit(&caller)),
            door: None,
            secured: None,
            era: 0,
        }
    }

    #[tokio::test]
    async fn a_name_that_moves_is_not_followed_where_it_may_not_lead() {
        let network = Moving::default();
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let good = at("10.0.0.9:5000");
        let bad = [
            "127.0.0.1:5000",
            "169.254.169.254:5000",
            "10.0.0.8:5000",
            "[::ffff:127.0.0.1]:5000",
            "[fd00:ec2::254]:5000",
        ]
        .map(at);
        *network.looks.lock() = [vec![good], bad.to_vec(), vec![bad[0], good]].into();
        let place = place(Settings::default());
        let refused = |error: Result<Box<dyn Io>, io::Error>| error.err().unwrap().kind();
        assert_eq!(refused(dial(&network, &place).await), io::ErrorKind::ConnectionRefused);
        let error = dial(&network, &place).await.err().unwrap();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Forbidden>()), "{error:?}");
        assert_ne!(refused(dial(&network, &place).await), io::ErrorKind::NotFound);
        assert_eq!(*network.dialled.lock(), [good, good], "nobody else was dialled");
    }

    /// A registry that takes names and addresses of pods.
    fn of_pods() -> Arc<Registry> {
        let settings = Settings {
            allow: Some(vec!["10.0.0.0/8".parse().unwrap()]),
            allow_names: vec![".pods.internal".into()],
            ..Settings::default()
        };
        Registry::new("agents", settings, Arc::new(ClusterMetrics::default()))
    }

    async fn register(registrar: &Registrar, agent: &str, callback: &str, owner: &str) -> bool {
        let config_json =
            format!(r#"{{"author": "x", "name": "{agent}", "deployment": {{"url": "http://x", "expose": true}}}}"#);
        let peer = "10.0.0.8:40000".parse().unwrap();
        let caller =
            Caller { peer, local: None, connection: Connection::opened(), owner: owner.into(), shown: Shown::Nothing };
        let grpc_callback_address = callback.to_owned();
        let request = RegisterAgentRequest { config_json, skills: vec![], grpc_callback_address };
        registrar.register(request, &caller).await.success
    }

    #[tokio::test]
    async fn a_name_that_comes_to_mean_another_agents_address_is_not_followed() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (own, others) = (at("10.0.0.8:5000"), at("10.0.0.9:5000"));
        let network = Arc::new(Moving::default());
        *network.looks.lock() = vec![vec![own], vec![others], vec![own], vec![others]].into();
        let registry = of_pods();
        let registrar = Registrar::new(Arc::clone(&registry), network.clone());
        for (name, address) in [("a", "a.pods.internal:5000"), ("b", "10.0.0.9:5000")] {
            assert!(register(&registrar, name, address, "o").await, "{name}");
        }
        let probes = registry.take_probes(2, Instant::now());
        let named = probes.iter().find(|probe| matches!(probe.instance.target, Target::Name(..))).unwrap();
        let place = Place::of(&named.instance, &Security::default());
        let forbidden = |error: io::Error| error.get_ref().is_some_and(|inner| inner.is::<Forbidden>());
        assert!(forbidden(dial(&*network, &place).await.err().unwrap()), "it is b's");
        assert!(!forbidden(dial(&*network, &place).await.err().unwrap()), "it is its own again");
        let now = Instant::now();
        let other = registry.view(now).into_iter().find(|agent| agent.name == "b").unwrap();
        assert!(registry.release(&other.id, now));
        assert!(!forbidden(dial(&*network, &place).await.err().unwrap()), "it is nobody's");
        assert_eq!(*network.dialled.lock(), [own, others]);
    }

    #[tokio::test]
    async fn the_addresses_that_a_name_had_are_its_agents() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let network = Arc::new(Moving::default());
        let registry = of_pods();
        let registrar = Registrar::new(Arc::clone(&registry), network.clone());
        let register = async |agent: &str, callback: &str, owner: &str, means: &[&str]| {
            *network.looks.lock() = [means.iter().map(|text| at(text)).collect()].into();
            self::register(&registrar, agent, callback, owner).await
        };
        assert!(register("a", "a.pods.internal:5000", "one", &["10.0.0.8:5000", "[::ffff:10.0.0.9]:5000"]).await);
        for (callback, means) in [
            ("localhost:5000", &[][..]),
            ("10.0.0.9:5000", &[]),
            ("[::ffff:10.0.0.8]:5000", &[]),
            ("b.pods.internal:5000", &["10.0.0.9:5000"]),
        ] {
            assert!(!register("b", callback, "two", means).await, "{callback} is a's");
        }
        assert!(register("b", "10.0.0.8:5001", "two", &[]).await, "another port is not");
        assert!(register("a", "a.pods.internal:5000", "one", &["10.0.0.7:5000"]).await);
        assert!(register("b", "10.0.0.9:5000", "two", &[]).await, "it has moved away");
    }
}
