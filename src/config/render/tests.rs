use std::path::Path as FilePath;

use serde_json::json;

use super::*;
use crate::config::load_str;

fn load(text: &str) -> Loaded {
    let environment = |name: &str| match name {
        "SECRET" => Some("hunter2".to_owned()),
        "PORT" => Some("50051".to_owned()),
        "WORKERS" => Some("3".to_owned()),
        "NUMBER" => Some("12".to_owned()),
        _ => None,
    };
    load_str(text, FilePath::new("portunus.yaml"), &environment, &[]).unwrap()
}

const TEXT: &str = r#"
workers: ${WORKERS}
admin: {hosts: ["${HOSTNAME:-a.internal}", b.internal]}
clusters:
  a: {endpoints: ["127.0.0.1:${PORT}", {address: "127.0.0.1:${OTHER:-2}", weight: "${WORKERS}"}]}
listeners:
  edge:
    address: 127.0.0.1:0
    routes:
      - match:
          headers:
            x-key: ${SECRET}
            x-number: ${NUMBER}
            x-dollar: "$${SECRET} \u2028\u0085\u007f #: \\ \" é ~"
            x-empty: ""
            x-true: "true"
        cluster: a
"#;

#[test]
fn defaults_load_to_the_same() {
    let loaded = load(TEXT);
    let printed = render_defaults(&loaded.config);
    assert_eq!(load(&printed).config, loaded.config, "{printed}");
    assert_eq!(loaded.config.workers, 3);
    // Quoted where YAML would read something else.
    for line in ["x-number: \"12\"", "x-true: \"true\"", "x-empty: \"\"", "workers: 3", "address: 127.0.0.1:0"] {
        assert!(printed.lines().any(|printed| printed.trim() == line), "{line} not in\n{printed}");
    }
}

#[test]
fn what_came_from_the_environment_is_masked() {
    let view = view(&load(TEXT));
    assert_eq!(view["workers"], "***");
    assert_eq!(view["admin"]["hosts"], json!(["***", "b.internal"]));
    let endpoints = json!(["***", { "address": "***", "weight": "***" }]);
    assert_eq!(view["clusters"]["a"]["endpoints"], endpoints);
    let headers = &view["listeners"]["edge"]["routes"][0]["match"]["headers"];
    assert_eq!((&headers["x-key"], &headers["x-true"]), (&json!("***"), &json!("true")));
    // Nothing but an escape.
    assert!(headers["x-dollar"].as_str().unwrap().starts_with("${SECRET}"));
    assert!(!view.to_string().contains("hunter2") && !view.to_string().contains("50051"), "{view}");
}

#[test]
fn a_mask_without_a_place_hides_what_is_around_it() {
    let mut value = json!({ "a": { "b": [1, 2] }, "c": 3 });
    mask(&mut value, &crate::path!["a", "b", 7]);
    assert_eq!(value, json!({ "a": { "b": "***" }, "c": 3 }));
    mask(&mut value, &crate::path!["a", "x", "y"]);
    assert_eq!(value, json!({ "a": "***", "c": 3 }));
}
