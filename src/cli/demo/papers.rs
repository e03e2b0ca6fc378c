//! The demo's throw-away CA, certificates and tokens, in a folder of its own that goes with it.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use portunus_dev::{Authority, Issued, Signer};
use serde_json::json;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// Who may call.
pub(super) const CALLER: &str = "spiffe://demo/caller";
/// Who has a certificate of the same CA, and may not.
const STRANGER: &str = "spiffe://elsewhere/stranger";
/// Who signs the demo's tokens.
const ISSUER: &str = "demo";

/// What callers show.
pub(super) struct Papers {
    folder: PathBuf,
    authority: String,
    caller: Issued,
    stranger: Issued,
    signer: Signer,
    keys: String,
}

/// Which certificate a caller shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// That of the one who may call.
    Caller,
    /// That of a stranger.
    Stranger,
    /// None.
    Nothing,
}

impl Papers {
    /// Makes them, and the files that the proxy reads.
    pub(super) fn make() -> Result<Self, String> {
        let failed = |error: portunus_dev::Error| error.to_string();
        let authority = Authority::new().map_err(failed)?;
        let server = authority.server(&["localhost", "127.0.0.1"]).map_err(failed)?;
        let caller = authority.workload(CALLER).map_err(failed)?;
        let stranger = authority.workload(STRANGER).map_err(failed)?;
        let key = Signer::generate().map_err(failed)?;
        let signer = Signer::of_pem(key.as_bytes()).map_err(failed)?;
        let keys = signer.key_set().unwrap_or_default().to_string();
        let folder = std::env::temp_dir().join(format!("portunus-demo-{:016x}", rand::random::<u64>()));
        // Made by nobody before, and read by nobody else.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        let papers = Self { folder, authority: authority.certificate(), caller, stranger, signer, keys };
        for (name, text) in [
            ("ca.pem", &papers.authority),
            ("server.pem", &server.certificate),
            ("server.key", &server.key),
            ("caller.pem", &papers.caller.certificate),
            ("caller.key", &papers.caller.key),
            ("token.key", &key),
        ] {
            let path = papers.folder.join(name);
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(papers)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The public half of the key that signs tokens.
    pub(super) fn keys(&self) -> &str {
        &self.keys
    }

    /// How a caller connects.
    pub(super) fn tls(&self, shows: Shows) -> ClientTlsConfig {
        let tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority)).domain_name("localhost");
        let identity = |issued: &Issued| Identity::from_pem(&issued.certificate, &issued.key);
        match shows {
            Shows::Caller => tls.identity(identity(&self.caller)),
            Shows::Stranger => tls.identity(identity(&self.stranger)),
            Shows::Nothing => tls,
        }
    }

    /// A token of somebody with this role, for so many seconds from now on.
    pub(super) fn token(&self, role: &str, seconds: i64) -> Result<String, String> {
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs()).cast_signed();
        let claims = json!({"iss": ISSUER, "aud": "agents", "sub": "ann", "roles": [role], "exp": now + seconds});
        self.signer.token(&claims).map_err(|error| error.to_string())
    }

    /// One like it that somebody else has signed.
    pub(super) fn forged(&self) -> Result<String, String> {
        let token = self.token("operator", 600)?;
        let key =
            Signer::generate().and_then(|key| Signer::of_pem(key.as_bytes())).map_err(|error| error.to_string())?;
        let other = key.token(&json!({"iss": ISSUER})).map_err(|error| error.to_string())?;
        // The head and the claims of the one, the signature of the other.
        let signature = other.rsplit('.').next().unwrap_or_default();
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        Ok(format!("{signed}.{signature}"))
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        // What cannot be removed is worth nothing in an hour.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}
