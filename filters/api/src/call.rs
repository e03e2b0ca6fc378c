//! What a filter sees of a call, and what it may answer.

use std::any::Any;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fields::{Fields, RequestHead};

use crate::{Claims, Code, Reason, Refusal, Seen, Token};

/// A filter, built once and shared by all calls.
pub trait Filter: Send + Sync {
    /// What the filter looks at beside heads, of a call that it follows. The proxy pays for nothing else: a call whose followers read
    /// no message is spliced without looking for message boundaries, and only where one reads bodies are messages held.
    fn reads(&self) -> Reads {
        Reads::default()
    }

    /// Sees the head of the request, and may change it (in phase Transform: of what goes upstream, anew at each try).
    fn request_head(&self, view: &mut RequestView<'_>) -> Start;

    /// Whether a call that is open would still be let in, now that another configuration is in force: asked of the filters of that one, in
    /// their order. The head is as it was when the call met the first filter, but that of a token which was taken off it there is no more
    /// than the scheme; what is changed here is seen by filters that are asked later, and by nobody else. For filters that say who may call.
    ///
    /// # Errors
    /// It would not: what ends it.
    fn still(&self, view: &mut RequestView<'_>, admitted: &Admitted<'_>) -> Result<(), Box<Refusal>> {
        let _ = (view, admitted);
        Ok(())
    }
}

/// By what a call was let in, as far as its head does not show it any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Admitted<'a> {
    /// The tokens that have passed.
    pub tokens: &'a [Token],
    /// What had to [hold](CallFilter::goes_by) of its messages.
    pub rules: &'a [&'a str],
}

/// What a filter answers to the head of a request.
pub enum Start {
    /// The call goes on, and the filter is done with it.
    Pass,
    /// The call goes on, and the filter follows it.
    Follow(Box<dyn CallFilter>),
    /// The call ends here.
    Refuse(Box<Refusal>),
    /// The answer takes a while (a log that must be written first). The call waits, within its deadline.
    Wait(Pin<Box<dyn Future<Output = Start> + Send>>),
    /// The head is to be shown again, now that what the filter waited for is there. Only as the answer of a [`Wait`](Self::Wait).
    Again,
}

/// A filter on one call. Every hook has a default that lets the call through.
pub trait CallFilter: Send {
    /// Whether nothing of the call may reach an instance before its first message has passed this filter, not even its head. Others
    /// see their messages before those go, and the head of a stream goes at once.
    fn decides_by_message(&self) -> bool {
        false
    }

    /// What must hold of the call's messages for it to go on, in the words of the configuration: a filter of the same kind in another one
    /// knows by them that it is the same.
    fn goes_by(&self) -> Option<&str> {
        None
    }

    /// A message of the request, before it goes upstream. In phase Transform it comes anew at each try, from the first on; in the
    /// others once, whatever tries there are.
    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        let _ = message;
        Verdict::Pass
    }

    /// The head of the response, before it goes to the caller. A response without messages has all its metadata here.
    fn response_head(&mut self, view: &mut ResponseView<'_>) -> Verdict {
        let _ = view;
        Verdict::Pass
    }

    /// A message of the response, before it goes to the caller.
    fn response_message(&mut self, message: &Message<'_>) -> Verdict {
        let _ = message;
        Verdict::Pass
    }

    /// The call is over, refused or not. Called exactly once.
    fn end(&mut self, outcome: &Outcome<'_>) {
        let _ = outcome;
    }
}

/// What a filter answers to a later event of a call.
pub enum Verdict {
    /// Goes on.
    Pass,
    /// The call ends here: the upstream is reset with CANCEL, and the caller gets the refusal as trailers.
    Refuse(Box<Refusal>),
    /// The message goes on with this body in the place of its own; filters after this one see it. For filters of phase Transform that
    /// read bodies: a body that was judged must not become another, so the call ends where any other filter answers so.
    Replace(Vec<u8>),
}

/// How closely a filter looks at messages, in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Messages of the request.
    pub request: Depth,
    /// Messages of the response.
    pub response: Depth,
}

impl Reads {
    /// The closer look of the two, in each direction.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { request: self.request.max(other.request), response: self.response.max(other.response) }
    }
}

/// How closely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Not at all.
    #[default]
    Nothing,
    /// Their number and sizes. A message is announced when its five-byte prefix has come, before its body.
    Sizes,
    /// The messages themselves. Each is held until it is whole, and goes on once it has passed.
    Bodies,
}

