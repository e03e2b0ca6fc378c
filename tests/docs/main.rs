//! Documentation that can be wrong is checked: reason words, dependencies, links, and the page of all keys.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy only knows inside of tests")]

mod configuration;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use filter_api::{Code, Reason};

#[test]
fn every_reason_is_documented() {
    let page = read("docs/errors.md");
    let sections: Vec<(&str, &str)> = page
        .split("\n### ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .map(|(word, text)| (word, text.split("\n## ").next().unwrap_or_default().trim()))
        .collect();
    let words: BTreeSet<&str> = sections.iter().map(|(word, _)| *word).collect();
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words, reasons, "the headings of docs/errors.md and the words of filters/api/src/reason.rs");
    assert_eq!(words.len(), sections.len(), "a word has two sections");
    for (word, text) in sections {
        let names_a_status = Code::ALL.iter().any(|code| *code != Code::Ok && text.contains(code.as_str()));
        assert!(names_a_status || word == "owner", "{word}: which status?");
        assert!(text.lines().count() >= 2, "{word}: says what it is, and not what to do");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("[workspace.dependencies]").unwrap();
    let (shared, _) = rest.split_once("[workspace.lints").unwrap();
    let (_, others) = shared.split_once("# other people's").unwrap();
    let names: BTreeSet<&str> =
        others.lines().skip(1).filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    let page = read("docs/decisions/0002-dependencies.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let told: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
    assert!(names.len() > 30, "{names:?}");
    assert_eq!(told, names, "docs/decisions/0002-dependencies.md and [workspace.dependencies]");
}

#[test]
fn links_lead_somewhere() {
    let mut checked = 0;
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in links(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let there = to.exists() && (anchor.is_empty() || has_heading(&to, anchor));
            if !there {
                broken.push(format!("{}: {target}", page.display()));
            }
            checked += 1;
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(checked > 40, "only {checked} links were found");
}

#[test]
fn links_are_found_outside_of_code() {
    let page = "[a](b.md) `[c](d)` [e](https://f.g) [h](i#j)\n```\n[k](l)\n```\n[m](#n)\n";
    assert_eq!(links(page), ["b.md", "i#j", "#n"]);
}

/// Targets of links to files of ours; those in code are examples.
fn links(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for text in page.split("```").step_by(2) {
        for part in text.split('`').step_by(2) {
            let targets = part.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.filter(|target| !target.contains("://")));
        }
    }
    found
}

/// Whether a page has a heading with this anchor, as GitHub makes them.
fn has_heading(page: &Path, anchor: &str) -> bool {
    let text = fs::read_to_string(page).unwrap_or_default();
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| slug(line.trim_start_matches(['#', ' '])));
    headings.into_iter().any(|heading| heading == anchor)
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    for folder in ["docs", "docs/decisions", "config", "tests/peers", "tests/peers/bindu"] {
        let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    pages
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
