//! Operators and functions: what they are called, what they take, and what they give.

use super::kind::Type;
use super::time::Part;
use super::validation::Check;
use crate::schema::Schema;

/// An operator or a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Not,
    Negate,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Index,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Cidr,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBytes,
    ToBool,
    ToTime,
    ToDuration,
    ToDyn,
    TypeOf,
    Part(Part),
    /// One of those that only rules for messages have.
    Validation(Check),
}

/// How a function is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(x)`, and operators.
    Global,
    /// `x.f()`.
    Member,
    /// Both.
    Either,
}

use Function as F;

/// Every one: what the parser calls it, how it is written, itself.
const FUNCTIONS: [(&str, Style, Function); 42] = [
    ("!_", Style::Global, F::Not),
    ("-_", Style::Global, F::Negate),
    ("_+_", Style::Global, F::Add),
    ("_-_", Style::Global, F::Subtract),
    ("_*_", Style::Global, F::Multiply),
    ("_/_", Style::Global, F::Divide),
    ("_%_", Style::Global, F::Modulo),
    ("_==_", Style::Global, F::Equal),
    ("_!=_", Style::Global, F::NotEqual),
    ("_<_", Style::Global, F::Less),
    ("_<=_", Style::Global, F::LessOrEqual),
    ("_>_", Style::Global, F::Greater),
    ("_>=_", Style::Global, F::GreaterOrEqual),
    ("@in", Style::Global, F::In),
    ("_[_]", Style::Global, F::Index),
    ("size", Style::Either, F::Size),
    ("contains", Style::Member, F::Contains),
    ("startsWith", Style::Member, F::StartsWith),
    ("endsWith", Style::Member, F::EndsWith),
    ("matches", Style::Either, F::Matches),
    ("cidr", Style::Global, F::Cidr),
    ("int", Style::Global, F::ToInt),
    ("uint", Style::Global, F::ToUint),
    ("double", Style::Global, F::ToDouble),
    ("string", Style::Global, F::ToText),
    ("bytes", Style::Global, F::ToBytes),
    ("bool", Style::Global, F::ToBool),
    ("timestamp", Style::Global, F::ToTime),
    ("duration", Style::Global, F::ToDuration),
    ("dyn", Style::Global, F::ToDyn),
    ("type", Style::Global, F::TypeOf),
    ("getFullYear", Style::Member, F::Part(Part::Year)),
    ("getMonth", Style::Member, F::Part(Part::Month)),
    ("getDayOfYear", Style::Member, F::Part(Part::DayOfYear)),
    ("getDayOfMonth", Style::Member, F::Part(Part::DayOfMonth)),
    ("getDate", Style::Member, F::Part(Part::Date)),
    ("getDayOfWeek", Style::Member, F::Part(Part::DayOfWeek)),
    ("getHours", Style::Member, F::Part(Part::Hours)),
    ("getMinutes", Style::Member, F::Part(Part::Minutes)),
    ("getSeconds", Style::Member, F::Part(Part::Seconds)),
    ("getMilliseconds", Style::Member, F::Part(Part::Milliseconds)),
    // What `has` and the loops are made of has no function.
    ("@not_strictly_false", Style::Global, F::ToBool),
];

/// The function of a name that the parser gives it.
pub(super) fn find(name: &str, member: bool) -> Option<Function> {
    let fits = |style| style == Style::Either || (style == Style::Member) == member;
    FUNCTIONS.iter().find(|(known, style, _)| *known == name && fits(*style)).map(|(_, _, function)| *function)
}

/// Names of functions that people can write, for who mistyped one.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(name, _, _)| *name).filter(|name| name.bytes().all(|octet| octet.is_ascii_alphabetic()))
}

