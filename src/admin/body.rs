//! Reads the body of a request, for the endpoints that take one: at most so much, and one at a time.

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::Semaphore;

use super::AdminState;
use super::reply::{Refused, Reply, refuse};
use super::router::Takes;

/// How many are read and answered at once: a body may be large, and so may be the work with it.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turns {
    /// Reads a body and has it answered.
    pub(super) async fn answer(&self, state: &AdminState, takes: Takes, body: Incoming) -> Reply {
        let Ok(_turn) = self.0.try_acquire() else {
            return refuse(
                StatusCode::TOO_MANY_REQUESTS,
                "another request of this kind is under way: send it again once that is done",
            );
        };
        match read(body, takes.most).await {
            Ok(body) => (takes.answer)(state, body).await,
            Err(Refused(status, error)) => refuse(status, error),
        }
    }
}

async fn read(body: Incoming, most: usize) -> Result<Bytes, Refused> {
    const TOO_LONG: Refused =
        Refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than any that can be of use here");
    // Before it is asked for: `expect: 100-continue`.
    if body.size_hint().lower() > most as u64 {
        return Err(TOO_LONG);
    }
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(TOO_LONG),
        Err(_) => Err(Refused(StatusCode::BAD_REQUEST, "the body broke off: send it again")),
    }
}
