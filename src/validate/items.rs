//! What a list or a map has, not more of it than can be checked.

use crate::expr::Failure;
use crate::schema::{Field, Item, Meter, Unreadable, View};

/// Steps that checking an item takes at least: so many items are not even gathered for which there are not enough steps.
const LEAST: u64 = 4;

/// Items of a list or a map, those with their keys.
pub(super) fn all<'a>(
    view: &View<'a>,
    field: Field<'a>,
    meter: &mut Meter,
) -> Result<Vec<(Option<Item<'a>>, Item<'a>)>, Failure> {
    let most = meter.left() / LEAST;
    let mut found = Vec::new();
    view.all(field, meter, |key, item| {
        if found.len() as u64 >= most {
            return Err(Unreadable::Spent);
        }
        found.push((key, item));
        Ok(())
    })?;
    meter.spend(found.len())?;
    Ok(found)
}
