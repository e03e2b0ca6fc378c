//! Rules for `admin`: what shows and changes everything is for those who have shown who they are, wherever others could reach it.

use super::Rules;
use crate::config::Path;
use crate::config::file::{Admin, ListenerTls};
use crate::path;

impl Rules<'_> {
    pub(super) fn admin(&mut self) {
        let at = path!["admin"];
        let Admin { address, tls, token_file, .. } = &self.config.admin;
        if let Some(tls) = tls {
            self.admin_tls(tls, &at.with("tls"));
        }
        let guarded = token_file.is_some() || tls.as_ref().is_some_and(ListenerTls::requires_certificates);
        // One of the two may be there, and wrong.
        let told = self.has_gap(&at.with("tls")) || self.has_gap(&at.with("token_file"));
        if !address.0.ip().to_canonical().is_loopback() && !guarded && !told {
            let message = format!(
                "`{address}` can be reached from other machines, and this server shows and changes everything: add `tls` with `client_auth: \
                 {{mode: required, ca: …}}`, or `token_file`, or use a loopback address. For `/live`, `/ready` and `/metrics` alone there \
                 is `public`"
            );
            self.report(&at.with("address"), message);
        }
    }

    fn admin_tls(&mut self, tls: &ListenerTls, at: &Path) {
        if tls.client_cert_header.is_some() {
            let message = "is for listeners, whose instances are told: nothing goes on from here, so leave it out";
            self.report(&at.with("client_cert_header"), message.to_owned());
        }
        self.listener_tls(&ListenerTls { client_cert_header: None, ..tls.clone() }, at);
    }
}
