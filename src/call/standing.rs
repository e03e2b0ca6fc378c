//! Whether a call that was let in would be let in now: by the routes of another snapshot, and by those of its filters that say who may
//! call. What is asked is what a new call with the same head would be, as far as that shows without its messages, and by tokens that have
//! passed once, whatever time it is.
//!
//! **Fails closed.** A route whose `when` reads a message that is gone takes the call, or does not, as the same words did when it began.
//! Where those are new nobody can tell: then the call has to be let in both ways.

use std::fmt;
use std::sync::Arc;

use fields::{Fields, RequestHead};
use filter_api::{Admitted, CallInfo, Reason, Refusal, Token};
use smallvec::SmallVec;

use super::context::{Call, Origin};
use super::{judge, plan};
use crate::config::snapshot::{Listener, Route, Snapshot};
use crate::expr::{Expression, Facts};
use crate::wire::{self, authority_host};

const AUTHORIZATION: &str = "authorization";

/// A call as it was let in, but for its head.
pub(super) struct Standing<'c> {
    info: &'c CallInfo,
    relayed: bool,
    for_anybody: bool,
    whens: &'c [Told],
    rules: SmallVec<[&'c str; 1]>,
}

/// What a `when` that reads the first message said of a call.
pub(super) type Told = (Arc<Expression>, bool);

/// Where heads are written that calls are judged by: used over and over, so that judging many takes no more memory than judging one.
pub(super) struct Room {
    /// As the listener's filters are asked.
    head: RequestHead,
    /// As those of a route are.
    of_route: RequestHead,
}

impl Default for Room {
    fn default() -> Self {
        let none = || RequestHead::over(Fields::default());
        Self { head: none(), of_route: none() }
    }
}

impl<'c> Standing<'c> {
    /// That of a call, whose head goes where it is said.
    pub(super) fn of(call: &'c Call, Room { head, .. }: &mut Room) -> Self {
        head.copy_from(&call.head);
        for (name, value) in call.taken.iter() {
            head.fields.push(name, value);
        }
        // What is asked for is whether it is there: the token itself is gone.
        for Token { from, .. } in &call.info.tokens {
            if !head.fields.contains(from) {
                head.fields.push(from, stand_in(from));
            }
        }
        let Call { info, relayed, stranger, whens, followers, .. } = call;
        Self { info, relayed: *relayed, for_anybody: *stranger, whens, rules: followers.go_by().collect() }
    }

    /// Whether it would be let in over its connection, with the head in `room`, on routes that lead where `leads` says.
    pub(super) fn holds(
        self,
        Room { head, of_route }: &mut Room,
        origin: &Origin,
        (snapshot, listener): (&Snapshot, &Listener),
        leads: impl Fn(&Route, (&CallInfo, &RequestHead)) -> Result<(), Box<Refusal>>,
    ) -> Result<(), Box<Refusal>> {
        wire::strip_identity(&mut head.fields, &snapshot.identity, self.relayed);
        if let Some(told) = origin.client_cert(listener) {
            head.fields.push(wire::CLIENT_CERT, told);
        }
        let admitted = Admitted { tokens: &self.info.tokens, rules: &self.rules };
        let mut info = self.info.unvouched();
        let for_anybody = listener.for_anybody.as_ref().filter(|_| self.for_anybody);
        let for_anybody = for_anybody.filter(|_| plan::asks_how_it_is(listener, &info, head));
        for_anybody.unwrap_or(&listener.early).still(&mut info, head, &admitted)?;
        let host = authority_host(head.authority());
        for place in listener.router.candidates(head, host, &info.service, &info.method) {
            let Some(route) = listener.router.get(place) else { continue };
            let takes = takes(route, &info, head, self.whens)?;
            if takes == Some(false) {
                continue;
            }
            let mut info = info.clone();
            of_route.copy_from(head);
            route.early.still(&mut info, of_route, &admitted)?;
            info.agent.clone_from(&self.info.agent);
            route.late.still(&mut info, of_route, &admitted)?;
            leads(route, (&info, of_route))?;
            if takes == Some(true) {
                return Ok(());
            }
        }
        Err(judge::no_route())
    }
}

/// The standing of a call that is over, to be judged for as long as what came of it lasts.
#[derive(Clone)]
pub(super) struct Kept {
    info: CallInfo,
    head: RequestHead,
    relayed: bool,
    for_anybody: bool,
    whens: Vec<Told>,
    rules: SmallVec<[Arc<str>; 1]>,
}

impl fmt::Debug for Kept {
    /// What it has of its caller is for policies, not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("listener", &self.info.listener).finish_non_exhaustive()
    }
}

impl Kept {
    /// That of a call, as if it called `method` of its service. No token is in it that nobody has taken off the head.
    pub(super) fn of(call: &Call, method: &str) -> Self {
        let mut room = Room::default();
        let Standing { info, relayed, for_anybody, whens, rules } = Standing::of(call, &mut room);
        let path = format!("/{}/{method}", info.service);
        let mut head = RequestHead::new(room.head.method, &path, room.head.authority(), (0, 0));
        let is_token = |name: &str| name == AUTHORIZATION || info.tokens.iter().any(|token| *token.from == *name);
        for (name, value) in room.head.fields.iter() {
            head.fields.push(name, if is_token(name) { stand_in(name) } else { value });
        }
        let info = CallInfo { method: method.into(), ..info.clone() };
        let rules = rules.into_iter().map(Arc::from).collect();
        Self { info, head, relayed, for_anybody, whens: whens.to_vec(), rules }
    }

    /// It again, and its head.
    pub(super) fn standing(&self) -> (Standing<'_>, Room) {
        let Self { info, head, relayed, for_anybody, whens, rules } = self;
        let rules = rules.iter().map(|rule| &**rule).collect();
        let standing = Standing { info, relayed: *relayed, for_anybody: *for_anybody, whens, rules };
        (standing, Room { head: head.clone(), ..Room::default() })
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
