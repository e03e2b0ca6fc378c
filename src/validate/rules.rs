//! The rulebook: what protovalidate's own rules mean is written in `buf/validate/validate.proto`, as expressions on the fields of the rules.
//! It comes with this program, and is compiled once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::expr::{self, Declared, Moment, Names, Program, Scope, Type, Value};
use crate::schema::{Field, FieldId, Item, Kind, MessageType, Meter, Octets, Schema, View, from_octets};

/// The number of rules among the options of messages, fields and oneofs.
pub(super) const RULES: u32 = 1159;
/// The number of what a rule means, among the options of its field.
const MEANING: u32 = 1160;
/// Steps that reading the rules of one field may take.
const STEPS: u64 = 1_000_000;

/// An expression that a value must hold against.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    /// What to say; empty: what the expression gives.
    pub(super) message: String,
    pub(super) expression: String,
    pub(super) program: Program,
}

/// A rule as it stands in a descriptor.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) id: String,
    pub(super) message: String,
    pub(super) expression: String,
}

/// Rules of protovalidate's own.
pub(super) struct Rulebook {
    pub(super) schema: Arc<Schema>,
    /// What a field of the rules means.
    meanings: HashMap<FieldId, Vec<Arc<Rule>>>,
}

/// What expressions are given, by the places of [`names`].
pub(super) struct Given<'a> {
    pub(super) this: Value<'a>,
    pub(super) now: Moment,
    /// The rules themselves, for protovalidate's own expressions.
    pub(super) rules: Option<Value<'a>>,
}

impl<'a> Names<'a> for Given<'a> {
    fn value(&self, at: usize) -> Option<Value<'a>> {
        match at {
            0 => Some(self.this.clone()),
            1 => Some(Value::Time(self.now)),
            _ => self.rules.clone(),
        }
    }
}

fn names(this: Type) -> [Declared; 2] {
    [Declared::new("this", this), Declared::new("now", Type::Time)]
}

/// The rulebook.
///
/// # Errors
/// It is not one, which tests would have shown.
pub(super) fn book() -> Result<&'static Rulebook, String> {
    static BOOK: LazyLock<Result<Rulebook, String>> = LazyLock::new(Rulebook::read);
    BOOK.as_ref().map_err(Clone::clone)
}

impl Rulebook {
    fn read() -> Result<Self, String> {
        let schema = Arc::new(from_octets(portunus_proto::VALIDATE).map_err(|error| error.to_string())?);
        let mut meanings = HashMap::new();
        for kinds in schema.message_type("buf.validate.FieldRules").into_iter().flat_map(MessageType::fields) {
            let Kind::Message(rules) = kinds.kind() else { continue };
            for field in rules.fields().filter(|field| !is_pattern(*field)) {
                let written = meaning(&schema, field)?;
                let made = written.into_iter().map(|written| own(written).map(Arc::new));
                meanings.insert(field.id(), made.collect::<Result<_, _>>()?);
            }
        }
        Ok(Self { schema, meanings })
    }

    /// What a field of some rules means that is set in them.
    pub(super) fn meaning(&self, field: Field<'_>, rules: &Options<'_>) -> Result<Vec<Arc<Rule>>, String> {
        if !is_pattern(field) {
            return Ok(self.meanings.get(&field.id()).cloned().unwrap_or_default());
        }
        // The pattern becomes a part of the expression: it is compiled with it, and not for every message.
        let pattern = literal(&rules.text(field.name())?);
        let written = meaning(&self.schema, field)?.into_iter().map(|mut written| {
            written.expression = written.expression.replace("rules.pattern", &pattern);
            own(written).map(Arc::new)
        });
        written.collect()
    }
}

fn is_pattern(field: Field<'_>) -> bool {
    field.name() == "pattern"
}

fn meaning(schema: &Schema, field: Field<'_>) -> Result<Vec<Written>, String> {
    let Some(octets) = field.option(MEANING) else { return Ok(Vec::new()) };
    let rules = Options::of(schema, "buf.validate.PredefinedRules", &octets)?;
    let written = rules.all("cel")?.into_iter().map(|item| written(schema, item));
    // Examples are no rules.
    written.filter(|rule| !rule.as_ref().is_ok_and(|rule| rule.expression == "true")).collect()
}

fn own(written: Written) -> Result<Rule, String> {
    let [this, now] = names(Type::Dyn);
    let names = [this, now, Declared::new("rules", Type::Dyn)];
    compile(written, &names, None, u64::MAX)
}

