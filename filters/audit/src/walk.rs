//! Goes through audit files and finds what happened to them. Believes nothing of a file but what its seals say; what it keeps is bounded,
//! whatever is in the file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read as _};

use sha2::{Digest as _, Sha256};

use crate::key::{Key, hex};
use crate::line::{self, Line, Link, MOST_LINE};
use crate::verify::{Finding, Report, What};

/// The most that is told of one set of files; the rest is only counted.
const MOST_TOLD: usize = 1_000;

/// A walk through files.
pub(crate) struct Walk<'a> {
    key: &'a Key,
    report: Report,
    /// The line with the highest number so far.
    chain: Option<Link>,
    /// Numbers that are not there, as far as is known: the first; the last, and where that is told.
    gaps: BTreeMap<u64, (u64, usize)>,
    /// The file before, if it does not end as one that was closed.
    open: Option<String>,
    file: String,
    at: u64,
}

/// What lies behind the last genuine line and is none.
#[derive(Default)]
struct Between {
    octets: u64,
    hash: Sha256,
    /// Lines of it that look like lines: where, and which number they claim.
    shaped: Vec<(u64, u64)>,
    /// Pieces of it that do not.
    pieces: u64,
    /// Where it begins.
    from: u64,
}

/// What was seen of a file.
#[derive(Default)]
struct Seen {
    genuine: u64,
    closed: bool,
    /// It says that it was written with this key, or with another.
    this_key: bool,
    other_key: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(key: &'a Key) -> Self {
        let (report, file) = (Report::default(), String::new());
        Self { key, report, chain: None, gaps: BTreeMap::new(), open: None, file, at: 0 }
    }

    /// Goes through a file, which follows those before it.
    pub(crate) fn file(&mut self, name: String, file: &mut impl BufRead) -> io::Result<()> {
        (self.file, self.at) = (name, 0);
        let (mut between, mut seen, mut octets) = (Between::default(), Seen::default(), Vec::new());
        let torn = loop {
            octets.clear();
            if file.by_ref().take(MOST_LINE as u64).read_until(b'\n', &mut octets)? == 0 {
                break 0;
            }
            self.at += 1;
            let line = octets.strip_suffix(b"\n");
            match line::read(line.unwrap_or(&octets), self.key) {
                Some(line) if line.fits => {
                    self.genuine(&line, &std::mem::take(&mut between), seen.genuine == 0);
                    seen.genuine += 1;
                    seen.closed = matches!(line.event.as_str(), "stop" | "rotated");
                }
                found => {
                    if line.is_none() && octets.len() < MOST_LINE {
                        break octets.len() as u64;
                    }
                    if let Some(line) = found.as_ref().filter(|line| line.event == "open") {
                        *(if line.key == self.key.id() { &mut seen.this_key } else { &mut seen.other_key }) = true;
                    }
                    between.add(&octets, self.at, found.map(|line| line.number));
                    if line.is_none() && !skip_line(file, &mut between)? {
                        break 0;
                    }
                }
            }
        };
        self.end_of_file(&seen, &between, torn);
        Ok(())
    }

    fn end_of_file(&mut self, seen: &Seen, between: &Between, torn: u64) {
        if seen.genuine == 0 && !between.shaped.is_empty() && !seen.this_key && (seen.other_key || between.pieces == 0)
        {
            // Not one line fits: the key does not.
            return self.tell(0, What::WrongKey);
        }
        self.tell_changed(between);
        if torn > 0 {
            self.tell(self.at, What::Torn { octets: torn });
        } else if seen.genuine == 0 && between.octets == 0 {
            self.tell(0, What::Empty);
        } else if !seen.closed && seen.genuine > 0 {
            self.open = Some(self.file.clone());
        }
    }

    /// A line that was written as it is: the question is whether it is where it was written.
    fn genuine(&mut self, line: &Line, between: &Between, is_first: bool) {
        self.report.lines += 1;
        let open = self.open.take();
        let recovers = self.recovers(line, between);
        if recovers {
            self.tell(between.from, What::Recovered { octets: between.octets });
        } else {
            self.tell_changed(between);
        }
        if let Some(lines) = line.lost {
            self.tell(self.at, What::Lost { lines });
        }
        let Some(chain) = self.chain else {
            self.chain = Some(line.link());
            let after = line.number.saturating_sub(1);
            if after > 0 && between.is_empty() && matches!(line.event.as_str(), "open" | "recovered") {
                self.tell(self.at, What::Continues { after });
            } else {
                self.tell_missing(1, after, between);
            }
            return;
        };
        if line.number <= chain.number {
            self.fill(line.number);
            return self.tell(self.at, What::Reordered { number: line.number });
        }
        self.chain = Some(line.link());
        let skipped = line.number - chain.number - 1;
        if skipped == 0 && (between.is_empty() || recovers) && line.before != chain.seal {
            self.tell(self.at, What::Forked { number: line.number });
        } else if let Some(file) = open.filter(|_| skipped > 0 && is_first && between.is_empty()) {
            // What the file before lacks is at its end; of one that was closed, a whole file is not here.
            let what = What::CutTail { last: chain.number, wanted: line.number - 1 };
            self.report.push(Finding { file, line: 0, what });
        } else {
            self.tell_missing(chain.number + 1, line.number - 1, between);
        }
    }

