//! What servers get wrong about their own descriptors, put right (FIELD.md §3): well-known types that they forget to register,
//! placeholders, files under two names, and types that nobody can give.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, LazyLock};

use buffa::{DecodeOptions, Message as _};
use buffa_descriptor::DescriptorPool;
use buffa_descriptor::generated::descriptor::field_descriptor_proto::Type;
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
};

use super::bounds::SchemaError;

/// The file of types that nobody could give.
const UNKNOWN: &str = "portunus/unknown_types.proto";

/// `google/protobuf/*.proto`, as they come with Portunus.
static WELL_KNOWN: LazyLock<BTreeMap<String, FileDescriptorProto>> = LazyLock::new(|| {
    let set: FileDescriptorSet = DecodeOptions::new().decode_from_slice(portunus_proto::WELL_KNOWN).unwrap_or_default();
    set.file.into_iter().map(|file| (file.name.clone().unwrap_or_default(), file)).collect()
});

/// The types that they define, with their files.
static WELL_KNOWN_TYPES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let types = |file: &FileDescriptorProto| {
        let mut names = HashSet::new();
        define(file, &mut names);
        names
    };
    WELL_KNOWN.iter().flat_map(|(name, file)| types(file).into_iter().map(|full| (full, name.clone()))).collect()
});

/// Whether a file comes with Portunus: whatever a server says of it, ours counts.
pub(super) fn is_well_known(name: &str) -> bool {
    WELL_KNOWN.contains_key(name)
}

/// Whether a file defines what nobody could give.
pub(super) fn is_stand_in(name: &str) -> bool {
    name.starts_with(UNKNOWN)
}

/// A linked schema, and what had to be put right.
pub(super) struct Repaired {
    pub(super) pool: Arc<DescriptorPool>,
    pub(super) problems: Vec<String>,
}

/// Types that are named and not defined, without the leading dot; those that come with Portunus are defined.
pub(super) fn undefined<'a>(files: impl Iterator<Item = &'a FileDescriptorProto> + Clone) -> BTreeSet<String> {
    dangling(files).into_keys().collect()
}

/// Links files. A service whose files do not go together is left out, and the others stay.
pub(super) fn link(mut files: BTreeMap<String, FileDescriptorProto>) -> Result<Repaired, SchemaError> {
    let mut problems = Vec::new();
    files.retain(|name, file| !is_well_known(name) && !is_placeholder(file));
    drop_copies(&mut files);
    complete(&mut files, &mut problems);
    let all: Vec<_> = files.values().cloned().collect();
    let why = match pool(all) {
        Ok(pool) => return Ok(Repaired { pool: Arc::new(pool), problems }),
        Err(why) => why,
    };
    let mut good = BTreeSet::new();
    for (name, file) in files.iter().filter(|(_, file)| !file.service.is_empty()) {
        let mut with = closure(&files, name);
        with.extend(good.iter().cloned());
        match pool(with.iter().filter_map(|name| files.get(name).cloned()).collect()) {
            Ok(_) => good = with,
            Err(why) => {
                let services: Vec<_> = file.service.iter().filter_map(|service| service.name.as_deref()).collect();
                problems.push(format!("{name} is left out, and with it {}: {why}", services.join(", ")));
            }
        }
    }
    if good.is_empty() {
        return Err(SchemaError::Malformed(format!("the descriptors do not go together: {why}")));
    }
    let pool = pool(good.iter().filter_map(|name| files.get(name).cloned()).collect());
    let pool = pool.map_err(|why| SchemaError::Malformed(why.to_string()))?;
    Ok(Repaired { pool: Arc::new(pool), problems })
}

fn pool(mut files: Vec<FileDescriptorProto>) -> Result<DescriptorPool, buffa_descriptor::PoolError> {
    files.extend(WELL_KNOWN.values().cloned());
    DescriptorPool::new(FileDescriptorSet { file: files, ..FileDescriptorSet::default() })
}

/// grpc-go gives such a file where it was not told of an import (grpcurl #423).
fn is_placeholder(file: &FileDescriptorProto) -> bool {
    let empty = file.message_type.is_empty() && file.enum_type.is_empty() && file.service.is_empty();
    (empty && file.extension.is_empty() && file.dependency.is_empty())
        || file.syntax.as_deref().is_some_and(|syntax| syntax.starts_with('<'))
}

/// The same file under two names: one is enough, since types are found by their names and not by their files.
fn drop_copies(files: &mut BTreeMap<String, FileDescriptorProto>) {
    let mut seen = HashSet::new();
    files.retain(|_, file| {
        let mut nameless = file.clone();
        (nameless.name, nameless.dependency) = (None, Vec::new());
        (nameless.public_dependency, nameless.weak_dependency) = (Vec::new(), Vec::new());
        seen.insert(nameless.encode_to_vec())
    });
}

