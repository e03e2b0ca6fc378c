//! What is half, expired, mismatched or unreadable is refused, in words.

use std::path::Path;
use std::time::SystemTime;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair};

use super::pki::{Authority, Folder, in_days, load, localhost, named, server, workload};
use crate::{Asks, Certificate, Client, Server, Standing, Trust};

#[test]
fn a_certificate_and_its_key_are_read() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let (middle, names) = (ca.below("middle"), ["a.example.com", "*.b.example.com"]);
    let issued = middle.issue(server(&names));
    let chain = folder.write("chain", format!("{}{}", issued.pem, middle.pem()));
    let certificate = load(&chain, &folder.write("key", &issued.key)).unwrap();
    assert_eq!(
        (certificate.identity().dns.as_slice(), certificate.has_expired()),
        (&names.map(str::to_owned)[..], false)
    );
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let (own, other) = (ca.issue(server(&["a.test"])), ca.issue(server(&["b.test"])));
    let middle = ca.below("middle");
    let below = middle.issue(server(&["c.test"]));
    let good = folder.write("good.pem", &own.pem);
    let key = folder.write("good.key", &own.key);
    let error = |chain: &Path, key: &Path| {
        let error = load(chain, key).unwrap_err();
        (error.key, error.message)
    };
    let says = |(key, message): (&str, String), (wanted, words): (&str, &str)| {
        assert!(key == wanted && message.contains(words), "{key}: {message}");
        assert!(!message.contains("PRIVATE") && message.len() < 500, "{message}");
    };
    says(error(&good, &folder.write("k", &other.key)), ("key", "is not the key of the certificate"));
    says(error(Path::new("/nowhere"), &key), ("certificate", "cannot be read"));
    says(error(Path::new("/dev/zero"), &key), ("certificate", "is no file"));
    says(error(&folder.write("k", ""), &key), ("certificate", "-----BEGIN"));
    says(error(&key, &key), ("certificate", "only a private key"));
    says(error(&good, &good), ("key", "only a certificate"));
    says(error(&folder.write("k", &own.der), &key), ("certificate", "DER"));
    says(error(&folder.write("k", own.pem.replace("MII", "!!!")), &key), ("certificate", "no PEM file"));
    let cut = "-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
    says(error(&folder.write("k", cut), &key), ("certificate", "cannot be read"));
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    says(error(&good, &folder.write("k", encrypted)), ("key", "openssl pkey"));
    says(error(&good, &folder.write("k", format!("{}{}", own.key, other.key))), ("key", "more than one"));
    let junk = "-----BEGIN PRIVATE KEY-----\nMIIBAAAA\n-----END PRIVATE KEY-----\n";
    says(error(&good, &folder.write("k", junk)), ("key", "cannot be used"));
    let reversed = folder.write("k", format!("{}{}", middle.pem(), below.pem));
    says(error(&reversed, &folder.write("l", &below.key)), ("certificate", "out of order"));
    let mut params = server(&["d.test"]);
    params.not_after = in_days(-2).into();
    let old = ca.issue(params);
    says(error(&folder.write("k", &old.pem), &folder.write("l", &old.key)), ("certificate", "expired on"));
    let mut params = server(&["d.test"]);
    params.not_before = in_days(2).into();
    let early = ca.issue(params);
    says(error(&folder.write("k", &early.pem), &folder.write("l", &early.key)), ("certificate", "look at the clock"));
    let for_clients = ca.issue(workload("w"));
    says(
        error(&folder.write("k", &for_clients.pem), &folder.write("l", &for_clients.key)),
        ("certificate", "lacks serverAuth"),
    );
}

/// Taking it away would help nobody, and whoever renews it late must be able to change something else meanwhile.
#[test]
fn an_expired_certificate_that_serves_goes_on() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    let issued = ca.issue(server(&["a.test"]));
    let (chain, key) = (folder.write("pem", &issued.pem), folder.write("key", &issued.key));
    let serving = load(&chain, &key).unwrap();
    let later = in_days(40);
    assert!(Certificate::load(&chain, &key, later, &[]).unwrap_err().message.contains("expired"));
    assert!(Certificate::load(&chain, &key, later, &[serving]).unwrap().has_expired());
}

