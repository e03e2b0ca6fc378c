//! Which endpoint answers a request. THE list of endpoints stands here; each group of them is a file of its own.

use http::Method;
use http::request::Parts;

use super::guard::Shown;
use super::recent::Recent;
use super::reply::{Refused, Reply, not_found, refuse, wrong_method};
use super::{AdminState, Surface, config, guard, health, inventory, metrics, schema};

/// What one address offers.
pub(super) struct Site {
    pub(super) state: AdminState,
    pub(super) surface: Surface,
    pub(super) recent: Recent,
}

/// One endpoint. `GET` includes `HEAD`.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// Exactly this; or what is before `{id}`, which is the rest, without a slash.
    pub(super) path: &'static str,
    /// What it answers on `admin.public`, where it is offered there too.
    public: Option<fn(&AdminState, &Parts) -> Reply>,
    answer: fn(&AdminState, &Parts) -> Reply,
}

impl Endpoint {
    fn fits(&self, path: &str) -> bool {
        match self.path.strip_suffix("{id}") {
            Some(before) => path.strip_prefix(before).is_some_and(|id| !id.is_empty() && !id.contains('/')),
            None => self.path == path,
        }
    }
}

/// Every endpoint. docs/admin.md describes each; a test holds the two together.
pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint { method: Method::GET, path: "/live", public: Some(health::live), answer: health::live },
    Endpoint { method: Method::GET, path: "/ready", public: Some(health::ready_for_anybody), answer: health::ready },
    Endpoint { method: Method::GET, path: "/metrics", public: Some(metrics::metrics), answer: metrics::metrics },
    Endpoint { method: Method::GET, path: "/instances", public: None, answer: inventory::instances },
    Endpoint { method: Method::GET, path: "/agents", public: None, answer: inventory::agents },
    Endpoint { method: Method::DELETE, path: "/agents/{id}", public: None, answer: inventory::release },
    Endpoint { method: Method::GET, path: "/clusters", public: None, answer: inventory::clusters },
    Endpoint { method: Method::GET, path: "/routes", public: None, answer: inventory::routes },
    Endpoint { method: Method::GET, path: "/schema", public: None, answer: schema::schemas },
    Endpoint { method: Method::POST, path: "/schema/accept", public: None, answer: schema::accept },
    Endpoint { method: Method::POST, path: "/drain", public: None, answer: health::drain },
    Endpoint { method: Method::GET, path: "/config", public: None, answer: config::running },
    Endpoint { method: Method::GET, path: "/config/status", public: None, answer: config::status },
    Endpoint { method: Method::GET, path: "/config/diff", public: None, answer: config::diff },
];

/// Answers one request. The guards come first: whoever may not ask learns nothing, not even what exists.
pub(super) fn answer(site: &Site, shown: &Shown, request: &Parts) -> Reply {
    let Site { state, surface, recent } = site;
    if *surface == Surface::Full
        && let Err(Refused(status, error)) = guard::admit(&state.view.access(), shown, request)
    {
        return refuse(status, error);
    }
    let offered = || ENDPOINTS.iter().filter(|endpoint| endpoint.public.is_some() || *surface == Surface::Full);
    let path = request.uri.path();
    let here: Vec<&Endpoint> = offered().filter(|endpoint| endpoint.fits(path)).collect();
    if here.is_empty() {
        return not_found(offered().map(|endpoint| endpoint.path));
    }
    // hyper leaves the body of an answer to HEAD away.
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    let Some(endpoint) = here.iter().find(|endpoint| endpoint.method == *method) else {
        return wrong_method(path, &allowed(&here));
    };
    if !method.is_safe()
        && let Err(Refused(status, error)) = guard::admit_mutation(&request.headers)
    {
        return refuse(status, error);
    }
    match surface {
        Surface::Full => (endpoint.answer)(state, request),
        Surface::Public => {
            let answer = endpoint.public.unwrap_or(endpoint.answer);
            recent.or_make(endpoint.path, request, || answer(state, request))
        }
    }
}

fn allowed(here: &[&Endpoint]) -> String {
    let methods = here.iter().flat_map(|endpoint| match endpoint.method {
        Method::GET => vec!["GET", "HEAD"],
        ref other => vec![other.as_str()],
    });
    methods.collect::<Vec<_>>().join(", ")
}
