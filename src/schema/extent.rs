//! How much a file is, found out before anything is made of it: what is small on the wire can be large in memory, or slow to link.

use buffa_descriptor::MAX_SYMBOL_LEN;
use buffa_descriptor::generated::descriptor::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

use super::bounds::{Bounds, SchemaError};

/// Of a file, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    /// Everything that has a name or a number.
    pub(super) elements: usize,
    /// Octets of full names: each is kept several times.
    names: usize,
    /// Fields times messages within, of each message: the linker compares them.
    pairs: usize,
}

/// Pairs that may be for each element that may be.
const PAIRS: usize = 64;
/// Octets of full names for each element that may be.
const NAME: usize = 80;

impl Extent {
    /// Of one file.
    ///
    /// # Errors
    /// A name is none, or too long; or messages are too deep in each other.
    pub(super) fn of(file: &FileDescriptorProto, bounds: &Bounds) -> Result<Self, SchemaError> {
        let package = file.package.as_deref().unwrap_or_default();
        if !package.is_empty() && !package.split('.').all(is_name) {
            return Err(bad(package));
        }
        let mut extent = Self { elements: file.dependency.len(), ..Self::default() };
        for service in &file.service {
            extent.name(package.len(), service.name.as_deref())?;
            extent.elements += service.method.len();
            for method in &service.method {
                extent.name(0, method.name.as_deref())?;
                [&method.input_type, &method.output_type]
                    .into_iter()
                    .try_for_each(|name| reference(name.as_deref()))?;
            }
        }
        file.enum_type.iter().try_for_each(|named| extent.add_enum(package.len(), named))?;
        file.extension.iter().try_for_each(|field| extent.add_extension(package.len(), field))?;
        let mut open: Vec<(usize, usize, &DescriptorProto)> =
            file.message_type.iter().map(|message| (package.len(), 1, message)).collect();
        while let Some((scope, depth, message)) = open.pop() {
            if depth > bounds.depth {
                return Err(SchemaError::over("messages within messages", bounds.depth));
            }
            let scope = extent.name(scope, message.name.as_deref())?;
            let ranges = message.extension_range.len() + message.reserved_range.len() + message.reserved_name.len();
            extent.elements += message.field.len() + message.oneof_decl.len() + ranges;
            let pairs = message.field.len().saturating_mul(message.nested_type.len());
            extent.pairs = extent.pairs.saturating_add(pairs);
            message.field.iter().try_for_each(|field| reference(field.type_name.as_deref()))?;
            message.extension.iter().try_for_each(|field| extent.add_extension(scope, field))?;
            message.enum_type.iter().try_for_each(|named| extent.add_enum(scope, named))?;
            open.extend(message.nested_type.iter().map(|nested| (scope, depth + 1, nested)));
        }
        Ok(extent)
    }

    /// Adds another's.
    ///
    /// # Errors
    /// Together they are more than is taken.
    pub(super) fn add(&mut self, other: Self, bounds: &Bounds) -> Result<(), SchemaError> {
        self.elements = self.elements.saturating_add(other.elements);
        self.names = self.names.saturating_add(other.names);
        self.pairs = self.pairs.saturating_add(other.pairs);
        if self.elements > bounds.elements {
            return Err(SchemaError::over("elements", bounds.elements));
        }
        if self.names > bounds.elements.saturating_mul(NAME) {
            return Err(SchemaError::over("bytes of names", bounds.elements.saturating_mul(NAME)));
        }
        if self.pairs > bounds.elements.saturating_mul(PAIRS) {
            return Err(SchemaError::over("fields times messages within", bounds.elements.saturating_mul(PAIRS)));
        }
        Ok(())
    }

    fn add_extension(&mut self, scope: usize, field: &FieldDescriptorProto) -> Result<(), SchemaError> {
        self.name(scope, field.name.as_deref())?;
        [&field.type_name, &field.extendee].into_iter().try_for_each(|name| reference(name.as_deref()))
    }

    fn add_enum(&mut self, scope: usize, named: &EnumDescriptorProto) -> Result<(), SchemaError> {
        self.name(scope, named.name.as_deref())?;
        self.elements += named.value.len() + named.reserved_range.len() + named.reserved_name.len();
        named.value.iter().try_for_each(|value| self.name(scope, value.name.as_deref()).map(drop))
    }

    /// Counts a name; how long it is in full.
    fn name(&mut self, scope: usize, name: Option<&str>) -> Result<usize, SchemaError> {
        let name = name.unwrap_or_default();
        let full = scope + 1 + name.len();
        if !is_name(name) || full > MAX_SYMBOL_LEN {
            return Err(bad(name));
        }
        self.elements += 1;
        self.names += full;
        Ok(full)
    }
}

/// An identifier: linkers look names up by their dots.
fn is_name(name: &str) -> bool {
    let mut octets = name.bytes();
    octets.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && octets.all(|octet| octet == b'_' || octet.is_ascii_alphanumeric())
}

fn reference(name: Option<&str>) -> Result<(), SchemaError> {
    let Some(name) = name else { return Ok(()) };
    let path = name.strip_prefix('.').unwrap_or(name);
    if path.len() <= MAX_SYMBOL_LEN && path.split('.').all(is_name) { Ok(()) } else { Err(bad(name)) }
}

fn bad(name: &str) -> SchemaError {
    let shown: String = name.chars().take(40).collect();
    SchemaError::Malformed(format!("`{}` is no name, or too long for one", shown.escape_debug()))
}
