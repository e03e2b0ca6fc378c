//! Reads the rules of message types out of their descriptors, and makes plans of them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::plan::{Checks, Element, Exclusive, FieldPlan, Plan, Standard, When};
use super::rules::{self, Options, RULES, Rule, Rulebook, book};
use crate::expr::Type;
use crate::schema::{Field, Item, Kind, MessageType, Scalar, Schema, Shape, TypeId};

/// The most expressions and patterns that are compiled for one message: a schema may come from anybody.
const MOST_COMPILED: usize = 1_000;

/// Plans for a type and all that can be in it; none for those without rules.
pub(super) fn plan(schema: &Arc<Schema>, root: TypeId, max_cost: u64) -> Result<HashMap<TypeId, Plan>, String> {
    let mut planner = Planner { book: book()?, schema, max_cost, compiled: 0 };
    let (mut plans, mut open) = (HashMap::<TypeId, Plan>::new(), vec![root]);
    while let Some(id) = open.pop() {
        if let Entry::Vacant(place) = plans.entry(id) {
            let plan = place.insert(planner.message(schema.type_at(id))?);
            open.extend(plan.nested());
        }
    }
    prune(&mut plans);
    Ok(plans)
}

/// Leaves out types that have no rules, and no messages in them that do.
fn prune(plans: &mut HashMap<TypeId, Plan>) {
    let mut holders: HashMap<TypeId, Vec<TypeId>> = HashMap::new();
    for (id, plan) in plans.iter() {
        for nested in plan.nested() {
            holders.entry(nested).or_default().push(*id);
        }
    }
    let own = |plan: &Plan| {
        let mut fields = plan.fields.iter();
        let field = fields.any(|field| {
            let (whole, values) = (&field.whole, &field.values.checks);
            field.required || has_own(whole) || has_own(values) || !field.keys.is_idle()
        });
        field || !plan.custom.is_empty() || !plan.exclusive.is_empty() || !plan.required.is_empty()
    };
    let mut open: Vec<TypeId> = plans.iter().filter(|(_, plan)| own(plan)).map(|(id, _)| *id).collect();
    let mut with_rules = HashSet::new();
    while let Some(id) = open.pop() {
        if with_rules.insert(id) {
            open.extend(holders.get(&id).into_iter().flatten());
        }
    }
    plans.values_mut().for_each(|plan| plan.prune(|id| with_rules.contains(&id)));
    plans.retain(|_, plan| !plan.is_empty());
}

fn has_own(checks: &Checks) -> bool {
    !checks.custom.is_empty() || checks.standard.is_some() || checks.defined_only || checks.any.is_some()
}

struct Planner<'s> {
    book: &'static Rulebook,
    schema: &'s Arc<Schema>,
    max_cost: u64,
    compiled: usize,
}

