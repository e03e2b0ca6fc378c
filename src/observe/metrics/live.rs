//! Handles by name that are known as long as somebody holds them. A series goes when the thing that it is about goes,
//! and two holders of one name count together. Looked up when a thing is made, never in a call.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The living handles of one kind, by name.
#[derive(Debug)]
pub(super) struct Live<T>(Mutex<BTreeMap<Arc<str>, Weak<T>>>);

impl<T> Default for Live<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Live<T> {
    /// The handle of this name: the living one, else a new one.
    pub(super) fn find_or_make(&self, name: &str, make: impl FnOnce(Arc<str>) -> T) -> Arc<T> {
        let mut handles = self.0.lock();
        if let Some(living) = handles.get(name).and_then(Weak::upgrade) {
            return living;
        }
        // Makers pay for the clearing away, so that names that come and go cannot pile up between two scrapes.
        handles.retain(|_, handle| handle.strong_count() > 0);
        let name: Arc<str> = Arc::from(name);
        let made = Arc::new(make(Arc::clone(&name)));
        handles.insert(name, Arc::downgrade(&made));
        made
    }

    /// The living handles, by name.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.0.lock().values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_its_holders() {
        let live: Live<Arc<str>> = Live::default();
        let first = live.find_or_make("a", |name| name);
        let second = live.find_or_make("a", |name| name);
        assert!(Arc::ptr_eq(&first, &second));
        drop(first);
        assert_eq!(live.all().len(), 1);
        drop(second);
        assert_eq!(live.all().len(), 0);
        let _other = live.find_or_make("b", |name| name);
        assert_eq!(live.0.lock().len(), 1, "the dead name was cleared away");
    }
}