/// A message, as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Counts from 1 in each direction.
    pub number: u64,
    /// Bytes on the wire, without the prefix.
    pub size: u32,
    /// Whether it is compressed with the call's `grpc-encoding`.
    pub compressed: bool,
    /// What is in it, decompressed: for filters that read [`Bodies`](Depth::Bodies), which see a message once it is whole. None for
    /// those that read [`Sizes`](Depth::Sizes).
    pub body: Option<&'a [u8]>,
    /// By what the body is to be read, where the proxy knows. Filters that run before an instance is chosen get all that is in force for
    /// the method; those of phase Transform, and all for a response, what the chosen instance says.
    pub types: Option<&'a Types>,
    /// The call, and the head of its request: for messages of the request that filters judge before an instance is chosen.
    pub request: Option<(&'a CallInfo, &'a RequestHead)>,
}

impl<'a> Message<'a> {
    /// What an expression looks at that reads this message.
    pub fn seen(&'a self) -> Option<Seen<'a>> {
        self.request.map(|(call, head)| Seen { call, head, message: Some(self) })
    }
}

/// What the proxy knows of the types of a method's messages. Of what type that is, those say who make it and read it.
pub type Types = dyn Any + Send + Sync;

/// How many messages a method takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// One, and one.
    Unary,
    /// One, and any number.
    ServerStreaming,
    /// Any number, and one.
    ClientStreaming,
    /// Any number, and any number.
    Bidi,
}

impl MethodKind {
    /// Whether a request has exactly one message.
    pub fn has_one_request(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStreaming)
    }

    /// Whether a response that succeeds has exactly one message.
    pub fn has_one_response(self) -> bool {
        matches!(self, Self::Unary | Self::ClientStreaming)
    }
}

/// What is known of a call from its head on; the same for all filters.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// `package.Service`.
    pub service: Arc<str>,
    /// The method's name.
    pub method: Arc<str>,
    /// What the caller speaks.
    pub protocol: Protocol,
    /// The listener's name in the configuration.
    pub listener: Arc<str>,
    /// Where the call comes from: the other end of the connection, or whom trusted balancers and proxies before it name
    /// (docs/origin.md). The port is 0 where such a proxy says none.
    pub peer: SocketAddr,
    /// Who that is, by a certificate that was found good. None where the caller showed none, or was not asked.
    pub identity: Option<Arc<PeerIdentity>>,
    /// The agent that the call is for: of a call to a registry cluster, from phase Authorize on.
    pub agent: Option<Arc<AgentInfo>>,
    /// What the caller's token says, once a filter has verified one.
    pub claims: Option<Arc<Claims>>,
    /// Every token that has passed, by the metadata that had it: the last one is that of the claims.
    pub tokens: Vec<Token>,
}

impl CallInfo {
    /// The same call before a filter has said anything of it: nobody vouches for its caller's tokens, and it has no agent yet.
    #[must_use]
    pub fn unvouched(&self) -> Self {
        let Self { service, method, protocol, listener, peer, identity, .. } = self;
        Self {
            service: Arc::clone(service),
            method: Arc::clone(method),
            protocol: *protocol,
            listener: Arc::clone(listener),
            peer: *peer,
            identity: identity.clone(),
            agent: None,
            claims: None,
            tokens: Vec::new(),
        }
    }

    /// Who calls, beside where from: as far as it is verified by now.
    pub fn who(&self) -> Who {
        let shown = |shown: &PeerIdentity| match shown.name() {
            // One without a name is still told apart from others.
            name if name.is_empty() => format!("sha256:{}", shown.fingerprint).into(),
            name => Arc::clone(name),
        };
        Who {
            identity: self.identity.as_deref().map(shown),
            subject: self.claims.as_ref().and_then(|claims| claims.subject()).map(Arc::from),
            issuer: self.claims.as_ref().map(|claims| Arc::clone(&claims.issuer)),
        }
    }
}

/// Who a peer is, by its certificate. All of it is verified: a CA that the listener trusts has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// Its SPIFFE ID, if it has one: in the one form that SPIFFE IDs have, so that equal IDs are equal texts.
    pub spiffe: Option<Arc<str>>,
    /// The DNS names of the certificate, in lower case; wildcards as they stand there.
    pub dns: Vec<Arc<str>>,
    /// The subject, as RFC 4514 writes it; empty if the certificate has none.
    pub subject: Arc<str>,
    /// Who issued the certificate, in the same way.
    pub issuer: Arc<str>,
    /// SHA-256 of the certificate, in hexadecimal digits, lower case.
    pub fingerprint: Arc<str>,
    /// When the certificate expires.
    pub not_after: SystemTime,
}