impl Planner<'_> {
    fn message(&mut self, kind: MessageType<'_>) -> Result<Plan, String> {
        let (mut plan, own) = (Plan::default(), kind.option(RULES).unwrap_or_default());
        let of_type = |why: String| format!("{}: {why}", kind.name());
        let rules = Options::of(&self.book.schema, "buf.validate.MessageRules", &own)?;
        rules.known().map_err(of_type)?;
        plan.custom = self.custom(&rules, Type::of_message(kind)).map_err(of_type)?;
        for item in rules.all("oneof")? {
            plan.exclusive.push(self.exclusive(kind, item).map_err(of_type)?);
        }
        for oneof in kind.oneofs() {
            let Some(octets) = oneof.option(RULES) else { continue };
            let of_oneof = |why: String| format!("{}.{}: {why}", kind.name(), oneof.name());
            let rules = Options::of(&self.book.schema, "buf.validate.OneofRules", &octets)?;
            rules.known().map_err(of_oneof)?;
            if rules.flag("required")? {
                plan.required.push((oneof.name().to_owned(), oneof.fields().map(Field::id).collect()));
            }
        }
        let exclusive: HashSet<_> = plan.exclusive.iter().flat_map(|of| &of.fields).copied().collect();
        for field in kind.fields() {
            let made = self.field(field, exclusive.contains(&field.id()));
            plan.fields.push(made.map_err(|why| format!("{field:?}: {why}"))?);
        }
        plan.fields.retain(|field| !field.is_idle());
        Ok(plan)
    }

    fn exclusive(&self, kind: MessageType<'_>, item: Item<'_>) -> Result<Exclusive, String> {
        let Item::Message(view) = item else { return Err("a `oneof` rule is none".into()) };
        let octets = view.to_octets();
        let rule = Options::of(&self.book.schema, "buf.validate.MessageOneofRule", &octets)?;
        rule.known()?;
        let names = rule.texts("fields")?;
        if names.is_empty() {
            return Err("a `oneof` rule names no field".into());
        }
        let mut fields = Vec::with_capacity(names.len());
        for name in &names {
            let field = kind.field(name).ok_or_else(|| format!("a `oneof` rule names `{name}`, which is no field"))?;
            if fields.contains(&field.id()) {
                return Err(format!("a `oneof` rule names `{name}` twice"));
            }
            fields.push(field.id());
        }
        Ok(Exclusive { fields, names: names.join(", "), required: rule.flag("required")? })
    }

    fn field(&mut self, field: Field<'_>, exclusive: bool) -> Result<FieldPlan, String> {
        let own = field.option(RULES).unwrap_or_default();
        let rules = Options::of(&self.book.schema, "buf.validate.FieldRules", &own)?;
        let ignore = match (rules.one("ignore")?, exclusive) {
            (Some(ignore), _) => number(&ignore),
            (None, true) => IF_ZERO_VALUE,
            (None, false) => 0,
        };
        let is_message = matches!(field.kind(), Kind::Message(_)) && field.shape() == Shape::Single;
        let when = match ignore {
            ALWAYS => When::Never,
            IF_ZERO_VALUE => When::IfSet,
            _ if is_message || field.has_presence() => When::IfSet,
            _ => When::Always,
        };
        let required = rules.flag("required")? && ignore != ALWAYS;
        let mut made = FieldPlan {
            field: field.id(),
            required,
            when,
            whole: Checks::default(),
            keys: Element::default(),
            values: Element::default(),
        };
        if ignore == ALWAYS {
            return Ok(made);
        }
        match field.shape() {
            Shape::Single => made.whole = self.value(field.kind(), &rules)?,
            Shape::List => {
                made.whole = self.collection(field, "repeated", &rules)?;
                made.values = self.element(field.kind(), &rules, "repeated", "items")?;
            }
            Shape::Map(key) => {
                made.whole = self.collection(field, "map", &rules)?;
                made.keys = self.element(Kind::Scalar(key), &rules, "map", "keys")?;
                made.values = self.element(field.kind(), &rules, "map", "values")?;
            }
        }
        Ok(made)
    }

    /// Rules for a whole list or map.
    fn collection(&mut self, field: Field<'_>, wanted: &str, rules: &Options<'_>) -> Result<Checks, String> {
        rules.known()?;
        let custom = self.custom(rules, Type::of_field(field))?;
        let standard = self.standard(rules, Some(wanted))?;
        Ok(Checks { custom, standard, ..Checks::default() })
    }

    /// Rules for what is in one.
    fn element(&mut self, kind: Kind<'_>, rules: &Options<'_>, of: &str, part: &str) -> Result<Element, String> {
        let collection = rules.inner(of)?.unwrap_or_default();
        let name = if of == "map" { "buf.validate.MapRules" } else { "buf.validate.RepeatedRules" };
        let own = Options::of(&self.book.schema, name, &collection)?.inner(part)?.unwrap_or_default();
        let rules = Options::of(&self.book.schema, "buf.validate.FieldRules", &own)?;
        let when = match rules.one("ignore")?.map_or(0, |ignore| number(&ignore)) {
            ALWAYS => When::Never,
            IF_ZERO_VALUE => When::IfSet,
            _ => When::Always,
        };
        Ok(Element { when, checks: self.value(kind, &rules)? })
    }

    /// Rules for a value that is neither a list nor a map.
    fn value(&mut self, kind: Kind<'_>, rules: &Options<'_>) -> Result<Checks, String> {
        rules.known()?;
        let wanted = match kind {
            Kind::Scalar(scalar) => Some(of_scalar(scalar)),
            Kind::Enum(_) => Some("enum"),
            Kind::Message(message) => of_message(message.name()),
        };
        let custom = self.custom(rules, Type::of_kind(kind))?;
        let mut checks = Checks { custom, standard: self.standard(rules, wanted)?, ..Checks::default() };
        match kind {
            Kind::Scalar(_) => {}
            Kind::Enum(_) => {
                let own = rules.inner("enum")?.unwrap_or_default();
                let own = Options::of(&self.book.schema, "buf.validate.EnumRules", &own)?;
                checks.defined_only = own.flag("defined_only")?;
            }
            Kind::Message(message) => {
                checks.nested = Some(message.id());
                if let Some(own) = rules.inner("any")? {
                    let own = Options::of(&self.book.schema, "buf.validate.AnyRules", &own)?;
                    checks.any = Some((own.texts("in")?, own.texts("not_in")?));
                }
            }
        }
        Ok(checks)
    }

    /// Expressions that somebody wrote.
    fn custom(&mut self, rules: &Options<'_>, this: Type) -> Result<Vec<Arc<Rule>>, String> {
        let mut made = Vec::new();
        for item in rules.all("cel_expression")?.into_iter().chain(rules.all("cel")?) {
            self.count()?;
            let written = rules::written(&self.book.schema, item)?;
            made.push(Arc::new(rules::custom(written, this.clone(), self.schema, self.max_cost)?));
        }
        Ok(made)
    }

    /// The rules of the kind that the value has.
    fn standard(&mut self, rules: &Options<'_>, wanted: Option<&str>) -> Result<Option<Standard>, String> {
        let kinds = rules.view.kind().oneofs().find(|oneof| oneof.name() == "type");
        let Some(given) = kinds.into_iter().flat_map(|oneof| oneof.fields()).find_map(|field| {
            let inner = rules.inner(field.name()).transpose()?;
            Some(inner.map(|octets| (field, octets)))
        }) else {
            return Ok(None);
        };
        let (field, octets) = given?;
        let Kind::Message(kind) = field.kind() else { return Ok(None) };
        if Some(field.name()) != wanted {
            let takes = wanted.map_or("none of a type".to_owned(), |wanted| format!("those of `{wanted}`"));
            return Err(format!("it has rules of `{}`, and takes {takes}", field.name()));
        }
        let own = Options::of(&self.book.schema, kind.name(), &octets)?;
        own.known()?;
        let mut meanings = Vec::new();
        for field in own.set()? {
            if field.name() == "pattern" {
                self.count()?;
            }
            meanings.extend(self.book.meaning(field, &own)?);
        }
        Ok((!meanings.is_empty()).then_some(Standard { kind: kind.id(), octets, rules: meanings }))
    }

    fn count(&mut self) -> Result<(), String> {
        self.compiled += 1;
        match self.compiled > MOST_COMPILED {
            true => Err(format!("there are more than {MOST_COMPILED} expressions and patterns")),
            false => Ok(()),
        }
    }
}

