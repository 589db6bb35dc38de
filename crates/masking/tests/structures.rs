//! Secrets that the structure around them tells: containers of a secret's name, members and elements that name their
//! neighbours, wherever they stand: in a body, a string, a parameter, a header, a line of a log.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test fails by panicking, and bounded time is measured"
)]

use std::sync::Arc;

use masking::{MaskedBody, Masker, Policy, Settings, Side};

const SECRET: &str = "hunter22";

fn masker() -> Masker {
    Masker::new(Arc::new(Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap()))
}

/// What becomes of a value: of the target (`url`), a header (`h:NAME`), or a body of this type.
fn masked(kind: &str, text: &str) -> String {
    let mut masker = masker();
    let out = match (kind, kind.strip_prefix("h:")) {
        ("url", _) => masker.target(text.as_bytes()).or(text.as_bytes()).to_vec(),
        (_, Some(name)) => masker.header(Side::Request, name.as_bytes(), text.as_bytes()).or(text.as_bytes()).to_vec(),
        _ => match masker.body(Side::Request, Some(kind.as_bytes()), text.as_bytes(), false) {
            MaskedBody::Kept => text.as_bytes().to_vec(),
            MaskedBody::Replaced(out) => out.to_vec(),
            MaskedBody::Dropped => Vec::new(),
        },
    };
    String::from_utf8(out).unwrap()
}

fn hides(kind: &str, text: &str) {
    let out = masked(kind, text);
    assert!(!out.contains(SECRET), "{kind}: {text}\n{out}");
    assert!(out.contains("tok_"), "{kind}: {text}\n{out}");
}

/// JSON as it stands in a string of JSON, so many times.
fn in_string(json: &str, times: usize) -> String {
    (0..times).fold(json.to_owned(), |text, _| serde_json::to_string(&text).unwrap())
}

const OBJECTS: &[&str] = &[
    r#"{"password":"hunter22"}"#,
    r#"{"name":"password","value":"hunter22"}"#,
    r#"{"value":"hunter22","name":"password"}"#,
    r#"{"password":["hunter22","b"]}"#,
    r#"{"password":{"v":"hunter22"},"n":1}"#,
    r#"{"credentials":{"user":{"k":"hunter22"}}}"#,
    r#"[{"key":"api_key","value":{"a":["x","hunter22"]}}]"#,
];

const ELEMENTS: &[&str] = &[
    "<password>hunter22</password>",
    "<p:Password Type=\"x\">hunter22</p:Password>",
    "<r><name>password</name><value>hunter22</value></r>",
    "<name>password</name><value>hunter22</value>",
    "2026-11-21 <name>password</name>\n  <value>hunter22</value>\n",
    "<?xml version=\"1.0\"?>\n<key>password</key>\n<string>hunter22</string>",
    "<entry><key>password</key><value>hunter22</value></entry>",
    "<entry><value>hunter22</value><key>password</key></entry>",
    "<item><key xsi:type=\"xsd:string\">password</key><value xsi:type=\"xsd:string\">hunter22</value></item>",
    "<member><name>password</name><value><string>hunter22</string></value></member>",
    "<dict><key>user</key><string>bob</string><key>password</key><string>hunter22</string></dict>",
    "<entry key=\"password\">hunter22</entry>",
    "<property name=\"password\" value=\"hunter22\"/>",
    "<property value=\"hunter22\" name=\"password\"/>",
    "<credentials><user id=\"hunter22\"/></credentials>",
    "<credentials><!-- hunter22 --><u>x</u></credentials>",
];

