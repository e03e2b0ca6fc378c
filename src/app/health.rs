//! How the instances of each cluster are asked whether they are well, by its configuration.

use std::sync::Arc;

use crate::config::snapshot::{Expected, HealthCheck, Wellness as Configured};
use crate::registry::Instance;
use crate::upstream::probe::{Check, Judge, Wellness};
use crate::upstream::schemas::Schemas;

/// A cluster's check, over what is known of its schemas.
pub(super) fn check(configured: &HealthCheck, schemas: &Arc<Schemas>) -> Check {
    let HealthCheck { service, method, wellness } = configured;
    let wellness = match wellness {
        Configured::Agent => Wellness::Agent,
        Configured::Serving => Wellness::Serving,
        Configured::Any => Wellness::Any,
        Configured::Expected(expected) => Wellness::Told(Arc::new(OfConfiguration {
            service: Arc::clone(service),
            method: Arc::clone(method),
            expected: Arc::clone(expected),
            schemas: Arc::clone(schemas),
        })),
    };
    Check::new(service, method, wellness)
}

/// The expression of a configuration, as the prober asks for it.
#[derive(Debug)]
struct OfConfiguration {
    service: Arc<str>,
    method: Arc<str>,
    expected: Arc<Expected>,
    schemas: Arc<Schemas>,
}

impl Judge for OfConfiguration {
    fn judge(&self, instance: &Instance, answer: Result<&[u8], (i32, &str)>) -> Result<(), String> {
        let known = self.schemas.load();
        let told = self.expected.holds(answer, known.own(instance.id, &self.service, &self.method));
        if told.is_err() && self.expected.needs_schema() {
            self.schemas.doubted(instance.id);
        }
        told
    }
}
