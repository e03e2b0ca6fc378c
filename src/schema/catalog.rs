//! What a server with reflection serves: services of several schemas in one set of files, each service as its own schema defines it.
//! Made once, immutable, with every answer at hand. Knows not where the schemas come from.

mod excerpt;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use buffa::Message as _;
use buffa_descriptor::DescriptorPool;
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::set::Schema;
pub use excerpt::Excerpt;

/// Services of one schema.
#[derive(Clone, Debug)]
pub struct Part {
    /// The schema.
    pub schema: Arc<Schema>,
    /// Those of its services that are served; the others are not told of.
    pub services: BTreeSet<String>,
}

/// The most that is served.
#[derive(Clone, Copy, Debug)]
pub struct CatalogBounds {
    /// Files.
    pub files: usize,
    /// Octets of all of them.
    pub bytes: usize,
}

/// Services, with all files that they need.
///
/// Files of two schemas with one name and the same content are one. Where the content differs, that of the later schema is called
/// `portunus/2/NAME` (3, 4 …), and so it is in the imports of its other files: a client can hold both.
#[derive(Debug, Default)]
pub struct Catalog {
    /// Each with its methods.
    services: BTreeMap<String, Vec<String>>,
    files: Vec<File>,
    by_name: HashMap<String, usize>,
    symbols: HashMap<String, usize>,
    /// By the type that is extended, and the number.
    extensions: HashMap<String, BTreeMap<i32, usize>>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct File {
    encoded: Bytes,
    imports: Vec<usize>,
    /// Full names of those that are in it.
    services: Vec<String>,
}

impl Catalog {
    /// The services of all parts. A part that does not fit any more is left out, and said in [`problems`](Self::problems). Encodes all
    /// that is served, so this is not for a thread on which others wait.
    pub fn of(parts: &[Part], bounds: CatalogBounds) -> Self {
        let mut shelf = Shelf { bounds, ..Shelf::default() };
        let mut problems = Vec::new();
        for part in parts {
            if let Err(why) = shelf.add(part) {
                let services: Vec<_> = part.services.iter().map(String::as_str).collect();
                problems.push(format!("{} cannot be described: {why}", services.join(", ")));
            }
        }
        Self { problems, ..shelf.finish() }
    }

    /// Full names of the services, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// The same, each with the names of its methods.
    pub fn methods(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.services.iter().map(|(name, methods)| (name.as_str(), methods.as_slice()))
    }

    /// What had to be left out, in words.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// A file by its name.
    pub fn file(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The file that defines a service, a method, a type or one of its parts.
    pub fn symbol(&self, full_name: &str) -> Option<usize> {
        self.symbols.get(full_name.strip_prefix('.').unwrap_or(full_name)).copied()
    }

    /// The file that defines an extension.
    pub fn extension(&self, extended: &str, number: i32) -> Option<usize> {
        self.extensions.get(extended.strip_prefix('.').unwrap_or(extended))?.get(&number).copied()
    }

    /// The numbers of a type's extensions, in order; none where there is no such type.
    pub fn extension_numbers(&self, extended: &str) -> Option<Vec<i32>> {
        let extended = extended.strip_prefix('.').unwrap_or(extended);
        let known = self.extensions.get(extended).map(|numbers| numbers.keys().copied().collect());
        known.or_else(|| self.symbols.contains_key(extended).then(Vec::new))
    }

    /// The encoded descriptor of the file at a place, and the places of what it imports.
    pub fn at(&self, place: usize) -> Option<(&Bytes, &[usize])> {
        self.files.get(place).map(|file| (&file.encoded, file.imports.as_slice()))
    }
}

/// A catalog in the making.
#[derive(Default)]
struct Shelf {
    bounds: CatalogBounds,
    drafts: Vec<Draft>,
    by_name: HashMap<String, usize>,
    bytes: usize,
    /// Each service, and its file.
    homes: BTreeMap<String, usize>,
}

struct Draft {
    /// As its schema has it, but for the names of its imports and its own.
    file: FileDescriptorProto,
    hash: [u8; 32],
    imports: Vec<usize>,
}

impl Default for CatalogBounds {
    fn default() -> Self {
        Self { files: 20_000, bytes: 64 << 20 }
    }
}

impl Shelf {
    fn add(&mut self, part: &Part) -> Result<(), String> {
        let (mark, bytes) = (self.drafts.len(), self.bytes);
        let pool = part.schema.pool();
        let mut places = HashMap::new();
        let added = self.add_files(pool, &part.services, &mut places);
        if added.is_err() {
            self.drafts.truncate(mark);
            self.bytes = bytes;
            self.by_name.retain(|_, place| *place < mark);
            return added;
        }
        for (name, file) in homes(pool).filter(|(name, _)| part.services.contains(name)) {
            if let Some(place) = places.get(file) {
                self.homes.entry(name).or_insert(*place);
            }
        }
        Ok(())
    }

