//! Schemas from this machine: `.proto` files, compiled here, and descriptor sets that a compiler or `descriptors pull` wrote.

use std::path::{Path, PathBuf};

use super::bounds::{Bounds, SchemaError};
use super::collection::Collection;
use super::set::Schema;

/// Compiles `.proto` files, whose imports are looked for in `roots`; none: beside each file.
///
/// # Errors
/// With file, line and column.
pub fn from_protos(files: &[PathBuf], roots: &[PathBuf]) -> Result<Schema, SchemaError> {
    let beside: Vec<PathBuf> =
        files.iter().map(|file| file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)).collect();
    let roots = if roots.is_empty() { beside } else { roots.to_vec() };
    let roots = roots.iter().map(|root| if root.as_os_str().is_empty() { Path::new(".") } else { root });
    let set = compile(files, roots).map_err(|error| SchemaError::File(format!("{error:?}").trim().to_owned()))?;
    from_octets(&set)
}

/// The schema of an encoded descriptor set that is at hand.
///
/// # Errors
/// It is none.
pub fn from_octets(set: &[u8]) -> Result<Schema, SchemaError> {
    let mut collection = Collection::new(Bounds::LOCAL);
    collection.add_set(set)?;
    collection.finish()
}

/// The descriptor set of files and what they import, with options that an import defines: rules for messages are such.
fn compile(files: &[PathBuf], roots: impl Iterator<Item = impl AsRef<Path>>) -> Result<Vec<u8>, protox::Error> {
    let mut compiler = protox::Compiler::new(roots)?;
    compiler.include_imports(true).open_files(files)?;
    Ok(compiler.encode_file_descriptor_set())
}

/// Reads a descriptor set.
///
/// # Errors
/// It cannot be read, or is none.
pub fn from_set(file: &Path) -> Result<Schema, SchemaError> {
    let of_file = |why: String| SchemaError::File(format!("{}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| of_file(error.to_string()))?.len();
    if length > Bounds::LOCAL.bytes as u64 {
        return Err(of_file(SchemaError::over("bytes", Bounds::LOCAL.bytes).to_string()));
    }
    let encoded = std::fs::read(file).map_err(|error| of_file(error.to_string()))?;
    let mut collection = Collection::new(Bounds::LOCAL);
    collection.add_set(&encoded).map_err(|error| of_file(error.to_string()))?;
    collection.finish().map_err(|error| of_file(error.to_string()))
}
