//! What reads calls and messages for filters: the contract's traits over expressions and redactions of ours. What reads messages is a
//! policy too, so that it is made ready for each definition before calls meet it.

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use filter_api::{Gives, Hidden, Message, Readers, Reads, Seen, Unevaluated, Unread};

use super::expressions::unusable;
use super::extract::{Calls, Extraction, Hiding};
use super::policies::Policy;
use crate::expr::{Expression, Facts, Place, Wanted};
use crate::schema::{Definition, InForce, Meter, Redaction, Side, Unreadable};

/// Definitions for which what is made of them is remembered.
const BOUND: usize = 64;

/// Makes readers for the filters at one place of a file.
pub(super) struct ForFilters {
    /// What expressions there may look at.
    pub(super) place: Place,
    /// Steps that an expression, or a redaction, may take.
    pub(super) max_cost: u64,
    /// The calls that come by.
    pub(super) calls: Calls,
    /// What redactions of the listener and its routes hide.
    pub(super) hiding: Arc<Hiding>,
    /// Those that read messages, of the filters that were built.
    pub(super) policies: RefCell<Vec<Arc<dyn Policy>>>,
}

#[derive(Debug)]
struct InFilter(Expression);

/// Hides fields, for each definition that is in force.
#[derive(Debug)]
struct Redactions {
    hidden: Hidden,
    max_cost: u64,
    bound: ArcSwap<Vec<(u64, Option<Arc<Sides>>)>>,
}

#[derive(Debug)]
struct Sides {
    request: Redaction,
    response: Redaction,
}

impl Readers for ForFilters {
    fn expression(&self, text: &str, gives: Gives) -> Result<Arc<dyn filter_api::Expression>, String> {
        let wanted = match gives {
            Gives::Truth => Wanted::Truth,
            Gives::Text => Wanted::Text,
        };
        let made = Expression::compile(text, self.place, wanted, self.max_cost);
        let made = made.map_err(|problems| unusable(&problems))?;
        Ok(Arc::new(InFilter(made)))
    }

    fn redaction(&self, hidden: Hidden) -> Arc<dyn filter_api::Redaction> {
        self.hiding.add(&self.calls, &hidden.request);
        let made = Arc::new(Redactions { hidden, max_cost: self.max_cost, bound: ArcSwap::default() });
        self.policies.borrow_mut().push(Arc::clone(&made) as Arc<dyn Policy>);
        made
    }

    fn extract(&self, paths: Vec<String>) -> Arc<dyn filter_api::Extract> {
        let made = Arc::new(Extraction::new(paths, self.max_cost, Arc::clone(&self.hiding)));
        self.policies.borrow_mut().push(Arc::clone(&made) as Arc<dyn Policy>);
        made
    }
}

impl filter_api::Expression for InFilter {
    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn holds(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated> {
        self.0.holds(&Facts::of_call(seen.call, seen.head), None).map_err(|failure| Unevaluated(failure.to_string()))
    }

    fn text(&self, seen: &Seen<'_>) -> Result<Option<String>, Unevaluated> {
        self.0.gives(&Facts::of_call(seen.call, seen.head), None).map_err(|failure| Unevaluated(failure.to_string()))
    }
}

impl Policy for Redactions {
    fn bind(&self, _: &str, _: &str, definition: &Definition) -> Result<(), String> {
        let Hidden { request, response, mask } = &self.hidden;
        let made = Redaction::compile(definition.input(), request, mask).and_then(|request| {
            Ok(Sides { request, response: Redaction::compile(definition.output(), response, mask)? })
        });
        let (sides, result) = match made {
            Ok(sides) => (Some(Arc::new(sides)), Ok(())),
            Err(why) => (None, Err(why)),
        };
        self.bound.rcu(|bound| {
            let others = bound.iter().filter(|(id, _)| *id != definition.id);
            let newest = bound.len().saturating_sub(BOUND - 1);
            let mut bound: Vec<_> = others.skip(newest).cloned().collect();
            bound.push((definition.id, sides.clone()));
            bound
        });
        result
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        let sides = [(Side::Request, &self.hidden.request), (Side::Response, &self.hidden.response)];
        let mut paths = sides.into_iter().flat_map(|(side, paths)| paths.iter().map(move |path| (side, path)));
        // Definitions name the values of maps by the map.
        paths.find_map(|(side, path)| definition.conflicts(accepted, side, &path.replace(".*", "")))
    }
}

impl Redactions {
    fn apply(&self, message: &Message<'_>, side: impl Fn(&Sides) -> &Redaction) -> Result<Option<Vec<u8>>, Unread> {
        let body = message.body.ok_or(Unread::NoSchema)?;
        let in_force = message.types.and_then(|types| types.downcast_ref::<InForce>()).ok_or(Unread::NoSchema)?;
        let [id] = in_force.0.as_slice() else { return Err(Unread::NoSchema) };
        let bound = self.bound.load();
        let sides = bound.iter().find(|(bound, _)| bound == id).and_then(|(_, sides)| sides.as_ref());
        let redaction = side(sides.ok_or(Unread::NoSchema)?);
        redaction.apply(body, &mut Meter::new(self.max_cost)).map_err(|unreadable| match unreadable {
            Unreadable::Malformed(why) => Unread::Malformed(why.to_owned()),
            Unreadable::Spent => Unread::Malformed("it takes more steps than `expr.max_cost` allows".to_owned()),
        })
    }
}

impl filter_api::Redaction for Redactions {
    fn request(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread> {
        self.apply(message, |sides| &sides.request)
    }

    fn response(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread> {
        self.apply(message, |sides| &sides.response)
    }
}
