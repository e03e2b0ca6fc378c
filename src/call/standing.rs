//! Whether a call that was let in would be let in now: by the routes of another snapshot, and by those of its filters that say who may
//! call. What is asked is what a new call with the same head would be, as far as that shows without its messages, and by tokens that have
//! passed once, whatever time it is.
//!
//! **Fails closed.** A route whose `when` reads a message that is gone takes the call, or does not, as the same words did when it began.
//! Where those are new nobody can tell: then the call has to be let in both ways.

use std::sync::Arc;

use fields::RequestHead;
use filter_api::{Admitted, CallInfo, Reason, Refusal, Token};
use smallvec::SmallVec;

use super::context::Call;
use super::{judge, plan};
use crate::config::snapshot::{Listener, Route, Snapshot};
use crate::expr::{Expression, Facts};
use crate::wire::{self, authority_host};

const AUTHORIZATION: &str = "authorization";

/// A call as it was let in.
#[derive(Clone)]
pub(super) struct Standing {
    info: CallInfo,
    head: RequestHead,
    relayed: bool,
    for_anybody: bool,
    whens: Vec<Told>,
    rules: SmallVec<[Arc<str>; 1]>,
}

/// What a `when` that reads the first message said of a call.
pub(super) type Told = (Arc<Expression>, bool);

impl std::fmt::Debug for Standing {
    /// What it has of its caller is for policies, not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("listener", &self.info.listener).finish_non_exhaustive()
    }
}

impl Standing {
    /// That of a call.
    pub(super) fn of(call: &Call) -> Self {
        let mut head = call.head.clone();
        for (name, value) in call.taken.iter() {
            head.fields.push(name, value);
        }
        // What is asked for is whether it is there: the token itself is gone.
        for Token { from, .. } in &call.info.tokens {
            if !head.fields.contains(from) {
                head.fields.push(from, stand_in(from));
            }
        }
        let rules = call.followers.go_by().map(Arc::from).collect();
        let Call { relayed, stranger, whens, .. } = call;
        Self { info: call.info.clone(), head, relayed: *relayed, for_anybody: *stranger, whens: whens.clone(), rules }
    }

    /// The same, calling another method of the service: to be kept for long, so that no token is in it that nobody has taken off its head.
    pub(super) fn without_tokens(self, method: &str) -> Self {
        let RequestHead { method: verb, .. } = self.head;
        let path = format!("/{}/{method}", self.info.service);
        let mut head = RequestHead::new(verb, &path, self.head.authority(), (0, 0));
        let is_token = |name: &str| name == AUTHORIZATION || self.info.tokens.iter().any(|token| *token.from == *name);
        for (name, value) in self.head.fields.iter() {
            head.fields.push(name, if is_token(name) { stand_in(name) } else { value });
        }
        Self { info: CallInfo { method: method.into(), ..self.info }, head, ..self }
    }

    /// Whether it would be let in, on routes that lead where `leads` says.
    pub(super) fn holds(
        mut self,
        snapshot: &Snapshot,
        listener: &Listener,
        leads: impl Fn(&Route, (&CallInfo, &RequestHead)) -> Result<(), Box<Refusal>>,
    ) -> Result<(), Box<Refusal>> {
        wire::strip_identity(&mut self.head.fields, &snapshot.identity, self.relayed);
        if let Some(identity) = self.info.identity.as_ref().filter(|_| listener.client_cert_header) {
            self.head.fields.push(wire::CLIENT_CERT, &wire::client_cert(identity));
        }
        // Those count that somebody vouches for again.
        self.info.claims = None;
        let (agent, tokens) = (self.info.agent.take(), std::mem::take(&mut self.info.tokens));
        let rules: SmallVec<[&str; 1]> = self.rules.iter().map(|rule| &**rule).collect();
        let admitted = Admitted { tokens: &tokens, rules: &rules };
        let Self { mut info, mut head, .. } = self;
        let for_anybody = listener.for_anybody.as_ref().filter(|_| self.for_anybody);
        let for_anybody = for_anybody.filter(|_| plan::asks_how_it_is(listener, &info, &head));
        for_anybody.unwrap_or(&listener.early).still(&mut info, &mut head, &admitted)?;
        let host = authority_host(head.authority());
        for place in listener.router.candidates(&head, host, &info.service, &info.method) {
            let Some(route) = listener.router.get(place) else { continue };
            let takes = takes(route, &info, &head, &self.whens)?;
            if takes == Some(false) {
                continue;
            }
            let (mut info, mut head) = (info.clone(), head.clone());
            route.early.still(&mut info, &mut head, &admitted)?;
            info.agent.clone_from(&agent);
            route.late.still(&mut info, &mut head, &admitted)?;
            leads(route, (&info, &head))?;
            if takes == Some(true) {
                return Ok(());
            }
        }
        Err(judge::no_route())
    }
}

/// What stands in the place of a token.
fn stand_in(name: &str) -> &'static [u8] {
    if name == AUTHORIZATION { b"Bearer " } else { b"" }
}

/// Whether a route whose other conditions are met takes a call; none where nobody can tell.
fn takes(route: &Route, info: &CallInfo, head: &RequestHead, told: &[Told]) -> Result<Option<bool>, Box<Refusal>> {
    let Some(when) = &route.when else { return Ok(Some(true)) };
    if when.reads_message() {
        return Ok(told.iter().find(|(other, _)| other.text() == when.text()).map(|(_, held)| *held));
    }
    let held = when.holds(&Facts::of_call(info, head), None);
    held.map(Some)
        .map_err(|failure| judge::undecided(failure, "whether a route takes this call", Reason::RouteUndecided))
}
