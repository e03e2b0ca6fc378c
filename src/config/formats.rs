//! All kinds of text that a configuration can hold, by the name that stands for them in a JSON Schema. The schema walker
//! asks here, and so runs the same code as the types themselves.

use std::str::FromStr;

use filter_api::units::{Percent, Period, Size};

use super::names::{
    AgentPattern, CallbackPattern, FullMethod, HeaderName, HostName, LogFile, MethodName, Methods, Name,
};
use super::net::{Cidr, HostPort, KeysUrl, ListenAddress, Ports, SocketAddress};
use super::text::Format;
use crate::route::{AuthorityPattern, HeaderRegex, MethodPattern, ServicePattern};

/// A pattern of filter-api's, whose errors go on behind the text as ours do.
macro_rules! pattern {
    ($type:ident) => {
        Format {
            name: $type::FORMAT,
            what: $type::WHAT,
            example: $type::EXAMPLE,
            check: |text| text.parse::<$type>().map(drop),
        }
    };
}

pub(super) const FORMATS: [Format; 22] = [
    Format { name: "duration", what: "a duration", example: "30s", check: |text| unit::<Period>(text) },
    Format { name: "size", what: "a size", example: "4MiB", check: |text| unit::<Size>(text) },
    Format { name: "percent", what: "a share", example: "10%", check: |text| unit::<Percent>(text) },
    Cidr::FORMAT,
    SocketAddress::FORMAT,
    ListenAddress::FORMAT,
    HostPort::FORMAT,
    KeysUrl::FORMAT,
    Ports::FORMAT,
    Name::FORMAT,
    HostName::FORMAT,
    pattern!(ServicePattern),
    pattern!(MethodPattern),
    MethodName::FORMAT,
    FullMethod::FORMAT,
    Methods::FORMAT,
    AuthorityPattern::FORMAT,
    HeaderName::FORMAT,
    HeaderRegex::FORMAT,
    CallbackPattern::FORMAT,
    AgentPattern::FORMAT,
    LogFile::FORMAT,
];

/// `None` for a format of somebody else (`uint32`, `uri`), which says nothing here.
pub(super) fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

/// filter-api's errors start with the value, ours go on behind it.
fn unit<T: FromStr<Err = String>>(text: &str) -> Result<(), String> {
    let behind = |error: String| error.strip_prefix(&format!("`{text}` ")).map_or(error.clone(), str::to_owned);
    text.parse::<T>().map(drop).map_err(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An example that its own check refuses would send people in circles.
    #[test]
    fn examples_pass_and_names_differ() {
        for (index, format) in FORMATS.iter().enumerate() {
            assert_eq!((format.check)(format.example), Ok(()), "{}", format.name);
            assert!(FORMATS[..index].iter().all(|other| other.name != format.name), "{} twice", format.name);
            assert!((format.check)("").is_err(), "{} takes an empty text", format.name);
        }
    }
}
