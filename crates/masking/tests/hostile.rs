//! Hostile content: nothing panics, time is linear, memory and output are bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use masking::{Action, Detector, MAX_FINDINGS, Masked, MaskedBody, PathRule, Pattern, Settings, Side};
use proptest::prelude::*;

const TYPES: &[&str] = &[
    "application/json",
    "text/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "text/plain",
    "application/json; charset=utf-16",
    "text/plain; charset=shift_jis",
    "text/plain; charset=iso-2022-jp",
    "application/octet-stream",
    "",
];

fn everything(action: Action) -> Settings {
    let mut settings = all(action);
    settings.patterns.push(Pattern { name: "BOMB".into(), regex: ".*[^A-Z]|[A-Z]{2}".into(), action });
    settings.patterns.push(Pattern { name: "WHOLE".into(), regex: "^[0-9]{5}$".into(), action });
    for path in ["$.a[*].b", "$..c..d", "$.*.*"] {
        settings.paths.push(PathRule { name: "PATH".into(), path: path.into(), action });
    }
    settings
}

/// Masks a body under every content type; the longest output.
fn longest(settings: &Settings, bytes: &[u8]) -> usize {
    let mut masker = masker(settings);
    let mut longest = 0;
    for content_type in TYPES {
        for cut in [false, true] {
            masker.begin();
            if let MaskedBody::Replaced(out) = masker.body(Side::Request, Some(content_type.as_bytes()), bytes, cut) {
                longest = longest.max(out.len());
            }
            assert!(masker.findings().count() <= MAX_FINDINGS && masker.findings().count() == masker.listed());
            assert!(masker.found() >= masker.listed() as u64);
            assert!(masker.findings().all(|finding| finding.field.len() <= 256));
        }
    }
    longest
}

