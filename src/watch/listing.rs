//! The files of one folder whose names fit a pattern, such as `conf.d/*.yaml`.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::eyes::folder;

/// The most entries of a folder that are looked at: somebody may have named a folder of something else.
const MOST_ENTRIES: usize = 10_000;

/// As in a shell: `*` is not for hidden files, among which editors and Kubernetes keep what is not meant.
const AS_IN_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether a path has a pattern for its last part.
pub fn is_pattern(path: &Path) -> bool {
    path.file_name().is_some_and(|name| has_wildcards(Path::new(name)))
}

/// Whether any part of a path is a pattern.
pub fn has_wildcards(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|octet| b"*?[".contains(octet))
}

/// The files that a pattern stands for, by name. Its last part is the pattern, the rest is a folder.
///
/// # Errors
/// It is no such pattern, or the folder cannot be read: why, in words that follow the pattern.
pub fn files(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let name = pattern.file_name().and_then(|name| name.to_str()).ok_or("has no pattern at its end")?;
    let name = Pattern::new(name).map_err(|error| format!("is no pattern: {}", error.msg))?;
    let folder = folder(pattern);
    let unreadable = |error: std::io::Error| format!("names a folder that cannot be read: {error}");
    let mut files = Vec::new();
    for (at, entry) in std::fs::read_dir(folder).map_err(unreadable)?.enumerate() {
        if at == MOST_ENTRIES {
            return Err(format!("names a folder with over {MOST_ENTRIES} entries: put the files in one of their own"));
        }
        let entry = entry.map_err(unreadable)?.file_name();
        if entry.to_str().is_some_and(|entry| name.matches_with(entry, AS_IN_A_SHELL)) {
            files.push(pattern.with_file_name(entry));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_the_files_of_its_folder() {
        let folder = std::env::temp_dir().join(format!("portunus-listing-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("..data")).unwrap();
        for name in ["b.yaml", "a.yaml", ".hidden.yaml", "a.yaml~", "A.YAML", "c.yml"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let names = |pattern: &str| {
            let files = files(&folder.join(pattern))?;
            let name = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
            Ok::<Vec<String>, String>(files.iter().map(name).collect())
        };
        assert_eq!(names("*.yaml"), Ok(vec!["a.yaml".to_owned(), "b.yaml".to_owned()]));
        assert_eq!(names("[bc].y*ml"), Ok(vec!["b.yaml".to_owned(), "c.yml".to_owned()]));
        assert_eq!(names("?.conf"), Ok(Vec::new()));
        let refused = |pattern: &str| names(pattern).unwrap_err();
        assert!(refused("[a").starts_with("is no pattern: "), "{}", refused("[a"));
        assert!(has_wildcards(Path::new("*/a.yaml")) && !is_pattern(Path::new("*/a.yaml")));
        assert!(refused("none/*.yaml").contains("cannot be read"), "{}", refused("none/*.yaml"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