    /// Whether a line says of what lies before it that it is no line.
    fn recovers(&self, line: &Line, between: &Between) -> bool {
        let Some(torn) = &line.torn else { return false };
        !between.is_empty()
            && between.shaped.is_empty()
            && torn.octets == between.octets
            && torn.sha256 == hex(&between.hash.clone().finalize())
    }

    /// Numbers that should lie between two lines. What lies there and is none may have been some of them.
    fn tell_missing(&mut self, from: u64, to: u64, between: &Between) {
        let claimed: BTreeSet<u64> =
            between.shaped.iter().map(|(_, number)| *number).filter(|number| (from..=to).contains(number)).collect();
        let others = between.pieces + (between.shaped.len() - claimed.len()) as u64;
        let missing = (to + 1).saturating_sub(from) - claimed.len() as u64;
        if missing <= others {
            return;
        }
        let mut next = from;
        for number in claimed.into_iter().chain([to + 1]) {
            if number > next {
                self.gaps.insert(next, (number - 1, self.report.findings.len()));
                self.tell(self.at, What::Missing { from: next, to: number - 1 });
            }
            next = number + 1;
        }
    }

    /// A number that was thought missing is there, in another place.
    fn fill(&mut self, number: u64) {
        let Some((&from, &(to, at))) = self.gaps.range(..=number).next_back().filter(|(_, (to, _))| number <= *to)
        else {
            return;
        };
        self.gaps.remove(&from);
        let missing = |what: &What| matches!(what, What::Missing { .. });
        let Some(finding) = self.report.findings.get_mut(at).filter(|one| missing(&one.what)) else { return };
        let (before, behind) = ((from, number - 1), (number + 1, to));
        let mut left = [before, behind].into_iter().filter(|(from, to)| from <= to);
        match left.next() {
            // The line that is told to be where it does not belong is the one that came too early.
            None => finding.what = What::Reordered { number },
            Some((from, to)) => {
                finding.what = What::Missing { from, to };
                self.gaps.insert(from, (to, at));
            }
        }
        if let Some((from, to)) = left.next() {
            self.gaps.insert(from, (to, self.report.findings.len()));
            self.tell(self.at, What::Missing { from, to });
        }
    }

    fn tell_changed(&mut self, between: &Between) {
        for (line, _) in &between.shaped {
            self.tell(*line, What::Changed);
        }
        if between.shaped.is_empty() && !between.is_empty() {
            self.tell(between.from, What::Changed);
        }
    }

    fn tell(&mut self, line: u64, what: What) {
        self.report.push(Finding { file: self.file.clone(), line, what });
    }

    /// `last` is a number that there was.
    pub(crate) fn end(mut self, last: Option<u64>) -> Report {
        let have = self.chain.map_or(0, |chain| chain.number);
        self.report.last = have;
        match last {
            Some(wanted) if wanted > have && self.report.lines > 0 => {
                self.tell(0, What::CutTail { last: have, wanted })
            }
            Some(_) => {}
            None => {
                if let Some(file) = self.open.take() {
                    self.report.push(Finding { file, line: 0, what: What::Open });
                }
            }
        }
        self.report
    }
}

impl Report {
    fn push(&mut self, finding: Finding) {
        if self.findings.len() < MOST_TOLD {
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }
}

impl Between {
    fn is_empty(&self) -> bool {
        self.octets == 0
    }

    fn add(&mut self, octets: &[u8], at: u64, claims: Option<u64>) {
        self.hash.update(octets);
        self.octets += octets.len() as u64;
        if self.from == 0 {
            self.from = at;
        }
        match claims {
            // Only so many are kept; a file with more of them is no audit file.
            Some(number) if self.shaped.len() < MOST_TOLD => self.shaped.push((at, number)),
            _ => self.pieces += 1,
        }
    }
}

/// The rest of a line that is longer than any; false at the end of the file.
fn skip_line(file: &mut impl BufRead, between: &mut Between) -> io::Result<bool> {
    let mut octets = Vec::new();
    loop {
        octets.clear();
        if file.by_ref().take(MOST_LINE as u64).read_until(b'\n', &mut octets)? == 0 {
            return Ok(false);
        }
        between.hash.update(&octets);
        between.octets += octets.len() as u64;
        if octets.ends_with(b"\n") {
            return Ok(true);
        }
    }
}
