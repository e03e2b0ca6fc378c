//! What a cluster's schemas are to calls: numbers of definitions, and kinds of methods.

use std::sync::Arc;

use filter_api::{MethodKind, Types};

use super::Schemas;
use crate::registry::Agent;
use crate::schema::InForce;
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
        let lives =
            known.in_force(among, service, method).iter().map(|definition| Arc::clone(&definition.life)).collect();
        types(InForce(lives))
    }

    fn is_read_as(&self, instance: u64, service: &str, method: &str, judged: Option<&Types>) -> bool {
        if self.is_doubtful(instance) {
            return false;
        }
        let known = self.load();
        let Some(own) = known.of_instance(instance, service, method) else { return false };
        let judged = judged.map(|judged| judged.downcast_ref::<InForce>());
        judged.is_none_or(|judged| judged.is_some_and(|judged| judged.0.iter().any(|life| life.id == own.id)))
    }

    fn of_instance(&self, instance: u64, service: &str, method: &str) -> Option<Arc<Types>> {
        if self.is_doubtful(instance) {
            return None;
        }
        let known = self.load();
        let own = known.of_instance(instance, service, method);
        types(InForce(own.map(|definition| Arc::clone(&definition.life)).into_iter().collect()))
    }
}

fn types(in_force: InForce) -> Option<Arc<Types>> {
    (!in_force.0.is_empty()).then(|| Arc::new(in_force) as Arc<Types>)
}
