//! The verdict about a chain, now and later.

use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::pki::{Authority, in_days, workload};
use crate::{Asks, Standing};

#[test]
fn a_chain_holds_for_as_long_as_all_of_it_does() {
    let ca = Authority::new("ca");
    let middle = ca.below("middle");
    let own = middle.issue(workload("w"));
    let chain: [CertificateDer<'static>; 2] = [own.der.clone().into(), middle.0.der().clone()];
    let now = SystemTime::now();
    let plain = ca.trust(Asks::Required, None);
    assert_eq!(plain.still_holds(&chain, now), Standing::Good);
    assert!(matches!(plain.still_holds(&chain[..1], now), Standing::Bad(_)));
    assert!(matches!(plain.still_holds(&[], now), Standing::Bad(_)));
    assert_eq!(plain.still_holds(&chain, in_days(31)), Standing::Expired);

    let both = |own: &[&super::pki::Issued], days: i64| format!("{}{}", ca.list(&[], days), middle.list(own, days));
    assert_eq!(ca.trust(Asks::Required, Some(&both(&[], 10))).still_holds(&chain, now), Standing::Good);
    let revoked = ca.trust(Asks::Required, Some(&both(&[&own], 10)));
    assert_eq!(revoked.still_holds(&chain, now), Standing::Bad("invalid peer certificate: Revoked".to_owned()));
    // One issuer without a list: what nobody can tell is not good.
    assert!(matches!(ca.trust(Asks::Required, Some(&ca.list(&[], 10))).still_holds(&chain, now), Standing::Bad(_)));
}

#[test]
fn what_is_revoked_does_not_hide_behind_a_date() {
    let ca = Authority::new("ca");
    let own = ca.issue(workload("w"));
    let chain: [CertificateDer<'static>; 1] = [own.der.clone().into()];
    let revoked = ca.trust(Asks::Required, Some(&ca.list(&[&own], 60)));
    assert!(matches!(revoked.still_holds(&chain, in_days(40)), Standing::Bad(why) if why.contains("Revoked")));
    let fine = ca.trust(Asks::Required, Some(&ca.list(&[], 60)));
    assert_eq!(fine.still_holds(&chain, in_days(40)), Standing::Expired);
}

#[test]
fn an_old_list_ends_nobody_and_takes_nobody() {
    let ca = Authority::new("ca");
    let own = ca.issue(workload("w"));
    let chain: [CertificateDer<'static>; 1] = [own.der.clone().into()];
    let trust = ca.trust(Asks::Required, Some(&ca.list(&[], 10)));
    assert_eq!(trust.still_holds(&chain, in_days(20)), Standing::Stale);
    assert_eq!(trust.still_holds(&chain, in_days(40)), Standing::Expired);
}
