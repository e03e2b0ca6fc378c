//! Runs a filter without the proxy: builds it from JSON as a configuration would, and takes calls past it.
//!
//! For the tests of filters. What the proxy guarantees holds here too: hooks in order, `end` exactly once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use fields::{Fields, Method, RequestHead};
use filter_api::{
    Admitted, Bounds, BuildCx, BuildError, CallFilter, CallInfo, Claims, Code, Depth, Expression, Extract, Extracted,
    Factory, Filter, Gives, Hidden, Issuers, Keep, Known, Message, MethodPattern, Misfit, Outcome, PeerIdentity, Phase,
    Protocol, Readers, Reads, Reason, Redaction, Refusal, RequestView, ResponseView, Rules, Seen, Start, Types,
    Unevaluated, Unread, Validation, Verdict, Verification, Verifier,
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
        Self::build_keeping::<F>(config, &Keep::default())
    }

    /// The same, where the filter finds what one before it kept.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_keeping<F: Factory>(config: serde_json::Value, keep: &Keep) -> Result<Self, BuildError> {
        let mut cx = BuildCx::new("listeners.test.filters[0]", &Plain).keeping(keep);
        let filter = (Known::of::<F>().build)(config, &mut cx)?;
        Ok(Self { filter, phase: F::PHASE, types: None, identity: None })
    }

    /// The same, where an issuer `a` has signed these tokens.
    ///
    /// # Errors
    /// What the filter says of the configuration.
    pub fn with_tokens<F: Factory>(
        config: serde_json::Value,
        tokens: &[(&str, Arc<Claims>)],
    ) -> Result<Self, BuildError> {
        let tokens = Tokens(tokens.iter().map(|(token, claims)| ((*token).to_owned(), Arc::clone(claims))).collect());
        let mut cx = BuildCx::new("listeners.test.filters[0]", &Plain).with_issuers(&tokens);
        let filter = (Known::of::<F>().build)(config, &mut cx)?;
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

    /// Takes a call with this metadata past it. A filter that takes its time lets it pass.
    ///
    /// # Errors
    /// Its refusal.
    pub fn call(&self, metadata: &[(&str, &str)]) -> Result<TestCall, Box<Refusal>> {
        let (mut call, start) = self.begin(metadata);
        call.take(start)?;
        Ok(call)
    }

    /// Takes a call with this metadata past it, and waits where the filter takes its time.
    ///
    /// # Errors
    /// Its refusal.
    pub async fn call_in_time(&self, metadata: &[(&str, &str)]) -> Result<TestCall, Box<Refusal>> {
        let (mut call, mut start) = self.begin(metadata);
        while let Start::Wait(later) = start {
            start = later.await;
        }
        call.take(start)?;
        Ok(call)
    }

    /// Asks whether it would still let in a call with this metadata, which was let in by these tokens and rules.
    ///
    /// # Errors
    /// Its refusal.
    pub fn still(&self, metadata: &[(&str, &str)], admitted: &Admitted<'_>) -> Result<TestCall, Box<Refusal>> {
        let mut call = self.call_with(metadata);
        let mut verified = None;
        let TestCall { info, head, bounds, .. } = &mut call;
        self.filter.still(&mut RequestView { call: info, head, bounds, verified: &mut verified }, admitted)?;
        call.info.claims = verified.map(|token| token.claims);
        Ok(call)
    }

    fn begin(&self, metadata: &[(&str, &str)]) -> (TestCall, Start) {
        let mut call = self.call_with(metadata);
        let mut verified = None;
        let TestCall { info, head, bounds, .. } = &mut call;
        let start = self.filter.request_head(&mut RequestView { call: info, head, bounds, verified: &mut verified });
        call.info.claims = verified.map(|token| token.claims);
        (call, start)
    }

    fn call_with(&self, metadata: &[(&str, &str)]) -> TestCall {
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
            claims: None,
            tokens: Vec::new(),
        };
        TestCall {
            head,
            bounds: Bounds::default(),
            info,
            follower: None,
            reads: self.reads(),
            phase: self.phase,
            types: self.types.clone(),
            counts: (0, 0),
        }
    }
}

