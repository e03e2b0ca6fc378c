//! Callers and streams that go on while configurations change, and what they know of each other: which version was seen first, and when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use h2::RecvStream;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::connection::{Connection, ended_well, message};
use crate::Result;

/// Callers whose calls take no time: by them one knows when a version is in force.
const QUICK: usize = 10;
/// The others' calls are open for so long, so that every swap finds 200 or nearly.
const DELAY_MS: u32 = 50;
/// Callers on a connection, and streams.
const TOGETHER: usize = 25;
/// Between two messages of a stream.
const NOW_AND_THEN: Duration = Duration::from_millis(200);
/// For an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a call begins later than this after a swap goes by the new one.
pub(super) const IN_FORCE: Duration = Duration::from_millis(25);
const MOST_WRONG: usize = 5;

/// What calls know of each other.
#[derive(Default)]
pub(super) struct Board {
    /// When each version was seen first, by its number from 1.
    first: Mutex<Vec<Option<Instant>>>,
    over: AtomicBool,
    pub(super) calls: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) failed: Wrong,
    pub(super) failed_streams: Wrong,
    /// Calls that went by a version though another one had been in force for too long.
    pub(super) late: Wrong,
    /// Of the calls that did so within what is allowed, the latest began so long after.
    pub(super) latest: Mutex<Duration>,
}

/// What went wrong: how often, and some of it.
#[derive(Default)]
pub(super) struct Wrong(Mutex<(u64, Vec<String>)>);

impl Wrong {
    fn say(&self, what: String) {
        let (count, words) = &mut *self.0.lock();
        *count += 1;
        if words.len() < MOST_WRONG {
            words.push(what);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.lock().0
    }

    pub(super) fn words(&self) -> String {
        self.0.lock().1.join("; ")
    }
}

impl Board {
    /// When a version was seen first.
    pub(super) fn seen(&self, version: u64) -> Option<Instant> {
        let first = self.first.lock();
        usize::try_from(version).ok().and_then(|at| first.get(at).copied().flatten())
    }

    /// A call that began then went by this version.
    fn note(&self, began: Instant, version: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let at = usize::try_from(version).unwrap_or(usize::MAX);
        let mut first = self.first.lock();
        if first.len() <= at {
            first.resize(at + 1, None);
        }
        if let Some(place @ None) = first.get_mut(at) {
            *place = Some(Instant::now());
        }
        // The first of those that followed it to be seen.
        let Some(next) = first.get(at + 1..).and_then(|later| later.iter().flatten().min().copied()) else { return };
        drop(first);
        let late = began.saturating_duration_since(next);
        if late > IN_FORCE {
            self.late.say(format!("a call begun {late:?} after the next version was seen went by {version}"));
        }
        let mut latest = self.latest.lock();
        *latest = late.max(*latest);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Callers and streams, which go on until told to stop.
pub(super) struct Load {
    board: Arc<Board>,
    tasks: JoinSet<()>,
}

impl Load {
    pub(super) async fn start(
        board: &Arc<Board>,
        (to, tls): (SocketAddr, &TlsConnector),
        (callers, streams): (usize, usize),
    ) -> Result<Self> {
        let mut tasks = JoinSet::new();
        let mut connection = Connection::new(to, tls).await?.0;
        for number in 0..callers + streams {
            if number > 0 && number % TOGETHER == 0 {
                connection = Connection::new(to, tls).await?.0;
            }
            let (connection, board) = (connection.clone(), Arc::clone(board));
            if number < callers {
                tasks.spawn(call(connection, board, if number < QUICK { 0 } else { DELAY_MS }));
            } else {
                tasks.spawn(async move {
                    if let Err(error) = stream(&connection, &board).await {
                        board.failed_streams.say(error.to_string());
                    }
                });
            }
        }
        Ok(Self { board: Arc::clone(board), tasks })
    }

    /// All that is open comes to its end.
    pub(super) async fn end(mut self) -> Result<()> {
        self.board.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done?;
        }
        Ok(())
    }
}

async fn call(connection: Connection, board: Arc<Board>, delay_ms: u32) {
    while !board.is_over() {
        let began = Instant::now();
        match timeout(PATIENCE, connection.unary(delay_ms)).await {
            Ok(Ok(version)) => board.note(began, version),
            Ok(Err(error)) => board.failed.say(error.to_string()),
            Err(_) => board.failed.say(format!("no answer after {PATIENCE:?}")),
        }
        if delay_ms == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One stream, open all the time: each message is answered by one.
async fn stream(connection: &Connection, board: &Board) -> Result<()> {
    let mut open = connection.open("Bidi", 0).await?;
    open.request.send_data(message(), false)?;
    let (mut request, answer) = open.into_parts();
    let (_, mut body) = timeout(PATIENCE, answer).await??;
    answered(&mut body, board).await?;
    while !board.is_over() {
        sleep(NOW_AND_THEN).await;
        request.send_data(message(), false)?;
        answered(&mut body, board).await?;
    }
    request.send_data(bytes::Bytes::new(), true)?;
    if timeout(PATIENCE, body.data()).await?.is_some() {
        return Err("a message that answers none".into());
    }
    ended_well(&body.trailers().await?.ok_or("no trailers")?)
}

/// Waits for one message: as long as what was sent, with a number.
async fn answered(body: &mut RecvStream, board: &Board) -> Result<()> {
    let (mut wanted, mut got) = (5, Vec::new());
    while got.len() < wanted {
        let piece = timeout(PATIENCE, body.data()).await?.ok_or("the stream ended")??;
        body.flow_control().release_capacity(piece.len())?;
        got.extend_from_slice(&piece);
        if let Some(&[_, a, b, c, d]) = got.first_chunk::<5>() {
            wanted = 5 + usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
        }
    }
    if got.len() > wanted {
        return Err("more than one message answers one".into());
    }
    board.messages.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
