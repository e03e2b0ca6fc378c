//! OrchestratorService: tasks are submitted, approved, watched, cancelled.

use portunus_proto::shannon::common::{StatusCode, TaskMetadata};
use portunus_proto::shannon::orchestrator::orchestrator_service_server::OrchestratorService;
use portunus_proto::shannon::orchestrator::{
    ApproveTaskRequest, ApproveTaskResponse, CancelTaskRequest, CancelTaskResponse, GetPendingApprovalsRequest,
    GetPendingApprovalsResponse, GetSessionContextRequest, GetSessionContextResponse, GetTaskStatusRequest,
    GetTaskStatusResponse, ListTasksRequest, ListTasksResponse, ListTemplatesRequest, ListTemplatesResponse,
    SubmitTaskRequest, SubmitTaskResponse, TaskDecomposition, TaskStatus, TemplateSummary,
};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use crate::seed;

use super::plan::{self, Plan};
use super::task::{self, Approval, Task};
use super::{Kept, Store, tasks};

/// Tasks listed where the caller names no number.
const PAGE: usize = 50;
/// Tasks that a session's context shows.
const RECENT: usize = 10;

const TEMPLATES: [(&str, &str, &str); 3] = [
    ("research", "1.2.0", "search the web, then summarize"),
    ("data-analysis", "2.0.1", "load data, then count, then chart"),
    ("code-review", "1.0.0", "read the change, then comment"),
];

pub(super) struct Service(pub(super) Store);

impl Service {
    fn kept(&self) -> &Kept {
        &self.0.0
    }

    fn submit(&self, request: SubmitTaskRequest) -> Result<SubmitTaskResponse, Status> {
        if request.query.trim().is_empty() {
            return Err(Status::invalid_argument("query is empty"));
        }
        let kept = self.kept();
        let now = kept.clock.tick();
        let metadata = request.metadata.unwrap_or_default();
        let mut tasks = kept.tasks.lock();
        if tasks.by_id(&metadata.task_id).is_ok() {
            return Err(Status::already_exists(format!("task `{}` exists", metadata.task_id)));
        }
        let id = if metadata.task_id.is_empty() { kept.seed.id("task") } else { metadata.task_id.clone() };
        let decomposition = match request.manual_decomposition {
            Some(manual) => manual,
            None => Plan::of(&request.query, metadata.max_agents).decomposition(&id),
        };
        let charged = TaskMetadata { task_id: id.clone(), ..metadata.clone() };
        if let Err(message) = kept.budgets.lock().spend(Some(&charged), tokens(&decomposition)) {
            let status = StatusCode::BudgetExceeded.into();
            return Ok(SubmitTaskResponse { task_id: id, status, message, ..SubmitTaskResponse::default() });
        }
        let (parts, steps, error) = tasks::course(&decomposition, &kept.seed);
        let approval = request.require_approval.then(|| Approval { id: kept.seed.id("approval"), decided: None });
        let message = match &approval {
            Some(approval) => format!("Task waits for approval {}", approval.id),
            None => "Task submitted successfully".into(),
        };
        let workflow_id = kept.seed.id("wf");
        tasks.push(Task {
            id: id.clone(),
            workflow_id: workflow_id.clone(),
            user_id: metadata.user_id,
            session_id: metadata.session_id,
            query: request.query,
            submitted: now,
            decomposition: decomposition.clone(),
            approval,
            cancelled: None,
            parts,
            steps,
            error,
        });
        let status = StatusCode::Ok.into();
        Ok(SubmitTaskResponse { workflow_id, task_id: id, status, decomposition: Some(decomposition), message })
    }

    /// Lets streams see a change; after it is made and no lock is held.
    fn announce(&self) {
        self.kept().changed.send_modify(|version| *version += 1);
    }
}

fn tokens(decomposition: &TaskDecomposition) -> i32 {
    decomposition.agent_tasks.iter().map(|task| plan::tokens(&task.description)).fold(0, i32::saturating_add)
}

#[tonic::async_trait]
impl OrchestratorService for Service {
    async fn submit_task(&self, request: Request<SubmitTaskRequest>) -> Result<Response<SubmitTaskResponse>, Status> {
        self.submit(request.into_inner()).map(Response::new)
    }

    async fn get_task_status(
        &self,
        request: Request<GetTaskStatusRequest>,
    ) -> Result<Response<GetTaskStatusResponse>, Status> {
        let request = request.into_inner();
        let now = self.kept().clock.tick();
        let mut tasks = self.kept().tasks.lock();
        let task = tasks.by_id(&request.task_id)?;
        Ok(Response::new(GetTaskStatusResponse {
            task_id: task.id.clone(),
            status: task.status(now).into(),
            progress: task.progress(now),
            result: task.result(now),
            metrics: Some(task.metrics(now)),
            agent_statuses: if request.include_details { task.agents(now) } else { Vec::new() },
            error_message: task.error(now),
        }))
    }