/// The work for an input twice as long is about twice as much. Counted in output and by the test's own end: a quadratic
/// reader would take hours for these.
#[test]
fn pathological_bodies_end() {
    let n = 100_000;
    let settings = all(Action::Hash);
    let bodies: Vec<Vec<u8>> = vec![
        b"[".repeat(n),
        b"{\"a\":".repeat(n / 5),
        [b"[".repeat(n / 2), b"]".repeat(n / 2)].concat(),
        b"\"".repeat(n),
        b"\\".repeat(n),
        b"\"\\u".repeat(n / 3),
        b"\\u0031".repeat(n / 6),
        b"%25".repeat(n / 3),
        b"&amp;".repeat(n / 5),
        b"<a>".repeat(n / 3),
        b"<".repeat(n),
        b"<a b=".repeat(n / 5),
        b"<a x=\"<a\" ".repeat(n / 9),
        b"<a x=\"".repeat(n / 6),
        b"eyJ-".repeat(n / 4),
        b"eyAi-".repeat(n / 5),
        b"sk-".repeat(n / 3),
        b"AKIAIOSFODNN7EXAMPLE\\/".repeat(n / 22),
        b"http://a:b".repeat(n / 10),
        b"://".repeat(n / 3),
        b"<!--".repeat(n / 4),
        b"</a".repeat(n / 3),
        b"--b\r\n".repeat(n / 5),
        b"--b\r\n\r\n--".repeat(n / 9),
        b"--b\r\nContent-Disposition: form-data; name=pin\r\n\r\n".repeat(n / 50),
        b"\r\n--b\r\nContent-Type: multipart/x; boundary=c".repeat(n / 45),
        (0..n / 20).flat_map(|i| format!("--{i:07}\nContent-A: b\n").into_bytes()).collect(),
        [b"--b\r\nContent-Disposition: x".to_vec(), b"\r\n\t; name=pin; name*1=a".repeat(n / 24)].concat(),
        [b"--b\r\n".to_vec(), b"a:\r\n ".repeat(n / 6)].concat(),
        [b"--b\nContent-Transfer-Encoding: base64\n\n".to_vec(), b"LS1i=CkNvbnRlbnQtQTo=\n".repeat(n / 21)].concat(),
        b"--b\nContent-Transfer-Encoding: quoted-printable\n\n=2D=2Db=\n=0ACon=\n".repeat(n / 66),
        b"HTTP/1.1 200\r\nContent-Type: multipart/x; boundary=y\r\n\r\n".repeat(n / 52),
        b"HTTP/1.1 200\r\nContent-Type: message/http\r\n\r\n ".repeat(n / 42),
        b"HTTP/1.1 ".repeat(n / 9),
        b"-".repeat(n),
        b"\r--".repeat(n / 3),
        b"a[b".repeat(n / 3),
        b"a[pin]=".repeat(n / 7),
        b"code=&".repeat(n / 6),
        b"a=".repeat(n / 2),
        b"password=".repeat(n / 9),
        b"password:\"".repeat(n / 10),
        b"@".repeat(n),
        b"a@".repeat(n / 2),
        b"a@a.".repeat(n / 4),
        b":".repeat(n),
        b"a:".repeat(n / 2),
        b"::1 ".repeat(n / 4),
        b"1".repeat(n),
        b"1 ".repeat(n / 2),
        b"1111-".repeat(n / 5),
        b"4111 1111 1111 1111 ".repeat(n / 20),
        b"DE89".repeat(n / 4),
        b"+1 ".repeat(n / 3),
        b"1.".repeat(n / 2),
        b"eyJ".repeat(n / 3),
        b"eyJhbGciOiJ.eyJ.".repeat(n / 16),
        b"AKIA".repeat(n / 4),
        b"AKIAAAAAAAAAAAAAAAAA ".repeat(n / 21),
        b"{\"k\":\"AKIAIOSFODNN7EXAMPLE\",\"s\":\"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\"},".repeat(n / 76),
        b"4111\xc2\xa0".repeat(n / 6),
        b"4111.".repeat(n / 5),
        b"ewog.".repeat(n / 5),
        b"-----BEGIN".repeat(n / 10),
        b"-----BEGIN PRIVATE KEY-----".repeat(n / 27),
        b"\0".repeat(n),
        b"a\0".repeat(n / 2),
        b"\0a".repeat(n / 2),
        b"a\0\0\0".repeat(n / 4),
        b"://a@".repeat(n / 5),
        b"\xff\xfe".repeat(n / 2),
        b"\x1b$B".repeat(n / 3),
        b"\x81".repeat(n),
        b"{\"a\":1}\n".repeat(n / 8),
        b" ".repeat(n),
        b"{\"name\":\"pin\",\"value\":".repeat(n / 22),
        b"{\"value\":{\"name\":\"pin\",\"value\":[".repeat(n / 33),
        [b"{\"name\":\"pin\",".to_vec(), b"\"value\":1,".repeat(n / 10)].concat(),
        [b"{".to_vec(), b"\"name\":\"pin\",".repeat(n / 13), b"\"v\":1".to_vec()].concat(),
        [b"{\"name\":\"pin\",\"v\":\"".to_vec(), b"\\\":\\\"".repeat(n / 5)].concat(),
        b"\"name\":\"".repeat(n / 8),
        [b"\"name\"".to_vec(), b" ".repeat(n), b":".repeat(n)].concat(),
    ];
    for body in bodies {
        let out = longest(&settings, &body);
        assert!(out <= 32 * body.len(), "{:?}: {out}", String::from_utf8_lossy(&body[..10]));
    }
}

/// What nothing ends is not walked to the end of the text from each place: by default, too, and at sizes that a body limit may
/// be raised to. Walked so, these would take minutes.
#[test]
fn nothing_is_walked_from_every_place() {
    let settings = Settings { key: vec![7; 32], ..Settings::default() };
    let mut masker = masker(&settings);
    for unit in [
        "“password”:",
        "«pin»:",
        "“pin”: ",
        "“pin”:\"",
        "“password”:“a",
        "«pin»:'«a",
        ":\\u002f\\u002f",
        "a:\\x2f\\x2fb",
        "a:\\/\\u002f",
        "pin:a+",
    ] {
        let body = unit.as_bytes().repeat((512 << 10) / unit.len());
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            masker.begin();
            masker.body(Side::Request, Some(content_type.as_bytes()), &body, false);
            let is_named = !unit.contains('\\');
            assert_eq!(masker.found() > 0, is_named, "{unit}");
        }
    }
}