#[test]
fn json_is_read_wherever_it_stands() {
    for json in OBJECTS {
        hides("application/json", json);
        for times in 1..=3 {
            hides("application/json", &format!("{{\"payload\":{}}}", in_string(json, times)));
            hides("application/json", &format!("{{\"a\\u00e9\\n\":\"\\\"\",\"payload\":{}}}", in_string(json, times)));
        }
        for (front, behind) in [
            ("data: ", "\n\n"),
            ("cb(", ");"),
            (")]}',\n", ""),
            ("/**/ cb(", ")"),
            ("12:30 INFO got ", " from me"),
            ("5\" disk\n", ""),
        ] {
            for kind in ["text/plain", "application/json", "text/event-stream", "application/javascript"] {
                // A string of JSON begins there.
                if kind != "application/json" || !front.starts_with('5') {
                    hides(kind, &format!("{front}{json}{behind}"));
                }
            }
        }
        let percent: String = json.bytes().map(|byte| format!("%{byte:02X}")).collect();
        hides("application/x-www-form-urlencoded", &format!("a=1&data={percent}"));
        hides("url", &format!("/v1/a?data={percent}&b=2"));
        hides("url", &format!("/v1/a?data={}", percent.replace('%', "%25")));
        hides("h:X-Data", json);
        hides("h:X-Data", &format!("a; {json}"));
        hides("text/xml", &format!("<a><![CDATA[{json}]]></a>"));
        hides("text/html", &format!("<script>var x = {json};</script>"));
        hides("text/xml", &format!("<a>{}</a>", json.replace('"', "&quot;")));
        hides(
            "multipart/form-data; boundary=b",
            &format!("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n{json}\r\n--b--\r\n"),
        );
        hides("application/octet-stream", &format!("\0\x01\x02{json}\0"));
    }
}

#[test]
fn markup_is_read_wherever_it_stands() {
    for xml in ELEMENTS {
        hides("application/xml", xml);
        hides(
            "application/soap+xml",
            &format!("<?xml version=\"1.0\"?>\n<e:Envelope xmlns:e=\"u\"><e:Body>{xml}</e:Body></e:Envelope>"),
        );
        hides("application/json", &format!("{{\"payload\":{}}}", serde_json::to_string(xml).unwrap()));
        let as_go_does = xml.replace('<', "\\u003c").replace('>', "\\u003e").replace('"', "\\\"");
        hides("application/json", &format!("{{\"payload\":\"{as_go_does}\"}}"));
        hides("text/plain", &format!("got {xml} from me"));
        hides("text/xml", &format!("<a><![CDATA[{xml}]]></a>"));
        let escaped = xml.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        hides("text/xml", &format!("<a>{escaped}</a>"));
        let percent: String = xml.bytes().map(|byte| format!("%{byte:02X}")).collect();
        hides("application/x-www-form-urlencoded", &format!("a=1&data={percent}"));
        hides("url", &format!("/v1/a?data={percent}&b=2"));
        hides("h:X-Data", xml);
        for depth in [10, 127, 128, 129, 1000] {
            hides("application/xml", &format!("{}{xml}{}", "<a>".repeat(depth), "</a>".repeat(depth)));
            hides("application/xml", &format!("{}{xml}", "<a>".repeat(depth)));
        }
    }
}

/// A value that is none of JSON is still that of its key: what is read as text from there on begins with the key.
#[test]
fn values_that_are_no_json_are_those_of_their_keys() {
    for value in [
        "hunter22",
        "'hunter22'",
        "/*c*/\"hunter22\"",
        " // x\n \"hunter22\"",
        ":\"hunter22\"",
        "nothunter22",
        "0xhunter22",
        "+49hunter22",
        "\u{a0}\"hunter22\"",
        "\u{c}\"hunter22\"",
        "`hunter22`",
        "u\"hunter22\"",
        "b\"hunter22\"",
        "String(\"hunter22\")",
        "\"\"\"hunter22\"\"\"",
        "a,hunter22",
        "a#hunter22",
    ] {
        for text in [
            format!("{{\"password\":{value}}}"),
            format!("{{\"a\":[{{\"b\":1,\"password\": {value},\"c\":2}}]}}"),
            format!("{{\"a\":x,\"password\":{value}}}"),
        ] {
            hides("application/json", &text);
            hides("text/plain", &text);
        }
    }
    hides("application/json", "{\"a\":\"password\":\"hunter22\"}");
    // What was replaced is not read again.
    hides("application/json", "{\"password\":\"hunter22\\\"\"\" x");
    hides("application/json", "{\"password\"=\"hunter22\"}");
    for text in [
        "password=a,hunter22",
        "password=a;hunter22",
        "password=a)hunter22",
        "password=a'hunter22",
        "password=a#hunter22",
        "password=[hunter22]",
        "password={noop}hunter22",
        "password={SSHA}/hunter22",
        "Cookie: a=\"b\"; foo=hunter22",
        "Authorization: Digest username=\"x\", response=\"hunter22\"",
        "password:\"\"\"hunter22\"\"\"",
    ] {
        hides("text/plain", text);
        hides("application/json", text);
    }
    assert!(masked("text/plain", "password=a,user=bob").ends_with(",user=bob"));
    assert!(masked("text/plain", "f(password=a, user=bob); x").ends_with(", user=bob); x"));
    assert!(masked("text/plain", "(password=a) x").ends_with(") x"));
}

