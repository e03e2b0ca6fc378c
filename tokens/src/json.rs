//! JSON objects of tokens and key sets. Two readers that choose different ones of two equal names would believe different things of one
//! token, so they are read strictly.

use serde_json::{Map, Value};

/// Reads an object, nested as deep as serde_json reads.
pub(crate) fn object(octets: &[u8]) -> Option<Map<String, Value>> {
    match strict_json::read(octets, usize::MAX) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn only_what_can_be_read_in_one_way_is_read() {
        for text in
            ["{}", " {\"a\": [1, -2, 1.5e3, true, null, {\"a\": \"\\u0061\"}]}\r\n", r#"{"a":18446744073709551616}"#]
        {
            assert!(object(text.as_bytes()).is_some(), "{text}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        for text in [
            "",
            "[]",
            "1",
            "\"a\"",
            "null",
            "{",
            "{}{}",
            "{} x",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"b":{"a":1,"a":2}}"#,
            r#"{"b":[{"a":1,"a":2}]}"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":+1}"#,
            r#"{"a":.5}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\n\"}",
            r#"{'a':1}"#,
            r#"{a:1}"#,
            "{\"a\":1 /* x */}",
            &deep,
        ] {
            assert_eq!(object(text.as_bytes()), None, "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None, "not UTF-8");
    }
}