    /// Adds the files of services, what they import, and what extends their messages.
    fn add_files<'a>(
        &mut self,
        pool: &'a DescriptorPool,
        services: &BTreeSet<String>,
        places: &mut HashMap<&'a str, usize>,
    ) -> Result<(), String> {
        for (_, file) in homes(pool).filter(|(name, _)| services.contains(name)) {
            self.add_file(pool, file, places)?;
        }
        let extending: Vec<&FileDescriptorProto> =
            pool.files().iter().filter(|file| !extended(file).is_empty()).collect();
        let mut types = HashSet::new();
        loop {
            types.extend(
                places.values().filter_map(|place| self.drafts.get(*place)).flat_map(|draft| types_of(&draft.file)),
            );
            let before = places.len();
            for file in &extending {
                // Options are extensions too, and of no use to somebody whose files do not import them.
                let extends = |name: &String| !name.starts_with("google.protobuf.") && types.contains(name);
                if let Some(name) = file.name.as_deref().filter(|name| !places.contains_key(name))
                    && extended(file).iter().any(extends)
                {
                    self.add_file(pool, name, places)?;
                }
            }
            if places.len() == before {
                return Ok(());
            }
        }
    }

    /// Adds a file behind what it imports. `places` are those of this schema's files.
    fn add_file<'a>(
        &mut self,
        pool: &'a DescriptorPool,
        name: &'a str,
        places: &mut HashMap<&'a str, usize>,
    ) -> Result<(), String> {
        let (mut open, mut seen) = (vec![(name, false)], HashSet::new());
        while let Some((name, imported)) = open.pop() {
            if places.contains_key(name) {
                continue;
            }
            let Some(file) = pool.file_by_name(name) else { continue };
            if imported {
                let place = self.place(file, places)?;
                places.insert(name, place);
            } else if seen.insert(name) {
                open.push((name, true));
                open.extend(file.dependency.iter().map(|import| (import.as_str(), false)));
            }
        }
        Ok(())
    }

    fn place(&mut self, file: &FileDescriptorProto, places: &HashMap<&str, usize>) -> Result<usize, String> {
        let mut file = file.clone();
        let mut imports = Vec::new();
        for import in &mut file.dependency {
            let Some(place) = places.get(import.as_str()) else { continue };
            imports.push(*place);
            if let Some(name) = self.drafts.get(*place).and_then(|draft| draft.file.name.clone()) {
                *import = name;
            }
        }
        let own_name = file.name.take().unwrap_or_default();
        let encoded = file.encode_to_vec();
        let hash: [u8; 32] = Sha256::digest(&encoded).into();
        let mut name = own_name.clone();
        let mut copies = 1;
        while let Some(place) = self.by_name.get(&name) {
            if self.drafts.get(*place).is_some_and(|draft| draft.hash == hash) {
                return Ok(*place);
            }
            copies += 1;
            name = format!("portunus/{copies}/{own_name}");
        }
        self.bytes += encoded.len();
        if self.drafts.len() >= self.bounds.files {
            return Err(format!("all schemas together have over {} files", self.bounds.files));
        }
        if self.bytes > self.bounds.bytes {
            return Err(format!("all schemas together have over {} bytes", self.bounds.bytes));
        }
        file.name = Some(name.clone());
        self.by_name.insert(name, self.drafts.len());
        self.drafts.push(Draft { file, hash, imports });
        Ok(self.drafts.len() - 1)
    }

