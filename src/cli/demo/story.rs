//! What `demo --once` does: real calls through the proxy, and what should come of each.

use std::collections::BTreeMap;
use std::time::Duration;

use portunus_proto::bindu::agent_handler_client::AgentHandlerClient;
use portunus_proto::bindu::{ChatMessage, HandleRequest, HandleResponse};
use portunus_proto::shannon::orchestrator::GetTaskStatusRequest;
use portunus_proto::shannon::orchestrator::orchestrator_service_client::OrchestratorServiceClient;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::papers::Shows;
use super::stage::Stage;

/// Everything that was tried.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) balanced: Vec<Balanced>,
    pub(super) refused: Vec<Refused>,
    pub(super) facts: Vec<Fact>,
}

/// Calls that were answered.
#[derive(Debug)]
pub(super) struct Balanced {
    pub(super) what: &'static str,
    pub(super) asked: usize,
    /// Answers by instance.
    pub(super) answers: BTreeMap<String, usize>,
    pub(super) took: Vec<Duration>,
    pub(super) as_expected: bool,
}

/// A call that must not pass.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) what: &'static str,
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) as_expected: bool,
}

/// Something that must hold.
#[derive(Debug)]
pub(super) struct Fact {
    pub(super) text: String,
    pub(super) holds: bool,
}

impl Story {
    pub(super) fn all_as_expected(&self) -> bool {
        self.balanced.iter().all(|row| row.as_expected)
            && self.refused.iter().all(|row| row.as_expected)
            && self.facts.iter().all(|fact| fact.holds)
    }
}

/// Sends the calls.
pub(super) async fn tell(stage: &mut Stage) -> Story {
    let mut story = Story::default();
    let registrations = stage.core.registrations_of(&stage.agent_id);
    story.facts.push(Fact {
        text: format!("three instances registered; the core was told of the agent {registrations} time(s)"),
        holds: registrations == 1,
    });
    story.balanced.push(by_the_core(stage).await);
    let client = match connect(stage, Shows::Caller).await {
        Ok(client) => client,
        Err(error) => {
            story.facts.push(Fact { text: format!("no connection to the proxy: {error}"), holds: false });
            return story;
        }
    };
    let all = |row: &Balanced| row.answers.len() == 3 && row.answers.values().all(|count| *count == 10);
    story.balanced.push(unary(&client, "30 HandleMessages from a client", 30, all).await);
    story.balanced.push(streams(&client).await);
    story.refused = refusals(stage, &client).await;
    match strangers(stage).await {
        Ok((refused, fact)) => {
            story.refused.extend(refused);
            story.facts.push(fact);
        }
        Err(error) => story.facts.push(Fact { text: format!("no tokens were made: {error}"), holds: false }),
    }
    if let Some(victim) = stage.instances.pop() {
        victim.kill().await;
        let two = |row: &Balanced| row.answers.values().sum::<usize>() == 20 && row.answers.len() == 2;
        story.balanced.push(unary(&client, "20 right after instance-3 died", 20, two).await);
    }
    story
}

async fn by_the_core(stage: &Stage) -> Balanced {
    let mut row = Balanced::new("30 messages by way of the core", 30);
    for _ in 0..row.asked {
        let started = Instant::now();
        row.add(started, stage.core.send_message(&stage.agent_id, "hello").await);
    }
    row.as_expected = row.answers.len() == 3 && row.answers.values().all(|count| *count == 10);
    row
}

async fn unary(client: &Client, what: &'static str, calls: usize, good: impl FnOnce(&Balanced) -> bool) -> Balanced {
    let mut row = Balanced::new(what, calls);
    for _ in 0..calls {
        let started = Instant::now();
        row.add(started, client.clone().handle_messages(hello(10)).await.map(tonic::Response::into_inner));
    }
    row.as_expected = good(&row);
    row
}

async fn streams(client: &Client) -> Balanced {
    let mut row = Balanced::new("9 HandleMessagesStream, each to its last chunk", 9);
    for _ in 0..row.asked {
        let started = Instant::now();
        row.add(started, last_chunk(client).await);
    }
    row.as_expected = row.answers.len() == 3 && row.answers.values().sum::<usize>() == row.asked;
    row
}

async fn last_chunk(client: &Client) -> Result<HandleResponse, Status> {
    let mut stream = client.clone().handle_messages_stream(hello(10)).await?.into_inner();
    let mut last = None;
    while let Some(chunk) = stream.message().await? {
        last = Some(chunk);
    }
    last.filter(|chunk| chunk.is_final).ok_or_else(|| Status::internal("the stream ended without a last chunk"))
}

