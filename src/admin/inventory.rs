//! `/instances`, `/agents`, `/clusters` and `/routes`: what the proxy knows and where calls would go.

use http::StatusCode;
use http::request::Parts;

use super::AdminState;
use super::reply::{Reply, json};

pub(super) fn instances(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.instances())
}

pub(super) fn agents(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.agents())
}

pub(super) fn clusters(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.clusters())
}

pub(super) fn routes(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.routes())
}
