//! The writer of a file: one thread for all workers, which writes what has gathered in one go. Those who wait for a line are told once it
//! is written.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::file::{Entry, File, Written};
use crate::key::Key;
use crate::line::Link;

/// Lines that somebody waits for, at once: more calls than that begin faster than the disk takes them.
const MOST_WAITED: usize = 4_096;
/// Octets of lines that nobody waits for, such as ends of calls that began: once in the queue, and once with the writer. Beyond it, while
/// nothing can be written, they are lost and counted.
const MOST_KEPT: usize = 16 * 1_024 * 1_024;
/// The most lines of one go.
const BATCH: usize = 1_024;
/// Until what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A line is written after so much silence, so that its absence shows.
pub(crate) const MARK: Duration = Duration::from_secs(60);

/// The writer of a file, as those who write know it.
#[derive(Debug)]
pub(crate) struct Trail {
    path: PathBuf,
    shown: String,
    key: Key,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What a trail tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The file, as the configuration has it.
    pub file: String,
    /// The number of the last line that was written.
    pub last: u64,
    /// Lines that were lost since the start.
    pub lost: u64,
    /// Whether the last attempt to write failed.
    pub failing: bool,
}

/// Why a line is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many wait already.
    Full,
    /// Nobody writes.
    Closed,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    woken: Condvar,
    last: AtomicU64,
    lost: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Waiting>,
    /// Of those, such as somebody waits for.
    waited: usize,
    /// What all of them take.
    octets: usize,
    open: bool,
    reopen: Vec<mpsc::SyncSender<Result<bool, String>>>,
}

/// A line that waits to be written, and who waits for it.
#[derive(Debug)]
struct Waiting {
    entry: Entry,
    told: Option<oneshot::Sender<bool>>,
    /// It is kept where it cannot be written.
    keeps: bool,
}

