//! Expressions as filters have them: the contract's trait over ours.

use std::sync::Arc;

use filter_api::{Expressions, Gives, Reads, Seen, Unevaluated};

use super::expression::{Expression, Wanted};
use super::vocabulary::{Facts, Place};
use super::{Problem, problems_in_words};

/// Compiles expressions for filters.
#[derive(Clone, Copy, Debug)]
pub struct ForFilters {
    /// Where the filter stands.
    pub place: Place,
    /// Steps that an expression may take.
    pub max_cost: u64,
}

#[derive(Debug)]
struct InFilter(Expression);

impl Expressions for ForFilters {
    fn compile(&self, text: &str, gives: Gives) -> Result<Arc<dyn filter_api::Expression>, String> {
        let wanted = match gives {
            Gives::Truth => Wanted::Truth,
            Gives::Text => Wanted::Text,
        };
        let made = Expression::compile(text, self.place, wanted, self.max_cost);
        let made = made.map_err(|problems: Vec<Problem>| problems_in_words(&problems))?;
        Ok(Arc::new(InFilter(made)))
    }
}

impl filter_api::Expression for InFilter {
    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn holds(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated> {
        self.0.holds(&facts(seen), None).map_err(|failure| Unevaluated(failure.to_string()))
    }

    fn text(&self, seen: &Seen<'_>) -> Result<Option<String>, Unevaluated> {
        self.0.gives(&facts(seen), None).map_err(|failure| Unevaluated(failure.to_string()))
    }
}

fn facts<'a>(seen: &Seen<'a>) -> Facts<'a> {
    Facts::of_call(seen.call, seen.head)
}
