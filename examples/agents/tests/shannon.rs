//! Shannon's promises that take time or a second server: expiry, resumption, budgets, approval, cancellation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail like tests")]

use std::time::Duration;

use portunus_agents::shannon::{Server, Store};
use portunus_agents::{Clock, Options};
use portunus_proto::shannon::orchestrator::orchestrator_service_client::OrchestratorServiceClient;
use portunus_proto::shannon::orchestrator::streaming_service_client::StreamingServiceClient;
use portunus_proto::shannon::session::session_service_client::SessionServiceClient;
use portunus_proto::shannon::{agent, common, llm, orchestrator as orch, session};
use tonic::transport::Channel;
use tonic::{Code, Request};

async fn start(clock: &Clock) -> (Server, Channel) {
    let server = Server::start(Options { clock: clock.clone(), ..Options::default() }).await.unwrap();
    let channel = dial(&server).await;
    (server, channel)
}

async fn dial(server: &Server) -> Channel {
    Channel::from_shared(format!("http://{}", server.address())).unwrap().connect().await.unwrap()
}

fn submit(query: &str) -> orch::SubmitTaskRequest {
    orch::SubmitTaskRequest { query: query.into(), ..Default::default() }
}

fn stream(workflow_id: &str, last_stream_id: &str) -> orch::StreamRequest {
    orch::StreamRequest { workflow_id: workflow_id.into(), last_stream_id: last_stream_id.into(), ..Default::default() }
}

async fn read(channel: &Channel, request: impl tonic::IntoRequest<orch::StreamRequest>) -> Vec<orch::TaskUpdate> {
    let mut stream =
        StreamingServiceClient::new(channel.clone()).stream_task_execution(request).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Ok(Some(update)) = stream.message().await {
        all.push(update);
    }
    all
}

#[tokio::test]
async fn a_session_expires_by_the_clock() {
    let clock = Clock::logical(0);
    let (_server, channel) = start(&clock).await;
    let mut client = SessionServiceClient::new(channel);
    let create = session::CreateSessionRequest { user_id: "u".into(), ttl_seconds: 10, ..Default::default() };
    let id = client.create_session(create).await.unwrap().into_inner().session_id;
    let get = session::GetSessionRequest { session_id: id.clone(), include_history: false };
    clock.advance(Duration::from_secs(9));
    assert!(client.get_session(get.clone()).await.is_ok());
    let update = session::UpdateSessionRequest { session_id: id, extend_ttl_seconds: 5, ..Default::default() };
    client.update_session(update).await.unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(client.get_session(get.clone()).await.is_ok(), "extended");
    clock.advance(Duration::from_secs(1));
    let gone = client.get_session(get).await.unwrap_err();
    assert!(gone.code() == Code::NotFound && gone.message().contains("expired"), "{gone}");
    let list = |active_only| session::ListSessionsRequest { active_only, ..Default::default() };
    assert!(client.list_sessions(list(true)).await.unwrap().into_inner().sessions.is_empty());
    assert!(!client.list_sessions(list(false)).await.unwrap().into_inner().sessions[0].is_active);
}

