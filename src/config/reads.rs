//! The files that a configuration is made of, each as it was before it was read. Where a configuration is only tried, also which of
//! them may be read at all.

use std::collections::{BTreeMap, btree_map};
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::watch::{Print, listing};

/// Files, and patterns that stand for files: the configuration's own, and those that it names to be read. Also those that could not be
/// read. It grows as the configuration is built; a copy is the same.
#[derive(Clone, Debug, Default)]
pub struct Reads {
    files: Arc<Mutex<BTreeMap<PathBuf, Print>>>,
    /// Nothing outside this folder is read.
    within: Option<Folder>,
}

/// A folder, by its name and where it is.
#[derive(Clone, Debug)]
struct Folder {
    named: PathBuf,
    real: PathBuf,
}

impl Reads {
    /// Those of a configuration that is not read yet.
    pub fn of(file: &Path) -> Self {
        let reads = Self::default();
        reads.add(file, Print::take);
        reads
    }

    /// Those of a configuration whose files are all to be in this folder.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn within(folder: &Path) -> std::io::Result<Self> {
        let named = without_steps_back(&std::path::absolute(folder)?);
        let real = folder.canonicalize()?;
        Ok(Self { within: Some(Folder { named, real }), ..Self::default() })
    }

    /// Those so far, each as it was before it was read.
    pub fn files(&self) -> BTreeMap<PathBuf, Print> {
        self.files.lock().clone()
    }

    /// Takes note of a file that is about to be read.
    ///
    /// # Errors
    /// It may not be read: why, in words that follow its name.
    pub fn note(&self, file: &Path) -> Result<(), String> {
        self.admit(file)?;
        self.add(file, Print::take);
        Ok(())
    }

    /// What is in a file: all of it, of at most `most` octets.
    ///
    /// # Errors
    /// Why not, in words that follow its name.
    pub(super) fn read(&self, file: &Path, most: u64) -> Result<Vec<u8>, String> {
        self.note(file)?;
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let opened = std::fs::File::open(file).map_err(unreadable)?;
        // Somebody may have named a device, which has no end.
        if !opened.metadata().map_err(unreadable)?.is_file() {
            return Err("is no file".to_owned());
        }
        let mut octets = Vec::new();
        opened.take(most + 1).read_to_end(&mut octets).map_err(unreadable)?;
        if octets.len() as u64 > most {
            return Err(format!("is over {most} octets"));
        }
        Ok(octets)
    }

    /// The files that a pattern stands for, by name.
    ///
    /// # Errors
    /// Why there are none to be had, in words that follow the pattern.
    pub(super) fn list(&self, pattern: &Path) -> Result<Vec<PathBuf>, String> {
        self.admit(pattern.parent().unwrap_or(pattern))?;
        self.add(pattern, Print::of_listing);
        listing::files(pattern)
    }

    fn add(&self, file: &Path, take: fn(&Path) -> Print) {
        // The first time counts: it may be read once more.
        if let btree_map::Entry::Vacant(new) = self.files.lock().entry(file.to_owned()) {
            let print = take(new.key());
            new.insert(print);
        }
    }

    fn admit(&self, file: &Path) -> Result<(), String> {
        match &self.within {
            Some(folder) if !folder.has(file) => Err(format!(
                "is outside the configuration's folder `{}`, and nothing else is read to try a configuration: `portunus check` on \
                 the proxy's machine reads it",
                folder.named.display()
            )),
            _ => Ok(()),
        }
    }
}

impl Folder {
    /// By its name first: whether there is anything under a name outside is nobody's business. Then by where links lead.
    fn has(&self, file: &Path) -> bool {
        let by_name = std::path::absolute(file).is_ok_and(|file| without_steps_back(&file).starts_with(&self.named));
        // What is not there leads nowhere.
        by_name && file.canonicalize().map_or(true, |real| real.starts_with(&self.real))
    }
}

fn without_steps_back(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for step in path.components() {
        match step {
            Component::ParentDir => drop(plain.pop()),
            step => plain.push(step),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_reads_what_is_in_the_folder_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("portunus-reads-{}", std::process::id()));
        let folder = root.join("conf");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        for file in ["conf/a.pem", "conf/sub/b.pem", "secret.pem"] {
            std::fs::write(root.join(file), file).unwrap();
        }
        let link = |from: &str, to: &str| std::os::unix::fs::symlink(to, root.join(from)).unwrap();
        link("conf/inside.pem", "sub/b.pem");
        link("conf/outside.pem", "../secret.pem");
        link("conf/up", "..");
        link("named", "conf");
        for folder in [folder.clone(), root.join("named"), root.join("conf/../conf")] {
            let reads = Reads::within(&folder).unwrap();
            let read = |file: &str| reads.read(&folder.join(file), 100);
            for file in ["a.pem", "sub/b.pem", "inside.pem", "sub/../a.pem"] {
                assert!(read(file).is_ok(), "{file}: {:?}", read(file));
            }
            for file in [
                "outside.pem",
                "../secret.pem",
                "up/secret.pem",
                "../none.pem",
                "/etc/passwd",
                "/none",
                "sub/../../secret.pem",
            ] {
                let why = read(file).unwrap_err();
                assert!(why.starts_with("is outside"), "{file}: {why}");
            }
            assert!(read("none.pem").unwrap_err().starts_with("cannot be read"));
            assert!(reads.list(&folder.join("*.pem")).is_ok());
            assert!(reads.list(&folder.join("../*.pem")).is_err() && reads.list(&folder.join("up/*.pem")).is_err());
            assert!(!reads.files().keys().any(|file| file.ends_with("secret.pem")), "not even looked at");
        }
        assert!(Reads::of(&folder).read(Path::new("/etc/passwd"), 1 << 20).is_ok(), "what is run may be anywhere");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
