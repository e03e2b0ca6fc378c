//! Who a certificate says that somebody is.

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyUsagePurpose, SanType};

use super::pki::{Authority, named, server, workload};
use crate::{Identity, Unfit};

fn identity(params: CertificateParams) -> Result<Identity, Unfit> {
    Identity::of(&Authority::new("ca").issue(params).der)
}

fn uris(uris: &[&str]) -> CertificateParams {
    let mut params = named("w");
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params
}

#[test]
fn a_workload_has_one_spiffe_id() {
    let found = identity(workload("agents/one")).unwrap();
    assert_eq!(found.spiffe.as_deref(), Some("spiffe://td/agents/one"));
    assert_eq!((found.subject.as_str(), found.issuer.as_str()), ("CN=agents/one", "CN=ca"));
    assert!(found.fingerprint.len() == 64 && found.fingerprint.bytes().all(|c| c.is_ascii_hexdigit()));
    assert!(found.dns.is_empty());
    assert_eq!(identity(uris(&["https://a/", "urn:b"])).unwrap().spiffe, None);
}

#[test]
fn what_could_be_two_identities_is_none() {
    assert_eq!(identity(uris(&["spiffe://td/a", "spiffe://td/b"])), Err(Unfit::TwoUris));
    assert_eq!(identity(uris(&["spiffe://td/a", "https://a/"])), Err(Unfit::TwoUris));
    assert_eq!(identity(uris(&["https://a/", "SPIFFE://td/a"])), Err(Unfit::TwoUris));
    for bad in ["SPIFFE://td/a", "spiffe://TD/a", "spiffe://td/a/", "spiffe://td/../a", "spiffe://td/a?b", "spiffe:"] {
        assert_eq!(identity(uris(&[bad])), Err(Unfit::NoSpiffeId), "{bad}");
    }
    let mut ca = workload("w");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(identity(ca), Err(Unfit::Signer));
    let mut signer = workload("w");
    signer.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(identity(signer), Err(Unfit::Signer));
    for bad in [&b""[..], b"\x30", b"\x30\x03\x02\x01\x01"] {
        assert_eq!(Identity::of(bad), Err(Unfit::Unreadable));
    }
    let mut longer = Authority::new("ca").issue(workload("w")).der;
    longer.push(0);
    assert_eq!(Identity::of(&longer), Err(Unfit::Unreadable));
}

/// A second extension of names, or one whose names are no text: no reader may see what another does not.
#[test]
fn names_that_two_readers_would_read_differently_are_none() {
    const NAMES: &[u64] = &[2, 5, 29, 17];
    let mut twice = workload("w");
    twice.custom_extensions = vec![CustomExtension::from_oid_content(NAMES, vec![0x30, 0x03, 0x82, 0x01, b'a'])];
    assert_eq!(identity(twice), Err(Unfit::Unreadable));
    let spiffe = b"spiffe://td/w";
    let mut content = vec![0x30, 0, 0x86, 0x01, 0xff, 0x86, u8::try_from(spiffe.len()).unwrap()];
    content.extend_from_slice(spiffe);
    content[1] = u8::try_from(content.len() - 2).unwrap();
    let mut unreadable = named("w");
    unreadable.custom_extensions = vec![CustomExtension::from_oid_content(NAMES, content)];
    assert_eq!(identity(unreadable), Err(Unfit::TwoUris));
}

#[test]
fn names_of_hosts_are_in_one_form() {
    assert_eq!(identity(server(&["A.Example.com", "*.b.test"])).unwrap().dns, ["a.example.com", "*.b.test"]);
    let odd = ["a..b", "a b", "-", "a.*.b", "*", "a/b", "a\n.b"];
    let mut params = named("w");
    params.subject_alt_names = odd.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())).collect();
    assert_eq!(identity(params).unwrap().dns, ["-"], "what is no name names nobody");
}

#[test]
fn a_subject_is_written_in_one_way() {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CountryName, "DE");
    params.distinguished_name.push(DnType::OrganizationName, "a,O=admin\n");
    params.distinguished_name.push(DnType::CustomDnType(vec![1, 2, 3]), "x");
    params.distinguished_name.push(DnType::CommonName, "é");
    assert_eq!(identity(params).unwrap().subject, "CN=é,1.2.3=#0C78,O=a\\,O\\=admin\\0A,C=DE");
}
