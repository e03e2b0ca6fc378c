//! The file: a redb database of agents and instances, by cluster. Opened by one process at a time, created with nobody else's eyes on it,
//! and moved aside if it is damaged.

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use prost::Message as _;
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, Table, TableDefinition};

use crate::registry::{Saved, SavedAgent, SavedInstance};

/// Its name in `state.dir`.
const NAME: &str = "registry.redb";
/// Whose it is: locked by the process that uses it.
const LOCK: &str = "lock";
/// What the records in it look like: raised where an older Portunus would misread them.
const FORMAT: u64 = 1;
/// What of the file is held in memory; a registry is read once, at the start.
const CACHE: usize = 1 << 20;

const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const AGENTS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("agents");
/// By cluster, agent and address.
const INSTANCES: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("instances");

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it: this one may wait.
    #[error("another process uses the state in {}", .0.display())]
    Taken(PathBuf),
    /// It could not be read, and is out of the way now.
    #[error(
        "the state was damaged ({why}) and has been moved to {}: start again to begin with none (SDK instances are unknown until they \
         register again), or give `state: {{recover: true}}` to have that done by itself; to keep it, move a copy that is well back",
        .moved.display()
    )]
    Damaged {
        /// Where it is now.
        moved: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// A newer Portunus wrote it.
    #[error("the state in {} was written by a newer Portunus (format {found}, this one reads {FORMAT}): run that one, or move the file away", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its records.
        found: u64,
    },
    /// The folder or the file cannot be used.
    #[error("the state in {} cannot be used: {error}", .path.display())]
    Io {
        /// The folder or the file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The open file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// None: the last write failed, and it has to be opened again (redb goes on with nothing after an error of the disk).
    database: Option<Database>,
    /// Held as long as this process uses the state, whatever becomes of the database's own lock.
    _lock: fs::File,
}

/// An agent by its id, with what is to be kept of it; none: nothing.
pub(super) type Change = (Arc<str>, Option<Saved>);

impl File {
    /// Opens the state in a folder, which is made if it is not there. `recover`: a damaged file is moved aside, and an empty one takes
    /// its place.
    pub fn open(folder: &Path, recover: bool) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: folder.to_owned(), error };
        prepare(folder).map_err(io)?;
        let lock = private(&folder.join(LOCK)).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Taken(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let path = folder.join(NAME);
        let database = match Self::open_whole(&path) {
            Err(OpenError::Damaged { moved, why }) if recover => {
                tracing::error!(
                    why,
                    moved = %moved.display(),
                    "the state was damaged and has been moved aside; beginning with none: SDK instances are unknown until they register again"
                );
                Self::open_whole(&path)
            }
            result => result,
        }?;
        Ok(Self { path, database: Some(database), _lock: lock })
    }

    /// Opens it, and sees that all of it can be read: what cannot is to be known before anything relies on it.
    fn open_whole(path: &Path) -> Result<Database, OpenError> {
        private(path).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
        let database = open_database(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::Taken(path.to_owned()),
            DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
                OpenError::Io { path: path.to_owned(), error }
            }
            other => damaged(path, &other),
        })?;
        let found = format(&database).map_err(|error| damaged(path, &error))?;
        if found > FORMAT {
            return Err(OpenError::Newer { path: path.to_owned(), found });
        }
        // Format 1 is the first: what older ones need comes here, in the same transaction as the new number.
        if found < FORMAT {
            begin(&database).map_err(|error| match error {
                redb::Error::Io(error) => OpenError::Io { path: path.to_owned(), error },
                other => damaged(path, &other),
            })?;
        }
        match read_all(&database) {
            Ok(_) => Ok(database),
            Err(error) => {
                drop(database);
                Err(damaged(path, &error))
            }
        }
    }

    /// What is kept of the registry of a cluster.
    pub fn read(&self, cluster: &str) -> Result<Vec<Saved>, String> {
        let database = self.database.as_ref().ok_or("the file is not open")?;
        Ok(read_all(database)?.into_iter().filter(|(of, _)| of == cluster).map(|(_, saved)| saved).collect())
    }

    /// Writes changes of several clusters, all of them or none. They are on the disk when this returns.
    pub(super) fn write(&mut self, changes: &[(&str, &[Change])]) -> Result<(), redb::Error> {
        // Not put back on failure: the next try begins with what is on the disk.
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path)?,
        };
        let writing = database.begin_write()?;
        {
            let mut agents = writing.open_table(AGENTS)?;
            let mut instances = writing.open_table(INSTANCES)?;
            for (cluster, changes) in changes {
                for (id, saved) in *changes {
                    match saved {
                        Some(saved) => agents.insert((*cluster, &**id), saved.agent.encode_to_vec().as_slice())?,
                        None => agents.remove((*cluster, &**id))?,
                    };
                    let now = saved.as_ref().map(|saved| saved.instances.as_slice()).unwrap_or_default();
                    write_instances(&mut instances, cluster, id, now)?;
                }
            }
        }
        writing.commit()?;
        self.database = Some(database);
        Ok(())
    }
}

