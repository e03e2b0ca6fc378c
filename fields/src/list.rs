//! The list itself.

/// Where one field stands in the buffer: the name, then at once the value.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    name: u32,
    value: u32,
    /// No hop may put it into a compression table (RFC 7541 §6.2.3).
    never_indexed: bool,
}

/// An ordered list of fields. Names are lower case; a name may stand more than once.
///
/// Removing a field forgets its entry and leaves its bytes: a head lives for one call, so the buffer is never compacted.
#[derive(Clone, Default)]
pub struct Fields {
    pub(crate) buffer: Vec<u8>,
    entries: Vec<Entry>,
}

impl Fields {
    /// An empty list that has room for `fields` fields of `bytes` bytes in all.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), entries: Vec::with_capacity(fields) }
    }

    /// Appends a field. `name` must be lower case; fields of the same name keep their order.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        debug_assert!(is_name(name), "field name {name:?} is not a lower-case token");
        self.push_as_it_came(name.as_bytes(), value, false);
    }

    /// Appends a field that was taken off the wire and checked there: its name is a lower-case token. `never_indexed` is what its
    /// sender asked of every hop.
    pub fn push_as_it_came(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        // A head over 4 GiB cannot be: listeners bound heads at kilobytes. Should one come, it is cut, never wrapped.
        let start = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        let (Ok(name_len), Ok(value_len)) = (u32::try_from(name.len()), u32::try_from(value.len())) else { return };
        if start.checked_add(name_len).and_then(|end| end.checked_add(value_len)).is_none() {
            return;
        }
        self.buffer.extend_from_slice(name);
        self.buffer.extend_from_slice(value);
        self.entries.push(Entry { start, name: name_len, value: value_len, never_indexed });
    }

    /// Appends a field whose value stands in the buffer already.
    pub(crate) fn push_from_within(&mut self, name: &str, value: std::ops::Range<usize>) {
        let before = self.buffer.len();
        self.push(name, b"");
        if let Some(entry) = self.entries.last_mut().filter(|_| value.end <= before) {
            entry.value = u32::try_from(value.len()).unwrap_or_default();
            self.buffer.extend_from_within(value);
        }
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.entries.iter().find(|entry| self.name_of(entry) == name.as_bytes()).map(|entry| self.value_of(entry))
    }

    /// The first value of `name`, if it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.entries
            .iter()
            .filter(move |entry| self.name_of(entry) == name.as_bytes())
            .map(|entry| self.value_of(entry))
    }

    /// Whether a field of this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Removes every field of this name; answers how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        self.retain(|have, _| have != name.as_bytes())
    }

    /// Puts one field of this name in the place of all that there are.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name, value);
    }

    /// Keeps the fields for which `keep` says so; answers how many were removed.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) -> usize {
        let before = self.entries.len();
        let buffer = &self.buffer;
        self.entries.retain(|entry| keep(name_in(buffer, entry), value_in(buffer, entry)));
        before - self.entries.len()
    }

    /// Every field, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { fields: self, at: 0 }
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The size by which HTTP/2 bounds a head: names, values and 32 bytes a field (RFC 9113 §10.5.1).
    pub fn size(&self) -> usize {
        self.entries.iter().map(|entry| entry.name as usize + entry.value as usize + 32).sum()
    }

    /// Every field in order, as an encoder takes it: name, value, and whether no hop may index it.
    pub fn raw(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        self.entries.iter().map(|entry| (self.name_of(entry), self.value_of(entry), entry.never_indexed))
    }

    /// Becomes equal to another, in its own room.
    pub fn copy_from(&mut self, other: &Self) {
        self.buffer.clone_from(&other.buffer);
        self.entries.clone_from(&other.entries);
    }

    /// Takes back what was appended since the list had so many fields and octets.
    pub(crate) fn truncate(&mut self, fields: usize, octets: usize) {
        self.entries.truncate(fields);
        self.buffer.truncate(octets);
    }

    /// Forgets every field and keeps the room.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.entries.clear();
    }

    /// Octets held from the allocator: for whoever keeps lists to use them again.
    pub fn allocated(&self) -> usize {
        self.buffer.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    fn name_of(&self, entry: &Entry) -> &[u8] {
        name_in(&self.buffer, entry)
    }

    fn value_of(&self, entry: &Entry) -> &[u8] {
        value_in(&self.buffer, entry)
    }
}

fn name_in<'a>(buffer: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    buffer.get(start..start + entry.name as usize).unwrap_or_default()
}

