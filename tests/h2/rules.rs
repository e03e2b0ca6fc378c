//! Every rule of RFC 9113 that an end of a connection has to keep or to enforce, as a table: the section, the octets that meet it, and
//! what has to come of them. `rules_states` has the streams' states and the frames, `rules_heads` what heads may say.

use crate::engine::Role;
use crate::script::{Outcome, Owner, Script};
use crate::wire::{ACK, Frame, GOAWAY, PING, RST, frame};
use crate::{rules_heads, rules_states};

/// What has to come of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Must {
    /// Nothing: the connection goes on, and no stream is reset.
    Pass,
    /// A stream is reset with this code, and the connection goes on.
    Reset(u32, u32),
    /// The connection ends with this code.
    Goaway(u32),
}

pub(crate) struct Rule {
    pub(crate) section: &'static str,
    pub(crate) what: &'static str,
    pub(crate) role: Role,
    pub(crate) owner: Owner,
    pub(crate) octets: Vec<u8>,
    pub(crate) must: Must,
    /// The events, where they matter.
    pub(crate) sees: Option<&'static str>,
}

impl Rule {
    /// What a client sends to our server.
    pub(crate) fn server(section: &'static str, what: &'static str, octets: &[&[u8]], must: Must) -> Self {
        let octets = [Script::greeting(Role::Server), octets.concat()].concat();
        Self { section, what, role: Role::Server, owner: Owner::Listens, octets, must, sees: None }
    }

    /// What a server sends to our client, which has opened streams 1, 3 and 5 and goes on sending on 1.
    pub(crate) fn client(section: &'static str, what: &'static str, octets: &[&[u8]], must: Must) -> Self {
        let octets = [Script::greeting(Role::Client), octets.concat()].concat();
        Self { section, what, role: Role::Client, owner: Owner::Listens, octets, must, sees: None }
    }

    /// Without the greeting.
    pub(crate) fn raw(section: &'static str, what: &'static str, role: Role, octets: Vec<u8>, must: Must) -> Self {
        Self { section, what, role, owner: Owner::Listens, octets, must, sees: None }
    }

    pub(crate) fn owner(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    pub(crate) fn sees(self, events: &'static str) -> Self {
        Self { sees: Some(events), ..self }
    }

    fn check(&self) -> Result<(), String> {
        let mut script = Script::new(self.role, self.owner);
        script.send(&self.octets, 0);
        if self.must != (Must::Goaway(0)) && script.fatal.is_none() {
            script.send(&frame(PING, 0, 0, b"alive???"), 0);
        }
        let outcome = script.outcome();
        let found = found(&outcome);
        if found != self.must {
            return Err(format!("came to {found:?}, not {:?}: {outcome:?}", self.must));
        }
        match self.sees {
            Some(events) if events != outcome.words() => Err(format!("saw `{}`, not `{events}`", outcome.words())),
            _ => Ok(()),
        }
    }
}

fn found(outcome: &Outcome) -> Must {
    let code = |frame: &Frame| frame.number(if frame.kind == GOAWAY { 4 } else { 0 });
    if let Some(fatal) = outcome.fatal {
        let last = outcome.frames.last().expect("GOAWAY");
        assert_eq!((last.kind, code(last)), (GOAWAY, fatal.code.0), "GOAWAY says why");
        return Must::Goaway(fatal.code.0);
    }
    assert!(outcome.frames.iter().any(|frame| frame.kind == PING && frame.has(ACK)), "it goes on");
    let resets: Vec<_> = outcome.frames.iter().filter(|frame| frame.kind == RST && code(frame) != 8).collect();
    assert!(resets.len() <= 1, "{resets:?}");
    resets.first().map_or(Must::Pass, |reset| Must::Reset(reset.stream, code(reset)))
}

/// All of them.
pub(crate) fn all() -> Vec<Rule> {
    let mut rules = rules_states::rules();
    rules.extend(rules_heads::rules());
    rules
}

#[test]
fn every_rule_is_kept() {
    let wrong: Vec<String> = all()
        .iter()
        .filter_map(|rule| Some(format!("RFC 9113 {} {}: {}", rule.section, rule.what, rule.check().err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
