//! What claims must say: when a token is valid, for whom, and what must be there.

use serde_json::{Map, Value};

use crate::{Rejection, Settings};

/// The last second of the year 9999. A time beyond it is no time: nearly always milliseconds, which would be valid for ever.
const LAST: u64 = 253_402_300_799;

/// When a token is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    expires: u64,
    /// The later of `nbf` and `iat`.
    begins: u64,
}

impl Times {
    pub(crate) fn of(claims: &Map<String, Value>) -> Result<Self, Rejection> {
        let expires = time(claims, "exp", Round::Down)?.ok_or_else(|| Rejection::Claim("exp".to_owned()))?;
        let not_before = time(claims, "nbf", Round::Up)?;
        let issued = time(claims, "iat", Round::Down)?;
        Ok(Self { expires, begins: not_before.max(issued).unwrap_or_default() })
    }

    /// Whether it is valid at a time.
    pub(crate) fn check(self, now: u64, leeway: u64) -> Result<(), Rejection> {
        if now >= self.expires.saturating_add(leeway) {
            return Err(Rejection::Expired);
        }
        if now.saturating_add(leeway) < self.begins {
            return Err(Rejection::Early);
        }
        Ok(())
    }

    /// The second from which on it is not valid any more.
    pub(crate) fn ends(self, leeway: u64) -> u64 {
        self.expires.saturating_add(leeway)
    }
}

/// Everything but the times. The signature must have been checked.
pub(crate) fn check(claims: &Map<String, Value>, settings: &Settings) -> Result<(), Rejection> {
    let wrong = |name: &str| Err(Rejection::Claim(name.to_owned()));
    // Who a subject is must not depend on how a reader turns numbers into text.
    if claims.get("sub").is_some_and(|sub| !sub.is_string()) {
        return wrong("sub");
    }
    if let Some(missing) = settings.require.iter().find(|name| claims.get(*name).is_none_or(Value::is_null)) {
        return wrong(missing);
    }
    let is_ours = |audience: &Value| match audience {
        Value::String(audience) => Ok(settings.audiences.contains(audience)),
        _ => Err(Rejection::Claim("aud".to_owned())),
    };
    let ours = match claims.get("aud") {
        None => false,
        // Each of them must be a text, also behind one that is ours.
        Some(Value::Array(all)) => all.iter().try_fold(false, |ours, one| Ok(is_ours(one)? || ours))?,
        Some(one) => is_ours(one)?,
    };
    if ours { Ok(()) } else { Err(Rejection::Audience) }
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A time (RFC 7519 §2, "NumericDate"): a JSON number, with a fraction or without. Text, and what lies outside of the years 1970 to 9999,
/// is none.
fn time(claims: &Map<String, Value>, name: &str, round: Round) -> Result<Option<u64>, Rejection> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(|time| whole(time, round))),
        _ => None,
    };
    let seconds = seconds.filter(|seconds| *seconds <= LAST);
    seconds.map(Some).ok_or_else(|| Rejection::Claim(name.to_owned()))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^38")]
fn whole(time: f64, round: Round) -> Option<u64> {
    if !(0.0..=253_402_300_799.0).contains(&time) {
        return None;
    }
    let whole = match round {
        Round::Up => time.ceil(),
        Round::Down => time.floor(),
    };
    Some(whole as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LAST, Times};
    use crate::Rejection;

    fn times(claims: Value) -> Result<Times, Rejection> {
        Times::of(claims.as_object().unwrap())
    }

    #[test]
    fn times_are_numbers_within_the_calendar() {
        for exp in [json!(0), json!(1.5), json!(LAST), json!(1e9), json!(1_900_000_000_u64)] {
            assert!(times(json!({"exp": exp})).is_ok(), "{exp}");
        }
        let wrong = [
            json!(null),
            json!("1900000000"),
            json!(true),
            json!([1_900_000_000]),
            json!({"t": 1}),
            json!(-1),
            json!(-0.5),
            json!(LAST + 1),
            json!(u64::MAX),
            json!(1e300),
            json!(1_900_000_000_000_u64),
        ];
        for time in wrong {
            assert_eq!(times(json!({"exp": time})), Err(Rejection::Claim("exp".into())), "{time}");
            for name in ["nbf", "iat"] {
                assert_eq!(times(json!({"exp": 9, name: time})), Err(Rejection::Claim(name.into())), "{name} {time}");
            }
        }
        assert_eq!(times(json!({})), Err(Rejection::Claim("exp".into())));
    }

    #[test]
    fn the_ends_are_exact() {
        let times = times(json!({"exp": 100.9, "nbf": 49.1, "iat": 10})).unwrap();
        for (now, leeway, wanted) in [
            (49, 0, Err(Rejection::Early)),
            (50, 0, Ok(())),
            (99, 0, Ok(())),
            (100, 0, Err(Rejection::Expired)),
            (109, 10, Ok(())),
            (110, 10, Err(Rejection::Expired)),
            (40, 10, Ok(())),
            (39, 10, Err(Rejection::Early)),
            (u64::MAX, 10, Err(Rejection::Expired)),
        ] {
            assert_eq!(times.check(now, leeway), wanted, "at {now}");
        }
        assert_eq!(times.ends(10), 110);
    }
}