impl TestCall {
    /// What the filter has verified.
    pub fn claims(&self) -> Option<&Claims> {
        self.info.claims.as_deref()
    }

    fn take(&mut self, start: Start) -> Result<(), Box<Refusal>> {
        match start {
            Start::Pass | Start::Wait(_) | Start::Again => Ok(()),
            Start::Refuse(refusal) => Err(refusal),
            Start::Follow(follower) => {
                self.follower = Some(follower);
                Ok(())
            }
        }
    }

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
        let message =
            Message { number: self.counts.0, size, compressed: false, body: None, types: None, request: None };
        let verdict = self.follower.as_mut().map_or(Verdict::Pass, |filter| filter.request_message(&message));
        self.judged(verdict, Depth::Sizes).map(drop)
    }

    /// A message of the response, by its size.
    ///
    /// # Errors
    /// The filter's refusal.
    pub fn response_message(&mut self, size: u32) -> Result<(), Box<Refusal>> {
        self.counts.1 += 1;
        let message =
            Message { number: self.counts.1, size, compressed: false, body: None, types: None, request: None };
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
        let mut message = shown(number, depth, body, types.as_deref());
        message.request = (depth == Depth::Bodies).then_some((&self.info, &self.head));
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
        let outcome = Outcome {
            call: Some(&self.info),
            code,
            reason: None,
            duration: Duration::from_millis(1),
            request_messages,
            response_messages,
        };
        if let Some(mut follower) = self.follower.take() {
            follower.end(&outcome);
        }
    }
}

/// Expressions that say `true`, `false`, `null`, `fails`, a text in quotes, or `says WORD` of a message, which must have that word in it:
/// enough to try what a filter makes of them.
#[derive(Debug)]
struct Plain;

#[derive(Debug)]
struct Said(String);

impl Readers for Plain {
    fn redaction(&self, hidden: Hidden) -> Arc<dyn Redaction> {
        Arc::new(Struck(hidden))
    }

    fn extract(&self, paths: Vec<String>) -> Arc<dyn Extract> {
        Arc::new(Words(paths))
    }

    fn validation(&self, rules: Rules) -> Result<Arc<dyn Validation>, (String, String)> {
        let missing = rules.json_schema.iter().find(|(_, file)| file.as_os_str() == "missing");
        match missing {
            Some((path, _)) => Err((path.clone(), "cannot be read".into())),
            None => Ok(Arc::new(Wordings)),
        }
    }

    fn expression(&self, text: &str, gives: Gives, _: Option<&MethodPattern>) -> Result<Arc<dyn Expression>, String> {
        let truth = matches!(text, "true" | "false");
        let quoted = text.len() > 1 && text.starts_with('\'') && text.ends_with('\'');
        match (gives, text) {
            (_, "fails") => Ok(Arc::new(Said(text.to_owned()))),
            (_, text) if text.starts_with("says ") => Ok(Arc::new(Said(text.to_owned()))),
            (Gives::Truth, text) if truth => Ok(Arc::new(Said(text.to_owned()))),
            (Gives::Text, text) if truth || quoted || text == "null" => Ok(Arc::new(Said(text.to_owned()))),
            _ => Err(format!("`{text}` is none of true, false, null, fails, says WORD and 'text'")),
        }
    }
}

/// Tokens that an issuer `a` has signed.
#[derive(Clone, Debug)]
struct Tokens(Vec<(String, Arc<Claims>)>);

impl Issuers for Tokens {
    fn verifier(&self, names: &[String]) -> Result<Arc<dyn Verifier>, (usize, String)> {
        match names.iter().position(|name| name != "a") {
            Some(at) => Err((at, format!("no issuer is named `{}`", names[at]))),
            None => Ok(Arc::new(self.clone())),
        }
    }
}

impl Verifier for Tokens {
    fn verify(&self, token: &[u8]) -> Verification {
        match self.0.iter().find(|(good, _)| good.as_bytes() == token) {
            Some((_, claims)) => Verification::Passed(Arc::clone(claims)),
            None => Verification::Refused(unknown()),
        }
    }