#[tokio::test]
async fn a_stream_resumes_where_it_broke_on_another_server() {
    let store = Store::new(3, Clock::logical(1_700_000_000_000));
    let one = Server::start_on(Options::default(), store.clone()).await.unwrap();
    let two = Server::start_on(Options::default(), store).await.unwrap();
    let (first, second) = (dial(&one).await, dial(&two).await);
    let mut client = OrchestratorServiceClient::new(first.clone());
    let id = client.submit_task(submit("load data, then count words")).await.unwrap().into_inner().workflow_id;
    let whole = read(&first, stream(&id, "")).await;
    assert_eq!(whole.iter().map(|u| u.seq).collect::<Vec<_>>(), (1..=whole.len() as u64).collect::<Vec<_>>());
    assert!(whole[0].stream_id.starts_with("1700000000"), "{}", whole[0].stream_id);

    let mut broken = Request::new(stream(&id, ""));
    broken.metadata_mut().insert("x-fail-after", "4".parse().unwrap());
    let before = read(&first, broken).await;
    assert_eq!(before, whole[..4]);
    one.kill().await;
    let after = read(&second, stream(&id, &before[3].stream_id)).await;
    assert_eq!(after, whole[4..]);

    let by_seq = orch::StreamRequest { last_event_id: 4, ..stream(&id, "") };
    assert_eq!(read(&second, by_seq).await, whole[4..]);
    let ends = orch::StreamRequest { types: vec!["WORKFLOW_COMPLETED".into()], ..stream(&id, "") };
    assert_eq!(read(&second, ends).await, whole[whole.len() - 1..]);
    let mut client = StreamingServiceClient::new(second);
    for (request, code) in [(stream(&id, "soon"), Code::InvalidArgument), (stream("wf", ""), Code::NotFound)] {
        assert_eq!(client.stream_task_execution(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn budgets_count_and_are_exceeded() {
    let (_server, channel) = start(&Clock::logical(0)).await;
    let metadata = |task_id: &str, token_budget| {
        Some(common::TaskMetadata { task_id: task_id.into(), token_budget, ..Default::default() })
    };
    let mut tasks = OrchestratorServiceClient::new(channel.clone());
    let poor = orch::SubmitTaskRequest { metadata: metadata("t", 10.0), ..submit("count words") };
    let answer = tasks.submit_task(poor).await.unwrap().into_inner();
    assert_eq!(answer.status(), common::StatusCode::BudgetExceeded);
    assert!(answer.workflow_id.is_empty() && answer.message.contains("0 of 10 used"), "{}", answer.message);
    let status = orch::GetTaskStatusRequest { task_id: "t".into(), ..Default::default() };
    assert_eq!(tasks.get_task_status(status).await.unwrap_err().code(), Code::NotFound);

    let mut agents = agent::agent_service_client::AgentServiceClient::new(channel.clone());
    let execute =
        agent::ExecuteTaskRequest { metadata: metadata("e", 100.0), query: "hello".into(), ..Default::default() };
    assert_eq!(agents.execute_task(execute.clone()).await.unwrap().into_inner().status(), common::StatusCode::Ok);
    let second = agents.execute_task(execute).await.unwrap().into_inner();
    assert_eq!(second.status(), common::StatusCode::BudgetExceeded);
    assert_eq!(second.final_state(), agent::AgentState::Failed);

    let mut models = llm::llm_service_client::LlmServiceClient::new(channel);
    let message = llm::Message { content: "what is 1 + 1".into(), ..Default::default() };
    let generate =
        llm::GenerateCompletionRequest { messages: vec![message], metadata: metadata("l", 10.0), ..Default::default() };
    assert!(models.generate_completion(generate.clone()).await.is_ok());
    let status = models.generate_completion(generate).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

#[tokio::test]
async fn an_open_stream_sees_approval_and_cancellation() {
    // The machine's clock: events take their real time.
    let (server, channel) = start(&Clock::real()).await;
    let mut tasks = OrchestratorServiceClient::new(channel.clone());
    let held = orch::SubmitTaskRequest { require_approval: true, ..submit("count words then load data then search") };
    let task = tasks.submit_task(held).await.unwrap().into_inner();
    let mut events = StreamingServiceClient::new(channel)
        .stream_task_execution(stream(&task.workflow_id, ""))
        .await
        .unwrap()
        .into_inner();
    let mut kinds = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        match event.r#type.as_str() {
            "APPROVAL_REQUESTED" => {
                let approve = orch::ApproveTaskRequest {
                    approval_id: event.message,
                    workflow_id: task.workflow_id.clone(),
                    approved: true,
                    ..Default::default()
                };
                assert!(tasks.approve_task(approve).await.unwrap().into_inner().success);
            }
            "AGENT_STARTED" => {
                let cancel = orch::CancelTaskRequest { task_id: task.task_id.clone(), reason: "enough".into() };
                tasks.cancel_task(cancel).await.unwrap();
            }
            _ => {}
        }
        kinds.push(event.r#type);
    }
    assert_eq!(kinds[..4], ["WORKFLOW_STARTED", "APPROVAL_REQUESTED", "APPROVAL_DECISION", "AGENT_STARTED"]);
    assert_eq!(kinds.last().unwrap(), "WORKFLOW_CANCELLED");
    assert!(!kinds.contains(&"WORKFLOW_COMPLETED".to_owned()));
    let status = orch::GetTaskStatusRequest { task_id: task.task_id, ..Default::default() };
    let status = tasks.get_task_status(status).await.unwrap().into_inner();
    assert_eq!((status.status(), status.error_message.as_str()), (orch::TaskStatus::Cancelled, "enough"));
    assert_eq!(server.handle().calls().cancelled, 0);
}

#[tokio::test]
async fn a_task_that_fails_says_so() {
    let (_server, channel) = start(&Clock::logical(0)).await;
    let mut tasks = OrchestratorServiceClient::new(channel.clone());
    let task = tasks.submit_task(submit("fail at this")).await.unwrap().into_inner();
    let kinds: Vec<_> = read(&channel, stream(&task.workflow_id, "")).await.into_iter().map(|u| u.r#type).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["ERROR_OCCURRED", "WORKFLOW_FAILED"]);
    let status = orch::GetTaskStatusRequest { task_id: task.task_id, ..Default::default() };
    let status = tasks.get_task_status(status).await.unwrap().into_inner();
    assert_eq!(status.status(), orch::TaskStatus::Failed);
    assert!(status.error_message.contains("fail at this") && status.result.is_empty());
}

#[tokio::test]
async fn it_reflects_and_reports_its_health() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::{v1, v1alpha};
    let (server, channel) = start(&Clock::logical(0)).await;
    let names = ["", "shannon.llm.LLMService"];
    for service in names {
        let answer = HealthClient::new(channel.clone()).check(HealthCheckRequest { service: service.into() }).await;
        assert_eq!(answer.unwrap().into_inner().status, 1, "`{service}` is serving");
    }
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { message_request: Some(list), ..Default::default() };
    let mut answers = v1::server_reflection_client::ServerReflectionClient::new(channel.clone())
        .server_reflection_info(futures_util::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("shannon.session.SessionService"), "{answer}");
    let symbol = "shannon.orchestrator.StreamingService".to_owned();
    let file = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let request = v1alpha::ServerReflectionRequest { message_request: Some(file), ..Default::default() };
    let mut answers = v1alpha::server_reflection_client::ServerReflectionClient::new(channel)
        .server_reflection_info(futures_util::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = format!("{:?}", answers.message().await.unwrap().unwrap());
    assert!(answer.contains("FileDescriptorResponse"), "{answer}");
    assert_eq!((server.handle().calls().seen, server.handle().calls().probes), (0, 4));
}
