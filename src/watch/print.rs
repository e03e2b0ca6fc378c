//! What a file is, as far as one can tell without reading it, and by reading it.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::io::{Read as _, Result};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::eyes::folder;
use super::listing;

/// Read at once.
const PIECE: usize = 64 * 1024;

/// A file as it was at one moment; none where it could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Print {
    of: Of,
    look: Look,
    content: Option<u64>,
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Of {
    #[default]
    File,
    /// The names that a pattern stands for, and not what is in the files.
    Listing,
}

/// What is known of a file without reading it, at one moment: nothing, if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look(Option<About>);

/// Through links: of the one that they lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct About {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Print {
    /// Of what is in a file now.
    pub fn take(path: &Path) -> Self {
        Self::of(Of::File, path)
    }

    /// Of the files that a pattern stands for now.
    pub fn of_listing(pattern: &Path) -> Self {
        Self::of(Of::Listing, pattern)
    }

    fn of(of: Of, path: &Path) -> Self {
        // First what is known of it: what changes while it is read is seen at the next look.
        let look = of.look(path);
        Self { of, look, content: look.0.and_then(|_| of.content(path)) }
    }

    /// Whether what is there now is something else. Unless it is to be `read`, a file that looks the same is the same.
    pub(super) fn has_changed(&mut self, path: &Path, read: bool) -> bool {
        if !read && self.look == self.of.look(path) {
            return false;
        }
        let before = std::mem::replace(self, Self::of(self.of, path));
        before.content != self.content
    }

    /// Whether it is of files that a pattern stands for, and not of what is in them.
    pub fn is_of_listing(&self) -> bool {
        self.of == Of::Listing
    }

    /// Whether what was in the file is the same in both.
    pub fn is_like(&self, other: &Self) -> bool {
        self.content == other.content
    }
}

impl Of {
    fn look(self, path: &Path) -> Look {
        match self {
            Self::File => Look::at(path),
            Self::Listing => Look::at(&folder(path)),
        }
    }

    fn content(self, path: &Path) -> Option<u64> {
        match self {
            Self::File => content(path).ok(),
            Self::Listing => {
                let mut hasher = DefaultHasher::new();
                listing::files(path).ok()?.hash(&mut hasher);
                Some(hasher.finish())
            }
        }
    }
}

impl Look {
    /// Of what is there now.
    fn at(path: &Path) -> Self {
        Self(std::fs::metadata(path).ok().map(|data| About {
            device: data.dev(),
            inode: data.ino(),
            length: data.len(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        }))
    }
}

/// A number for what is in a file. Two that differ by chance have the same once in 2^64.
fn content(path: &Path) -> Result<u64> {
    let mut file = std::fs::File::open(path)?;
    // Somebody may have named a device, which has no end.
    if !file.metadata()?.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let (mut hasher, mut piece) = (DefaultHasher::new(), vec![0; PIECE]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.write(piece.get(..read).unwrap_or_default());
    }
}
