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

use super::bounds::{Bounds, SchemaError};
use super::extent::Extent;

/// The file of types that nobody could give.
const UNKNOWN: &str = "portunus/unknown_types.proto";

/// `google/protobuf/*.proto`, as they come with Portunus.
static WELL_KNOWN: LazyLock<BTreeMap<String, FileDescriptorProto>> = LazyLock::new(|| {
    let set: FileDescriptorSet = DecodeOptions::new().decode_from_slice(portunus_proto::WELL_KNOWN).unwrap_or_default();
    set.file.into_iter().map(|file| (file.name.clone().unwrap_or_default(), file)).collect()
});

/// The types that they define.
static WELL_KNOWN_TYPES: LazyLock<HashSet<String>> = LazyLock::new(|| defined(&WELL_KNOWN));

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

/// How often all of a schema may be linked to find out what of it is broken.
const TRIES: usize = 8;

/// Types that are named and not defined, without the leading dot; those that come with Portunus are defined.
pub(super) fn undefined(files: &BTreeMap<String, FileDescriptorProto>) -> BTreeSet<String> {
    dangling(files).into_keys().collect()
}

/// Links files. A service whose files do not go together is left out, and the others stay.
pub(super) fn link(mut files: BTreeMap<String, FileDescriptorProto>, bounds: &Bounds) -> Result<Repaired, SchemaError> {
    let mut problems = Vec::new();
    files.retain(|name, file| !is_well_known(name) && !is_placeholder(file) && !is_copy_of_well_known(file));
    drop_copies(&mut files);
    complete(&mut files, &mut problems);
    make_absolute(&mut files);
    let why = match pool(files.values().cloned().collect()) {
        Ok(pool) => return Ok(Repaired { pool: Arc::new(pool), problems }),
        Err(why) => why,
    };
    let homes = homes(&files);
    let (mut good, mut work) = (BTreeSet::new(), 0);
    for (name, file) in files.iter().filter(|(_, file)| !file.service.is_empty()) {
        let with = closure(&files, &homes, name);
        let some: Vec<_> = with.iter().filter_map(|name| files.get(name).cloned()).collect();
        work +=
            some.iter().filter_map(|file| Extent::of(file, bounds).ok()).map(|extent| extent.elements).sum::<usize>();
        let left_out = if work > bounds.elements.saturating_mul(TRIES) {
            Some("it would take too long to find out whether it is broken".to_owned())
        } else {
            pool(some).err().map(|why| why.to_string())
        };
        match left_out {
            None => good.extend(with),
            Some(why) => {
                let services: Vec<_> = file.service.iter().filter_map(|service| service.name.as_deref()).collect();
                problems.push(format!("{name} is left out, and with it {}: {why}", services.join(", ")));
            }
        }
    }
    if good.is_empty() {
        return Err(SchemaError::Malformed(format!("the descriptors do not go together: {why}")));
    }
    let pool = pool(good.iter().filter_map(|name| files.get(name).cloned()).collect());
    let pool = pool.map_err(|why| SchemaError::Malformed(format!("its services do not go together: {why}")))?;
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

/// `google/protobuf` under another path, as some generators have it: ours counts.
fn is_copy_of_well_known(file: &FileDescriptorProto) -> bool {
    let mut types = HashSet::new();
    define(file, &mut types);
    file.service.is_empty() && !types.is_empty() && types.is_subset(&WELL_KNOWN_TYPES)
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
    let dangling = dangling(files);
    for (at, (name, Dangling { by, is_enum })) in dangling.into_iter().enumerate() {
        problems.push(format!("{name} is not defined anywhere, and {by} needs it: what is in it cannot be read"));
        let (package, simple) = name.rsplit_once('.').unwrap_or(("", &name));
        let file_name = format!("{UNKNOWN}.{at}");
        let mut file = FileDescriptorProto {
            name: Some(file_name.clone()),
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
        files.insert(file_name, file);
    }
}

struct Dangling {
    by: String,
    is_enum: bool,
}

fn dangling(files: &BTreeMap<String, FileDescriptorProto>) -> BTreeMap<String, Dangling> {
    let defined = defined(files);
    let mut missing = BTreeMap::new();
    for file in files.values() {
        refer(file, &mut |name, scope, is_enum| {
            let full = resolve(name, scope, &defined);
            if !is_defined(&full, &defined) {
                missing.entry(full).or_insert_with(|| Dangling { by: scope.to_owned(), is_enum });
            }
        });
    }
    missing
}

fn defined(files: &BTreeMap<String, FileDescriptorProto>) -> HashSet<String> {
    let mut defined = HashSet::new();
    files.values().for_each(|file| define(file, &mut defined));
    defined
}

fn is_defined(full: &str, defined: &HashSet<String>) -> bool {
    defined.contains(full) || WELL_KNOWN_TYPES.contains(full)
}

/// What a name means that stands within `scope`: with a leading dot itself, else the innermost that is defined, as in C++. Compilers
/// write the dot; protobufjs does not. One that is not defined is taken to be of the scope's outermost part.
fn resolve(name: &str, scope: &str, defined: &HashSet<String>) -> String {
    if let Some(full) = name.strip_prefix('.') {
        return full.to_owned();
    }
    let mut within = scope;
    loop {
        let full = join(within, name);
        if is_defined(&full, defined) {
            return full;
        }
        match within.rsplit_once('.') {
            Some((outer, _)) => within = outer,
            None if !within.is_empty() => within = "",
            None => return join(scope.rsplit_once('.').map_or("", |(package, _)| package), name),
        }
    }
}

/// Writes every name in full, since linkers look up no other.
fn make_absolute(files: &mut BTreeMap<String, FileDescriptorProto>) {
    let defined = defined(files);
    let absolute = |name: &mut Option<String>, scope: &str| {
        if let Some(relative) = name.as_ref().filter(|name| !name.starts_with('.')) {
            *name = Some(format!(".{}", resolve(relative, scope, &defined)));
        }
    };
    for file in files.values_mut() {
        let package = file.package.clone().unwrap_or_default();
        for service in &mut file.service {
            let scope = join(&package, service.name.as_deref().unwrap_or_default());
            for method in &mut service.method {
                absolute(&mut method.input_type, &scope);
                absolute(&mut method.output_type, &scope);
            }
        }
        for field in &mut file.extension {
            absolute(&mut field.type_name, &package);
            absolute(&mut field.extendee, &package);
        }
        let mut open: Vec<(String, &mut DescriptorProto)> =
            file.message_type.iter_mut().map(|message| (package.clone(), message)).collect();
        while let Some((scope, message)) = open.pop() {
            let full = join(&scope, message.name.as_deref().unwrap_or_default());
            for field in message.field.iter_mut().chain(&mut message.extension) {
                absolute(&mut field.type_name, &full);
                absolute(&mut field.extendee, &full);
            }
            open.extend(message.nested_type.iter_mut().map(|nested| (full.clone(), nested)));
        }
    }
}

/// In which file each type is defined.
fn homes(files: &BTreeMap<String, FileDescriptorProto>) -> BTreeMap<String, &str> {
    let mut homes = BTreeMap::new();
    for (name, file) in files {
        let mut names = HashSet::new();
        define(file, &mut names);
        for full in names {
            homes.entry(full).or_insert(name.as_str());
        }
    }
    homes
}

/// Files that a file's types need, itself included. Names are written in full by now.
fn closure(
    files: &BTreeMap<String, FileDescriptorProto>,
    homes: &BTreeMap<String, &str>,
    from: &str,
) -> BTreeSet<String> {
    let (mut found, mut open) = (BTreeSet::from([from.to_owned()]), vec![from]);
    while let Some(file) = open.pop().and_then(|name| files.get(name)) {
        refer(file, &mut |name, _, _| {
            if let Some(home) = homes.get(name.trim_start_matches('.')).filter(|home| !found.contains(**home)) {
                found.insert((*home).to_owned());
                open.push(home);
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

/// Tells of each type that is named in a file: the name, within what, and whether it is an enum.
fn refer(file: &FileDescriptorProto, tell: &mut impl FnMut(&str, &str, bool)) {
    let package = file.package.as_deref().unwrap_or_default();
    for service in &file.service {
        let by = join(package, service.name.as_deref().unwrap_or_default());
        for method in &service.method {
            for name in [&method.input_type, &method.output_type].into_iter().flatten() {
                tell(name, &by, false);
            }
        }
    }
    let mut field = |by: &str, field: &FieldDescriptorProto| {
        let is_enum = field.r#type == Some(Type::TYPE_ENUM);
        for (name, is_enum) in [(&field.type_name, is_enum), (&field.extendee, false)] {
            if let Some(name) = name {
                tell(name, by, is_enum);
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

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}
