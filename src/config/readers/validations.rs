//! Validation for filters: messages are judged under every definition that is in force, since the instance is not chosen yet.

use filter_api::{Message, Misfit, Rules, Unread};

use super::held::{made, under};
use crate::config::Source;
use crate::config::policies::Policy;
use crate::expr::{Failure, Moment};
use crate::schema::{Definition, Made, Meter, Side};
use crate::validate::{JsonCheck, MOST_SCHEMA, MOST_VIOLATIONS, Texts, Unchecked, Validator};

/// Judges messages of the request, for each definition that is in force.
#[derive(Debug)]
pub(super) struct Validations {
    protovalidate: bool,
    /// The path of texts, and what their JSON must be.
    json: Vec<(String, JsonCheck)>,
    max_cost: u64,
    bound: Made<Judge>,
}

/// What judges messages of one definition.
#[derive(Debug)]
struct Judge {
    rules: Option<Validator>,
    /// Where the texts are, in the order of their checks.
    texts: Vec<Texts>,
}

impl Validations {
    /// Reads the files.
    ///
    /// # Errors
    /// The path that a file is for, and what is wrong with the file.
    pub(super) fn read(rules: Rules, source: &Source, max_cost: u64) -> Result<Self, (String, String)> {
        let mut json = Vec::with_capacity(rules.json_schema.len());
        for (path, file) in rules.json_schema {
            let octets = source.read(&file, MOST_SCHEMA as u64).map_err(|why| format!("it {why}"));
            let text = octets.and_then(|octets| String::from_utf8(octets).map_err(|_| "it is not UTF-8".to_owned()));
            let compiled = text.and_then(|text| JsonCheck::compile(&text));
            match compiled {
                Ok(check) => json.push((path, check)),
                Err(why) => return Err((path, format!("`{}` is no JSON Schema to check by: {why}", file.display()))),
            }
        }
        Ok(Self { protovalidate: rules.protovalidate, json, max_cost, bound: Made::default() })
    }

    fn judge(&self, body: &[u8], judge: &Judge, found: &mut Vec<Misfit>) -> Result<(), Unread> {
        let mut meter = Meter::new(self.max_cost);
        let rules = judge.rules.as_ref().filter(|rules| !rules.is_empty());
        if let Some(rules) = rules {
            for violation in rules.check(body, Moment::now(), &mut meter).map_err(|why| unread(&why))? {
                let of_key = if violation.for_key { "the key: " } else { "" };
                let description = format!("{of_key}{} ({})", violation.message, violation.rule);
                found.push(Misfit { field: violation.field, description });
            }
        }
        for (texts, (_, check)) in judge.texts.iter().zip(&self.json) {
            for (field, text) in texts.read(body, &mut meter).map_err(|why| failed(&why))? {
                meter.spend_octets(text.len()).map_err(|spent| failed(&spent.into()))?;
                let misfits = check.check(&text).into_iter();
                found.extend(misfits.map(|misfit| {
                    // A JSON pointer behind the field, as fragments of addresses are.
                    let at = if misfit.pointer.is_empty() { "" } else { "#" };
                    let description = format!("{} ({})", misfit.message, misfit.rule);
                    Misfit { field: format!("{field}{at}{}", misfit.pointer), description }
                }));
                if found.len() >= MOST_VIOLATIONS {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Policy for Validations {
    fn bind(&self, _: &str, _: &str, definition: &Definition) -> Result<(), String> {
        let (schema, input) = (&definition.schema, definition.input().id());
        let made = (|| {
            let rules = match self.protovalidate {
                true => Some(Validator::compile(schema, input, self.max_cost)?),
                false => None,
            };
            let texts = self.json.iter().map(|(path, _)| Texts::compile(schema, input, path));
            Ok(Judge { rules, texts: texts.collect::<Result<_, String>>()? })
        })();
        self.bound.keep(definition, made)
    }

    fn conflicts(&self, definition: &Definition, accepted: &Definition) -> Option<String> {
        self.json.iter().find_map(|(path, _)| definition.conflicts(accepted, Side::Request, path))
    }
}

impl filter_api::Validation for Validations {
    fn request(&self, message: &Message<'_>) -> Result<Vec<Misfit>, Unread> {
        let (body, ids) = under(message)?;
        let mut found = Vec::new();
        for id in ids {
            let judge = made(&self.bound, id)?;
            self.judge(body, &judge, &mut found)?;
            // One of them refuses it, and that is enough: what another would say of it can be another thing.
            if !found.is_empty() {
                break;
            }
        }
        found.truncate(MOST_VIOLATIONS);
        Ok(found)
    }
}

/// Why it is not known whether a message fits. What a rule of the instance's own fails at is not quoted.
fn unread(unchecked: &Unchecked) -> Unread {
    match (&unchecked.rule, unchecked.failure) {
        (None, failure) => failed(&failure),
        (Some(_), _) => Unread::Malformed(unchecked.to_string()),
    }
}

fn failed(failure: &Failure) -> Unread {
    match failure {
        Failure::NoSchema | Failure::Unknown => Unread::NoSchema,
        failure => Unread::Malformed(failure.to_string()),
    }
}