/// What looks like the beginning of JSON in a script, of a string or of a comment, is not walked to the end from each place.
#[test]
fn scripts_are_walked_once() {
    let path = |path: &str| PathRule { name: "PATH".into(), path: path.into(), action: Action::Hash };
    let paths = ["$.a[*].b", "$..c..d", "$.*.*", "$..b"].map(path).into();
    let mut masker = masker(&Settings { key: vec![7; 32], paths, ..Settings::default() });
    for unit in [
        "{",
        "[",
        "(",
        "[,",
        "(\"",
        "('",
        "(`\n'\"",
        "/*",
        "/*{",
        "{a:\"\\",
        "{a:'\\'",
        ":\"\\\",",
        "{\"b\":",
        "{b:[(",
        "[{b:'",
        "{\"b\":/*",
        "{b:\"\n",
        "[\"\n'`",
        "({}),",
        "a ",
        "{'a':[{",
        "}{",
        ")]}'",
        "{\"\\u0062\":1,",
        "cb({\"b\":1},",
        "{b:{c:{d:1,",
        "/*x*/",
        "a/*",
        "a/**/",
        "//\n",
        "//",
        "a //",
        "a //\n",
        "a #\n",
        " #",
        "\"b\"//:",
        "\"b\"/*\n//*/",
        "=/[",
        "/x/",
        "=/'/",
        ":/[/",
        "[a]",
        "{[a]/*",
        "{[b]:",
        "{[[b],",
        "\ndata:",
        "\ndata:{",
        "?{b:",
        "{x?{b:1}:",
        " '\n",
        " \"{",
        "{b:/*\"",
        "{b://\"\n",
    ] {
        for front in ["x(", "x({\"b\":[", "{\"a\":x "] {
            let body = [front.as_bytes(), &unit.as_bytes().repeat((256 << 10) / unit.len())].concat();
            for content_type in ["application/json", "text/javascript"] {
                masker.begin();
                let body = masker.body(Side::Request, Some(content_type.as_bytes()), &body, true);
                assert!(!matches!(body, MaskedBody::Dropped), "{unit}");
            }
        }
    }
}

/// Keys are read once, however long they are and whatever is below them: for each of these values anew, it would take minutes.
#[test]
fn keys_are_read_once() {
    let path = |path: &str| PathRule { name: "PATH".into(), path: path.into(), action: Action::Redact };
    let paths = ["$..number", "$..b[*]", "$.*..[3].c", "$..*..c"].map(path).into();
    let mut masker = masker(&Settings { key: vec![7; 32], paths, ..Settings::default() });
    let n = 96 << 10;
    let long = "a".repeat(n);
    for key in [long.as_str(), &format!("\\n{long}"), &"\\u0061".repeat(n / 6)] {
        for (front, unit, behind, count) in [
            ("[", "1,", "1],\"b\":[1]}", 1),
            ("{\"b\":[", "1,", "1]}}", n / 2 + 1),
            ("{", "\"x\":1,", "\"b\":[1]}}", 1),
            ("[[[{", "\"number\":1,", "\"b\":[1]}]]]}", n / 11 + 1),
            ("[", "[],", "{\"b\":[1]}]}", 1),
            ("[", "{},", "{\"b\":[1]}]}", 1),
        ] {
            let json = format!("{{\"{key}\":{front}{}{behind}", unit.repeat(n / unit.len()));
            for (content_type, front) in [("application/json", ""), ("application/json", "x="), ("text/plain", "cb(")] {
                masker.begin();
                let body = format!("{front}{json}");
                masker.body(Side::Request, Some(content_type.as_bytes()), body.as_bytes(), false);
                assert_eq!(masker.found(), count as u64, "{content_type} {front} {unit}");
            }
        }
    }
    // Of many levels, each is.
    let levels = format!("{{\"{}\":", "a".repeat(2 << 10)).repeat(256);
    for front in ["", "x="] {
        for unit in ["1,", "[],", "{},"] {
            masker.begin();
            let body = format!("{front}{levels}[{}1", unit.repeat(n / unit.len()));
            masker.body(Side::Request, Some(b"application/json"), body.as_bytes(), false);
            assert_eq!(masker.found(), 0, "{front} {unit}");
        }
    }
}