async fn refusals(stage: &Stage, client: &Client) -> Vec<Refused> {
    let with = |name: &'static str, value: &'static str| {
        let mut request = Request::new(hello(10));
        request.metadata_mut().insert(name, tonic::metadata::MetadataValue::from_static(value));
        request
    };
    let mut slow = with("x-hurry", "1");
    slow.metadata_mut().insert("x-delay-ms", tonic::metadata::MetadataValue::from_static("5000"));
    let nobody = with("x-portunus-agent", "11111111-2222-3333-4444-555555555555");
    let call = |request| {
        let mut client = client.clone();
        async move { client.handle_messages(request).await.err() }
    };
    let elsewhere = async {
        let channel = endpoint(stage, Shows::Caller).ok()?.connect_lazy();
        OrchestratorServiceClient::with_interceptor(channel, operator(stage).ok()?)
            .get_task_status(GetTaskStatusRequest::default())
            .await
            .err()
    };
    vec![
        Refused::new("an agent that nobody registered", call(nobody).await, (Code::NotFound, "agent_unknown")),
        Refused::new("a service without a route", elsewhere.await, (Code::Unimplemented, "no_route")),
        Refused::new(
            "a message of 2 MiB where 1 MiB is allowed",
            call(Request::new(hello(2 << 20))).await,
            (Code::ResourceExhausted, "message_too_large"),
        ),
        Refused::new("5 s of work on a route with 200 ms", call(slow).await, (Code::DeadlineExceeded, "deadline")),
    ]
}

/// Those who are not who may call, or may not do it.
async fn strangers(stage: &Stage) -> Result<(Vec<Refused>, Fact), String> {
    let papers = &stage.papers;
    let call = async |shows: Shows, token: Option<String>| -> Result<Option<Status>, String> {
        let channel = endpoint(stage, shows)?.connect_lazy();
        let mut client = AgentHandlerClient::with_interceptor(channel, Bearer::of(token)?);
        Ok(client.handle_messages(hello(10)).await.err())
    };
    let unauthenticated = |reason| (Code::Unauthenticated, reason);
    let refused = vec![
        Refused::new("no token", call(Shows::Caller, None).await?, unauthenticated("token_missing")),
        Refused::new(
            "a token that has expired",
            call(Shows::Caller, Some(papers.token("operator", -600)?)).await?,
            unauthenticated("token_expired"),
        ),
        Refused::new(
            "a token that somebody else has signed",
            call(Shows::Caller, Some(papers.forged()?)).await?,
            unauthenticated("token_signature"),
        ),
        Refused::new(
            "a token of a role that may not call",
            call(Shows::Caller, Some(papers.token("guest", 600)?)).await?,
            (Code::PermissionDenied, "denied"),
        ),
        Refused::new(
            "the certificate of a stranger",
            call(Shows::Stranger, Some(papers.token("operator", 600)?)).await?,
            (Code::PermissionDenied, "peer"),
        ),
    ];
    let without = call(Shows::Nothing, Some(papers.token("operator", 600)?)).await?;
    // No call, and so no answer: whoever shows no certificate has no connection.
    let holds = without.as_ref().is_some_and(|status| status.get_details_error_info().is_none());
    let text = match without {
        Some(_) if holds => "a caller without a certificate has no connection".to_owned(),
        Some(status) => format!("a caller without a certificate was answered: {}", status.message()),
        None => "a caller without a certificate passed".to_owned(),
    };
    Ok((refused, Fact { text, holds }))
}

type Client = AgentHandlerClient<InterceptedService<Channel, Bearer>>;

/// Sends a token along.
#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn of(token: Option<String>) -> Result<Self, String> {
        let value = token.map(|token| format!("Bearer {token}").parse()).transpose();
        value.map(Self).map_err(|_| "a token that cannot be metadata".to_owned())
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Who may do everything.
fn operator(stage: &Stage) -> Result<Bearer, String> {
    Bearer::of(Some(stage.papers.token("operator", 600)?))
}

async fn connect(stage: &Stage, shows: Shows) -> Result<Client, String> {
    let channel = endpoint(stage, shows)?.connect().await.map_err(|error| error.to_string())?;
    Ok(AgentHandlerClient::with_interceptor(channel, operator(stage)?))
}

fn endpoint(stage: &Stage, shows: Shows) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("https://{}", stage.edge)).map_err(|error| error.to_string())?;
    endpoint.tls_config(stage.papers.tls(shows)).map_err(|error| error.to_string())
}

fn hello(size: usize) -> HandleRequest {
    let message = ChatMessage { role: "user".into(), content: "h".repeat(size) };
    HandleRequest { messages: vec![message], task_id: "demo".into(), context_id: "demo".into() }
}

impl Balanced {
    fn new(what: &'static str, asked: usize) -> Self {
        Self { what, asked, answers: BTreeMap::new(), took: Vec::new(), as_expected: false }
    }

    fn add(&mut self, started: Instant, answer: Result<HandleResponse, Status>) {
        self.took.push(started.elapsed());
        if let Ok(answer) = answer {
            let instance = answer.metadata.get("instance").cloned().unwrap_or_default();
            *self.answers.entry(instance).or_default() += 1;
        }
    }
}

impl Refused {
    fn new(what: &'static str, got: Option<Status>, (code, reason): (Code, &str)) -> Self {
        let status = got.unwrap_or_else(|| Status::ok("it passed"));
        let given = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let as_expected = status.code() == code && given == reason;
        Self { what, code: status.code(), reason: given, message: status.message().to_owned(), as_expected }
    }
}
