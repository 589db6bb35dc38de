//! What programs print of their values (maps, hashes, header fields), and markup that is none: by default no secret leaves, and
//! what is no secret stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use masking::{MaskedBody, Side};

/// Characters of a token behind its beginning.
const TOKEN: usize = 26;

const SECRET: &str = "hunter2secret";

fn masked(content_type: &str, text: &str, is_cut: bool) -> String {
    let mut masker = credentials();
    match masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), is_cut) {
        MaskedBody::Kept => text.to_owned(),
        MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
        MaskedBody::Dropped => panic!("{text}"),
    }
}

/// By itself, in a string of JSON, in a form, and in XML.
fn everywhere(text: &str) -> Vec<(&'static str, String)> {
    let percent = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    vec![
        ("text/plain", text.to_owned()),
        ("text/plain", format!("2026-11-22 INFO x=1 {text}\n")),
        ("application/json", format!("{{\"log\":{}}}", serde_json::to_string(text).unwrap())),
        ("application/x-www-form-urlencoded", format!("a=1&log={}&b=2", text.bytes().map(percent).collect::<String>())),
        ("text/xml", format!("<a><b>{}</b></a>", text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"))),
    ]
}

fn hides(text: &str) {
    for (content_type, text) in everywhere(text) {
        let out = masked(content_type, &text, false);
        assert!(!out.contains(SECRET) && out.contains("tok_"), "{content_type}: {text}\n{out}");
        if content_type == "application/json" {
            assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{text}\n{out}");
        }
    }
}

/// The name of a container makes no name of what is in it.
#[test]
fn pairs_in_a_container_are_secrets() {
    for text in [
        "credentials={password=@, username=x}",
        "credentials={username=x, password=@}",
        "credentials={user=x, data=@}",
        "auth={token=@}",
        "session={token=@/+==}",
        "cookies={JSESSIONID=@}",
        "token={access_token=@, expires=1}",
        "token={access_token=x.@.@, expires=1}",
        "credentials=[{password=@}]",
        "\"session\"=>{\"password\"=>\"@\", \"email\"=>\"a\"}",
        "'auth' => ['token' => '@']",
        "auth = { token = \"@\" }",
        "credentials = {\n  user = \"x\"\n  password = \"@\"\n}",
        "credentials = {\n  x    = [\"a\", \"@\"]\n}",
        "http.Header{\"Authorization\":[]string{\"Bearer @\"}}",
        "url.Values{\"password\":[]string{\"@\"}}",
        "auth={dG9r==, @}",
        "Authorization=[Basic @=\u{fffd}",
        "secret = {\n@=\nx\n}",
        "'auth' => array('token' => '@')",
        "auth=dict(user=1, token=\"@\")",
    ] {
        hides(&text.replace('@', SECRET));
    }
    let out = masked("text/plain", "credentials={password=hunter2, user=x} host=h", false);
    assert!(out.starts_with("credentials={password=tok_") && out.contains(", user=tok_"), "{out}");
    assert!(out.ends_with("} host=h"), "{out}");
}

#[test]
fn cookies_in_lists_are_secrets_however_long_or_odd() {
    let long = format!("Cookie:[a={}; c=@] Host:[h]", "x".repeat(4200));
    for text in [
        "map[Cookie:[a=@; b=@] Host:[h]]",
        "Cookie:[a=b; c=\"d e\"; f=@]",
        "Cookie:[a={%22x%22:1}; c=@]",
        "Cookie:[a=\"@\"; c=d]",
        "Cookie:[a=[1]; c=@]",
        "Cookie:[a=@; c=d",
        "headers={Cookie=[a=@",
        "Cookie:[a=@...",
        "{cookie=a=1;b=@, host=h}",
        "{cookie=a=1;  b=@, host=h}",
        "{cookie=a=1; b; c=@, host=h}",
        &long,
    ] {
        hides(&text.replace('@', SECRET));
        let cut = text.replace('@', SECRET);
        let out = masked("text/plain", cut.trim_end_matches([']', '}']), true);
        assert!(!out.contains(SECRET), "{out}");
    }
}

/// What stands in a number's place has the quotes of its key, and takes no bracket with it.
#[test]
fn json_within_a_text_stays_json() {
    for inner in [
        r#"{"pin":1234}"#,
        r#"{"pin": 1234, "a":1}"#,
        r#"[{"otp":123456}]"#,
        r#"{ "pin" : 1234 , "b" : 2 }"#,
        "{\n \"pin\": 1234\n}",
        r#"[{"otp":1},{"otp":2}]"#,
        r#"{"a":[{"b":{"pin":1234}}]}"#,
        r#"{"credentials":{"pin":1234,"n":[1,2]}}"#,
        r#"{"a":{"password":"x"},"otp":-1.5e3}"#,
    ] {
        let quoted = serde_json::to_string(inner).unwrap();
        let outer = format!("{{\"m\":{quoted}}}");
        let out: serde_json::Value = serde_json::from_str(&masked("application/json", &outer, false)).unwrap();
        let text = out["m"].as_str().unwrap();
        let values: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(text.contains("\"tok_") && (values.is_object() || values.is_array()), "{text}");
        for (front, behind) in [("data: ", "\n\n"), ("cb(", ");"), ("<script>var s=", ";</script>"), ("x=1 y ", "")] {
            let out = masked("text/plain", &format!("{front}{inner}{behind}"), false);
            let inner = &out[front.len()..out.len() - behind.len()];
            assert!(serde_json::from_str::<serde_json::Value>(inner).is_ok(), "{out}");
        }
    }
}

/// Elements without content end where their tag does.
#[test]
fn fields_of_a_page_swallow_nothing() {
    let page = "<html><head><meta name=\"csrf-token\" content=\"@\"><title>Shop</title><link rel=\"stylesheet\" \
        href=\"/a.css\"><script>window.App={}</script></head><body><form><input type=\"hidden\" \
        name=\"csrfmiddlewaretoken\" value=\"@\"><label for=\"q\">Search</label><input name=\"password\" \
        type=\"password\"><p>Forgot it?</p><INPUT NAME=pin value=@><select><option value=\"1\">One</select></form></body></html>";
    for (text, is_cut) in [(page, false), (page, true), (&page[..page.len() - 40], true)] {
        for content_type in ["text/html", "text/plain"] {
            let out = masked(content_type, &text.replace('@', SECRET), is_cut);
            let mut parts = out.split("tok_");
            let rest = parts.next().unwrap().to_owned() + &parts.map(|part| &part[TOKEN..]).collect::<String>();
            assert_eq!(out.matches("tok_").count(), text.matches('@').count(), "{out}");
            assert_eq!(rest, text.replace('@', ""));
        }
    }
    // In XML they may have some.
    for text in ["<input name=\"password\">@</input>", "<meta name=\"pin\" >@</meta>"] {
        let out = masked("text/xml", &format!("<r>{}</r>", text.replace('@', SECRET)), false);
        assert!(!out.contains(SECRET), "{out}");
    }
}

/// A tag that nothing closes is mostly none.
#[test]
fn placeholders_swallow_nothing() {
    for text in [
        "Send `Authorization <token>` with each call. And so on.",
        "app --user <user> --pass <password> [--verbose] <file>",
        "<a accesskey=\"n\" href=\"/x\">Next</a>",
        "List<Token> tokens; Map<Session, List<Password>> all;",
        "curl https://<password>@h.example/<token>/x?a=<token>&b=1",
        "use <session>, <token>. Or `<secret>`\nnext",
    ] {
        for (content_type, text) in everywhere(text) {
            if text.contains("<a><b>") {
                continue;
            }
            assert_eq!(masked(content_type, &text, false), text, "{content_type}");
        }
    }
    // As SGML has it, and where the end is cut off.
    for (text, is_cut) in
        [("<a>1\n<USERPASS>@\n<b>2\n", false), ("x <password>@", false), ("<r><password> @ x y", true)]
    {
        for content_type in ["text/plain", "text/xml", "application/x-ofx"] {
            let out = masked(content_type, &text.replace('@', SECRET), is_cut);
            assert!(!out.contains(SECRET), "{out}");
        }
    }
}