    fn finish(self) -> Catalog {
        let mut catalog = Catalog { by_name: self.by_name, ..Catalog::default() };
        for (place, Draft { mut file, imports, .. }) in self.drafts.into_iter().enumerate() {
            let package = file.package.clone().unwrap_or_default();
            let full = |name: &Option<String>| join(&package, name.as_deref().unwrap_or_default());
            // A service that is not served, or by another schema, must not be found here.
            file.service.retain(|service| self.homes.get(&full(&service.name)) == Some(&place));
            symbols(&file, &mut |name| {
                catalog.symbols.entry(name).or_insert(place);
            });
            each_extension(&file, &mut |extension| {
                let numbers = catalog.extensions.entry(extendee(extension)).or_default();
                numbers.entry(extension.number.unwrap_or_default()).or_insert(place);
            });
            let services: Vec<_> = file.service.iter().map(|service| full(&service.name)).collect();
            for (name, service) in services.iter().zip(&file.service) {
                let methods = service.method.iter().filter_map(|method| method.name.clone());
                catalog.services.insert(name.clone(), methods.collect());
            }
            catalog.files.push(File { encoded: file.encode_to_vec().into(), imports, services });
        }
        catalog
    }
}

/// Each service, and the name of its file.
fn homes(pool: &DescriptorPool) -> impl Iterator<Item = (String, &str)> {
    pool.files().iter().flat_map(|file| {
        let package = file.package.as_deref().unwrap_or_default();
        let services = file.service.iter().filter_map(|service| service.name.as_deref());
        services.filter_map(move |name| Some((join(package, name), file.name.as_deref()?)))
    })
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

fn extendee(extension: &FieldDescriptorProto) -> String {
    let name = extension.extendee.as_deref().unwrap_or_default();
    name.strip_prefix('.').unwrap_or(name).to_owned()
}

/// The types that a file extends.
fn extended(file: &FileDescriptorProto) -> Vec<String> {
    let mut names = Vec::new();
    each_extension(file, &mut |extension| names.push(extendee(extension)));
    names
}

fn each_extension(file: &FileDescriptorProto, tell: &mut impl FnMut(&FieldDescriptorProto)) {
    file.extension.iter().for_each(&mut *tell);
    each_message(file, &mut |_, message| message.extension.iter().for_each(&mut *tell));
}

/// Every message of a file, in whatever other, with its full name.
fn each_message(file: &FileDescriptorProto, tell: &mut impl FnMut(&str, &DescriptorProto)) {
    let package = file.package.as_deref().unwrap_or_default();
    let mut open: Vec<(String, &DescriptorProto)> = Vec::new();
    let named = |scope: &str, message: &DescriptorProto| join(scope, message.name.as_deref().unwrap_or_default());
    open.extend(file.message_type.iter().map(|message| (named(package, message), message)));
    while let Some((name, message)) = open.pop() {
        tell(&name, message);
        open.extend(message.nested_type.iter().map(|inner| (named(&name, inner), inner)));
    }
}

fn types_of(file: &FileDescriptorProto) -> Vec<String> {
    let mut names = Vec::new();
    each_message(file, &mut |name, _| names.push(name.to_owned()));
    names
}

/// Every name that a file defines, in full.
fn symbols(file: &FileDescriptorProto, tell: &mut impl FnMut(String)) {
    let package = file.package.as_deref().unwrap_or_default();
    for service in &file.service {
        let name = join(package, service.name.as_deref().unwrap_or_default());
        service.method.iter().for_each(|method| tell(join(&name, method.name.as_deref().unwrap_or_default())));
        tell(name);
    }
    parts(package, &[], &file.extension, &file.enum_type, tell);
    each_message(file, &mut |name, message| {
        tell(name.to_owned());
        let oneofs = message.oneof_decl.iter().filter_map(|oneof| oneof.name.as_deref());
        oneofs.for_each(|oneof| tell(join(name, oneof)));
        parts(name, &message.field, &message.extension, &message.enum_type, tell);
    });
}

fn parts(
    scope: &str,
    fields: &[FieldDescriptorProto],
    extensions: &[FieldDescriptorProto],
    enums: &[EnumDescriptorProto],
    tell: &mut impl FnMut(String),
) {
    let fields = fields.iter().chain(extensions).filter_map(|field| field.name.as_deref());
    fields.for_each(|field| tell(join(scope, field)));
    for named in enums {
        tell(join(scope, named.name.as_deref().unwrap_or_default()));
        // Values are siblings of their enum.
        named.value.iter().filter_map(|value| value.name.as_deref()).for_each(|value| tell(join(scope, value)));
    }
}

#[cfg(test)]
mod tests;
