//! What can be found out about audit files, and how it is said.

use std::fmt;
use std::io::{self, BufRead, Read as _};

use crate::key::Key;
use crate::line::{self, MOST_LINE};
use crate::walk::Walk;

/// What is wrong with files, or what is to be known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line in it, from 1; 0 for the whole.
    pub line: u64,
    /// What.
    pub what: What,
}

/// What can have happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A line is not what was written, or never was.
    Changed,
    /// Lines with these numbers are not there.
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// A line is not where it was written, or is there twice.
    Reordered {
        /// Its number.
        number: u64,
    },
    /// A line is genuine and does not follow the line before it: they are of two histories.
    Forked {
        /// Its number.
        number: u64,
    },
    /// The end is not there.
    CutTail {
        /// The number of the last line that there is.
        last: u64,
        /// The number that there was once.
        wanted: u64,
    },
    /// The file was written with another key, or with one where none was given.
    WrongKey,
    /// There is no line at all.
    Empty,
    /// Octets that are no line, of a write that broke off; what follows them says so.
    Recovered {
        /// How many.
        octets: u64,
    },
    /// The file ends in the middle of a line: the writer was ended, or is writing.
    Torn {
        /// Octets of it.
        octets: u64,
    },
    /// The proxy says that it could not write so many lines.
    Lost {
        /// How many.
        lines: u64,
    },
    /// The file goes on from a line of a file that was not given.
    Continues {
        /// The number of that line.
        after: u64,
    },
    /// The file does not end as one that was closed.
    Open,
}

impl What {
    /// Whether it only is to be known, and nothing is wrong.
    pub fn is_note(&self) -> bool {
        matches!(
            self,
            Self::Recovered { .. } | Self::Torn { .. } | Self::Lost { .. } | Self::Continues { .. } | Self::Open
        )
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("changed: this is not what was written"),
            Self::Missing { from, to } if from == to => write!(f, "missing: line number {from} is not here"),
            Self::Missing { from, to } => write!(f, "missing: lines number {from} to {to} are not here"),
            Self::Reordered { number } => {
                write!(f, "reordered: line number {number} is not where it was written, or is here twice")
            }
            Self::Forked { number } => {
                write!(f, "forked: line number {number} is genuine and follows another line than the one before it")
            }
            Self::CutTail { last, wanted } => {
                write!(f, "cut: the file ends at number {last}, and there was a number {wanted}")
            }
            Self::WrongKey => f.write_str("no line was written with this key: give the key that the filter has (`key_file`)"),
            Self::Empty => f.write_str("there is no line in it"),
            Self::Recovered { octets } => {
                write!(f, "torn and recovered: a write broke off ({octets} octets), and the next line says so")
            }
            Self::Torn { octets } => {
                write!(f, "torn: the file ends in the middle of a line ({octets} octets): the writer was ended, or is writing")
            }
            Self::Lost { lines } => write!(f, "lost: the proxy could not write {lines} lines here, and says so"),
            Self::Continues { after } => {
                write!(f, "goes on after number {after}: give the file before it too, to see that nothing between them is missing")
            }
            Self::Open => f.write_str(
                "open: it does not end as one that was closed: the proxy runs or was ended, or lines are cut off: compare with `--last`",
            ),
        }
    }
}

/// What was found in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order of the lines. Of very many the first.
    pub findings: Vec<Finding>,
    /// Findings that are not listed.
    pub more: u64,
    /// Genuine lines.
    pub lines: u64,
    /// The number of the last of them.
    pub last: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.more == 0 && self.findings.iter().all(|finding| finding.what.is_note())
    }
}

/// Verifies files, the oldest first. `last` is a number that is known to have been written, such as /metrics tells.
///
/// # Errors
/// A file cannot be read.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = (String, R)>,
    key: &Key,
    last: Option<u64>,
) -> io::Result<Report> {
    let mut walk = Walk::new(key);
    for (name, mut file) in files {
        walk.file(name, &mut file)?;
    }
    Ok(walk.end(last))
}

/// The number of the first line that looks like one: by it files are put in order. Reads a little of the file.
///
/// # Errors
/// The file cannot be read.
pub fn first_number(file: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut look = file.by_ref().take(4 * MOST_LINE as u64);
    let mut octets = Vec::new();
    loop {
        octets.clear();
        if look.read_until(b'\n', &mut octets)? == 0 {
            return Ok(None);
        }
        let line = octets.strip_suffix(b"\n").unwrap_or(&octets);
        if let Some(line) = line::read(line, &Key::none()) {
            return Ok(Some(line.number));
        }
    }
}

#[cfg(test)]
mod tests;
