//! A proxy in this process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portunus::app::{self, Proxy};
use portunus::call::Shared;
use portunus::config::{Loaded, Reflection};
use portunus::upstream::Cluster;
use portunus::{config, filters};

use super::Caller;

/// One listener `edge` with one route to one cluster `echo`, and what a test adds to each in YAML.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup<'a> {
    /// Threads; 0 stands for 1, so that limits that count a worker are exact.
    pub(crate) workers: u16,
    /// Keys of the whole file.
    pub(crate) top: &'a str,
    /// Keys of the cluster.
    pub(crate) cluster: &'a str,
    /// Keys of the listener.
    pub(crate) listener: &'a str,
    /// Keys of the route.
    pub(crate) route: &'a str,
}

/// The whole file; the admin port is added, unless the file begins with it.
fn loaded(text: &str) -> Loaded {
    let admin = if text.starts_with("admin:") { "" } else { "admin: {address: 127.0.0.1:0}\n" };
    let text = format!("{admin}{text}");
    let loaded = config::load_str(&text, Path::new("it.yaml"), &|_| None, filters::ALL);
    let mut loaded = loaded.unwrap_or_else(|errors| panic!("{errors}\nin\n{text}"));
    // Most instances of tests count what they are asked. A test that is about schemas says so.
    for (name, cluster) in &mut loaded.config.clusters {
        if !loaded.source.has(&portunus::path!["clusters", name.as_str(), "schema"]) {
            cluster.schema.reflection = Some(Reflection::Switch(false));
        }
    }
    loaded
}

/// A running proxy. Dropped, it ends at once.
pub(crate) struct TestProxy {
    proxy: Proxy,
    address: Option<SocketAddr>,
}

impl TestProxy {
    /// In front of these instances, with every default.
    pub(crate) async fn before(instances: &[SocketAddr]) -> Self {
        Self::with(instances, Setup::default()).await
    }

    /// In front of these instances.
    pub(crate) async fn with(instances: &[SocketAddr], setup: Setup<'_>) -> Self {
        let Setup { workers, top, cluster, listener, route } = setup;
        let addresses: Vec<_> = instances.iter().map(ToString::to_string).collect();
        Self::yaml(&format!(
            "workers: {workers}\n{top}\nclusters:\n  echo:\n    endpoints: [{instances}]\n{cluster}\n\
             listeners:\n  edge:\n    address: 127.0.0.1:0\n{listener}\n    routes:\n      - cluster: echo\n{route}\n",
            workers = workers.max(1),
            instances = addresses.join(", "),
            cluster = indent(cluster, 4),
            listener = indent(listener, 4),
            route = indent(route, 8),
        ))
        .await
    }

    /// As the whole file says; the admin port is added, unless the file begins with it.
    pub(crate) async fn yaml(text: &str) -> Self {
        let proxy = app::start(loaded(text)).await.unwrap();
        let address = proxy.address("edge");
        Self { proxy, address }
    }

    /// Has another file take the place of the one that it runs by; why not, if not.
    pub(crate) async fn reload(&self, text: &str) -> Result<(), String> {
        self.proxy.reload(loaded(text)).await.map_err(|error| error.to_string())
    }

    /// Has it look whether its audit files were moved aside.
    pub(crate) async fn reopen_audit(&self) -> Vec<String> {
        self.proxy.reopen_audit().await
    }

    /// Where the listener `edge` is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a listener `edge`")
    }

    /// Where another listener is.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.proxy.address(name).expect(name)
    }

    /// What its calls share.
    pub(crate) fn shared(&self) -> &Shared {
        &self.proxy.shared
    }

    /// Where the admin server is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.proxy.admin()
    }

    /// Where it answers anybody.
    pub(crate) fn public_address(&self) -> SocketAddr {
        self.proxy.public().expect("`admin.public`")
    }

    /// A cluster, as calls see it.
    pub(crate) fn cluster(&self, name: &str) -> Arc<Cluster> {
        Arc::clone(self.proxy.shared.in_force.load().clusters.get(name).expect(name))
    }

    /// A connection that speaks frames.
    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(self.address()).await
    }

    /// Ends it well; true if nothing was left.
    pub(crate) async fn drain(self, patience: Duration) -> bool {
        self.proxy.drain(patience).await
    }
}

fn indent(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}