/// Nor are typeset quotes, and what is in them.
#[test]
fn typeset_quotes_are_walked_once() {
    let settings = Settings { key: vec![7; 32], ..Settings::default() };
    for settings in [settings, all(Action::Hash)] {
        let mut masker = masker(&settings);
        for unit in [
            "“",
            "”",
            "«",
            "»",
            "’",
            "{“",
            "{“name”:",
            "{“name”:“pin”,",
            "{“name”:“pin”,“v”:“",
            "“pin”:““",
            "“pin”:»",
            "pin=›",
            "pin:›x",
            "pin:›x\n",
            "pin=’s ",
            "‘pin’:‘",
            "{“value”:",
            "{\"value\":“",
            "\"{“",
            "\"“{",
            "\"“{\\\"",
            "pin:[“",
            "{“pin”:{“",
            "&ldquo;",
            "&ldquo;pin&rdquo;:",
            "{&ldquo;name&rdquo;:",
            "\\u201d:",
            "\\u201cvalue\\u201d:",
            "name\\xbb:",
            "＂:",
            "‘a",
            "“pin”:‚’s",
            "«\u{a0}»:",
            "“name”:\\",
            "&#0",
            "&#x00",
            "&#0000000061;",
            "pin&#000000000000000061;a",
            "api&nbsp;",
            "&nbsp;key:",
            "\u{a0}",
            "\u{a0}:",
            "a\u{a0}pin:",
            ":&#00",
        ] {
            let unit = unit.as_bytes();
            let body = [b"{\"a\":1,", unit, b"{", &unit.repeat((256 << 10) / unit.len())].concat();
            for content_type in ["application/json", "text/plain", "text/html", "application/x-www-form-urlencoded"] {
                masker.begin();
                let body = masker.body(Side::Request, Some(content_type.as_bytes()), &body, true);
                assert!(!matches!(body, MaskedBody::Dropped));
            }
        }
    }
}

/// Nor is a string in which objects in typeset quotes stand, though quotes are escaped in it.
#[test]
fn strings_with_typeset_objects_are_walked_into_once() {
    let settings = Settings { key: vec![7; 32], ..Settings::default() };
    for settings in [settings, all(Action::Hash)] {
        let mut masker = masker(&settings);
        for unit in ["{“\\\"", "{“ x\\\"{“a", "\\\"{“a", "{“x”:\\\"", "{“\"", "\\{“\\\\"] {
            let front = "a {“name”:“password”,“value”:“x”} {\"name\":\"password\",\"value\":\"hunter22\"} \"";
            let body = format!("{front}{}\"", unit.repeat((256 << 10) / unit.len()));
            let masked = masker.body(Side::Request, Some(b"text/plain"), body.as_bytes(), false);
            let MaskedBody::Replaced(masked) = masked else { panic!("{unit}") };
            assert!(!masked.windows(8).any(|window| window == b"hunter22"), "{unit}");
        }
    }
}

/// The same for heads and targets.
#[test]
fn pathological_heads_end() {
    let n = 200_000;
    let mut masker = masker(&everything(Action::Hash));
    let pieces = [
        "/",
        "//",
        "//a:b@",
        "://",
        "\\\\@",
        "@",
        "a:",
        "/a:b@c",
        "; ",
        ";a",
        ",a=",
        ", ",
        "Path=/,",
        ";Path=/, ",
        "\r",
        "\r\n ",
        "\r\nAuthorization",
        "\r\n a:b",
        "bearer.",
        "a-",
        "a.b:",
        "eyJ,",
        "Negotiate ",
        "Negotiate a,",
        "Bearer ",
        "code=&state=",
        "?",
        "#",
        "[pin]",
        "%5B",
        "'",
        "o'a",
    ];
    for piece in pieces {
        let text = piece.repeat(n / piece.len());
        let text = text.as_bytes();
        let names = [
            "set-cookie",
            "cookie",
            "location",
            "host",
            "accept",
            "x-any",
            "www-authenticate",
            "sec-websocket-protocol",
            "authorization",
            "",
        ];
        for name in names {
            let len = masker.header(Side::Request, name.as_bytes(), text).or(text).len();
            assert!(len <= 32 * text.len(), "{name} {piece}: {len}");
        }
        assert!(masker.target(text).or(text).len() <= 32 * text.len(), "{piece}");
    }
}