/// Defines what nobody could give: a message without fields, an enum without names. What the server really sends then is kept as
/// it came, but cannot be read.
fn complete(files: &mut BTreeMap<String, FileDescriptorProto>, problems: &mut Vec<String>) {
    let dangling = dangling(files.values());
    for (at, (name, Dangling { by, is_enum })) in dangling.into_iter().enumerate() {
        problems.push(format!("{name} is not defined anywhere, and {by} needs it: what is in it cannot be read"));
        let (package, simple) = name.rsplit_once('.').unwrap_or(("", &name));
        let mut file = FileDescriptorProto {
            name: Some(format!("{UNKNOWN}.{at}")),
            package: Some(package.to_owned()).filter(|package| !package.is_empty()),
            syntax: Some("proto3".to_owned()),
            ..FileDescriptorProto::default()
        };
        if is_enum {
            let zero = EnumValueDescriptorProto {
                name: Some(format!("PORTUNUS_UNKNOWN_{at}")),
                number: Some(0),
                ..EnumValueDescriptorProto::default()
            };
            let named = EnumDescriptorProto {
                name: Some(simple.to_owned()),
                value: vec![zero],
                ..EnumDescriptorProto::default()
            };
            file.enum_type.push(named);
        } else {
            file.message_type.push(DescriptorProto { name: Some(simple.to_owned()), ..DescriptorProto::default() });
        }
        files.insert(format!("{UNKNOWN}.{at}"), file);
    }
}

struct Dangling {
    by: String,
    is_enum: bool,
}

fn dangling<'a>(files: impl Iterator<Item = &'a FileDescriptorProto> + Clone) -> BTreeMap<String, Dangling> {
    let mut defined = HashSet::new();
    files.clone().for_each(|file| define(file, &mut defined));
    let mut missing = BTreeMap::new();
    for file in files {
        refer(file, &mut |name, by, is_enum| {
            if !defined.contains(name) && !WELL_KNOWN_TYPES.contains_key(name) {
                missing.entry(name.to_owned()).or_insert_with(|| Dangling { by: by.to_owned(), is_enum });
            }
        });
    }
    missing
}

/// Files that a file's types need, itself included.
fn closure(files: &BTreeMap<String, FileDescriptorProto>, from: &str) -> BTreeSet<String> {
    let mut home = BTreeMap::new();
    for (name, file) in files {
        let mut names = HashSet::new();
        define(file, &mut names);
        for full in names {
            home.entry(full).or_insert(name);
        }
    }
    let (mut found, mut open) = (BTreeSet::from([from.to_owned()]), vec![from.to_owned()]);
    while let Some(file) = open.pop().and_then(|name| files.get(&name)) {
        refer(file, &mut |name, _, _| {
            if let Some(name) = home.get(name).filter(|name| !found.contains(**name)) {
                found.insert((*name).clone());
                open.push((*name).clone());
            }
        });
    }
    found
}

/// Full names of the messages and enums of a file.
fn define(file: &FileDescriptorProto, into: &mut HashSet<String>) {
    let package = file.package.as_deref().unwrap_or_default();
    let mut open: Vec<(String, &DescriptorProto)> =
        file.message_type.iter().map(|message| (package.to_owned(), message)).collect();
    into.extend(file.enum_type.iter().filter_map(|e| Some(join(package, e.name.as_deref()?))));
    while let Some((scope, message)) = open.pop() {
        let full = join(&scope, message.name.as_deref().unwrap_or_default());
        into.extend(message.enum_type.iter().filter_map(|e| Some(join(&full, e.name.as_deref()?))));
        open.extend(message.nested_type.iter().map(|nested| (full.clone(), nested)));
        into.insert(full);
    }
}

/// Tells of each type that is named in a file by its full name: the name, who names it, and whether it is an enum.
fn refer(file: &FileDescriptorProto, tell: &mut impl FnMut(&str, &str, bool)) {
    let package = file.package.as_deref().unwrap_or_default();
    for service in &file.service {
        let by = join(package, service.name.as_deref().unwrap_or_default());
        for method in &service.method {
            for name in [&method.input_type, &method.output_type].into_iter().flatten() {
                absolute(name, |name| tell(name, &by, false));
            }
        }
    }
    let mut field = |by: &str, field: &FieldDescriptorProto| {
        let is_enum = field.r#type == Some(Type::TYPE_ENUM);
        for (name, is_enum) in [(&field.type_name, is_enum), (&field.extendee, false)] {
            if let Some(name) = name {
                absolute(name, |name| tell(name, by, is_enum));
            }
        }
    };
    file.extension.iter().for_each(|extension| field(package, extension));
    let mut open: Vec<(String, &DescriptorProto)> =
        file.message_type.iter().map(|message| (package.to_owned(), message)).collect();
    while let Some((scope, message)) = open.pop() {
        let full = join(&scope, message.name.as_deref().unwrap_or_default());
        message.field.iter().chain(&message.extension).for_each(|one| field(&full, one));
        open.extend(message.nested_type.iter().map(|nested| (full.clone(), nested)));
    }
}

/// Compilers write full names with a leading dot; what has none is for the linker to find, or to refuse.
fn absolute(name: &str, then: impl FnOnce(&str)) {
    if let Some(name) = name.strip_prefix('.') {
        then(name);
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}
