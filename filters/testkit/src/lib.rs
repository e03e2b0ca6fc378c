//! Runs a filter without the proxy: builds it from JSON as a configuration would, and takes calls past it.
//!
//! For the tests of filters. What the proxy guarantees holds here too: hooks in order, `end` exactly once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fields::{Fields, Method, RequestHead};
use filter_api::{
    Bounds, BuildCx, BuildError, CallFilter, CallInfo, Code, Depth, Expression, Factory, Filter, Gives, Hidden, Known,
    Message, Outcome, PeerIdentity, Phase, Protocol, Readers, Reads, Reason, Redaction, Refusal, RequestView,
    ResponseView, Seen, Start, Types, Unevaluated, Unread, Verdict,
};

/// A filter that was built.
pub struct Bench {
    filter: Box<dyn Filter>,
    phase: Phase,
    types: Option<Arc<Types>>,
    identity: Option<Arc<PeerIdentity>>,
}

/// A call that passes a filter.
pub struct TestCall {
    /// The head of the request, as the filter left it.
    pub head: RequestHead,
    /// The bounds, as the filter left them.
    pub bounds: Bounds,
    info: CallInfo,
    follower: Option<Box<dyn CallFilter>>,
    reads: Reads,
    phase: Phase,
    types: Option<Arc<Types>>,
    counts: (u64, u64),
}

impl Bench {
    /// Builds a filter from its configuration.
    ///
    /// # Errors
    /// What the filter says of the configuration.
    pub fn build<F: Factory>(config: serde_json::Value) -> Result<Self, BuildError> {
        let filter = (Known::of::<F>().build)(config, &mut BuildCx::new("listeners.test.filters[0]", &Plain))?;
        Ok(Self { filter, phase: F::PHASE, types: None, identity: None })
    }

    /// The same, whose messages come with these types.
    #[must_use]
    pub fn with_types(mut self, types: Arc<Types>) -> Self {
        self.types = Some(types);
        self
    }

    /// The same, for callers who have shown who they are.
    #[must_use]
    pub fn for_peer(mut self, identity: PeerIdentity) -> Self {
        self.identity = Some(Arc::new(identity));
        self
    }

    /// What it reads.
    pub fn reads(&self) -> Reads {
        self.filter.reads()
    }

    /// Takes a call with this metadata past it.
    ///
    /// # Errors
    /// Its refusal.
    pub fn call(&self, metadata: &[(&str, &str)]) -> Result<TestCall, Box<Refusal>> {
        let mut head = RequestHead::new(Method::Post, "/test.Service/Method", "test.local", (8, 256));
        for (name, value) in metadata {
            head.fields.push(name, value.as_bytes());
        }
        let info = CallInfo {
            service: "test.Service".into(),
            method: "Method".into(),
            protocol: Protocol::Grpc,
            listener: "test".into(),
            peer: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 40_000),
            identity: self.identity.clone(),
            agent: None,
        };
        let mut call = TestCall {
            head,
            bounds: Bounds::default(),
            info,
            follower: None,
            reads: self.reads(),
            phase: self.phase,
            types: self.types.clone(),
            counts: (0, 0),
        };
        let view = &mut RequestView { call: &call.info, head: &mut call.head, bounds: &mut call.bounds };
        match self.filter.request_head(view) {
            Start::Pass | Start::Wait(_) => {}
            Start::Follow(follower) => call.follower = Some(follower),
            Start::Refuse(refusal) => return Err(refusal),
        }
        Ok(call)
    }
}

impl TestCall {
    /// Whether the filter follows the call: what costs a box.
    pub fn is_followed(&self) -> bool {
        self.follower.is_some()
    }

