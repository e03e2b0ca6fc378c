//! Two fresh backends with one seed and one logical clock answer one script of calls with the same bytes: over all
//! RPCs of Open Astra, SEAL and Shannon, errors and streams included.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::fmt::Debug;

use portunus_agents::{Clock, Options, openastra, seal, shannon};
use portunus_proto::openastra as astra;
use portunus_proto::seal as sl;
use portunus_proto::shannon::{agent, common, llm, orchestrator as orch, session};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// Everything that came back, in order.
#[derive(Default)]
struct Transcript(Vec<u8>, usize);

impl Transcript {
    fn unary<T: Message + Default>(&mut self, answer: Result<Response<T>, Status>) -> T {
        self.1 += 1;
        match answer {
            Ok(response) => {
                let message = response.into_inner();
                self.0.extend(message.encode_length_delimited_to_vec());
                message
            }
            Err(status) => {
                self.0.extend(format!("{:?} {}", status.code(), status.message()).into_bytes());
                T::default()
            }
        }
    }

    async fn stream<T: Message + Default>(&mut self, answer: Result<Response<Streaming<T>>, Status>) -> Vec<T> {
        self.1 += 1;
        let mut all = Vec::new();
        let Ok(response) = answer else {
            self.0.extend(format!("{:?}", answer.unwrap_err()).into_bytes());
            return all;
        };
        let mut stream = response.into_inner();
        while let Some(message) = stream.message().await.unwrap() {
            self.0.extend(message.encode_length_delimited_to_vec());
            all.push(message);
        }
        all
    }
}

fn options(seed: u64) -> Options {
    Options { seed, clock: "2026-01-01T00:00:00Z".parse::<Clock>().unwrap(), ..Options::default() }
}

