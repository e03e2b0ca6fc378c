//! What filters hold of a message: its body, and the definitions under which it may be read.

use std::sync::Arc;

use filter_api::{Message, Unread};

use crate::schema::{InForce, Life, Made, Unreadable};

/// What is in a message, and the definitions under which it may be read: at least one.
pub(super) fn under<'a>(message: &Message<'a>) -> Result<(&'a [u8], &'a [Arc<Life>]), Unread> {
    let body = message.body.ok_or(Unread::NoSchema)?;
    let in_force = message.types.and_then(|types| types.downcast_ref::<InForce>()).ok_or(Unread::NoSchema)?;
    match in_force.0.as_slice() {
        [] => Err(Unread::NoSchema),
        lives => Ok((body, lives)),
    }
}

/// What was made for a definition.
pub(super) fn made<T>(made: &Made<T>, life: &Life) -> Result<Arc<T>, Unread> {
    made.of(life.id).flatten().ok_or(Unread::NoSchema)
}

/// Why a message cannot be read, as filters are told.
pub(super) fn unread(unreadable: Unreadable) -> Unread {
    match unreadable {
        Unreadable::Malformed(why) => Unread::Malformed(why.to_owned()),
        Unreadable::Spent => Unread::Malformed("it takes more steps than `expr.max_cost` allows".to_owned()),
    }
}
