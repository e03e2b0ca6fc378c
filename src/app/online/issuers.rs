//! Keys of issuers: fetched as a running proxy does it, and what of them can be used.

use tokens::{Fetch as _, KeySet};
use tokio::time::{Instant, timeout_at};

use super::findings::some_of;
use super::{FETCH, Findings, Visit};
use crate::config::Path;
use crate::config::snapshot::Signatory;
use crate::path;
use crate::upstream::Fetcher;

impl Visit<'_> {
    /// The keys of an issuer: those that it publishes now, or that the file has.
    pub(super) async fn issuer(&self, signatory: &Signatory) -> Findings {
        let at = path!["issuers", &*signatory.name, "jwks"];
        let mut findings = Findings::default();
        match &signatory.published {
            Some(published) => {
                let place = at.with("url");
                let fetcher = Fetcher::new(published.location.clone(), published.tls.clone());
                let until = self.until.min(Instant::now() + FETCH);
                let fetched = timeout_at(until, fetcher.fetch()).await;
                let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {} s", FETCH.as_secs())));
                match fetched.and_then(|octets| KeySet::read(&octets)) {
                    Ok(keys) => self.keys(&place, signatory, &keys, &mut findings),
                    Err(why) => findings.wrong(self.loaded, &place, format!("its keys cannot be had: {why}")),
                }
            }
            None => {
                // A secret has nothing to tell of.
                let keys = signatory.issuer.ring().keys().filter(|_| self.loaded.source.has(&at));
                if let Some(keys) = keys {
                    self.keys(&at, signatory, &keys, &mut findings);
                }
            }
        }
        findings
    }

    fn keys(&self, at: &Path, signatory: &Signatory, keys: &KeySet, findings: &mut Findings) {
        let (mut used, mut unused) = (Vec::new(), Vec::new());
        for (kid, algorithms) in keys.uses(&signatory.issuer.settings().algorithms) {
            let kid = kid.map_or_else(|| "a key without `kid`".to_owned(), |kid| format!("`{kid}`"));
            if algorithms.is_empty() {
                unused.push(format!("{kid} is for none of the issuer's `algorithms`"));
            } else {
                let names: Vec<_> = algorithms.iter().map(ToString::to_string).collect();
                used.push(format!("{kid} ({})", names.join(" ")));
            }
        }
        unused.extend(keys.skipped().iter().cloned());
        if !unused.is_empty() {
            findings.warn(format!("{at}: {}", some_of(unused.into_iter())));
        }
        if used.is_empty() {
            findings.wrong(self.loaded, at, "none of its keys can be used: no token of it would pass".to_owned());
        } else {
            findings.reached(format!("{at}: keys {}", some_of(used.into_iter())));
        }
    }
}