impl PeerIdentity {
    /// Its SPIFFE ID, or the subject where it has none.
    pub fn name(&self) -> &Arc<str> {
        self.spiffe.as_ref().unwrap_or(&self.subject)
    }
}

/// Who an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentInfo {
    /// UUID in lower case.
    pub id: Arc<str>,
    /// As Bindu forms it.
    pub did: Arc<str>,
    /// As its configuration has it; others may share it.
    pub name: Arc<str>,
    /// As its configuration has it.
    pub author: Arc<str>,
    /// Who registered it first.
    pub owner: Arc<str>,
}

/// Who calls, as far as somebody has made sure of it. What is not known is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The identity of the caller's certificate.
    pub identity: Option<Arc<str>>,
    /// The subject of its token.
    pub subject: Option<Arc<str>>,
    /// Who issued the token.
    pub issuer: Option<Arc<str>>,
}

/// What a caller speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
}

impl Protocol {
    /// The word that logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
        }
    }
}

/// Bounds on a call that filters may tighten, never loosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// From the head to the end.
    pub duration: Option<Duration>,
    /// Without a byte in either direction.
    pub idle: Option<Duration>,
    /// The second since 1970 in which the call ends with UNAUTHENTICATED, because what shows who its caller is has run out.
    pub expires: Option<u64>,
}

impl Bounds {
    /// Ends the call after `duration` at the latest.
    pub fn limit_duration(&mut self, duration: Duration) {
        self.duration = Some(self.duration.map_or(duration, |have| have.min(duration)));
    }

    /// Ends the call at this second since 1970 at the latest, as its caller's token is not good any more.
    pub fn limit_expiry(&mut self, ends: u64) {
        self.expires = Some(self.expires.map_or(ends, |have| have.min(ends)));
    }

    /// Ends the call after this much silence at the latest.
    pub fn limit_idle(&mut self, idle: Duration) {
        self.idle = Some(self.idle.map_or(idle, |have| have.min(idle)));
    }
}

/// The head of a request, as a filter sees it.
pub struct RequestView<'a> {
    /// What is known of the call.
    pub call: &'a CallInfo,
    /// The head. Path and authority are the router's: a filter changes fields only.
    pub head: &'a mut RequestHead,
    /// Bounds that the filter may tighten.
    pub bounds: &'a mut Bounds,
    /// A token that the filter has verified: put here, it is [`CallInfo::claims`] for all that come after.
    pub verified: &'a mut Option<Token>,
}

impl RequestView<'_> {
    /// The metadata of the request.
    pub fn metadata(&mut self) -> &mut Fields {
        &mut self.head.fields
    }
}

/// The head of a response, as a filter sees it.
pub struct ResponseView<'a> {
    /// What is known of the call.
    pub call: &'a CallInfo,
    /// The metadata: of the head, or of a response that has nothing but trailers.
    pub metadata: &'a mut Fields,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    /// What is known of the call by now: who calls, for which agent. None where the proxy stopped before the call did.
    pub call: Option<&'a CallInfo>,
    /// The status that the caller got.
    pub code: Code,
    /// Why the proxy ended it; none where the upstream did.
    pub reason: Option<Reason>,
    /// From the head to the end.
    pub duration: Duration,
    /// Messages that went upstream.
    pub request_messages: u64,
    /// Messages that went to the caller.
    pub response_messages: u64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bounds, Depth, Reads};

    #[test]
    fn bounds_only_get_tighter() {
        let mut bounds = Bounds::default();
        bounds.limit_duration(Duration::from_secs(5));
        bounds.limit_duration(Duration::from_secs(9));
        bounds.limit_idle(Duration::from_secs(3));
        bounds.limit_idle(Duration::from_secs(2));
        bounds.limit_expiry(7);
        bounds.limit_expiry(8);
        let (duration, idle) = (Some(Duration::from_secs(5)), Some(Duration::from_secs(2)));
        assert_eq!(bounds, Bounds { duration, idle, expires: Some(7) });
    }

    #[test]
    fn reads_take_the_closer_look() {
        let one = Reads { request: Depth::Sizes, response: Depth::Nothing };
        let two = Reads { request: Depth::Nothing, response: Depth::Sizes };
        assert_eq!(one.or(two), Reads { request: Depth::Sizes, response: Depth::Sizes });
        let three = Reads { request: Depth::Bodies, response: Depth::Nothing };
        assert_eq!(two.or(three).or(one), Reads { request: Depth::Bodies, response: Depth::Sizes });
    }
}
