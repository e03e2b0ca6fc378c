//! A folder for a test's files.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder that is a test's alone, and goes with it. Where the test fails, what is in its file `log` is shown.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// `name` is one that no other test has.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portunus-it-{}-{name}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where a file of it is, or would be.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a file into it; its path.
    pub(crate) fn write(&self, name: &str, octets: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, octets).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // No test captures what a destructor prints.
            let log = fs::read(self.at("log")).unwrap_or_default();
            drop(std::io::Write::write_all(&mut std::io::stderr(), &log));
        }
        fs::remove_dir_all(&self.0).ok();
    }
}
