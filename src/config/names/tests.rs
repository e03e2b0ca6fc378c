use super::*;
use crate::route::ServicePattern;

/// Each text reads as the type and prints the same again.
fn reads<T: FromStr<Err = String> + fmt::Display>(texts: &[&str]) {
    for text in texts {
        assert_eq!(text.parse::<T>().unwrap().to_string(), *text);
    }
}

/// Each text is refused, with these words.
fn refuses<T: FromStr<Err = String>>(cases: &[(&str, &str)]) {
    for (text, words) in cases {
        let error = text.parse::<T>().err().unwrap_or_else(|| panic!("{text} is taken"));
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn names_are_short_and_plain() {
    reads::<Name>(&["a", "9", "agents-1.blue_green", &"x".repeat(63)]);
    refuses::<Name>(&[
        ("", "up to 63"),
        ("-a", "up to 63"),
        ("a/b", "up to 63"),
        (&"x".repeat(64), "up to 63"),
        ("é", ""),
    ]);
}

#[test]
fn services_are_exact_or_a_package() {
    assert_eq!("a.B".parse(), Ok(ServicePattern::Exact("a.B".into())));
    assert_eq!("a.b.*".parse(), Ok(ServicePattern::Package("a.b.".into())));
    reads::<ServicePattern>(&["_", "A", "bindu.grpc.AgentHandler", "bindu.*"]);
    refuses::<ServicePattern>(&[
        ("*", "`pkg.*`"),
        ("a*", "`pkg.*`"),
        ("a.*.b", "`pkg.*`"),
        ("/a", "`pkg.*`"),
        ("1a", "`pkg.*`"),
        ("a..b", "`pkg.*`"),
        ("a.b.", "`pkg.*`"),
    ]);
}

#[test]
fn methods_stand_alone() {
    reads::<MethodName>(&["HandleMessages", "_x.y"]);
    refuses::<MethodName>(&[("a.B/C", "`method: C`"), ("*", "leave it out"), ("a-b", "leave it out")]);
}

#[test]
fn authorities_have_no_port() {
    assert_eq!("API.Example.com".parse(), Ok(AuthorityPattern::Exact("api.example.com".into())));
    assert_eq!("*.Example.com".parse(), Ok(AuthorityPattern::Suffix(".example.com".into())));
    refuses::<AuthorityPattern>(&[
        ("a:80", "port"),
        ("*", "suffix"),
        ("*.", "suffix"),
        ("a.*", "suffix"),
        ("a..b", "suffix"),
    ]);
}

#[test]
fn headers_are_lower_case_tokens() {
    reads::<HeaderName>(&["x-canary", "a", "x_y.z"]);
    refuses::<HeaderName>(&[
        ("X-A", "`x-a`"),
        (":path", "`method`"),
        ("a b", "header name"),
        ("a:", "header name"),
        ("é", ""),
    ]);
}

#[test]
fn regexes_match_whole_values() {
    let regex: HeaderRegex = "a|b".parse().unwrap();
    assert!(regex.fits("a") && regex.fits("b"));
    assert!(!regex.fits("ab") && !regex.fits("xa"));
    reads::<HeaderRegex>(&["a|b", "(a)$", "^(?:x)$"]);
    // Compiled only inside our brackets, this would match anything that starts with a.
    refuses::<HeaderRegex>(&[("a)|(?:.*", "unopened group"), ("a{999}{999}", "too large"), ("", "present")]);
}

#[test]
fn callbacks_hold_the_agent() {
    let pattern: CallbackPattern = "{agent}.Agents.local:3790".parse().unwrap();
    assert_eq!(pattern, CallbackPattern { suffix: ".agents.local".to_owned(), port: 3790 });
    reads::<CallbackPattern>(&["{agent}.localhost:1"]);
    refuses::<CallbackPattern>(&[
        ("localhost:1", "must hold `{agent}`"),
        ("x-{agent}.localhost:1", "must start with"),
        ("{agent}:1", "must start with"),
        ("{agent}.127.0.0.1:1", "an IP address"),
        ("{agent}.{agent}.localhost:1", "host name"),
        ("{agent}.localhost", "takes a port"),
        ("{agent}.localhost:0", "port 0"),
    ]);
}

#[test]
fn agent_patterns_have_a_label_to_fill() {
    reads::<AgentPattern>(&["*.agents.example.com"]);
    refuses::<AgentPattern>(&[("agents.example.com", "names no agent"), ("*.a:80", "port"), ("*", "pattern such as")]);
}
