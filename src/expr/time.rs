//! Moments and spans of time: their texts, their parts in a time zone, and arithmetic that never leaves the range that protobuf gives them.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDateTime, SecondsFormat, Timelike as _, Utc};
use chrono_tz::Tz;

use super::failure::Failure;

/// A moment: seconds from 1970 on, and nanoseconds after them. From the year 1 to the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    seconds: i64,
    nanos: u32,
}

/// 0001-01-01T00:00:00Z.
const FIRST: i64 = -62_135_596_800;
/// 9999-12-31T23:59:59Z.
const LAST: i64 = 253_402_300_799;
const SECOND: i64 = 1_000_000_000;

/// What is asked of a moment or a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Year,
    Month,
    DayOfYear,
    DayOfMonth,
    Date,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Moment {
    /// A moment in the range.
    ///
    /// # Errors
    /// It is not.
    pub fn new(seconds: i64, nanos: i64) -> Result<Self, Failure> {
        let seconds = seconds.checked_add(nanos.div_euclid(SECOND)).ok_or(Failure::Overflow)?;
        let nanos = u32::try_from(nanos.rem_euclid(SECOND)).map_err(|_| Failure::Overflow)?;
        (FIRST..=LAST).contains(&seconds).then_some(Self { seconds, nanos }).ok_or(Failure::Overflow)
    }

    /// Now.
    pub fn now() -> Self {
        let now = Utc::now();
        Self { seconds: now.timestamp().clamp(FIRST, LAST), nanos: now.timestamp_subsec_nanos().min(999_999_999) }
    }

    /// Seconds from 1970 on.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after the seconds.
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    /// From RFC 3339.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| Failure::Unconvertible("timestamp"))?;
        Self::new(parsed.timestamp(), parsed.timestamp_subsec_nanos().into())
    }

    /// In RFC 3339, with as many digits as there are.
    pub(super) fn format(self) -> Result<String, Failure> {
        let utc = self.utc()?;
        let text = utc.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        // It writes 3, 6 or 9 digits, and there may be fewer.
        match text.strip_suffix('Z').filter(|text| text.contains('.')) {
            Some(fraction) => Ok(format!("{}Z", fraction.trim_end_matches('0'))),
            None => Ok(text),
        }
    }

    pub(super) fn plus(self, nanos: i64) -> Result<Self, Failure> {
        let seconds = self.seconds.checked_add(nanos.div_euclid(SECOND)).ok_or(Failure::Overflow)?;
        Self::new(seconds, i64::from(self.nanos) + nanos.rem_euclid(SECOND))
    }

    /// The span from another to this one.
    pub(super) fn since(self, other: Self) -> Result<i64, Failure> {
        let seconds = self.seconds - other.seconds;
        let nanos = seconds.checked_mul(SECOND);
        nanos.and_then(|n| n.checked_add(i64::from(self.nanos) - i64::from(other.nanos))).ok_or(Failure::Overflow)
    }

    /// A part of it in a time zone: UTC, `+02:00`, or a name such as `Europe/Berlin`.
    pub(super) fn part(self, part: Part, zone: Option<&str>) -> Result<i64, Failure> {
        let utc = self.utc()?;
        let local = match zone {
            None => utc.naive_utc(),
            Some(zone) => local(utc, zone)?,
        };
        Ok(match part {
            Part::Year => local.year().into(),
            Part::Month => local.month0().into(),
            Part::DayOfYear => local.ordinal0().into(),
            Part::DayOfMonth => local.day0().into(),
            Part::Date => local.day().into(),
            Part::DayOfWeek => local.weekday().num_days_from_sunday().into(),
            Part::Hours => local.hour().into(),
            Part::Minutes => local.minute().into(),
            Part::Seconds => local.second().into(),
            Part::Milliseconds => (self.nanos / 1_000_000).into(),
        })
    }

    fn utc(self) -> Result<DateTime<Utc>, Failure> {
        DateTime::from_timestamp(self.seconds, self.nanos).ok_or(Failure::Overflow)
    }
}

/// Whether there is such a time zone.
pub(super) fn is_zone(zone: &str) -> bool {
    local(DateTime::UNIX_EPOCH, zone).is_ok()
}

fn local(utc: DateTime<Utc>, zone: &str) -> Result<NaiveDateTime, Failure> {
    if let Ok(zone) = zone.parse::<Tz>() {
        return Ok(utc.with_timezone(&zone).naive_local());
    }
    let bad = Failure::Unconvertible("time zone");
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':').ok_or(bad)?;
    let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.len() == 2 && text.as_bytes()[0] != b'+');
    let (hours, minutes) = number(hours).zip(number(minutes)).ok_or(bad)?;
    let offset = FixedOffset::east_opt(sign * (hours * 3600 + minutes * 60)).filter(|_| minutes < 60).ok_or(bad)?;
    Ok(utc.with_timezone(&offset).naive_local())
}

/// A part of a span. All of it in that unit, but for milliseconds, which are those after the seconds.
pub(super) fn span_part(nanos: i64, part: Part) -> Option<i64> {
    Some(match part {
        Part::Hours => nanos / (3600 * SECOND),
        Part::Minutes => nanos / (60 * SECOND),
        Part::Seconds => nanos / SECOND,
        Part::Milliseconds => (nanos % SECOND) / 1_000_000,
        _ => return None,
    })
}

/// A span as protobuf has it in JSON: `1.5s`.
pub(super) fn format_span(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let (seconds, fraction) = (nanos / SECOND.unsigned_abs(), nanos % SECOND.unsigned_abs());
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", digits.trim_end_matches('0'))
}

/// A span from text: numbers with units, one after the other (`1h30m`, `-1.5s`, `250ms`).
pub(super) fn parse_span(text: &str) -> Result<i64, Failure> {
    let bad = Failure::Unconvertible("duration");
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1i128, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(bad);
    }
    if rest == "0" {
        return Ok(0);
    }
    let mut sum = 0i128;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let scale: i128 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" | "µs" | "μs" => 1_000,
            "ns" => 1,
            _ => return Err(bad),
        };
        sum = sum.checked_add(scaled(number, scale).ok_or(bad)?).ok_or(Failure::Overflow)?;
        rest = tail;
    }
    i64::try_from(sign * sum).map_err(|_| Failure::Overflow)
}

/// A decimal number of a unit.
fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 20 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut sum = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        sum += i128::from(digit.to_digit(10)?) * place;
    }
    Some(sum)
}
