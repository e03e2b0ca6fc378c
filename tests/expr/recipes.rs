//! The recipes of docs/expressions.md: each loads, and each of its expressions gives what the page says. The recipes and their expressions
//! are looked for on the page, so that one without expectations here is a failure, and so is an expectation without its recipe.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use chrono::DateTime;
use fields::Fields;
use portunus::expr::{Expression, Facts, MAX_COST, Moment, Place, Registration, Wanted};
use portunus::schema::{Definitions, Writer, from_protos};
use portunus::{app, config, filters};
use serde_json::{Value as Json, json};

/// By heading and path: what calls get.
type Expected = BTreeMap<(&'static str, &'static str), Vec<(Case, &'static str)>>;

/// A call, as far as recipes look at it.
#[derive(Clone, Default)]
struct Case {
    metadata: Vec<(&'static str, &'static str)>,
    called: (&'static str, &'static str),
    peer: Option<&'static str>,
    time: Option<&'static str>,
    status: Option<i32>,
    author: Option<&'static str>,
    config: Json,
    message: Option<Vec<u8>>,
}

impl Case {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.metadata.push((name, value));
        self
    }

    fn calls(self, service: &'static str, method: &'static str) -> Self {
        Self { called: (service, method), ..self }
    }

    fn at(self, time: &'static str) -> Self {
        Self { time: Some(time), ..self }
    }

    fn ended(self, status: i32) -> Self {
        Self { status: Some(status), ..self }
    }

    /// What the expression gives: the value, `null`, or `!` and why there is none.
    fn gives(&self, expression: &Expression, wanted: Wanted) -> String {
        let mut metadata = Fields::default();
        for (name, value) in &self.metadata {
            metadata.push(name, value.as_bytes());
        }
        let registration = self.author.map(|author| Registration {
            agent_id: "00000000-0000-0000-0000-000000000001",
            author,
            name: "agent",
            callback: "127.0.0.1:50051",
            config: &self.config,
        });
        let facts = Facts {
            service: Some(self.called.0),
            method: Some(self.called.1),
            time: self.time.map(moment),
            metadata: Some(&metadata),
            peer: self.peer.map(|peer| peer.parse().unwrap()),
            registration,
            message: self.message.as_deref(),
            status: self.status,
            ..Facts::default()
        };
        let definition = SCHEMAS.iter().find_map(|schema| schema.get(self.called.0, self.called.1));
        if let Some(definition) = definition {
            expression.bind(definition).unwrap_or_else(|problems| panic!("{expression:?}: {problems:?}"));
        }
        let definition = definition.map(|definition| definition.id);
        let given = match wanted {
            Wanted::Truth => expression.holds(&facts, definition).map(|holds| holds.to_string()),
            Wanted::Text => expression.gives(&facts, definition).map(|text| text.unwrap_or_else(|| "null".to_owned())),
        };
        given.unwrap_or_else(|failure| format!("! {failure}"))
    }
}

fn from(peer: &'static str) -> Case {
    Case { peer: Some(peer), ..Case::default() }
}

fn call() -> Case {
    Case::default()
}

fn registers(author: &'static str, config: Json) -> Case {
    Case { author: Some(author), config, ..Case::default() }
}

fn says(service: &'static str, method: &'static str, message: Vec<u8>) -> Case {
    Case { message: Some(message), ..call().calls(service, method) }
}

fn moment(text: &str) -> Moment {
    let time = DateTime::parse_from_rfc3339(text).unwrap();
    Moment::new(time.timestamp(), time.timestamp_subsec_nanos().into()).unwrap()
}

/// Of the services whose messages recipes read.
static SCHEMAS: LazyLock<[Definitions; 2]> = LazyLock::new(|| {
    let root = root().join("proto/protos");
    ["bindu/agent_handler.proto", "shannon/orchestrator.proto"].map(|file| {
        let own = from_protos(&[root.join(file)], std::slice::from_ref(&root));
        Definitions::of(Arc::new(own.unwrap_or_else(|error| panic!("{file}: {error}"))))
    })
});

fn message(number: u32, octets: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.octets(number, octets);
    writer.finish()
}

const HANDLER: &str = "bindu.grpc.AgentHandler";
const SHANNON: &str = "shannon.orchestrator.OrchestratorService";
const STREAMING: &str = "shannon.orchestrator.StreamingService";
const NO_KEY: &str = "! no such key";

