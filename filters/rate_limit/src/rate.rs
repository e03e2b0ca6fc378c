//! A rate as people write it: `100/s`, `30/m`, `500/h`.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// So many calls in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls.
    pub(crate) calls: u32,
    /// Nanoseconds of the span.
    pub(crate) span: u64,
}

const MOST: u32 = 1_000_000;
const UNITS: [(&str, u64); 3] = [("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];

impl Rate {
    /// Nanoseconds from one call to the next, rounded up, so that no more calls than that fit into the span.
    pub(crate) fn interval(self) -> u64 {
        self.span.div_ceil(u64::from(self.calls))
    }

    /// Calls in a second, at least one.
    pub(crate) fn in_a_second(self) -> u32 {
        let calls = u64::from(self.calls) * UNITS[0].1 / self.span;
        u32::try_from(calls).unwrap_or(u32::MAX).max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no rate: write a number from 1 to {MOST} and a unit, for example `100/s`, `30/m` or `500/h`"
            )
        };
        let (calls, unit) = text.split_once('/').ok_or_else(wrong)?;
        let digits = !calls.is_empty() && calls.bytes().all(|octet| octet.is_ascii_digit());
        let calls = calls.parse().ok().filter(|calls| digits && (1..=MOST).contains(calls)).ok_or_else(wrong)?;
        let (_, span) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        Ok(Self { calls, span })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+/[smh]$", "description": "Calls in a time: `100/s`, `30/m`, `500/h`." })
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn rates_have_a_number_and_a_unit() {
        for (text, interval, second) in [
            ("100/s", 10_000_000, 100),
            ("30/m", 2_000_000_000, 1),
            ("600/m", 100_000_000, 10),
            ("3/s", 333_333_334, 3),
            ("1/h", 3_600_000_000_000, 1),
            ("1000000/s", 1_000, 1_000_000),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.interval(), rate.in_a_second()), (interval, second), "{text}");
        }
        for bad in ["", "100", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "1/d", "1 /s", "1/S", "1000001/s", "1/s/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
