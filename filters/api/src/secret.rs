//! Secrets in files: read only where nobody else can read or change them.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The longest file of a secret, in octets.
const MOST: u64 = 4_096;

/// The secret in a file, without a line break at its end. Others than its owner and group may not read it, and nobody but its owner
/// may write it.
///
/// # Errors
/// What is wrong with the file, in words that follow its name.
pub fn read_secret(path: &Path) -> Result<Vec<u8>, String> {
    let open = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (metadata, file) = open.map_err(|error| format!("cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("is no file".to_owned());
    }
    if metadata.mode() & 0o037 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(format!("has mode {mode:04o}, so that others can read or change it: `chmod 0600` it"));
    }
    let mut octets = Vec::new();
    file.take(MOST + 1).read_to_end(&mut octets).map_err(|error| format!("cannot be read: {error}"))?;
    if octets.len() as u64 > MOST {
        return Err(format!("is over {MOST} octets: make a new one with `openssl rand -hex 32`"));
    }
    // Editors and `openssl rand` put one there, which nobody means.
    for end in [b'\n', b'\r'] {
        if octets.last() == Some(&end) {
            octets.pop();
        }
    }
    Ok(octets)
}
