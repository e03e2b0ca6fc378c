//! A schema: linked, immutable, with a name by its content.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use buffa::Message as _;
use buffa_descriptor::generated::descriptor::{FileDescriptorProto, FileDescriptorSet};
use buffa_descriptor::{DescriptorPool, DynamicMessage, MessageIndex};
use sha2::{Digest as _, Sha256};

use super::closure::{self, ClosureDigest, Closures};
use super::repair::{is_stand_in, is_well_known};

/// Services and messages as one server, or one file, has them.
#[derive(Clone, Debug)]
pub struct Schema {
    pool: Arc<DescriptorPool>,
    digest: String,
    problems: Vec<String>,
    closures: OnceLock<Closures>,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    pub(super) input: MessageIndex,
    pub(super) output: MessageIndex,
    /// The caller may send any number of messages.
    pub client_streaming: bool,
    /// The server may.
    pub server_streaming: bool,
}

impl Schema {
    pub(super) fn new(pool: Arc<DescriptorPool>, problems: Vec<String>) -> Self {
        let digest = digest(&pool);
        Self { pool, digest, problems, closures: OnceLock::new() }
    }

    /// SHA-256 of its own files, in hexadecimal: the same for the same files, in whatever order they came, and whether or not the
    /// server sent those along that everybody has.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The digest of a message type and of all that it needs; none where there is no such type. The first time, those of all types
    /// are worked out.
    pub fn closure_digest(&self, message: &str) -> Option<ClosureDigest> {
        self.closure(self.pool.message_index(message)?)
    }

    pub(super) fn closure(&self, message: MessageIndex) -> Option<ClosureDigest> {
        self.closures.get_or_init(|| closure::digests(&self.pool)).get(&message).copied()
    }

    pub(super) fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// What had to be left out or could not be found, in words.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Full names of the services.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.pool.services().iter().map(|service| service.full_name())
    }

    /// Whether there is a service of this full name.
    pub fn has_service(&self, full_name: &str) -> bool {
        self.pool.service_by_name(full_name).is_some()
    }

    /// How many messages its own files define.
    pub fn messages(&self) -> usize {
        let mut open: Vec<_> = own(&self.pool).flat_map(|file| &file.message_type).collect();
        let mut count = 0;
        while let Some(message) = open.pop() {
            count += usize::from(message.options.map_entry != Some(true));
            open.extend(&message.nested_type);
        }
        count
    }

    /// How much there is of it: messages, fields, values of enums and methods, those that everybody has included.
    pub fn elements(&self) -> usize {
        let fields: usize = self.pool.messages().iter().map(|message| 1 + message.fields().len()).sum();
        let values: usize = self.pool.enums().iter().map(|named| 1 + named.values().len()).sum();
        let methods: usize = self.pool.services().iter().map(|service| 1 + service.methods().len()).sum();
        fields + values + methods
    }

    /// Names of the methods of a service; none where there is no such service.
    pub fn methods(&self, service: &str) -> impl Iterator<Item = &str> {
        self.pool.service_by_name(service).into_iter().flat_map(|known| known.methods()).map(|method| method.name())
    }

    /// A method, by the full name of its service and its own.
    pub fn method(&self, service: &str, method: &str) -> Option<Method> {
        let method = self.pool.service_by_name(service)?.method(method)?;
        Some(Method {
            input: method.input(),
            output: method.output(),
            client_streaming: method.is_client_streaming(),
            server_streaming: method.is_server_streaming(),
        })
    }

    /// A request of a method, from its JSON form to the wire.
    ///
    /// # Errors
    /// In words: what does not fit, and where.
    pub fn request_from_json(&self, method: Method, json: &str) -> Result<Vec<u8>, String> {
        let message = DynamicMessage::from_json(Arc::clone(&self.pool), method.input, json);
        message
            .map(|message| message.encode_to_vec())
            .map_err(|error| format!("this is no {} in JSON: {error}", self.pool.message(method.input).full_name()))
    }

    /// A response of a method, from the wire to its JSON form.
    ///
    /// # Errors
    /// In words.
    pub fn response_to_json(&self, method: Method, wire: &[u8]) -> Result<String, String> {
        let name = self.pool.message(method.output).full_name();
        let message = DynamicMessage::decode(Arc::clone(&self.pool), method.output, wire)
            .map_err(|error| format!("the answer is no {name}: {error}"))?;
        message.to_json().map_err(|error| format!("the {name} of the answer has no JSON form: {error}"))
    }

    /// Its files and what they import of those that everybody has, as an encoded `FileDescriptorSet`: each behind what it imports.
    pub fn to_set(&self) -> Vec<u8> {
        let mut names: Vec<&str> = own(&self.pool).filter_map(|file| file.name.as_deref()).collect();
        names.retain(|name| !is_stand_in(name));
        let (mut seen, mut files) = (BTreeSet::new(), Vec::new());
        // A file is put behind its imports when it comes up again.
        let mut open: Vec<(&str, bool)> = names.iter().rev().map(|name| (*name, false)).collect();
        while let Some((name, imported)) = open.pop() {
            let Some(file) = self.pool.file_by_name(name) else { continue };
            if imported {
                files.push(file.clone());
            } else if seen.insert(name) {
                open.push((name, true));
                open.extend(
                    file.dependency
                        .iter()
                        .map(|import| (import.as_str(), false))
                        .filter(|(name, _)| !seen.contains(name)),
                );
            }
        }
        FileDescriptorSet { file: files, ..FileDescriptorSet::default() }.encode_to_vec()
    }
}

/// Files that are the schema's own.
fn own(pool: &DescriptorPool) -> impl Iterator<Item = &FileDescriptorProto> {
    pool.files().iter().filter(|file| file.name.as_deref().is_some_and(|name| !is_well_known(name)))
}

fn digest(pool: &DescriptorPool) -> String {
    let stands_in = |file: &&FileDescriptorProto| !file.name.as_deref().is_some_and(is_stand_in);
    let mut files: Vec<_> = own(pool).filter(stands_in).map(|file| (&file.name, file.encode_to_vec())).collect();
    files.sort();
    let mut hash = Sha256::new();
    for (_, encoded) in files {
        hash.update((encoded.len() as u64).to_be_bytes());
        hash.update(encoded);
    }
    hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
}
