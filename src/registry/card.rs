//! An agent's configuration (`config_json`), read with bounds and rebuilt from known keys: what reaches the core is never
//! what a stranger wrote. Called by the registrar before anything is recorded.

use std::collections::BTreeSet;

use portunus_proto::refusals;
use serde_json::{Map, Value};

use super::address::clip;
use super::identity::Identity;

/// Keys whose values go to the core as they are. Any other changes the core for all agents (`auth`, `vault`, `storage`,
/// …), reads its environment (`oltp_endpoint: "env:NAME"`), or is not known to be harmless.
const PASSED: [&str; 9] = [
    "capabilities",
    "description",
    "documentation_url",
    "execution_cost",
    "extra_metadata",
    "kind",
    "num_history_sessions",
    "skills",
    "version",
];

/// What a registration says of its agent.
#[derive(Clone, Debug)]
pub struct Card {
    /// Who the agent is.
    pub identity: Identity,
    /// `deployment.url`: where the core will serve it, and the `agent_url` of our answer.
    pub url: String,
    /// The configuration for the core: JSON of known keys only.
    pub config: String,
    /// Keys that were left out, with the path: a log line names them.
    pub dropped: Vec<String>,
    /// What the core will certainly refuse. Without a core the refusal is ours.
    pub problem: Option<String>,
}

impl Card {
    /// Reads `config_json`. The error is for the SDK and says what to change.
    /// `allowed`: keys that reach the core besides the harmless ones.
    pub fn read(config_json: &str, most_bytes: usize, allowed: &BTreeSet<String>) -> Result<Self, String> {
        if config_json.len() > most_bytes {
            return Err(format!(
                "config_json has {} bytes, and at most {most_bytes} are taken: leave out what the agent card does not need",
                config_json.len()
            ));
        }
        let value: Value = serde_json::from_str(config_json).map_err(|error| {
            // Python takes more than we do; what it takes is refused in our words.
            refusals::not_json(config_json).unwrap_or_else(|| format!("Invalid config_json: {error}"))
        })?;
        let Value::Object(mut given) = value else { return Err(refusals::not_an_object(python_type(&value))) };
        let required = |path: &str| is_there(given_at(&given, path));
        let missing: Vec<_> = ["author", "name", "deployment.url"].into_iter().filter(|path| !required(path)).collect();
        if missing.iter().any(|path| *path != "deployment.url") {
            return Err(refusals::missing(&missing));
        }
        let (author, name) = (text(&given, "author")?, text(&given, "name")?);
        let id = match given.get("id") {
            None => None,
            Some(Value::String(id)) => Some(id.clone()),
            Some(other) => return Err(format!("`id` must be a UUID in quotes, not {}", clip(&other.to_string()))),
        };
        let identity = Identity::new(&author, &name, id.as_deref())?;
        let mut card = Rebuilt::default();
        card.keep("author", author.into());
        card.keep("name", name.into());
        card.keep("telemetry", Value::Bool(false));
        if id.is_some() {
            card.keep("id", Value::String(identity.id.to_string()));
        }
        for known in ["author", "name", "id", "telemetry"] {
            given.remove(known);
        }
        let deployment = given.remove("deployment");
        let (url, problem) = card.deployment(deployment);
        for (key, value) in given {
            if PASSED.contains(&key.as_str()) || allowed.contains(&key) {
                card.keep(&key, value)
            } else {
                card.dropped.push(clip(&key))
            }
        }
        let config = Value::Object(card.kept).to_string();
        Ok(Self { identity, url, config, dropped: card.dropped, problem })
    }
}

#[derive(Default)]
struct Rebuilt {
    kept: Map<String, Value>,
    dropped: Vec<String>,
}

impl Rebuilt {
    fn keep(&mut self, key: &str, value: Value) {
        self.kept.insert(key.to_owned(), value);
    }

    /// Keeps `url` and `expose` of the deployment; answers the URL, and what the core will not like.
    fn deployment(&mut self, given: Option<Value>) -> (String, Option<String>) {
        let Some(Value::Object(mut given)) = given else {
            return (String::new(), Some(refusals::missing(&["deployment.url"])));
        };
        let (url, expose) = (given.remove("url"), given.remove("expose"));
        self.dropped.extend(given.keys().map(|key| format!("deployment.{}", clip(key))));
        let text = url.as_ref().and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let problem = if text.is_empty() {
            Some(refusals::missing(&["deployment.url"]))
        } else if !is_http(&text) {
            Some(refusals::not_a_url(&text))
        } else if expose.is_none() {
            Some(refusals::no_expose())
        } else {
            None
        };
        let kept = [("url", url), ("expose", expose)];
        let kept = kept.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        self.keep("deployment", Value::Object(kept.collect()));
        (text, problem)
    }
}

fn given_at<'a>(given: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((key, inner)) => given.get(key)?.get(inner),
        None => given.get(path),
    }
}

/// Whether a field is there for the core.
fn is_there(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(_) => true,
    }
}

fn text(given: &Map<String, Value>, key: &str) -> Result<String, String> {
    given.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| refusals::not_text(key))
}

/// What Python calls the type, as it stands in the core's refusal.
fn python_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

