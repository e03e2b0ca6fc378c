//! Heads and trailers between the wire and our lists, and the rules of RFC 9113 §8 that they have to keep.
//!
//! Decoding always reads the whole block: the connection's compression state depends on it, whatever becomes of the stream.

use fields::{Fields, Method, RequestHead, ResponseHead};
use hpack::{Block, Bounds, Decoder, Encoder, Error, Field};

use super::guard::LIST_FACTOR;
use super::kind::Kind;

/// What a block of fields turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As it should be.
    Good,
    /// The stream must end: which rule, in words.
    Malformed(&'static str),
    /// Over the limit for lists. What is left of an answer is its status; a request is refused.
    TooLarge,
}

/// A block as it was read.
pub(super) struct Read<T> {
    pub(super) list: T,
    pub(super) form: Form,
    /// `content-length`, which DATA must then add up to (RFC 9113 §8.1.1).
    pub(super) content: Option<u64>,
}

/// The largest list that is read on to keep the connection: beyond, the block is an attack.
fn bounds(limit: u32) -> Bounds {
    let most = (limit as usize).saturating_mul(LIST_FACTOR);
    Bounds { list: most, abort: most }
}

/// Reads the head of a request.
pub(super) fn read_request(
    decoder: &mut Decoder,
    block: &[u8],
    limit: u32,
    room: Fields,
) -> Result<Read<RequestHead>, Error> {
    let mut head = RequestHead::over(room);
    let mut pseudo = Pseudo::default();
    let mut checks = Checks::new(limit);
    let _ = decoder.decode(block, bounds(limit), |field| {
        if checks.skips(&field) {
            return;
        }
        match Kind::of(field.mark) {
            kind if kind.is_pseudo() => checks.hold(pseudo.take(&mut head, kind, field.value, checks.regular)),
            kind => checks.regular_field(kind, field, &mut head.fields),
        }
    })?;
    checks.hold(pseudo.complete(&head));
    Ok(Read { list: head, form: checks.form(), content: checks.content })
}

/// Reads the head of a response.
pub(super) fn read_response(
    decoder: &mut Decoder,
    block: &[u8],
    limit: u32,
    mut fields: Fields,
) -> Result<Read<ResponseHead>, Error> {
    fields.clear();
    let mut status = None;
    let mut checks = Checks::new(limit);
    let _ = decoder.decode(block, bounds(limit), |field| {
        if checks.skips(&field) {
            return;
        }
        match Kind::of(field.mark) {
            Kind::Status if status.is_some() => checks.malformed(":status twice (§8.3)"),
            Kind::Status if checks.regular => checks.malformed("a pseudo-field after a field (§8.3)"),
            Kind::Status => match three_digits(field.value) {
                Some(code) => status = Some(code),
                None => checks.malformed(":status is no three digits (§8.3.2)"),
            },
            kind if kind.is_pseudo() => checks.malformed("a pseudo-field that responses do not have (§8.3.2)"),
            kind => checks.regular_field(kind, field, &mut fields),
        }
    })?;
    if status.is_none() {
        checks.malformed("no :status (§8.3.2)");
    }
    let head = ResponseHead { status: status.unwrap_or_default(), fields };
    Ok(Read { list: head, form: checks.form(), content: checks.content })
}

/// Reads trailers.
pub(super) fn read_trailers(
    decoder: &mut Decoder,
    block: &[u8],
    limit: u32,
    mut fields: Fields,
) -> Result<Read<Fields>, Error> {
    fields.clear();
    let mut checks = Checks::new(limit);
    let _ = decoder.decode(block, bounds(limit), |field| {
        if checks.skips(&field) {
            return;
        }
        match Kind::of(field.mark) {
            kind if kind.is_pseudo() => checks.malformed("a pseudo-field in trailers (§8.1)"),
            kind => checks.regular_field(kind, field, &mut fields),
        }
    })?;
    Ok(Read { list: fields, form: checks.form(), content: None })
}

/// Reads a block that nobody waits for, so that the compression state stays right.
pub(super) fn read_past(decoder: &mut Decoder, block: &[u8], limit: u32) -> Result<(), Error> {
    decoder.decode(block, bounds(limit), |_| {}).map(drop)
}

/// What holds for every field, and what was found so far.
struct Checks {
    limit: usize,
    size: usize,
    /// A field that is no pseudo-field has come.
    regular: bool,
    wrong: Option<&'static str>,
    content: Option<u64>,
}

impl Checks {
    fn new(limit: u32) -> Self {
        Self { limit: limit as usize, size: 0, regular: false, wrong: None, content: None }
    }

    /// Counts a field, and says whether it is left out: past the limit only what tells how a call ended is kept.
    #[inline]
    fn skips(&mut self, field: &Field<'_>) -> bool {
        self.size += field.size();
        self.size > self.limit && !matches!(field.name, [b':', ..] | b"grpc-status" | b"content-type")
    }

