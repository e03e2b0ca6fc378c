//! What a listener's calls can lead to, by its routes and the schemas of their clusters: made when somebody asks, and again only
//! once the routes or what is known of the schemas have changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::snapshot::{Listener, Route, Target};
use crate::in_force::InForce;
use crate::route::{Router, ServicePattern};
use crate::schema::{Catalog, CatalogBounds, Part, Schema};
use crate::upstream::Clusters;

/// The only service that the registrar answers.
const REGISTRAR: &str = "bindu.grpc.BinduService";
/// Between two that are made: while instances come and go by the second, something may be new all the time.
const LEAST: Duration = Duration::from_millis(250);

/// A listener, and where to look for what it leads to.
pub(super) struct Directory {
    in_force: Arc<ArcSwap<InForce>>,
    listener: Arc<str>,
    /// What the registrar serves.
    registrar: Arc<Schema>,
    made: ArcSwap<Made>,
    making: Mutex<()>,
}

/// What was made of it.
#[derive(Default)]
pub(super) struct Made {
    /// The services that can be described.
    pub(super) catalog: Arc<Catalog>,
    /// Those, and the ones that routes name though nobody can describe them.
    pub(super) services: Arc<BTreeSet<String>>,
    stamp: Option<Stamp>,
    at: Option<Instant>,
    /// Which services of which schemas the catalog was made of.
    made_of: Vec<(String, BTreeSet<String>)>,
}

/// By what it is seen that nothing has changed: the configuration's generation, and the version of each cluster's schemas.
#[derive(Clone, PartialEq, Eq)]
struct Stamp(u64, Vec<u64>);

impl Directory {
    pub(super) fn new(in_force: Arc<ArcSwap<InForce>>, listener: Arc<str>, registrar: Arc<Schema>) -> Self {
        Self { in_force, listener, registrar, made: ArcSwap::default(), making: Mutex::default() }
    }

    /// What is known now, or was a moment ago.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<Made> {
        let made = self.made.load_full();
        let Some(stamp) = self.stamp() else { return made };
        if made.stamp.as_ref() == Some(&stamp) {
            return made;
        }
        let _making = self.making.lock().await;
        let made = self.made.load_full();
        if made.stamp.as_ref() == Some(&stamp) || made.at.is_some_and(|at| at.elapsed() < LEAST) {
            return made;
        }
        let directory = Arc::clone(self);
        let before = Arc::clone(&made);
        match tokio::task::spawn_blocking(move || directory.make(stamp, &before)).await {
            Ok(Some(new)) => {
                let new = Arc::new(new);
                self.made.store(Arc::clone(&new));
                new
            }
            _ => made,
        }
    }

    /// Whether calls of a service can be taken: some route that gets them leads to somebody who can.
    pub(super) fn is_serving(&self, service: &str) -> bool {
        let InForce { snapshot, clusters } = &**self.in_force.load();
        let Some(listener) = snapshot.listeners.get(&self.listener) else { return false };
        let usable = |name: &Arc<str>| clusters.get(name).is_some_and(|cluster| cluster.has_usable());
        reachable(&listener.router, service).iter().any(|route| match &route.target {
            Target::Register { .. } => true,
            target => leads_to(target).any(usable),
        })
    }

    fn stamp(&self) -> Option<Stamp> {
        let InForce { snapshot, clusters } = &**self.in_force.load();
        let listener = snapshot.listeners.get(&self.listener)?;
        let names = listener.router.iter().flat_map(|(_, route)| leads_to(&route.target));
        let versions = names.map(|name| clusters.get(name).map_or(u64::MAX, |cluster| cluster.schemas.version()));
        Some(Stamp(snapshot.generation, versions.collect()))
    }

    fn make(&self, stamp: Stamp, before: &Made) -> Option<Made> {
        let InForce { snapshot, clusters } = &*self.in_force.load_full();
        let listener = snapshot.listeners.get(&self.listener)?;
        let shares = Shares::of(listener, clusters, &self.registrar);
        let parts = shares.parts(&listener.router);
        let made_of: Vec<_> =
            parts.iter().map(|part| (part.schema.digest().to_owned(), part.services.clone())).collect();
        let at = Some(Instant::now());
        let catalog = if before.stamp.is_some() && before.made_of == made_of {
            Arc::clone(&before.catalog)
        } else {
            Arc::new(Catalog::of(&parts, CatalogBounds::default()))
        };
        for problem in catalog.problems() {
            tracing::warn!(listener = &*self.listener, problem, "reflection is not served of everything");
        }
        let named = listener.router.iter().filter_map(|(rule, _)| match &rule.service {
            Some(ServicePattern::Exact(name)) => Some(name.to_string()),
            _ => None,
        });
        let services = Arc::new(named.chain(made_of.iter().flat_map(|(_, services)| services.clone())).collect());
        Some(Made { catalog, services, stamp: Some(stamp), at, made_of })
    }
}

