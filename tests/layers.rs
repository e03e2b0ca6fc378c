//! The arrows of STRUCTURE.md: who may use whom. Reads every file of `src/` and prints each arrow that is not allowed, with
//! the place of it. And what holds for every file: its size, and the lines that it opens with.

#![allow(clippy::unwrap_used, reason = "helpers of tests, which clippy only knows inside of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// A module of `src/`, and what of the others it may name. `a::b` allows that path only, `a` everything below it.
///
/// `h2` is a state machine without I/O, and `wire`, `route`, `registry`, `balance` are tested without a network:
/// that works for as long as they know nobody above them.
const ALLOWED: [(&str, &[&str]); 22] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "config",
            "filters",
            "observe",
            "schema",
            "upstream::channel",
            "upstream::reflection",
            "upstream::side::Failure",
            "watch",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "balance",
            "call",
            "config",
            "edge",
            "filters",
            "in_force",
            "observe",
            "registry",
            "schema",
            "serve",
            "store",
            "upstream",
            "watch::Print",
        ],
    ),
    ("edge", &["call", "config::snapshot", "h2", "observe", "registry::Connection", "wire"]),
    (
        "call",
        &[
            "balance",
            "config::snapshot",
            "expr",
            "filters",
            "h2",
            "in_force",
            "observe",
            "registry",
            "route",
            "upstream",
            "wire",
        ],
    ),
    ("upstream", &["balance", "h2", "observe", "registry", "schema", "wire"]),
    ("validate", &["expr", "schema"]),
    ("watch", &[]),
    ("expr", &["schema"]),
    ("in_force", &["config::snapshot", "upstream"]),
    ("serve", &["config::snapshot", "in_force", "route", "schema", "upstream"]),
    ("schema", &[]),
    ("balance", &["registry"]),
    ("store", &["registry"]),
    ("registry", &["observe"]),
    (
        "config",
        &["balance", "expr", "filters", "observe", "route", "schema", "validate", "watch::Print", "watch::listing"],
    ),
    ("admin", &["config::MOST_BYTES", "config::snapshot", "observe"]),
    ("filters", &[]),
    ("observe", &[]),
    ("h2", &[]),
    ("wire", &[]),
    ("route", &[]),
];

/// Other people's types that must not spread: the crate, and the modules whose matter they are.
const AT_THE_RIM: [(&str, &[&str]); 36] = [
    ("buffa", &["schema"]),
    ("buffa_descriptor", &["schema"]),
    ("cel", &["expr"]),
    ("chrono", &["expr::time"]),
    ("chrono_tz", &["expr::time"]),
    ("jsonschema", &["validate::json"]),
    ("protox", &["schema::files"]),
    ("tonic_reflection", &["serve", "upstream::reflection"]),
    ("portunus_tls", &["admin", "app", "config", "edge", "upstream"]),
    // By what TLS is done is the matter of the crate `portunus-tls`.
    ("rustls", &[]),
    ("rustls_native_certs", &[]),
    ("tokio_rustls", &[]),
    ("x509_parser", &[]),
    ("redb", &["store"]),
    ("notify", &["watch::eyes"]),
    ("glob", &["watch::listing"]),
    ("rustix", &["app::handover::line", "cli::systemd"]),
    ("listenfd", &["cli::systemd"]),
    // One hash for all proxies: whoever needs a key's asks `balance::hash_of`.
    ("twox_hash", &["balance::keyed"]),
    ("flate2", &["wire::compress"]),
    ("http", &["admin", "cli::call", "serve", "upstream::channel", "upstream::fetch", "upstream::reflection"]),
    ("http_body_util", &["admin", "upstream::fetch"]),
    ("hyper", &["admin", "upstream::fetch"]),
    ("hyper_util", &["admin", "upstream::channel", "upstream::fetch"]),
    // The demo is a caller of its own proxy.
    (
        "tonic",
        &[
            "cli::call",
            "cli::demo",
            "cli::dial",
            "serve",
            "upstream::channel",
            "upstream::core",
            "upstream::line",
            "upstream::probe",
            "upstream::reflection",
            "upstream::side",
        ],
    ),
    // Its protobuf types only: the details of a status.
    ("tonic_types", &["cli::call", "cli::demo", "wire::status"]),
    // Nothing that runs trusts what is made to be thrown away.
    ("portunus_dev", &["cli::demo", "cli::dev"]),
    ("filter_jwt", &["filters"]),
    ("filter_authz", &["filters"]),
    ("filter_limits", &["filters"]),
    ("filter_metadata", &["filters"]),
    ("filter_peer", &["filters"]),
    // Its files outlive configurations, and are verified by hand.
    ("filter_audit", &["app::audit", "cli::audit", "filters"]),
    ("filter_rate_limit", &["filters"]),
    ("filter_redact", &["filters"]),
    ("filter_validate", &["filters"]),
];

