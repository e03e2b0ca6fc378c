//! Files as they come, one by one and in any order, until there are enough of them for a schema.

use std::collections::{BTreeMap, BTreeSet};

use buffa::{DecodeError, DecodeOptions};
use buffa_descriptor::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use sha2::{Digest as _, Sha256};

use super::bounds::{Bounds, SchemaError};
use super::extent::Extent;
use super::repair::{self, Repaired};
use super::set::Schema;

/// What a file may take in memory, for each octet that it has on the wire, and at least: descriptors are wide structures.
const IN_MEMORY: usize = 32;
const LEAST_IN_MEMORY: usize = 64 * 1024;
/// How often over what is taken may come: many servers send what a file imports along with each.
const AGAIN: usize = 8;

/// Files that were gathered.
#[derive(Debug)]
pub struct Collection {
    bounds: Bounds,
    /// Octets that came, and those of files that were taken.
    came: usize,
    taken: usize,
    extent: Extent,
    files: BTreeMap<String, FileDescriptorProto>,
    /// Of each file as it came.
    hashes: BTreeMap<String, [u8; 32]>,
    problems: Vec<String>,
}

/// Stands for all that was gathered: where it is the same, so would the schema be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Collection {
    /// Nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        let (extent, files) = (Extent::default(), BTreeMap::new());
        let hashes = BTreeMap::new();
        Self { bounds, came: 0, taken: 0, extent, files, hashes, problems: Vec::new() }
    }

    /// Adds an encoded `FileDescriptorProto`, unless there is one of this name.
    ///
    /// # Errors
    /// It is none, or more than is taken.
    pub fn add(&mut self, encoded: &[u8]) -> Result<(), SchemaError> {
        self.count(encoded.len())?;
        let file = self.options(encoded.len()).decode_from_slice::<FileDescriptorProto>(encoded);
        let file = file.map_err(|error| self.broken("a file's descriptor is broken", &error))?;
        let name = file.name.clone().unwrap_or_default();
        if !self.insert(file)? {
            return Ok(());
        }
        self.hashes.insert(name, Sha256::digest(encoded).into());
        self.take(encoded.len())
    }

    /// Octets that have come.
    pub fn came(&self) -> usize {
        self.came
    }

    /// Of all files that were added one by one, in whatever order, and of what was wrong with them.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for digest in self.hashes.values() {
            hash.update(digest);
        }
        for problem in &self.problems {
            hash.update([0]);
            hash.update(problem);
        }
        Fingerprint(hash.finalize().into())
    }

    /// Adds an encoded `FileDescriptorSet`.
    ///
    /// # Errors
    /// It is none, or more than is taken.
    pub fn add_set(&mut self, encoded: &[u8]) -> Result<(), SchemaError> {
        self.take(encoded.len())?;
        let set = self.options(encoded.len()).decode_from_slice::<FileDescriptorSet>(encoded);
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
        repair::undefined(&self.files)
    }

    /// Something that is not as it should be, and stops nothing.
    pub(super) fn note(&mut self, problem: String) {
        self.problems.push(problem);
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
        let Repaired { pool, problems } = repair::link(self.files, &self.bounds)?;
        Ok(Schema::new(pool, [self.problems, problems].concat()))
    }

    fn count(&mut self, octets: usize) -> Result<(), SchemaError> {
        self.came = self.came.saturating_add(octets);
        let most = self.bounds.bytes.saturating_mul(AGAIN);
        if self.came > most { Err(SchemaError::over("bytes, many of them again and again", most)) } else { Ok(()) }
    }

    fn take(&mut self, octets: usize) -> Result<(), SchemaError> {
        self.taken = self.taken.saturating_add(octets);
        if self.taken > self.bounds.bytes { Err(SchemaError::over("bytes", self.bounds.bytes)) } else { Ok(()) }
    }

    fn options(&self, octets: usize) -> DecodeOptions {
        let share = octets.saturating_mul(IN_MEMORY).max(LEAST_IN_MEMORY).min(self.bounds.memory);
        DecodeOptions::new().with_element_memory_limit(share)
    }

    fn broken(&self, what: &str, error: &DecodeError) -> SchemaError {
        match error {
            DecodeError::RecursionLimitExceeded => SchemaError::over("messages within messages", self.bounds.depth),
            DecodeError::ElementMemoryLimitExceeded => {
                SchemaError::over("bytes in memory for each that came", IN_MEMORY)
            }
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
        self.extent.add(Extent::of(&file, &self.bounds)?, &self.bounds)?;
        // Comments are much of a file, and no part of what it means.
        file.source_code_info = buffa::MessageField::default();
        self.files.insert(name, file);
        Ok(true)
    }
}
