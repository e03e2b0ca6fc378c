//! The access log: one JSON line a call. The data path fills a [`CallRecord`] and hands it over; one thread of its own
//! formats and writes, so that a slow disk never stops a worker. A full queue drops lines and counts them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use filter_api::{Code, Protocol, Reason};
use rand::Rng;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use tokio::time::Instant;

use super::Rfc3339;
use super::metrics::Counter;

/// Records that may wait for the writer. At the writer's pace of one batch in 10 ms this is 400,000 calls a second.
const QUEUE: usize = 4_096;

/// How long the writer lets records gather after a batch. Without the pause it would fall asleep after each line under
/// load, and the worker that brings the next would pay for waking it: a system call a call.
const GATHER: Duration = Duration::from_millis(10);

/// Formatted bytes that are written at once at the latest.
const BATCH: usize = 64 * 1024;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error, beside Portunus' own log.
    Stderr,
    /// Standard output.
    Stdout,
    /// Appended to a file, which is made if it is missing (mode 0640: it names callers).
    File(PathBuf),
}

/// What is told about one call. Whoever fills it moves what it has; nothing is formatted before the writer's thread.
#[derive(Clone, Debug)]
pub struct CallRecord {
    /// When the head came in.
    pub time: SystemTime,
    /// The listener's name.
    pub listener: Arc<str>,
    /// How the caller spoke.
    pub protocol: Protocol,
    /// The caller's `:authority`, as it came.
    pub authority: String,
    /// The service asked for; empty where the path named none.
    pub service: String,
    /// The method asked for; empty where the path named none.
    pub method: String,
    /// The status that the caller got, or would have got if it had not gone away.
    pub code: Code,
    /// Why Portunus itself refused or ended the call; none if the status is the backend's.
    pub reason: Option<Reason>,
    /// From the head to the end of the call.
    pub duration: Duration,
    /// From sending the last try to its end; none if nothing was sent.
    pub upstream: Option<Duration>,
    /// Messages that came from the caller.
    pub request_messages: u64,
    /// Messages that went to the caller.
    pub response_messages: u64,
    /// Bytes of message payload from the caller, without the five-byte prefixes.
    pub request_bytes: u64,
    /// Bytes of message payload to the caller, without the five-byte prefixes.
    pub response_bytes: u64,
    /// The cluster that the route chose.
    pub cluster: Option<Arc<str>>,
    /// The id of the agent that was chosen.
    pub agent: Option<Arc<str>>,
    /// The address of the instance of the last try.
    pub instance: Option<Arc<str>>,
    /// How many times the call was sent upstream.
    pub attempts: u32,
    /// The address that the call came from.
    pub peer: SocketAddr,
    /// Who called, by what was verified: whom the token is about (`sub`), else the SPIFFE ID of the certificate, or its subject.
    pub subject: Option<Arc<str>>,
    /// Who vouches for that: the token's `iss`, or who issued the certificate.
    pub issuer: Option<Arc<str>>,
    /// The caller's `x-request-id`, or the one that was made for it.
    pub request_id: Option<String>,
    /// The trace id of the call's `traceparent`, 32 hex digits.
    pub trace_id: Option<String>,
}

/// Names and order are those of DESIGN.md section 6. What is absent is left out, so that a line holds what there is to
/// say; names never change their type.
impl Serialize for CallRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("CallRecord", 23)?;
        line.serialize_field("time", &Rfc3339(self.time))?;
        line.serialize_field("listener", &*self.listener)?;
        line.serialize_field("protocol", self.protocol.as_str())?;
        optional(&mut line, "authority", Some(&*self.authority).filter(|text| !text.is_empty()))?;
        optional(&mut line, "service", Some(&*self.service).filter(|text| !text.is_empty()))?;
        optional(&mut line, "method", Some(&*self.method).filter(|text| !text.is_empty()))?;
        line.serialize_field("code", self.code.as_str())?;
        optional(&mut line, "reason", self.reason.map(Reason::as_str))?;
        line.serialize_field("duration_ms", &millis(self.duration))?;
        optional(&mut line, "upstream_ms", self.upstream.map(millis))?;
        line.serialize_field("request_messages", &self.request_messages)?;
        line.serialize_field("response_messages", &self.response_messages)?;
        line.serialize_field("request_bytes", &self.request_bytes)?;
        line.serialize_field("response_bytes", &self.response_bytes)?;
        optional(&mut line, "cluster", self.cluster.as_deref())?;
        optional(&mut line, "agent", self.agent.as_deref())?;
        optional(&mut line, "instance", self.instance.as_deref())?;
        line.serialize_field("attempts", &self.attempts)?;
        line.serialize_field("peer", &self.peer)?;
        optional(&mut line, "subject", self.subject.as_deref().filter(|text| !text.is_empty()))?;
        optional(&mut line, "issuer", self.issuer.as_deref().filter(|text| !text.is_empty()))?;
        optional(&mut line, "request_id", self.request_id.as_deref())?;
        optional(&mut line, "trace_id", self.trace_id.as_deref())?;
        line.end()
    }
}

