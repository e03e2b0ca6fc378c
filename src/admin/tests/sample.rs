//! The proxy that the tests ask about.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::super::*;
use crate::config::snapshot::{Access, Token};
use crate::observe::Rfc3339;

/// A proxy with one of everything.
#[derive(Default)]
pub(super) struct Sample {
    pub(super) missing: Vec<String>,
    pub(super) token: Option<&'static str>,
}

fn moment(second: u64) -> Rfc3339 {
    Rfc3339(UNIX_EPOCH + Duration::from_secs(1_790_000_000 + second))
}

fn counts() -> StateCounts {
    StateCounts::from([("new", 0), ("healthy", 2), ("unhealthy", 1), ("lost", 0)])
}

impl View for Sample {
    fn access(&self) -> Arc<Access> {
        let hosts = ["portunus.internal".to_owned()].into();
        let token = self.token.map(|token| Token::of(token.as_bytes()).unwrap());
        Arc::new(Access { hosts, token, ..Access::default() })
    }

    fn drain(&self) -> bool {
        true
    }

    fn ready(&self) -> Readiness {
        let degraded = vec!["cluster agents: its core 127.0.0.1:3774 cannot be reached".to_owned()];
        Readiness { missing: self.missing.clone(), degraded }
    }

    fn instances(&self) -> Vec<InstanceView> {
        vec![InstanceView {
            cluster: "agents".to_owned(),
            agent: Some("0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".to_owned()),
            address: "127.0.0.1:4001".to_owned(),
            state: "unhealthy",
            weight: 1,
            in_flight: 3,
            since: moment(0),
            last_probe: Some(moment(30)),
            last_error: Some("the health check got no answer within 2s".to_owned()),
            registered_by: Some("127.0.0.1".to_owned()),
            registered_from: Some("127.0.0.1".to_owned()),
            connected: Some(true),
            waits_for_sdk: Some(false),
            lease_left_ms: Some(61_500),
            schema_incompatible: vec![],
        }]
    }

    fn agents(&self) -> Vec<AgentView> {
        vec![AgentView {
            id: "0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".to_owned(),
            did: "did:bindu:ada_at_example_com:research:0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7".to_owned(),
            name: "research".to_owned(),
            author: "ada@example.com".to_owned(),
            owner: "127.0.0.1".to_owned(),
            cluster: "agents".to_owned(),
            callback: Some("0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7.localhost:3790".to_owned()),
            core_error: None,
            aliases: vec![],
            instances: counts(),
            core: CoreState::Ok,
            registered_at: moment(0),
        }]
    }

    fn release(&self, id: &str) -> Vec<String> {
        if id == "0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7" { vec!["agents".to_owned()] } else { vec![] }
    }

    fn clusters(&self) -> Vec<ClusterView> {
        vec![ClusterView {
            name: "agents".to_owned(),
            kind: "registry",
            balance: "least_request".to_owned(),
            agents: Some(1),
            instances: counts(),
            in_flight: 3,
            connections: ConnectionCounts { connecting: 0, ready: 4, draining: 0 },
        }]
    }

    fn schemas(&self) -> Vec<SchemaView> {
        vec![SchemaView {
            cluster: "shannon".to_owned(),
            mode: "live",
            reflection: true,
            digest: None,
            services: vec![],
            problems: vec![],
            instances: vec![InstanceSchemaView {
                address: "127.0.0.1:50052".to_owned(),
                agent: None,
                digest: Some("5d41402a".to_owned()),
                source: Some("reflection"),
                known_since: Some(moment(30)),
                services: vec!["shannon.orchestrator.OrchestratorService".to_owned()],
                problems: vec![],
                error: None,
            }],
            drifts: vec![DriftView {
                from: "5d41402a".to_owned(),
                to: "7d793037".to_owned(),
                breaking: true,
                changes: vec![ChangeView {
                    kind: "field",
                    name: "shannon.orchestrator.SubmitTaskRequest.query".to_owned(),
                    what: "renumbered",
                    detail: "2, now 4".to_owned(),
                    breaking: true,
                }],
                left_off: 0,
            }],
            incompatible: self.accept_schemas().remove(0).1,
        }]
    }

    fn accept_schemas(&self) -> Vec<(String, Vec<IncompatibleView>)> {
        let one = IncompatibleView {
            agent: None,
            method: "shannon.orchestrator.OrchestratorService/SubmitTask".to_owned(),
            digest: "7d793037".to_owned(),
            why: "`query` has the number 4, and the accepted definition has 2".to_owned(),
            instances: 1,
        };
        vec![("shannon".to_owned(), vec![one])]
    }

    fn routes(&self) -> Vec<RouteView> {
        vec![RouteView {
            listener: "callback".to_owned(),
            index: 0,
            matches: "service bindu.grpc.AgentHandler".to_owned(),
            target: "cluster agents".to_owned(),
            filters: vec!["metadata".to_owned()],
        }]
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!({ "admin": { "address": "127.0.0.1:9901" } })
    }

    fn config_status(&self) -> ConfigStatus {
        let errors = vec![ConfigProblem {
            file: "proxy.yaml".to_owned(),
            line: 12,
            column: 7,
            path: "listeners.edge.routes[0].clustr".to_owned(),
            message: "unknown key `clustr`, did you mean `cluster`?".to_owned(),
        }];
        ConfigStatus {
            generation: 1,
            applied_at: Some(moment(0)),
            last_error: Some("proxy.yaml:12:7: listeners.edge.routes[0].clustr: unknown key".to_owned()),
            failing_since: Some(moment(60)),
            errors,
        }
    }

    fn config_change(&self) -> ConfigChange {
        let changes = vec!["cluster `a` was added".to_owned()];
        ConfigChange { from: Some(1), to: 2, at: Some(moment(30)), changes }
    }

    fn try_config(&self, text: String) -> Trying {
        let changes = vec![format!("{} octets", text.len())];
        Box::pin(async move {
            // Long enough for another one to come in between.
            tokio::time::sleep(Duration::from_millis(if text == "slow" { 300 } else { 0 })).await;
            ConfigTrial { ok: text != "wrong", changes, ..ConfigTrial::default() }
        })
    }
}
