//! Request messages in JSON, from the command line or from stdin, as they are asked for.

use std::io::{BufRead, Read as _};

use bytes::Bytes;
use futures_util::Stream;
use serde::de::IgnoredAny;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

/// Messages that are read ahead of the server's taking them.
const AHEAD: usize = 1;

/// Where they come from.
pub(super) enum Source {
    /// A text, with one message or with any number.
    Text { text: String, many: bool },
    /// All of stdin.
    All { input: Box<dyn BufRead + Send>, many: bool },
    /// Stdin, a message a line.
    Lines(Box<dyn BufRead + Send>),
}

impl Source {
    pub(super) fn new(data: Option<&str>, many: bool, input: Box<dyn BufRead + Send>) -> Self {
        match data {
            Some("@") => Self::All { input, many },
            Some(text) => Self::Text { text: text.to_owned(), many },
            None if many => Self::Lines(input),
            None => Self::Text { text: "{}".to_owned(), many },
        }
    }

    /// The messages, encoded. The first that cannot be ends them, and `bad` is told why. Read by a thread of its own, which waits for
    /// stdin while answers come.
    pub(super) fn messages(
        self,
        encode: impl Fn(&str) -> Result<Bytes, String> + Send + 'static,
        bad: oneshot::Sender<String>,
    ) -> impl Stream<Item = Bytes> {
        let (send, receive) = mpsc::channel(AHEAD);
        std::thread::spawn(move || {
            let give = |json: &str| encode(json).map(|message| send.blocking_send(message).is_ok());
            if let Err(why) = self.each(give) {
                bad.send(why).ok();
                // The call ends by that, and not as if this had been all.
                loop {
                    std::thread::park();
                }
            }
        });
        ReceiverStream::new(receive)
    }

    fn each(self, give: impl Fn(&str) -> Result<bool, String>) -> Result<(), String> {
        let of_stdin = |error: std::io::Error| format!("stdin cannot be read: {error}");
        match self {
            Self::Text { text, many: true } => values(&text, give),
            Self::Text { text, many: false } => give(&text).map(drop),
            Self::All { mut input, many } => {
                let mut text = String::new();
                input.read_to_string(&mut text).map_err(of_stdin)?;
                if many { values(&text, give) } else { give(&text).map(drop) }
            }
            Self::Lines(input) => {
                for line in input.lines() {
                    let line = line.map_err(of_stdin)?;
                    if !line.trim().is_empty() && !give(&line)? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// JSON values one after the other.
fn values(text: &str, give: impl Fn(&str) -> Result<bool, String>) -> Result<(), String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let mut from = 0;
    while let Some(value) = values.next() {
        value.map_err(|error| format!("this is no JSON: {error}"))?;
        let until = values.byte_offset();
        if !give(text.get(from..until).unwrap_or_default())? {
            break;
        }
        from = until;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Cursor;

    use super::Source;

    fn given(data: Option<&str>, many: bool, stdin: &'static str) -> Result<Vec<String>, String> {
        let given = RefCell::new(Vec::new());
        let source = Source::new(data, many, Box::new(Cursor::new(stdin)));
        source.each(|json| {
            given.borrow_mut().push(json.trim().to_owned());
            Ok(true)
        })?;
        Ok(given.into_inner())
    }

    #[test]
    fn messages_come_from_the_command_line_or_stdin() {
        assert_eq!(given(None, false, "unread").unwrap(), ["{}"]);
        assert_eq!(given(Some(r#"{"a": 1}"#), false, "unread").unwrap(), [r#"{"a": 1}"#]);
        assert_eq!(given(Some("@"), false, "{\n}\n").unwrap(), ["{\n}"]);
        assert_eq!(given(None, true, "{}\n\n{\"a\": 2}").unwrap(), ["{}", "{\"a\": 2}"]);
        assert_eq!(given(Some("{} {\"a\":\n1}{}"), true, "unread").unwrap(), ["{}", "{\"a\":\n1}", "{}"]);
        assert_eq!(given(Some("@"), true, "{}{}").unwrap(), ["{}", "{}"]);
        assert!(given(Some("{} {"), true, "").unwrap_err().contains("no JSON"));
    }
}
