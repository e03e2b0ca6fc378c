//! What a policy is for each definition of a method's messages: made once, when the definition comes up, and looked up by calls.

use std::sync::Arc;

use arc_swap::ArcSwap;
use filter_api::{Message, Unread};

use crate::schema::{InForce, Unreadable};

/// Definitions for which what is made of them is remembered.
const MOST: usize = 64;

/// What was made for definitions, by their numbers. None for one that the policy does not fit.
pub(super) struct Bound<T>(ArcSwap<Vec<Entry<T>>>);

type Entry<T> = (u64, Option<Arc<T>>);

impl<T> Default for Bound<T> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<T> Bound<T> {
    /// Remembers what was made for a definition, or why nothing was.
    pub(super) fn keep(&self, id: u64, made: Result<T, String>) -> Result<(), String> {
        let (made, result) = match made {
            Ok(made) => (Some(Arc::new(made)), Ok(())),
            Err(why) => (None, Err(why)),
        };
        self.0.rcu(|bound| {
            let others = bound.iter().filter(|(other, _)| *other != id);
            let newest = bound.len().saturating_sub(MOST - 1);
            let mut bound: Vec<_> = others.skip(newest).cloned().collect();
            bound.push((id, made.clone()));
            bound
        });
        result
    }

    /// What was made for a definition.
    pub(super) fn of(&self, id: u64) -> Result<Arc<T>, Unread> {
        let bound = self.0.load();
        let found = bound.iter().find(|(bound, _)| *bound == id).and_then(|(_, made)| made.clone());
        found.ok_or(Unread::NoSchema)
    }
}

impl<T> std::fmt::Debug for Bound<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.load().iter().map(|(id, _)| id)).finish()
    }
}

/// What is in a message, and the definitions under which it may be read: at least one.
pub(super) fn under<'a>(message: &Message<'a>) -> Result<(&'a [u8], &'a [u64]), Unread> {
    let body = message.body.ok_or(Unread::NoSchema)?;
    let in_force = message.types.and_then(|types| types.downcast_ref::<InForce>()).ok_or(Unread::NoSchema)?;
    match in_force.0.as_slice() {
        [] => Err(Unread::NoSchema),
        ids => Ok((body, ids)),
    }
}

/// Why a message cannot be read, as filters are told.
pub(super) fn unread(unreadable: Unreadable) -> Unread {
    match unreadable {
        Unreadable::Malformed(why) => Unread::Malformed(why.to_owned()),
        Unreadable::Spent => Unread::Malformed("it takes more steps than `expr.max_cost` allows".to_owned()),
    }
}