fn is_http(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::Card;

    fn read(value: &Value) -> Result<Card, String> {
        Card::read(&value.to_string(), 256 * 1024, &BTreeSet::new())
    }

    fn plain() -> Value {
        json!({"author": "a", "name": "n", "deployment": {"url": "http://localhost:3773", "expose": true}})
    }

    #[test]
    fn only_known_keys_reach_the_core() {
        let mut config = plain();
        for key in [
            "description",
            "version",
            "kind",
            "capabilities",
            "skills",
            "execution_cost",
            "documentation_url",
            "extra_metadata",
            "num_history_sessions",
        ] {
            config[key] = json!("kept");
        }
        let kept: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
        for key in [
            "auth",
            "vault",
            "storage",
            "scheduler",
            "sentry",
            "oltp_endpoint",
            "key_password",
            "recreate_keys",
            "global_webhook_url",
            "anything",
        ] {
            config[key] = json!({"x": 1});
        }
        config["telemetry"] = json!(true);
        config["deployment"]["cors_origins"] = json!(["*"]);
        let card = read(&config).unwrap();
        let rebuilt: Value = serde_json::from_str(&card.config).unwrap();
        let mut keys: Vec<String> = rebuilt.as_object().unwrap().keys().cloned().collect();
        keys.retain(|key| key != "telemetry");
        assert_eq!(keys, kept);
        assert_eq!(rebuilt["telemetry"], json!(false));
        assert_eq!(rebuilt["deployment"], json!({"url": "http://localhost:3773", "expose": true}));
        assert_eq!(card.dropped.len(), 11, "{:?}", card.dropped);
        assert!(
            card.dropped.iter().any(|key| key == "vault")
                && card.dropped.iter().any(|key| key == "deployment.cors_origins")
        );
        assert_eq!((card.url.as_str(), card.problem), ("http://localhost:3773", None));
    }

    #[test]
    fn an_operator_can_let_more_keys_through() {
        let mut config = plain();
        config["auth"] = json!({"type": "none"});
        config["vault"] = json!(1);
        let card = Card::read(&config.to_string(), 10_000, &BTreeSet::from(["auth".to_owned()])).unwrap();
        assert!(card.config.contains(r#""auth":{"type":"none"}"#) && !card.config.contains("vault"), "{}", card.config);
        assert_eq!(card.dropped, ["vault"]);
    }

    #[test]
    fn the_id_is_passed_on_as_it_is_kept() {
        let mut config = plain();
        config["id"] = json!("3F2B8C1E0D4A4B6F9A517C2E8D90B1F3");
        let card = read(&config).unwrap();
        assert_eq!(&*card.identity.id, "3f2b8c1e-0d4a-4b6f-9a51-7c2e8d90b1f3");
        assert!(card.config.contains(&*card.identity.id));
    }

    #[test]
    fn what_no_agent_can_be_is_refused_as_the_core_does() {
        let none = BTreeSet::new();
        for (bad, words) in [
            ("", "Invalid config_json: Expecting value: line 1 column 1 (char 0)"),
            ("[]", "Registration failed: 'list' object has no attribute 'get'"),
            ("7", "Registration failed: 'int' object has no attribute 'get'"),
            ("null", "Registration failed: 'NoneType' object has no attribute 'get'"),
            ("{", "Invalid config_json: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
            ("{}", "agent configuration:\n- author\n- name\n- deployment.url"),
            (r#"{"name": "n", "deployment": {"url": "http://a"}}"#, "'author' is a required field in the agent"),
            (r#"{"author": "a", "name": " ", "deployment": {"url": "http://a"}}"#, "'name' is a required field in the"),
            (r#"{"author": 7, "name": "n"}"#, "Registration failed: Field 'author' must be a str"),
            (r#"{"author": "a", "name": "n", "id": 7}"#, "`id` must be a UUID in quotes, not 7"),
            (r#"{"author": "a", "name": "n", "id": null}"#, "`id` must be a UUID in quotes, not null"),
            (r#"{"author": "a", "name": "n", "x": NaN}"#, "Invalid config_json: expected value at line 1 column"),
        ] {
            let refusal = Card::read(bad, 1000, &none).unwrap_err();
            assert!(refusal.contains(words), "{bad}: {refusal}");
        }
        let deep = format!(r#"{{"author":"a","name":"n","x":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(Card::read(&deep, 100_000, &none).is_err());
        assert!(Card::read(&plain().to_string(), 10, &none).unwrap_err().contains("at most 10"));
    }

    #[test]
    fn what_the_core_will_refuse_is_known() {
        for (deployment, word) in [
            (json!(null), "deployment.url"),
            (json!({"expose": true}), "deployment.url"),
            (json!({"url": 7, "expose": true}), "deployment.url"),
            (json!({"url": "localhost:3773", "expose": true}), "http(s)"),
            (json!({"url": "http://", "expose": true}), "http(s)"),
            (json!({"url": "http://a"}), "deployment.expose"),
        ] {
            let mut config = plain();
            config["deployment"] = deployment;
            assert!(read(&config).unwrap().problem.unwrap().contains(word), "{config}");
        }
    }
}