fn expected() -> Expected {
    let route = "listeners.edge.routes[0].match.when";
    let mut all = Expected::new();
    all.insert(
        ("A canary, by header and for some tenants", route),
        vec![
            (call().with("x-canary", "1"), "true"),
            (call().with("x-tenant", "acme"), "true"),
            (call().with("x-tenant", "other"), "false"),
            (call().with("x-tenant", "acme").with("x-tenant", "other"), "false"),
            (call(), "false"),
        ],
    );
    all.insert(
        ("Office hours", route),
        vec![
            (call().at("2026-07-01T06:00:00Z"), "true"),
            (call().at("2026-07-01T05:59:59Z"), "false"),
            (call().at("2026-12-02T06:00:00Z"), "false"),
            (call().at("2026-12-02T07:00:00Z"), "true"),
            (call().at("2026-12-02T16:59:59Z"), "true"),
            (call().at("2026-12-02T17:00:00Z"), "false"),
            // From Saturday to Monday.
            (call().at("2026-11-28T12:00:00Z"), "false"),
            (call().at("2026-11-29T12:00:00Z"), "false"),
            (call().at("2026-11-30T12:00:00Z"), "true"),
        ],
    );
    all.insert(
        ("Reading for everybody, the rest from inside", route),
        vec![
            (from("192.0.2.7").calls("a.Store", "GetThing"), "true"),
            (from("192.0.2.7").calls("a.Store", "DeleteThing"), "false"),
            (from("192.0.2.7").calls("a.Store", "Getaway"), "false"),
            (from("10.255.0.1").calls("a.Store", "DeleteThing"), "true"),
            (from("::ffff:10.255.0.1").calls("a.Store", "DeleteThing"), "true"),
            (from("fd12::1").calls("a.Store", "DeleteThing"), "true"),
            (from("2001:db8::1").calls("a.Store", "DeleteThing"), "false"),
        ],
    );
    let long = (0..51).flat_map(|_| message(1, b"")).collect();
    all.insert(
        ("Long conversations to larger instances", route),
        vec![
            (says(HANDLER, "HandleMessages", long), "true"),
            (says(HANDLER, "HandleMessages", message(1, b"")), "false"),
            (says(HANDLER, "HandleMessages", Vec::new()), "false"),
        ],
    );
    keys_and_names(&mut all);
    registry(&mut all);
    log(&mut all);
    metadata(&mut all);
    all
}

fn keys_and_names(all: &mut Expected) {
    all.insert(
        ("Sessions that stay, each tenant's by itself", "clusters.chat.hash_by"),
        vec![
            (call().with("x-tenant", "acme").with("x-session-id", "7"), "acme/7"),
            (call().with("x-tenant", "other").with("x-session-id", "7"), "other/7"),
            (call().with("x-tenant", "acme"), NO_KEY),
        ],
    );
    let sessions = "Sessions by a field of the message, whatever the method calls it";
    all.insert(
        (sessions, "clusters.shannon.hash_by.*/SubmitTask"),
        vec![
            (says(SHANNON, "SubmitTask", message(1, &message(3, b"s7"))), "s7"),
            (says(SHANNON, "SubmitTask", Vec::new()), ""),
            (call().calls(SHANNON, "SubmitTask"), "! a name in it has no value for this call"),
            (call().calls("a.Stranger", "SubmitTask"), "! the schema of the message is not known yet"),
        ],
    );
    all.insert(
        (sessions, "clusters.shannon.hash_by.*/StreamTaskExecution"),
        vec![(says(STREAMING, "StreamTaskExecution", message(1, b"w7")), "w7")],
    );
    all.insert(
        (sessions, "clusters.shannon.hash_by.default"),
        vec![(call().with("x-session-id", "7"), "7"), (call(), NO_KEY)],
    );
    all.insert(
        ("The agent of a tenant", "listeners.callback.routes[0].agent"),
        vec![(call().with("x-tenant", "acme"), "support-acme"), (call(), "")],
    );
}

