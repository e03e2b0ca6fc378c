//! `/live`, `/ready` and `/drain`: what a supervisor asks and says. Alive means that this answers at all; ready means that traffic may come.

use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use super::reply::{Reply, json};
use super::{AdminState, Readiness};

/// 200 as long as the control runtime turns. It looks at nothing else: a supervisor restarts what is not live, and a
/// restart mends no missing backend.
pub(super) fn live(_: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &serde_json::json!({ "live": true }))
}

/// 200 or 503, with what is missing and what is degraded.
pub(super) fn ready(state: &AdminState, _: &Parts) -> Reply {
    answer(&state.view.ready())
}

/// The same for whoever asks: agents, clusters and files have names, which are not for strangers.
pub(super) fn ready_for_anybody(state: &AdminState, _: &Parts) -> Reply {
    let mut readiness = state.view.ready();
    let count = readiness.degraded.len();
    if count > 0 {
        readiness.degraded = vec![format!("{count} of what `/ready` on `admin.address` tells of")];
    }
    answer(&readiness)
}

fn answer(readiness: &Readiness) -> Reply {
    let ready = readiness.missing.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let value = ReadyAnswer { ready, missing: &readiness.missing, degraded: &readiness.degraded };
    json(status, &value)
}

/// Begins what a SIGTERM begins. The process ends once it is done.
pub(super) fn drain(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::ACCEPTED, &serde_json::json!({ "draining": true, "began": state.view.drain() }))
}

/// The body of `/ready`, in the order in which a person reads it.
#[derive(Serialize)]
struct ReadyAnswer<'a> {
    ready: bool,
    missing: &'a [String],
    degraded: &'a [String],
}
