//! `/config` and what is below it: which configuration is in force, since when, and what it changed. Secrets are removed by whoever
//! implements the view.

use http::StatusCode;
use http::request::Parts;

use super::AdminState;
use super::reply::{Reply, json};

pub(super) fn running(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.config())
}

pub(super) fn status(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.config_status())
}

pub(super) fn diff(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.config_change())
}
