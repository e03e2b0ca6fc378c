//! `/config` and what is below it: which configuration is in force, since when, what it changed, and whether another one could take its
//! place. Secrets are removed by whoever implements the view.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use super::AdminState;
use super::reply::{Reply, json, refuse};
use super::router::{Answering, Takes};
use crate::config::MOST_BYTES;

/// A configuration that is tried: as long as a file may be.
pub(super) const CHECK: Takes = Takes { most: MOST_BYTES, answer: check };

pub(super) fn running(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.config())
}

pub(super) fn status(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.config_status())
}

pub(super) fn diff(state: &AdminState, _: &Parts) -> Reply {
    json(StatusCode::OK, &state.view.config_change())
}

fn check(state: &AdminState, body: Bytes) -> Answering {
    let trial = String::from_utf8(body.into()).map(|text| state.view.try_config(text));
    Box::pin(async {
        match trial {
            Ok(trial) => {
                let trial = trial.await;
                json(if trial.ok { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY }, &trial)
            }
            Err(_) => {
                refuse(StatusCode::UNPROCESSABLE_ENTITY, "the body is not UTF-8: send the text of a configuration")
            }
        }
    })
}
