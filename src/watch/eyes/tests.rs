//! Every folder in which a replacement happens, and a circle of links has an end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::folders_of;
use crate::watch::tests::Folder;

#[test]
fn a_file_of_a_configmap_is_watched_where_its_links_are() {
    let folder = Folder::new("eyes");
    let root = &folder.0;
    fs::create_dir_all(root.join("mount/..v1")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("mount/..v1/file"), "").unwrap();
    symlink("..v1", root.join("mount/..data")).unwrap();
    symlink("..data/file", root.join("mount/file")).unwrap();
    symlink("../mount", root.join("etc/linked")).unwrap();
    symlink("loop", root.join("etc/loop")).unwrap();

    let has = |file: &str, folder: &str| folders_of(&root.join(file)).contains(&root.join(folder));
    for folder in ["mount", "mount/..data", "mount/..v1"] {
        assert!(has("mount/file", folder), "{folder}: {:?}", folders_of(&root.join("mount/file")));
    }
    // By a link to the folder: its own place, and all of those.
    for folder in ["etc", "etc/linked"] {
        assert!(has("etc/linked/file", folder), "{folder}: {:?}", folders_of(&root.join("etc/linked/file")));
    }
    assert!(folders_of(&root.join("etc/linked/file")).iter().any(|folder| folder.ends_with("mount/..v1")));
    assert!(folders_of(&root.join("etc/loop")).len() < 5);
    assert!(folders_of(Path::new("bare.yaml")).contains(Path::new(".")));
}
