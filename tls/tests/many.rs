//! Many handshakes, one after the other, leave nothing behind. Alone in its process, whose memory it looks at: HANDSHAKES=10000 says how
//! many; CI has fewer, as each takes a core a millisecond or more in a build that is not optimised.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::path::PathBuf;
use std::time::SystemTime;

use portunus_tls::{Asks, Certificate, Client, Expected, Server, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What is in memory, in octets.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

struct Files(PathBuf);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

#[tokio::test]
async fn handshakes_leave_nothing_behind() {
    let files = Files(std::env::temp_dir().join(format!("portunus-tls-many-{}", std::process::id())));
    std::fs::create_dir_all(&files.0).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let bundle = files.write("ca.pem", &ca.pem());
    let (chain, key) = (files.write("own.pem", &own.pem()), files.write("own.key", &key.serialize_pem()));
    let now = SystemTime::now();
    let certificate = Certificate::load(&chain, &key, now, &[]).unwrap();
    let trust = Trust::load(Asks::Required, &bundle, None, now).unwrap();
    let server = Server::new(vec![certificate], Some(trust), &[b"h2"], None).unwrap();
    let client = Client::load(&bundle, Some((&chain, &key)), None, now, None).unwrap();
    let nobody = Client::load(&bundle, None, None, now, None).unwrap();

    let many = std::env::var("HANDSHAKES").ok().and_then(|text| text.parse().ok()).unwrap_or(1_500);
    let mut before = 0;
    for count in 0..many {
        if count == many / 3 {
            before = resident();
        }
        // One in three is refused.
        let client = if count % 3 == 0 { &nobody } else { &client };
        let (near, far) = tokio::io::duplex(16 * 1024);
        let served = async {
            let mut session = server.accept(near).await.ok()?;
            session.stream.read_u8().await.ok()
        };
        let asked = async {
            let mut stream = client.connect(far, "localhost", Expected::Host("localhost")).await.unwrap();
            drop(stream.write_u8(7).await);
            drop(stream.flush().await);
            stream
        };
        let (served, _stream) = tokio::join!(served, asked);
        assert_eq!(served, (count % 3 != 0).then_some(7));
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} octets more after {many} handshakes than after a third of them");
}
