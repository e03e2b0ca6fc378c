//! What is different between two configurations, in words for people. Compares what the files say, and shows no more of it than
//! `/config` does.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::render::HIDDEN;

/// The most changes that are told.
const MOST: usize = 1_000;
/// The most characters of a value that are shown.
const MOST_SHOWN: usize = 120;

/// A configuration: as it is, and as it may be shown.
#[derive(Clone, Copy, Debug)]
pub struct Told<'v> {
    /// All of it.
    pub plain: &'v Value,
    /// The same with what is secret as `***`.
    pub shown: &'v Value,
}

/// The changes that make `after` of `before`, in the order of the keys.
pub fn in_words(before: Told<'_>, after: Told<'_>) -> Vec<String> {
    let mut words = Words { changes: Vec::new(), more: 0 };
    words.compare("", before, after);
    if words.more > 0 {
        words.changes.push(format!("and {} more", words.more));
    }
    words.changes
}

struct Words {
    changes: Vec<String>,
    more: usize,
}

impl Words {
    fn say(&mut self, change: String) {
        if self.changes.len() < MOST { self.changes.push(change) } else { self.more += 1 }
    }

    fn compare(&mut self, at: &str, before: Told<'_>, after: Told<'_>) {
        if before.plain == after.plain {
            return;
        }
        match (before.plain, after.plain) {
            (Value::Object(old), Value::Object(new)) => self.compare_maps(at, (before, old), (after, new)),
            (Value::Array(old), Value::Array(new)) => self.compare_lists(at, (before, old), (after, new)),
            (Value::Null, _) => self.say(format!("{at} was set: {}", brief(after.shown))),
            (_, Value::Null) => self.say(format!("{at} was left out: it was {}", brief(before.shown))),
            _ => match (brief(before.shown), brief(after.shown)) {
                // What may be seen of them is the same.
                (old, new) if old == new => self.say(format!("{at} was changed")),
                (old, new) => self.say(format!("{at} was {old} and is {new}")),
            },
        }
    }

    fn compare_maps(
        &mut self,
        at: &str,
        (before, old): (Told<'_>, &Map<String, Value>),
        (after, new): (Told<'_>, &Map<String, Value>),
    ) {
        for (key, plain) in old {
            let at = named(at, key);
            let before = before.below(plain, |shown| shown.get(key));
            match new.get(key) {
                Some(plain) => self.compare(&at, before, after.below(plain, |shown| shown.get(key))),
                None => self.say(format!("{at} was removed")),
            }
        }
        for key in new.keys().filter(|key| !old.contains_key(*key)) {
            self.say(format!("{} was added", named(at, key)));
        }
    }

    /// Lists of the same length are compared place by place; of others, what left and what came.
    fn compare_lists(&mut self, at: &str, (before, old): (Told<'_>, &[Value]), (after, new): (Told<'_>, &[Value])) {
        let of = |told: Told<'_>, index: usize, plain: &Value| told.below(plain, |shown| shown.get(index)).brief();
        let (left, came) = (without(old, new), without(new, old));
        if left.is_empty() && came.is_empty() {
            return self.say(format!("{at} has another order"));
        }
        if old.len() == new.len() && left == came {
            for index in left {
                let (Some(one), Some(other)) = (old.get(index), new.get(index)) else { continue };
                let before = before.below(one, |shown| shown.get(index));
                self.compare(&format!("{at}[{index}]"), before, after.below(other, |shown| shown.get(index)));
            }
            return;
        }
        for (index, plain) in left.into_iter().filter_map(|index| Some((index, old.get(index)?))) {
            self.say(format!("{at}: {} was removed", of(before, index, plain)));
        }
        for (index, plain) in came.into_iter().filter_map(|index| Some((index, new.get(index)?))) {
            self.say(format!("{at}: {} was added", of(after, index, plain)));
        }
    }
}

impl<'v> Told<'v> {
    /// What is in it; where less than that may be shown, that.
    fn below(self, plain: &'v Value, step: impl FnOnce(&'v Value) -> Option<&'v Value>) -> Self {
        Self { plain, shown: step(self.shown).unwrap_or(self.shown) }
    }

    fn brief(&self) -> String {
        brief(self.shown)
    }
}

/// The places in `these` of what `those` does not have, or not so often.
fn without(these: &[Value], those: &[Value]) -> Vec<usize> {
    let mut count: HashMap<String, usize> = HashMap::new();
    for value in those {
        *count.entry(value.to_string()).or_default() += 1;
    }
    let mut is_new = |value: &Value| match count.get_mut(&value.to_string()) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    };
    these.iter().enumerate().filter(|(_, value)| is_new(value)).map(|(index, _)| index).collect()
}

/// What stands at the top has a name of its own kind: ``listener `edge` ``, and what is in it ``listener `edge`: routes``.
fn named(at: &str, key: &str) -> String {
    const KINDS: [(&str, &str); 3] = [("listeners", "listener"), ("clusters", "cluster"), ("issuers", "issuer")];
    if let Some((_, kind)) = KINDS.iter().find(|(list, _)| *list == at) {
        return format!("{kind} `{key}`");
    }
    match at {
        "" => key.to_owned(),
        _ if at.ends_with('`') => format!("{at}: {key}"),
        _ => format!("{at}.{key}"),
    }
}

/// A value in a line.
fn brief(value: &Value) -> String {
    if value.as_str() == Some(HIDDEN) {
        return HIDDEN.to_owned();
    }
    let text = match value {
        Value::Object(map) => {
            let told = map.iter().filter(|(_, value)| !is_nothing(value));
            Value::Object(told.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        value => value.clone(),
    };
    let text = text.to_string();
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
