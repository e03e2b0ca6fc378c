//! Redaction for filters: what they hide, for each definition that comes up.

use filter_api::{Hidden, Message, Unread};

use super::held::{made, under, unread};
use crate::config::policies::Policy;
use crate::schema::{Definition, Made, Meter, Redaction, Side};

/// Hides fields, for each definition that is in force.
#[derive(Debug)]
pub(super) struct Redactions {
    hidden: Hidden,
    max_cost: u64,
    bound: Made<Sides>,
}

#[derive(Debug)]
struct Sides {
    request: Redaction,
    response: Redaction,
}

impl Redactions {
    pub(super) fn new(hidden: Hidden, max_cost: u64) -> Self {
        Self { hidden, max_cost, bound: Made::default() }
    }

    fn apply(&self, message: &Message<'_>, side: impl Fn(&Sides) -> &Redaction) -> Result<Option<Vec<u8>>, Unread> {
        // It goes to one instance, or comes from one, and is read as that one means it.
        let (body, [id]) = under(message)? else { return Err(Unread::NoSchema) };
        let sides = made(&self.bound, id)?;
        side(&sides).apply(body, &mut Meter::new(self.max_cost)).map_err(unread)
    }
}

impl Policy for Redactions {
    fn bind(&self, _: &str, _: &str, definition: &Definition) -> Result<(), String> {
        let Hidden { request, response, mask } = &self.hidden;
        let made = Redaction::compile(definition.input(), request, mask).and_then(|request| {
            Ok(Sides { request, response: Redaction::compile(definition.output(), response, mask)? })
        });
        self.bound.keep(definition, made)
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        let sides = [(Side::Request, &self.hidden.request), (Side::Response, &self.hidden.response)];
        let mut paths = sides.into_iter().flat_map(|(side, paths)| paths.iter().map(move |path| (side, path)));
        // Definitions name the values of maps by the map.
        paths.find_map(|(side, path)| definition.conflicts(accepted, side, &path.replace(".*", "")))
    }
}

impl filter_api::Redaction for Redactions {
    fn request(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread> {
        self.apply(message, |sides| &sides.request)
    }

    fn response(&self, message: &Message<'_>) -> Result<Option<Vec<u8>>, Unread> {
        self.apply(message, |sides| &sides.response)
    }
}