fn registry(all: &mut Expected) {
    let recipe = "Only authors of our domain register, each team for itself";
    all.insert(
        (recipe, "clusters.agents.registry.admit"),
        vec![
            (registers("ops@example.com", json!({"name": "n"})), "true"),
            (registers("ops@example.com", json!({"debug": false})), "true"),
            (registers("ops@example.com", json!({"debug": true})), "false"),
            (registers("ops@example.com.test", json!({})), "false"),
            (registers("ops@notexample.com", json!({})), "false"),
        ],
    );
    all.insert(
        (recipe, "clusters.agents.registry.owner"),
        vec![(call().with("x-team", "ops"), "ops"), (call(), NO_KEY)],
    );
}

fn log(all: &mut Expected) {
    let when = "access_log.when";
    all.insert(
        ("Write down what fails, and a hundredth of the rest", when),
        vec![
            (call().ended(14).at("2026-07-01T06:00:00.500Z"), "true"),
            (call().ended(0).at("2026-07-01T06:00:00.500Z"), "false"),
            (call().ended(0).at("2026-07-01T06:00:00.010Z"), "false"),
            (call().ended(0).at("2026-07-01T06:00:00.009Z"), "true"),
        ],
    );
    all.insert(
        ("Write down one tenant's calls, and no health checks", when),
        vec![
            (call().ended(0).with("x-tenant", "acme"), "true"),
            (call().ended(0).with("x-tenant", "other"), "false"),
            (call().ended(5), "false"),
            (call().ended(13), "true"),
            (call().ended(13).calls("grpc.health.v1.Health", "Check"), "false"),
        ],
    );
}

fn metadata(all: &mut Expected) {
    let recipe = "Tell the backend who called what";
    all.insert(
        (recipe, "listeners.edge.routes[0].filters[0].metadata.set_expr.x-caller-address"),
        vec![(from("192.0.2.7"), "192.0.2.7"), (from("::ffff:192.0.2.7"), "192.0.2.7")],
    );
    all.insert(
        (recipe, "listeners.edge.routes[0].filters[0].metadata.set_expr.x-called"),
        vec![(call().calls("a.Store", "GetThing"), "a.Store/GetThing")],
    );
    all.insert(
        (recipe, "listeners.edge.routes[0].filters[0].metadata.set_expr.x-tier"),
        vec![
            (call().with("x-tier", "gold"), "gold"),
            (call().with("x-tier", "gold").with("x-tier", "gold"), "null"),
            (call().with("x-tier", "silver"), "null"),
            (call(), "null"),
        ],
    );
    all.insert(
        (recipe, "listeners.edge.routes[0].filters[0].metadata.response.set_expr.x-received-at"),
        vec![(call().at("2026-07-01T06:00:00Z"), "2026-07-01T06:00:00Z")],
    );
}

