//! `grpc-timeout` (gRPC over HTTP/2, "Timeout"): at most 8 digits and a unit.

use std::time::Duration;

/// Nanoseconds of each unit, the finest first.
const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

const MOST: u64 = 99_999_999;

/// Reads a value; `None` if it is none. `99999999H` fits a `Duration` with room to spare.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit)?;
    // Two steps, so that no product leaves 64 bits: 99,999,999 hours in nanoseconds would.
    Some(match nanos / 1_000_000_000 {
        0 => Duration::from_nanos(number * nanos),
        seconds => Duration::from_secs(number * seconds),
    })
}

/// Writes a value in the finest unit that fits. Rounded up: an upstream must not give up before the proxy does.
pub fn format_timeout(left: Duration) -> String {
    let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    let fits = UNITS.iter().map(|(unit, scale)| (unit, nanos.div_ceil(*scale))).find(|(_, number)| *number <= MOST);
    let (unit, number) = fits.unwrap_or((&b'H', MOST));
    format!("{number}{}", char::from(*unit))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{format_timeout, parse_timeout};

    #[test]
    fn values_are_read() {
        for (text, nanos) in
            [("1n", 1), ("20u", 20_000), ("3m", 3_000_000), ("2S", 2_000_000_000), ("1M", 60_000_000_000), ("0S", 0)]
        {
            assert_eq!(parse_timeout(text.as_bytes()), Some(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(parse_timeout(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        assert_eq!(parse_timeout(b"99999999m"), Some(Duration::from_millis(99_999_999)));
        for bad in ["", "5", "S", "5s", "123456789S", "-1S", "1.5S", " 1S", "1 S", "5SS"] {
            assert_eq!(parse_timeout(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_never_sooner() {
        for nanos in [0, 1, 99_999_999, 100_000_001, 1_234_567_891, 90_000_000_000_123, u64::MAX] {
            let left = Duration::from_nanos(nanos);
            let text = format_timeout(left);
            assert!(text.len() <= 9, "{text}");
            let back = parse_timeout(text.as_bytes()).unwrap();
            assert!(back >= left && back <= left + left / 1_000 + Duration::from_nanos(1), "{text} for {left:?}");
        }
    }
}
