//! The head of a request and of a response: the fields, with what HTTP/2 carries as pseudo-fields first-class.

use crate::Fields;

/// The HTTP method, as far as a gRPC proxy tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// What every gRPC call uses.
    Post,
    /// Asks for a head alone: no answer to it has a body (RFC 9110 §9.3.2).
    Head,
    /// Any other but CONNECT.
    Other,
    /// A tunnel (RFC 9110 §9.3.6), which this proxy is not.
    Connect,
}

/// A part of the buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: usize,
    end: usize,
}

/// The head of a request.
#[derive(Clone)]
pub struct RequestHead {
    /// The HTTP method.
    pub method: Method,
    path: Span,
    authority: Span,
    /// Every field that is not a pseudo-field.
    pub fields: Fields,
}

impl RequestHead {
    /// A head with no field yet; `fields` and `bytes` say how much room to make for what will be pushed.
    pub fn new(method: Method, path: &str, authority: &str, room: (usize, usize)) -> Self {
        let mut fields = Fields::with_capacity(room.0, room.1 + path.len() + authority.len());
        let path = append(&mut fields.buffer, path.as_bytes());
        let authority = append(&mut fields.buffer, authority.as_bytes());
        Self { method, path, authority, fields }
    }

    /// A head with nothing in it, in the room of a list that is no longer used.
    pub fn over(mut fields: Fields) -> Self {
        fields.clear();
        Self { method: Method::Other, path: Span::default(), authority: Span::default(), fields }
    }

    /// Becomes equal to another, in its own room.
    pub fn copy_from(&mut self, other: &Self) {
        self.method = other.method;
        self.path = other.path;
        self.authority = other.authority;
        self.fields.copy_from(&other.fields);
    }

    /// `:path`, as it came.
    pub fn path(&self) -> &str {
        self.text(self.path)
    }

    /// `:authority`, as it came; empty where there is none.
    pub fn authority(&self) -> &str {
        self.text(self.authority)
    }

    /// Writes another `:path`.
    pub fn set_path(&mut self, path: &str) {
        self.path = append(&mut self.fields.buffer, path.as_bytes());
    }

    /// Takes a `:path` off the wire. One that is no UTF-8 reads as empty.
    pub fn set_path_as_it_came(&mut self, path: &[u8]) {
        self.path = append(&mut self.fields.buffer, path);
    }

    /// Takes an `:authority` off the wire. One that is no UTF-8 reads as empty.
    pub fn set_authority_as_it_came(&mut self, authority: &[u8]) {
        self.authority = append(&mut self.fields.buffer, authority);
    }

    /// `:path` as octets.
    pub fn path_bytes(&self) -> &[u8] {
        self.fields.buffer.get(self.path.start..self.path.end).unwrap_or_default()
    }

    /// `:authority` as octets.
    pub fn authority_bytes(&self) -> &[u8] {
        self.fields.buffer.get(self.authority.start..self.authority.end).unwrap_or_default()
    }

    /// Where the head is now, to come [`back_to`](Self::back_to).
    pub fn mark(&self) -> HeadMark {
        let Self { path, authority, fields, .. } = self;
        HeadMark { path: *path, authority: *authority, fields: fields.len(), octets: fields.buffer.len() }
    }

    /// Takes back what was written since the mark, if that was nothing but another path or authority and fields at the end.
    pub fn back_to(&mut self, mark: HeadMark) {
        self.path = mark.path;
        self.authority = mark.authority;
        self.fields.truncate(mark.fields, mark.octets);
    }

    /// Writes another `:authority`.
    pub fn set_authority(&mut self, authority: &str) {
        self.authority = append(&mut self.fields.buffer, authority.as_bytes());
    }

    /// Appends a field whose value is the authority.
    pub fn push_authority(&mut self, name: &str) {
        self.fields.push_from_within(name, self.authority.start..self.authority.end);
    }

    fn text(&self, span: Span) -> &str {
        self.fields
            .buffer
            .get(span.start..span.end)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// What a head was like at a moment.
#[derive(Clone, Copy, Debug)]
pub struct HeadMark {
    path: Span,
    authority: Span,
    fields: usize,
    octets: usize,
}

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("authority", &self.authority())
            .field("fields", &self.fields)
            .finish()
    }
}

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// `:status`.
    pub status: u16,
    /// Every field that is not a pseudo-field.
    pub fields: Fields,
}

fn append(buffer: &mut Vec<u8>, text: &[u8]) -> Span {
    let start = buffer.len();
    buffer.extend_from_slice(text);
    Span { start, end: buffer.len() }
}

#[cfg(test)]
mod tests {
    use super::{Method, RequestHead};

    #[test]
    fn path_and_authority_live_beside_the_fields() {
        let mut head = RequestHead::new(Method::Post, "/a.B/C", "one:1", (2, 20));
        head.fields.push("te", b"trailers");
        head.set_authority("two:2");
        assert_eq!((head.path(), head.authority()), ("/a.B/C", "two:2"));
        assert_eq!(head.fields.get("te"), Some(&b"trailers"[..]));
        let mark = head.mark();
        head.push_authority("x-forwarded-host");
        assert_eq!(head.fields.get("x-forwarded-host"), Some(&b"two:2"[..]));
        head.set_authority("three:3");
        head.fields.push("grpc-timeout", b"1S");
        head.back_to(mark);
        assert_eq!((head.authority(), head.fields.len()), ("two:2", 1));
        head.set_path("/d.E/F");
        assert_eq!(head.path(), "/d.E/F");
    }
}