    fn malformed(&mut self, what: &'static str) {
        self.wrong = self.wrong.or(Some(what));
    }

    fn hold(&mut self, result: Result<(), &'static str>) {
        if let Err(what) = result {
            self.malformed(what);
        }
    }

    fn form(&self) -> Form {
        match self.wrong {
            Some(what) => Form::Malformed(what),
            None if self.size > self.limit => Form::TooLarge,
            None => Form::Good,
        }
    }

    #[inline]
    fn regular_field(&mut self, kind: Kind, field: Field<'_>, into: &mut Fields) {
        self.regular = true;
        match kind {
            Kind::Plain => {}
            Kind::ContentLength => match number(field.value) {
                Some(content) if self.content.is_none_or(|have| have == content) => self.content = Some(content),
                _ => return self.malformed("content-length is no number, or two (RFC 9110 §8.6)"),
            },
            _ => return self.malformed(kind.fault()),
        }
        into.push_as_it_came(field.name, field.value, field.never_indexed);
    }
}

/// Which pseudo-fields of a request have come.
#[derive(Default)]
struct Pseudo {
    method: bool,
    scheme: bool,
    path: bool,
    authority: bool,
}

impl Pseudo {
    fn take(&mut self, head: &mut RequestHead, kind: Kind, value: &[u8], late: bool) -> Result<(), &'static str> {
        if late {
            return Err("a pseudo-field after a field (§8.3)");
        }
        let seen = match kind {
            Kind::Method => &mut self.method,
            Kind::Scheme => &mut self.scheme,
            Kind::Path => &mut self.path,
            Kind::Authority => &mut self.authority,
            Kind::Status => return Err("a pseudo-field that requests do not have (§8.3.1)"),
            _ => return Err(kind.fault()),
        };
        if std::mem::replace(seen, true) {
            return Err("a pseudo-field twice (§8.3)");
        }
        match kind {
            Kind::Method => {
                head.method = match value {
                    b"POST" => Method::Post,
                    b"HEAD" => Method::Head,
                    b"CONNECT" => Method::Connect,
                    _ => Method::Other,
                }
            }
            Kind::Path => head.set_path_as_it_came(value),
            Kind::Authority => head.set_authority_as_it_came(value),
            _ => {}
        }
        Ok(())
    }

    fn complete(&self, head: &RequestHead) -> Result<(), &'static str> {
        if !self.method {
            return Err("no :method (§8.3.1)");
        }
        if head.method == Method::Connect {
            // An extended CONNECT (RFC 8441) would need `:protocol`, which we never offered.
            return if self.scheme || self.path || !self.authority {
                Err("CONNECT has :authority and neither :scheme nor :path (§8.5)")
            } else {
                Ok(())
            };
        }
        if !self.scheme || !self.path || head.path_bytes().is_empty() {
            return Err("no :scheme, no :path, or an empty :path (§8.3.1)");
        }
        Ok(())
    }
}

fn three_digits(value: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = *value else { return None };
    Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 19 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Entries of HPACK's static table (RFC 7541 Appendix A).
const METHOD_POST: u8 = 3;
const SCHEME_HTTP: u8 = 6;
const SCHEME_HTTPS: u8 = 7;
const STATUS_200: u8 = 8;

/// Appends the block of a request.
pub(super) fn write_request(encoder: &mut Encoder, out: &mut Vec<u8>, head: &RequestHead, secure: bool) {
    let mut block = encoder.block(out);
    // Only gRPC calls go out (`wire::classify`), and those are POST.
    block.push_static(METHOD_POST);
    block.push_static(if secure { SCHEME_HTTPS } else { SCHEME_HTTP });
    block.push(Field::new(b":path", head.path_bytes()));
    block.push(Field::new(b":authority", head.authority_bytes()));
    push_all(&mut block, &head.fields);
}

/// Appends the block of a response.
pub(super) fn write_response(encoder: &mut Encoder, out: &mut Vec<u8>, head: &ResponseHead) {
    let mut block = encoder.block(out);
    if head.status == 200 {
        block.push_static(STATUS_200);
    } else {
        let digit = |digit: u16| b'0' + u8::try_from(digit % 10).unwrap_or_default();
        let digits = [digit(head.status / 100), digit(head.status / 10), digit(head.status)];
        block.push(Field::new(b":status", &digits));
    }
    push_all(&mut block, &head.fields);
}

/// Appends the block of trailers.
pub(super) fn write_trailers(encoder: &mut Encoder, out: &mut Vec<u8>, fields: &Fields) {
    push_all(&mut encoder.block(out), fields);
}

fn push_all(block: &mut Block<'_>, fields: &Fields) {
    for (name, value, never_indexed) in fields.raw() {
        block.push(Field { never_indexed, ..Field::new(name, value) });
    }
}
