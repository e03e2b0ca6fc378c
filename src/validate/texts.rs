//! Texts in a message, by a path of field names: `input_json`, `steps.input_json`. Lists and maps on the way are gone through.

use std::sync::Arc;

use super::items;
use super::violation::subscript;
use crate::expr::Failure;
use crate::schema::{
    Field, FieldId, Item, Kind, MessageType, Meter, Octets, Scalar, Schema, Shape, Text, TypeId, View,
};

/// Where texts are in messages of a type.
#[derive(Debug)]
pub struct Texts {
    schema: Arc<Schema>,
    root: TypeId,
    fields: Vec<FieldId>,
}

impl Texts {
    /// The path that leads to them from a message's type.
    ///
    /// # Errors
    /// In words: which part of the path leads nowhere.
    pub fn compile(schema: &Arc<Schema>, root: TypeId, path: &str) -> Result<Self, String> {
        let (mut at, mut fields): (Option<MessageType<'_>>, _) = (Some(schema.type_at(root)), Vec::new());
        let mut last = None;
        for name in path.split('.') {
            let Some(message) = at else {
                return Err(format!("`{path}`: `{name}` is asked of what is no message"));
            };
            let field = message.field(name).ok_or_else(|| unknown(path, message, name))?;
            at = if let Kind::Message(inner) = field.kind() { Some(inner) } else { None };
            last = Some(field.kind());
            fields.push(field.id());
        }
        match last {
            Some(Kind::Scalar(Scalar::String)) => Ok(Self { schema: Arc::clone(schema), root, fields }),
            _ => Err(format!("`{path}` leads to what is no text (string)")),
        }
    }

    /// Every text that is there, with its place: `steps[2].input_json`. One without presence is always there, empty if nothing was sent.
    ///
    /// # Errors
    /// The message is malformed, or reading it takes more steps than the meter has.
    pub fn read<'a>(&'a self, body: &'a [u8], meter: &mut Meter) -> Result<Vec<(String, Text<'a>)>, Failure> {
        let mut open = vec![(String::new(), View::new(self.schema.type_at(self.root), Octets::Lent(body)))];
        let mut texts = Vec::new();
        for id in &self.fields {
            let field = self.schema.field_at(*id).ok_or(Failure::Unknown)?;
            let mut inner = Vec::new();
            for (path, view) in open {
                for (path, item) in items(&path, &view, field, meter)? {
                    match item {
                        Item::Message(view) => inner.push((path, view)),
                        Item::Text(text) => texts.push((path, text)),
                        _ => {}
                    }
                }
            }
            open = inner;
        }
        Ok(texts)
    }
}

/// What a field has, each with its place. Of a map's key that is there twice both: what is checked twice is not let through unchecked.
fn items<'a>(
    before: &str,
    view: &View<'a>,
    field: Field<'a>,
    meter: &mut Meter,
) -> Result<Vec<(String, Item<'a>)>, Failure> {
    let dot = if before.is_empty() { "" } else { "." };
    let place = format!("{before}{dot}{}", field.name());
    if field.shape() == Shape::Single {
        meter.spend(1)?;
        let item = view.one(field, meter)?;
        let item = match item {
            None if !field.has_presence() && !matches!(field.kind(), Kind::Message(_)) => {
                Some(crate::schema::default(field.kind()))
            }
            item => item,
        };
        return Ok(item.map(|item| (place, item)).into_iter().collect());
    }
    let found = items::all(view, field, meter)?;
    let mut placed = Vec::with_capacity(found.len());
    for (at, (key, item)) in found.into_iter().enumerate() {
        meter.spend_octets(64 + place.len())?;
        let subscript = key.map_or_else(|| format!("[{at}]"), |key| subscript(&key));
        placed.push((format!("{place}{subscript}"), item));
    }
    Ok(placed)
}

fn unknown(path: &str, message: MessageType<'_>, name: &str) -> String {
    let fields: Vec<_> = message.fields().map(Field::name).take(10).collect();
    format!("`{path}`: {} has no field `{name}`; it has {}", message.name(), fields.join(", "))
}
