//! The names that expressions of a configuration may use, where each of them is known, and what a call has under them.

use std::net::IpAddr;

use fields::{Fields, RequestHead};
use filter_api::{AgentInfo, CallInfo, PeerIdentity};

use super::check::Declared;
use super::eval::Names;
use super::kind::Type;
use super::time::Moment;
use super::value::{List, Map, Value};
use crate::schema::{Octets, Text};

/// Where an expression stands, which decides what it may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A route's `match.when`.
    When,
    /// A route's `agent`.
    Agent,
    /// A cluster's `hash_by`.
    HashBy,
    /// A registry's `owner`.
    Owner,
    /// A registry's `admit`.
    Admit,
    /// The access log's `when`.
    AccessLog,
    /// A health check's `expect`.
    Expect,
    /// A filter of a phase in which the agent is known.
    Filter,
    /// A filter that decides on each message of a request: of the phases authorize and limit.
    Judge,
    /// A filter of an earlier phase.
    EarlyFilter,
}

/// A name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Service,
    Method,
    Authority,
    Protocol,
    Time,
    Metadata,
    PeerAddress,
    PeerSpiffe,
    PeerDns,
    PeerSubject,
    PeerIssuer,
    PeerVerified,
    AgentId,
    AgentDid,
    AgentName,
    AgentAuthor,
    AgentOwner,
    RegistrationAgentId,
    RegistrationAuthor,
    RegistrationName,
    RegistrationCallback,
    RegistrationConfig,
    Message,
    Response,
    StatusCode,
    Claims,
}

const NAMES: [(&str, Known); 26] = [
    ("request.service", Known::Service),
    ("request.method", Known::Method),
    ("request.authority", Known::Authority),
    ("request.protocol", Known::Protocol),
    ("request.time", Known::Time),
    ("metadata", Known::Metadata),
    ("peer.address", Known::PeerAddress),
    ("peer.spiffe", Known::PeerSpiffe),
    ("peer.dns", Known::PeerDns),
    ("peer.subject", Known::PeerSubject),
    ("peer.issuer", Known::PeerIssuer),
    ("peer.verified", Known::PeerVerified),
    ("agent.id", Known::AgentId),
    ("agent.did", Known::AgentDid),
    ("agent.name", Known::AgentName),
    ("agent.author", Known::AgentAuthor),
    ("agent.owner", Known::AgentOwner),
    ("registration.agent_id", Known::RegistrationAgentId),
    ("registration.author", Known::RegistrationAuthor),
    ("registration.name", Known::RegistrationName),
    ("registration.callback", Known::RegistrationCallback),
    ("registration.config", Known::RegistrationConfig),
    ("message", Known::Message),
    ("response", Known::Response),
    ("status.code", Known::StatusCode),
    ("claims", Known::Claims),
];

/// Where [`Known::Message`], [`Known::Response`] and [`Known::StatusCode`] are among the names.
pub(super) const MESSAGE: usize = 22;
pub(super) const RESPONSE: usize = 23;
pub(super) const STATUS: usize = 24;

/// What a call, a registration or an answer has under the names. What is not known is not set.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// `package.Service`.
    pub service: Option<&'a str>,
    /// The method.
    pub method: Option<&'a str>,
    /// The host that was asked for, as it came.
    pub authority: Option<&'a str>,
    /// What the caller speaks.
    pub protocol: Option<&'a str>,
    /// When the head came. Asked for the clock only if an expression does.
    pub time: Option<Moment>,
    /// The metadata of the request.
    pub metadata: Option<&'a Fields>,
    /// Where the call comes from.
    pub peer: Option<IpAddr>,
    /// What the caller's token says, if there is one.
    pub claims: Option<&'a serde_json::Map<String, serde_json::Value>>,
    /// Who that is, by a certificate: none within, where there is a call whose caller showed none.
    pub identity: Option<Option<&'a PeerIdentity>>,
    /// The agent that it is for.
    pub agent: Option<&'a AgentInfo>,
    /// What is to be registered.
    pub registration: Option<Registration<'a>>,
    /// What is in a message of the request.
    pub message: Option<&'a [u8]>,
    /// What is in a message of the answer.
    pub response: Option<&'a [u8]>,
    /// How the call ended.
    pub status: Option<i32>,
}

/// What is to be registered.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The agent's id, as the core would compute it.
    pub agent_id: &'a str,
    /// Who answers for the agent.
    pub author: &'a str,
    /// The agent's name.
    pub name: &'a str,
    /// Where the SDK wants its calls.
    pub callback: &'a str,
    /// The agent's configuration.
    pub config: &'a serde_json::Value,
}

impl<'a> Facts<'a> {
    /// What there is of a call once its head has come.
    pub fn of_call(call: &'a CallInfo, head: &'a RequestHead) -> Self {
        Self {
            service: Some(&call.service),
            method: Some(&call.method),
            authority: Some(head.authority()),
            protocol: Some(call.protocol.as_str()),
            metadata: Some(&head.fields),
            peer: Some(call.peer.ip()),
            claims: call.claims.as_deref().map(|claims| &claims.all),
            identity: Some(call.identity.as_deref()),
            agent: call.agent.as_deref(),
            ..Self::default()
        }
    }
}

