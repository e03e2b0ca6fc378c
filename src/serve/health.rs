//! `grpc.health.v1` of a listener: of itself, and of each service by the health of the instances that its calls can go to.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use portunus_proto::health::health_check_response::ServingStatus;
use portunus_proto::health::health_server::Health as Service;
use portunus_proto::health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use super::directory::Directory;
use crate::upstream::{STRANGER, VISITOR};

/// Watches of a listener that are open at once: of those who are known, and of strangers. With the streams of reflection they are fewer
/// than the cluster within has places.
const WATCHES: usize = 512;
const STRANGERS: usize = 64;
/// How often a watch looks.
const LOOK: Duration = Duration::from_secs(1);
/// Services that are listed.
const LISTED: usize = 1_000;

/// The service of one listener.
pub(super) struct Health {
    state: State,
    room: Arc<Semaphore>,
    for_strangers: Arc<Semaphore>,
}

#[derive(Clone)]
struct State {
    directory: Arc<Directory>,
    leaving: watch::Receiver<bool>,
    closing: watch::Receiver<bool>,
}

impl Health {
    pub(super) fn new(
        directory: Arc<Directory>,
        leaving: watch::Receiver<bool>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let [room, for_strangers] = [WATCHES, STRANGERS].map(|most| Arc::new(Semaphore::new(most)));
        Self { state: State { directory, leaving, closing }, room, for_strangers }
    }
}

impl State {
    fn is_leaving(&self) -> bool {
        is_so(&self.leaving) || self.is_closing()
    }

    fn is_closing(&self) -> bool {
        is_so(&self.closing)
    }

    /// How a service is, `""` being the listener; none if it is not known.
    async fn of(&self, service: &str) -> Option<ServingStatus> {
        let known = service.is_empty() || self.directory.current().await.services.contains(service);
        known.then(|| self.of_known(service))
    }

    fn of_known(&self, service: &str) -> ServingStatus {
        if !self.is_leaving() && (service.is_empty() || self.directory.is_serving(service)) {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

/// What was told. Whoever would tell is gone: so are we.
fn is_so(told: &watch::Receiver<bool>) -> bool {
    *told.borrow() || told.has_changed().is_err()
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Service for Health {
    type WatchStream = Statuses;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.state.of(&request.get_ref().service).await;
        let unknown = || Status::not_found("no route leads to this service, or nobody has told of it yet");
        status.map(|status| Response::new(answer(status))).ok_or_else(unknown)
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let services = Arc::clone(&self.state.directory.current().await.services);
        if services.len() > LISTED {
            return Err(Status::resource_exhausted(format!("there are over {LISTED} services: check them one by one")));
        }
        let names = services.iter().map(String::as_str).chain([""]);
        let statuses = names.map(|name| (name.to_owned(), answer(self.state.of_known(name))));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect::<BTreeMap<_, _>>() }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Statuses>, Status> {
        let full = |_| Status::resource_exhausted("as many watches as may be are open: come back a little later");
        let stranger = request.metadata().get(VISITOR).is_some_and(|visitor| visitor == STRANGER);
        let room = if stranger { &self.for_strangers } else { &self.room };
        let room = Arc::clone(room).try_acquire_owned().map_err(full)?;
        let service = request.into_inner().service;
        let watch = Watch { state: self.state.clone(), service, told: None, over: false, _room: room };
        Ok(Response::new(Box::pin(stream::unfold(watch, Watch::next))))
    }
}

/// One watch: tells of a service at once, and whenever it has changed.
struct Watch {
    state: State,
    service: String,
    told: Option<ServingStatus>,
    over: bool,
    _room: OwnedSemaphorePermit,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Self)> {
        if self.over {
            return None;
        }
        loop {
            let (leaving, closing) = (self.state.is_leaving(), self.state.is_closing());
            let status = self.state.of(&self.service).await.unwrap_or(ServingStatus::ServiceUnknown);
            if self.told != Some(status) {
                self.told = Some(status);
                return Some((Ok(answer(status)), self));
            }
            if closing {
                // It has been told. A watch never ends by itself, and the drain would wait for it.
                self.over = true;
                return Some((Err(super::draining()), self));
            }
            let State { leaving: mut soon, closing: mut now, .. } = self.state.clone();
            tokio::select! {
                _ = soon.wait_for(|leaving| *leaving), if !leaving => {}
                _ = now.wait_for(|closing| *closing) => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}
