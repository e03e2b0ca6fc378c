//! Configurations of several files.

use std::path::PathBuf;

use super::super::{Errors, Loaded, Reads, load, load_noting};
use crate::path;
use crate::watch::Print;

/// A folder with files, and `main.yaml` among them.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("portunus-include-{name}-{}", std::process::id())));
        for (file, text) in files {
            folder.write(file, text);
        }
        folder
    }

    fn write(&self, file: &str, text: &str) {
        let file = self.0.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    fn load(&self) -> Result<Loaded, Errors> {
        load(&self.0.join("main.yaml"), &|name| (name == "PORT").then(|| "50051".to_owned()), &[])
    }

    /// What is wrong, without the folder's name.
    fn wrong(&self) -> String {
        let errors = self.load().map(|loaded| loaded.config).unwrap_err();
        errors.to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

const MAIN: &str = "include: [conf.d/*.yaml, more.yaml]\n\
    clusters:\n  a: {endpoints: [127.0.0.1:50051]}\n\
    listeners:\n  one: {address: 127.0.0.1:8443, routes: [{cluster: a}]}\n";

#[test]
fn what_is_listed_by_name_is_put_together() {
    let folder = Folder::with(
        "together",
        &[
            ("main.yaml", MAIN),
            ("conf.d/10-b.yaml", "clusters:\n  b: {endpoints: [\"127.0.0.1:${PORT}\"]}\nworkers: 3\n"),
            ("conf.d/20-c.yaml", "listeners:\n  two: {address: 127.0.0.1:8444, routes: [{cluster: b}]}\n"),
            ("conf.d/.hidden.yaml", "nonsense: 1\n"),
            ("conf.d/20-c.yaml~", "nonsense: 1\n"),
            ("more.yaml", "{}\n"),
        ],
    );
    let Loaded { config, source } = folder.load().unwrap();
    assert_eq!(config.clusters.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(config.listeners.keys().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(config.workers, 3);
    let read: Vec<_> = source.reads().files().into_keys().collect();
    let names = ["conf.d/*.yaml", "conf.d/10-b.yaml", "conf.d/20-c.yaml", "main.yaml", "more.yaml"];
    assert_eq!(read, names.map(|name| folder.0.join(name)));
    let parts: Vec<_> = source.parts().map(ToOwned::to_owned).collect();
    assert_eq!(parts, [names[3], names[1], names[2], names[4]].map(|name| folder.0.join(name)));
    // What is wrong later is said where it stands.
    let errors = source.errors(vec![source.error_at(&path!["listeners", "two", "routes", 0, "cluster"], "no")]);
    let text = format!("{}/conf.d/20-c.yaml:2:53: listeners.two.routes[0].cluster: no", folder.0.display());
    assert_eq!(errors.to_string(), text);
    // Shown as one: whoever starts with that has all of it.
    assert!(!super::super::render_defaults(&config).contains("include"));
}

#[test]
fn whatever_is_there_twice_is_wrong() {
    let folder = Folder::with(
        "twice",
        &[
            ("main.yaml", &format!("{MAIN}workers: 1\n")),
            ("conf.d/1.yaml", "clusters:\n  a: {endpoints: [127.0.0.1:1]}\nworkers: 2\n"),
            ("conf.d/2.yaml", "clusters:\n  c: {endpoints: [127.0.0.1:1]}\n"),
            ("more.yaml", "clusters:\n  c: {endpoints: [127.0.0.1:1]}\ninclude: [conf.d/2.yaml]\n"),
        ],
    );
    assert_eq!(
        folder.wrong(),
        "conf.d/1.yaml:2:3: clusters.a: is in line 3 of main.yaml already: keep one\n\
         conf.d/1.yaml:3:1: workers: is in line 6 of main.yaml already: keep one\n\
         more.yaml:2:3: clusters.c: is in line 2 of conf.d/2.yaml already: keep one\n\
         more.yaml:3:1: include: only `main.yaml` includes files: name them there"
    );
    // Two listeners on one port, in two files.
    folder.write("conf.d/1.yaml", "listeners:\n  x: {address: 127.0.0.1:8443, routes: [{cluster: a}]}\n");
    folder.write("more.yaml", "{}");
    assert_eq!(
        folder.wrong(),
        "conf.d/1.yaml:2:16: listeners.x.address: takes the same port as `listeners.one`, which has `127.0.0.1:8443` in line 5 of \
         main.yaml: change one"
    );
}

#[test]
fn files_that_cannot_be_parts_are_named() {
    let folder = Folder::with(
        "wrong",
        &[
            ("main.yaml", &MAIN.replace("more.yaml", "more.yaml, none/*.yaml, \"*/a.yaml\", conf.d, main.yaml")),
            ("conf.d/1.yaml", "clusters:\n  b: {endpoint: []}\n"),
            ("conf.d/2.yaml", "# nothing yet\n"),
            ("conf.d/3.yaml", "[a, b]\n"),
            ("conf.d/4.yaml", "a: [\n"),
        ],
    );
    let wrong = folder.wrong();
    let lines: Vec<_> = wrong.lines().collect();
    assert_eq!(lines.len(), 7, "{wrong}");
    for (line, start) in lines.iter().zip([
        "main.yaml:1:26: include[1]: `more.yaml` cannot be read: ",
        "main.yaml:1:37: include[2]: `none/*.yaml` names a folder that cannot be read: ",
        "main.yaml:1:50: include[3]: `*/a.yaml` has a wildcard in the name of a folder",
        "main.yaml:1:62: include[4]: `conf.d` is no file",
        "conf.d/2.yaml:1:1: the file is empty",
        "conf.d/3.yaml:1:1: must be a map",
        "conf.d/4.yaml:",
    ]) {
        assert!(line.starts_with(start), "{line}\nis not: {start}");
    }
    // The whole is only looked at once all of it is there.
    folder.write("main.yaml", &MAIN.replace(", more.yaml", ""));
    for file in ["conf.d/2.yaml", "conf.d/3.yaml", "conf.d/4.yaml"] {
        folder.write(file, "{}");
    }
    assert!(folder.wrong().starts_with("conf.d/1.yaml:2:"), "{}", folder.wrong());
    folder.write("main.yaml", &MAIN.replace("[conf.d/*.yaml, more.yaml]", "conf.d/1.yaml"));
    assert!(folder.wrong().starts_with("main.yaml:1:10: include: must be a list"), "{}", folder.wrong());
}

#[test]
fn what_was_read_is_known_of_a_failure_too() {
    let folder = Folder::with("failed", &[("main.yaml", MAIN), ("conf.d/1.yaml", "nonsense: 1\n")]);
    let file = folder.0.join("main.yaml");
    let reads = Reads::of(&file);
    load_noting(&file, reads.clone(), &|_| None, &[]).unwrap_err();
    let read = reads.files();
    let names = ["conf.d/*.yaml", "conf.d/1.yaml", "main.yaml", "more.yaml"];
    assert_eq!(read.keys().cloned().collect::<Vec<_>>(), names.map(|name| folder.0.join(name)));
    // A file that comes is another listing, and one that is written anew is not.
    let listing = folder.0.join("conf.d/*.yaml");
    folder.write("conf.d/1.yaml", "{}");
    folder.write("conf.d/1.yaml.bak", "{}");
    assert!(read[&listing].is_like(&Print::of_listing(&listing)));
    folder.write("conf.d/2.yaml", "{}");
    assert!(!read[&listing].is_like(&Print::of_listing(&listing)));
}

#[test]
fn all_files_together_have_the_bound_of_one() {
    let large = format!("{}\n{{}}\n", "# nothing\n".repeat(500_000));
    let folder = Folder::with("large", &[("main.yaml", MAIN), ("conf.d/1.yaml", &large), ("more.yaml", &large)]);
    let wrong = folder.wrong();
    assert!(wrong.starts_with("main.yaml:1:26: include[1]: `more.yaml` and the files before it are over"), "{wrong}");
    let many: String = (0..1_001).map(|number| format!("f{number}.yaml, ")).collect();
    let folder = Folder::with("many", &[("main.yaml", &format!("include: [{many}]\nlisteners: {{}}\n"))]);
    for number in 0..1_001 {
        folder.write(&format!("f{number}.yaml"), "{}");
    }
    assert!(folder.wrong().contains("includes more than 1000 files"), "{}", folder.wrong());
}