impl Known {
    fn is_known(self, place: Place) -> bool {
        match self {
            Self::Service
            | Self::Method
            | Self::Authority
            | Self::Protocol
            | Self::Time
            | Self::Metadata
            | Self::PeerAddress
            | Self::PeerSpiffe
            | Self::PeerDns
            | Self::PeerSubject
            | Self::PeerIssuer
            | Self::PeerVerified => place != Place::Expect,
            Self::AgentId | Self::AgentDid | Self::AgentName | Self::AgentAuthor | Self::AgentOwner => {
                matches!(place, Place::HashBy | Place::AccessLog | Place::Filter | Place::Judge)
            }
            Self::RegistrationAgentId
            | Self::RegistrationAuthor
            | Self::RegistrationName
            | Self::RegistrationCallback
            | Self::RegistrationConfig => place == Place::Admit,
            Self::Message => matches!(place, Place::When | Place::Agent | Place::HashBy | Place::Judge),
            Self::Response => place == Place::Expect,
            Self::StatusCode => matches!(place, Place::AccessLog | Place::Expect),
            Self::Claims => !matches!(place, Place::Expect | Place::EarlyFilter),
        }
    }

    fn kind(self) -> Type {
        match self {
            Self::Time => Type::Time,
            Self::Metadata => Type::Map(Box::new((Type::Text, Type::Text))),
            Self::RegistrationConfig | Self::Claims => Type::open_map(),
            Self::StatusCode => Type::Int,
            Self::PeerDns => Type::list(Type::Text),
            Self::PeerVerified => Type::Bool,
            // Known once it is bound to a schema.
            Self::Message | Self::Response => Type::Dyn,
            _ => Type::Text,
        }
    }
}

/// All names, in their order; those that are not known at a place with why.
pub(super) fn declared(place: Place) -> Vec<Declared> {
    let all = NAMES.iter().map(|(name, id)| Declared {
        name: (*name).into(),
        kind: id.kind(),
        elsewhere: (!id.is_known(place)).then(|| id.known_where()),
        body: None,
    });
    all.collect()
}

impl Known {
    fn known_where(self) -> &'static str {
        match self {
            Self::AgentId | Self::AgentDid | Self::AgentName | Self::AgentAuthor | Self::AgentOwner => {
                "once the agent is chosen: in `hash_by`, in the access log's `when` and in filters that run after that"
            }
            Self::RegistrationAgentId
            | Self::RegistrationAuthor
            | Self::RegistrationName
            | Self::RegistrationCallback
            | Self::RegistrationConfig => "in a registry's `admit`",
            Self::Message => "in `match.when`, `agent`, `hash_by`, and in filters that decide (authz, rate_limit)",
            Self::Response => "in a health check's `expect`",
            Self::StatusCode => "in the access log's `when` and in a health check's `expect`",
            Self::Claims => {
                "once the caller's token is verified: not in filters that run before, and where there is a call"
            }
            _ => "where there is a call",
        }
    }
}

impl<'a, 'f: 'a> Names<'a> for Facts<'f> {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        let (_, name) = NAMES.get(at)?;
        let text = |text: Option<&'f str>| text.map(Value::text);
        let agent = |of: fn(&'f AgentInfo) -> &'f str| self.agent.map(|agent| Value::text(of(agent)));
        // Without a certificate there is no value: a rule that asks for one that is not there fails, and refuses.
        let shown = self.identity.flatten();
        let body = |body: Option<&'f [u8]>| body.map(|body| Value::Bytes(Octets::Lent(body)));
        let registration =
            |of: fn(&Registration<'f>) -> &'f str| self.registration.as_ref().map(|own| Value::text(of(own)));
        match name {
            Known::Service => text(self.service),
            Known::Method => text(self.method),
            Known::Authority => text(self.authority),
            Known::Protocol => text(self.protocol),
            Known::Time => Some(Value::Time(self.time.unwrap_or_else(Moment::now))),
            Known::Metadata => self.metadata.map(|fields| Value::Map(Map::Metadata(fields))),
            Known::PeerAddress => self.peer.map(|ip| Value::Text(Text::from(ip.to_canonical().to_string()))),
            Known::PeerSpiffe => text(shown.and_then(|shown| shown.spiffe.as_deref())),
            Known::PeerDns => shown.map(|shown| Value::List(List::Names(&shown.dns))),
            Known::PeerSubject => text(shown.map(|shown| &*shown.subject)),
            Known::PeerIssuer => text(shown.map(|shown| &*shown.issuer)),
            Known::PeerVerified => self.identity.map(|shown| Value::Bool(shown.is_some())),
            Known::AgentId => agent(|agent| &agent.id),
            Known::AgentDid => agent(|agent| &agent.did),
            Known::AgentName => agent(|agent| &agent.name),
            Known::AgentAuthor => agent(|agent| &agent.author),
            Known::AgentOwner => agent(|agent| &agent.owner),
            Known::RegistrationAgentId => registration(|own| own.agent_id),
            Known::RegistrationAuthor => registration(|own| own.author),
            Known::RegistrationName => registration(|own| own.name),
            Known::RegistrationCallback => registration(|own| own.callback),
            Known::RegistrationConfig => self.registration.map(|own| Value::json(own.config)),
            Known::Message => body(self.message),
            Known::Response => body(self.response),
            // Who has no token has no claims: to ask for one fails, which denies.
            Known::Claims => Some(Value::Map(match self.claims {
                Some(claims) => Map::Json(claims),
                None => Map::Empty,
            })),
            Known::StatusCode => self.status.map(|code| Value::Int(code.into())),
        }
    }
}
