//! A folder for a test's files.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A folder that is a test's alone, and goes with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// `name` is one that no other test has.
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("portunus-audit-{}-{name}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
