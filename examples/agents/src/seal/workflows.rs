//! ToolWorkflowService: the store of workflows, and what a workflow must be to get into it.

use std::sync::Arc;

use parking_lot::Mutex;
use portunus_proto::seal::tool_workflow_service_server::ToolWorkflowService;
use portunus_proto::seal::{
    CreateWorkflowRequest, CreateWorkflowResponse, DeleteWorkflowRequest, DeleteWorkflowResponse, GetWorkflowRequest,
    GetWorkflowResponse, ListWorkflowsRequest, ListWorkflowsResponse, UpdateWorkflowRequest, UpdateWorkflowResponse,
    Workflow, WorkflowSummary,
};
use tonic::{Request, Response, Status};

use crate::seed::Seed;

use super::engine::OnError;
use super::schema;

/// Workflows in the order of their creation.
#[derive(Debug, Default)]
pub(super) struct Stored(Vec<Workflow>);

impl Stored {
    pub(super) fn all(&self) -> &[Workflow] {
        &self.0
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Workflow> {
        self.0.iter().find(|workflow| workflow.name == name)
    }

    fn position(&self, id: &str) -> Result<usize, Status> {
        self.0
            .iter()
            .position(|workflow| workflow.id == id)
            .ok_or_else(|| Status::not_found(format!("there is no workflow `{id}`")))
    }
}

pub(super) struct Workflows {
    stored: Arc<Mutex<Stored>>,
    seed: Seed,
}

impl Workflows {
    pub(super) fn new(stored: Arc<Mutex<Stored>>, seed: Seed) -> Self {
        Self { stored, seed }
    }
}

#[tonic::async_trait]
impl ToolWorkflowService for Workflows {
    async fn create_workflow(
        &self,
        request: Request<CreateWorkflowRequest>,
    ) -> Result<Response<CreateWorkflowResponse>, Status> {
        let mut workflow = checked(request.into_inner().workflow)?;
        let mut stored = self.stored.lock();
        if stored.by_name(&workflow.name).is_some() || stored.position(&workflow.id).is_ok() {
            return Err(Status::already_exists(format!(
                "a workflow of this name or id exists: `{}`; use UpdateWorkflow to change it",
                workflow.name
            )));
        }
        if workflow.id.is_empty() {
            workflow.id = self.seed.id("wf");
        }
        stored.0.push(workflow.clone());
        Ok(Response::new(CreateWorkflowResponse { workflow: Some(workflow) }))
    }

    async fn get_workflow(
        &self,
        request: Request<GetWorkflowRequest>,
    ) -> Result<Response<GetWorkflowResponse>, Status> {
        let stored = self.stored.lock();
        let position = stored.position(&request.get_ref().workflow_id)?;
        Ok(Response::new(GetWorkflowResponse { workflow: stored.0.get(position).cloned() }))
    }

    async fn list_workflows(
        &self,
        _: Request<ListWorkflowsRequest>,
    ) -> Result<Response<ListWorkflowsResponse>, Status> {
        let stored = self.stored.lock();
        let summary = |workflow: &Workflow| WorkflowSummary {
            id: workflow.id.clone(),
            name: workflow.name.clone(),
            description: workflow.description.clone(),
        };
        Ok(Response::new(ListWorkflowsResponse { workflows: stored.0.iter().map(summary).collect() }))
    }

    async fn update_workflow(
        &self,
        request: Request<UpdateWorkflowRequest>,
    ) -> Result<Response<UpdateWorkflowResponse>, Status> {
        let workflow = checked(request.into_inner().workflow)?;
        let mut stored = self.stored.lock();
        let position = stored.position(&workflow.id)?;
        if stored.by_name(&workflow.name).is_some_and(|other| other.id != workflow.id) {
            return Err(Status::already_exists(format!("another workflow is named `{}`", workflow.name)));
        }
        let Some(place) = stored.0.get_mut(position) else {
            return Err(Status::internal("the store lost the workflow between two lines"));
        };
        // `updated` says whether anything changed.
        let updated = *place != workflow;
        *place = workflow;
        Ok(Response::new(UpdateWorkflowResponse { updated }))
    }

    async fn delete_workflow(
        &self,
        request: Request<DeleteWorkflowRequest>,
    ) -> Result<Response<DeleteWorkflowResponse>, Status> {
        let mut stored = self.stored.lock();
        let position = stored.position(&request.get_ref().workflow_id)?;
        stored.0.remove(position);
        Ok(Response::new(DeleteWorkflowResponse { deleted: true }))
    }
}

fn checked(workflow: Option<Workflow>) -> Result<Workflow, Status> {
    let refuse = |why: String| Err(Status::invalid_argument(why));
    let Some(workflow) = workflow else { return refuse("workflow is missing".into()) };
    if workflow.name.is_empty() {
        return refuse("workflow.name is empty".into());
    }
    if workflow.steps.is_empty() {
        return refuse("workflow.steps is empty: a workflow does at least one thing".into());
    }
    if let Err(why) = schema::parse(&workflow.input_schema_json) {
        return refuse(format!("workflow.input_schema_json {why}"));
    }
    for (i, step) in workflow.steps.iter().enumerate() {
        if step.operation_id.is_empty() {
            return refuse(format!("workflow.steps[{i}].operation_id is empty"));
        }
        if OnError::parse(&step.on_error).is_none() {
            return refuse(format!(
                "workflow.steps[{i}].on_error is `{}`: write AbortWorkflow, Continue or RetryN(<n>)",
                step.on_error
            ));
        }
    }
    Ok(workflow)
}
