//! AgentService: one agent works on a query with the tools it may use, and tells how it goes.

use portunus_proto::shannon::agent::agent_service_server::AgentService;
use portunus_proto::shannon::agent::{
    AgentState, DiscoverToolsRequest, DiscoverToolsResponse, ExecuteTaskRequest, ExecuteTaskResponse,
    GetCapabilitiesRequest, GetCapabilitiesResponse, GetToolCapabilityRequest, GetToolCapabilityResponse,
    HealthCheckRequest, HealthCheckResponse, TaskUpdate,
};
use portunus_proto::shannon::common::{ExecutionMetrics, ExecutionMode, ModelTier, StatusCode, ToolResult};
use tonic::{Request, Response, Status};

use crate::brain::{self, Thought};
use crate::handle::Handle;
use crate::stream::{Knobs, Messages};

use super::plan::{self, Plan};
use super::{Kept, Store, models, tools};

pub(super) struct Service {
    store: Store,
    handle: Handle,
}

impl Service {
    pub(super) fn new(store: Store, handle: Handle) -> Self {
        Self { store, handle }
    }

    fn kept(&self) -> &Kept {
        &self.store.0
    }

    fn execute(&self, request: ExecuteTaskRequest) -> Result<ExecuteTaskResponse, Status> {
        if request.query.trim().is_empty() {
            return Err(Status::invalid_argument("query is empty"));
        }
        let kept = self.kept();
        let now = kept.clock.tick();
        let metadata = request.metadata.clone().unwrap_or_default();
        let task_id = if metadata.task_id.is_empty() { kept.seed.id("task") } else { metadata.task_id.clone() };
        let plan = Plan::of(&request.query, 1);
        let mode = if request.mode() == ExecutionMode::Unspecified { plan.mode } else { request.mode() };
        let mut response = ExecuteTaskResponse { task_id, ..ExecuteTaskResponse::default() };
        let spent = kept.budgets.lock().spend(request.metadata.as_ref(), plan::tokens(&request.query));
        if let Err(message) = spent {
            response.set_status(StatusCode::BudgetExceeded);
            response.set_final_state(AgentState::Failed);
            response.error_message = message;
            return Ok(response);
        }
        let allowed =
            |tool: &&str| request.available_tools.is_empty() || request.available_tools.iter().any(|t| t == tool);
        let mut took = 10 + i64::try_from(kept.seed.pick(&request.query, 90)).unwrap_or(0);
        for tool in tools::needed(&request.query).into_iter().filter(allowed) {
            let (call, result) = kept.tools.lock().call(tool, &request.query, now, &kept.seed);
            took += result.execution_time_ms;
            response.tool_calls.push(call);
            response.tool_results.push(result);
        }
        self.conclude(&mut response, &request.query);
        let usage = models::of_tier(ModelTier::Unspecified)
            .usage(plan::tokens(&request.query), brain::tokens(&response.result));
        response.metrics = Some(ExecutionMetrics {
            latency_ms: took,
            token_usage: Some(usage),
            agents_used: 1,
            mode: mode.into(),
            ..ExecutionMetrics::default()
        });
        Ok(response)
    }

    /// The answer, or the first tool's failure.
    fn conclude(&self, response: &mut ExecuteTaskResponse, query: &str) {
        let failed = response.tool_results.iter().find(|result| result.status() != StatusCode::Ok);
        if let Some(failed) = failed {
            response.error_message = failed.error_message.clone();
            response.set_status(failed.status());
            response.set_final_state(AgentState::Failed);
            return;
        }
        match brain::think(query, 0) {
            Thought::Answer(text) => {
                response.result = text;
                response.set_final_state(AgentState::Completed);
            }
            Thought::InputRequired(text) | Thought::AuthRequired(text) => {
                response.result = text;
                response.set_final_state(AgentState::Waiting);
            }
        }
        response.set_status(StatusCode::Ok);
    }
}

