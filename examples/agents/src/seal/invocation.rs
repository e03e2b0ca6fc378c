//! GatewayInvocationService: runs what workflows.rs stores, and what clis.rs and apis.rs have.

use std::sync::Arc;

use parking_lot::Mutex;
use portunus_proto::seal::gateway_invocation_service_server::GatewayInvocationService;
use portunus_proto::seal::{
    ExploreApiRequest, ExploreApiResponse, InvokeCliRequest, InvokeCliResponse, InvokeWorkflowRequest,
    InvokeWorkflowResponse, ListToolsRequest, ListToolsResponse, ToolSummary, Workflow,
};
use serde_json::json;
use tonic::{Request, Response, Status};

use crate::clock::{Clock, timestamp};
use crate::seed::Seed;

use super::workflows::Stored;
use super::{apis, clis, engine, schema};

pub(super) struct Invocation {
    stored: Arc<Mutex<Stored>>,
    seed: Seed,
    clock: Clock,
}

impl Invocation {
    pub(super) fn new(stored: Arc<Mutex<Stored>>, seed: Seed, clock: Clock) -> Self {
        Self { stored, seed, clock }
    }
}

#[tonic::async_trait]
impl GatewayInvocationService for Invocation {
    async fn invoke_workflow(
        &self,
        request: Request<InvokeWorkflowRequest>,
    ) -> Result<Response<InvokeWorkflowResponse>, Status> {
        let request = request.into_inner();
        let found = self.stored.lock().by_name(&request.workflow_name).cloned();
        let Some(workflow) = found else {
            return Err(Status::not_found(format!("there is no workflow named `{}`", request.workflow_name)));
        };
        let input =
            schema::check(&workflow.input_schema_json, &request.input_json).map_err(Status::invalid_argument)?;
        let started = self.clock.tick();
        let mut result = engine::run(&workflow, input, &request.tenant_id, &self.seed)?;
        let execution_id = if request.execution_id.is_empty() { self.seed.id("exec") } else { request.execution_id };
        if let Some(result) = result.as_object_mut() {
            result.insert("execution_id".into(), json!(execution_id));
            result.insert("started_at".into(), json!(timestamp(started).to_string()));
            // Never the token itself.
            result.insert("on_behalf_of_user".into(), json!(!request.zaru_user_token.is_empty()));
        }
        Ok(Response::new(InvokeWorkflowResponse { result_json: result.to_string() }))
    }

    async fn invoke_cli(&self, request: Request<InvokeCliRequest>) -> Result<Response<InvokeCliResponse>, Status> {
        clis::run(request.get_ref()).map(Response::new)
    }

    async fn explore_api(&self, request: Request<ExploreApiRequest>) -> Result<Response<ExploreApiResponse>, Status> {
        apis::explore(request.get_ref(), &self.seed).map(Response::new)
    }

    async fn list_tools(&self, _: Request<ListToolsRequest>) -> Result<Response<ListToolsResponse>, Status> {
        let workflow = |workflow: &Workflow| ToolSummary {
            name: workflow.name.clone(),
            description: workflow.description.clone(),
            kind: "workflow".into(),
            input_schema_json: workflow.input_schema_json.clone(),
            tags: vec![workflow.api_spec_id.clone()].into_iter().filter(|tag| !tag.is_empty()).collect(),
            category: "workflows".into(),
        };
        let mut tools: Vec<_> = self.stored.lock().all().iter().map(workflow).collect();
        tools.extend(clis::summaries());
        tools.push(ToolSummary {
            name: "explore_api".into(),
            description: "Calls an API operation and cuts the answer to the fields asked for".into(),
            kind: "native".into(),
            input_schema_json: r#"{"type":"object","required":["api_spec_id","operation_id"]}"#.into(),
            tags: vec!["api".into()],
            category: "discovery".into(),
        });
        Ok(Response::new(ListToolsResponse { tools }))
    }
}