/// A rule that somebody else wrote, for values of this type.
///
/// # Errors
/// In words.
pub(super) fn custom(written: Written, this: Type, schema: &Arc<Schema>, max_cost: u64) -> Result<Rule, String> {
    compile(written, &names(this), Some(schema), max_cost)
}

fn compile(written: Written, names: &[Declared], schema: Option<&Arc<Schema>>, max_cost: u64) -> Result<Rule, String> {
    let Written { id, message, expression } = written;
    let scope = Scope { validation: true, ..Scope::over(names) };
    let cannot = |why: String| format!("the rule {id} cannot be checked here: {why}");
    let program = expr::compile(&expression, scope, schema, max_cost)
        .map_err(|problems| cannot(expr::problems_in_words(&problems)))?;
    match program.kind() {
        Type::Bool | Type::Text | Type::Dyn => Ok(Rule { message, expression, program, id }),
        _ => Err(cannot("it gives neither bool nor string".into())),
    }
}

/// A rule out of a descriptor.
///
/// # Errors
/// In words.
pub(super) fn written(schema: &Schema, item: Item<'_>) -> Result<Written, String> {
    match item {
        Item::Message(view) => {
            let octets = view.to_octets();
            let rule = Options::of(schema, "buf.validate.Rule", &octets)?;
            rule.known()?;
            Ok(Written { id: rule.text("id")?, message: rule.text("message")?, expression: rule.text("expression")? })
        }
        // `cel_expression`: it is its own name.
        Item::Text(text) => Ok(Written { id: text.to_string(), expression: text.to_string(), ..Written::default() }),
        _ => Err("a rule is none".into()),
    }
}

/// A text as expressions have it.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Rules in an option, read by their names.
pub(super) struct Options<'a> {
    pub(super) view: View<'a>,
}

impl<'a> Options<'a> {
    /// Rules of a type of the rulebook.
    pub(super) fn of(schema: &'a Schema, name: &str, octets: &'a [u8]) -> Result<Self, String> {
        let kind = schema.message_type(name).ok_or_else(|| format!("there is no {name}"))?;
        Ok(Self { view: View::new(kind, Octets::Lent(octets)) })
    }

    /// What a field has.
    pub(super) fn one(&self, name: &str) -> Result<Option<Item<'a>>, String> {
        let field = self.field(name)?;
        self.view.one(field, &mut Meter::new(STEPS)).map_err(|why| self.broken(why))
    }

    /// What a field has that is there any number of times.
    pub(super) fn all(&self, name: &str) -> Result<Vec<Item<'a>>, String> {
        let (field, mut all) = (self.field(name)?, Vec::new());
        let read = self.view.all(field, &mut Meter::new(STEPS), |_, item| {
            all.push(item);
            Ok(())
        });
        read.map(|()| all).map_err(|why| self.broken(why))
    }

    /// The fields that are set.
    pub(super) fn set(&self) -> Result<Vec<Field<'a>>, String> {
        let mut set = Vec::new();
        for field in self.view.kind().fields() {
            if self.view.has(field, &mut Meter::new(STEPS)).map_err(|why| self.broken(why))? {
                set.push(field);
            }
        }
        Ok(set)
    }

    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        let item = self.one(name)?;
        Ok(if let Some(Item::Text(text)) = item { text.to_string() } else { String::new() })
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let text = |item| if let Item::Text(text) = item { text.to_string() } else { String::new() };
        Ok(self.all(name)?.into_iter().map(text).collect())
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, String> {
        Ok(matches!(self.one(name)?, Some(Item::Bool(true))))
    }

    /// Octets of the rules in a field; none if it is not set.
    pub(super) fn inner(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(if let Some(Item::Message(view)) = self.one(name)? { Some(view.to_octets()) } else { None })
    }

    /// # Errors
    /// There is a rule that the rulebook does not have.
    pub(super) fn known(&self) -> Result<(), String> {
        let unknown = self.view.unknown(&mut Meter::new(STEPS)).map_err(|why| self.broken(why))?;
        match unknown.keys().next() {
            None => Ok(()),
            Some(number) => {
                let what = match number {
                    1000.. => "a predefined rule of somebody's own",
                    _ => "a rule that the protovalidate of this version does not have",
                };
                Err(format!("{what} (number {number} of {}) cannot be checked here", self.view.kind().name()))
            }
        }
    }

    fn field(&self, name: &str) -> Result<Field<'a>, String> {
        self.view.kind().field(name).ok_or_else(|| format!("{} has no {name}", self.view.kind().name()))
    }

    fn broken(&self, why: crate::schema::Unreadable) -> String {
        format!("the {} of a descriptor cannot be read: {why:?}", self.view.kind().name())
    }
}
