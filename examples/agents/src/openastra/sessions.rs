//! Open Astra's sessions: found or created by each call, an hour after the last one forgotten.

use std::collections::BTreeMap;

use tonic::Status;

use crate::seed::Seed;

/// How long a session outlives its last call, in milliseconds.
const TTL_MS: i64 = 3_600_000;

/// One user's conversation with an agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) created: bool,
    pub(super) notes: Vec<String>,
    /// Messages before the present one.
    pub(super) before: usize,
    uid: String,
    last_used: i64,
}

#[derive(Debug, Default)]
pub(super) struct Sessions(BTreeMap<String, Session>);

impl Sessions {
    /// The session of that id, made where it is missing; an empty id asks for a new one.
    ///
    /// # Errors
    /// PERMISSION_DENIED for another user's session.
    pub(super) fn resolve(&mut self, id: &str, uid: &str, now: i64, seed: &Seed) -> Result<&mut Session, Status> {
        self.0.retain(|_, session| now - session.last_used < TTL_MS);
        let id = if id.is_empty() { seed.id("sess") } else { id.to_owned() };
        let session = self.0.entry(id.clone()).or_default();
        if session.id.is_empty() {
            *session = Session { id, uid: uid.to_owned(), created: true, ..Session::default() };
        } else if session.uid == uid {
            session.created = false;
            session.before += 1;
        } else {
            return Err(Status::permission_denied(format!("session {id} belongs to another uid")));
        }
        session.last_used = now;
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::{Seed, Sessions, TTL_MS};

    #[test]
    fn a_session_is_found_until_it_expires() {
        let (mut sessions, seed) = (Sessions::default(), Seed::new(1));
        let id = sessions.resolve("", "u", 0, &seed).unwrap().id.clone();
        assert!(!sessions.resolve(&id, "u", TTL_MS - 1, &seed).unwrap().created);
        assert!(sessions.resolve(&id, "other", TTL_MS, &seed).is_err());
        assert!(sessions.resolve(&id, "u", 2 * TTL_MS, &seed).unwrap().created, "expired an hour after its last use");
    }
}