/// A finished run, told as it went.
fn updates(response: &ExecuteTaskResponse) -> Vec<TaskUpdate> {
    let update = |state: AgentState, message: &str| TaskUpdate {
        task_id: response.task_id.clone(),
        state: state.into(),
        message: message.into(),
        ..TaskUpdate::default()
    };
    let mut all = vec![update(AgentState::Planning, "Planning")];
    for (call, result) in response.tool_calls.iter().zip(&response.tool_results) {
        all.push(TaskUpdate {
            tool_call: Some(call.clone()),
            ..update(AgentState::Executing, &format!("Invoking {}", call.name))
        });
        all.push(TaskUpdate { tool_result: Some(result.clone()), ..update(AgentState::Executing, outcome(result)) });
    }
    for piece in brain::pieces(&response.result) {
        all.push(update(AgentState::Executing, &piece));
    }
    all.push(update(
        response.final_state(),
        if response.error_message.is_empty() { "Done" } else { &response.error_message },
    ));
    let total = all.len() as f64;
    for (i, update) in all.iter_mut().enumerate() {
        update.progress = (i + 1) as f64 / total;
    }
    all
}

fn outcome(result: &ToolResult) -> &str {
    if result.error_message.is_empty() { "Tool answered" } else { &result.error_message }
}

#[tonic::async_trait]
impl AgentService for Service {
    type StreamExecuteTaskStream = Messages<TaskUpdate>;

    async fn execute_task(
        &self,
        request: Request<ExecuteTaskRequest>,
    ) -> Result<Response<ExecuteTaskResponse>, Status> {
        self.execute(request.into_inner()).map(Response::new)
    }

    async fn stream_execute_task(
        &self,
        request: Request<ExecuteTaskRequest>,
    ) -> Result<Response<Messages<TaskUpdate>>, Status> {
        let knobs = Knobs::of(request.metadata());
        let response = self.execute(request.into_inner())?;
        Ok(Response::new(knobs.send(updates(&response).into_iter())))
    }

    async fn get_capabilities(
        &self,
        _: Request<GetCapabilitiesRequest>,
    ) -> Result<Response<GetCapabilitiesResponse>, Status> {
        let modes = [ExecutionMode::Simple, ExecutionMode::Standard, ExecutionMode::Complex];
        Ok(Response::new(GetCapabilitiesResponse {
            supported_tools: tools::names(),
            supported_modes: modes.map(i32::from).to_vec(),
            max_memory_mb: 512,
            max_concurrent_tasks: 64,
            version: "1.0.0".into(),
        }))
    }

    async fn health_check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let healthy = self.handle.is_healthy();
        let now = self.kept().clock.now();
        let active = self.kept().tasks.lock().all().iter().filter(|task| !task.is_over(now)).count();
        Ok(Response::new(HealthCheckResponse {
            healthy,
            message: if healthy { "ok" } else { "told to be unhealthy" }.into(),
            uptime_seconds: (now - self.kept().started) / 1000,
            active_tasks: i32::try_from(active).unwrap_or(i32::MAX),
            memory_usage_percent: active as f64 / 64.0,
        }))
    }

    async fn discover_tools(
        &self,
        request: Request<DiscoverToolsRequest>,
    ) -> Result<Response<DiscoverToolsResponse>, Status> {
        Ok(Response::new(DiscoverToolsResponse { tools: tools::discover(request.get_ref()) }))
    }

    async fn get_tool_capability(
        &self,
        request: Request<GetToolCapabilityRequest>,
    ) -> Result<Response<GetToolCapabilityResponse>, Status> {
        let id = &request.get_ref().tool_id;
        let tool = tools::capability(id);
        let tool =
            tool.ok_or_else(|| Status::not_found(format!("there is no tool `{id}`; DiscoverTools lists them")))?;
        Ok(Response::new(GetToolCapabilityResponse { tool: Some(tool) }))
    }
}
