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
    let set = compile(files, roots, &mut |_| {}).map_err(|error| SchemaError::File(in_one_line(&error)))?;
    from_octets(&set)
}

/// One schema of several files: `.proto` is compiled, anything else is a descriptor set. Imports are looked for beside the file, and in
/// each folder from there up to `root`. Each file that an import led to is told to `seen`.
///
/// # Errors
/// Which of them cannot be used (none: they do not go together), and why.
pub fn from_files(
    files: &[PathBuf],
    root: &Path,
    seen: &mut impl FnMut(&Path),
) -> Result<Schema, (Option<usize>, SchemaError)> {
    let mut collection = Collection::new(Bounds::LOCAL);
    for (at, file) in files.iter().enumerate() {
        let set = if file.extension().is_some_and(|extension| extension == "proto") {
            compiled(file, root, seen)
        } else {
            octets(file)
        };
        set.and_then(|set| collection.add_set(&set)).map_err(|error| (Some(at), error))?;
    }
    let schema = collection.finish().map_err(|error| (None, error))?;
    if schema.services().next().is_none() {
        let why = schema.problems().first().map_or("they have none", String::as_str);
        return Err((None, SchemaError::File(format!("no service is left: {why}"))));
    }
    Ok(schema)
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

fn compiled(file: &Path, root: &Path, seen: &mut impl FnMut(&Path)) -> Result<Vec<u8>, SchemaError> {
    let named = |folder: &Path| if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() };
    let mut roots: Vec<PathBuf> = vec![named(file.parent().unwrap_or(Path::new("")))];
    if file.starts_with(root) {
        roots.extend(file.ancestors().skip(2).take_while(|folder| folder.starts_with(root)).map(named));
    }
    roots.push(named(root));
    compile([file], roots, seen).map_err(|error| SchemaError::File(in_one_line(&error)))
}

/// The descriptor set of files and of what they import, with the options that they define themselves: rules for values, HTTP paths.
fn compile(
    files: impl IntoIterator<Item = impl AsRef<Path>>,
    roots: impl IntoIterator<Item = impl AsRef<Path>>,
    seen: &mut impl FnMut(&Path),
) -> Result<Vec<u8>, protox::Error> {
    let mut compiler = protox::Compiler::new(roots)?;
    let opened = compiler.include_imports(true).open_files(files).map(drop);
    // Also where one of them is wrong: it may be mended.
    compiler.files().filter_map(|file| file.path()).for_each(seen);
    opened?;
    Ok(compiler.encode_file_descriptor_set())
}

/// What a compiler says, with the place in its file.
fn in_one_line(error: &protox::Error) -> String {
    format!("{error:?}").split('\n').map(str::trim).collect::<Vec<_>>().join(" ")
}

fn octets(file: &Path) -> Result<Vec<u8>, SchemaError> {
    let length = std::fs::metadata(file).map_err(|error| SchemaError::File(error.to_string()))?.len();
    if length > Bounds::LOCAL.bytes as u64 {
        return Err(SchemaError::over("bytes", Bounds::LOCAL.bytes));
    }
    std::fs::read(file).map_err(|error| SchemaError::File(error.to_string()))
}

/// Reads a descriptor set.
///
/// # Errors
/// It cannot be read, or is none.
pub fn from_set(file: &Path) -> Result<Schema, SchemaError> {
    let of_file = |why: String| SchemaError::File(format!("{}: {why}", file.display()));
    let encoded = octets(file).map_err(|error| of_file(error.to_string()))?;
    let mut collection = Collection::new(Bounds::LOCAL);
    collection.add_set(&encoded).map_err(|error| of_file(error.to_string()))?;
    collection.finish().map_err(|error| of_file(error.to_string()))
}
