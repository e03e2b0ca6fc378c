//! How instances are asked whether they are well, and which answer says so: what a file says of it, or what is so without.

use std::sync::Arc;

use parking_lot::Mutex;

use super::expressions::Compiler;
use super::policies::{Gathering, Policy};
use super::{Cluster, Path};
use crate::expr::{Expression, Facts, Failure, Place, Wanted};
use crate::path;
use crate::schema::{Definition, Definitions};

/// Methods whose answer has a meaning that everybody knows.
const AGENT: (&str, &str) = ("bindu.grpc.AgentHandler", "HealthCheck");
const STANDARD: (&str, &str) = ("grpc.health.v1.Health", "Check");

/// How the instances of a cluster are asked.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// The service of the method that is called with an empty message.
    pub service: Arc<str>,
    /// Its method.
    pub method: Arc<str>,
    /// What says that one is well.
    pub wellness: Wellness,
}

/// Which answer says that an instance is well.
#[derive(Clone, Debug)]
pub enum Wellness {
    /// That of an agent of Bindu which says so. One that does not have the method is well too: not every SDK has it.
    Agent,
    /// That of `grpc.health.v1` which says `SERVING`.
    Serving,
    /// Any, with the status OK.
    Any,
    /// One for which an expression holds.
    Expected(Arc<Expected>),
}

/// The expression of a check.
#[derive(Debug)]
pub struct Expected {
    service: Arc<str>,
    method: Arc<str>,
    expression: Arc<Expression>,
    /// The last definition that it does not fit, and why.
    unfit: Mutex<Option<(u64, String)>>,
}

/// How the instances of a cluster are asked, if they are.
pub(super) fn check(
    (name, cluster): (&str, &Cluster),
    compiler: &mut Compiler<'_>,
    policies: &mut Gathering,
) -> Option<HealthCheck> {
    let health = cluster.health.as_ref();
    if health.is_none() && cluster.registry.is_none() {
        return None;
    }
    let (service, method) = match health.and_then(|health| health.method.as_ref()) {
        Some(named) => (named.service.as_str(), named.method.as_str()),
        None if cluster.registry.is_some() => AGENT,
        None => STANDARD,
    };
    let (service, method): (Arc<str>, Arc<str>) = (service.into(), method.into());
    let wellness = match health.and_then(|health| health.expect.as_ref()) {
        Some(text) => {
            let place = place(name).with("expect");
            let expression = compiler.compile(&place, text, Place::Expect, Wanted::Truth)?;
            let (service, method) = (Arc::clone(&service), Arc::clone(&method));
            let expected = Arc::new(Expected { service, method, expression, unfit: Mutex::default() });
            policies.add_of_cluster(name, &place, &(Arc::clone(&expected) as Arc<dyn Policy>));
            Wellness::Expected(expected)
        }
        None => match (&*service, &*method) {
            AGENT => Wellness::Agent,
            STANDARD => Wellness::Serving,
            _ => Wellness::Any,
        },
    };
    Some(HealthCheck { service, method, wellness })
}

/// Where a file says it.
pub(super) fn place(cluster: &str) -> Path {
    path!["clusters", cluster, "health"]
}

impl HealthCheck {
    /// Why it cannot work with what files say of the messages, if it cannot.
    pub(super) fn unfit(&self, definitions: &Definitions) -> Option<String> {
        let Self { service, method, wellness } = self;
        match definitions.get(service, method) {
            Some(definition) => unasked(definition),
            None => match wellness {
                Wellness::Expected(expected) if expected.expression.reads_response() => Some(format!(
                    "the files in `schema` have no method {service}/{method}, so that no answer of it could be read: add it, or let \
                     `expect` read `status.code` only"
                )),
                _ => None,
            },
        }
    }
}

/// Why a method cannot be asked with one message for one answer.
fn unasked(definition: &Definition) -> Option<String> {
    let method = definition.method;
    let streams = method.client_streaming || method.server_streaming;
    streams.then(|| "is a method with streams, and a check is one message and one answer: name a unary one".to_owned())
}

impl Expected {
    /// Whether it reads the message, so that somebody must know what that is made of.
    pub fn needs_schema(&self) -> bool {
        self.expression.reads_response()
    }

    /// Whether an answer says that the instance is well: the message, or the status and what was said with it. `definition` is the
    /// instance's own of the method.
    ///
    /// # Errors
    /// It does not, and why.
    pub fn holds(&self, answer: Result<&[u8], (i32, &str)>, definition: Option<&Definition>) -> Result<(), String> {
        if let Some(why) = definition.and_then(unasked) {
            return Err(format!("{} {why}", self.method));
        }
        let facts = match answer {
            Ok(message) => Facts { response: Some(message), status: Some(0), ..Facts::default() },
            Err((code, message)) if !self.expression.reads_status() => {
                return Err(format!("{} answered with the status {code}: {message}", self.method));
            }
            Err((code, _)) => Facts { status: Some(code), ..Facts::default() },
        };
        match self.expression.holds(&facts, definition.map(|definition| definition.id)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("`expect` does not hold for its answer to {}", self.method)),
            Err(Failure::NoSchema) => {
                Err(format!("its schema of {} is not known (see /schema), so `expect` cannot be told", self.method))
            }
            Err(failure) => {
                let unfit = self.unfit.lock();
                let of_this = unfit.as_ref().filter(|(id, _)| definition.is_some_and(|own| own.id == *id));
                match of_this {
                    Some((_, why)) => Err(format!("`expect` does not fit its schema: {why}")),
                    None => Err(format!("`expect` fails for its answer to {}: {failure}", self.method)),
                }
            }
        }
    }
}

impl Policy for Expected {
    fn reads_messages(&self) -> bool {
        self.expression.reads_response()
    }

    fn governs_calls(&self) -> bool {
        false
    }

    fn concerns(&self, service: &str, method: &str) -> bool {
        *self.service == *service && *self.method == *method
    }

    fn bind(&self, service: &str, method: &str, definition: &Definition) -> Result<(), String> {
        let bound = Policy::bind(&*self.expression, service, method, definition);
        if let Err(why) = &bound {
            *self.unfit.lock() = Some((definition.id, why.clone()));
        }
        bound
    }

    /// Each instance is judged by its own definition: whoever says what is in a field can as well say what the field is.
    fn conflicts(&self, _: &Definition, _: &Definition) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests;
