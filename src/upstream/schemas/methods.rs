//! What a cluster's schemas are to calls: numbers of definitions, and kinds of methods.

use std::sync::Arc;

use filter_api::{MethodKind, Types};

use super::Schemas;
use crate::registry::Agent;
use crate::schema;
use crate::upstream::Methods;

impl Methods for Schemas {
    fn kind(&self, service: &str, method: &str) -> Option<MethodKind> {
        let known = self.load();
        let method = known.majority(None, service, method)?.method;
        Some(match (method.client_streaming, method.server_streaming) {
            (false, false) => MethodKind::Unary,
            (false, true) => MethodKind::ServerStreaming,
            (true, false) => MethodKind::ClientStreaming,
            (true, true) => MethodKind::Bidi,
        })
    }

    fn majority(&self, agent: Option<&Agent>, service: &str, method: &str) -> Option<u64> {
        let among = agent.map(|agent| agent.endpoints.load());
        let among = among.as_ref().map(|set| &*set.instances);
        self.load().majority(among, service, method).map(|definition| definition.id)
    }

    fn in_force(&self, agent: Option<&Agent>, service: &str, method: &str) -> Option<Arc<Types>> {
        let among = agent.map(|agent| agent.endpoints.load());
        let among = among.as_ref().map(|set| &*set.instances);
        let known = self.load();
        let ids = known.in_force(among, service, method).iter().map(|definition| definition.id).collect();
        in_numbers(schema::InForce(ids))
    }

    fn of_instance(&self, instance: u64, service: &str, method: &str) -> Option<Arc<Types>> {
        let known = self.load();
        let ids = known.of_instance(instance, service, method).map(|definition| definition.id);
        in_numbers(schema::InForce(ids.into_iter().collect()))
    }
}

fn in_numbers(numbers: schema::InForce) -> Option<Arc<Types>> {
    (!numbers.0.is_empty()).then(|| Arc::new(numbers) as Arc<Types>)
}