#[test]
fn what_is_wrong_with_a_ca_or_a_list_is_said() {
    let (ca, other, folder) = (Authority::new("ca"), Authority::new("other"), Folder::new());
    let now = SystemTime::now();
    let bundle = folder.write("ca.pem", ca.pem());
    let trust = |ca: &Path, crl: Option<&Path>| {
        Trust::load(Asks::Required, ca, crl, now).map_err(|error| (error.key, error.message))
    };
    let says = |result: Result<Trust, (&str, String)>, (wanted, words): (&str, &str)| {
        let (key, message) = result.unwrap_err();
        assert!(key == wanted && message.contains(words), "{key}: {message}");
    };
    says(trust(Path::new("/nowhere"), None), ("ca", "cannot be read"));
    says(trust(&folder.write("k", ca.issue(server(&["a.test"])).pem), None), ("ca", "no CA's"));
    says(trust(&folder.write("k", Authority::expired("old").pem()), None), ("ca", "expired on"));
    says(trust(&bundle, Some(&bundle)), ("crl", "only a certificate"));
    says(trust(&bundle, Some(&folder.write("k", ca.list(&[], -1)))), ("crl", "fetch the new one"));
    let cut = "-----BEGIN X509 CRL-----\nMIIBAAAA\n-----END X509 CRL-----\n";
    says(trust(&bundle, Some(&folder.write("k", cut))), ("crl", "cannot be read"));
    // An old CA beside a new one is no error: that is how a CA is replaced.
    let both = trust(&folder.write("k", format!("{}{}", Authority::expired("old").pem(), ca.pem())), None).unwrap();
    assert!(
        matches!(both.warnings(), [one] if one.contains("CN=old") && one.contains("nothing that it issued")),
        "{:?}",
        both.warnings()
    );
    let half = folder.write("k", format!("{}{}", other.pem(), ca.pem()));
    let half = trust(&half, Some(&folder.write("l", ca.list(&[], 10)))).unwrap();
    assert!(matches!(half.warnings(), [one] if one.contains("CN=other")), "{:?}", half.warnings());
}

#[test]
fn an_expired_ca_in_a_bundle_trusts_nobody() {
    let (old, new, folder) = (Authority::expired("old"), Authority::new("new"), Folder::new());
    let bundle = folder.write("ca.pem", format!("{}{}", old.pem(), new.pem()));
    let trust = Trust::load(Asks::Required, &bundle, None, SystemTime::now()).unwrap();
    let chain = |issued: super::pki::Issued| vec![issued.der.into()];
    assert_eq!(trust.still_holds(&chain(new.issue(workload("w"))), SystemTime::now()), Standing::Good);
    let standing = trust.still_holds(&chain(old.issue(workload("w"))), SystemTime::now());
    assert!(matches!(standing, Standing::Bad(_)), "{standing:?}");
}

#[test]
fn trust_is_the_same_only_if_all_of_it_is() {
    let (ca, other) = (Authority::new("ca"), Authority::new("ca"));
    let (list, longer) = (ca.list(&[], 10), ca.list(&[&ca.issue(workload("w"))], 10));
    let plain = ca.trust(Asks::Required, None);
    assert!(plain.is_same_as(&ca.trust(Asks::Required, None)));
    let with_list = ca.trust(Asks::Required, Some(&list));
    let others =
        [ca.trust(Asks::Optional, None), other.trust(Asks::Required, None), ca.trust(Asks::Required, Some(&longer))];
    for other in &others {
        assert!(!plain.is_same_as(other) && !with_list.is_same_as(other));
    }
    assert!(!plain.is_same_as(&with_list));
    // And who replaces a server sees it without looking into files.
    let one = localhost(&ca, Some(plain));
    let again = |trust| Server::new(one.certificates().to_vec(), Some(trust), &[b"h2"], Some(&one)).unwrap();
    let kept = |two: Server| std::sync::Arc::ptr_eq(one.trust().unwrap(), two.trust().unwrap());
    assert!(kept(again(ca.trust(Asks::Required, None))) && !kept(again(other.trust(Asks::Required, None))));
}

#[test]
fn a_server_has_a_certificate_and_a_client_a_name_that_can_be_one() {
    let (ca, folder) = (Authority::new("ca"), Folder::new());
    assert_eq!(Server::new(Vec::new(), None, &[], None).unwrap_err().key, "certificate");
    let bundle = folder.write("ca.pem", ca.pem());
    let client = |own, name| Client::load(&bundle, own, name, SystemTime::now(), None);
    assert_eq!(client(None, Some("not a name")).unwrap_err().key, "server_name");
    assert_eq!(client(None, Some("a.test")).unwrap().server_name().map(|name| &**name), Some("a.test"));
    let issued = ca.issue(server(&["a.test"]));
    let (chain, key) = (folder.write("pem", &issued.pem), folder.write("key", &issued.key));
    assert!(client(Some((&chain, &key)), None).unwrap_err().message.contains("lacks clientAuth"));
    let mut both = named("both");
    both.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let issued = ca.issue(both);
    let stranger = folder.write("other", KeyPair::generate().unwrap().serialize_pem());
    let (chain, key) = (folder.write("pem", &issued.pem), folder.write("key", &issued.key));
    assert_eq!(client(Some((&chain, &stranger)), None).unwrap_err().key, "key");
    let shown = client(Some((&chain, &key)), None).unwrap();
    // Who is trusted is the same whatever is shown to them.
    let plain = client(None, None).unwrap();
    assert!(plain.trusts_as(&shown) && !plain.trusts_as(&client(None, Some("a.test")).unwrap()));
    // What is in use goes on after its end, and nothing else does.
    let mut short = named("short");
    short.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(10);
    let issued = ca.issue(short);
    let (chain, key) = (folder.write("pem", &issued.pem), folder.write("key", &issued.key));
    let later = |before| Client::load(&bundle, Some((&chain, &key)), None, in_days(20), before);
    let before = client(Some((&chain, &key)), None).unwrap();
    assert!(later(None).unwrap_err().message.contains("expired"));
    assert!(later(Some(&shown)).unwrap_err().message.contains("expired"), "another's");
    assert!(later(Some(&before)).unwrap().certificate().unwrap().has_expired());
}
