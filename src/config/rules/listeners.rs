//! Rules for `listeners`, but for their routes.

use std::ops::RangeInclusive;

use super::Rules;
use crate::config::Path;
use crate::config::file::{Listener, Served};
use crate::config::net::ListenAddress;
use crate::path;
use filter_api::units::Size;

/// What the length in front of a gRPC message can say.
const MESSAGES: RangeInclusive<u64> = 1..=u32::MAX as u64;
/// Below it real clients fail with their ordinary headers; above it a flood of headers fills the memory.
const HEADERS: RangeInclusive<u64> = 1024..=16 * 1024 * 1024;

impl Rules<'_> {
    pub(super) fn listener(&mut self, name: &str, listener: &Listener) {
        let at = path!["listeners", name];
        self.security(listener, &at);
        self.serve(listener, &at.with("serve"));
        let limits = at.with("limits");
        self.positive(listener.limits.handshake, &limits.with("handshake"));
        self.positive(listener.limits.idle, &limits.with("idle"));
        self.size(listener.limits.message, &MESSAGES, &limits.with("message"));
        self.size(listener.limits.headers, &HEADERS, &limits.with("headers"));
        self.size(listener.limits.buffered, &(1..=u64::MAX), &limits.with("buffered"));
        if let Some(size) = listener.limits.response_message {
            self.size(size, &MESSAGES, &limits.with("response_message"));
        }
    }

    fn serve(&mut self, listener: &Listener, at: &Path) {
        for (index, entry) in listener.serve.iter().enumerate() {
            let at = at.with(index);
            let before = listener.serve.iter().take(index);
            if before.clone().any(|other| other.what() == entry.what()) {
                self.report(&at, "is there twice: leave one of the two out".to_owned());
            }
            let guarded = Self::is_private(listener) || self.is_authenticated(listener);
            if entry.what() == Served::Reflection && !entry.is_public() && !guarded {
                let alone = match listener.address.is_loopback() {
                    true => "leave out `proxy_protocol` and `forwarded`",
                    false => "listen on loopback",
                };
                let message = format!(
                    "anybody who reaches `{}` could read what its services are: {alone}, add an authenticate filter \
                     to the listener's `filters` or `client_auth: {{mode: required}}` to its `tls`, or write `{{reflection: {{public: true}}}}`",
                    listener.address
                );
                self.report(&at, message);
            }
        }
    }

    pub(super) fn size(&mut self, size: Size, bounds: &RangeInclusive<u64>, path: &Path) {
        if !bounds.contains(&size.0) {
            let (least, most) = (Size(*bounds.start()), Size(*bounds.end()));
            let message = match *bounds.end() {
                u64::MAX => format!("`{size}` is too small: give at least `{least}`"),
                _ => format!("`{size}` is out of range: give from `{least}` to `{most}`"),
            };
            self.report(path, message);
        }
    }

    /// That all addresses can be bound together. Each clash is reported once, at the later of the two in the file.
    pub(super) fn addresses(&mut self) {
        let admin = &self.config.admin;
        let public = admin.public.map(|public| (path!["admin", "public"], ListenAddress::from(public)));
        let admin = (path!["admin", "address"], ListenAddress::from(admin.address));
        let of_listener =
            |(name, listener): (&String, &Listener)| (path!["listeners", name, "address"], listener.address.clone());
        let mut all: Vec<_> = self.config.listeners.iter().map(of_listener).chain([admin]).chain(public).collect();
        // By first port, so that only neighbours have to be compared: a file can have thousands of listeners.
        all.sort_by_key(|(path, address)| (*address.ports.start(), self.source.position(path)));
        for (index, (path, address)) in all.iter().enumerate() {
            let mut near = all[index + 1..].iter().take_while(|(_, other)| other.ports.start() <= address.ports.end());
            // One clash is enough to say: with the same port in a hundred listeners there are thousands.
            let Some((other_path, other)) = near.find(|(_, other)| address.overlaps(other)) else { continue };
            let (first, later) = self.in_file_order(path, other_path);
            let taken = if first == path { address } else { other };
            let owner = first.parent().unwrap_or_default();
            let line = self.source.line(first, later);
            let place = if self.source.has(first) { format!(" in {line}") } else { " by default".to_owned() };
            let message = format!("takes the same port as `{owner}`, which has `{taken}`{place}: change one");
            self.report(later, message);
        }
    }

    /// What is only there by default cannot be the one to change, so it counts as the first.
    fn in_file_order<'p>(&self, a: &'p Path, b: &'p Path) -> (&'p Path, &'p Path) {
        let order = |path: &Path| (self.source.has(path), self.source.position(path));
        if order(a) <= order(b) { (a, b) } else { (b, a) }
    }
}