/// Files over 500 lines, and why they are.
const WAIVERS: [(&str, &str); 0] = [];
const MOST_LINES: usize = 500;

#[test]
fn modules_use_only_what_lies_below_them() {
    let wrong: Vec<String> = sources().iter().flat_map(|source| source.arrows().filter_map(not_allowed)).collect();
    assert!(wrong.is_empty(), "arrows that tests/layers.rs does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_its_line() {
    let known = |name: &str| ALLOWED.iter().any(|(module, _)| *module == name);
    let missing: Vec<_> = sources()
        .into_iter()
        .map(|source| source.module[0].clone())
        .filter(|name| name != "lib" && !known(name))
        .collect();
    assert!(missing.is_empty(), "new in src/, and without a line in tests/layers.rs: {missing:?}");
}

#[test]
fn other_peoples_types_stay_at_the_rim() {
    let mut wrong = Vec::new();
    for (name, modules) in AT_THE_RIM {
        let used = Regex::new(&format!(r"(^|[^\w:]){name}::")).unwrap();
        for source in sources() {
            let module = source.module.join("::");
            if modules.iter().any(|allowed| is_below(&module, allowed)) {
                continue;
            }
            let places = used.find_iter(&source.code).map(|found| source.place(found.end()));
            wrong.extend(places.map(|place| format!("{place}: {module} names the crate {name}")));
        }
    }
    assert!(wrong.is_empty(), "crates outside their modules:\n{}", wrong.join("\n"));
}

#[test]
fn filters_know_the_contract_and_nothing_of_the_proxy() {
    let ours = ["fields", "filter-api", "filter-testkit"];
    let mut folders = folders_in("filters");
    folders.push(root().join("examples/hello_filter"));
    let mut checked = 0;
    for folder in folders {
        let text = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let names: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(['.', ' ', '='])).map(|(n, _)| n).collect();
        let of_ours = |name: &&str| name.starts_with("filter-") || name.starts_with("portunus") || *name == "fields";
        let foreign: Vec<_> = names.into_iter().filter(of_ours).filter(|name| !ours.contains(name)).collect();
        assert!(foreign.is_empty(), "{} depends on {foreign:?}", folder.display());
        checked += 1;
    }
    assert!(checked >= 5, "only {checked} crates were looked at");
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let (lines, waived) = (text.lines().count(), WAIVERS.iter().any(|(waived, _)| *waived == name));
        if lines > MOST_LINES && !waived {
            wrong.push(format!("{name}: {lines} lines, and {MOST_LINES} is the most: split it by what it does"));
        }
        if waived && lines <= MOST_LINES {
            wrong.push(format!("{name}: its waiver in tests/layers.rs is not needed any more"));
        }
        // A test module beside its file is said by the file.
        if !text.starts_with("//!") && !is_test(&path) {
            wrong.push(format!("{name}: does not open with `//!` and what it is for"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The checks above find what they look for: without this, a reader that reads nothing would pass.
#[test]
fn an_arrow_in_any_spelling_is_found() {
    let text = "//! x\nuse crate::{a, b::c};\nuse crate::d::{self, e::{F, G as H}};\nfn f() { crate::i::j() }\n\
        // crate::comment\nuse super::super::k::l;\nuse super::sibling;\n#[cfg(test)]\nmod tests { use crate::only_a_test; }\n";
    let source = Source::of(Path::new("src/m/n.rs"), text);
    let found: Vec<_> = source.arrows().map(|arrow| (arrow.to.join("::"), arrow.place)).collect();
    let place = |line: usize| format!("src/m/n.rs:{line}");
    let wanted = [("a", 2), ("b::c", 2), ("d", 3), ("d::e::F", 3), ("d::e::G", 3), ("i::j", 4), ("k::l", 6)];
    assert_eq!(found, wanted.map(|(to, line)| (to.to_owned(), place(line))));

    let arrow = |from: &str, to: &str| {
        let path = |text: &str| text.split("::").map(str::to_owned).collect();
        not_allowed(Arrow { from: path(from), to: path(to), place: place(1) }).is_some()
    };
    assert!(
        arrow("h2::stream", "call::serve")
            && arrow("edge::conn", "registry::Registry")
            && arrow("call", "config::Config")
    );
    assert!(!arrow("edge::conn", "registry::Connection") && !arrow("call::mod", "config::snapshot::Route"));
}

/// A file, and what of it is code that runs.
struct Source {
    path: PathBuf,
    module: Vec<String>,
    /// The text up to its test module, comments blanked: places in it are places in the file.
    code: String,
}

/// A path that a module names in another.
struct Arrow {
    from: Vec<String>,
    to: Vec<String>,
    place: String,
}

impl Source {
    fn of(path: &Path, text: &str) -> Self {
        let mut module: Vec<String> =
            path.with_extension("").iter().skip(1).map(|part| part.to_string_lossy().into_owned()).collect();
        if module.len() > 1 && module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let blank = |line: &str| if line.trim_start().starts_with("//") { String::new() } else { line.to_owned() };
        let code = text.lines().map(blank).collect::<Vec<_>>().join("\n");
        Self { path: path.to_owned(), module, code }
    }

    /// Every path that begins at the crate, however it is spelled.
    fn arrows(&self) -> impl Iterator<Item = Arrow> {
        let begin = Regex::new(r"\b(?:crate::|portunus::|(?:super::)+)").unwrap();
        let mut arrows = Vec::new();
        for found in begin.find_iter(&self.code) {
            let supers = found.as_str().matches("super::").count();
            // A file's own module is its first `super`.
            let within = supers > 0 && supers < self.module.len();
            // The library's own name is how the binary reaches it; elsewhere it is a word in a text.
            if within || (found.as_str() == "portunus::" && self.module != ["main"]) {
                continue;
            }
            for to in paths(&self.code[found.end()..]) {
                arrows.push(Arrow { from: self.module.clone(), to, place: self.place(found.end()) });
            }
        }
        arrows.into_iter()
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.code[..at].matches('\n').count() + 1)
    }
}

/// The paths of a use tree, such as `a::{self, b::C}`, or of a path in code, such as `a::b(…)`.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let name = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    if let Some(group) = tree.strip_prefix('{') {
        return branches(group).into_iter().flat_map(|branch| paths(branch.trim())).collect();
    }
    let (first, rest) = tree.split_at(name(tree));
    let first = if first == "self" { vec![] } else { vec![first.to_owned()] };
    match rest.strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c == '{' || c.is_alphabetic() || c == '_') => {
            paths(rest).into_iter().map(|path| [first.clone(), path].concat()).collect()
        }
        _ => vec![first],
    }
}

