//! The file of a chain: opened where it ended, appended to, given up for another of the same name. What could not be written whole is left
//! as it is, and the next line says so. Knows no thread.

use std::fs::{File as Open, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::key::Key;
use crate::line::{self, Line, Link, Torn};

/// How far back from its end a file is read to find the last line.
const LOOK_BACK: u64 = 1_024 * 1_024;

/// A line that is to be written.
#[derive(Debug)]
pub(crate) struct Entry {
    /// When what it tells of happened.
    pub(crate) time: SystemTime,
    /// Its fields as JSON without braces, the event first.
    pub(crate) fields: Vec<u8>,
    /// Whether it is to be on the disk before it counts as written.
    pub(crate) sync: bool,
}

impl Entry {
    pub(crate) fn new(fields: Vec<u8>) -> Self {
        Self { time: SystemTime::now(), fields, sync: false }
    }

    /// What it takes while it waits, about.
    pub(crate) fn weight(&self) -> usize {
        self.fields.len() + 128
    }
}

/// A file that is open, and its chain.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    file: Open,
    key: Key,
    last: Link,
    /// What lies behind the last line and is none.
    torn: Vec<u8>,
    /// The last line has no break yet.
    breaks: bool,
}

/// What became of lines: so many were written, the first of them first. Why not the others.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) lines: usize,
    pub(crate) error: Option<io::Error>,
}

impl File {
    /// Opens a file, or makes it, and finds where its chain has come to. A new one goes on with `last`.
    pub(crate) fn open(path: &Path, key: &Key, last: Link) -> Result<Self, String> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path);
        let mut file = file.map_err(|error| format!("cannot be opened: {error}"))?;
        let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
        if !metadata.is_file() {
            return Err("is no file".to_owned());
        }
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => "is written to by another process: each needs a file of its own".to_owned(),
            TryLockError::Error(error) => format!("cannot be locked: {error}"),
        })?;
        let (last, torn, breaks) = match metadata.len() {
            0 => (last, Vec::new(), false),
            size => end_of(&mut file, size, key)?,
        };
        Ok(Self { path: path.to_owned(), file, key: key.clone(), last, torn, breaks })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// The number of the last line.
    pub(crate) fn last(&self) -> u64 {
        self.last.number
    }

    /// Writes lines, in one go; those with `sync` are on the disk when this returns, if it says that they were written.
    pub(crate) fn write(&mut self, entries: &[&Entry]) -> Written {
        let (mut out, mut ends) = (Vec::with_capacity(entries.len() * 512), Vec::with_capacity(entries.len() + 1));
        let mut last = self.last;
        if self.breaks {
            out.push(b'\n');
        }
        let recovers = !self.torn.is_empty();
        if recovers {
            let mut torn = self.torn.clone();
            if !torn.ends_with(b"\n") {
                torn.push(b'\n');
                out.push(b'\n');
            }
            let Torn { octets, sha256 } = Torn::of(&torn);
            let fields = format!("\"event\":\"recovered\",\"torn\":{{\"octets\":{octets},\"sha256\":\"{sha256}\"}}");
            last = line::write(&mut out, &self.key, last, SystemTime::now(), fields.as_bytes());
            ends.push((out.len(), last));
        }
        for Entry { time, fields, .. } in entries {
            last = line::write(&mut out, &self.key, last, *time, fields);
            ends.push((out.len(), last));
        }
        let (written, mut error) = self.append(&out);
        // A line is whole without its break, which can follow.
        let whole = ends.iter().take_while(|(end, _)| *end - 1 <= written).count();
        let mut from = usize::from(self.breaks);
        self.breaks &= written == 0;
        if let Some((end, link)) = whole.checked_sub(1).and_then(|at| ends.get(at)) {
            (self.last, from) = (*link, *end);
            self.breaks = written < *end;
            self.torn.clear();
        }
        self.torn.extend_from_slice(out.get(from..written).unwrap_or_default());
        let mut lines = whole - usize::from(recovers && whole > 0);
        if entries.iter().take(lines).any(|entry| entry.sync)
            && let Err(failed) = self.file.sync_data()
        {
            // What the disk has of them nobody knows.
            let asked = entries.iter().position(|entry| entry.sync);
            (lines, error) = (asked.unwrap_or_default(), Some(failed));
        }
        Written { lines, error }
    }

    /// Appends octets: how many, and why not all.
    fn append(&mut self, octets: &[u8]) -> (usize, Option<io::Error>) {
        if self.torn.len() as u64 > LOOK_BACK {
            return (
                0,
                Some(io::Error::other("too much was written of lines that are not whole: move the file aside")),
            );
        }
        let mut written = 0;
        while let Some(rest) = octets.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Some(ErrorKind::WriteZero.into())),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }

    /// Sees to it that all is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Opens what has the file's name now, if that is another file: it goes on with this one's chain, which ends with a line that says so.
    /// Answers whether it did.
    pub(crate) fn reopen(&mut self) -> Result<bool, String> {
        let mine = self.file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
        if let Ok(theirs) = std::fs::metadata(&self.path)
            && (theirs.dev(), theirs.ino()) == (mine.dev(), mine.ino())
        {
            return Ok(false);
        }
        if std::fs::metadata(&self.path).is_ok_and(|other| other.len() > 0) {
            return Err("has lines already: move the file aside, and let this make a new one".to_owned());
        }
        // Before the old one is closed: what cannot be opened changes nothing.
        let mut next = Self::open(&self.path, &self.key, Link::default())?;
        let closing = Entry { sync: true, ..Entry::new(b"\"event\":\"rotated\"".to_vec()) };
        if let Some(error) = self.write(&[&closing]).error {
            tracing::warn!(file = %self.path.display(), %error, "the end of the audit file that was moved aside is not written");
        }
        next.last = self.last;
        *self = next;
        Ok(true)
    }
}

/// Where the chain in a file has come to, what lies behind that, and whether the last line lacks its break.
fn end_of(file: &mut Open, size: u64, key: &Key) -> Result<(Link, Vec<u8>, bool), String> {
    let from = size.saturating_sub(LOOK_BACK);
    let mut octets = Vec::new();
    let looked = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(LOOK_BACK).read_to_end(&mut octets));
    looked.map_err(|error| format!("cannot be read: {error}"))?;
    let (mut at, mut found, mut others) = (0, None, false);
    for piece in octets.split_inclusive(|octet| *octet == b'\n') {
        at += piece.len();
        let line = piece.strip_suffix(b"\n");
        match line::read(line.unwrap_or(piece), key) {
            Some(Line { fits: true, number, seal, .. }) => found = Some((Link { number, seal }, at, line.is_none())),
            Some(_) => others = true,
            None => {}
        }
    }
    let rest = |at: usize| octets.get(at..).unwrap_or_default().to_vec();
    match found {
        Some((last, at, breaks)) => Ok((last, rest(at), breaks)),
        // The first line of all was not written whole.
        None if from == 0 && !others && octets.starts_with(b"{\"n\":1,\"prev\"") => {
            Ok((Link::default(), rest(0), false))
        }
        None => Err("has no line that was written with this key (or without one, as the filter says): move it aside, \
                     or give the key that it was begun with"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests;