impl Trail {
    pub(crate) fn new(path: PathBuf, shown: String, key: Key) -> Self {
        Self { path, shown, key, shared: Arc::default(), writer: Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Opens the file and begins to write, unless that was done before.
    pub(crate) fn open(&self, mark: Duration) -> Result<(), String> {
        let mut writer = self.writer.lock();
        if writer.is_some() {
            return Ok(());
        }
        let at = |why: String| format!("the audit file {} {why}", self.path.display());
        let file = File::open(&self.path, &self.key, Link::default()).map_err(at)?;
        let shared = Arc::clone(&self.shared);
        shared.last.store(file.last(), Ordering::Relaxed);
        shared.queue.lock().open = true;
        let begin = Writer { file, shared, waiting: [opening(&self.key)].into(), told_lost: 0, mark };
        let thread = thread::Builder::new().name("audit".into()).spawn(move || begin.run());
        *writer = Some(thread.map_err(|error| at(format!("has no writer: {error}")))?);
        Ok(())
    }

    /// Gives a line to the writer, and waits for it: false where it could not be written. One that `keeps` is written later then.
    pub(crate) fn submit(&self, entry: Entry, keeps: bool) -> Result<oneshot::Receiver<bool>, Refused> {
        let mut queue = self.shared.queue.lock();
        if !queue.open {
            return Err(Refused::Closed);
        }
        if queue.waited >= MOST_WAITED {
            return Err(Refused::Full);
        }
        let (told, written) = oneshot::channel();
        queue.waited += 1;
        queue.octets += entry.weight();
        queue.lines.push_back(Waiting { entry, told: Some(told), keeps });
        drop(queue);
        self.shared.woken.notify_one();
        Ok(written)
    }

    /// Gives a line to the writer that nobody waits for.
    pub(crate) fn record(&self, entry: Entry) {
        let mut queue = self.shared.queue.lock();
        if !queue.open || queue.octets >= MOST_KEPT {
            self.lose();
            return;
        }
        queue.octets += entry.weight();
        queue.lines.push_back(Waiting { entry, told: None, keeps: true });
        drop(queue);
        self.shared.woken.notify_one();
    }

    /// Counts a line that was not written and will not be.
    pub(crate) fn lose(&self) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last attempt to write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.shared.failing.load(Ordering::Relaxed)
    }

    /// Has the writer look whether another file has the name by now; true if so.
    pub(crate) fn reopen(&self) -> Result<bool, String> {
        let (told, done) = mpsc::sync_channel(1);
        {
            let mut queue = self.shared.queue.lock();
            if !queue.open {
                return Ok(false);
            }
            queue.reopen.push(told);
        }
        self.shared.woken.notify_one();
        done.recv().unwrap_or(Ok(false)).map_err(|why| format!("the audit file {} {why}", self.path.display()))
    }

    pub(crate) fn reading(&self) -> Reading {
        let Shared { last, lost, failing, .. } = &*self.shared;
        let (last, lost) = (last.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
        Reading { file: self.shown.clone(), last, lost, failing: failing.load(Ordering::Relaxed) }
    }

    /// Takes no more lines; those that are there are written, and one that says that these were all.
    pub(crate) fn close(&self) -> Option<JoinHandle<()>> {
        self.shared.queue.lock().open = false;
        self.shared.woken.notify_one();
        self.writer.lock().take()
    }
}

impl Drop for Trail {
    /// The thread ends by itself: a call's end may be what drops this, and must not wait.
    fn drop(&mut self) {
        self.close();
    }
}

/// The first line after a file was opened.
fn opening(key: &Key) -> Waiting {
    let key = key.id().map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    let fields = format!("\"event\":\"open\",\"format\":1,\"key\":{key},\"pid\":{}", std::process::id());
    unwaited(Entry::new(fields.into_bytes()))
}

fn unwaited(entry: Entry) -> Waiting {
    Waiting { entry, told: None, keeps: true }
}

fn event(name: &str) -> Waiting {
    unwaited(Entry::new(format!("\"event\":\"{name}\"").into_bytes()))
}

/// What the thread has.
struct Writer {
    file: File,
    shared: Arc<Shared>,
    waiting: VecDeque<Waiting>,
    /// Lost lines that the file says are lost.
    told_lost: u64,
    mark: Duration,
}

/// What there is to do.
enum Work {
    Lines,
    Reopen(Vec<mpsc::SyncSender<Result<bool, String>>>),
    Silence,
    Close,
}

impl Writer {
    fn run(mut self) {
        self.write();
        loop {
            match self.next() {
                Work::Lines => self.write(),
                Work::Reopen(askers) => {
                    // Lines before it belong to the old file.
                    self.write();
                    let reopened = self.reopen();
                    for asker in askers {
                        // Who does not wait for it any more need not know.
                        asker.send(reopened.clone()).ok();
                    }
                }
                Work::Silence => {
                    self.waiting.push_back(event("mark"));
                    self.write();
                }
                Work::Close => return self.end(),
            }
        }
    }

    /// Waits for work.
    fn next(&mut self) -> Work {
        let mut queue = self.shared.queue.lock();
        let wait = if self.waiting.is_empty() { self.mark } else { AGAIN };
        if queue.lines.is_empty() && queue.reopen.is_empty() && queue.open {
            let silent = self.shared.woken.wait_for(&mut queue, wait).timed_out();
            if silent && queue.lines.is_empty() {
                return if self.waiting.is_empty() { Work::Silence } else { Work::Lines };
            }
        }
        if !queue.reopen.is_empty() {
            let askers = std::mem::take(&mut queue.reopen);
            self.waiting.extend(queue.lines.drain(..));
            (queue.waited, queue.octets) = (0, 0);
            return Work::Reopen(askers);
        }
        let most = BATCH.min(queue.lines.len());
        let had = self.waiting.len();
        self.waiting.extend(queue.lines.drain(..most));
        for Waiting { told, entry, .. } in self.waiting.iter().skip(had) {
            queue.waited -= usize::from(told.is_some());
            queue.octets -= entry.weight();
        }
        if most == 0 && !queue.open { Work::Close } else { Work::Lines }
    }

    /// Writes what waits. What cannot be written and does not keep is given up.
    fn write(&mut self) {
        while !self.waiting.is_empty() {
            let lost = self.shared.lost.load(Ordering::Relaxed);
            let gap = (lost > self.told_lost)
                .then(|| Entry::new(format!("\"event\":\"gap\",\"lost\":{}", lost - self.told_lost).into_bytes()));
            let entries: Vec<&Entry> =
                gap.iter().chain(self.waiting.iter().take(BATCH).map(|waiting| &waiting.entry)).collect();
            let Written { lines, error } = self.file.write(&entries);
            self.shared.last.store(self.file.last(), Ordering::Relaxed);
            let own = usize::from(gap.is_some()).min(lines);
            if own > 0 {
                self.told_lost = lost;
            }
            // Before anybody is told: a call that goes on must not be ended by a failure that is over.
            if error.is_none() && self.shared.failing.swap(false, Ordering::Relaxed) {
                tracing::info!(file = %self.file.path().display(), "the audit file is written again");
            }
            for Waiting { told, .. } in self.waiting.drain(..lines - own) {
                tell(told, true);
            }
            if let Some(error) = error {
                return self.give_up(&error);
            }
        }
    }

    /// It cannot be written now: those who wait are told, and what keeps is kept.
    fn give_up(&mut self, error: &std::io::Error) {
        if !self.shared.failing.swap(true, Ordering::Relaxed) {
            let file = self.file.path().display();
            tracing::error!(%file, %error, "the audit file cannot be written: calls are refused, or go on unwritten where `on_failure: allow` says so");
        }
        let (mut kept, mut octets) = (VecDeque::new(), 0);
        for mut waiting in self.waiting.drain(..) {
            tell(waiting.told.take(), false);
            match waiting.keeps {
                true if octets < MOST_KEPT => {
                    octets += waiting.entry.weight();
                    kept.push_back(waiting);
                }
                true => drop(self.shared.lost.fetch_add(1, Ordering::Relaxed)),
                false => {}
            }
        }
        self.waiting = kept;
    }

    fn reopen(&mut self) -> Result<bool, String> {
        let reopened = self.file.reopen()?;
        if reopened {
            self.waiting.push_front(opening(self.file.key()));
            self.write();
        }
        Ok(reopened)
    }

    fn end(&mut self) {
        self.waiting.push_back(event("stop"));
        self.write();
        // An error was told when it was written, and nothing can be done any more.
        self.file.sync().ok();
        tracing::info!(file = %self.file.path().display(), last = self.file.last(), "the audit file is closed");
    }
}

/// Who waits for a line may have gone.
fn tell(told: Option<oneshot::Sender<bool>>, written: bool) {
    if let Some(told) = told {
        told.send(written).ok();
    }
}

#[cfg(test)]
mod tests;