/// The clusters that a route leads to.
fn leads_to(target: &Target) -> impl Iterator<Item = &Arc<str>> {
    let (one, several) = match target {
        Target::Cluster(name) => (Some(name), None),
        Target::Split(split) => (None, Some(&split.shares)),
        Target::Register { .. } => (None, None),
    };
    let several = several.into_iter().flatten().filter(|(_, weight)| *weight > 0);
    one.into_iter().chain(several.map(|(name, _)| name))
}

/// The routes that get calls of a service: first the one that gets all of them, or all that are left; then those for some.
fn reachable<'a>(router: &'a Router<Route>, service: &'a str) -> Vec<&'a Route> {
    let mut routes = Vec::new();
    for (rule, route) in router.of_service(service).filter(|(_, route)| answers(route, service)) {
        if rule.takes_whole_services() {
            routes.insert(0, route);
            break;
        }
        routes.push(route);
    }
    routes
}

/// Whether whoever gets a route's calls can know a service.
fn answers(route: &Route, service: &str) -> bool {
    !matches!(route.target, Target::Register { .. }) || service == REGISTRAR
}

/// The schemas of each cluster that a listener leads to.
struct Shares<'a> {
    described: HashMap<Arc<str>, Vec<Arc<Schema>>>,
    registrar: &'a Arc<Schema>,
}

impl<'a> Shares<'a> {
    fn of(listener: &Listener, clusters: &Clusters, registrar: &'a Arc<Schema>) -> Self {
        let names = listener.router.iter().flat_map(|(_, route)| leads_to(&route.target));
        let described = names.filter_map(|name| Some((Arc::clone(name), clusters.get(name)?.schemas.described())));
        Self { described: described.collect(), registrar }
    }

    /// The schemas of whoever gets a route's calls, the one that counts first.
    fn schemas<'s>(&'s self, route: &'s Route) -> impl Iterator<Item = &'s Arc<Schema>> {
        let registrar = matches!(route.target, Target::Register { .. }).then_some(self.registrar);
        let shares = leads_to(&route.target).filter_map(|name| self.described.get(name)).flatten();
        registrar.into_iter().chain(shares)
    }

    /// The services of each schema, as the routes share them out: each is as whoever gets its calls defines it. That is the route for
    /// all of its calls, or else the first of those for some.
    fn parts(&self, router: &Router<Route>) -> Vec<Part> {
        let mut order: Vec<&Arc<Schema>> = Vec::new();
        let mut services = BTreeSet::new();
        for (rule, route) in router.iter() {
            for schema in self.schemas(route) {
                let led_there = |service: &&str| rule.fits_service(service) && answers(route, service);
                services.extend(schema.services().filter(led_there));
                if !order.iter().any(|known| known.digest() == schema.digest()) {
                    order.push(schema);
                }
            }
        }
        let mut shares: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        for service in services {
            let of_route = |route: &Route| self.schemas(route).find(|schema| schema.has_service(service)).cloned();
            let Some(schema) = reachable(router, service).into_iter().find_map(of_route) else { continue };
            if let Some(place) = order.iter().position(|known| known.digest() == schema.digest()) {
                shares.entry(place).or_default().insert(service.to_owned());
            }
        }
        let part = |(place, services)| Some(Part { schema: Arc::clone(*order.get(place)?), services });
        shares.into_iter().filter_map(part).collect()
    }
}