    async fn cancel_task(&self, request: Request<CancelTaskRequest>) -> Result<Response<CancelTaskResponse>, Status> {
        let request = request.into_inner();
        let now = self.kept().clock.tick();
        {
            let mut tasks = self.kept().tasks.lock();
            let task = tasks.by_id(&request.task_id)?;
            if task.is_over(now) {
                let message = format!("task is over already: {}", task.status(now).as_str_name());
                return Ok(Response::new(CancelTaskResponse { success: false, message }));
            }
            let reason = if request.reason.is_empty() { "cancelled".to_owned() } else { request.reason };
            task.cancelled = Some((now, reason));
        }
        self.announce();
        Ok(Response::new(CancelTaskResponse { success: true, message: "Task cancelled".into() }))
    }

    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksResponse>, Status> {
        let request = request.into_inner();
        let now = self.kept().clock.tick();
        let (Ok(limit), Ok(offset)) = (usize::try_from(request.limit), usize::try_from(request.offset)) else {
            return Err(Status::invalid_argument("limit and offset must not be negative"));
        };
        let wanted = request.filter_status();
        let tasks = self.kept().tasks.lock();
        let found: Vec<_> = tasks
            .all()
            .iter()
            .filter(|task| request.user_id.is_empty() || task.user_id == request.user_id)
            .filter(|task| request.session_id.is_empty() || task.session_id == request.session_id)
            .filter(|task| wanted == TaskStatus::Unspecified || task.status(now) == wanted)
            .collect();
        let total_count = i32::try_from(found.len()).unwrap_or(i32::MAX);
        let page = found.into_iter().skip(offset).take(if limit == 0 { PAGE } else { limit });
        Ok(Response::new(ListTasksResponse { tasks: page.map(|task| task.summary(now)).collect(), total_count }))
    }

    async fn get_session_context(
        &self,
        request: Request<GetSessionContextRequest>,
    ) -> Result<Response<GetSessionContextResponse>, Status> {
        let session_id = request.into_inner().session_id;
        let now = self.kept().clock.tick();
        let context = self.kept().sessions.lock().context(&session_id, now);
        let tasks = self.kept().tasks.lock();
        let own: Vec<_> =
            tasks.all().iter().filter(|task| !session_id.is_empty() && task.session_id == session_id).collect();
        if context.is_none() && own.is_empty() {
            return Err(Status::not_found(format!("there is no session `{session_id}`")));
        }
        let usages: Vec<_> = own.iter().map(|task| task.usage(now)).collect();
        Ok(Response::new(GetSessionContextResponse {
            session_id,
            context,
            recent_tasks: own.iter().rev().take(RECENT).map(|task| task.summary(now)).collect(),
            session_token_usage: Some(task::sum(usages.iter())),
        }))
    }

    async fn list_templates(
        &self,
        _: Request<ListTemplatesRequest>,
    ) -> Result<Response<ListTemplatesResponse>, Status> {
        let template = |(name, version, content): &(&str, &str, &str)| TemplateSummary {
            name: (*name).into(),
            version: (*version).into(),
            key: format!("{name}@{version}"),
            content_hash: seed::hex(&Sha256::digest(content)),
        };
        Ok(Response::new(ListTemplatesResponse { templates: TEMPLATES.iter().map(template).collect() }))
    }

    async fn approve_task(
        &self,
        request: Request<ApproveTaskRequest>,
    ) -> Result<Response<ApproveTaskResponse>, Status> {
        let request = request.into_inner();
        let now = self.kept().clock.tick();
        {
            let mut tasks = self.kept().tasks.lock();
            let task = tasks.by_workflow(&request.workflow_id)?;
            let cancelled = task.cancelled.is_some();
            let Some(approval) = task.approval.as_mut().filter(|approval| approval.id == request.approval_id) else {
                return Err(Status::not_found(format!("there is no approval `{}`", request.approval_id)));
            };
            if cancelled || approval.decided.is_some() {
                let message = "it was decided or cancelled before".to_owned();
                return Ok(Response::new(ApproveTaskResponse { success: false, message }));
            }
            approval.decided = Some((now, request.approved, request.feedback));
        }
        self.announce();
        let message = if request.approved { "Task approved" } else { "Task denied" };
        Ok(Response::new(ApproveTaskResponse { success: true, message: message.into() }))
    }

    async fn get_pending_approvals(
        &self,
        request: Request<GetPendingApprovalsRequest>,
    ) -> Result<Response<GetPendingApprovalsResponse>, Status> {
        let request = request.into_inner();
        let tasks = self.kept().tasks.lock();
        let approvals = tasks
            .all()
            .iter()
            .filter(|task| request.user_id.is_empty() || task.user_id == request.user_id)
            .filter(|task| request.session_id.is_empty() || task.session_id == request.session_id)
            .filter_map(Task::pending)
            .collect();
        Ok(Response::new(GetPendingApprovalsResponse { approvals }))
    }
}
