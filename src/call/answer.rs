//! The proxy's own answers to a caller.

use fields::{Fields, ResponseHead};
use filter_api::Refusal;

use crate::h2::{ErrorCode, Reply, Sender};
use crate::wire::{refusal_trailers, trailers_only};

/// Answers with a refusal alone.
pub(super) fn refuse(reply: &mut Reply, refusal: &Refusal) {
    refuse_with_http(reply, 200, refusal);
}

/// The same with an HTTP status that is not 200: for callers that are no gRPC clients.
pub(super) fn refuse_with_http(reply: &mut Reply, http: u16, refusal: &Refusal) {
    // A caller that is gone needs no answer.
    drop(reply.send_head(trailers_only(http, &refusal_trailers(refusal)), true));
}

/// Answers with an HTTP status alone.
pub(super) fn refuse_bare(reply: &mut Reply, http: u16) {
    drop(reply.send_head(ResponseHead { status: http, fields: Fields::default() }, true));
}

/// Ends an answer whose head has gone out.
pub(super) fn end_with(sender: &mut Sender, trailers: Fields) {
    if sender.send_trailers(trailers).is_err() {
        // The stream is over already; a reset makes sure that nothing of it stays.
        sender.reset(ErrorCode::CANCEL);
    }
}
