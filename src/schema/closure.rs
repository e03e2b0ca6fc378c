//! What a message means: a digest of all that can be reached from it. Files hold much else; a change there is none to it.

use std::collections::HashMap;

use buffa::{ExtensionSet as _, UnknownFields};
use buffa_descriptor::{
    DescriptorPool, EnumDescriptor, EnumIndex, FieldDescriptor, FieldKind, MessageDescriptor, MessageIndex,
    SingularKind,
};
use sha2::{Digest as _, Sha256};

/// SHA-256 of a message type and of everything that can be reached from it: names, numbers, types, cardinality, presence, oneofs,
/// values of enums, extensions, and options that are not protobuf's own (rules for its values, and the like). Not comments, not
/// where it is written down, and nothing else that its file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClosureDigest([u8; 32]);

impl ClosureDigest {
    /// Its octets.
    pub fn octets(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for ClosureDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The digests of all message types.
pub(super) type Closures = HashMap<MessageIndex, ClosureDigest>;

/// Digests of all message types. Types that need each other are one knot: what a knot needs has its digest before it, so that each
/// type is hashed once, however many can reach it.
pub(super) fn digests(pool: &DescriptorPool) -> Closures {
    let indexes: Vec<_> =
        pool.messages().iter().filter_map(|message| pool.message_index(message.full_name())).collect();
    let places: HashMap<MessageIndex, usize> =
        indexes.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    let enums: HashMap<EnumIndex, [u8; 32]> =
        pool.enums().iter().filter_map(|named| Some((pool.enum_index(named.full_name())?, of_enum(named)))).collect();
    let mut types = Vec::with_capacity(indexes.len());
    for index in &indexes {
        types.push(Type::of(pool, *index, &enums, &places));
    }
    let mut done: Vec<Option<[u8; 32]>> = vec![None; types.len()];
    for mut knot in knots(&types) {
        knot.sort_by(|a, b| types[*a].name.cmp(types[*b].name));
        let mut hash = Sha256::new();
        let mut below: Vec<[u8; 32]> = Vec::new();
        for member in &knot {
            hash.update(types[*member].own);
            below.extend(types[*member].needs.iter().filter_map(|needed| done[*needed]));
        }
        below.sort_unstable();
        below.dedup();
        below.iter().for_each(|digest| hash.update(digest));
        let whole: [u8; 32] = hash.finalize().into();
        for member in knot {
            let one = Sha256::new().chain_update(types[member].name).chain_update([0]).chain_update(whole).finalize();
            done[member] = Some(one.into());
        }
    }
    indexes.into_iter().zip(done).filter_map(|(index, digest)| Some((index, ClosureDigest(digest?)))).collect()
}

/// A message type: what it says itself, and which others it needs.
struct Type<'a> {
    name: &'a str,
    own: [u8; 32],
    needs: Vec<usize>,
}

impl<'a> Type<'a> {
    fn of(
        pool: &'a DescriptorPool,
        index: MessageIndex,
        enums: &HashMap<EnumIndex, [u8; 32]>,
        places: &HashMap<MessageIndex, usize>,
    ) -> Self {
        let message = pool.message(index);
        let mut words = Words { pool, enums, octets: Vec::new(), needs: Vec::new() };
        words.text(message.full_name());
        let options = message.options();
        let is_set = options.is_some_and(|options| options.message_set_wire_format == Some(true));
        words.text(if is_set { "set" } else { "" });
        words.rules(options.map(|options| options.unknown_fields()));
        let mut fields: Vec<&FieldDescriptor> = message.fields().iter().collect();
        fields.sort_by_key(|field| field.number());
        for field in fields {
            words.field(field, oneof(message, field));
        }
        for oneof in message.oneofs().iter().filter(|oneof| !oneof.is_synthetic()) {
            words.text(oneof.name());
            words.rules(oneof.options().map(|options| options.unknown_fields()));
        }
        let mut extensions: Vec<_> = pool.extensions_of(index).collect();
        extensions.sort_by_key(|extension| extension.field().number());
        for extension in extensions {
            words.text(extension.full_name());
            words.field(extension.field(), None);
        }
        let mut needs: Vec<usize> = words.needs.iter().filter_map(|index| places.get(index).copied()).collect();
        needs.sort_unstable();
        needs.dedup();
        Self { name: message.full_name(), own: Sha256::digest(&words.octets).into(), needs }
    }
}

/// The oneof that a field is in, if it is one that somebody wrote.
pub(super) fn oneof<'a>(message: &'a MessageDescriptor, field: &FieldDescriptor) -> Option<&'a str> {
    let oneof = message.oneofs().get(usize::from(field.oneof_index()?))?;
    (!oneof.is_synthetic()).then(|| oneof.name())
}

