//! Files as they come, one by one and in any order, until there are enough of them for a schema.

use std::collections::{BTreeMap, BTreeSet};

use buffa::{DecodeError, DecodeOptions};
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};

use super::bounds::{Bounds, SchemaError};
use super::repair::{self, Repaired};
use super::set::Schema;

/// Files that were gathered.
#[derive(Debug)]
pub struct Collection {
    bounds: Bounds,
    bytes: usize,
    elements: usize,
    files: BTreeMap<String, FileDescriptorProto>,
}

impl Collection {
    /// Nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, bytes: 0, elements: 0, files: BTreeMap::new() }
    }

    /// Adds an encoded `FileDescriptorProto`; false if there is one of this name.
    ///
    /// # Errors
    /// It is none, or more than is taken.
    pub fn add(&mut self, encoded: &[u8]) -> Result<bool, SchemaError> {
        self.count(encoded.len())?;
        let file = self.options().decode_from_slice(encoded);
        self.insert(file.map_err(|error| self.broken("a file's descriptor is broken", &error))?)
    }

    /// Adds an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// It is none, or more than is taken.
    pub fn add_set(&mut self, encoded: &[u8]) -> Result<(), SchemaError> {
        self.count(encoded.len())?;
        let set = self.options().decode_from_slice::<FileDescriptorSet>(encoded);
        let set = set.map_err(|error| self.broken("this is no descriptor set", &error))?;
        set.file.into_iter().try_for_each(|file| self.insert(file).map(drop))
    }

    /// Whether a file of this name is there.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Whether a service of this full name is defined.
    pub fn defines_service(&self, full_name: &str) -> bool {
        let (package, name) = full_name.rsplit_once('.').unwrap_or(("", full_name));
        let in_package = self.files.values().filter(|file| file.package.as_deref().unwrap_or_default() == package);
        in_package.flat_map(|file| &file.service).any(|service| service.name.as_deref() == Some(name))
    }

    /// Imports of files that are there to files that are not, but for those that come with Portunus.
    pub fn missing(&self) -> BTreeSet<String> {
        let imports = self.files.values().flat_map(|file| &file.dependency);
        imports.filter(|name| !self.has(name) && !repair::is_well_known(name)).cloned().collect()
    }

    /// Types that fields and methods name and no file defines, but for those that come with Portunus.
    pub fn undefined(&self) -> BTreeSet<String> {
        repair::undefined(self.files.values())
    }

    /// Makes a schema of what is there. What is incomplete is put right or left out, and said in [`Schema::problems`].
    ///
    /// # Errors
    /// Nothing usable is left, or it is more than is taken.
    pub fn finish(self) -> Result<Schema, SchemaError> {
        let services: usize = self.files.values().map(|file| file.service.len()).sum();
        if services > self.bounds.services {
            return Err(SchemaError::over("services", self.bounds.services));
        }
        let Repaired { pool, problems } = repair::link(self.files)?;
        Ok(Schema::new(pool, problems))
    }

    fn count(&mut self, octets: usize) -> Result<(), SchemaError> {
        self.bytes = self.bytes.saturating_add(octets);
        if self.bytes > self.bounds.bytes { Err(SchemaError::over("bytes", self.bounds.bytes)) } else { Ok(()) }
    }

    fn options(&self) -> DecodeOptions {
        DecodeOptions::new().with_element_memory_limit(self.bounds.memory)
    }

    fn broken(&self, what: &str, error: &DecodeError) -> SchemaError {
        match error {
            DecodeError::RecursionLimitExceeded => SchemaError::over("messages within messages", self.bounds.depth),
            DecodeError::ElementMemoryLimitExceeded => SchemaError::over("bytes in memory", self.bounds.memory),
            _ => SchemaError::Malformed(format!("{what}: {error}")),
        }
    }

    fn insert(&mut self, mut file: FileDescriptorProto) -> Result<bool, SchemaError> {
        let name = file.name.clone().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| SchemaError::Malformed("a file's descriptor has no name".into()))?;
        // What stands in for what was unknown is made anew.
        if self.has(&name) || repair::is_stand_in(&name) {
            return Ok(false);
        }
        if self.files.len() >= self.bounds.files {
            return Err(SchemaError::over("files", self.bounds.files));
        }
        if depth(&file.message_type, self.bounds.depth) > self.bounds.depth {
            return Err(SchemaError::over("messages within messages", self.bounds.depth));
        }
        self.elements = self.elements.saturating_add(elements(&file));
        if self.elements > self.bounds.elements {
            return Err(SchemaError::over("elements", self.bounds.elements));
        }
        // Comments are much of a file, and no part of what it means.
        file.source_code_info = buffa::MessageField::default();
        self.files.insert(name, file);
        Ok(true)
    }
}

/// How deep messages lie in each other, counted no further than one past `most`.
fn depth(messages: &[DescriptorProto], most: usize) -> usize {
    let mut depth = 0;
    let mut level: Vec<&[DescriptorProto]> = vec![messages];
    while level.iter().any(|messages| !messages.is_empty()) && depth <= most {
        depth += 1;
        level = level.iter().flat_map(|messages| *messages).map(|message| &message.nested_type[..]).collect();
    }
    depth
}

/// Everything in a file that has a name or a number.
fn elements(file: &FileDescriptorProto) -> usize {
    let of_enum = |named: &EnumDescriptorProto| 1 + named.value.len() + named.reserved_range.len();
    let methods: usize = file.service.iter().map(|service| 1 + service.method.len()).sum();
    let mut count = file.extension.len() + file.dependency.len() + methods;
    count += file.enum_type.iter().map(of_enum).sum::<usize>();
    let mut open: Vec<&DescriptorProto> = file.message_type.iter().collect();
    while let Some(message) = open.pop() {
        let ranges = message.extension_range.len() + message.reserved_range.len() + message.reserved_name.len();
        count += 1 + message.field.len() + message.extension.len() + message.oneof_decl.len() + ranges;
        count += message.enum_type.iter().map(of_enum).sum::<usize>();
        open.extend(&message.nested_type);
    }
    count
}
