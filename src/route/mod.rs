//! Which route a call takes: matches, their order, and a table that is quick with many routes. Knows no cluster and no
//! filter: what a route leads to is the caller's own type.

mod matcher;
mod template;

pub use filter_api::{MethodPattern, ServicePattern};
pub use matcher::{HeaderMatch, HeaderRegex, HeaderTest, RouteMatch};
pub use template::{AuthorityPattern, NO_AUTHORITY, is_host_name};

use fields::RequestHead;
use rustc_hash::FxHashMap;

/// A service that is served where no route says otherwise, and what its calls lead to.
#[derive(Clone, Copy, Debug)]
pub struct Own<T> {
    /// Its full name.
    pub service: &'static str,
    /// A route for a package names the service, too, if the package's name starts with this.
    pub family: &'static str,
    /// Where its calls lead.
    pub leads: T,
}

/// The routes of a listener, the most specific first.
#[derive(Debug)]
pub struct Router<T> {
    routes: Vec<(RouteMatch, T)>,
    /// For each service that a route names exactly: the routes that can match a call of it, in order.
    by_service: FxHashMap<Box<str>, Vec<usize>>,
    /// For any other service.
    others: Vec<usize>,
}

impl<T> Router<T> {
    /// Orders the routes of a file by how specific they are; equal ones keep the file's order.
    pub fn new(routes: Vec<(RouteMatch, T)>) -> Self {
        Self::with(routes, Vec::new())
    }

    /// The same, with services that are served besides: a route that names such a service gets its calls, any other does not.
    pub fn with(mut routes: Vec<(RouteMatch, T)>, own: Vec<Own<T>>) -> Self {
        routes.sort_by_key(|(rule, _)| std::cmp::Reverse(rule.rank()));
        let mut by_service: FxHashMap<Box<str>, Vec<usize>> = FxHashMap::default();
        let mut others = Vec::new();
        for (at, (rule, _)) in routes.iter().enumerate() {
            match &rule.service {
                Some(ServicePattern::Exact(name)) => by_service.entry(name.clone()).or_default().push(at),
                _ => others.push(at),
            }
        }
        // Only those can fit several services: not every route is compared with every service.
        for (name, candidates) in &mut by_service {
            candidates.extend(others.iter().filter(|at| routes[**at].0.fits_service(name)));
            candidates.sort_unstable();
        }
        for Own { service, family, leads } in own {
            // Not by rank: a route for an authority, or for a method by its name alone, ranks higher and still does not name it.
            let names = |at: &usize| match &routes[*at].0.service {
                Some(ServicePattern::Exact(name)) => **name == *service,
                Some(ServicePattern::Package(prefix)) => prefix.starts_with(family) && service.starts_with(&**prefix),
                None => false,
            };
            let mut candidates: Vec<usize> = (0..routes.len()).filter(names).collect();
            candidates.push(routes.len());
            by_service.insert(service.into(), candidates);
            let rule = RouteMatch { service: Some(ServicePattern::Exact(service.into())), ..RouteMatch::default() };
            routes.push((rule, leads));
        }
        Self { routes, by_service, others }
    }

    /// The routes that match, the most specific first: their places, for [`get`](Self::get). The first is the call's, unless it has a
    /// `when` that does not hold. `host` is the authority's, without port.
    pub fn candidates(
        &self,
        head: &RequestHead,
        host: &str,
        service: &str,
        method: &str,
    ) -> impl Iterator<Item = usize> {
        let matches =
            move |at: &usize| self.routes.get(*at).is_some_and(|(rule, _)| rule.matches(head, host, service, method));
        self.for_service(service).iter().copied().filter(matches)
    }

    /// The routes that can get calls of a service, in the order in which they are tried.
    pub fn of_service<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a (RouteMatch, T)> {
        let routes = self.for_service(service).iter().filter_map(|at| self.routes.get(*at));
        routes.filter(move |(rule, _)| rule.fits_service(service))
    }

    fn for_service(&self, service: &str) -> &[usize] {
        self.by_service.get(service).unwrap_or(&self.others)
    }

    /// What the route at a place leads to.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.routes.get(place).map(|(_, target)| target)
    }

    /// What each route leads to, to be changed before calls come.
    pub fn targets_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.routes.iter_mut().map(|(_, target)| target)
    }

    /// Every route, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &(RouteMatch, T)> {
        self.routes.iter()
    }
}

#[cfg(test)]
mod tests;