async fn channel(address: std::net::SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

fn same<T: PartialEq + Debug>(one: (Vec<u8>, T), two: (Vec<u8>, T), other: (Vec<u8>, T)) {
    assert_eq!(one.1, two.1);
    assert!(one.0 == two.0, "the same seed gave other bytes");
    assert!(one.0 != other.0, "another seed gave the same bytes");
}

async fn astra_script(seed: u64) -> (Vec<u8>, usize) {
    let server = openastra::Server::start(options(seed)).await.unwrap();
    let mut client = astra::agent_service_client::AgentServiceClient::new(channel(server.address()).await);
    let mut seen = Transcript::default();
    let ask = |message: &str, session_id: &str| astra::AgentRequest {
        uid: "u".into(),
        message: message.into(),
        session_id: session_id.into(),
        ..Default::default()
    };
    let first = seen.unary(client.run_agent_loop(ask("what time is it?", "")).await);
    seen.unary(client.run_agent_loop(ask("remember the milk", &first.session_id)).await);
    let recalled = seen.unary(client.run_agent_loop(ask("recall", &first.session_id)).await);
    assert_eq!(recalled.content, "[assistant] memory_recall: [\"the milk\"]");
    let events = seen.stream(client.run_agent_loop_stream(ask("3 * 3", &first.session_id)).await).await;
    let mut kinds: Vec<_> = events.iter().map(|event| event.r#type.as_str()).collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["session_resolved", "stream_delta", "tool_call_start", "tool_call_complete", "tool_result", "completed"]
    );
    seen.unary(client.run_agent_loop(astra::AgentRequest::default()).await);
    let spawn = astra::SpawnRequest { uid: "u".into(), task: "1 + 1".into(), depth: 2, ..Default::default() };
    let spawned = astra::SpawnRequest { target_agent_id: "coder".into(), ..spawn.clone() };
    assert!(seen.unary(client.spawn_agent(spawned).await).success);
    let nobody = astra::SpawnRequest { target_agent_id: "nobody".into(), ..spawn };
    assert!(!seen.unary(client.spawn_agent(nobody).await).success);
    seen.unary(client.health_check(astra::Empty {}).await);
    (seen.0, seen.1)
}

async fn seal_script(seed: u64) -> (Vec<u8>, usize) {
    let server = seal::Server::start(options(seed)).await.unwrap();
    let channel = channel(server.address()).await;
    let mut workflows = sl::tool_workflow_service_client::ToolWorkflowServiceClient::new(channel.clone());
    let mut gateway = sl::gateway_invocation_service_client::GatewayInvocationServiceClient::new(channel);
    let mut seen = Transcript::default();
    let step = sl::WorkflowStep {
        name: "create".into(),
        operation_id: "issues.create".into(),
        body_template: r#"{"title":"{{title}}"}"#.into(),
        extractors: [("id".to_owned(), "$.id".to_owned()), ("t".to_owned(), "$.body.title".to_owned())].into(),
        ..Default::default()
    };
    let workflow = sl::Workflow {
        name: "w".into(),
        input_schema_json: r#"{"required":["title"]}"#.into(),
        steps: vec![step],
        ..Default::default()
    };
    let create = sl::CreateWorkflowRequest { workflow: Some(workflow) };
    let made = seen.unary(workflows.create_workflow(create.clone()).await).workflow.unwrap();
    seen.unary(workflows.create_workflow(create).await);
    seen.unary(workflows.get_workflow(sl::GetWorkflowRequest { workflow_id: made.id.clone() }).await);
    let invoke = |input: &str| sl::InvokeWorkflowRequest {
        workflow_name: "w".into(),
        input_json: input.into(),
        tenant_id: "acme".into(),
        ..Default::default()
    };
    let result = seen.unary(gateway.invoke_workflow(invoke(r#"{"title":"T"}"#)).await).result_json;
    assert!(result.contains(r#""t":"T""#) && result.contains("2026-01-01T00:00:00.1"), "{result}");
    seen.unary(gateway.invoke_workflow(invoke("{}")).await);
    let renamed = sl::Workflow { name: "v".into(), ..made.clone() };
    assert!(seen.unary(workflows.update_workflow(sl::UpdateWorkflowRequest { workflow: Some(renamed) }).await).updated);
    assert_eq!(seen.unary(gateway.list_tools(sl::ListToolsRequest {}).await).tools.len(), 4);
    let cli = |tool: &str, subcommand: &str| sl::InvokeCliRequest {
        tool_name: tool.into(),
        subcommand: subcommand.into(),
        args: vec!["b".into(), "a".into()],
        ..Default::default()
    };
    assert_eq!(seen.unary(gateway.invoke_cli(cli("text", "sort")).await).stdout, "a\nb\n");
    assert_eq!(seen.unary(gateway.invoke_cli(cli("text", "?")).await).exit_code, 2);
    assert_eq!(seen.unary(gateway.invoke_cli(cli("mounts", "check")).await).exit_code, 1);
    let explore = sl::ExploreApiRequest {
        api_spec_id: "tracker".into(),
        operation_id: "issues.list".into(),
        fields: vec!["id".into(), "votes".into()],
        include_hateoas_hints: true,
        ..Default::default()
    };
    let sliced = seen.unary(gateway.explore_api(explore).await);
    assert!(!sliced.sliced_data_json.contains("title") && sliced.hints_json.contains("issues.get"));
    let delete = sl::DeleteWorkflowRequest { workflow_id: made.id };
    assert!(seen.unary(workflows.delete_workflow(delete.clone()).await).deleted);
    seen.unary(workflows.delete_workflow(delete).await);
    assert!(seen.unary(workflows.list_workflows(sl::ListWorkflowsRequest {}).await).workflows.is_empty());
    (seen.0, seen.1)
}

async fn shannon_script(seed: u64) -> (Vec<u8>, usize) {
    let server = shannon::Server::start(options(seed)).await.unwrap();
    let channel = channel(server.address()).await;
    let mut seen = Transcript::default();
    let session_id = sessions(channel.clone(), &mut seen).await;
    tasks(channel.clone(), &mut seen, &session_id).await;
    agents(channel.clone(), &mut seen).await;
    models(channel, &mut seen).await;
    (seen.0, seen.1)
}

async fn sessions(channel: Channel, seen: &mut Transcript) -> String {
    let mut client = session::session_service_client::SessionServiceClient::new(channel);
    let create = session::CreateSessionRequest { user_id: "u".into(), max_history: 2, ..Default::default() };
    let id = seen.unary(client.create_session(create).await).session_id;
    for role in ["user", "assistant", "system", "nobody"] {
        let message = session::Message { role: role.into(), content: "hello".into(), ..Default::default() };
        let add = session::AddMessageRequest { session_id: id.clone(), message: Some(message) };
        seen.unary(client.add_message(add).await);
    }
    let get = session::GetSessionRequest { session_id: id.clone(), include_history: true };
    let got = seen.unary(client.get_session(get).await).session.unwrap();
    assert_eq!((got.history.len(), got.metrics.unwrap().dropped_messages), (2, 1));
    let update = session::UpdateSessionRequest { session_id: id.clone(), extend_ttl_seconds: 5, ..Default::default() };
    seen.unary(client.update_session(update).await);
    let clear = session::ClearHistoryRequest { session_id: id.clone(), keep_context: true };
    seen.unary(client.clear_history(clear).await);
    let other = session::CreateSessionRequest { user_id: "v".into(), ..Default::default() };
    let other = seen.unary(client.create_session(other).await).session_id;
    seen.unary(client.delete_session(session::DeleteSessionRequest { session_id: other }).await);
    seen.unary(client.list_sessions(session::ListSessionsRequest::default()).await);
    id
}

async fn tasks(channel: Channel, seen: &mut Transcript, session_id: &str) {
    let mut client = orch::orchestrator_service_client::OrchestratorServiceClient::new(channel.clone());
    let mut streaming = orch::streaming_service_client::StreamingServiceClient::new(channel);
    let metadata = common::TaskMetadata { session_id: session_id.into(), ..Default::default() };
    let submit = orch::SubmitTaskRequest {
        metadata: Some(metadata),
        query: "load the sales data, count 2 + 2 then search for more".into(),
        ..Default::default()
    };
    let task = seen.unary(client.submit_task(submit.clone()).await);
    let status = orch::GetTaskStatusRequest { task_id: task.task_id, include_details: true };
    let running = seen.unary(client.get_task_status(status.clone()).await);
    assert_eq!(running.status(), orch::TaskStatus::Running);
    let stream = orch::StreamRequest { workflow_id: task.workflow_id, ..Default::default() };
    let events = seen.stream(streaming.stream_task_execution(stream).await).await;
    assert_eq!(events.last().unwrap().r#type, "WORKFLOW_COMPLETED");
    let done = seen.unary(client.get_task_status(status).await);
    assert_eq!((done.status(), done.progress), (orch::TaskStatus::Completed, 1.0));

    let held = orch::SubmitTaskRequest { require_approval: true, ..submit.clone() };
    let held = seen.unary(client.submit_task(held).await);
    let pending = seen.unary(client.get_pending_approvals(orch::GetPendingApprovalsRequest::default()).await);
    let approve = orch::ApproveTaskRequest {
        approval_id: pending.approvals[0].approval_id.clone(),
        workflow_id: held.workflow_id,
        approved: true,
        ..Default::default()
    };
    assert!(seen.unary(client.approve_task(approve.clone()).await).success);
    assert!(!seen.unary(client.approve_task(approve).await).success);
    let cancel = orch::CancelTaskRequest { task_id: held.task_id, reason: "enough".into() };
    assert!(seen.unary(client.cancel_task(cancel.clone()).await).success);
    assert!(!seen.unary(client.cancel_task(cancel).await).success);
    seen.unary(client.list_tasks(orch::ListTasksRequest::default()).await);
    let context = orch::GetSessionContextRequest { session_id: session_id.into() };
    assert_eq!(seen.unary(client.get_session_context(context).await).recent_tasks.len(), 2);
    seen.unary(client.list_templates(orch::ListTemplatesRequest {}).await);
    seen.unary(client.get_task_status(orch::GetTaskStatusRequest::default()).await);
}

async fn agents(channel: Channel, seen: &mut Transcript) {
    let mut client = agent::agent_service_client::AgentServiceClient::new(channel);
    let execute = agent::ExecuteTaskRequest { query: "what is 5 * 5".into(), ..Default::default() };
    assert_eq!(seen.unary(client.execute_task(execute.clone()).await).result, "5 * 5 is 25.");
    let updates = seen.stream(client.stream_execute_task(execute).await).await;
    assert_eq!(updates.last().unwrap().state(), agent::AgentState::Completed);
    seen.unary(client.get_capabilities(agent::GetCapabilitiesRequest {}).await);
    seen.unary(client.health_check(agent::HealthCheckRequest {}).await);
    let safe = agent::DiscoverToolsRequest { exclude_dangerous: true, ..Default::default() };
    assert_eq!(seen.unary(client.discover_tools(safe).await).tools.len(), 4);
    for tool_id in ["calculator", "nothing"] {
        seen.unary(client.get_tool_capability(agent::GetToolCapabilityRequest { tool_id: tool_id.into() }).await);
    }
}

async fn models(channel: Channel, seen: &mut Transcript) {
    let mut client = llm::llm_service_client::LlmServiceClient::new(channel);
    let message = llm::Message { role: "user".into(), content: "what is 8 - 1".into(), ..Default::default() };
    let config = llm::GenerationConfig { enable_caching: true, ..Default::default() };
    let generate =
        llm::GenerateCompletionRequest { messages: vec![message], config: Some(config), ..Default::default() };
    assert!(!seen.unary(client.generate_completion(generate.clone()).await).cache_hit);
    assert!(seen.unary(client.generate_completion(generate.clone()).await).cache_hit);
    let chunks = seen.stream(client.stream_completion(generate).await).await;
    assert_eq!(chunks.iter().map(|c| c.delta.as_str()).collect::<String>(), "8 - 1 is 7.");
    assert_eq!(chunks.last().unwrap().finish_reason, "stop");
    let embed = llm::EmbedTextRequest { texts: vec!["a b".into(), "c".into()], ..Default::default() };
    assert_eq!(seen.unary(client.embed_text(embed).await).embeddings[0].vector.len(), 16);
    let analyze = llm::AnalyzeComplexityRequest { query: "load data and count words".into(), ..Default::default() };
    assert_eq!(seen.unary(client.analyze_complexity(analyze).await).estimated_agents, 2);
    seen.unary(client.list_models(llm::ListModelsRequest::default()).await);
}

#[tokio::test]
async fn open_astra_repeats_itself() {
    same(astra_script(7).await, astra_script(7).await, astra_script(8).await);
}

#[tokio::test]
async fn seal_repeats_itself() {
    same(seal_script(7).await, seal_script(7).await, seal_script(8).await);
}

#[tokio::test]
async fn shannon_repeats_itself() {
    same(shannon_script(7).await, shannon_script(7).await, shannon_script(8).await);
}
