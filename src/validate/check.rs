//! Goes through a message with the plans of its types.

use std::collections::HashMap;

use super::MOST_VIOLATIONS;
use super::items;
use super::plan::{Checks, Exclusive, FieldPlan, Plan, Standard, When};
use super::rules::{Given, Rule, book};
use super::violation::{Unchecked, Violation, cut, subscript, whole};
use crate::expr::{self, Failure, Moment, Value};
use crate::schema::{Field, FieldId, Item, Kind, Meter, Octets, Schema, Shape, TypeId, View, default};

/// How deep messages may lie in each other. Decoders refuse what is deeper.
const MOST_DEPTH: usize = 100;
/// The longest text that an expression may have told, in characters.
const MOST_TOLD: usize = 400;

/// What of a message does not fit.
pub(super) fn run<'a>(
    schema: &'a Schema,
    plans: &'a HashMap<TypeId, Plan>,
    view: View<'a>,
    now: Moment,
    meter: &mut Meter,
) -> Result<Vec<Violation>, Unchecked> {
    let mut run = Run { schema, plans, now, meter, path: String::new(), depth: 0, rule: None, found: Vec::new() };
    match run.message(&view) {
        Ok(()) => Ok(run.found),
        Err(failure) => Err(Unchecked { field: run.path, rule: run.rule.map(|rule| rule.id.clone()), failure }),
    }
}

struct Run<'a, 'm> {
    schema: &'a Schema,
    plans: &'a HashMap<TypeId, Plan>,
    now: Moment,
    meter: &'m mut Meter,
    /// Where it is; stays there when something fails.
    path: String,
    depth: usize,
    /// The rule that is evaluated.
    rule: Option<&'a Rule>,
    found: Vec<Violation>,
}

