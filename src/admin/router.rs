//! Which endpoint answers a request. THE list of endpoints stands here; each group of them is a file of its own.

use std::pin::Pin;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use super::body::Turns;
use super::guard::Shown;
use super::recent::Recent;
use super::reply::{Refused, Reply, not_found, refuse, wrong_method};
use super::{AdminState, Surface, config, guard, health, inventory, metrics, schema};

/// What one address offers.
pub(super) struct Site {
    pub(super) state: AdminState,
    pub(super) surface: Surface,
    pub(super) recent: Recent,
    pub(super) turns: Turns,
}

/// One endpoint. `GET` includes `HEAD`.
pub(super) struct Endpoint {
    pub(super) method: Method,
    /// Exactly this; or what is before `{id}`, which is the rest, without a slash.
    pub(super) path: &'static str,
    /// What it answers on `admin.public`, where it is offered there too.
    public: Option<fn(&AdminState, &Parts) -> Reply>,
    answer: Answer,
}

/// How an endpoint answers.
enum Answer {
    /// By the request's head alone: a body is dropped unread.
    Now(fn(&AdminState, &Parts) -> Reply),
    /// By its body.
    To(Takes),
}

/// An answer that takes a while.
pub(super) type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// A body that an endpoint takes.
#[derive(Clone, Copy)]
pub(super) struct Takes {
    /// At most so many octets of it.
    pub(super) most: usize,
    pub(super) answer: fn(&AdminState, Bytes) -> Answering,
}

/// What is to be done for a request.
pub(super) enum Next {
    /// Nothing but to send this.
    Send(Reply),
    /// To read its body.
    Take(Takes),
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
    Endpoint { method: Method::GET, path: "/live", public: Some(health::live), answer: Answer::Now(health::live) },
    Endpoint {
        method: Method::GET,
        path: "/ready",
        public: Some(health::ready_for_anybody),
        answer: Answer::Now(health::ready),
    },
    Endpoint {
        method: Method::GET,
        path: "/metrics",
        public: Some(metrics::metrics),
        answer: Answer::Now(metrics::metrics),
    },
    Endpoint { method: Method::GET, path: "/instances", public: None, answer: Answer::Now(inventory::instances) },
    Endpoint { method: Method::GET, path: "/agents", public: None, answer: Answer::Now(inventory::agents) },
    Endpoint { method: Method::DELETE, path: "/agents/{id}", public: None, answer: Answer::Now(inventory::release) },
    Endpoint { method: Method::GET, path: "/clusters", public: None, answer: Answer::Now(inventory::clusters) },
    Endpoint { method: Method::GET, path: "/routes", public: None, answer: Answer::Now(inventory::routes) },
    Endpoint { method: Method::GET, path: "/schema", public: None, answer: Answer::Now(schema::schemas) },
    Endpoint { method: Method::POST, path: "/schema/accept", public: None, answer: Answer::Now(schema::accept) },
    Endpoint { method: Method::POST, path: "/drain", public: None, answer: Answer::Now(health::drain) },
    Endpoint { method: Method::GET, path: "/config", public: None, answer: Answer::Now(config::running) },
    Endpoint { method: Method::GET, path: "/config/status", public: None, answer: Answer::Now(config::status) },
    Endpoint { method: Method::POST, path: "/config/check", public: None, answer: Answer::To(config::CHECK) },
    Endpoint { method: Method::GET, path: "/config/diff", public: None, answer: Answer::Now(config::diff) },
];

/// Answers one request, unless its body is needed. The guards come first: whoever may not ask learns nothing, not even what exists.
pub(super) fn answer(site: &Site, shown: &Shown, request: &Parts) -> Next {
    let Site { state, surface, recent, .. } = site;
    if *surface == Surface::Full
        && let Err(Refused(status, error)) = guard::admit(&state.view.access(), shown, request)
    {
        return Next::Send(refuse(status, error));
    }
    let offered = || ENDPOINTS.iter().filter(|endpoint| endpoint.public.is_some() || *surface == Surface::Full);
    let path = request.uri.path();
    let here: Vec<&Endpoint> = offered().filter(|endpoint| endpoint.fits(path)).collect();
    if here.is_empty() {
        return Next::Send(not_found(offered().map(|endpoint| endpoint.path)));
    }
    // hyper leaves the body of an answer to HEAD away.
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    let Some(endpoint) = here.iter().find(|endpoint| endpoint.method == *method) else {
        return Next::Send(wrong_method(path, &allowed(&here)));
    };
    if !method.is_safe()
        && let Err(Refused(status, error)) = guard::admit_mutation(&request.headers)
    {
        return Next::Send(refuse(status, error));
    }
    match (surface, endpoint.public, &endpoint.answer) {
        (Surface::Public, Some(answer), _) => {
            Next::Send(recent.or_make(endpoint.path, request, || answer(state, request)))
        }
        (_, _, Answer::Now(answer)) => Next::Send(answer(state, request)),
        (_, _, Answer::To(takes)) => Next::Take(*takes),
    }
}

fn allowed(here: &[&Endpoint]) -> String {
    let methods = here.iter().flat_map(|endpoint| match endpoint.method {
        Method::GET => vec!["GET", "HEAD"],
        ref other => vec![other.as_str()],
    });
    methods.collect::<Vec<_>>().join(", ")
}
