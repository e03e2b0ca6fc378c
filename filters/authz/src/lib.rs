//! The `authz` filter: decides which calls may go, by rules over who calls, what, and with which message.
//!
//! ```yaml
//! filters:
//!   - authz: {allow: '"operator" in claims.realm_access.roles'}
//!   - authz:
//!       rules:
//!         - {method: "*/ListTools", allow: 'true'}
//!         - {method: "*/InvokeCli", allow: message.tenant_id == claims.tenant, deny: '"guest" in claims.roles'}
//! ```
//!
//! Whatever no rule allows is refused. The `allow` of the most specific pattern that names the method decides, and the `deny` of every
//! pattern that does. An expression that fails refuses the call, whichever it is. One that reads `message` is asked for each message of
//! the request, under every definition of it that is in force; nothing reaches an instance before the first has been allowed.

mod rules;

use std::sync::Arc;

use filter_api::{
    Admitted, BuildCx, BuildError, CallFilter, Code, Depth, Factory, Filter, Message, MethodPattern, Phase, Reads,
    Reason, Refusal, RequestView, Seen, Start, Unevaluated, Unread, Verdict,
};
use rules::Rules;
use schemars::JsonSchema;
use serde::Deserialize;

/// Makes `authz` filters.
#[derive(Debug)]
pub struct Authz;

/// What a person writes under `authz`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// An expression (docs/expressions.md) that must hold for a call to go.
    pub allow: Option<String>,
    /// An expression that must not hold.
    pub deny: Option<String>,
    /// The same for some methods, instead.
    pub rules: Vec<Rule>,
}

/// What a person writes for some methods.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which methods: `pkg.Service/Method`, `pkg.*/Method`, `*/Method`, `pkg.Service/*` or `*/*`.
    pub method: MethodPattern,
    /// An expression that must hold, unless a more specific rule for the method has one.
    #[serde(default)]
    pub allow: Option<String>,
    /// An expression that must not hold, whatever other rules say.
    #[serde(default)]
    pub deny: Option<String>,
}

impl Factory for Authz {
    const NAME: &'static str = "authz";
    const PHASE: Phase = Phase::Authorize;
    type Config = Config;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        Ok(Box::new(Authorizing(Arc::new(Rules::build(config, cx)?))))
    }
}

/// The filter.
#[derive(Debug)]
struct Authorizing(Arc<Rules>);

impl Filter for Authorizing {
    fn reads(&self) -> Reads {
        let request = if self.0.read_messages() { Depth::Bodies } else { Depth::Nothing };
        Reads { request, response: Depth::Nothing }
    }

    fn request_head(&self, view: &mut RequestView<'_>) -> Start {
        let judgement = self.0.of(&view.call.service, &view.call.method);
        let seen = Seen { call: view.call, head: view.head, message: None };
        match judgement.by_head(&seen) {
            Ok(()) if judgement.reads_messages() => {
                let allow = judgement.allow_by_message().map(Arc::clone);
                Start::Follow(Box::new(OnMessages { rules: Arc::clone(&self.0), allow }))
            }
            Ok(()) => Start::Pass,
            Err(denied) => Start::Refuse(Box::new(denied.refusal())),
        }
    }

    /// Rules that read messages are not asked: what they would have to see is gone. Where it takes one to be allowed, the call goes on if
    /// it goes by that very rule already, which sees each of its messages. Otherwise what allowed it is not there any more, and whether this
    /// one would have cannot be told.
    fn still(&self, view: &mut RequestView<'_>, admitted: &Admitted<'_>) -> Result<(), Box<Refusal>> {
        let judgement = self.0.of(&view.call.service, &view.call.method);
        judgement
            .by_head(&Seen { call: view.call, head: view.head, message: None })
            .map_err(|denied| denied.refusal())?;
        match judgement.allow_by_message() {
            Some(allow) if !admitted.rules.contains(&&**allow) => Err(Box::new(Denied::Changed.refusal())),
            _ => Ok(()),
        }
    }
}

/// The filter on one call, some of whose rules read messages.
#[derive(Debug)]
struct OnMessages {
    rules: Arc<Rules>,
    /// What has to hold of its messages for it to be allowed, where that takes one.
    allow: Option<Arc<str>>,
}

impl CallFilter for OnMessages {
    fn decides_by_message(&self) -> bool {
        self.allow.is_some()
    }

    fn goes_by(&self) -> Option<&str> {
        self.allow.as_deref()
    }

    fn request_message(&mut self, message: &Message<'_>) -> Verdict {
        let judged = match message.seen() {
            Some(seen) => self.rules.of(&seen.call.service, &seen.call.method).by_message(&seen),
            None => Err(Denied::Unknown),
        };
        match judged {
            Ok(()) => Verdict::Pass,
            Err(denied) => Verdict::Refuse(Box::new(denied.refusal())),
        }
    }
}

/// Why a call may not go. Rules are not quoted: what they ask for is not the caller's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    /// No rule allows it.
    NotAllowed,
    /// A rule refuses it.
    Refused,
    /// A rule has no answer.
    Undecided,
    /// What the message is made of is not known, or not yet.
    Unknown,
    /// The rule that allowed it is gone, and the one in its place reads a message that is.
    Changed,
}

impl Denied {
    fn refusal(self) -> Refusal {
        let message = match self {
            Self::NotAllowed => "no rule allows this call to this caller: ask whoever runs the proxy for one",
            Self::Refused => "a rule refuses this call to this caller: ask whoever runs the proxy why",
            Self::Undecided => {
                "a rule could not be evaluated for this call, so it is refused: does it lack a claim, metadata or a field?"
            }
            Self::Changed => {
                "the rule that allowed this call has changed, and the new one has to see its messages: call again"
            }
            Self::Unknown => return Unread::NoSchema.refusal(true),
        };
        Refusal::new(Code::PermissionDenied, Reason::Denied, message)
    }
}

impl From<Unevaluated> for Denied {
    fn from(why: Unevaluated) -> Self {
        match why {
            Unevaluated::NoSchema => Self::Unknown,
            Unevaluated::Failed(_) => Self::Undecided,
        }
    }
}

#[cfg(test)]
mod tests;