fn optional<S: SerializeStruct>(
    line: &mut S,
    name: &'static str,
    value: Option<impl Serialize>,
) -> Result<(), S::Error> {
    value.map_or(Ok(()), |value| line.serialize_field(name, &value))
}

/// Milliseconds with three decimals: microseconds are what a proxy's own share is told in.
#[expect(clippy::cast_precision_loss, reason = "exact up to 285 years of microseconds")]
fn millis(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}

/// The open log. Shared by all workers; dropping the last holder writes what is queued and ends the thread.
#[derive(Debug)]
pub struct AccessLog {
    queue: SyncSender<Entry>,
    writer: Thread,
    share: f64,
    dropped: Arc<Counter>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation a call; flushes are rare")]
enum Entry {
    Call(CallRecord),
    Flush(SyncSender<()>),
}

impl AccessLog {
    /// Opens the target and starts the writer. `share`: the part of all calls that is written, 0 to 1. `dropped`: where
    /// lost lines are counted. Fails if the file cannot be opened or the thread not started; the error names the file.
    pub fn open(target: &Target, share: f64, dropped: Arc<Counter>) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match target {
            Target::Stderr => Box::new(io::stderr()),
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => Box::new(open_file(path)?),
        };
        Self::start(out, share, dropped)
    }

    fn start(out: Box<dyn Write + Send>, share: f64, dropped: Arc<Counter>) -> io::Result<Self> {
        let (queue, entries) = sync_channel(QUEUE);
        let mut lines = Lines { out, bytes: Vec::new(), count: 0, torn: false, lost: Arc::clone(&dropped) };
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || lines.run(&entries))?;
        Ok(Self { queue, writer: thread.thread().clone(), share, dropped })
    }

    /// Whether the next call is to be written. Ask before filling a record: with `sample` most are not.
    pub fn wants(&self) -> bool {
        self.share >= 1.0 || (self.share > 0.0 && rand::rng().random_bool(self.share))
    }

    /// Hands a record to the writer. Never waits: if the queue is full, the line is dropped and counted.
    pub fn write(&self, record: CallRecord) {
        if self.queue.try_send(Entry::Call(record)).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until everything handed over before is written, at most `patience`. Blocks: call it where nothing else
    /// runs, such as at the end of a drain. False if the writer did not get there in time.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (done, wait) = sync_channel(1);
        let mut entry = Entry::Flush(done);
        loop {
            match self.queue.try_send(entry) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if Instant::now() >= deadline => return false,
                Err(TrySendError::Full(back)) => {
                    entry = back;
                    self.writer.unpark();
                    thread::park_timeout(Duration::from_millis(1));
                }
            }
        }
        self.writer.unpark();
        wait.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok()
    }
}

fn open_file(path: &PathBuf) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot open the access log {}: {error}", path.display()))
    })
}

/// The writer's side. Whole lines go out in one write, so that other lines on stderr never land inside one.
struct Lines {
    out: Box<dyn Write + Send>,
    bytes: Vec<u8>,
    count: u64,
    // The last write failed, perhaps in the middle of a line.
    torn: bool,
    lost: Arc<Counter>,
}

impl Lines {
    fn run(&mut self, entries: &Receiver<Entry>) {
        while let Ok(first) = entries.recv() {
            self.take(first);
            while let Ok(next) = entries.try_recv() {
                self.take(next);
            }
            self.write_out();
            thread::park_timeout(GATHER);
        }
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Call(record) => self.format(&record),
            Entry::Flush(done) => {
                self.write_out();
                // Whoever asked may have lost patience.
                let _ = done.send(());
            }
        }
        if self.bytes.len() >= BATCH {
            self.write_out();
        }
    }

    fn format(&mut self, record: &CallRecord) {
        let before = self.bytes.len();
        if serde_json::to_writer(&mut self.bytes, record).is_err() {
            self.bytes.truncate(before);
            self.lost.inc();
            return;
        }
        self.bytes.push(b'\n');
        self.count += 1;
    }

    fn write_out(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let start: &[u8] = if self.torn { b"\n" } else { b"" };
        let result =
            self.out.write_all(start).and_then(|()| self.out.write_all(&self.bytes)).and_then(|()| self.out.flush());
        if let Err(error) = &result {
            // Once an episode: the counter tells the rest.
            if !self.torn {
                tracing::warn!(%error, "the access log cannot be written; its lines are dropped until that is mended");
            }
            self.lost.add(self.count);
        }
        self.torn = result.is_err();
        self.bytes.clear();
        self.count = 0;
    }
}

#[cfg(test)]
mod tests;
