//! Whoever reads the words knows what was changed, and no secret.

use std::path::Path;

use serde_json::Value;

use super::{Told, in_words};
use crate::config::{load_str, view};
use crate::filters;

const BASE: &str = "
clusters:
  a: {endpoints: [\"127.0.0.1:1\", \"127.0.0.1:2\"]}
  b: {endpoints: [\"127.0.0.1:3\"]}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - {match: {service: p.One}, cluster: a}
      - {cluster: b}
";

fn told(text: &str, secret: &'static str) -> (Value, Value) {
    let environment = move |name: &str| (name == "SECRET").then(|| secret.to_owned());
    let loaded = load_str(text, Path::new("x.yaml"), &environment, filters::ALL).unwrap();
    (serde_json::to_value(&loaded.config).unwrap(), view(&loaded))
}

fn between(before: &(Value, Value), after: &(Value, Value)) -> Vec<String> {
    let told = |(plain, shown)| Told { plain, shown };
    in_words(told((&before.0, &before.1)), told((&after.0, &after.1)))
}

#[test]
fn what_came_left_and_changed_has_its_name() {
    let change = |from: &str, to: &str| {
        assert!(BASE.contains(from), "{from}");
        between(&told(BASE, ""), &told(&BASE.replace(from, to), ""))
    };
    assert_eq!(change("clusters", "clusters"), Vec::<String>::new());
    let moved = change("127.0.0.1:2", "127.0.0.1:9");
    assert_eq!(moved, ["cluster `a`: endpoints[1] was \"127.0.0.1:2\" and is \"127.0.0.1:9\""]);
    assert_eq!(change(", \"127.0.0.1:2\"", ""), ["cluster `a`: endpoints: \"127.0.0.1:2\" was removed"]);
    let swapped = change("\"127.0.0.1:1\", \"127.0.0.1:2\"", "\"127.0.0.1:2\", \"127.0.0.1:1\"");
    assert_eq!(swapped, ["cluster `a`: endpoints has another order"]);
    let balanced = change("\"127.0.0.1:3\"]", "\"127.0.0.1:3\"], balance: random");
    assert_eq!(balanced, ["cluster `b`: balance was \"least_request\" and is \"random\""]);
    let added = change("listeners:", "  c: {endpoints: [\"127.0.0.1:4\"]}\nlisteners:");
    assert_eq!(added, ["cluster `c` was added"]);
    let routes = change("      - {cluster: b}\n", "");
    assert_eq!(routes.len(), 1, "{routes:?}");
    assert!(routes[0].starts_with("listener `edge`: routes: {\"cluster\":\"b\"") && routes[0].ends_with("was removed"));
}

#[test]
fn a_secret_that_changed_is_not_shown() {
    let text = |port: &str| {
        format!(
            "clusters: {{a: {{endpoints: [\"127.0.0.1:1\"]}}}}\nlisteners:\n  edge:\n    address: 127.0.0.1:{port}\n    \
             filters: [{{metadata: {{set: {{x-key: \"${{SECRET}}\"}}}}}}]\n    routes: [{{cluster: a}}]\n"
        )
    };
    let (one, two) = (told(&text("0"), "first"), told(&text("0"), "second"));
    let words = between(&one, &two);
    assert_eq!(words.len(), 1, "{words:?}");
    assert!(words[0].starts_with("listener `edge`: filters[0]") && words[0].ends_with("was changed"), "{words:?}");
}

#[test]
fn a_long_list_of_changes_ends() {
    let text = |from: usize| {
        let endpoints: Vec<_> = (from..from + 3_000).map(|n| format!("\"10.0.{}.{}:1\"", n / 250, n % 250)).collect();
        format!(
            "clusters: {{a: {{endpoints: [{}]}}}}\nlisteners: {{edge: {{address: \"127.0.0.1:0\", routes: [{{cluster: a}}]}}}}\n",
            endpoints.join(", ")
        )
    };
    let (one, two) = (told(&text(0), ""), told(&text(2_000), ""));
    let words = between(&one, &two);
    assert_eq!((words.len(), words[1_000].as_str()), (1_001, "and 3000 more"));
}
