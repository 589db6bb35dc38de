//! Everything that is wrong with rules is told at once, by rule and by field.

use sensor::filter::{
    BuiltIn, Conditions, HeaderCondition, HeaderTest, Kind, Pattern, RuleSettings, Rules, Sampling, Settings,
};

#[test]
fn everything_wrong_is_told_at_once() {
    let glob = |text: &str| vec![Pattern::Glob(text.to_owned())];
    let text = |text: &str| vec![text.to_owned()];
    let broken = Conditions {
        host: glob("https://api.example"),
        path: glob("admin"),
        method: glob("get"),
        status: text("6yy"),
        content_type: glob("text/html; charset=utf-8"),
        port: text("65536"),
        vni: text("prod"),
        vlan: text("9-1"),
        request_headers: vec![HeaderCondition { name: "a:".to_owned(), test: HeaderTest::Present }],
        response_headers: vec![HeaderCondition {
            name: "a".to_owned(),
            test: HeaderTest::Value(vec![Pattern::Regex("(".to_owned())]),
        }],
        ..Conditions::default()
    };
    let rule =
        |name: &str, kind, conditions, sampling| RuleSettings { name: name.to_owned(), kind, conditions, sampling };
    let settings = Settings {
        rules: vec![
            rule("one", Kind::Exclude, broken, Some(Sampling::Rate(0.5))),
            rule("one", Kind::Include, Conditions::default(), Some(Sampling::Rate(2.0))),
            rule("no name", Kind::Allow, Conditions { host: glob("a.example:80"), ..Conditions::default() }, None),
            rule("no_include_rule", Kind::Allow, Conditions::default(), Some(Sampling::PerMinute(0))),
            rule("static_assets", Kind::Allow, Conditions::default(), None),
        ],
        built_in: vec![BuiltIn::StaticAssets],
        vni_names: [(1, "test".to_owned())].into(),
        ..Settings::default()
    };
    let problems = Rules::compile(&settings).unwrap_err();
    let told: Vec<_> = problems.iter().map(|problem| (problem.rule, problem.field)).collect();
    let fields = [
        "host",
        "path",
        "method",
        "content_type",
        "port",
        "status",
        "vni",
        "vlan",
        "request_headers",
        "response_headers",
        "sampling",
    ];
    let mut expected: Vec<_> = fields.iter().map(|field| (Some(0), *field)).collect();
    expected.extend([
        (Some(1), "name"),
        (Some(1), "sampling"),
        (Some(2), "name"),
        (Some(2), "host"),
        (Some(3), "name"),
        (Some(3), "sampling"),
        (None, "name"),
    ]);
    assert_eq!(told, expected, "{problems:#?}");
    assert_eq!(
        problems[1].to_string(),
        "rule `one`, path: `admin` matches no path, because paths begin with `/`: write `/admin` or `glob:*admin`"
    );
    assert_eq!(
        problems[6].to_string(),
        "rule `one`, vni: `prod` is neither a number up to 4294967295, nor a range such as `1-99`, nor a name: test"
    );
}

#[test]
fn there_is_a_most_of_rules() {
    let rule = |n: usize| RuleSettings {
        name: format!("r{n}"),
        kind: Kind::Exclude,
        conditions: Conditions::default(),
        sampling: None,
    };
    let settings = |most| Settings { rules: (0..most).map(rule).collect(), ..Settings::default() };
    assert!(Rules::compile(&settings(512)).is_ok());
    assert!(Rules::compile(&settings(513)).unwrap_err()[0].message.contains("the most is 512"));
}

/// What is slow to look for is bounded over all rules: else each request could take as long as their author likes.
#[test]
fn expressions_that_are_too_much_together_are_told_with_a_rule() {
    let rule = |n: usize| {
        let pattern = Pattern::Regex(format!("(a|b\\w{{1,90}})[a-f]{{1,90}}{n}"));
        let header = HeaderCondition { name: "user-agent".to_owned(), test: HeaderTest::Value(vec![pattern.clone()]) };
        let conditions = match n % 2 {
            0 => Conditions { path: vec![pattern], ..Conditions::default() },
            _ => Conditions { request_headers: vec![header], ..Conditions::default() },
        };
        RuleSettings { name: format!("r{n}"), kind: Kind::Exclude, conditions, sampling: None }
    };
    let compile =
        |count: usize| Rules::compile(&Settings { rules: (0..count).map(rule).collect(), ..Settings::default() });
    assert_eq!(compile(40).unwrap().len(), 40);
    let problems = compile(400).unwrap_err();
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    let place = problem.rule.unwrap();
    assert_eq!(problem.name, format!("r{place}"));
    assert_eq!(problem.field, if place % 2 == 0 { "path" } else { "request_headers" });
    assert!(problem.message.contains("too large together"), "{problem}");
}