/// What only looks alike stays as it is.
#[test]
fn others_stay() {
    for (kind, text) in [
        ("application/json", r#"{"payload":"{\"name\":\"page\",\"value\":\"7a\"}"}"#),
        ("application/json", r#"{"payload":"{\"name\":\"password\",\"rank\":\"7a\"}"}"#),
        ("application/json", r#"{"payload":"<b>password</b><i>7a</i>"}"#),
        ("application/json", r#"{"payload":"{\"password\":null,\"token\":{}}"}"#),
        ("application/xml", "<r><name>page</name><value>7a</value></r>"),
        ("application/xml", "<r><name>password</name></r><r><value>7a</value></r>"),
        ("application/xml", "<r><name>password</name><inner><value>7a</value></inner></r>"),
        ("application/xml", "<property name=\"page\" value=\"7a\"/>"),
        ("application/xml", "<password></password><password/><pin>null</pin>"),
        ("text/html", "<p title=\"a < b\">x</p><br><input name=\"page\" value=\"7\">"),
        ("text/plain", "a <b and c> {name: [1, 2]} \"x"),
    ] {
        assert_eq!(masked(kind, text), text);
    }
}

/// The structure around a secret stays as it was.
#[test]
fn the_shape_stays() {
    let out =
        masked("application/json", r#"{"payload":"{\"credentials\":{\"k\":\"hunter22\",\"n\":[1,null]}}","x":1}"#);
    let outer: serde_json::Value = serde_json::from_str(&out).unwrap();
    let inner = outer["payload"].as_str().unwrap();
    assert!(inner.starts_with("{\"credentials\":{\"k\":\"tok_") && inner.ends_with(",null]}}"), "{inner}");
    let out =
        masked("application/xml", "<r a=\"1\"><name>password</name><value>\n <string>hunter22</string></value></r>");
    assert!(out.starts_with("<r a=\"1\"><name>password</name><value>\n <string>tok_"), "{out}");
    assert!(out.ends_with("</string></value></r>"), "{out}");
}

#[test]
fn parts_are_read_whatever_they_are_called() {
    let body = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\nhunter22\r\n--b--\r\n";
    for kind in [
        "multipart/form-data; boundary=b",
        "multipart/form-data",
        "multipart/form-data; boundary=B1",
        "multipart/form-data; boundary=b, text/plain",
        "text/plain",
        "application/json",
        "",
    ] {
        hides(kind, body);
    }
    for head in ["form-data;\r\n name=\"password\"", "form-data;\r\n\tx=1;\r\n name=password"] {
        hides(
            "multipart/form-data; boundary=b",
            &format!("--b\r\nContent-Disposition: {head}\r\n\r\nhunter22\r\n--b--\r\n"),
        );
        hides(
            "multipart/form-data; boundary=b",
            &format!("--b\r\ncontent-disposition : {head}\r\n\r\nhunter22\r\n--b--\r\n"),
        );
    }
}

#[test]
fn names_in_brackets_count_each() {
    for name in ["user[plainPassword][first]", "credentials[key]", "user[pin]", "a[b][otp][]", "loginForm:pin"] {
        let percent = name.replace('[', "%5B").replace(']', "%5D");
        for name in [name, &percent] {
            hides("application/x-www-form-urlencoded", &format!("a=1&{name}=hunter22&b=2"));
            hides("url", &format!("/v1/a?{name}=hunter22"));
            hides("h:Referer", &format!("https://h/v1/a?x=1&{name}=hunter22"));
        }
        hides("text/plain", &format!("got {name}=hunter22 from me"));
        hides(
            "multipart/form-data; boundary=b",
            &format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nhunter22\r\n--b--\r\n"),
        );
    }
}

#[test]
fn what_is_no_attribute_of_a_cookie_is_one() {
    for value in [
        "a=hunter22; Path=/",
        "a=1; Path=/, remember=hunter22; HttpOnly",
        "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT, b=hunter22",
        "a=\"x;hunter22\"; Path=/",
        "; a=hunter22",
        "a=1; hunter22",
    ] {
        hides("h:Set-Cookie", value);
    }
    let out =
        masked("h:Set-Cookie", "a=x; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/; Secure; SameSite=Lax; Max-Age=5");
    assert!(out.ends_with("; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/; Secure; SameSite=Lax; Max-Age=5"), "{out}");
}

fn all() -> Masker {
    let detectors = masking::Detector::ALL.into_iter().map(|detector| (detector, masking::Action::Redact)).collect();
    let settings = Settings { key: vec![7; 32], detectors, ..Settings::default() };
    Masker::new(Arc::new(Policy::new(&settings).unwrap()))
}

/// A cut in the midst of an escape hides nothing of what is in front of it.
#[test]
fn a_cut_may_go_through_an_escape() {
    let card = "4111111111111111";
    let units: String = card.chars().map(|digit| format!("\\u{:04x}", digit as u32)).collect();
    for (kind, text, shown) in [
        ("application/json", format!("{{\"v\":\"{units}\"}}"), "\\u0031\\u0031\\u0031\\u0031\\u0031\\u0031\\u0031"),
        ("application/json", format!("{{\"v\":\"{card}\\n\\u0020\"}}"), "41111111"),
        ("application/x-www-form-urlencoded", "a=1&v=4111%201111%201111%201111%20".to_owned(), "4111%201111"),
        ("application/x-www-form-urlencoded", "a=1&v=jane.doe%40example.org%20".to_owned(), "jane.doe"),
        ("text/xml", "<a>4111111111111111&#32;&amp;</a>".to_owned(), "41111111"),
    ] {
        for end in 0..text.len() {
            let mut masker = all();
            let out = match masker.body(Side::Request, Some(kind.as_bytes()), &text.as_bytes()[..end], true) {
                MaskedBody::Kept => text[..end].to_owned(),
                MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
                MaskedBody::Dropped => String::new(),
            };
            assert!(!out.contains(shown), "{end}: {out}");
            assert_eq!(out != text[..end], masker.found() > 0, "{end}: what is replaced is told: {out}");
        }
    }
}

/// A comment of HTML starts with dashes, which elsewhere join a number to more of it.
#[test]
fn a_number_is_found_directly_behind_the_start_of_a_comment() {
    for (content_type, text) in [
        ("text/plain", "<!--123-45-6789-->"),
        ("text/html", "<p>a</p><!--123-45-6789--><p>"),
        ("application/json", r#"{"a":"<!--123-45-6789-->"}"#),
    ] {
        let mut masker = all();
        let MaskedBody::Replaced(out) =
            masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), false)
        else {
            panic!("{text}")
        };
        assert_eq!(String::from_utf8_lossy(out), text.replace("123-45-6789", "REDACTED"), "{text}");
    }
}

/// What may be the beginning of a secret, or of nothing, is told as what a cut left.
#[test]
fn what_a_cut_leaves_is_told() {
    for (text, kinds) in [
        ("write to jane.doe", &["CUT"][..]),
        ("write to jane.doe@example.o", &["EMAIL"]),
        ("card 4111111111111111 order 41", &["CREDIT_CARD", "CUT"]),
        // What is found within it counts.
        ("mail 4111111111111111", &["CREDIT_CARD"]),
        ("nothing. ", &[]),
    ] {
        let mut masker = all();
        masker.body(Side::Request, Some(b"text/plain"), text.as_bytes(), true);
        let told: Vec<_> = masker.findings().map(|finding| finding.kind).collect();
        assert_eq!((told.as_slice(), masker.found()), (kinds, kinds.len() as u64), "{text}");
        assert!(masker.findings().all(|finding| finding.action == masking::Action::Redact), "{text}");
    }
}

/// Clients forget to escape a plus.
#[test]
fn a_plus_may_be_one() {
    for (text, secret) in [
        ("/v1/a?phone=+14155552671&b=2", "4155552671"),
        ("/v1/a?x=a%20b&e=jane+tagger@example.org", "jane"),
        ("/v1/a?e=jane+tagger%40example.org", "jane"),
        ("/v1/a?card=4111+1111+1111+1111", "1111"),
    ] {
        let mut masker = all();
        let out = String::from_utf8_lossy(masker.target(text.as_bytes()).or(text.as_bytes())).into_owned();
        assert!(!out.contains(secret), "{out}");
    }
}

/// The list of what was found holds names as they were sent: none that is a secret.
#[test]
fn findings_name_no_secrets() {
    let mut masker = all();
    let part =
        |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    let multipart = [
        part("jane.doe@example.org", "4111111111111111"),
        part("a password=hunter22 token", "x@example.org"),
        "--b--".into(),
    ]
    .concat();
    let xml = "<n4111111111111111><a jane.doe@example.org=\"4111111111111111\">x@example.org</a></n4111111111111111>"
        .to_owned();
    for (kind, text) in [
        ("multipart/form-data; boundary=b", multipart),
        ("text/xml", xml.replace("<n4", "<_4").replace("</n4", "</_4")),
    ] {
        masker.begin();
        assert!(matches!(
            masker.body(Side::Request, Some(kind.as_bytes()), text.as_bytes(), false),
            MaskedBody::Replaced(_)
        ));
        assert!(masker.found() > 1);
        for finding in masker.findings() {
            for secret in ["jane", "hunter22", "4111111111111111"] {
                assert!(!finding.field.contains(secret), "{finding:?}");
            }
        }
    }
}

/// Time is linear in the text, whatever is opened and not closed.
#[test]
fn hostile_structures_take_linear_time() {
    let pieces = [
        "{\"name\":\"password\",\"value\":[",
        "<password>",
        "<a name=\"password\" value='",
        "\"\\\"",
        "<name>password<value>",
        "password:{'",
        "{\"v\":",
        "<![CDATA[",
        "<a b=\"",
        "\\\"name\\\":\\\"password\\\",\\\"value\\\":",
        "\"\\\"\n",
        "password=[",
        "</a>",
        "&lt;password&gt;",
        "<!--",
        "[",
        "{\"password\":{",
    ];
    for first in pieces {
        for second in pieces {
            let text = format!(
                "{{\"name\":\"password\",\"value\":1}}<password>x</password>{}",
                format!("{first}{second}").repeat(20_000 / (first.len() + second.len()))
            );
            for kind in ["application/json", "text/xml", "text/plain"] {
                let start = std::time::Instant::now();
                masked(kind, &text);
                assert!(start.elapsed().as_secs() < 10, "{first} {second} {kind}");
            }
        }
    }
}

/// A cut may go through a value whose name is known, or through user and password in front of a host.
#[test]
fn a_cut_within_a_value_hides_it() {
    for (kind, text) in [
        ("application/json", r#"{"a":"{\"name\":\"password\",\"value\":\"hunter22"#),
        ("application/json", r#"{"a":"{\"name\":\"password\",\"value\":\"hunter22x"#),
        ("application/json", r#"{"a":"<input name=\"password\" value=\"\nhunter22"#),
        ("application/json", r#"{"a":"<input\nname=\"password\"\nvalue=\"hunter22"#),
        ("application/json", r#"{"a":"http://me:hunter22"#),
        ("application/json", r#"{"b":"http://h/","a":"see http:\/\/me:hunter22"#),
        ("application/json", r#"{"a":"http:\\/\\/me:hunter22"#),
        ("text/plain", "see http://me:hunter22"),
        ("text/html", "<a href='http://me:hunter22"),
        ("application/x-www-form-urlencoded", "a=1&u=http://me:hunter22"),
    ] {
        let mut masker = masker();
        let out = match masker.body(Side::Request, Some(kind.as_bytes()), text.as_bytes(), true) {
            MaskedBody::Kept => text.to_owned(),
            MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
            MaskedBody::Dropped => String::new(),
        };
        assert!(!out.contains("hunter"), "{kind} {text}\n{out}");
    }
    for text in ["http://h.example:80", "see http://h.example", "http://h/a:b", "http://[2001:db8", "a://x y:zzz"] {
        let mut masker = masker();
        let out = masker.body(Side::Request, Some(b"text/plain"), text.as_bytes(), true);
        assert!(matches!(out, MaskedBody::Kept), "{text}");
    }
}

/// Blanks in the name that a neighbour tells, as HTML writes them.
#[test]
fn blanks_of_html_are_part_of_a_name() {
    hides("text/html", r#"<p>{"label":"API&nbsp;key","value":"hunter22"}</p>"#);
    hides("application/json", r#"{"m":"{\"label\":\"API&nbsp;key\",\"value\":\"hunter22\"}"}"#);
    hides("text/html", "&lt;input&#32;name=\"password\"&#32;value=\"hunter22\"&gt;");
    hides("text/html", "&lt;input&nbsp;name=\"password\"&nbsp;value=\"hunter22\"&gt;");
    hides("text/html", "&lt;input&#xA;name=\"password\"&#xA;value=\"hunter22\"&gt;");
}
