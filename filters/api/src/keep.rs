//! What filters keep over reloads: counters, open files. Found again by what it is and by its name.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Things that outlive the configuration that asked for them first. A copy is the same store.
///
/// A configuration is built with a store of its own that follows the one in force: what it does not ask for is not in it, and what it
/// makes is nobody's if its build fails.
#[derive(Clone, Default)]
pub struct Keep(Arc<Mutex<Things>>);

type Kept = HashMap<(TypeId, Box<str>), Arc<dyn Any + Send + Sync>>;

#[derive(Default)]
struct Things {
    kept: Kept,
    before: Kept,
}

impl Keep {
    /// A store for the configuration that is to follow one.
    #[must_use]
    pub fn after(before: &Self) -> Self {
        let before = before.0.lock().kept.clone();
        Self(Arc::new(Mutex::new(Things { kept: Kept::new(), before })))
    }

    /// What has this name and type: of this configuration, of the one before, or new.
    pub fn find_or_make<T: Any + Send + Sync>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut things = self.0.lock();
        let key = (TypeId::of::<T>(), Box::from(name));
        let Things { kept, before } = &mut *things;
        let found = kept.get(&key).or_else(|| before.get(&key)).and_then(|one| Arc::clone(one).downcast().ok());
        let found = found.unwrap_or_else(|| Arc::new(make()));
        kept.insert(key, Arc::clone(&found) as Arc<dyn Any + Send + Sync>);
        found
    }

    /// What has this name and type, if this configuration asked for it.
    pub fn find<T: Any + Send + Sync>(&self, name: &str) -> Option<Arc<T>> {
        let key = (TypeId::of::<T>(), Box::from(name));
        self.0.lock().kept.get(&key).and_then(|one| Arc::clone(one).downcast().ok())
    }

    /// The configuration is in force: what the one before kept and this one did not ask for goes.
    pub fn settle(&self) {
        let before = std::mem::take(&mut self.0.lock().before);
        // Outside of the lock: something may take a while to go.
        drop(before);
    }
}

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keep of {}", self.0.lock().kept.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Keep;

    #[test]
    fn what_is_asked_for_again_is_the_same() {
        let first = Keep::default();
        let (a, _) = (first.find_or_make("a", || 1_u32), first.find_or_make("b", || 2_u32));
        assert!(Arc::ptr_eq(&a, &first.clone().find_or_make("a", || 3)));
        assert_eq!(*first.find_or_make("a", || 4_u64), 4, "another type is another thing");
        let second = Keep::after(&first);
        assert!(second.find::<u32>("a").is_none(), "it was not asked for yet");
        assert!(Arc::ptr_eq(&a, &second.find_or_make("a", || 5)));
        second.settle();
        assert_eq!(*second.find_or_make("b", || 6_u32), 6, "it was not asked for in time");
        assert_eq!(*first.find_or_make("b", || 7_u32), 2, "the one before is as it was");
    }

    #[test]
    fn a_build_that_fails_leaves_nothing() {
        let first = Keep::default();
        let held = {
            let failed = Keep::after(&first);
            Arc::downgrade(&failed.find_or_make("new", || 1_u8))
        };
        assert!(held.upgrade().is_none());
    }
}
