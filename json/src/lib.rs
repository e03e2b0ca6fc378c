//! JSON that can be read in one way only: whole, in UTF-8, and with no name twice at any depth. Of two equal names some readers take the
//! first and some the last, and whoever decides by one must not let another through.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most characters of a name that an error quotes.
const MOST_QUOTED: usize = 50;

/// Reads one value, whose lists and objects are nested in at most so many levels. `serde_json` itself refuses more than 127, numbers
/// that no `f64` holds, and half surrogates.
///
/// # Errors
/// Why it cannot be read, with the place.
pub fn read(octets: &[u8], levels: usize) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = Strict { levels, left: levels }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    levels: usize,
    left: usize,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Self { left, ..self }),
            None => Err(E::custom(format!("it is nested deeper than {} levels", self.levels))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number without a value"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (inner, mut list) = (self.inner()?, Vec::new());
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let (inner, mut object) = (self.inner()?, Map::new());
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(inner)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("the name `{}` is there twice", quoted(&name))));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

fn quoted(name: &str) -> String {
    match name.char_indices().nth(MOST_QUOTED) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    fn why(text: &str) -> String {
        read(text.as_bytes(), 3).unwrap_err().to_string()
    }

    #[test]
    fn what_can_be_read_in_one_way_is_read() {
        let value = read(br#" {"a": [1, -2, 1.5, true, null], "b": {"a": "\u0061"}} "#, 3).unwrap();
        assert_eq!(value, json!({"a": [1, -2, 1.5, true, null], "b": {"a": "a"}}));
        assert_eq!(read(b"[[[1]]]", 3).unwrap(), json!([[[1]]]));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not() {
        assert!(why(r#"{"a":1,"\u0061":2}"#).starts_with("the name `a` is there twice"));
        assert!(why(r#"[{"a":{"b":1,"b":1}}]"#).starts_with("the name `b` is there twice"));
        let long = "n".repeat(60);
        let cut = format!("the name `{}…` is there twice", "n".repeat(50));
        assert!(why(&format!(r#"{{"{long}":1,"{long}":1}}"#)).starts_with(&cut));
        assert!(why("[[[[1]]]]").starts_with("it is nested deeper than 3 levels"));
        for text in ["", "{}{}", "1 x", "{\"a\":1,}", "1e999", "\"\\ud800\""] {
            assert!(read(text.as_bytes(), 3).is_err(), "{text}");
        }
        assert!(read(b"\"\xff\"", 3).is_err(), "not UTF-8");
        assert!(read("[".repeat(200).as_bytes(), usize::MAX).is_err(), "serde_json's own bound");
    }
}
