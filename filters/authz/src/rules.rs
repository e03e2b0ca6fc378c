//! Rules, and those of them that are for a method.

use std::sync::Arc;

use filter_api::{BuildCx, BuildError, Depth, Expression, Gives, MethodPattern, Seen};

use super::{Config, Denied, Rule};

/// The rules of a filter, the most specific first.
#[derive(Debug)]
pub(crate) struct Rules(Vec<Compiled>);

#[derive(Debug)]
struct Compiled {
    /// None for all methods.
    methods: Option<MethodPattern>,
    allow: Option<Allow>,
    deny: Option<Arc<dyn Expression>>,
}

/// What must hold, and its text.
type Allow = (Arc<dyn Expression>, Arc<str>);

/// What the rules say of one method.
pub(crate) struct Judgement<'a> {
    rules: &'a Rules,
    service: &'a str,
    method: &'a str,
    /// The one that decides: of the most specific pattern that has one.
    allow: Option<&'a Allow>,
}

impl Rules {
    pub(crate) fn build(config: Config, cx: &BuildCx<'_>) -> Result<Self, BuildError> {
        let Config { allow, deny, rules } = config;
        let one = allow.is_some() || deny.is_some();
        if one && !rules.is_empty() {
            return Err(BuildError::at(
                &[],
                "has rules twice: write `allow` and `deny` into `rules`, with `method: \"*/*\"`",
            ));
        }
        let refuses_all = if one { allow.is_none() } else { rules.iter().all(|rule| rule.allow.is_none()) };
        if refuses_all {
            let message = "refuses every call, since nothing is allowed: add `allow` (`allow: 'true'` for all that no `deny` refuses)";
            return Err(BuildError::at(&[], message));
        }
        let mut compiled = Vec::with_capacity(rules.len().max(1));
        if one {
            compiled.push(Compiled::build(None, (allow, deny), &[], cx)?);
        }
        for (index, rule) in rules.into_iter().enumerate() {
            let Rule { method, allow, deny } = rule;
            let at = index.to_string();
            let wrong = |message: String| BuildError::at(&["rules", &at, "method"], message);
            if compiled.iter().any(|other| other.methods.as_ref() == Some(&method)) {
                return Err(wrong(format!("`{method}` has a rule already: write both as one")));
            }
            if allow.is_none() && deny.is_none() {
                return Err(BuildError::at(&["rules", &at], "says nothing: add `allow` or `deny`"));
            }
            compiled.push(Compiled::build(Some(method), (allow, deny), &["rules", &at], cx)?);
        }
        compiled.sort_by_key(|rule| std::cmp::Reverse(rule.methods.as_ref().map(MethodPattern::rank)));
        Ok(Self(compiled))
    }

    /// Whether some of them read messages.
    pub(crate) fn read_messages(&self) -> bool {
        self.0.iter().any(|rule| rule.allow.iter().map(|(allow, _)| allow).chain(&rule.deny).any(reads_messages))
    }

    /// What they say of a method.
    pub(crate) fn of<'a>(&'a self, service: &'a str, method: &'a str) -> Judgement<'a> {
        let allow = self.matching(service, method).find_map(|rule| rule.allow.as_ref());
        Judgement { rules: self, service, method, allow }
    }

    fn matching(&self, service: &str, method: &str) -> impl Iterator<Item = &Compiled> {
        self.0.iter().filter(move |rule| rule.methods.as_ref().is_none_or(|pattern| pattern.matches(service, method)))
    }
}

impl Compiled {
    fn build(
        methods: Option<MethodPattern>,
        (allow, deny): (Option<String>, Option<String>),
        at: &[&str],
        cx: &BuildCx<'_>,
    ) -> Result<Self, BuildError> {
        let compile = |key: &str, text: Option<String>| {
            let path = [at, &[key]].concat();
            text.map(|text| match &methods {
                Some(methods) => cx.expression_for(methods, &path, &text, Gives::Truth),
                None => cx.expression(&path, &text, Gives::Truth),
            })
            .transpose()
        };
        let text = allow.as_deref().map(Arc::from);
        let (allow, deny) = (compile("allow", allow)?.zip(text), compile("deny", deny)?);
        Ok(Self { methods, allow, deny })
    }
}

impl Judgement<'_> {
    /// Those rules that look at no message.
    pub(crate) fn by_head(&self, seen: &Seen<'_>) -> Result<(), Denied> {
        self.judge(seen, |rule| !reads_messages(rule))?;
        // Without any that allows, what messages say changes nothing.
        self.allow.map(drop).ok_or(Denied::NotAllowed)
    }

    /// Those that look at messages.
    pub(crate) fn by_message(&self, seen: &Seen<'_>) -> Result<(), Denied> {
        self.judge(seen, reads_messages)
    }

    /// Whether there is one that looks at messages.
    pub(crate) fn reads_messages(&self) -> bool {
        self.allow_by_message().is_some() || self.denies().any(reads_messages)
    }

    /// The text of what must hold of messages, where it takes one to be allowed.
    pub(crate) fn allow_by_message(&self) -> Option<&Arc<str>> {
        self.allow.filter(|(allow, _)| reads_messages(allow)).map(|(_, text)| text)
    }

    fn judge(&self, seen: &Seen<'_>, concerned: impl Fn(&Arc<dyn Expression>) -> bool) -> Result<(), Denied> {
        for deny in self.denies().filter(|deny| concerned(deny)) {
            if deny.may_hold(seen)? {
                return Err(Denied::Refused);
            }
        }
        match self.allow.map(|(allow, _)| allow).filter(|allow| concerned(allow)) {
            Some(allow) if !allow.holds(seen)? => Err(Denied::NotAllowed),
            _ => Ok(()),
        }
    }

    fn denies(&self) -> impl Iterator<Item = &Arc<dyn Expression>> {
        self.rules.matching(self.service, self.method).filter_map(|rule| rule.deny.as_ref())
    }
}

fn reads_messages(expression: &Arc<dyn Expression>) -> bool {
    expression.reads().request == Depth::Bodies
}