    /// A message of the request, by its size.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn request_message(&mut self, size: u32) -> Result<(), Box<Refusal>> {
        self.counts.0 += 1;
        let message = Message { number: self.counts.0, size, compressed: false, body: None, types: None };
        let verdict = self.follower.as_mut().map_or(Verdict::Pass, |filter| filter.request_message(&message));
        self.judged(verdict, Depth::Sizes).map(drop)
    }

    /// A message of the response, by its size.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn response_message(&mut self, size: u32) -> Result<(), Box<Refusal>> {
        self.counts.1 += 1;
        let message = Message { number: self.counts.1, size, compressed: false, body: None, types: None };
        let verdict = self.follower.as_mut().map_or(Verdict::Pass, |filter| filter.response_message(&message));
        self.judged(verdict, Depth::Sizes).map(drop)
    }

    /// A whole message of the request: what goes on in its place, where the filter replaces it. A filter that does not read bodies sees
    /// its size only.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn request_body(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, Box<Refusal>> {
        self.counts.0 += 1;
        let (number, depth, types) = (self.counts.0, self.reads.request, self.types.clone());
        let message = shown(number, depth, body, types.as_deref());
        let verdict = self.follower.as_mut().map_or(Verdict::Pass, |filter| filter.request_message(&message));
        self.judged(verdict, depth)
    }

    /// A whole message of the response: what goes on in its place, where the filter replaces it.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn response_body(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, Box<Refusal>> {
        self.counts.1 += 1;
        let (number, depth, types) = (self.counts.1, self.reads.response, self.types.clone());
        let message = shown(number, depth, body, types.as_deref());
        let verdict = self.follower.as_mut().map_or(Verdict::Pass, |filter| filter.response_message(&message));
        self.judged(verdict, depth)
    }

    /// As the proxy takes a verdict.
    fn judged(&self, verdict: Verdict, depth: Depth) -> Result<Option<Vec<u8>>, Box<Refusal>> {
        match verdict {
            Verdict::Pass => Ok(None),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Replace(body) if self.phase == Phase::Transform && depth == Depth::Bodies => Ok(Some(body)),
            Verdict::Replace(_) => Err(misplaced()),
        }
    }

    /// The head of the response.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn response_head(&mut self, metadata: &mut Fields) -> Result<(), Box<Refusal>> {
        let view = &mut ResponseView { call: &self.info, metadata };
        let verdict = self.follower.as_mut().map_or(Verdict::Pass, |filter| filter.response_head(view));
        self.judged(verdict, Depth::Nothing).map(drop)
    }

    /// The end of the call.
    pub fn end(mut self, code: Code) {
        let (request_messages, response_messages) = self.counts;
        let outcome =
            Outcome { code, reason: None, duration: Duration::from_millis(1), request_messages, response_messages };
        if let Some(mut follower) = self.follower.take() {
            follower.end(&outcome);
        }
    }
}

/// Expressions that say `true`, `false`, `null`, `fails` or a text in quotes: enough to try what a filter makes of them.
#[derive(Debug)]
struct Plain;

#[derive(Debug)]
struct Said(String);

impl Readers for Plain {
    fn redaction(&self, hidden: Hidden) -> Arc<dyn Redaction> {
        Arc::new(Struck(hidden))
    }

    fn expression(&self, text: &str, gives: Gives) -> Result<Arc<dyn Expression>, String> {
        let truth = matches!(text, "true" | "false");
        let quoted = text.len() > 1 && text.starts_with('\'') && text.ends_with('\'');
        match (gives, text) {
            (_, "fails") => Ok(Arc::new(Said(text.to_owned()))),
            (Gives::Truth, text) if truth => Ok(Arc::new(Said(text.to_owned()))),
            (Gives::Text, text) if truth || quoted || text == "null" => Ok(Arc::new(Said(text.to_owned()))),
            _ => Err(format!("`{text}` is none of true, false, null, fails and 'text'")),
        }
    }
}

/// Messages are texts: paths stand for words in them, of which one that says `?` cannot be read.
#[derive(Debug)]
struct Struck(Hidden);

impl Struck {
    fn strike(&self, message: &Message<'_>, paths: &[String]) -> Result<Option<Vec<u8>>, Unread> {
        let body = message.body.ok_or(Unread::NoSchema)?;
        let text = std::str::from_utf8(body).map_err(|_| Unread::Malformed("it is no text".into()))?;
        if text.contains('?') {
            return Err(Unread::Malformed("it asks".into()));
        }
        let struck = paths.iter().fold(text.to_owned(), |text, word| text.replace(word.as_str(), &self.0.mask));
        Ok((struck != text).then(|| struck.into_bytes()))
    }
}

impl Redaction for Struck {
    fn request(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread> {
        self.strike(message, &self.0.request)
    }

    fn response(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread> {
        self.strike(message, &self.0.response)
    }
}

impl Expression for Said {
    fn reads(&self) -> Reads {
        Reads::default()
    }

    fn holds(&self, _: &Seen<'_>) -> Result<bool, Unevaluated> {
        match self.0.as_str() {
            "fails" => Err(Unevaluated("it fails".into())),
            text => Ok(text == "true"),
        }
    }

    fn text(&self, _: &Seen<'_>) -> Result<Option<String>, Unevaluated> {
        match self.0.as_str() {
            "fails" => Err(Unevaluated("it fails".into())),
            "null" => Ok(None),
            text => Ok(Some(text.trim_matches('\'').to_owned())),
        }
    }
}

fn shown<'a>(number: u64, depth: Depth, body: &'a [u8], types: Option<&'a Types>) -> Message<'a> {
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let bodies = depth == Depth::Bodies;
    Message { number, size, compressed: false, body: bodies.then_some(body), types: types.filter(|_| bodies) }
}

fn misplaced() -> Box<Refusal> {
    let message = "only a filter of phase Transform that reads bodies replaces a message, and nothing replaces a head";
    Box::new(Refusal::new(Code::Internal, Reason::Filter, message))
}
