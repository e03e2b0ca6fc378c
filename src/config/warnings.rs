//! What of a configuration works, and would be better otherwise.

use portunus_tls::Certificate;

use super::snapshot::{Snapshot, Sources};

impl Snapshot {
    /// In words, in order.
    pub fn warnings(&self) -> Vec<String> {
        let all = [self.of_policies(), self.of_certificates(), self.of_trust(), self.of_sources()];
        let mut warnings: Vec<_> = all.into_iter().flatten().chain(self.access.warning()).collect();
        warnings.sort();
        warnings
    }

    fn of_policies(&self) -> Vec<String> {
        let governed = self.policies.iter().filter(|(_, policies)| policies.govern_calls()).map(|(cluster, _)| cluster);
        let live = governed.filter(|cluster| !self.schemas.contains_key(*cluster));
        live.map(|cluster| {
            format!(
                "clusters.{cluster}: policies read messages of its calls, and what those are is what its instances say: pin it with \
                 `schema: {{files: […], mode: verify}}` (`portunus descriptors pull` makes the file)"
            )
        })
        .collect()
    }

    /// Certificates of ours that have expired while they were in use.
    fn of_certificates(&self) -> Vec<String> {
        let of_listeners = self.listeners.iter().map(|(name, listener)| (format!("listeners.{name}"), &listener.tls));
        let servers = of_listeners.chain([("admin".to_owned(), &self.access.tls)]);
        let shown = servers.filter_map(|(at, tls)| Some((at, tls.as_deref()?)));
        let shown =
            shown.flat_map(|(at, tls)| tls.certificates().iter().map(move |certificate| (at.clone(), certificate)));
        let to_instances = self.tls.iter().filter_map(|(name, tls)| Some((name, tls.as_deref()?.certificate()?)));
        let to_instances = to_instances.map(|(name, certificate)| (format!("clusters.{name}"), certificate));
        let expired = shown.chain(to_instances).filter(|(_, certificate)| certificate.has_expired());
        expired.map(|(at, certificate)| still_shown(&at, certificate)).collect()
    }

    /// What is odd about whom we trust.
    fn of_trust(&self) -> Vec<String> {
        let of_listeners = self.listeners.iter().map(|(name, listener)| (format!("listeners.{name}"), &listener.tls));
        let servers = of_listeners.chain([("admin".to_owned(), &self.access.tls)]);
        let clients = servers
            .filter_map(|(at, tls)| Some((format!("{at}.tls.client_auth"), tls.as_deref()?.trust()?.warnings())));
        let instances = self
            .tls
            .iter()
            .filter_map(|(name, tls)| Some((format!("clusters.{name}.tls"), tls.as_deref()?.warnings())));
        let published = self.issuers.iter().filter_map(|issuer| {
            let tls = issuer.published.as_ref()?.tls.as_ref()?;
            Some((format!("issuers.{}.jwks", issuer.name), tls.warnings()))
        });
        let all = clients.chain(instances).chain(published);
        all.flat_map(|(at, warnings)| warnings.iter().map(move |warning| format!("{at}: {warning}"))).collect()
    }

    /// Where anybody is believed what only a few should be.
    fn of_sources(&self) -> Vec<String> {
        let believed = self.listeners.iter().flat_map(|(name, listener)| {
            let all = [("proxy_protocol.from", &listener.proxy_protocol), ("forwarded.trusted", &listener.forwarded)];
            let everybody =
                all.into_iter().filter(|(_, sources)| sources.as_ref().is_some_and(Sources::hold_everybody));
            everybody.map(move |(key, _)| format!("listeners.{name}.{key}"))
        });
        let message =
            "has every address, so that anybody who reaches it says from where he calls: name the proxies before it";
        believed.map(|at| format!("{at}: {message}")).collect()
    }
}

fn still_shown(at: &str, certificate: &Certificate) -> String {
    let subject = &certificate.identity().subject;
    format!("{at}.tls: the certificate of \"{subject}\" has expired and is still shown: renew it now")
}