#[test]
fn secrets_below_a_hundred_thousand_levels_are_masked() {
    let deep = format!(
        "{}{{\"password\":\"hunter22\",\"c\":\"4111 1111 1111 1111\"}}{}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let mut masker = masker(&all(Action::Redact));
    let MaskedBody::Replaced(out) = masker.body(Side::Request, Some(b"application/json"), deep.as_bytes(), false)
    else {
        panic!()
    };
    let out = String::from_utf8_lossy(out);
    assert!(!out.contains("hunter22") && !out.contains("4111"));
    assert_eq!(out.matches(']').count(), 100_000);
}

/// A million pairs in one body, in both orders and with members told twice: each is masked, in time linear in them.
#[test]
fn a_million_named_members_are_masked() {
    let pairs = r#"{"name":"pin","value":5550122,"value":5550122},{"v":5550122,"n":"q","n":"pin"},"#;
    let text = format!("[{}{{\"name\":\"page\",\"value\":42}}]", pairs.repeat(500_000));
    let mut masker = credentials();
    let MaskedBody::Replaced(out) = masker.body(Side::Request, Some(b"application/json"), text.as_bytes(), false)
    else {
        panic!()
    };
    assert!(memchr::memmem::find(out, b"5550122").is_none());
    assert!(out.ends_with(b"{\"name\":\"page\",\"value\":42}]"));
    assert_eq!(masker.found(), 1_500_000);
}

#[test]
fn expressions_made_to_be_slow_end() {
    let mut settings = everything(Action::Redact);
    settings.patterns.push(Pattern { name: "X".into(), regex: "(a+)+b|(x*x*)*y".into(), action: Action::Redact });
    for body in [vec![b'a'; 20_000], vec![b'A'; 20_000], vec![b'x'; 20_000], b"aA1 ".repeat(5_000)] {
        assert!(longest(&settings, &body) <= 32 * body.len());
    }
}

/// Containers under a secret's name are masked whole, however the survey got to know of them.
#[test]
fn containers_under_a_secret_name() {
    let mut masker = credentials();
    for text in [
        r#"{"password":["one-secret",{"deep":"two-secret"}],"x":1}"#,
        r#"{"secret" : {"a":12345678,"b":["three-secret"]}}"#,
        r#"{"p\u0061ssword":{"a":"one-secret"}}"#,
        "<a><password><b>one-secret</b></password></a>",
        "<input value=\"one-secret\" name='password'/>",
        "<entry key='api_key'>one-secret</entry>",
    ] {
        let MaskedBody::Replaced(out) = masker.body(Side::Request, None, text.as_bytes(), false) else {
            panic!("{text}")
        };
        let out = String::from_utf8_lossy(out);
        assert!(!out.contains("-secret") && !out.contains("12345678"), "{out}");
    }
}

/// The line of a delimiter is looked at, too.
#[test]
fn a_boundary_hides_nothing() {
    for text in [
        "--b-->4111 1111 1111 1111\r\n}",
        "x\r\n--b--4111 1111 1111 1111\r\n",
        "--4111 1111 1111 1111\r\nContent-Disposition: form-data; name=a\r\n\r\nb",
        "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c--4111 1111 1111 1111\r\n\r\nx",
    ] {
        let mut masker = masker(&everything(Action::Redact));
        let body = masker.body(Side::Request, Some(b"multipart/form-data; boundary=b"), text.as_bytes(), false);
        let MaskedBody::Replaced(out) = body else { panic!("{text}") };
        assert!(!String::from_utf8_lossy(out).contains("4111"), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn anything_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), name in ".{0,20}") {
        let settings = everything(Action::Fpe);
        prop_assert!(longest(&settings, &bytes) <= 64 * bytes.len().max(8));
        let mut masker = masker(&settings);
        let _ = masker.header(Side::Request, name.as_bytes(), &bytes).or(&bytes).len();
        let _ = masker.header(Side::Request, b"cookie", &bytes).or(&bytes).len();
        let _ = masker.header(Side::Response, b"set-cookie", &bytes).or(&bytes).len();
        let _ = masker.header(Side::Response, b"authorization", &bytes).or(&bytes).len();
        let _ = masker.header(Side::Response, b"location", &bytes).or(&bytes).len();
        let _ = masker.target(&bytes).or(&bytes).len();
    }

    #[test]
    fn anything_that_looks_like_structure_is_survived(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "{", "}", "[", "]", "\"", ":", ",", "\\", "\\u00", "31", "password", "<", ">", "/", "!--", "-->", "<![CDATA[", "&", ";", "#x3", "=",
            "%", "4", "+", "@", ".", "a", "4111 1111 1111 1111", "eyJhbGciOiJIUzI1NiJ9.eyJ", "\r\n", "--b", "\0", "é", " ", "-----BEGIN PRIVATE KEY-----",
            "null", "1e5", "::", "fe80", "DE89370400440532013000", "123-45-6789", "x@y.zz", "ssn", "?", "'",
        ]), 0..60),
        cut in any::<bool>(),
    ) {
        let text = parts.concat();
        for action in [Action::Redact, Action::KeepLast(4), Action::Fpe] {
            let mut masker = masker(&everything(action));
            for content_type in TYPES {
                let body = masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), cut);
                if let MaskedBody::Replaced(out) = body {
                    prop_assert!(memchr::memmem::find(out, b"4111 1111 1111 1111").is_none(), "{}", String::from_utf8_lossy(out));
                } else if text.contains(" 4111 1111 1111 1111 ") {
                    prop_assert!(false, "kept: {text}");
                }
            }
            let target = masker.target(text.as_bytes());
            prop_assert!(!matches!(target, Masked::Kept) || !text.contains("/4111 1111 1111 1111/"));
        }
    }
}

