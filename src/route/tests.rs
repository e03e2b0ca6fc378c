use fields::{Method, RequestHead};

use super::{AuthorityPattern, HeaderMatch, HeaderRegex, HeaderTest, Own, RouteMatch, Router, ServicePattern};

fn rule(authority: &str, service: &str, method: &str, headers: &[(&str, HeaderTest)]) -> RouteMatch {
    RouteMatch {
        authority: (!authority.is_empty()).then(|| authority.parse().unwrap()),
        service: (!service.is_empty()).then(|| service.parse().unwrap()),
        method: (!method.is_empty()).then(|| method.into()),
        headers: headers.iter().map(|(name, test)| HeaderMatch { name: (*name).into(), test: test.clone() }).collect(),
        when: None,
    }
}

fn head(headers: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::new(Method::Post, "/x.Y/Z", "h", (4, 64));
    for (name, value) in headers {
        head.fields.push(name, value.as_bytes());
    }
    head
}

fn find<'a, T>(router: &'a Router<T>, head: &RequestHead, host: &str, service: &str, method: &str) -> Option<&'a T> {
    router.candidates(head, host, service, method).next().and_then(|place| router.get(place))
}

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let rules = [
        rule("", "", "", &[]),
        rule("", "a.*", "", &[]),
        rule("", "a.b.*", "", &[]),
        rule("", "a.b.C", "", &[]),
        rule("", "a.b.C", "", &[("x", HeaderTest::Present)]),
        rule("", "a.b.C", "M", &[]),
        rule("*.com", "", "", &[]),
        rule("*.example.com", "", "", &[]),
        rule("one.example.com", "", "", &[]),
    ];
    let cases = [
        ("h", "z.Z", "M", 0),
        ("h", "a.Z", "M", 1),
        ("h", "a.b.Z", "M", 2),
        ("h", "a.b.C", "N", 3),
        ("h", "a.b.C", "M", 5),
        ("two.com", "a.b.C", "M", 6),
        ("TWO.Example.com", "a.b.C", "M", 7),
        ("one.example.com", "a.b.C", "M", 8),
        (".com", "z.Z", "M", 0),
    ];
    for turn in 0..rules.len() {
        let mut routes: Vec<_> = rules.iter().cloned().zip(0..).collect();
        routes.rotate_left(turn);
        let router = Router::new(routes);
        for (host, service, method, expected) in cases {
            assert_eq!(find(&router, &head(&[]), host, service, method), Some(&expected), "{host} {service} {method}");
        }
        assert_eq!(find(&router, &head(&[("x", "")]), "h", "a.b.C", "N"), Some(&4));
    }
}

#[test]
fn a_method_outranks_a_service() {
    let router = Router::new(vec![(rule("", "a.B", "", &[]), 1), (rule("", "", "M", &[]), 2)]);
    assert_eq!(find(&router, &head(&[]), "h", "a.B", "M"), Some(&2));
    assert_eq!(find(&router, &head(&[]), "h", "a.B", "N"), Some(&1));
    assert_eq!(find(&router, &head(&[]), "h", "z.Z", "N"), None);
}

#[test]
fn headers_match_some_value() {
    let regex = HeaderTest::Regex("a|b+".parse().unwrap());
    for (test, good, bad) in [
        (HeaderTest::Exact("1".into()), "1", "11"),
        (HeaderTest::Prefix("ab".into()), "abc", "xab"),
        (regex, "bb", "xbb"),
    ] {
        let router = Router::new(vec![(rule("", "", "", &[("k", test)]), ())]);
        assert!(find(&router, &head(&[("k", "other"), ("k", good)]), "h", "a.B", "M").is_some());
        assert!(find(&router, &head(&[("k", bad)]), "h", "a.B", "M").is_none());
        assert!(find(&router, &head(&[]), "h", "a.B", "M").is_none());
    }
    assert!("(".parse::<HeaderRegex>().is_err());
}

#[test]
fn equal_routes_keep_the_order_of_the_file() {
    let one = rule("", "a.B", "", &[("k", HeaderTest::Exact("1".into()))]);
    let two = rule("", "a.B", "", &[("l", HeaderTest::Exact("1".into()))]);
    let both = head(&[("k", "1"), ("l", "1")]);
    assert_eq!(find(&Router::new(vec![(one.clone(), 1), (two.clone(), 2)]), &both, "h", "a.B", "M"), Some(&1));
    assert_eq!(find(&Router::new(vec![(two, 2), (one, 1)]), &both, "h", "a.B", "M"), Some(&2));
}

#[test]
fn patterns_that_are_none_are_refused() {
    for bad in ["", "*", ".*", "a..b", "a.b.", "1a.B", "a.*.b", "a b", "a/b"] {
        assert!(bad.parse::<ServicePattern>().is_err(), "{bad}");
    }
    for bad in ["", "*", "*.", "a:1", ".a", "a.", "*a.b", "a.*.b", "a b"] {
        assert!(bad.parse::<AuthorityPattern>().is_err(), "{bad}");
    }
    assert_eq!("*.B.c".parse::<AuthorityPattern>().map(|p| p.to_string()), Ok("*.b.c".to_owned()));
}

#[test]
fn own_services_win_over_all_routes_that_do_not_name_them() {
    const HEALTH: &str = "grpc.health.v1.Health";
    let own = || vec![Own { service: HEALTH, family: "grpc.health.", leads: 0 }];
    let host = "one.example.com";
    let wins = |rules: &[RouteMatch]| {
        let router = Router::with(rules.iter().cloned().zip(1..).collect(), own());
        let found = find(&router, &head(&[("x", "1")]), host, HEALTH, "Check").copied();
        let first = router.of_service(HEALTH).next().map(|(_, leads)| *leads);
        // All conditions of these rules are met.
        assert_eq!(found, first, "{rules:?}");
        found
    };
    for loses in [
        rule("", "", "", &[]),
        rule(host, "", "", &[]),
        rule("", "", "Check", &[]),
        rule("", "", "", &[("x", HeaderTest::Present)]),
        rule(host, "grpc.*", "Check", &[]),
        rule("", "grpc.health.v1.Other", "", &[]),
        rule("", "grpc.healthy.*", "", &[]),
    ] {
        assert_eq!(wins(std::slice::from_ref(&loses)), Some(0), "{loses}");
    }
    for names in [
        rule("", HEALTH, "", &[]),
        rule("", "grpc.health.*", "", &[]),
        rule("", "grpc.health.v1.*", "", &[]),
        rule(host, HEALTH, "Check", &[("x", HeaderTest::Present)]),
    ] {
        assert_eq!(wins(&[rule(host, "", "", &[]), names.clone()]), Some(2), "{names}");
    }
    let picky = rule("", HEALTH, "", &[("y", HeaderTest::Present)]);
    let router = Router::with(vec![(rule("", "", "", &[]), 1), (picky, 2)], own());
    assert_eq!(find(&router, &head(&[("y", "1")]), "h", HEALTH, "Check"), Some(&2));
    assert_eq!(find(&router, &head(&[]), "h", HEALTH, "Check"), Some(&0));
    assert_eq!(find(&router, &head(&[]), "h", "a.B", "Check"), Some(&1));
}
