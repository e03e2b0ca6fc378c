//! Expressions of a file, compiled: what is wrong with one is an error at its place in the file. And what is made of several.

use std::cell::RefCell;
use std::sync::Arc;

use filter_api::Phase;

use super::names::Methods;
use super::policies::Calls;
use super::readers::{ForFilters, Hiding};
use super::{Expression as Written, HashBy, Path, Problem, Source};
use crate::expr::{Expression, Facts, Failure, Place, Wanted, problems_in_words};
use crate::route::MethodPattern;

/// Compiles the expressions of a file.
pub(super) struct Compiler<'a> {
    source: &'a Source,
    max_cost: u64,
    /// What was wrong.
    pub(super) problems: Vec<Problem>,
}

/// By what the calls of a cluster are hashed.
#[derive(Debug)]
pub struct Keys {
    /// The most specific first.
    by_method: Vec<(MethodPattern, Arc<Expression>)>,
    default: Option<Arc<Expression>>,
    /// The file has them by method, and not one for all.
    is_map: bool,
}

/// Who a registrant is, and who may register what.
#[derive(Debug, Default)]
pub struct Registrants {
    /// Gives the owner; without it the caller's address is.
    pub owner: Option<Arc<Expression>>,
    /// Must hold for a registration.
    pub admit: Option<Arc<Expression>>,
}

/// What is said of an expression that does not compile.
pub(super) fn unusable(problems: &[crate::expr::Problem]) -> String {
    format!("is no expression that can be used here: {}", problems_in_words(problems))
}

impl<'a> Compiler<'a> {
    pub(super) fn new(source: &'a Source, max_cost: u64) -> Self {
        Self { source, max_cost, problems: Vec::new() }
    }

    pub(super) fn compile(
        &mut self,
        at: &Path,
        text: &Written,
        place: Place,
        wanted: Wanted,
    ) -> Option<Arc<Expression>> {
        match Expression::compile(&text.0, place, wanted, self.max_cost) {
            Ok(expression) => Some(Arc::new(expression)),
            Err(problems) => {
                self.problems.push(self.source.error_at(at, unusable(&problems)));
                None
            }
        }
    }

    pub(super) fn keys(&mut self, at: &Path, by: &HashBy) -> Keys {
        let mut keys = Keys { by_method: Vec::new(), default: None, is_map: matches!(by, HashBy::ByMethod(_)) };
        match by {
            HashBy::All(text) => keys.default = self.compile(at, text, Place::HashBy, Wanted::Text),
            HashBy::ByMethod(texts) => {
                for (methods, text) in texts {
                    let made = self.compile(&at.with(methods.to_string().as_str()), text, Place::HashBy, Wanted::Text);
                    match (methods, made) {
                        (Methods::Pattern(pattern), Some(made)) => keys.by_method.push((pattern.clone(), made)),
                        (Methods::Default, made) => keys.default = made,
                        (Methods::Pattern(_), None) => {}
                    }
                }
                keys.by_method.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.rank()));
            }
        }
        keys
    }

    /// For the filters of a phase, which these calls meet.
    pub(super) fn for_filters(&self, phase: Phase, calls: Calls, hiding: Arc<Hiding>) -> ForFilters<'a> {
        let place = match phase {
            Phase::Observe | Phase::Admit | Phase::Authenticate => Place::EarlyFilter,
            Phase::Authorize | Phase::Limit => Place::Judge,
            Phase::Transform => Place::Filter,
        };
        let (source, max_cost) = (self.source, self.max_cost);
        ForFilters { source, place, max_cost, calls, hiding, policies: RefCell::default() }
    }
}

impl Keys {
    /// The expression for a method.
    pub fn of(&self, service: &str, method: &str) -> Option<&Expression> {
        let named = self.by_method.iter().find(|(pattern, _)| pattern.matches(service, method));
        named.map(|(_, expression)| expression).or(self.default.as_ref()).map(|expression| &**expression)
    }

    /// The key of the file for a method; none where one expression is for all.
    pub fn key(&self, service: &str, method: &str) -> Option<String> {
        let named = self.by_method.iter().find(|(pattern, _)| pattern.matches(service, method));
        let key = named.map_or_else(|| Methods::Default.to_string(), |(pattern, _)| pattern.to_string());
        self.is_map.then_some(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Expression> {
        self.by_method.iter().map(|(_, expression)| expression).chain(&self.default).map(|expression| &**expression)
    }
}

impl Registrants {
    /// As whom a caller acts: as the expression says, or as it would be without one.
    ///
    /// # Errors
    /// The expression gives nobody.
    pub fn owner(&self, facts: &Facts<'_>, otherwise: impl FnOnce() -> Option<Arc<str>>) -> Result<Arc<str>, Failure> {
        match &self.owner {
            None => otherwise().ok_or(Failure::NoValue),
            Some(owner) => {
                let owner = owner.gives(facts, None)?.filter(|owner| !owner.is_empty());
                owner.map(Arc::from).ok_or(Failure::NoValue)
            }
        }
    }
}
