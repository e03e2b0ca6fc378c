//! `/schema` and `/schema/accept`: which definitions instances have, what differs, and the word of whoever runs this that the new ones
//! are right.

use http::StatusCode;
use http::request::Parts;

use super::AdminState;
use super::reply::{Reply, json};

pub(super) fn schemas(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.schemas())
}

pub(super) fn accept(state: &AdminState, _: &Parts) -> Reply {
    let accepted = state
        .view
        .accept_schemas()
        .into_iter()
        .map(|(cluster, methods)| serde_json::json!({ "cluster": cluster, "methods": methods }));
    json(StatusCode::OK, &serde_json::json!({ "accepting": accepted.collect::<Vec<_>>() }))
}
