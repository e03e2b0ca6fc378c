//! Schemas out of the text of `.proto` files.

use protox::file::{File, FileResolver};

use crate::schema::{Schema, from_octets};

struct Texts(Vec<(String, String)>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((name, text)) => File::from_source(name, text),
            None => protox::file::GoogleFileResolver::new().open_file(name),
        }
    }
}

/// The descriptor set of these files.
pub(crate) fn set_of(files: &[(&str, &str)]) -> Vec<u8> {
    let texts = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut compiler = protox::Compiler::with_file_resolver(Texts(texts));
    compiler.include_imports(true);
    compiler.open_files(files.iter().map(|(name, _)| name)).unwrap();
    compiler.encode_file_descriptor_set()
}

/// The schema of one file.
pub(crate) fn schema_of(text: &str) -> Schema {
    from_octets(&set_of(&[("a.proto", text)])).unwrap()
}

/// One file of the package `a` with a service `S` whose method `M` takes `R`, and this in it.
pub(crate) fn with(body: &str) -> Schema {
    schema_of(&text_with(body))
}

/// The text of it.
pub(crate) fn text_with(body: &str) -> String {
    format!("syntax = \"proto3\";\npackage a;\nservice S {{ rpc M(R) returns (R); }}\n{body}\n")
}
