//! SessionService over the stored sessions. Unknown and expired sessions are NOT_FOUND.

use portunus_proto::shannon::common::StatusCode;
use portunus_proto::shannon::session::session_service_server::SessionService;
use portunus_proto::shannon::session::{
    AddMessageRequest, AddMessageResponse, ClearHistoryRequest, ClearHistoryResponse, CreateSessionRequest,
    CreateSessionResponse, DeleteSessionRequest, DeleteSessionResponse, GetSessionRequest, GetSessionResponse,
    ListSessionsRequest, ListSessionsResponse, UpdateSessionRequest, UpdateSessionResponse,
};
use tonic::{Request, Response, Status};

use crate::clock::timestamp;

use super::{Kept, Store};

/// Sessions listed where the caller names no number.
const PAGE: usize = 50;
const OK: i32 = StatusCode::Ok as i32;

pub(super) struct Service(pub(super) Store);

impl Service {
    fn kept(&self) -> &Kept {
        &self.0.0
    }
}

#[tonic::async_trait]
impl SessionService for Service {
    async fn create_session(
        &self,
        request: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let request = request.into_inner();
        if request.user_id.is_empty() {
            return Err(Status::invalid_argument("user_id is empty"));
        }
        if request.ttl_seconds < 0 || request.max_history < 0 {
            return Err(Status::invalid_argument("ttl_seconds and max_history must not be negative"));
        }
        let kept = self.kept();
        let now = kept.clock.tick();
        let session = kept.sessions.lock().create(request, now, &kept.seed);
        Ok(Response::new(CreateSessionResponse {
            session_id: session.id,
            created_at: Some(timestamp(session.created)),
            expires_at: Some(timestamp(session.expires)),
            status: OK,
            message: "Session created".into(),
        }))
    }

    async fn get_session(&self, request: Request<GetSessionRequest>) -> Result<Response<GetSessionResponse>, Status> {
        let request = request.into_inner();
        let now = self.kept().clock.tick();
        let mut sessions = self.kept().sessions.lock();
        let session = sessions.living(&request.session_id, now)?.session(request.include_history);
        Ok(Response::new(GetSessionResponse { session: Some(session), status: OK, message: String::new() }))
    }

    async fn update_session(
        &self,
        request: Request<UpdateSessionRequest>,
    ) -> Result<Response<UpdateSessionResponse>, Status> {
        let request = request.into_inner();
        if request.extend_ttl_seconds < 0 {
            return Err(Status::invalid_argument("extend_ttl_seconds must not be negative"));
        }
        let now = self.kept().clock.tick();
        let mut sessions = self.kept().sessions.lock();
        let session = sessions.living(&request.session_id, now)?;
        session.update(request.context_updates, request.extend_ttl_seconds);
        Ok(Response::new(UpdateSessionResponse {
            success: true,
            new_expires_at: Some(timestamp(session.expires)),
            status: OK,
            message: "Session updated".into(),
        }))
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionResponse>, Status> {
        let now = self.kept().clock.tick();
        self.kept().sessions.lock().delete(&request.get_ref().session_id, now)?;
        Ok(Response::new(DeleteSessionResponse { success: true, status: OK, message: "Session deleted".into() }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let (Ok(limit), Ok(offset)) = (usize::try_from(request.limit), usize::try_from(request.offset)) else {
            return Err(Status::invalid_argument("limit and offset must not be negative"));
        };
        let now = self.kept().clock.tick();
        let found = self.kept().sessions.lock().list(&request.user_id, request.active_only, now);
        let total_count = i32::try_from(found.len()).unwrap_or(i32::MAX);
        let sessions = found.into_iter().skip(offset).take(if limit == 0 { PAGE } else { limit }).collect();
        Ok(Response::new(ListSessionsResponse { sessions, total_count, status: OK, message: String::new() }))
    }

    async fn add_message(&self, request: Request<AddMessageRequest>) -> Result<Response<AddMessageResponse>, Status> {
        let request = request.into_inner();
        let Some(message) = request.message else { return Err(Status::invalid_argument("message is missing")) };
        if !["user", "assistant", "system"].contains(&message.role.as_str()) {
            return Err(Status::invalid_argument(format!(
                "message.role is `{}`: write user, assistant or system",
                message.role
            )));
        }
        let kept = self.kept();
        let now = kept.clock.tick();
        let size = kept.sessions.lock().living(&request.session_id, now)?.add(message, now, &kept.seed);
        Ok(Response::new(AddMessageResponse {
            success: true,
            history_size: i32::try_from(size).unwrap_or(i32::MAX),
            status: OK,
            message: "Message added".into(),
        }))
    }

    async fn clear_history(
        &self,
        request: Request<ClearHistoryRequest>,
    ) -> Result<Response<ClearHistoryResponse>, Status> {
        let request = request.into_inner();
        let now = self.kept().clock.tick();
        self.kept().sessions.lock().living(&request.session_id, now)?.clear(request.keep_context);
        Ok(Response::new(ClearHistoryResponse { success: true, status: OK, message: "History cleared".into() }))
    }
}
