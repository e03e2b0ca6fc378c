//! The JSON Schema of the whole configuration: the file's types, and the configuration of every known filter. Used by
//! `load` to check a file, printed by `portunus schema`, and committed as config/schema.json for editors.

use filter_api::Known;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::file::Config;

/// In a map that takes exactly one key: what the keys name, for messages ("unknown filter").
pub(super) const NOUN: &str = "x-portunus-noun";

/// The schema with the configuration of `filters` in its place.
pub fn compose(filters: &[Known]) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = generator.into_root_schema_for::<Config>().to_value();
    let mut uses = Map::new();
    let mut definitions = Map::new();
    for filter in filters {
        let place = format!("filter.{}", filter.name);
        let mut schema = (filter.schema)().to_value();
        // A filter's own definitions get its name in front, as two filters may both have a `Rule`.
        rename_references(&mut schema, &place);
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
            if let Some(Value::Object(own)) = schema.remove("$defs") {
                definitions.extend(own.into_iter().map(|(name, own)| (format!("{place}.{name}"), own)));
            }
        }
        uses.insert(filter.name.to_owned(), json!({ "$ref": format!("#/$defs/{place}") }));
        definitions.insert(place, schema);
    }
    if let Some(Value::Object(all)) = root.get_mut("$defs") {
        all.extend(definitions);
        all.insert("FilterUse".to_owned(), one_filter(uses));
    }
    without_null(&mut root);
    root
}

fn one_filter(uses: Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "description": "A filter: its name, and its configuration.",
        "properties": uses,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
        NOUN: "filter",
    })
}

fn rename_references(schema: &mut Value, place: &str) {
    each_map(schema, &mut |map| {
        if let Some(Value::String(reference)) = map.get_mut("$ref") {
            *reference = match reference.strip_prefix("#/$defs/") {
                Some(name) => format!("#/$defs/{place}.{name}"),
                // A type that holds itself.
                None => format!("#/$defs/{place}"),
            };
        }
    });
}

/// Takes out that an optional key may be null. In YAML a null is mostly a value that somebody forgot, and `from:` with
/// nothing behind it must not mean "from everywhere".
fn without_null(schema: &mut Value) {
    each_map(schema, &mut |map| {
        if let Some(Value::Array(types)) = map.get_mut("type") {
            types.retain(|name| name != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                map.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(words)) = map.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        if map.get("default").is_some_and(Value::is_null) {
            map.remove("default");
        }
        for union in ["anyOf", "oneOf"] {
            let Some(Value::Array(options)) = map.get_mut(union) else { continue };
            options.retain(|option| option.get("type").is_none_or(|name| name != "null"));
            if let [Value::Object(only)] = options.as_slice() {
                let only = only.clone();
                map.remove(union);
                for (key, value) in only {
                    map.entry(key).or_insert(value);
                }
            }
        }
    });
}

/// Calls `each` for every schema below `schema`, innermost first.
fn each_map(schema: &mut Value, each: &mut impl FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| each_map(item, each)),
        Value::Object(map) => {
            map.values_mut().for_each(|value| each_map(value, each));
            each(map);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Tree {
        children: Vec<Tree>,
        leaf: Option<Leaf>,
    }

    #[derive(schemars::JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Leaf {
        text: Option<String>,
    }

    fn known() -> Known {
        let build = |_, _: &mut filter_api::BuildCx<'_>| Err(filter_api::BuildError::at(&[], "is not built here"));
        Known { name: "tree", phase: filter_api::Phase::Limit, schema: || schemars::schema_for!(Tree), build }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let mut schema = compose(&[known()]);
        let definitions = schema["$defs"].clone();
        let mut seen = 0;
        each_map(&mut schema, &mut |map| {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let name = reference.strip_prefix("#/$defs/").unwrap();
                assert!(definitions.get(name).is_some(), "{reference}");
                seen += 1;
            }
        });
        assert!(seen > 20, "{seen}");
        assert_eq!(definitions["filter.tree"]["properties"]["children"]["items"]["$ref"], "#/$defs/filter.tree");
        assert_eq!(definitions["filter.tree"]["properties"]["leaf"]["$ref"], "#/$defs/filter.tree.Leaf");
    }

    #[test]
    fn null_is_no_value() {
        let text = compose(&[known()]).to_string();
        assert!(!text.contains("null"), "{text}");
    }

    #[test]
    fn does_not_depend_on_the_machine() {
        assert!(compose(&[])["properties"]["workers"].get("default").is_none());
    }
}
