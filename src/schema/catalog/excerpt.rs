//! What of a catalog one caller is shown: some of its services, and the files that those need.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use buffa::Message as _;
use buffa_descriptor::generated::descriptor::FileDescriptorProto;
use bytes::Bytes;

use super::{Catalog, join};

/// A catalog without the services that are hidden.
///
/// A file is shown if a service that is shown, or something that its files import, stands in it, or an extension of a message in such a
/// file. It is shown whole, but for services that are hidden: a message that only those use is seen where it stands beside others.
#[derive(Debug)]
pub struct Excerpt {
    catalog: Arc<Catalog>,
    hidden: BTreeSet<String>,
    /// Places of the files that are shown; none where nothing is hidden.
    files: Option<HashSet<usize>>,
}

impl Excerpt {
    /// Of a catalog, what these services need.
    pub fn of(catalog: Arc<Catalog>, shown: &BTreeSet<String>) -> Self {
        let hidden: BTreeSet<_> = catalog.services().filter(|name| !shown.contains(*name)).map(str::to_owned).collect();
        let files = (!hidden.is_empty()).then(|| {
            let homes = catalog.services().filter(|name| !hidden.contains(*name));
            let homes = homes.filter_map(|name| catalog.symbol(name)).collect();
            reachable(&catalog, homes)
        });
        Self { catalog, hidden, files }
    }

    /// Full names of the services, in order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.catalog.services().filter(|name| !self.hidden.contains(*name))
    }

    /// As [`Catalog::file`].
    pub fn file(&self, name: &str) -> Option<usize> {
        self.shown(self.catalog.file(name)?)
    }

    /// As [`Catalog::symbol`].
    pub fn symbol(&self, full_name: &str) -> Option<usize> {
        let name = full_name.strip_prefix('.').unwrap_or(full_name);
        let of_hidden = |name: &str| self.hidden.contains(name);
        if of_hidden(name) || name.rsplit_once('.').is_some_and(|(service, _)| of_hidden(service)) {
            return None;
        }
        self.shown(self.catalog.symbol(name)?)
    }

    /// As [`Catalog::extension`].
    pub fn extension(&self, extended: &str, number: i32) -> Option<usize> {
        self.shown(self.catalog.extension(extended, number)?)
    }

    /// As [`Catalog::extension_numbers`].
    pub fn extension_numbers(&self, extended: &str) -> Option<Vec<i32>> {
        self.symbol(extended)?;
        let mut numbers = self.catalog.extension_numbers(extended)?;
        numbers.retain(|number| self.extension(extended, *number).is_some());
        Some(numbers)
    }

    /// As [`Catalog::at`], without what is hidden.
    pub fn at(&self, place: usize) -> Option<(Bytes, &[usize])> {
        let file = self.catalog.files.get(self.shown(place)?)?;
        let is_hidden = |name: &String| self.hidden.contains(name);
        let encoded = if file.services.iter().any(is_hidden) {
            self.without_hidden(&file.encoded)?
        } else {
            Bytes::clone(&file.encoded)
        };
        Some((encoded, &file.imports))
    }

    fn shown(&self, place: usize) -> Option<usize> {
        self.files.as_ref().is_none_or(|files| files.contains(&place)).then_some(place)
    }

    fn without_hidden(&self, encoded: &[u8]) -> Option<Bytes> {
        // We have encoded it ourselves.
        let mut file = FileDescriptorProto::decode_from_slice(encoded).ok()?;
        let package = file.package.clone().unwrap_or_default();
        let full = |name: Option<&str>| join(&package, name.unwrap_or_default());
        file.service.retain(|service| !self.hidden.contains(&full(service.name.as_deref())));
        Some(file.encode_to_vec().into())
    }
}

/// These files, what they import, what extends messages of theirs, and what that imports.
fn reachable(catalog: &Catalog, from: Vec<usize>) -> HashSet<usize> {
    let (mut reached, mut open) = (HashSet::new(), from);
    loop {
        while let Some(place) = open.pop() {
            if reached.insert(place)
                && let Some(file) = catalog.files.get(place)
            {
                open.extend(&file.imports);
            }
        }
        // Options are extensions too: those that are used are imported.
        let of_reached = catalog.extensions.iter().filter(|(extended, _)| {
            let home = catalog.symbols.get(*extended);
            !extended.starts_with("google.protobuf.") && home.is_some_and(|home| reached.contains(home))
        });
        open.extend(of_reached.flat_map(|(_, numbers)| numbers.values()).filter(|place| !reached.contains(*place)));
        if open.is_empty() {
            return reached;
        }
    }
}