/// Of `buf.validate.Ignore`.
const IF_ZERO_VALUE: i32 = 1;
const ALWAYS: i32 = 3;

fn number(item: &Item<'_>) -> i32 {
    if let Item::Enum(number) = item { *number } else { 0 }
}

/// The field of `FieldRules` for a scalar.
fn of_scalar(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::Bool => "bool",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Uint32 => "uint32",
        Scalar::Uint64 => "uint64",
        Scalar::Sint32 => "sint32",
        Scalar::Sint64 => "sint64",
        Scalar::Fixed32 => "fixed32",
        Scalar::Fixed64 => "fixed64",
        Scalar::Sfixed32 => "sfixed32",
        Scalar::Sfixed64 => "sfixed64",
        Scalar::Float => "float",
        Scalar::Double => "double",
        Scalar::String => "string",
        Scalar::Bytes => "bytes",
    }
}

/// The same for a message.
fn of_message(name: &str) -> Option<&'static str> {
    Some(match name.strip_prefix("google.protobuf.")? {
        "Any" => "any",
        "Duration" => "duration",
        "Timestamp" => "timestamp",
        "FieldMask" => "field_mask",
        "FloatValue" => "float",
        "DoubleValue" => "double",
        "Int32Value" => "int32",
        "Int64Value" => "int64",
        "UInt32Value" => "uint32",
        "UInt64Value" => "uint64",
        "BoolValue" => "bool",
        "StringValue" => "string",
        "BytesValue" => "bytes",
        _ => return None,
    })
}