    fn trusts(&self, claims: &Claims) -> Result<(), Box<Refusal>> {
        if self.0.iter().any(|(_, good)| **good == *claims) { Ok(()) } else { Err(unknown()) }
    }
}

fn unknown() -> Box<Refusal> {
    let message = "the token's signature does not fit";
    Box::new(Refusal::new(Code::Unauthenticated, Reason::TokenSignature, message))
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

/// Messages are texts of words `name=value`, of which one that says `?` cannot be read. Paths stand for names.
#[derive(Debug)]
struct Words(Vec<String>);

impl Extract for Words {
    fn request(&self, message: &Message<'_>) -> Result<Extracted, Unread> {
        let body = message.body.ok_or(Unread::NoSchema)?;
        let text = std::str::from_utf8(body).map_err(|_| Unread::Malformed("it is no text".into()))?;
        if text.contains('?') {
            return Err(Unread::Malformed("it asks".into()));
        }
        let named = text.split(' ').filter_map(|word| word.split_once('='));
        let wanted = named.filter(|(name, _)| self.0.iter().any(|path| path == name));
        let fields = wanted.map(|(name, value)| (name.to_owned(), value.into())).collect();
        Ok(Extracted { fields, ..Extracted::default() })
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

/// Messages are texts: each word of them that begins with `!` does not fit, and one that says `?` cannot be read.
#[derive(Debug)]
struct Wordings;

impl Validation for Wordings {
    fn request(&self, message: &Message<'_>) -> Result<Vec<Misfit>, Unread> {
        let body = message.body.ok_or(Unread::NoSchema)?;
        let text = std::str::from_utf8(body).map_err(|_| Unread::Malformed("it is no text".into()))?;
        if text.contains('?') {
            return Err(Unread::Malformed("it asks".into()));
        }
        let misfit = |word: &str| Some(Misfit { field: word.strip_prefix('!')?.into(), description: "shouts".into() });
        Ok(text.split(' ').filter_map(misfit).collect())
    }
}

impl Said {
    fn word(&self) -> Option<&str> {
        self.0.strip_prefix("says ")
    }
}

impl Expression for Said {
    fn reads(&self) -> Reads {
        let request = if self.word().is_some() { Depth::Bodies } else { Depth::Nothing };
        Reads { request, response: Depth::Nothing }
    }

    fn holds(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated> {
        if let Some(word) = self.word() {
            let body = seen.message.and_then(|message| message.body);
            let text = body.and_then(|body| std::str::from_utf8(body).ok()).ok_or(Unevaluated::NoSchema)?;
            return Ok(text.contains(word));
        }
        match self.0.as_str() {
            "fails" => Err(Unevaluated::Failed("it fails".into())),
            text => Ok(text == "true"),
        }
    }

    fn may_hold(&self, seen: &Seen<'_>) -> Result<bool, Unevaluated> {
        self.holds(seen)
    }

    fn text(&self, seen: &Seen<'_>) -> Result<Option<String>, Unevaluated> {
        if let Some(word) = self.word() {
            return Ok(self.holds(seen)?.then(|| word.to_owned()));
        }
        match self.0.as_str() {
            "fails" => Err(Unevaluated::Failed("it fails".into())),
            "null" => Ok(None),
            text => Ok(Some(text.trim_matches('\'').to_owned())),
        }
    }
}

fn shown<'a>(number: u64, depth: Depth, body: &'a [u8], types: Option<&'a Types>) -> Message<'a> {
    let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let bodies = depth == Depth::Bodies;
    Message {
        number,
        size,
        compressed: false,
        body: bodies.then_some(body),
        types: types.filter(|_| bodies),
        request: None,
    }
}

fn misplaced() -> Box<Refusal> {
    let message = "only a filter of phase Transform that reads bodies replaces a message, and nothing replaces a head";
    Box::new(Refusal::new(Code::Internal, Reason::Filter, message))
}
