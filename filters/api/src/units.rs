//! Amounts as people write them in a configuration: always with a unit, so that nobody has to guess one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time such as `250ms`, `30s`, `5m`, `1h` or `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A number of bytes such as `512B`, `64KiB`, `4MiB` or `1MB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A share such as `10%` or `0.5%`, from 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

/// Longest first where one is the end of another (`ms` before `s`): the parser takes the first that fits.
const TIME_UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no duration: write a number with a unit, for example `250ms`, `30s`, `5m` or `1h`");
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut nanos = 0u64;
        while !rest.is_empty() {
            let (number, tail) = split_number(rest).ok_or_else(wrong)?;
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let scale = TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale).ok_or_else(wrong)?;
            let part = number.checked_mul(scale).ok_or_else(|| format!("`{text}` is too long a time"))?;
            nanos = nanos.checked_add(part).ok_or_else(|| format!("`{text}` is too long a time"))?;
            rest = tail;
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        // Days are read but never written: `24h` is what people expect to see.
        let exact = TIME_UNITS.iter().rev().find(|(name, scale)| *name != "d" && nanos.is_multiple_of(*scale));
        let (name, scale) = exact.unwrap_or(&("ns", 1));
        if nanos == 0 { f.write_str("0s") } else { write!(f, "{}{name}", nanos / scale) }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no size: write a number with a unit, for example `512B`, `64KiB` or `4MiB`");
        let (number, unit) = split_number(text.trim()).ok_or_else(wrong)?;
        let scale = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale).ok_or_else(wrong)?;
        number.checked_mul(scale).map(Self).ok_or_else(|| format!("`{text}` is too large a size"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS.iter().take(3).rev().find(|(_, scale)| self.0 != 0 && self.0.is_multiple_of(*scale));
        let (name, scale) = binary.unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / scale)
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no share: write a number from 0 to 100 with `%`, for example `10%`");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let share = number.parse::<f64>().ok().filter(|share| plain && (0.0..=100.0).contains(share));
        share.map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// The digits at the start, as a number, and what follows them.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

macro_rules! scalar {
    ($type:ident, $format:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "description": $description })
            }
        }
    };
}
scalar!(Period, "duration", "A time with a unit: `250ms`, `30s`, `5m`, `1h`.");
scalar!(Size, "size", "A number of bytes with a unit: `512B`, `64KiB`, `4MiB`.");
scalar!(Percent, "percent", "A share from `0%` to `100%`.");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Percent, Period, Size};

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in
            [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("0s", 0), ("1d", 86_400_000)]
        {
            assert_eq!(text.parse::<Period>(), Ok(Period(Duration::from_millis(ms))), "{text}");
        }
        for bad in ["", "30", "s", "-1s", "1.5s", "30 s", "30sec", "99999999999h", "5m3"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
        for text in ["250ms", "30s", "90m", "24h", "0s", "1us"] {
            assert_eq!(text.parse::<Period>().map(|period| period.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("4MiB", 4_194_304), ("1MB", 1_000_000), ("0B", 0)] {
            assert_eq!(text.parse::<Size>(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "4", "MiB", "4mb", "-1B", "4 MiB", "99999999999GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        assert_eq!(Size(4_194_304).to_string(), "4MiB");
        assert_eq!(Size(1_000_000).to_string(), "1000000B");
        assert_eq!(Size(0).to_string(), "0B");
    }

    #[test]
    fn shares_need_a_percent_sign() {
        assert_eq!("10%".parse(), Ok(Percent(10.0)));
        assert_eq!("0.5%".parse(), Ok(Percent(0.5)));
        for bad in ["10", "101%", "-1%", "%", "NaN%", "1e1%"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }
}
