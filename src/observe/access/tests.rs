//! The shape of a line, and what happens when the target is slow, full or gone.

use std::sync::mpsc::{Sender, channel};
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn record() -> CallRecord {
    CallRecord {
        time: UNIX_EPOCH + Duration::from_millis(1_790_000_000_123),
        listener: Arc::from("edge"),
        protocol: Protocol::Grpc,
        authority: "agent-1.localhost:3790".to_owned(),
        service: "bindu.grpc.AgentHandler".to_owned(),
        method: "HandleMessages".to_owned(),
        code: Code::DeadlineExceeded,
        reason: Some(Reason::Deadline),
        duration: Duration::from_micros(30_001_250),
        upstream: Some(Duration::from_micros(29_999_000)),
        request_messages: 1,
        response_messages: 0,
        request_bytes: 321,
        response_bytes: 0,
        cluster: Some(Arc::from("agents")),
        agent: Some(Arc::from("0b6f0c56-9b3e-5f2c-8a1d-3c2b1a09f8e7")),
        instance: Some(Arc::from("127.0.0.1:4001")),
        attempts: 2,
        peer: "[::1]:50514".parse().unwrap(),
        subject: Some("spiffe://td/agent".into()),
        issuer: Some("CN=ca".into()),
        request_id: Some("r-1".to_owned()),
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
    }
}

/// A refusal before routing, by a caller who puts whatever fits into the names.
fn bare(authority: &str) -> CallRecord {
    CallRecord {
        authority: authority.to_owned(),
        service: String::new(),
        method: String::new(),
        code: Code::Unimplemented,
        reason: Some(Reason::NoRoute),
        duration: Duration::from_micros(80),
        upstream: None,
        cluster: None,
        agent: None,
        instance: None,
        attempts: 0,
        subject: None,
        issuer: None,
        request_id: None,
        trace_id: None,
        ..record()
    }
}

/// Keeps what is written; each write waits for a word from `gate` if there is one, and fails while `broken`.
#[derive(Clone, Default)]
struct Sink {
    text: Arc<Mutex<Vec<u8>>>,
    gate: Option<Arc<Mutex<Receiver<()>>>>,
    broken: Arc<Mutex<bool>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            let _ = gate.lock().recv();
        }
        if *self.broken.lock() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.text.lock().clone()).unwrap()
    }

    fn gated() -> (Self, Sender<()>) {
        let (open, gate) = channel();
        (Self { gate: Some(Arc::new(Mutex::new(gate))), ..Self::default() }, open)
    }
}

fn log(sink: &Sink, share: f64) -> (AccessLog, Arc<Counter>) {
    let dropped = Arc::<Counter>::default();
    (AccessLog::start(Box::new(sink.clone()), share, Arc::clone(&dropped)).unwrap(), dropped)
}

#[test]
fn a_full_line_and_a_bare_one() {
    let sink = Sink::default();
    let (log, dropped) = log(&sink, 1.0);
    log.write(record());
    log.write(bare("evil\"\n\u{1b}[31m{\"code\":\"OK\"}\u{2028}\\"));
    assert!(log.flush(PATIENCE));
    let text = sink.text();
    assert_eq!(text.lines().count(), 2, "nobody can add a line of his own");
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(dropped.value(), 0);
    insta::assert_snapshot!(text);
}

#[test]
fn lines_keep_their_order_and_none_is_lost_at_the_end() {
    let sink = Sink::default();
    let (log, dropped) = log(&sink, 1.0);
    let mut written = 0;
    for n in 0..20_000_u32 {
        log.write(CallRecord { attempts: n, ..record() });
        written += 1;
        if written == 2_000 {
            // The queue holds 4,096: without a pause a fast writer of records would, rightly, lose some.
            assert!(log.flush(PATIENCE));
            written = 0;
        }
    }
    assert!(log.flush(PATIENCE));
    let attempts: Vec<u64> = sink
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["attempts"].as_u64().unwrap())
        .collect();
    assert!(attempts.iter().copied().eq(0..20_000));
    assert_eq!(dropped.value(), 0);
}

#[test]
fn a_stuck_target_costs_lines_and_never_a_worker() {
    let (sink, open) = Sink::gated();
    let (log, dropped) = log(&sink, 1.0);
    let many = u64::try_from(QUEUE).unwrap() * 3;
    for _ in 0..many {
        log.write(record());
    }
    assert!(dropped.value() > 0, "the writer is stuck, so that the queue overflows");
    assert!(!log.flush(Duration::from_millis(20)), "flush gives up in time");
    drop(open);
    assert!(log.flush(PATIENCE));
    let written = u64::try_from(sink.text().lines().count()).unwrap();
    assert_eq!(written + dropped.value(), many);
}

#[test]
fn a_full_disk_is_counted_and_the_log_recovers_on_a_fresh_line() {
    let sink = Sink::default();
    let (log, dropped) = log(&sink, 1.0);
    *sink.broken.lock() = true;
    log.write(record());
    assert!(log.flush(PATIENCE));
    assert_eq!(dropped.value(), 1);
    *sink.broken.lock() = false;
    log.write(record());
    log.write(record());
    assert!(log.flush(PATIENCE));
    assert!(sink.text().starts_with("\n{"), "what was torn does not swallow the next line");
    assert_eq!(sink.text().lines().filter(|line| !line.is_empty()).count(), 2);
    assert_eq!(dropped.value(), 1);
}

#[test]
fn a_share_is_about_what_was_asked_for() {
    let sink = Sink::default();
    assert!(log(&sink, 1.0).0.wants());
    assert!(!log(&sink, 0.0).0.wants());
    let tenth = log(&sink, 0.1).0;
    let hits = (0..20_000).filter(|_| tenth.wants()).count();
    assert!((1_600..2_400).contains(&hits), "{hits} of 20,000 at 10%");
}

#[test]
fn a_file_is_appended_to_and_a_missing_folder_is_named() {
    let path = std::env::temp_dir().join(format!("portunus-access-{}.jsonl", std::process::id()));
    for _ in 0..2 {
        let log = AccessLog::open(&Target::File(path.clone()), 1.0, Arc::default()).unwrap();
        log.write(record());
        assert!(log.flush(PATIENCE));
    }
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(text.lines().count(), 2);

    let nowhere = PathBuf::from("/nonexistent/folder/access.jsonl");
    let error = AccessLog::open(&Target::File(nowhere), 1.0, Arc::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nonexistent/folder/access.jsonl"), "{error}");
}
