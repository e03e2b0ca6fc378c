//! Every configuration that people are shown loads, the sample of DESIGN.md §2 lacks exactly what is still to come, and
//! every configuration in tests/malformed gets exactly the errors that its `#!` lines list.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which clippy only knows inside of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use filter_api::{BuildCx, BuildError, Factory, Filter, Known, Phase};
use portunus::config::snapshot::build;
use portunus::config::{Errors, Loaded, load, load_str, render_defaults};

/// Keys, values and filters of the sample in DESIGN.md §2 that this version does not know yet: their path as errors show
/// it, and the word. Whoever builds one takes it out here.
const STILL_TO_COME: [(&str, &str); 5] = [
    ("clusters.agents", "outlier"),
    ("clusters.shannon", "keepalive"),
    ("listeners.edge", "protocols"),
    ("listeners.edge.routes[1]", "retry"),
    ("listeners.edge.routes[1]", "http"),
];

#[test]
fn the_sample_of_the_design_lacks_what_is_still_to_come() {
    let errors = load_file(&root().join("tests/samples/design.yaml")).unwrap_err();
    let mut found: Vec<(String, String)> = Vec::new();
    for problem in errors.problems() {
        let word = problem.message.strip_prefix("unknown ").and_then(|rest| rest.split('`').nth(1));
        let word = word.unwrap_or(&problem.message);
        found.push((problem.path.to_string(), word.to_owned()));
    }
    let mut wanted: Vec<_> = STILL_TO_COME.map(|(path, word)| (path.to_owned(), word.to_owned())).to_vec();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn every_malformed_configuration_gets_its_errors() {
    let folder = root().join("tests/malformed");
    let mut names: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 30, "{}", names.len());
    let mut wrong = String::new();
    for path in names {
        let text = fs::read_to_string(&path).unwrap();
        let (configuration, wanted): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| !line.starts_with("#! "));
        let name = path.file_name().unwrap();
        // What is wrong with expressions is found when they are compiled, and those of filters need filters that take some.
        let of_ours = [
            "expressions.yaml",
            "validate.yaml",
            "tokens.yaml",
            "optional-token.yaml",
            "behind.yaml",
            "audit-fields.yaml",
        ]
        .iter()
        .any(|own| name == *own);
        let known = if of_ours { portunus::filters::ALL } else { &own_filters() };
        let read = load_str(&text, Path::new(name), &environment, known);
        let built = read.and_then(|loaded| build(&loaded, known, 1));
        let errors = built.expect_err(&path.display().to_string());
        // Lines of the file without its own name in front.
        let prefix = format!("{}:", name.display());
        let found: Vec<_> = errors.to_string().lines().map(|line| line.replacen(&prefix, "#! ", 1)).collect();
        if found != wanted {
            wrong.push_str(&format!(
                "\n{}: found\n{}\nwanted\n{}\n",
                name.display(),
                found.join("\n"),
                wanted.join("\n")
            ));
            if std::env::var_os("REGENERATE").is_some() {
                fs::write(&path, configuration.join("\n") + "\n" + &found.join("\n") + "\n").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nREGENERATE=1 writes what was found; read it before you commit it");
}

#[test]
fn every_sample_loads_and_so_does_what_its_defaults_print() {
    let mut samples = 0;
    for path in yaml_files(&root().join("config")) {
        assert_loads(&fs::read_to_string(&path).unwrap(), &path);
        samples += 1;
    }
    for path in pages() {
        for block in yaml_blocks(&fs::read_to_string(&path).unwrap_or_default()) {
            assert_loads(&block, &path);
        }
    }
    assert!(samples >= 3, "config/ has only {samples} samples");
}

#[test]
fn yaml_blocks_of_a_page_are_found() {
    let page = "text\n```yaml\na: 1\n```\n```sh\nb\n```\n1. list\n\n   ```yaml\n   c:\n     d: 1\n   ```\n";
    assert_eq!(yaml_blocks(page), ["a: 1\n", "c:\n  d: 1\n"]);
}

/// Whatever else is wrong with a file, there is no panic, and what loads prints to something that loads to the same.
#[test]
fn mutated_samples_are_refused_or_round_trip() {
    let mut loaded = 0;
    for path in yaml_files(&root().join("config")).chain(yaml_files(&root().join("tests/samples"))) {
        let text = fs::read_to_string(&path).unwrap();
        for seed in 0..400 {
            let mutated = mutate(&text, seed);
            if let Ok(first) = read(&mutated, &path) {
                assert_round_trip(&first, &path);
                loaded += 1;
            }
        }
    }
    // Comments and numbers are changed too, so a good share still loads.
    assert!(loaded > 100, "only {loaded} loaded: the mutations are too wild to test anything");
}

/// A line dropped, doubled, moved in or out, or a character changed; the same for the same seed.
fn mutate(text: &str, seed: u64) -> String {
    // splitmix64: a few lines, and the same on every machine.
    let mut state = seed;
    let mut next = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=next(3) {
        let at = next(lines.len());
        match next(5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines[at].insert_str(0, "  "),
            3 => lines[at] = lines[at].trim_start().to_owned(),
            _ => {
                let mut characters: Vec<char> = lines[at].chars().collect();
                let new = "0a:-{}[]\"'#$&*!|>%@ \u{85}\u{2028}é".chars().nth(next(22)).unwrap();
                match characters.len() {
                    0 => characters.push(new),
                    length => characters[next(length)] = new,
                }
                lines[at] = characters.into_iter().collect();
            }
        }
    }
    lines.join("\n")
}

fn assert_loads(text: &str, path: &Path) {
    match read(text, path) {
        Ok(loaded) => {
            assert_round_trip(&loaded, path);
            // Expressions and filters are only looked at when what runs is built. So are certificates, which no sample has.
            let folder = text.contains("tls:").then(Certificates::for_samples);
            let loaded = match &folder {
                Some(folder) => read(text, &folder.0.join("sample.yaml")).unwrap(),
                None => loaded,
            };
            build(&loaded, &filters(), 1).unwrap_or_else(|errors| panic!("{}:\n{text}\n{errors}", path.display()));
        }
        Err(errors) => panic!("{}:\n{text}\n{errors}", path.display()),
    }
}

/// A folder with the certificates that samples name, and the token.
struct Certificates(PathBuf);

impl Certificates {
    fn for_samples() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair, SerialNumber};
        let folder = std::env::temp_dir().join(format!("portunus-samples-{}", std::process::id()));
        fs::create_dir_all(folder.join("tls")).unwrap();
        let mut params = CertificateParams::new(vec!["edge.test".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let write = |name: &str, text: String| fs::write(folder.join("tls").join(name), text).unwrap();
        write("edge.pem", ca.pem());
        write("edge.key", ca.key().serialize_pem());
        write("clients-ca.pem", ca.pem());
        write("ca.pem", ca.pem());
        write("keycloak-ca.pem", ca.pem());
        write("proxy.pem", ca.pem());
        write("proxy.key", ca.key().serialize_pem());
        write("clients.crl.pem", list.signed_by(&ca).unwrap().pem().unwrap());
        fs::create_dir_all(folder.join("protos")).unwrap();
        for proto in ["aegis/seal_gateway/v1/seal_gateway.proto", "openastra/agent.proto"] {
            let from = root().join("proto/protos").join(proto);
            fs::copy(&from, folder.join("protos").join(from.file_name().unwrap())).unwrap();
        }
        let token = folder.join("admin.token");
        fs::write(&token, "0123456789abcdef".repeat(4)).unwrap();
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self(folder)
    }
}

fn assert_round_trip(loaded: &Loaded, path: &Path) {
    let printed = render_defaults(&loaded.config);
    let again = read(&printed, path).unwrap_or_else(|errors| panic!("{printed}\n{errors}"));
    assert_eq!(again.config, loaded.config, "{printed}");
    assert_eq!(render_defaults(&again.config), printed);
}

fn load_file(path: &Path) -> Result<Loaded, Errors> {
    load(path, &environment, &filters())
}

fn read(text: &str, path: &Path) -> Result<Loaded, Errors> {
    load_str(text, path, &environment, &filters())
}

fn environment(name: &str) -> Option<String> {
    match name {
        "HOST" => Some("db.internal".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// What people are shown may use the proxy's filters, and the one that docs/writing-a-filter.md is about.
fn filters() -> Vec<Known> {
    let hello = Known::of::<hello_filter::AtOnce>();
    portunus::filters::ALL.iter().copied().chain([hello]).chain(own_filters()).collect()
}

/// Filters of our own, so that error messages that list them do not change with every filter that comes: one authenticates,
/// one has every form of configuration that serde and schemars derive.
fn own_filters() -> [Known; 2] {
    [Known::of::<Password>(), Known::of::<Shape>()]
}

struct Password;
struct Shape;

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct PasswordConfig {
    word: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
struct ShapeConfig {
    size: Option<filter_api::units::Size>,
    kind: Option<Kind>,
    mode: Option<Mode>,
    list: Option<Vec<u8>>,
    number: Option<f64>,
    truth: Option<bool>,
    any: Option<serde_json::Value>,
    word: Option<String>,
    inner: Option<Box<ShapeConfig>>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Circle,
    Square,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Mode {
    Fast,
    Slow { delay: filter_api::units::Period },
}

impl Factory for Password {
    const NAME: &'static str = "password";
    const PHASE: Phase = Phase::Authenticate;
    type Config = PasswordConfig;

    fn build(_: PasswordConfig, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        Err(BuildError::at(&[], "is never built"))
    }
}

impl Factory for Shape {
    const NAME: &'static str = "shape";
    const PHASE: Phase = Phase::Limit;
    type Config = ShapeConfig;

    fn build(_: ShapeConfig, _: &mut BuildCx<'_>) -> Result<Box<dyn Filter>, BuildError> {
        Err(BuildError::at(&[], "is never built"))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
}

/// README and every page below docs/.
fn pages() -> Vec<PathBuf> {
    let mut folders = vec![root().join("docs")];
    let mut pages = vec![root().join("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages
}

/// The texts between "```yaml" and "```", without the indent that they have in a list.
fn yaml_blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        match (&mut open, line.trim_start()) {
            (None, "```yaml") => open = Some((indent, String::new())),
            (None, _) => {}
            (Some(_), "```") => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                block.push_str(line.get(*indent..).unwrap_or_default());
                block.push('\n');
            }
        }
    }
    blocks
}
