//! StreamingService: a task's events as they happen, from the start or after the last one that the caller saw. Under a
//! logical clock the stream jumps to the end of what is known to come.

use futures_util::stream;
use portunus_proto::shannon::orchestrator::streaming_service_server::StreamingService;
use portunus_proto::shannon::orchestrator::{StreamRequest, TaskUpdate};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::stream::{Knobs, Messages};

use super::Store;

pub(super) struct Service(pub(super) Store);

#[tonic::async_trait]
impl StreamingService for Service {
    type StreamTaskExecutionStream = Messages<TaskUpdate>;

    async fn stream_task_execution(
        &self,
        request: Request<StreamRequest>,
    ) -> Result<Response<Messages<TaskUpdate>>, Status> {
        let knobs = Knobs::of(request.metadata());
        let request = request.into_inner();
        let kept = &self.0.0;
        kept.clock.tick();
        let after = resume(&request)?;
        // Subscribed before the first look: no change falls between.
        let changed = kept.changed.subscribe();
        let (events, _) = kept.tasks.lock().by_workflow(&request.workflow_id)?.events();
        if let Some((last, _)) = events.last()
            && kept.clock.is_logical()
        {
            // At the call, not while messages are sent: how far a caller reads must not move the clock.
            kept.clock.reach(*last).await;
        }
        let watching =
            Watching { store: self.0.clone(), workflow_id: request.workflow_id, types: request.types, after, changed };
        Ok(Response::new(knobs.shape(stream::unfold(Some(watching), Watching::next))))
    }
}

/// What the caller saw last.
#[derive(Clone, Copy)]
enum After {
    Seq(u64),
    Stream(i64, u64),
}

fn resume(request: &StreamRequest) -> Result<After, Status> {
    if request.last_stream_id.is_empty() {
        return Ok(After::Seq(request.last_event_id));
    }
    parse(&request.last_stream_id).map(|(ms, n)| After::Stream(ms, n)).ok_or_else(|| {
        Status::invalid_argument(format!(
            "last_stream_id `{}` is none: send back a stream_id as it came, such as 1698765432000-0",
            request.last_stream_id
        ))
    })
}

fn parse(stream_id: &str) -> Option<(i64, u64)> {
    let (ms, n) = stream_id.split_once('-')?;
    Some((ms.parse().ok()?, n.parse().ok()?))
}

impl After {
    fn covers(self, update: &TaskUpdate) -> bool {
        match self {
            Self::Seq(seq) => update.seq <= seq,
            Self::Stream(ms, n) => parse(&update.stream_id).is_some_and(|id| id <= (ms, n)),
        }
    }
}

struct Watching {
    store: Store,
    workflow_id: String,
    types: Vec<String>,
    after: After,
    changed: watch::Receiver<u64>,
}

impl Watching {
    /// The next event that the caller wants, once its time has come.
    async fn next(watching: Option<Self>) -> Option<(Result<TaskUpdate, Status>, Option<Self>)> {
        let mut this = watching?;
        loop {
            this.changed.mark_unchanged();
            let found = this.store.0.tasks.lock().by_workflow(&this.workflow_id).map(|task| task.events());
            let (events, complete) = match found {
                Ok(events) => events,
                Err(status) => return Some((Err(status), None)),
            };
            let Some((at, update)) = events.into_iter().find(|(_, update)| !this.after.covers(update)) else {
                if complete {
                    return None;
                }
                // Waiting for a human; the store outlives us, so the channel stays open.
                this.changed.changed().await.ok()?;
                continue;
            };
            // A cancellation takes back what has not happened yet: whichever comes first.
            tokio::select! {
                biased;
                changed = this.changed.changed() => changed.ok()?,
                () = this.store.0.clock.reach(at) => {
                    this.after = After::Seq(update.seq);
                    if this.types.is_empty() || this.types.contains(&update.r#type) {
                        return Some((Ok(update), Some(this)));
                    }
                }
            }
        }
    }
}
