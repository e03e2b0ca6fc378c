//! What reads calls and messages for filters: the contract's traits over expressions, redaction and validation of ours. What reads
//! messages is a policy too, so that it is made ready for each definition before calls meet it.

mod extractions;
mod held;
mod redactions;
mod validations;

use std::cell::RefCell;
use std::sync::Arc;

use filter_api::{Depth, Gives, Hidden, MethodPattern, Readers, Reads, Rules, Seen, Unevaluated, Validation};

use super::Source;
use super::expressions::unusable;
use super::policies::{Calls, Policy};
use crate::expr::{Expression, Facts, Failure, Place, Wanted};
use crate::schema::Definition;
use extractions::Extractions;
pub(super) use extractions::Hiding;
use held::under;
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
struct InFilter(Arc<Expression>);

/// One that is asked only in calls of some methods: messages of others it need not fit.
#[derive(Debug)]
struct OfMethods(MethodPattern, Arc<dyn Policy>);

impl Policy for OfMethods {
    fn concerns(&self, service: &str, method: &str) -> bool {
        self.0.matches(service, method) && self.1.concerns(service, method)
    }

    fn bind(&self, service: &str, method: &str, definition: &Definition) -> Result<(), String> {
        self.1.bind(service, method, definition)
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        self.1.conflicts(definition, accepted)
    }
}

impl Readers for ForFilters<'_> {
    fn expression(
        &self,
        text: &str,
        gives: Gives,
        methods: Option<&MethodPattern>,
    ) -> Result<Arc<dyn filter_api::Expression>, String> {
        let wanted = match gives {
            Gives::Truth => Wanted::Truth,
            Gives::Text => Wanted::Text,
        };
        let made = Expression::compile(text, self.place, wanted, self.max_cost);
        let made = Arc::new(made.map_err(|problems| unusable(&problems))?);
        if made.reads_message() {
            let policy = Arc::clone(&made) as Arc<dyn Policy>;
            self.policies.borrow_mut().push(match methods {
                Some(methods) => Arc::new(OfMethods(methods.clone(), policy)),
                None => policy,
            });
        }
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

impl InFilter {
    /// Hands each value that it has to `each`, until that has enough: one, or one for every definition in force of the message it reads.
    fn evaluate<T>(
        &self,
        seen: &Seen<'_>,
        value: impl Fn(&Facts<'_>, Option<u64>) -> Result<T, Failure>,
        mut enough: impl FnMut(&T) -> bool,
    ) -> Result<T, Unevaluated> {
        let mut facts = Facts::of_call(seen.call, seen.head);
        if !self.0.reads_message() {
            return value(&facts, None).map_err(|failure| unevaluated(&failure));
        }
        let message = seen.message.ok_or_else(|| unevaluated(&Failure::NoValue))?;
        let (body, lives) = under(message).map_err(|_| Unevaluated::NoSchema)?;
        facts.message = Some(body);
        let mut last = Err(Unevaluated::NoSchema);
        for life in lives {
            let found = value(&facts, Some(life.id)).map_err(|failure| unevaluated(&failure))?;
            if enough(&found) {
                return Ok(found);
            }
            last = Ok(found);
        }
        last
    }
}

impl filter_api::Expression for InFilter {
    fn reads(&self) -> Reads {
        let request = if self.0.reads_message() { Depth::Bodies } else { Depth::Nothing };
        Reads { request, response: Depth::Nothing }
    }

    fn holds(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated> {
        self.evaluate(seen, |facts, id| self.0.holds(facts, id), |holds| !holds)
    }

    fn may_hold(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated> {
        self.evaluate(seen, |facts, id| self.0.holds(facts, id), |holds| *holds)
    }

    /// Of several the first: it must be one, and they are in no order of importance.
    fn text(&self, seen: &Seen<'_>) -> Result<Option<String>, Unevaluated> {
        self.evaluate(seen, |facts, id| self.0.gives(facts, id), |_| true)
    }
}

fn unevaluated(failure: &Failure) -> Unevaluated {
    match failure {
        Failure::NoSchema => Unevaluated::NoSchema,
        failure => Unevaluated::Failed(failure.to_string()),
    }
}