#[test]
fn every_recipe_loads_and_every_expression_of_one_gives_what_it_must() {
    let recipes = recipes(&std::fs::read_to_string(root().join("docs/expressions.md")).unwrap());
    assert!(recipes.len() >= 10, "{} recipes", recipes.len());
    let mut expected = expected();
    let mut wrong = Vec::new();
    for (heading, block) in &recipes {
        let found = expressions(block);
        assert!(!found.is_empty(), "`{heading}` has no expression");
        for (path, text, place, wanted) in found {
            let expression = Expression::compile(&text, place, wanted, MAX_COST);
            let expression = expression.unwrap_or_else(|problems| panic!("{heading}, {path}: {problems:?}"));
            let key = expected.keys().copied().find(|key| *key == (heading, &path));
            let Some(cases) = key.and_then(|key| expected.remove(&key)) else {
                wrong.push(format!("`{heading}`: nothing is expected of {path}: {text}"));
                continue;
            };
            let given: Vec<_> = cases.iter().map(|(case, _)| case.gives(&expression, wanted)).collect();
            let must: Vec<_> = cases.iter().map(|(_, must)| *must).collect();
            if given != must {
                wrong.push(format!("`{heading}`, {path}: {text}\n  must give {must:?}\n  and gives {given:?}"));
            }
            if wanted == Wanted::Truth && !(must.contains(&"true") && must.contains(&"false")) {
                wrong.push(format!("`{heading}`, {path}: no call is expected to get true, or none false"));
            }
            if must.is_empty() {
                wrong.push(format!("`{heading}`, {path}: no call is tried"));
            }
        }
    }
    wrong.extend(expected.keys().map(|(heading, path)| format!("no recipe `{heading}` has {path}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn recipes_and_their_expressions_are_found() {
    let page = "### Not one\n```yaml\na: 1\n```\n## Recipes\nwords\n### One\nwords\n```yaml\nb: 2\n```\n### Two\n\n```yaml\nc: 3\n```\n## Cost\n### No\n";
    let wanted = [("One", "b: 2\n"), ("Two", "c: 3\n")].map(|(heading, block)| (heading.to_owned(), block.to_owned()));
    assert_eq!(recipes(page), wanted);
    let block = "access_log: {file: stderr, when: 'true'}
state: memory
clusters:
  a: {endpoints: ['127.0.0.1:1'], balance: maglev, hash_by: {'*/M': '\"k\"', default: '\"d\"'}}
  r: {registry: {owner: '\"o\"', admit: 'true'}}
listeners:
  edge:
    address: 127.0.0.1:8080
    filters: [{metadata: {set_expr: {x-a: '\"a\"'}}}]
    routes:
      - {match: {when: 'true'}, cluster: a}
      - {cluster: r, agent: '\"n\"', filters: [{metadata: {response: {set_expr: {x-b: '\"b\"'}}}}]}
";
    let mut found: Vec<_> = expressions(block).into_iter().map(|(path, ..)| path).collect();
    found.sort();
    let wanted = [
        "access_log.when",
        "clusters.a.hash_by.*/M",
        "clusters.a.hash_by.default",
        "clusters.r.registry.admit",
        "clusters.r.registry.owner",
        "listeners.edge.filters[0].metadata.set_expr.x-a",
        "listeners.edge.routes[0].match.when",
        "listeners.edge.routes[1].agent",
        "listeners.edge.routes[1].filters[0].metadata.response.set_expr.x-b",
    ];
    assert_eq!(found, wanted);
}

/// The headings below `## Recipes`, each with its block, which it must have one of.
fn recipes(page: &str) -> Vec<(String, String)> {
    let (_, page) = page.split_once("\n## Recipes\n").expect("a part `## Recipes`");
    let part = page.split_once("\n## ").map_or(page, |(part, _)| part);
    let part = format!("\n{part}");
    let recipes = part.split("\n### ").skip(1).map(|recipe| {
        let heading = recipe.lines().next().unwrap_or_default().to_owned();
        let mut blocks = recipe.split("\n```yaml\n").skip(1);
        let (Some(block), None) = (blocks.next(), blocks.next()) else { panic!("`{heading}` must have one block") };
        let (block, _) = block.split_once("\n```").expect("an end of the block");
        (heading, format!("{block}\n"))
    });
    recipes.collect()
}

/// Loads a configuration as `run` does, and finds the expressions in it: path, text, place, and what each must give.
fn expressions(block: &str) -> Vec<(String, String, Place, Wanted)> {
    let loaded = config::load_str(block, Path::new("recipe.yaml"), &|_| None, filters::ALL);
    let built = loaded.and_then(|loaded| app::build(&loaded));
    let view = built.unwrap_or_else(|errors| panic!("{errors}\nin\n{block}")).view;
    let mut found = Vec::new();
    walk("", &view, &mut found);
    found
}

fn walk(path: &str, value: &Json, found: &mut Vec<(String, String, Place, Wanted)>) {
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                walk(&format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), value, found);
            }
        }
        Json::Array(list) => {
            for (at, value) in list.iter().enumerate() {
                walk(&format!("{path}[{at}]"), value, found);
            }
        }
        Json::String(text) => {
            if let Some((place, wanted)) = place(path) {
                found.push((path.to_owned(), text.clone(), place, wanted));
            }
        }
        _ => {}
    }
}

/// What stands at a path, if that is an expression.
fn place(path: &str) -> Option<(Place, Wanted)> {
    let is = |end: &str| path.ends_with(end);
    match path {
        "access_log.when" => Some((Place::AccessLog, Wanted::Truth)),
        _ if is(".match.when") => Some((Place::When, Wanted::Truth)),
        _ if is("].agent") => Some((Place::Agent, Wanted::Text)),
        _ if path.contains(".hash_by.") || is(".hash_by") => Some((Place::HashBy, Wanted::Text)),
        _ if is(".registry.owner") => Some((Place::Owner, Wanted::Text)),
        _ if is(".registry.admit") => Some((Place::Admit, Wanted::Truth)),
        _ if path.contains(".set_expr.") => Some((Place::Filter, Wanted::Text)),
        _ => None,
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
