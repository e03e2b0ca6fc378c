//! Rules for `tls`: what is half is no silent fallback, and nothing is in the clear where others can listen unless the file says so.

use super::Rules;
use crate::config::Path;
use crate::config::file::{ClientAuth, ClientAuthMode, ClusterTls, Listener, ListenerTls, Route};

/// The filter that goes by the certificate of the connection.
const BY_CERTIFICATE: &str = "peer";

impl Rules<'_> {
    pub(super) fn security(&mut self, listener: &Listener, at: &Path) {
        let address = &listener.address;
        match &listener.tls {
            None if !address.is_loopback() && !listener.plaintext => {
                let message = format!(
                    "`{address}` can be reached from other machines: add `tls: {{certificate: …, key: …}}`, or use a loopback address, \
                     or add `plaintext: true` if calls may be read and changed on the way"
                );
                self.report(&at.with("address"), message);
            }
            None => {}
            Some(_) if listener.plaintext => {
                let message = "is either in the clear or by `tls`, and not both: leave one of the two out";
                self.report(&at.with("plaintext"), message.to_owned());
            }
            Some(tls) => self.listener_tls(tls, &at.with("tls")),
        }
    }

    /// Half of a certificate of our own.
    fn pair<T>(&mut self, certificate: Option<&T>, key: Option<&T>, at: &Path) {
        match (certificate, key) {
            (Some(_), None) => self.report(at, "has a `certificate` and no `key`: give both".to_owned()),
            (None, Some(_)) => self.report(at, "has a `key` and no `certificate`: give both".to_owned()),
            _ => {}
        }
    }

    pub(super) fn cluster_tls(&mut self, tls: &ClusterTls, at: &Path) {
        self.pair(tls.certificate.as_ref(), tls.key.as_ref(), at);
    }

    pub(super) fn listener_tls(&mut self, tls: &ListenerTls, at: &Path) {
        self.pair(tls.certificate.as_ref(), tls.key.as_ref(), at);
        if tls.certificate.is_none() && tls.key.is_none() && tls.certificates.is_empty() {
            self.report(at, "has no certificate: give `certificate` and `key`, or `certificates`".to_owned());
        }
        if let Some(auth) = &tls.client_auth {
            self.client_auth(auth, &at.with("client_auth"));
        }
        let asks = tls.client_auth.as_ref().is_some_and(|auth| auth.mode != ClientAuthMode::None);
        if tls.client_cert_header.is_some() && !asks {
            let message =
                "clients show no certificates here: add `client_auth: {mode: required, ca: …}`, or leave this out";
            self.report(&at.with("client_cert_header"), message.to_owned());
        }
    }

    fn client_auth(&mut self, auth: &ClientAuth, at: &Path) {
        match (auth.mode, &auth.ca, &auth.crl) {
            (ClientAuthMode::None, None, None) => {}
            (ClientAuthMode::None, ..) => {
                let message = "with `mode: none` no certificate is asked for, and `ca` and `crl` are for nothing: leave them out, or write \
                               `mode: required`";
                self.report(at, message.to_owned());
            }
            (_, None, _) => {
                self.report(
                    at,
                    "asks for certificates of clients, and has no `ca` to tell good ones by: give `ca`".to_owned(),
                );
            }
            (_, Some(_), _) => {}
        }
    }

    /// Whether only processes of this machine call here. A balancer or a proxy beside us passes on calls of others.
    pub(super) fn is_private(listener: &Listener) -> bool {
        listener.address.is_loopback() && listener.proxy_protocol.is_none() && listener.forwarded.is_none()
    }

    /// Whether all whose calls a route takes can be told apart. A proxy that passes on calls shows one certificate for all of its callers.
    pub(super) fn tells_apart(&self, listener: &Listener, route: &Route) -> bool {
        if listener.forwarded.is_none() {
            return self.is_authenticated(listener) || self.authenticates(&route.filters);
        }
        let mut others = listener.filters.iter().chain(&route.filters).filter(|filter| filter.name != BY_CERTIFICATE);
        others.any(|filter| self.authenticates(std::slice::from_ref(filter)))
    }

    /// Whether nobody connects here without having shown who they are.
    pub(super) fn is_authenticated(&self, listener: &Listener) -> bool {
        let by_certificate = listener.tls.as_ref().is_some_and(ListenerTls::requires_certificates);
        by_certificate || self.authenticates(&listener.filters)
    }
}