fn value_in<'a>(buffer: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize + entry.name as usize;
    buffer.get(start..start + entry.value as usize).unwrap_or_default()
}

/// Names are pushed as `&str`, so this never falls back in practice; it does so rather than panic.
fn text(name: &[u8]) -> &str {
    std::str::from_utf8(name).unwrap_or_default()
}

/// Walks a list in order.
#[derive(Clone)]
pub struct Iter<'a> {
    fields: &'a Fields,
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.fields.entries.get(self.at)?;
        self.at += 1;
        Some((text(self.fields.name_of(entry)), self.fields.value_of(entry)))
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Fields {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a [u8])>>(pairs: T) -> Self {
        let mut fields = Self::default();
        for (name, value) in pairs {
            fields.push(name, value);
        }
        fields
    }
}

impl std::fmt::Debug for Fields {
    /// Shows names only: values hold tokens, and a debug line must never show one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

/// Whether this can stand as the name of a field: a lower-case token (RFC 9110 §5.6.2, RFC 9113 §8.2.1).
pub fn is_name(name: impl AsRef<[u8]>) -> bool {
    let name = name.as_ref();
    !name.is_empty() && name.iter().all(|octet| TOKEN[usize::from(*octet)])
}

/// Octets of a lower-case token.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let chars = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < chars.len() {
        table[chars[at] as usize] = true;
        at += 1;
    }
    table
};

/// Whether this can stand as the value of a field: no control characters, no blank at either end (RFC 9113 §8.2.1).
pub fn is_value(value: &[u8]) -> bool {
    let blank = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if blank(value.first()) || blank(value.last()) {
        return false;
    }
    let (words, rest) = value.as_chunks::<8>();
    words.iter().all(|word| is_plain(*word) || word.iter().all(|b| may_be_in_value(*b)))
        && rest.iter().all(|b| may_be_in_value(*b))
}

fn may_be_in_value(b: u8) -> bool {
    b == b'\t' || (b >= 0x20 && b != 0x7f)
}

/// Whether none of eight octets is a control character; false also for the tab, which is one that may be.
#[inline]
fn is_plain(word: [u8; 8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // An octet below n borrows from its high bit, unless it had one (Hacker's Delight, "Find first 0-byte").
    let any_below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGH != 0;
    let word = u64::from_le_bytes(word);
    !any_below(word, 0x20) && !any_below(word ^ (ONES * 0x7f), 1)
}

#[cfg(test)]
mod tests {
    use super::{Fields, is_name, is_value};

    fn list(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
    }

    #[test]
    fn repeated_names_keep_their_order() {
        let fields = list(&[("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(fields.get("a"), Some(&b"1"[..]));
        assert_eq!(fields.get_all("a").collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(fields.iter().map(|(name, _)| name).collect::<String>(), "aba");
    }

    #[test]
    fn set_replaces_all_and_remove_counts() {
        let mut fields = list(&[("a", "1"), ("b", "2"), ("a", "3")]);
        fields.set("a", b"9");
        assert_eq!(fields.get_all("a").collect::<Vec<_>>(), [b"9"]);
        assert_eq!(fields.remove("b"), 1);
        assert_eq!(fields.remove("b"), 0);
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn size_counts_as_http2_does() {
        assert_eq!(list(&[("ab", "cde"), ("f", "")]).size(), 2 + 3 + 32 + 1 + 32);
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", list(&[("authorization", "Bearer secret")]));
        assert!(shown.contains("authorization") && !shown.contains("secret"));
    }

    #[test]
    fn names_and_values_have_a_form() {
        assert!(is_name("x-user-id") && is_name("grpc-status-details-bin"));
        assert!(!is_name("") && !is_name("X-User") && !is_name(":path") && !is_name("a b") && !is_name("a\n"));
        assert!(is_value(b"") && is_value(b"a b") && is_value("é".as_bytes()));
        assert!(!is_value(b" a") && !is_value(b"a ") && !is_value(b"a\nb") && !is_value(b"a\x7f"));
    }

    #[test]
    fn an_octet_counts_wherever_it_stands() {
        for octet in 0..=255_u8 {
            let may_be = octet == b'\t' || (octet >= 0x20 && octet != 0x7f);
            for length in [9, 17, 20] {
                for at in 1..length - 1 {
                    for filler in [b'a', 0x80, 0xff, b' '] {
                        let mut value = vec![filler; length];
                        (value[0], value[length - 1], value[at]) = (b'a', b'a', octet);
                        assert_eq!(is_value(&value), may_be, "{octet} at {at} of {length}");
                    }
                }
            }
        }
    }
}
