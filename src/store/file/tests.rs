use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portunus-{}-{name}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        Self(path)
    }

    fn open(&self) -> Result<File, OpenError> {
        File::open(&self.0, false)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.0.join(name)).unwrap().permissions().mode() & 0o777
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn saved(id: &str, addresses: &[&str]) -> Saved {
    let instance =
        |address: &&str| SavedInstance { address: (*address).into(), peer: "127.0.0.1".into(), ..Default::default() };
    Saved {
        agent: SavedAgent { id: id.into(), author: "a".into(), name: "n".into(), ..SavedAgent::default() },
        instances: addresses.iter().map(instance).collect(),
    }
}

fn change(saved: &Saved) -> Change {
    (saved.agent.id.as_str().into(), Some(saved.clone()))
}

#[test]
fn what_is_written_is_read_by_cluster() {
    let folder = Folder::new("written");
    let (one, two) = (saved("1", &["localhost:5001", "localhost:5002"]), saved("11", &["localhost:5003"]));
    let mut file = folder.open().unwrap();
    file.write(&[("c", &[change(&one), change(&two)]), ("d", &[change(&two)])]).unwrap();
    drop(file);
    let mut file = folder.open().unwrap();
    assert_eq!(file.read("c").unwrap(), [one, two.clone()]);
    assert_eq!(file.read("d").unwrap(), std::slice::from_ref(&two));
    assert_eq!(file.read("e").unwrap(), []);
    let fewer = saved("1", &["localhost:5002", "localhost:5004"]);
    file.write(&[("c", &[change(&fewer), (Arc::from("11"), None)])]).unwrap();
    assert_eq!(
        (file.read("c").unwrap(), file.read("d").unwrap()),
        (vec![fewer], vec![two]),
        "the other cluster's stays"
    );
}

#[test]
fn it_is_for_us_alone() {
    let folder = Folder::new("alone");
    drop(folder.open().unwrap());
    assert_eq!((folder.mode(""), folder.mode(NAME), folder.mode(LOCK)), (0o700, 0o600, 0o600));
    fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.0.join(NAME), fs::Permissions::from_mode(0o644)).unwrap();
    drop(folder.open().unwrap());
    assert_eq!((folder.mode(""), folder.mode(NAME)), (0o700, 0o600), "also where it was not");
}

#[test]
fn one_at_a_time() {
    let folder = Folder::new("taken");
    let first = folder.open().unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Taken(_))));
    drop(first);
    folder.open().unwrap();
}

#[test]
fn a_damaged_file_is_moved_aside_and_said_to_be() {
    for (what, spoil) in [
        ("text", (|bytes: &mut Vec<u8>| *bytes = b"this is no database".repeat(300)) as fn(&mut Vec<u8>)),
        ("cut", |bytes| bytes.truncate(bytes.len() / 3)),
        ("zeros", |bytes| bytes.iter_mut().skip(4_096).for_each(|octet| *octet = 0)),
        ("turned", |bytes| bytes.iter_mut().skip(4_096).step_by(7).for_each(|octet| *octet = !*octet)),
    ] {
        let folder = Folder::new(what);
        let mut file = folder.open().unwrap();
        file.write(&[("c", &[change(&saved("1", &["localhost:5001"]))])]).unwrap();
        drop(file);
        let path = folder.0.join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        spoil(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let error = folder.open().unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("recover: true"), "{what}: {error}");
        let names = folder.names();
        assert!(names.len() == 2 && names[1].starts_with("registry.redb.damaged-"), "{what}: {names:?}");
        assert!(fs::read(folder.0.join(&names[1])).unwrap().len() >= bytes.len(), "{what}: it is kept");
        fs::rename(folder.0.join(&names[1]), &path).unwrap();
        let file = File::open(&folder.0, true).unwrap();
        assert_eq!(file.read("c").unwrap(), [], "{what}");
    }
}

#[test]
fn a_record_that_makes_no_sense_is_damage_too() {
    let folder = Folder::new("record");
    let file = folder.open().unwrap();
    let writing = file.database.as_ref().unwrap().begin_write().unwrap();
    writing.open_table(AGENTS).unwrap().insert(("c", "1"), [0xff; 9].as_slice()).unwrap();
    writing.commit().unwrap();
    drop(file);
    assert!(matches!(folder.open(), Err(OpenError::Damaged { .. })));
}

#[test]
fn what_a_newer_one_wrote_is_left_alone() {
    let folder = Folder::new("newer");
    let file = folder.open().unwrap();
    let writing = file.database.as_ref().unwrap().begin_write().unwrap();
    writing.open_table(ABOUT).unwrap().insert("format", FORMAT + 1).unwrap();
    writing.commit().unwrap();
    drop(file);
    let error = File::open(&folder.0, true).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 2, .. }) && error.to_string().contains("newer Portunus"),
        "{error}"
    );
    assert_eq!(folder.names(), ["lock", NAME]);
}

#[test]
fn a_folder_that_cannot_be_made_says_so() {
    let folder = Folder::new("no-folder");
    fs::write(&folder.0, "a file").unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Io { .. })));
    fs::remove_file(&folder.0).unwrap();
}
