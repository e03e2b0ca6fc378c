//! Shannon's sessions as stored: history with an upper bound, context, a time to live.

use portunus_proto::shannon::session::{Message, Session, SessionMetrics, SessionSummary};
use prost_types::Struct;
use tonic::Status;

use crate::brain;
use crate::clock::timestamp;
use crate::seed::Seed;

use super::values;

/// Seconds that a session lives where its maker names no number.
const TTL: i32 = 3_600;
/// Messages kept where its maker names no number.
const HISTORY: usize = 100;

/// One session; an expired one stays listed as inactive and is otherwise gone.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: String,
    user_id: String,
    context: Struct,
    history: Vec<Message>,
    max_history: usize,
    pub(super) created: i64,
    active: i64,
    pub(super) expires: i64,
    metrics: SessionMetrics,
}

#[derive(Debug, Default)]
pub(super) struct Sessions(Vec<Record>);

impl Sessions {
    pub(super) fn create(
        &mut self,
        request: portunus_proto::shannon::session::CreateSessionRequest,
        now: i64,
        seed: &Seed,
    ) -> Record {
        let ttl = if request.ttl_seconds > 0 { request.ttl_seconds } else { TTL };
        let record = Record {
            id: seed.id("sess"),
            user_id: request.user_id,
            context: request.initial_context.unwrap_or_default(),
            history: Vec::new(),
            max_history: usize::try_from(request.max_history).ok().filter(|n| *n > 0).unwrap_or(HISTORY),
            created: now,
            active: now,
            expires: now + i64::from(ttl) * 1000,
            metrics: SessionMetrics::default(),
        };
        self.0.push(record.clone());
        record
    }

    /// A living session, for use: it is active now.
    ///
    /// # Errors
    /// NOT_FOUND, also for one that has expired.
    pub(super) fn living(&mut self, id: &str, now: i64) -> Result<&mut Record, Status> {
        match self.0.iter_mut().find(|session| session.id == id) {
            Some(session) if session.lives(now) => {
                session.active = now;
                Ok(session)
            }
            Some(session) => {
                Err(Status::not_found(format!("session `{id}` expired at {}", timestamp(session.expires))))
            }
            None => Err(Status::not_found(format!("there is no session `{id}`"))),
        }
    }

    /// # Errors
    /// NOT_FOUND.
    pub(super) fn delete(&mut self, id: &str, now: i64) -> Result<(), Status> {
        self.living(id, now)?;
        self.0.retain(|session| session.id != id);
        Ok(())
    }

    pub(super) fn list(&self, user_id: &str, active_only: bool, now: i64) -> Vec<SessionSummary> {
        self.0
            .iter()
            .filter(|session| user_id.is_empty() || session.user_id == user_id)
            .filter(|session| !active_only || session.lives(now))
            .map(|session| session.summary(now))
            .collect()
    }

    /// A living session's context, without using it.
    pub(super) fn context(&self, id: &str, now: i64) -> Option<Struct> {
        self.0.iter().find(|session| session.id == id && session.lives(now)).map(|session| session.context.clone())
    }
}

impl Record {
    fn lives(&self, now: i64) -> bool {
        now < self.expires
    }

    pub(super) fn update(&mut self, updates: Option<Struct>, extend_seconds: i32) {
        values::merge(&mut self.context, updates.unwrap_or_default());
        self.expires += i64::from(extend_seconds.max(0)) * 1000;
        self.metrics.updates += 1;
    }

    /// Adds a message, completed with what its sender left out; the oldest one goes when the history is full.
    pub(super) fn add(&mut self, mut message: Message, now: i64, seed: &Seed) -> usize {
        if message.id.is_empty() {
            message.id = seed.id("msg");
        }
        message.timestamp.get_or_insert_with(|| timestamp(now));
        if message.tokens_used == 0 {
            message.tokens_used = brain::tokens(&message.content);
        }
        self.metrics.message_count += 1;
        self.metrics.total_tokens = self.metrics.total_tokens.saturating_add(message.tokens_used);
        self.history.push(message);
        if self.history.len() > self.max_history {
            self.history.remove(0);
            self.metrics.dropped_messages += 1;
        }
        self.history.len()
    }

    pub(super) fn clear(&mut self, keep_context: bool) {
        self.history.clear();
        if !keep_context {
            self.context = Struct::default();
        }
    }

    pub(super) fn session(&self, with_history: bool) -> Session {
        Session {
            id: self.id.clone(),
            user_id: self.user_id.clone(),
            context: Some(self.context.clone()),
            history: if with_history { self.history.clone() } else { Vec::new() },
            created_at: Some(timestamp(self.created)),
            last_active: Some(timestamp(self.active)),
            expires_at: Some(timestamp(self.expires)),
            metrics: Some(self.metrics),
        }
    }

    fn summary(&self, now: i64) -> SessionSummary {
        SessionSummary {
            id: self.id.clone(),
            user_id: self.user_id.clone(),
            created_at: Some(timestamp(self.created)),
            last_active: Some(timestamp(self.active)),
            message_count: i32::try_from(self.history.len()).unwrap_or(i32::MAX),
            total_tokens: self.metrics.total_tokens,
            is_active: self.lives(now),
        }
    }
}
