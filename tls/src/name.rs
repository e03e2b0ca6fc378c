//! Names of subjects and issuers as text, in the form of RFC 4514: in one way, so that no value can pass for more than one.

use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::X509Name;

/// Types that have a short name there, by their object identifiers, and those that everybody writes so.
const SHORT: [(&str, &str); 12] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.4", "SN"),
];

/// The name: the last part first, as RFC 4514 §2.1 has it. Empty for a name without parts.
pub(crate) fn in_words(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (index, part) in parts.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in part.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            let short = SHORT.iter().find(|(id, _)| *id == oid).map(|(_, short)| *short);
            text.push_str(short.unwrap_or(&oid));
            text.push('=');
            // RFC 4514 §2.4: what has no short name, or is no text, is its octets.
            match text_of(attribute.attr_value()).filter(|_| short.is_some()) {
                Some(value) => escape(&mut text, value),
                None => hexadecimal(&mut text, attribute.attr_value()),
            }
        }
    }
    text
}

fn text_of<'a>(value: &Any<'a>) -> Option<&'a str> {
    let is_text = [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String, Tag::NumericString].contains(&value.tag());
    is_text.then_some(value.data).and_then(|octets| std::str::from_utf8(octets).ok())
}

/// RFC 4514 §2.4. Control characters are escaped too: names go into logs and headers.
fn escape(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let at_edge = (index == 0 && matches!(c, ' ' | '#')) || (index == last && c == ' ');
        if at_edge || matches!(c, '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=') {
            text.push('\\');
            text.push(c);
        } else if c.is_control() {
            let mut octets = [0; 4];
            for octet in c.encode_utf8(&mut octets).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\{octet:02X}");
            }
        } else {
            text.push(c);
        }
    }
}

/// `#` and the value's tag and octets. Without its length, which says nothing more.
fn hexadecimal(text: &mut String, value: &Any<'_>) {
    let _ = write!(text, "#{:02X}", value.tag().0);
    for octet in value.data {
        let _ = write!(text, "{octet:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn no_value_passes_for_two() {
        let escaped = |value: &str| {
            let mut text = String::new();
            escape(&mut text, value);
            text
        };
        assert_eq!(escaped("plain name"), "plain name");
        assert_eq!(escaped("a,O=admin"), "a\\,O\\=admin");
        assert_eq!(escaped(" #x "), "\\ #x\\ ");
        assert_eq!(escaped("#x"), "\\#x");
        assert_eq!(escaped("a\nb\0\u{85}"), "a\\0Ab\\00\\C2\\85");
        assert_eq!(escaped("\"+;<>\\"), "\\\"\\+\\;\\<\\>\\\\");
        assert_eq!(escaped("é"), "é");
    }
}