impl Function {
    /// As people write it.
    pub(super) fn name(self) -> &'static str {
        if let F::Validation(check) = self {
            return check.name();
        }
        let name = FUNCTIONS.iter().find(|(_, _, function)| *function == self).map_or("", |(name, _, _)| *name);
        match name.trim_matches(['_', '@']) {
            "[_]" => "[]",
            name => name,
        }
    }

    /// What it gives for arguments of these types; none if it does not take them.
    pub(super) fn gives(self, arguments: &[Type]) -> Option<Type> {
        match (self, arguments) {
            (F::Equal | F::NotEqual, [left, right]) => (left.fits(right) || numbers(left, right)).then_some(Type::Bool),
            (F::Less | F::LessOrEqual | F::Greater | F::GreaterOrEqual, [left, right]) => {
                let ordered =
                    |kind: &Type| !matches!(kind, Type::List(_) | Type::Map(_) | Type::Message(_) | Type::Null);
                let both = ordered(left) && ordered(right);
                (both && (left.fits(right) || numbers(left, right))).then_some(Type::Bool)
            }
            (F::In, [element, Type::List(of)]) => (element.fits(of) || numbers(element, of)).then_some(Type::Bool),
            (F::In, [key, Type::Map(of)]) => (key.fits(&of.0) || numbers(key, &of.0)).then_some(Type::Bool),
            (F::In, [_, Type::Dyn]) => Some(Type::Bool),
            (F::Index, [Type::List(of), at]) => at.fits(&Type::Int).then(|| (**of).clone()).or_else(|| {
                // A whole number of another kind is one.
                matches!(at, Type::Uint | Type::Double).then(|| (**of).clone())
            }),
            (F::Index, [Type::Map(of), key]) => (key.fits(&of.0) || numbers(key, &of.0)).then(|| of.1.clone()),
            (F::Index, [Type::Dyn, _]) => Some(Type::Dyn),
            (F::Add, [Type::List(left), Type::List(right)]) => Some(Type::list((**left).clone().join(right))),
            (F::ToDyn, [_]) => Some(Type::Dyn),
            (F::TypeOf, [_]) => Some(Type::Type),
            (F::Size, [Type::List(_) | Type::Map(_)]) => Some(Type::Int),
            (F::Part(part), [Type::Duration]) => super::time::span_part(0, part).map(|_| Type::Int),
            (F::Validation(check), arguments) => check.gives(arguments),
            _ => self.gives_by_table(arguments),
        }
    }

    /// What to say where it does not take what it is given.
    pub(super) fn refuses(self, arguments: &[Type], schema: Option<&Schema>) -> String {
        let (name, given) = (self.name(), arguments.iter().map(|kind| kind.name(schema)).collect::<Vec<_>>());
        if !name.bytes().all(|octet| octet.is_ascii_alphabetic()) || self == F::In {
            let hint = match (self, arguments) {
                (F::Add | F::Subtract | F::Multiply | F::Divide | F::Modulo, [left, right]) if numbers(left, right) => {
                    "; `int(x)`, `uint(x)` and `double(x)` make numbers of one type"
                }
                (F::Add, [Type::Text, _] | [_, Type::Text]) => "; `string(x)` makes a text",
                _ => "",
            };
            if let (F::Index, [of, at]) = (self, given.as_slice()) {
                return format!("a place in {of} cannot be {at}");
            }
            return format!("`{name}` does not take {}{hint}", given.join(" with "));
        }
        let mut takes: Vec<String> = Vec::new();
        for (wanted, _) in self.takes() {
            let wanted: Vec<_> = wanted.iter().map(|kind| kind.name(schema)).collect();
            takes.push(format!("({})", wanted.join(", ")));
        }
        if self == F::Size {
            takes.extend(["(list)".to_owned(), "(map)".to_owned()]);
        }
        format!("`{name}` takes {}, and is given ({})", takes.join(" or "), given.join(", "))
    }

    fn gives_by_table(self, arguments: &[Type]) -> Option<Type> {
        let fits = |wanted: &[Type]| {
            wanted.len() == arguments.len() && arguments.iter().zip(wanted).all(|(own, wanted)| own.fits(wanted))
        };
        let mut given: Option<Type> = None;
        for (wanted, gives) in self.takes() {
            if fits(&wanted) {
                given = Some(given.map_or(gives.clone(), |given| given.join(&gives)));
            }
        }
        given
    }

    /// What it takes, and gives for it, where both are plain.
    fn takes(self) -> Vec<(Vec<Type>, Type)> {
        let same = |kinds: &[Type]| kinds.iter().map(|kind| (vec![kind.clone(); 2], kind.clone())).collect::<Vec<_>>();
        let from =
            |kinds: &[Type], to: Type| kinds.iter().map(|kind| (vec![kind.clone()], to.clone())).collect::<Vec<_>>();
        match self {
            F::Not => from(&[Type::Bool], Type::Bool),
            F::Negate => vec![(vec![Type::Int], Type::Int), (vec![Type::Double], Type::Double)],
            F::Add => {
                let mut takes = same(&[Type::Int, Type::Uint, Type::Double, Type::Text, Type::Bytes, Type::Duration]);
                takes.push((vec![Type::Time, Type::Duration], Type::Time));
                takes.push((vec![Type::Duration, Type::Time], Type::Time));
                takes
            }
            F::Subtract => {
                let mut takes = same(&[Type::Int, Type::Uint, Type::Double, Type::Duration]);
                takes.push((vec![Type::Time, Type::Duration], Type::Time));
                takes.push((vec![Type::Time, Type::Time], Type::Duration));
                takes
            }
            F::Multiply | F::Divide => same(&[Type::Int, Type::Uint, Type::Double]),
            F::Modulo => same(&[Type::Int, Type::Uint]),
            F::Size => from(&[Type::Text, Type::Bytes], Type::Int),
            F::Contains | F::StartsWith | F::EndsWith | F::Matches | F::Cidr => vec![(vec![Type::Text; 2], Type::Bool)],
            F::ToInt => from(&[Type::Int, Type::Uint, Type::Double, Type::Text, Type::Time], Type::Int),
            F::ToUint => from(&[Type::Int, Type::Uint, Type::Double, Type::Text], Type::Uint),
            F::ToDouble => from(&[Type::Int, Type::Uint, Type::Double, Type::Text], Type::Double),
            F::ToText => {
                let kinds = [
                    Type::Int,
                    Type::Uint,
                    Type::Double,
                    Type::Bool,
                    Type::Text,
                    Type::Bytes,
                    Type::Time,
                    Type::Duration,
                ];
                from(&kinds, Type::Text)
            }
            F::ToBytes => from(&[Type::Text, Type::Bytes], Type::Bytes),
            F::ToBool => from(&[Type::Bool, Type::Text], Type::Bool),
            F::ToTime => from(&[Type::Text, Type::Int, Type::Time], Type::Time),
            F::ToDuration => from(&[Type::Text, Type::Duration], Type::Duration),
            F::Part(_) => vec![(vec![Type::Time], Type::Int), (vec![Type::Time, Type::Text], Type::Int)],
            _ => Vec::new(),
        }
    }
}

/// Numbers of different kinds are compared by what they are.
fn numbers(left: &Type, right: &Type) -> bool {
    fn number(kind: &Type) -> bool {
        match kind {
            Type::Int | Type::Uint | Type::Double => true,
            Type::OrNull(of) => number(of),
            _ => false,
        }
    }
    number(left) && number(right)
}
