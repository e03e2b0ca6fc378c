//! `/instances`, `/agents`, `/clusters` and `/routes`: what the proxy knows and where calls would go; and the release of an agent.

use http::StatusCode;
use http::request::Parts;

use super::AdminState;
use super::reply::{Reply, json, refuse};

pub(super) fn instances(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.instances())
}

pub(super) fn agents(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.agents())
}

pub(super) fn release(state: &AdminState, request: &Parts) -> Reply {
    let id = request.uri.path().rsplit('/').next().unwrap_or_default();
    let clusters = state.view.release(id);
    if clusters.is_empty() {
        return refuse(StatusCode::NOT_FOUND, "no agent has this id: /agents lists those there are");
    }
    json(StatusCode::OK, &serde_json::json!({ "released": id, "clusters": clusters }))
}

pub(super) fn clusters(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.clusters())
}

pub(super) fn routes(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.routes())
}
