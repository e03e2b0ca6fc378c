//! Patterns and addresses in texts.

use std::net::{IpAddr, SocketAddr};
use std::panic::{RefUnwindSafe, UnwindSafe};

use ipnet::IpNet;
use regex_automata::Input;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;

use super::failure::Failure;
use crate::schema::Meter;

/// The longest pattern.
const MOST_PATTERN: usize = 1024;
/// What a compiled pattern may take.
const MOST_COMPILED: usize = 64 * 1024;
/// What the states that it is in on the way may take, each time that one is evaluated.
const MOST_STATES: usize = 256 * 1024;
/// How often those may be thrown away before it counts how many octets each was good for, and how many that must be.
const CLEARED: usize = 2;
const OCTETS_A_STATE: usize = 100;
/// Steps that compiling a pattern takes: the worst need milliseconds.
pub(super) const COMPILING: usize = 20_000;

/// A pattern.
pub(super) struct Pattern {
    automaton: DFA,
    states: Pool<Cache, Box<NewCache>>,
}

type NewCache = dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe;

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    /// In words.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MOST_PATTERN {
            return Err(format!("the pattern has {} octets, and {MOST_PATTERN} is the most", pattern.len()));
        }
        // As it was written, so that what is wrong is said of that, and so that no class stands where `-` makes a range of it: `ascii`
        // would make another class of `[\s-a]` without a word.
        syntax::parse(pattern).map_err(|error| refused(pattern, &error))?;
        let states = DFA::config()
            .cache_capacity(MOST_STATES)
            .skip_cache_capacity_check(true)
            .minimum_cache_clear_count(Some(CLEARED))
            .minimum_bytes_per_state(Some(OCTETS_A_STATE));
        let built = DFA::builder()
            .configure(states)
            .thompson(thompson::Config::new().nfa_size_limit(Some(MOST_COMPILED)))
            .build(&ascii(pattern));
        let automaton = built.map_err(|error| refused(pattern, &error))?;
        let own = automaton.clone();
        Ok(Self { automaton, states: Pool::new(Box::new(move || own.create_cache())) })
    }

    /// Whether it is somewhere in a text. Takes time by the length of the text, whatever the pattern: one whose states are another
    /// for every few octets is given up.
    ///
    /// # Errors
    /// That is too much work.
    pub(super) fn is_in(&self, text: &str, meter: &mut Meter) -> Result<bool, Failure> {
        meter.spend_octets(text.len().saturating_mul(8))?;
        let found = self.automaton.try_search_fwd(&mut self.states.get(), &Input::new(text).earliest(true));
        found.map(|found| found.is_some()).map_err(|_| Failure::TooCostly)
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a pattern")
    }
}

/// What is wrong with a pattern, in words.
fn refused(pattern: &str, error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    // What is at the bottom says it; of several lines the last, as those above draw where.
    let what = causes.last().map(ToString::to_string).unwrap_or_default();
    match what.lines().last().unwrap_or_default().trim_start_matches("error: ") {
        what if what.contains("exceeded") => "the pattern is too large once it is compiled: repeat less".to_owned(),
        what => format!("`{pattern}` is no pattern: {what}"),
    }
}

/// The pattern with classes as RE2 has them, whose patterns those of CEL are: `\w`, `\d`, `\s`, `\b` and `\B` are about ASCII. Those
/// of all of Unicode take a hundred times as much, so that `\w{1,64}` would be too large.
fn ascii(pattern: &str) -> String {
    let (mut out, mut depth) = (String::with_capacity(pattern.len() * 2), 0usize);
    let mut rest = pattern.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => {
                let Some(escaped) = rest.next() else {
                    out.push(letter);
                    break;
                };
                let class = match escaped.to_ascii_lowercase() {
                    'w' => "0-9A-Za-z_",
                    'd' => "0-9",
                    's' => "\\t\\n\\f\\r\\x20",
                    _ => "",
                };
                match escaped {
                    'b' | 'B' if depth == 0 => out.extend(["(?-u:\\", escaped.encode_utf8(&mut [0; 4]), ")"]),
                    'w' | 'd' | 's' => out.extend(["[", class, "]"]),
                    'W' | 'D' | 'S' => out.extend(["[^", class, "]"]),
                    _ => out.extend([letter, escaped]),
                }
                continue;
            }
            '[' => {
                depth += 1;
                out.push(letter);
                // A `]` that comes first is one of the letters.
                if rest.peek() == Some(&'^') {
                    out.extend(rest.next());
                }
                if rest.peek() == Some(&']') {
                    out.extend(rest.next());
                }
                continue;
            }
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        out.push(letter);
    }
    out
}

/// Whether an address, with or without a port, is in a network. IPv4 in IPv6 is IPv4.
pub(super) fn is_within(address: &str, network: &IpNet) -> Result<bool, Failure> {
    let ip = address.parse::<IpAddr>().or_else(|_| address.parse::<SocketAddr>().map(|address| address.ip()));
    let ip = ip.map_err(|_| Failure::Unconvertible("address"))?;
    Ok(network.contains(&ip.to_canonical()))
}