/// Nothing is allocated for records without secrets once the buffers have grown.
#[test]
fn clean_values_allocate_nothing() {
    let settings = Settings {
        detectors: Detector::ALL.into_iter().map(|detector| (detector, Action::Hash)).collect(),
        ..all(Action::Hash)
    };
    let mut masker = masker(&settings);
    let json = format!("[{}]", "{\"id\":4711,\"at\":\"2026-11-21T01:07:53Z\",\"remark\":\"caf\\u00e9 50% \\\"off\\\"\",\"url\":\"https://h/a%20b\"},".repeat(50) + "1");
    let xml = "<a><b c=\"1\">x &amp; y</b></a>".repeat(50);
    let mut record = |i: u32| {
        masker.begin();
        for (name, value) in
            [("host", "api.example.org"), ("user-agent", "curl/8"), ("accept", "*/*"), ("x-any", "one two")]
        {
            assert_eq!(masker.header(Side::Request, name.as_bytes(), value.as_bytes()), Masked::Kept);
        }
        assert_eq!(masker.target(b"/v1/orders/4711?page=2&q=a%20b+c"), Masked::Kept);
        assert_eq!(masker.body(Side::Request, Some(b"application/json"), json.as_bytes(), false), MaskedBody::Kept);
        assert_eq!(masker.body(Side::Request, Some(b"text/xml"), xml.as_bytes(), false), MaskedBody::Kept);
        assert_eq!(
            masker.body(Side::Request, Some(b"application/x-www-form-urlencoded"), b"a=b+c&d=%20", false),
            MaskedBody::Kept
        );
        assert_eq!(masker.body(Side::Response, None, &i.to_be_bytes(), false), MaskedBody::Kept);
    };
    record(1);
    record(2);
    let counted = allocation_counter::measure(|| record(3));
    assert_eq!(counted.count_total, 0, "allocations");
}

/// What looks like the name of a field on a line of its own is looked at, too.
#[test]
fn names_of_lines_hide_nothing() {
    for text in [
        "a\n password 4111 1111 1111 1111 : x",
        "a\r\n\"password 4111 1111 1111 1111 \":\"x\"",
        "{\"b\":\"MIIB\n-1 1111 1111\",\"password 4111 1111 1111 1111 \":\"x\"}",
    ] {
        for content in [None, Some("multipart/form-data; boundary=b"), Some("message/http"), Some("text/plain")] {
            for action in [Action::Redact, Action::KeepLast(4), Action::Hash, Action::Fpe] {
                let mut masker = masker(&everything(action));
                let head = format!("--b\r\nContent-Disposition: form-data; name=a{text}\r\n\r\nb");
                let (out, text) = match content {
                    None => {
                        (masker.header(Side::Request, b"x-any", text.as_bytes()).or(text.as_bytes()).to_vec(), text)
                    }
                    Some(kind) => match masker.body(Side::Request, Some(kind.as_bytes()), head.as_bytes(), false) {
                        MaskedBody::Replaced(out) => (out.to_vec(), head.as_str()),
                        _ => panic!("{head}"),
                    },
                };
                let out = String::from_utf8_lossy(&out);
                assert!(!out.contains("4111 1111"), "{text}\n{out}");
            }
        }
    }
}
