//! Rules for `listeners.NAME.routes`.

use std::collections::HashMap;

use filter_api::Phase;

use super::Rules;
use crate::config::Path;
use crate::config::file::{FilterUse, Listener, Route};
use crate::path;
use crate::route::ServicePattern;

/// What a `register_into` route serves.
const REGISTRAR: &str = "bindu.grpc.BinduService";

impl Rules<'_> {
    pub(super) fn routes(&mut self, name: &str, listener: &Listener) {
        let mut strangers_reach = None;
        for (index, route) in listener.routes.iter().enumerate() {
            let at = path!["listeners", name, "routes", index];
            self.target(route, &at);
            if route.register_into.is_some() {
                self.registrar(route, listener, &at);
            } else if route.open_registration {
                let message = "only a route with `register_into` registers anybody: leave `open_registration` out";
                self.report(&at.with("open_registration"), message.to_owned());
            }
            if let Some(timeout) = route.timeout
                && timeout.0.is_zero()
            {
                self.report(&at.with("timeout"), "must be more than `0s`; leave it out for none".to_owned());
            }
            if !self.is_authenticated(listener) && !self.authenticates(&route.filters) {
                strangers_reach = strangers_reach.or_else(|| self.registry_of(route));
            }
        }
        if let Some(cluster) = strangers_reach.filter(|_| !Self::is_private(listener) && listener.from.is_none()) {
            let message = format!(
                "routes to the registry cluster `{cluster}` {} without an authenticate filter: say with \
                 `from: [10.0.0.0/8]` whose calls are admitted",
                if listener.address.is_loopback() { "behind a balancer or proxy" } else { "off loopback" }
            );
            self.report(&path!["listeners", name], message);
        }
        self.told_apart(name, listener);
    }

    /// Exactly one target, and that it exists.
    fn target(&mut self, route: &Route, at: &Path) {
        let kinds = ["cluster", "split", "register_into"];
        let has: Vec<&str> = kinds.into_iter().filter(|kind| self.source.has(&at.with(*kind))).collect();
        match has.as_slice() {
            [_] => {}
            [] => self.report(at, "goes nowhere: give one of `cluster`, `split` and `register_into`".to_owned()),
            [first, second, ..] => {
                let message =
                    format!("has both `{first}` and `{second}`: keep one of `cluster`, `split`, `register_into`");
                self.report(at, message);
            }
        }
        if let Some(cluster) = &route.cluster {
            self.known_cluster(cluster, &at.with("cluster"));
        }
        for (index, share) in route.split.iter().flatten().enumerate() {
            self.known_cluster(&share.cluster, &at.with("split").with(index).with("cluster"));
        }
        if route.split.iter().flatten().all(|share| share.weight == 0) && route.split.is_some() {
            self.report(&at.with("split"), "has only weights of 0: nobody would get a call, raise one".to_owned());
        }
    }

    fn registrar(&mut self, route: &Route, listener: &Listener, at: &Path) {
        let Some(cluster) = &route.register_into else { return };
        let target = at.with("register_into");
        if self.known_cluster(cluster, &target) && !self.source.has(&path!["clusters", cluster, "registry"]) {
            // With a gap in the cluster, the `registry` may be what is misspelled.
            if !self.gaps.contains(&path!["clusters", cluster]) {
                let message =
                    format!("cluster `{cluster}` has no `registry` to register into: add `registry: {{}}` to it");
                self.report(&target, message);
            }
        }
        if !self.source.has(&path!["state"]) {
            let message = "registrations need a place: give `state: {dir: ./data}` at the top of the file, or spell out `state: memory` \
                           (they are then gone after a restart, until the SDK instances register again)";
            self.report(&target, message.to_owned());
        }
        let known = self.tells_apart(listener, route);
        if !Self::is_private(listener) && !route.open_registration && !known {
            self.report(&target, strangers_register(listener));
        }
        if let Some(ServicePattern::Exact(service)) = &route.matches.service
            && **service != *REGISTRAR
        {
            let message = format!("a `register_into` route serves `{REGISTRAR}` only, not `{service}`");
            self.report(&at.with("match").with("service"), message);
        }
    }

    /// Routes with the same match: the second would never get a call.
    fn told_apart(&mut self, name: &str, listener: &Listener) {
        let mut seen = HashMap::new();
        for (index, route) in listener.routes.iter().enumerate() {
            // As text, in which headers are sorted and patterns are in one form.
            let Ok(matches) = serde_json::to_string(&route.matches) else { continue };
            let first = *seen.entry(matches).or_insert(index);
            let (at, first_at) = (path!["listeners", name, "routes", index], path!["listeners", name, "routes", first]);
            if first == index || self.has_gap(&first_at) || self.has_gap(&at) {
                continue;
            }
            let (line, first_line) = (self.source.position(&at).line, self.source.position(&first_at).line);
            let message = format!(
                "the routes in lines {first_line} and {line} take the same calls, and the second would never get one: \
                 change the `match` of one"
            );
            self.report(&at, message);
        }
    }

    /// The registry cluster that gets calls of `route`, if there is one.
    fn registry_of(&self, route: &Route) -> Option<String> {
        let shares = route.split.iter().flatten().map(|share| &share.cluster);
        let mut clusters = route.cluster.iter().chain(shares);
        clusters.find(|cluster| self.source.has(&path!["clusters", *cluster, "registry"])).cloned()
    }

    pub(super) fn authenticates(&self, filters: &[FilterUse]) -> bool {
        let known =
            |name: &str| self.filters.iter().any(|known| known.name == name && known.phase == Phase::Authenticate);
        // A filter that may let strangers pass tells nobody apart.
        let is_optional = |filter: &FilterUse| filter.config.get("optional").is_some_and(|optional| optional == true);
        filters.iter().any(|filter| known(&filter.name) && !is_optional(filter))
    }
}

fn strangers_register(listener: &Listener) -> String {
    let by_certificate = match &listener.forwarded {
        None => "ask for certificates with `tls: {client_auth: {mode: required, ca: …}}`, ",
        // Those of the proxies, and not of whom they speak for.
        Some(_) => "",
    };
    let alone = match listener.address.is_loopback() {
        true => "leave out `proxy_protocol` and `forwarded`",
        false => "listen on loopback",
    };
    format!(
        "anybody who reaches `{}`{} could register: {by_certificate}add a `jwt` filter (not an optional one), {alone}, \
         or add `open_registration: true` to this route",
        listener.address,
        if listener.forwarded.is_some() { " or a proxy before it" } else { "" },
    )
}