/// What a type says, so that no two say the same in different words: each part with its length.
struct Words<'a> {
    pool: &'a DescriptorPool,
    enums: &'a HashMap<EnumIndex, [u8; 32]>,
    octets: Vec<u8>,
    needs: Vec<MessageIndex>,
}

impl Words<'_> {
    fn octets(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(&(octets.len() as u64).to_be_bytes());
        self.octets.extend_from_slice(octets);
    }

    fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }

    /// Options that protobuf itself does not know.
    fn rules(&mut self, options: Option<&UnknownFields>) {
        let mut octets = Vec::new();
        if let Some(options) = options {
            options.write_to(&mut octets);
        }
        self.octets(&octets);
    }

    fn field(&mut self, field: &FieldDescriptor, oneof: Option<&str>) {
        self.text(field.name());
        self.text(field.json_name());
        self.octets(&field.number().to_be_bytes());
        match field.kind() {
            FieldKind::Singular(kind) => self.kind("one", kind),
            FieldKind::List(kind) => self.kind("list", kind),
            FieldKind::Map { key, value } => {
                self.text(&format!("{key:?}"));
                self.kind("map", value);
            }
        }
        let (presence, packed, delimited) = (field.presence(), field.is_packed(), field.is_delimited());
        self.text(&format!("{presence:?} {packed} {delimited} {:?}", field.enum_type()));
        self.text(oneof.unwrap_or_default());
        self.rules(field.options().map(|options| options.unknown_fields()));
    }

    fn kind(&mut self, how_many: &str, kind: SingularKind) {
        self.text(how_many);
        match kind {
            SingularKind::Scalar(scalar) => self.text(&format!("{scalar:?}")),
            SingularKind::Enum(index) => {
                if let Some(digest) = self.enums.get(&index) {
                    self.octets.extend_from_slice(digest);
                }
            }
            SingularKind::Message(index) => {
                self.text(self.pool.message(index).full_name());
                self.needs.push(index);
            }
        }
    }
}

fn of_enum(named: &EnumDescriptor) -> [u8; 32] {
    let mut values: Vec<_> = named.values().iter().map(|value| (value.number(), value.name())).collect();
    // Of two names of one number the first is the one that JSON gets.
    values.sort_by_key(|(number, _)| *number);
    let mut hash = Sha256::new();
    hash.update(named.full_name());
    hash.update(format!(" {:?}", named.enum_type()));
    for (number, name) in values {
        hash.update(number.to_be_bytes());
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
    }
    hash.finalize().into()
}

/// Types that reach each other, in groups: each group behind all that it needs (Tarjan's strongly connected components, without
/// recursion, since strangers decide how deep it would be).
fn knots(types: &[Type<'_>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let (mut found, mut stack, mut count) = (Vec::new(), Vec::new(), 0);
    let mut index = vec![UNSEEN; types.len()];
    let mut low = vec![0; types.len()];
    let mut on_stack = vec![false; types.len()];
    for start in 0..types.len() {
        if index[start] != UNSEEN {
            continue;
        }
        // A type, and how many of those that it needs have been looked at.
        let mut open = vec![(start, 0)];
        while let Some((at, next)) = open.last_mut() {
            let at = *at;
            if *next == 0 && index[at] == UNSEEN {
                (index[at], low[at]) = (count, count);
                count += 1;
                stack.push(at);
                on_stack[at] = true;
            }
            if let Some(needed) = types[at].needs.get(*next).copied() {
                *next += 1;
                if index[needed] == UNSEEN {
                    open.push((needed, 0));
                } else if on_stack[needed] {
                    low[at] = low[at].min(index[needed]);
                }
                continue;
            }
            open.pop();
            if let Some((parent, _)) = open.last() {
                low[*parent] = low[*parent].min(low[at]);
            }
            if low[at] == index[at] {
                let from = stack.iter().rposition(|member| *member == at).unwrap_or_default();
                let knot = stack.split_off(from);
                knot.iter().for_each(|member| on_stack[*member] = false);
                found.push(knot);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
