//! `portunus dev`: throw-away certificates and tokens, for trying things. Nothing of it is used by `run`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portunus_dev::{Authority, Signer};
use serde_json::Value;

/// What is private is its owner's only.
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// A key is no larger.
const KEY: u64 = 64 * 1_024;

/// What to make.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Make a throw-away CA in a new folder, with certificates of a server and of a client, and a key that signs tokens with the key set
    /// that tells of it. All is good for 30 days. Nothing that is there is overwritten.
    Ca {
        /// The folder.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
        /// A name or IP address of the server's certificate.
        #[arg(long = "server", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
        names: Vec<String>,
        /// The SPIFFE id of the client's certificate.
        #[arg(long = "client", value_name = "SPIFFE", default_value = "spiffe://example.org/client")]
        client: String,
    },
    /// Sign a token, and print it.
    Token {
        /// The private key in PEM (PKCS #8): P-256 signs by ES256, Ed25519 by EdDSA, RSA by RS256.
        #[arg(long = "key", value_name = "FILE")]
        key: PathBuf,
        /// The claims. `iat` and `exp` (an hour from now) are added where they are missing.
        #[arg(long, value_name = "JSON")]
        claims: String,
    },
}

/// Makes it; exit 0, or 1 with the reason.
pub(super) fn run(action: &Action, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let made = match action {
        Action::Ca { folder, names, client } => ca(folder, names, client),
        Action::Token { key, claims } => token(key, claims),
    };
    match made {
        Ok(text) => writeln!(out, "{text}").map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS),
        Err(why) => {
            // Nobody is left to tell of an error of stderr.
            writeln!(err, "{why}").ok();
            ExitCode::FAILURE
        }
    }
}

fn ca(folder: &Path, names: &[String], client: &str) -> Result<String, String> {
    let failed = |error: portunus_dev::Error| error.to_string();
    let authority = Authority::new().map_err(failed)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = authority.server(&names).map_err(|error| format!("--server: {error}"))?;
    let caller = authority.workload(client).map_err(|error| format!("--client: {error}"))?;
    let key = Signer::generate().map_err(failed)?;
    let set = Signer::of_pem(key.as_bytes()).map_err(failed)?.key_set().unwrap_or_default();
    let revoked = authority.revocations(&[]).map_err(failed)?;
    let files = [
        ("ca.pem", PUBLIC, authority.certificate(), "whom to trust: `tls.client_auth.ca`, and --cacert of callers"),
        ("ca.key", PRIVATE, authority.key(), "its key: it signs nothing any more that is not made anew"),
        ("crl.pem", PUBLIC, revoked, "nobody is revoked: `tls.client_auth.crl`"),
        ("server.pem", PUBLIC, server.certificate, "a listener's certificate: `tls.certificate`"),
        ("server.key", PRIVATE, server.key, "`tls.key`"),
        ("client.pem", PUBLIC, caller.certificate, "a caller's certificate: --cert"),
        ("client.key", PRIVATE, caller.key, "--key"),
        ("token.key", PRIVATE, key, "signs tokens: portunus dev token --key"),
        ("jwks.json", PUBLIC, format!("{set:#}\n"), "whose tokens to believe: `issuers.NAME.jwks.file`"),
    ];
    let at = |path: &Path, error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!("{} is there already: choose a new folder", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| at(folder, &error))?;
    // Before anything is written, so that nothing is written where something is there.
    if let Some((name, ..)) = files.iter().find(|(name, ..)| folder.join(name).exists()) {
        return Err(at(&folder.join(name), &io::ErrorKind::AlreadyExists.into()));
    }
    let mut told = String::new();
    for (name, mode, text, what) in files {
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| at(&path, &error))?;
        told += &format!("  {:<12} {what}\n", name);
    }
    let folder = folder.display();
    Ok(format!(
        "Made in {folder}, good for 30 days, and trusted by nobody else:\n\n{told}\nA token: portunus dev token --key {folder}/token.key --claims \
         '{{\"iss\": \"dev\", \"aud\": \"dev\", \"sub\": \"me\"}}'"
    ))
}

fn token(key: &Path, claims: &str) -> Result<String, String> {
    let at = |why: &dyn std::fmt::Display| format!("{}: {why}", key.display());
    let mut octets = Vec::new();
    let file = std::fs::File::open(key).map_err(|error| at(&error))?;
    file.take(KEY).read_to_end(&mut octets).map_err(|error| at(&error))?;
    let signer = Signer::of_pem(&octets).map_err(|why| at(&why))?;
    let claims: Value = serde_json::from_str(claims).map_err(|error| format!("--claims is no JSON: {error}"))?;
    signer.token(&claims).map_err(|why| format!("--claims: {why}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{Action, run};

    fn ran(action: &Action) -> (bool, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(action, &mut out, &mut err);
        let good = format!("{code:?}") == format!("{:?}", std::process::ExitCode::SUCCESS);
        (good, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn what_is_made_is_whole_private_and_never_overwritten() {
        let folder = std::env::temp_dir().join(format!("portunus-dev-{}", std::process::id()));
        std::fs::remove_dir_all(&folder).ok();
        let ca = |client: &str| Action::Ca {
            folder: folder.clone(),
            names: vec!["localhost".into(), "::1".into()],
            client: client.into(),
        };
        let (good, _, err) = ran(&ca("http://nobody"));
        assert!(!good && err.contains("no SPIFFE id") && !folder.exists(), "{err}");
        let (good, out, err) = ran(&ca("spiffe://example.org/me"));
        assert!(good && out.contains("ca.pem"), "{out}{err}");
        for name in ["ca.key", "server.key", "client.key", "token.key"] {
            let mode = std::fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name}");
        }
        let before = std::fs::read(folder.join("ca.pem")).unwrap();
        let (good, _, err) = ran(&ca("spiffe://example.org/me"));
        assert!(!good && err.contains("there already"), "{err}");
        assert_eq!(std::fs::read(folder.join("ca.pem")).unwrap(), before);

        let token = |key: &str, claims: &str| ran(&Action::Token { key: folder.join(key), claims: claims.into() });
        let (good, out, err) = token("token.key", r#"{"sub": "me"}"#);
        assert!(good && out.trim().split('.').count() == 3, "{out}{err}");
        for (key, claims, why) in [
            ("nothing.key", "{}", "No such file"),
            ("ca.pem", "{}", "no private key"),
            ("token.key", "{", "no JSON"),
            ("token.key", "[]", "claims are a JSON object"),
        ] {
            let (good, _, err) = token(key, claims);
            assert!(!good && err.contains(why), "{key} {claims}: {err}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
