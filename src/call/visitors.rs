//! Those who ask what a listener serves itself, kept for as long as they do: it tells each of what he may call, and the server within
//! sees no more of a call than its octets. A call carries the number of its entry, in metadata that no caller can send.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fields::RequestHead;
use filter_api::{Bounds, CallInfo};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::time::timeout;

use super::context::{Call, Origin, Shared};
use super::plan;
use crate::config::snapshot::{Listener, Route, Target};
use crate::expr::Facts;
use crate::filters::{Followers, Seen};
use crate::upstream::{Cluster, Clusters, VISITOR};

/// How long keys of an issuer are waited for; without them nobody is admitted by it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Services after which others of the runtime have their turn.
const AT_ONCE: usize = 16;

/// Those who ask now, by numbers that nobody can guess.
#[derive(Debug, Default)]
pub struct Visitors(Mutex<HashMap<u64, Arc<Visitor>>>);

/// Who asks: a call, as the listener's filters have let it through.
pub struct Visitor {
    info: CallInfo,
    head: RequestHead,
    origin: Arc<Origin>,
}

impl fmt::Debug for Visitor {
    /// Its head may have a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visitor").field("listener", &self.origin.listener).finish_non_exhaustive()
    }
}

/// An entry, which goes with its call.
#[derive(Debug)]
pub(super) struct Visit {
    all: Arc<Visitors>,
    number: u64,
}

impl Visitors {
    /// Who asks under this number.
    pub fn find(&self, number: &str) -> Option<Arc<Visitor>> {
        self.0.lock().get(&number.parse().ok()?).cloned()
    }

    /// Enters a call that asks what may be called, and writes the number into its head.
    pub(super) fn enter(self: &Arc<Self>, call: &mut Call, origin: &Arc<Origin>) {
        let visitor = Visitor { info: call.info.clone(), head: call.head.clone(), origin: Arc::clone(origin) };
        let number = rand::rng().random();
        self.0.lock().insert(number, Arc::new(visitor));
        call.head.fields.set(VISITOR, number.to_string().as_bytes());
        call.visit = Some(Visit { all: Arc::clone(self), number });
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.all.0.lock().remove(&self.number);
    }
}

impl Visitor {
    /// Those of the services of which he may call some method, as far as that shows without a message: the first route for the method
    /// decides, by what of its filters says who may call. A route with conditions that another head could meet may admit him too.
    pub async fn may_call<'s>(
        &self,
        shared: &Shared,
        services: impl Iterator<Item = (&'s str, &'s [String])>,
    ) -> BTreeSet<String> {
        let in_force = shared.in_force.load_full();
        let Some(listener) = in_force.snapshot.listeners.get(&self.origin.listener) else { return BTreeSet::new() };
        let mut may = BTreeSet::new();
        for (at, (service, methods)) in services.enumerate() {
            if at % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            for method in methods {
                if self.may_call_method(&in_force.clusters, listener, (service, method)).await {
                    may.insert(service.to_owned());
                    break;
                }
            }
        }
        may
    }

    async fn may_call_method(&self, clusters: &Clusters, listener: &Listener, called: (&str, &str)) -> bool {
        for (rule, route) in listener.router.of_service(called.0) {
            if rule.method.as_ref().is_some_and(|method| **method != *called.1) {
                continue;
            }
            if self.is_admitted(clusters, route, called).await {
                return true;
            }
            // What comes behind it gets none of these calls.
            if rule.takes_whole_methods() {
                return false;
            }
        }
        false
    }

    async fn is_admitted(&self, clusters: &Clusters, route: &Route, (service, method): (&str, &str)) -> bool {
        let when = route.when.as_ref().filter(|when| !when.reads_message());
        if when.is_none() && route.judges.is_empty() {
            return true;
        }
        let mut info = CallInfo { service: service.into(), method: method.into(), agent: None, ..self.info.clone() };
        let mut head = self.head.clone();
        head.set_path(&format!("/{service}/{method}"));
        // One that fails refuses the call.
        if when.is_some_and(|when| !when.holds(&Facts::of_call(&info, &head), None).unwrap_or(false)) {
            return false;
        }
        // Without an agent, what asks for one refuses: as it would a call with this head.
        info.agent = cluster_of(clusters, route).and_then(|cluster| {
            let agent = plan::agent_of(cluster, &self.origin, route, (&info, &head)).ok()??;
            Some(Arc::clone(&agent.info))
        });
        let (mut bounds, mut followers) = (Bounds::default(), Followers::default());
        let mut answered = None;
        loop {
            let seen = &mut Seen { info: &mut info, head: &mut head, bounds: &mut bounds, followers: &mut followers };
            match route.judges.run(answered.take(), seen) {
                Ok(None) => return true,
                Err(_) => return false,
                Ok(Some(waiting)) => match timeout(PATIENCE, waiting.answered()).await {
                    Ok(answer) => answered = Some(answer),
                    Err(_) => return false,
                },
            }
        }
    }
}

/// Where calls of a route go; of several clusters, which have one service, the first.
fn cluster_of<'c>(clusters: &'c Clusters, route: &Route) -> Option<&'c Arc<Cluster>> {
    match &route.target {
        Target::Cluster(name) => clusters.get(name),
        Target::Split(split) => split.shares.first().and_then(|(name, _)| clusters.get(name)),
        Target::Register { .. } => None,
    }
}
