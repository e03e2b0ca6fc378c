//! Rules for `issuers`.

use std::time::Duration;

use super::Rules;
use crate::config::Path;
use crate::config::file::{Issuer, Jwks};
use crate::path;
use filter_api::units::Period;

const MOST_LEEWAY: Duration = Duration::from_secs(600);
const REFRESH: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(24 * 3600);

impl Rules<'_> {
    pub(super) fn issuer(&mut self, name: &str, issuer: &Issuer) {
        let at = path!["issuers", name];
        if issuer.issuer.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let message = "has a blank or a control character, which no issuer has: write the `iss` of its tokens";
            self.report(&at.with("issuer"), message.to_owned());
        }
        for (key, texts) in [("audiences", &issuer.audiences), ("types", &issuer.types), ("require", &issuer.require)] {
            for (index, text) in texts.iter().enumerate() {
                let at = at.with(key).with(index);
                if text.is_empty() {
                    self.report(&at, "is empty: write a text, or leave it out".to_owned());
                } else if texts.iter().take(index).any(|other| other == text) {
                    self.report(&at, "is there twice: leave one of the two out".to_owned());
                }
            }
        }
        if issuer.leeway.0 > MOST_LEEWAY {
            let message = "is over `10m`: a token would be good long after it has expired; set the clocks instead";
            self.report(&at.with("leeway"), message.to_owned());
        }
        match (&issuer.jwks, &issuer.secret_file) {
            (None, None) => self.report(&at, "has no keys: give `jwks` or `secret_file`".to_owned()),
            (Some(_), Some(_)) => {
                let message =
                    "stands beside `jwks`: keep one of the two, as a token must not choose by which it is checked";
                self.report(&at.with("secret_file"), message.to_owned());
            }
            (Some(jwks), None) => self.jwks(jwks, &at.with("jwks")),
            (None, Some(_)) => {}
        }
        self.algorithms(issuer, &at.with("algorithms"));
    }

    fn algorithms(&mut self, issuer: &Issuer, at: &Path) {
        for (index, algorithm) in issuer.algorithms.iter().flatten().enumerate() {
            let message = match (algorithm.is_secret(), issuer.secret_file.is_some()) {
                (true, false) => format!("`{algorithm}` needs a secret that both sides have: give `secret_file`"),
                (false, true) => format!("`{algorithm}` needs public keys: give `jwks` in the place of `secret_file`"),
                _ => continue,
            };
            self.report(&at.with(index), message);
        }
    }

    fn jwks(&mut self, jwks: &Jwks, at: &Path) {
        let has = |key: &&str| self.source.has(&at.with(*key));
        let kinds: Vec<&str> = ["file", "inline", "url"].into_iter().filter(has).collect();
        match kinds.as_slice() {
            [_] => {}
            [] => self.report(at, "says nowhere where the keys are: give one of `file`, `inline` and `url`".to_owned()),
            [first, second, ..] => {
                self.report(at, format!("has both `{first}` and `{second}`: keep one of `file`, `inline`, `url`"));
            }
        }
        if let Some(Period(refresh)) = jwks.refresh
            && !REFRESH.contains(&refresh)
        {
            self.report(&at.with("refresh"), "is out of range: give from `10s` to `24h`".to_owned());
        }
        for (key, is_there) in [("ca", jwks.ca.is_some()), ("refresh", jwks.refresh.is_some())] {
            if is_there && jwks.url.is_none() {
                self.report(&at.with(key), format!("only keys behind a `url` are fetched: leave `{key}` out"));
            }
        }
        if jwks.ca.is_some() && jwks.url.as_ref().is_some_and(|url| !url.0.is_secure) {
            self.report(
                &at.with("ca"),
                "plain http shows no certificate: leave `ca` out, or use `https://`".to_owned(),
            );
        }
    }
}
