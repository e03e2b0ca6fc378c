//! What reads calls and messages for filters: the contract's traits over expressions, redaction and validation of ours. What reads
//! messages is a policy too, so that it is made ready for each definition before calls meet it.

mod bound;
mod extractions;
mod redactions;
mod validations;

use std::cell::RefCell;
use std::sync::Arc;

use filter_api::{Gives, Hidden, Readers, Reads, Rules, Seen, Unevaluated, Validation};

use super::Source;
use super::expressions::unusable;
use super::policies::Policy;
use crate::expr::{Expression, Facts, Place, Wanted};
use extractions::Extractions;
pub(super) use extractions::{Calls, Hiding};
use redactions::Redactions;
use validations::Validations;

/// Makes readers for the filters at one place of a file.
pub(super) struct ForFilters<'a> {
    /// The file, whose folder the files are in that filters name.
    pub(super) source: &'a Source,
    /// What expressions there may look at.
    pub(super) place: Place,
    /// Steps that an expression, a redaction or a validation may take.
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

impl Readers for ForFilters<'_> {
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
        let made = Arc::new(Redactions::new(hidden, self.max_cost));
        self.policies.borrow_mut().push(Arc::clone(&made) as Arc<dyn Policy>);
        made
    }

    fn extract(&self, paths: Vec<String>) -> Arc<dyn filter_api::Extract> {
        let made = Arc::new(Extractions::new(paths, self.max_cost, Arc::clone(&self.hiding)));
        self.policies.borrow_mut().push(Arc::clone(&made) as Arc<dyn Policy>);
        made
    }

    fn validation(&self, rules: Rules) -> Result<Arc<dyn Validation>, (String, String)> {
        let made = Arc::new(Validations::read(rules, self.source, self.max_cost)?);
        self.policies.borrow_mut().push(Arc::clone(&made) as Arc<dyn Policy>);
        Ok(made)
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