fn open_database(path: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true).create(path)
}

/// Writes the instances of an agent in the place of those that are there.
fn write_instances(
    table: &mut Table<'_, (&str, &str, &str), &[u8]>,
    cluster: &str,
    id: &str,
    now: &[SavedInstance],
) -> Result<(), redb::Error> {
    let mut old = Vec::new();
    for row in table.range((cluster, id, "")..)? {
        let (key, _) = row?;
        let (of_cluster, of, address) = key.value();
        if (of_cluster, of) != (cluster, id) {
            break;
        }
        old.push(address.to_owned());
    }
    for address in old.iter().filter(|old| !now.iter().any(|kept| kept.address == **old)) {
        table.remove((cluster, id, address.as_str()))?;
    }
    for kept in now {
        table.insert((cluster, id, kept.address.as_str()), kept.encode_to_vec().as_slice())?;
    }
    Ok(())
}

fn read_all(database: &Database) -> Result<Vec<(String, Saved)>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let reading = database.begin_read().map_err(|error| text(&error))?;
    let agents = reading.open_table(AGENTS).map_err(|error| text(&error))?;
    let instances = reading.open_table(INSTANCES).map_err(|error| text(&error))?;
    let mut found = Vec::new();
    for row in agents.iter().map_err(|error| text(&error))? {
        let (key, value) = row.map_err(|error| text(&error))?;
        let (cluster, id) = key.value();
        let agent = SavedAgent::decode(value.value()).map_err(|error| format!("agent {id}: {error}"))?;
        if agent.id != id {
            return Err(format!("agent {id} calls itself {}", agent.id));
        }
        let mut own = Vec::new();
        for row in instances.range((cluster, id, "")..).map_err(|error| text(&error))? {
            let (key, value) = row.map_err(|error| text(&error))?;
            let (of_cluster, of, address) = key.value();
            if (of_cluster, of) != (cluster, id) {
                break;
            }
            let instance =
                SavedInstance::decode(value.value()).map_err(|error| format!("instance {address} of {id}: {error}"))?;
            own.push(instance);
        }
        found.push((cluster.to_owned(), Saved { agent, instances: own }));
    }
    Ok(found)
}

/// The version of the records; 0 in a file that has just been made.
fn format(database: &Database) -> Result<u64, redb::Error> {
    let reading = database.begin_read()?;
    match reading.open_table(ABOUT) {
        Ok(about) => Ok(about.get("format")?.map_or(0, |format| format.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn begin(database: &Database) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    writing.open_table(ABOUT)?.insert("format", FORMAT)?;
    writing.open_table(AGENTS)?;
    writing.open_table(INSTANCES)?;
    writing.commit()?;
    Ok(())
}

/// A folder for us alone: registrations name owners, addresses and configurations.
fn prepare(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// A file for us alone, made if it is not there.
fn private(path: &Path) -> io::Result<fs::File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Moves a damaged file out of the way.
fn damaged(path: &Path, why: &dyn std::fmt::Display) -> OpenError {
    let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let moved = path.with_extension(format!("redb.damaged-{stamp}"));
    match fs::rename(path, &moved) {
        Ok(()) => OpenError::Damaged { moved, why: why.to_string() },
        Err(error) => OpenError::Io { path: path.to_owned(), error },
    }
}

#[cfg(test)]
mod tests;