/// The text up to the brace that closes, split at the commas that are not in inner braces.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut branches) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                branches.push(&group[from..at]);
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    branches.retain(|branch| !branch.trim().is_empty());
    branches
}

fn not_allowed(Arrow { from, to, place }: Arrow) -> Option<String> {
    let (from, to) = (from.join("::"), to.join("::"));
    let module = from.split("::").next().unwrap_or_default();
    // `crate::path!` is the configuration's macro; macros stand at the crate's root wherever they are written.
    let to = if to == "path" { "config".to_owned() } else { to };
    // `lib.rs` lists all modules.
    if module == "lib" || is_below(&to, module) {
        return None;
    }
    let (_, allowed) = ALLOWED.iter().find(|(name, _)| *name == module)?;
    let fine = allowed.iter().any(|allowed| is_below(&to, allowed));
    (!fine).then(|| format!("{place}: {from} → {to}   ({module} may use: {})", allowed.join(", ")))
}

fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The files of `src/` but for tests, which may use whatever they need to build what they test.
fn sources() -> Vec<Source> {
    let files = files_below(&root().join("src"));
    let sources: Vec<_> = files
        .iter()
        .filter(|path| !is_test(path))
        .map(|path| Source::of(path.strip_prefix(root()).unwrap(), &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(sources.len() > 80, "only {} files in src/", sources.len());
    sources
}

fn rust_files() -> Vec<PathBuf> {
    let folders = [
        "src",
        "fields",
        "json",
        "tls/src",
        "tokens",
        "filters",
        "proto",
        "examples",
        "tests",
        "benches",
        "fuzz/targets",
    ];
    folders.iter().flat_map(|folder| files_below(&root().join(folder))).collect()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn folders_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.join("Cargo.toml").is_file()).collect()
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
