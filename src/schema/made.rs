//! What is made of definitions (a compiled expression, say): once, when a definition comes up, and looked up by calls. It goes when the
//! definition does, so that a thousand rollouts leave nothing behind.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::Definition;

/// Lives as long as there is a definition with its number, in whatever schema, or a call that is read by one.
#[derive(Debug)]
pub struct Life {
    /// The number.
    pub id: u64,
}

impl Life {
    /// The one of a number.
    pub(super) fn of(id: u64) -> Arc<Self> {
        static LIVES: LazyLock<Mutex<HashMap<u64, Weak<Life>>>> = LazyLock::new(Mutex::default);
        let mut lives = LIVES.lock();
        if let Some(life) = lives.get(&id).and_then(Weak::upgrade) {
            return life;
        }
        // Now and then, so that those that have ended are not kept for ever, and few are looked at for each that begins.
        if lives.len() == lives.capacity() {
            lives.retain(|_, life| life.strong_count() > 0);
        }
        let life = Arc::new(Self { id });
        lives.insert(id, Arc::downgrade(&life));
        life
    }
}

/// What was made for definitions.
pub struct Made<T>(RwLock<FxHashMap<u64, Entry<T>>>);

struct Entry<T> {
    life: Weak<Life>,
    /// None where nothing could be made.
    made: Option<Arc<T>>,
}

impl<T> Default for Made<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T> Made<T> {
    /// Remembers what was made for a definition, or that nothing could be.
    ///
    /// # Errors
    /// Why not, as it was given.
    pub fn keep<E>(&self, definition: &Definition, made: Result<T, E>) -> Result<(), E> {
        let (made, result) = match made {
            Ok(made) => (Some(Arc::new(made)), Ok(())),
            Err(why) => (None, Err(why)),
        };
        let mut entries = self.0.write();
        // An instance can serve very many methods: all are looked at only when there is no room for one more.
        if entries.len() == entries.capacity() {
            entries.retain(|_, entry| entry.life.strong_count() > 0);
        }
        entries.insert(definition.id, Entry { life: Arc::downgrade(&definition.life), made });
        result
    }

    /// What was made for a definition: none where nothing was asked to be made, or where nothing could.
    pub fn of(&self, id: u64) -> Option<Option<Arc<T>>> {
        self.0.read().get(&id).map(|entry| entry.made.clone())
    }
}

impl<T> std::fmt::Debug for Made<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.read().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Life, Made};
    use crate::schema::tests::compile::with;
    use crate::schema::{Definition, Definitions};

    fn definition(field: u32) -> Definition {
        let definitions = Definitions::of(Arc::new(with(&format!("message R {{ int32 n = {field}; }}"))));
        definitions.get("a.S", "M").unwrap().clone()
    }

    #[test]
    fn what_was_made_goes_with_the_last_definition() {
        let made = Made::default();
        let kept = definition(1);
        made.keep(&kept, Ok::<_, ()>(0)).unwrap();
        for field in 2..100 {
            made.keep(&definition(field), Ok::<_, ()>(field)).unwrap();
        }
        assert_eq!(made.of(kept.id), Some(Some(Arc::new(0))), "what lives stays, however many came after it");
        assert!(made.0.read().len() <= 4, "{made:?}");

        // The same definition of another schema is the same life.
        let again = definition(1);
        drop(kept);
        made.keep(&definition(100), Err("unfit")).unwrap_err();
        assert_eq!((made.of(again.id).is_some(), Arc::strong_count(&again.life)), (true, 1));
        let unfit = definition(101);
        made.keep(&unfit, Err("unfit")).unwrap_err();
        assert_eq!((made.of(unfit.id), made.of(7)), (Some(None), None));
    }

    #[test]
    fn one_number_has_one_life_at_a_time() {
        let life = Life::of(1);
        assert!(Arc::ptr_eq(&life, &Life::of(1)) && !Arc::ptr_eq(&life, &Life::of(2)));
        drop(life);
        assert_eq!(Arc::strong_count(&Life::of(1)), 1);
    }
}