impl<'a> Run<'a, '_> {
    fn message(&mut self, view: &View<'a>) -> Result<(), Failure> {
        let Some(plan) = self.plans.get(&view.kind().id()) else { return Ok(()) };
        if self.depth >= MOST_DEPTH {
            return Err(Failure::Malformed("messages lie too deep in each other"));
        }
        self.depth += 1;
        for field in &plan.fields {
            self.field(view, field)?;
        }
        if !plan.custom.is_empty() {
            let this = expr::message_value(view.clone(), self.meter)?;
            self.rules(&plan.custom, &this, None, false)?;
        }
        for exclusive in &plan.exclusive {
            self.exclusive(view, exclusive)?;
        }
        for (name, members) in &plan.required {
            if self.count(view, members)? == 0 {
                let place = self.enter(name);
                self.violate("required", "exactly one field is required in oneof", false);
                self.path.truncate(place);
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn exclusive(&mut self, view: &View<'a>, exclusive: &Exclusive) -> Result<(), Failure> {
        let names = &exclusive.names;
        match self.count(view, &exclusive.fields)? {
            0 if exclusive.required => self.violate("message.oneof", &format!("one of {names} must be set"), false),
            0 | 1 => {}
            _ => self.violate("message.oneof", &format!("only one of {names} can be set"), false),
        }
        Ok(())
    }

    /// How many of these are set.
    fn count(&mut self, view: &View<'a>, fields: &[FieldId]) -> Result<usize, Failure> {
        let mut set = 0;
        for id in fields {
            set += usize::from(view.has(self.field_at(*id)?, self.meter)?);
        }
        Ok(set)
    }

    fn field_at(&self, id: FieldId) -> Result<Field<'a>, Failure> {
        self.schema.field_at(id).ok_or(Failure::Unknown)
    }

    fn field(&mut self, view: &View<'a>, plan: &'a FieldPlan) -> Result<(), Failure> {
        if self.is_full() {
            return Ok(());
        }
        let field = self.field_at(plan.field)?;
        let place = self.enter(field.name());
        let unset = (plan.required || plan.when == When::IfSet) && !view.has(field, self.meter)?;
        if plan.required && unset {
            self.violate("required", "value is required", false);
        } else if plan.when == When::Always || (plan.when == When::IfSet && !unset) {
            match field.shape() {
                Shape::Single => {
                    let item = view.one(field, self.meter)?.unwrap_or_else(|| default(field.kind()));
                    self.value(&plan.whole, item, field.kind(), false)?;
                }
                Shape::List => self.list(view, field, plan)?,
                Shape::Map(key) => self.map(view, field, Kind::Scalar(key), plan)?,
            }
        }
        self.path.truncate(place);
        Ok(())
    }

    fn list(&mut self, view: &View<'a>, field: Field<'a>, plan: &'a FieldPlan) -> Result<(), Failure> {
        self.whole(view, field, plan)?;
        if plan.values.is_idle() {
            return Ok(());
        }
        for (at, (_, item)) in items::all(view, field, self.meter)?.into_iter().enumerate() {
            if self.is_full() {
                break;
            }
            if plan.values.when == When::Always || !is_zero(&item, field.kind()) {
                let place = self.path.len();
                self.path.push_str(&format!("[{at}]"));
                self.value(&plan.values.checks, item, field.kind(), false)?;
                self.path.truncate(place);
            }
        }
        Ok(())
    }

    fn map(&mut self, view: &View<'a>, field: Field<'a>, key: Kind<'a>, plan: &'a FieldPlan) -> Result<(), Failure> {
        self.whole(view, field, plan)?;
        if plan.keys.is_idle() && plan.values.is_idle() {
            return Ok(());
        }
        for (name, item) in entries(view, field, self.meter)? {
            if self.is_full() {
                break;
            }
            let place = self.path.len();
            self.path.push_str(&subscript(&name));
            let checked = |when: When, item: &Item<'_>, kind| {
                when == When::Always || (when == When::IfSet && !is_zero(item, kind))
            };
            if checked(plan.keys.when, &name, key) {
                self.value(&plan.keys.checks, name, key, true)?;
            }
            if checked(plan.values.when, &item, field.kind()) {
                self.value(&plan.values.checks, item, field.kind(), false)?;
            }
            self.path.truncate(place);
        }
        Ok(())
    }

    /// Rules for a whole list or map.
    fn whole(&mut self, view: &View<'a>, field: Field<'a>, plan: &'a FieldPlan) -> Result<(), Failure> {
        let Checks { custom, standard, .. } = &plan.whole;
        if custom.is_empty() && standard.is_none() {
            return Ok(());
        }
        let this = expr::field_value(view, field, self.meter)?;
        self.rules(custom, &this, None, false)?;
        self.standard(standard.as_ref(), &this, false)
    }

    fn value(&mut self, checks: &'a Checks, item: Item<'a>, kind: Kind<'a>, for_key: bool) -> Result<(), Failure> {
        let this = match checks.custom.is_empty() && checks.standard.is_none() {
            true => Value::Null,
            false => expr::item_value(item.clone(), kind, self.meter)?,
        };
        self.rules(&checks.custom, &this, None, for_key)?;
        match (&item, kind) {
            (Item::Enum(number), Kind::Enum(known)) if checks.defined_only && !known.defines(*number) => {
                self.violate("enum.defined_only", "value must be one of the defined enum values", for_key);
            }
            (Item::Message(view), _) => {
                if checks.nested.is_some() {
                    self.message(view)?;
                }
                if let Some((allowed, denied)) = &checks.any {
                    self.any(view, allowed, denied)?;
                }
            }
            _ => {}
        }
        self.standard(checks.standard.as_ref(), &this, for_key)
    }

    fn any(&mut self, view: &View<'a>, allowed: &[String], denied: &[String]) -> Result<(), Failure> {
        let field = view.kind().field("type_url").ok_or(Failure::NoSuchField)?;
        let url = match view.one(field, self.meter)? {
            Some(Item::Text(url)) => url.to_string(),
            _ => String::new(),
        };
        self.meter.spend(allowed.len() + denied.len())?;
        if !allowed.is_empty() && !allowed.contains(&url) {
            self.violate("any.in", "type URL must be in the allow list", false);
        }
        if denied.contains(&url) {
            self.violate("any.not_in", "type URL must not be in the block list", false);
        }
        Ok(())
    }

    fn standard(&mut self, standard: Option<&'a Standard>, this: &Value<'a>, for_key: bool) -> Result<(), Failure> {
        let Some(standard) = standard else { return Ok(()) };
        let book = book().map_err(|_| Failure::Unknown)?;
        let rules = View::new(book.schema.type_at(standard.kind), Octets::Lent(&standard.octets));
        self.rules(&standard.rules, this, Some(Value::Message(rules)), for_key)
    }

    fn rules(
        &mut self,
        rules: &'a [std::sync::Arc<Rule>],
        this: &Value<'a>,
        own: Option<Value<'a>>,
        for_key: bool,
    ) -> Result<(), Failure> {
        if rules.is_empty() {
            return Ok(());
        }
        let given = Given { this: this.clone(), now: self.now, rules: own };
        for rule in rules {
            self.rule = Some(rule);
            let told = match rule.program.run(&given, self.meter)? {
                Value::Bool(true) => None,
                Value::Bool(false) => Some(format!("\"{}\" returned false", rule.expression)),
                Value::Text(text) => (!text.is_empty()).then(|| cut(&text, MOST_TOLD)),
                _ => return Err(Failure::NoOverload("a rule")),
            };
            self.rule = None;
            if let Some(told) = told {
                let message = if rule.message.is_empty() { &told } else { &rule.message };
                self.violate(&rule.id, message, for_key);
            }
        }
        Ok(())
    }

    fn violate(&mut self, rule: &str, message: &str, for_key: bool) {
        if !self.is_full() {
            let (field, message, rule) = (self.path.clone(), message.to_owned(), rule.to_owned());
            self.found.push(Violation { field, message, rule, for_key });
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= MOST_VIOLATIONS
    }

    /// Goes to a field. The path is cut to what is returned on the way back.
    fn enter(&mut self, name: &str) -> usize {
        let place = self.path.len();
        if place > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        place
    }
}

/// Entries of a map as decoders have them: of one key the last.
fn entries<'a>(view: &View<'a>, field: Field<'a>, meter: &mut Meter) -> Result<Vec<(Item<'a>, Item<'a>)>, Failure> {
    let found = items::all(view, field, meter)?.into_iter();
    let mut found: Vec<_> = found.filter_map(|(key, item)| Some((key?, item))).collect();
    let mut last = HashMap::with_capacity(found.len());
    for (at, (key, _)) in found.iter().enumerate() {
        if let Item::Text(text) = key {
            meter.spend_octets(text.len())?;
        }
        last.insert(whole(key), at);
    }
    let mut at = 0;
    found.retain(|(key, _)| {
        at += 1;
        last.get(&whole(key)) == Some(&(at - 1))
    });
    Ok(found)
}

/// Whether a value is the zero of its kind: of an enum the first that it defines.
fn is_zero(item: &Item<'_>, kind: Kind<'_>) -> bool {
    match (item, kind) {
        (Item::Enum(number), Kind::Enum(known)) => *number == known.first(),
        _ => item.is_default(),
    }
}
