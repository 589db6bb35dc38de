//! Bodies: which reader takes which part of them.

use crate::engine::{Engine, Value};
use crate::finding::Location;
use crate::form;
use crate::json_path::Trail;
use crate::layer::{Layer, View};
use crate::media::{Kind, MediaType};
use crate::policy::{KindId, Policy};
use crate::script::ToldList;
use crate::{json, pairs, parts, script, wide, xml};

/// The readers' memory, kept from body to body.
#[derive(Default)]
pub(crate) struct Readers {
    json: json::Reader,
    xml: xml::Reader,
    /// Of the reader of scripts.
    trail: Trail,
    scratch: View,
    told: ToldList,
    /// Multipart bodies and messages within each other that are open.
    pub(crate) nested: usize,
}

/// Masks all of `text`, which is in a superset of ASCII. The edits are in the engine.
pub(crate) fn mask(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
) {
    engine.start();
    let look = engine.look(text);
    let has_zeros = if look.is_quiet { look.has_zeros } else { memchr::memchr(0, text).is_some() };
    let is_clean = look.is_quiet || engine.survey_in_full(text, at_cut);
    // Of a secret that a cut goes through, a name is in front; or detectors have to be asked.
    let is_cut = at_cut && (engine.policy.has_text || pairs::cut_userinfo(text).is_some());
    let kind = media.kind(text);
    // What a survey does not see: members that name what others hold.
    let has_neighbours = engine.has_neighbours(text);
    // A form may be a part of others, too.
    let is_more_in_parts =
        matches!(kind, Kind::Form | Kind::Multipart { .. } | Kind::Message) && engine.is_more_in_parts();
    if is_clean
        && !is_more_in_parts
        && !has_neighbours
        && !is_cut
        && !has_zeros
        && engine.policy.whole_patterns == 0
        && engine.policy.paths.is_empty()
    {
        let may_hide = match kind {
            // A form's `+` is a space. And what is handed out for a token is no secret by its name alone.
            Kind::Form => {
                memchr::memchr(b'+', text).is_some()
                    && (engine.policy.has_text || form::has_spaced_names(&engine.policy.fields, text))
                    || form::has_grant(text)
            }
            // The name of a part is in its head, and so is that of a header.
            Kind::Multipart { .. } | Kind::Message => true,
            Kind::Xml | Kind::Json | Kind::Text => false,
        };
        if !may_hide {
            return;
        }
    }
    if has_neighbours || is_cut {
        if look.is_quiet {
            engine.survey_in_full(text, at_cut);
        }
        // Elsewhere than in JSON any value may have such members in it.
        if has_neighbours && kind != Kind::Json || has_zeros {
            engine.see_all(text.len());
        }
    }
    if is_more_in_parts {
        engine.distrust(text.len());
    }
    readers.json.has_neighbours = has_neighbours;
    read(engine, readers, text, (0, text.len()), media, location, at_cut);
}

/// What kind of secret comes first in a text that is packed in another, which this is called in the midst of.
pub(crate) fn probe(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
) -> Option<KindId> {
    let has_neighbours = readers.json.has_neighbours;
    let kind = engine.probe(|engine| mask(engine, readers, text, media, location, at_cut));
    readers.json.has_neighbours = has_neighbours;
    kind
}

/// Hands `text[start..end]` to the reader of its kind. A survey of all of the text has to have been made.
pub(crate) fn read(
    engine: &mut Engine,
    readers: &mut Readers,
    text: &[u8],
    (start, end): (usize, usize),
    media: &MediaType<'_>,
    location: Location,
    at_cut: bool,
) {
    let body = &text[start..end];
    match media.kind(body) {
        Kind::Multipart { boundary } => {
            parts::mask(engine, readers, text, (start, end), boundary, location, at_cut);
        }
        kind if has_zeros(body) && !(kind == Kind::Json && is_terminated(&engine.policy, body)) => {
            let mut told = std::mem::take(&mut readers.told);
            let memory = (&mut readers.trail, &mut readers.scratch);
            script::find(&engine.policy, text, (start, end), memory, &mut told);
            wide::mask(engine, text, (start, end), &told, location, at_cut);
            readers.told = told;
        }
        Kind::Json => {
            let skip = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
            let end = start + trim_zeros(body).len();
            json::mask(engine, &mut readers.json, text, (start + skip, end), location, at_cut);
        }
        Kind::Xml => xml::mask(engine, &mut readers.xml, text, (start, end), location, at_cut),
        Kind::Form => {
            let place = form::Place { location, prefix: b"", at_cut, surveyed: true };
            form::mask(engine, text, (start, end), place);
        }
        Kind::Message => parts::message(engine, readers, text, (start, end), location, at_cut),
        Kind::Text => {
            let mut told = std::mem::take(&mut engine.told);
            let memory = (&mut readers.trail, &mut readers.scratch);
            script::find(&engine.policy, text, (start, end), memory, &mut told);
            engine.told = told;
            let value = Value { at_cut, surveyed: true, ..Value::new(start, end, Layer::Plain, location) };
            engine.value(text, &value, &|_| {});
        }
    }
}

fn has_zeros(text: &[u8]) -> bool {
    memchr::memchr(0, text).is_some()
}

/// What is in front of the zeros that end it, as programs send their strings.
fn trim_zeros(text: &[u8]) -> &[u8] {
    let zeros = text.iter().rev().take_while(|byte| **byte == 0).count();
    &text[..text.len() - zeros]
}

/// Whether zeros are at the end alone, and own paths want what is in front of them to be read as what it is.
fn is_terminated(policy: &Policy, text: &[u8]) -> bool {
    let text = trim_zeros(text);
    !policy.paths.is_empty() && !text.is_empty() && !has_zeros(text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::Action;
    use crate::finding::Side;
    use crate::masker::{MaskedBody, Masker};
    use crate::policy::{PathRule, Policy, Settings};

    fn masker() -> Masker {
        let path = |path: &str| PathRule { name: "NOTE".into(), path: path.into(), action: Action::Redact };
        let paths = ["$.a.note", "$..memo", "$.list[1]"].map(path).into();
        Masker::new(Arc::new(Policy::new(&Settings { key: vec![7; 32], paths, ..Settings::default() }).unwrap()))
    }

    fn masked_to(media_type: &str, text: &str, at_cut: bool) -> String {
        match masker().body(Side::Response, Some(media_type.as_bytes()), text.as_bytes(), at_cut) {
            MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
            _ => text.to_owned(),
        }
    }

    fn masked(media_type: &str, text: &str) -> String {
        masked_to(media_type, text, false)
    }

    const TYPES: [&str; 5] = ["application/json", "application/javascript", "text/plain", "text/event-stream", ""];

    /// What servers put around JSON.
    const AROUND: &[(&str, &str)] = &[
        ("", ""),
        ("cb(", ");"),
        ("/**/ typeof cb === 'function' && cb(", ");"),
        ("/**/ my.app.cb[0] (\n", ")\n"),
        ("/*O_o*/\ngoogle.visualization.Query.setResponse(", ");"),
        ("/* it's \"x */ cb(", ")"),
        ("// API callback\ncb(", ");"),
        ("// it's \"x\ncb(", ");"),
        ("window['cb'](", ")"),
        ("window [ \"cb\" ] (", ");"),
        ("cb && cb(", ");"),
        (";cb(", ");"),
        (" cb ( /* x */ ", " /* y */ ) ; "),
        ("try{cb(", ")}catch(e){}"),
        ("if (window.cb) { cb(", ") } else { x }"),
        ("cb(200, ", ");"),
        ("cb('x', ", ", \"y\")"),
        ("cb({\"x\":[1, {\"y\":2}]}, ", ")"),
        ("cb([],", ")"),
        ("cb(", ", {\"c\":{\"memo\":\"hunter55\"}}, {\"a\":{\"note\":\"hunter66\"}})"),
        ("(", ")"),
        ("var x = ", ";"),
        ("return ", ";"),
        ("é(", ")"),
        (")]}',\n", ""),
        (")]}'\n", ""),
        (")]}\n", ""),
        (")]}'", ""),
        ("for(;;);", ""),
        ("for( ; ; );", ""),
        ("while(true);", ""),
        ("while (1) ; ", "\n"),
        ("throw 1; ", ""),
        ("throw 1; < don't be evil' >", ""),
        ("{} && ", ""),
        ("{}&&\n", ""),
        ("&&&START&&&", "&&&END&&&"),
        ("/*-secure-\n", "\n*/"),
        ("0;", ""),
        ("null\n", ""),
        ("\u{feff}cb(", ");"),
        ("data: ", "\n\n"),
        ("\x1e", "\n\x1e{\"b\":1}\n"),
        ("{\"x\":1}\n,", ""),
        ("#", ""),
    ];

    #[test]
    fn paths_are_followed_into_json_within_a_script() {
        for (before, behind) in AROUND {
            let text = format!(
                "{before}{{\"a\":{{\"note\":\"hunter22, it's \\\"}}{{\", \"b\":\"plain\",\"password\":\"hunter33\"}},\"x\":[{{\"memo\" : [{{\"y\":\"hunter44\"}}, \"hunter44\"]}}], \"list\":[1,\"hunter77\",2]}}{behind}"
            );
            for media_type in TYPES {
                let masked = masked(media_type, &text);
                assert!(!masked.contains("hunter"), "{media_type}: {text}: {masked}");
                assert!(masked.contains("\"b\":\"plain\"") && masked.contains("[1,\"REDACTED\",2]"), "{masked}");
                assert!(masked.starts_with(before), "{masked}");
                assert!(behind.contains("hunter") || masked.ends_with(behind), "{masked}");
            }
        }
    }

    /// As the reader of JSON says it: with its place, a number in quotes, and text as it reads.
    #[test]
    fn values_in_a_script_are_those_of_json() {
        let text = r#"{"a":{"note":4711},"b":{"memo":"hunt\u0065r22"},"memo":-1.5e3}"#;
        let mut all = Vec::new();
        for text in [text.to_owned(), format!("cb({text})")] {
            let mut masker = masker();
            masker.begin();
            let MaskedBody::Replaced(out) =
                masker.body(Side::Response, Some(b"application/json"), text.as_bytes(), false)
            else {
                panic!("{text}")
            };
            let out = String::from_utf8_lossy(out).into_owned();
            assert!(out.contains(r#"{"note":"REDACTED"},"b":{"memo":"REDACTED"},"memo":"REDACTED"}"#), "{out}");
            let fields: Vec<_> = masker.findings().map(|finding| finding.field.to_owned()).collect();
            all.push(fields);
        }
        assert_eq!(all[0], ["a.note", "b.memo", "memo"]);
        assert_eq!(all[0], all[1]);
        let hashed = |text: &str| {
            let paths = vec![PathRule { name: "NOTE".into(), path: "$.note".into(), action: Action::Hash }];
            let policy = Policy::new(&Settings { key: vec![7; 32], paths, ..Settings::default() }).unwrap();
            let mut masker = Masker::new(Arc::new(policy));
            match masker.body(Side::Response, None, text.as_bytes(), false) {
                MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
                _ => panic!("{text}"),
            }
        };
        assert_eq!(format!("cb({})", hashed(r#"{"note":"a\"b\u0065"}"#)), hashed(r#"cb({"note":"a\"b\u0065"})"#));
    }

    /// In the syntax of scripts, and where JSON ends too early: paths are judged from where the outermost begins.
    #[test]
    fn paths_are_followed_into_what_is_no_json() {
        for text in [
            "cb({a:{note:'hunter22'}})",
            "cb({'a':{'x':undefined,'note':`hunter22\nhunter33`}})",
            "x = {\"a\" : { /* it's */ \"note\" : new Date(\"hunter22\", [1, {\"b\": \"hunter33\"}]) , b: 1 } }",
            "{\"a\":{x:1,\"note\":\"hunter22\"}}",
            "{\"a\":{\"x\":undefined,\"note\":[\"hunter22\"]}}",
            "{\"a\":{\"note\":\"hunter22\" + \"hunter33\"}}",
            "{\"a\":{\"note\":hunter22}}",
            "{\"a\":{\"note\":[1,hunter22,\"hunter33\"]}}",
            "{\"list\":[0,'hunter22']}",
            "{\"password\":{\"a\":undefined,\"b\":\"hunter22\"}}",
            "cb({\"a\":{\"note\":\"hunter22\nhunter33\"}})",
            "cb({\"a\":{\"n\\u006fte\":\"hunter22\"}})",
            "x 5\" = {\"a\":{\"note\":\"hunter22\"}}",
            "it's \"{\"a\":{\"note\":\"hunter22\"}}\"",
        ] {
            for media_type in TYPES {
                let masked = masked(media_type, text);
                assert!(!masked.contains("hunter"), "{media_type}: {text}: {masked}");
            }
        }
        for text in
            ["cb({\"b\":{\"note\":1},\"note\":2})", "cb({\"a\":[{\"note\":1}]})", "{\"b\":{\"a\":{x:1,\"note\":2}}}"]
        {
            assert_eq!(masked("application/json", text), text);
        }
    }

    /// Nor do zeros among it, of frames or at the end of a string; nor wide characters.
    #[test]
    fn zeros_hide_nothing_from_paths() {
        let json = r#"{"a":{"note":"hunter22","c":1},"b":{"memo":["hunter33"]},"x":"plain"}"#;
        let wide: String = "{\"a\":{\"note\":\"plain text\"},\"password\":\"hunter44\"}"
            .chars()
            .flat_map(|sign| [sign, '\0'])
            .collect();
        for text in [
            format!("{json}\0"),
            format!("{json}\0\0\0"),
            format!("\0{json}"),
            format!("{json}\n\0"),
            format!("MESSAGE\ndestination:/q\n\n{json}\0\nMESSAGE\n\n{json}\0"),
            json.replace("22", "22\0"),
            json.replace("\"x\"", "\"x\0\""),
            json.replace("\"c\"", "\0\"c\""),
            format!("{json}\0{}", " ".repeat(100)),
            format!("{json}{wide}{json}"),
            format!("{wide}{json}"),
            format!("\0\u{1}{wide}\0{json}\0{wide}"),
            json.replace("hunter33", &format!("hunter33{wide}hunter33").replace('"', "'")),
            json.replace("\"hunter33", &format!("\"{}{wide}", "x".repeat(200)).replace("\"\0", "'\0")),
        ] {
            for media_type in TYPES {
                let masked = masked(media_type, &text);
                let narrow = masked.replace('\0', "");
                assert!(!narrow.contains("hunter"), "{media_type}: {text:?}: {masked:?}");
                assert!(masked.contains(":\"plain\"}") || text.contains("x\0"), "{masked:?}");
                assert_eq!(
                    masked.matches("p\0l\0a\0i\0n\0 ").count(),
                    masked.matches("n\0o\0t\0e\0").count(),
                    "{masked:?}"
                );
                assert!(
                    masked.starts_with(text.chars().next().unwrap()) && masked.ends_with(text.chars().last().unwrap())
                );
            }
        }
        // What is all in UTF-16 is read as such.
        for media_type in TYPES {
            let masked = masked(media_type, &wide);
            assert!(masked.contains("n\0o\0t\0e\0") && !masked.contains("p\0l\0a\0i\0n\0"), "{masked:?}");
        }
    }

    /// Comments, computed keys, lines of events, expressions in slashes and choices are told from values.
    #[test]
    fn syntax_hides_nothing_from_paths() {
        let json = r#"{"a":{"note":"hunter22"},"b":{"memo":"hunter33"}}"#;
        let pretty = "{\n  \"a\": {\n    \"note\": \"hunter22\"\n  },\n  \"b\": {\n    \"memo\": \"hunter33\"\n  }\n}";
        let lines = |front: &str| pretty.lines().map(|line| format!("{front}{line}\n")).collect::<String>();
        let mut texts = [
            "{\"a\":{ // the note\n  \"note\":\"hunter22\"}}",
            "{\"a\":{ \"x\":1, // the note\n  \"note\":\"hunter22\"}}",
            "{\n  // settings\n  \"a\":{\n  // the note\n  \"note\":\"hunter22\"}}",
            "x={\n  // settings\n  \"a\":{\n  // the note\n  \"note\":\"hunter22\"}}",
            "{\n # settings\n \"a\":{\"note\":\"hunter22\"}}",
            "{\n # settings: [\n \"a\":{\"note\":\"hunter22\"}}",
            "{\r # it's {\r \"a\":{\"note\":\"hunter22\"}}",
            "{\n -- settings\n 'a':{\"note\":\"hunter22\"}}",
            "{\"a\"/*x*/:{\"note\"/*y*/:\"hunter22\"},\"b\":{\"memo\" /*x*/ : \"hunter33\"}}",
            "{\"a\" // it's\n :{\"note\" // {\n /* [ */ :\"hunter22\"},\"b\":{memo /*x*/ : \"hunter33\"}}",
            "{\"a\"=>{\"note\"=>\"hunter22\", \"memo\" => [\"hunter33\"]}}",
            "{\"a\"={\"note\" = \"hunter22\"}}",
            "{\"a\"=>{\"note\"=>\"hunter22\", \"memo\" => [\"hunter33\"]}}",
            "{\"a\"={\"note\" = \"hunter22\"}}",
            "{\"a\":{\"memo\":\"hunter33\",\"note\"/*x*/:\"hunter22\"}}",
            "{\"a\":{\"memo\":\"hunter33\",\"x\":1, \"note\" // it's\n:\"hunter22\"}}",
            "{\"a\":{\"memo\":\"hunter33\", // the note\n \"note\" :\"hunter22\"}}",
            "{\"a\":{\"memo\":\"hunter33\",[\"note\"]:\"hunter22\"}}",
            "{\"a\":{\"memo\":\"hunter33\",\"note\": /* , */ \"hunter22\"}}",
            "{[\"a\"]:{[\"note\"]:\"hunter22\"},\"b\":{[ 'memo' ] : [\"hunter33\"]}}",
            "{\"a\":{ // note, it's \"x\n\"note\":\"hunter22\"},\"b\":{// don't {\n\"memo\":\"hunter33\"}}",
            "{\"a\":{ // note: x\n\"note\":\"hunter22\"},\"b\":{//x: [\n\"memo\":\"hunter33\"}}",
            "{\"a\":{\"note\": // x, y\n\"hunter22\"},\"b\":{\"memo\": // a, b\n \"hunter33\"}}",
            "{\"a\":{\"note\": # x, y\n\"hunter22\"},\"b\":{\"memo\": // a }} b\n \"hunter33\"}}",
            "{\"a\":{\"note\": // it's, x\n\n // y, {\n\"hunter22\" // hunter22, hunter22\n}}",
            "{\"a\":{\"note\": /* x, y */\"hunter22\"},\"b\":{\"memo\": /* a, b */ \"hunter33\"}}",
            "{\"a\":{\"note\": /* {x}, y */\"hunter22\"},\"b\":{\"memo\": /* [a], b */ \"hunter33\"}}",
            "{\"a\":{\"note\": /* hunter22, hunter33 */ 1 }, /* {\"memo\":\"hunter22\"}} */ \"b\":{\"memo\":\"hunter22\"}}",
            "{\"a\": /* { */ {\"x\": 1, /* it's ] \" */ \"note\": 'hunter22'}}",
            "x={\"a\": /* it's ] \" */ {\"note\" /* {\"memo\":\"hunter22\"} */ : 'hunter22'}}",
            "x={\"a\": { // \"memo\":\"hunter22\", {\n \"note\" : 'hunter22'}}",
            "x={\"a\":{// \"note\":\"hunter22\"\n}}",
            "x={\"a\":{ # \"note\":\"hunter22\"\n}}",
            "x={\"a\":{ /* \"note\":\"hunter22\" */ }}",
            "x={a:http://x,\"a\":{\"note\":\"hunter22\"}}",
            "x={a:http://x\n,\"a\":{\"note\":\"hunter22\"}}",
            "x={\"x\":1 // 2, \"a\":{\"note\":\"hunter22\"}}",
            "x={\"x\":1 // 2, \"a\":{\"note\":\"hunter22\"}}\n",
            "x={\"x\":a/*.b, \"a\":{\"note\":\"hunter22\"}}",
            "[2024-11-21 10:00] it's 5' \"x {\"a\":{\"note\":\"hunter22\"}}",
        ]
        .map(str::to_owned)
        .to_vec();
        texts.extend([
            lines("data: "),
            lines("data:"),
            format!("event: m\nid: 1\n{}\n", lines("data: ")),
            lines("data:").replace('\n', "\r\n"),
        ]);
        for front in [
            "x.replace(/[^\"]/g,\"\"); cb(",
            "x.replace(/[^']/g,''); cb(",
            "x.replace(/\"/g,''); cb(",
            "x.replace(/'/g,\"\") + cb(",
            "x.replace(/[/g,\"\"); cb(",
            "x.replace(/[\"'`]/g,\"\"); cb(",
            "{ x.replace(/[\"'`{]/g,\"\"); cb(",
            "{ x = /[\"'`{]/; cb(",
            "{ a: /[\"'`{]/, b: cb(",
            "/\\{/.test(x); cb(",
            "/\\(/.test(x), cb(",
            "/\"/.test(x), cb(",
            "[/\"/, /'/], cb(",
            "x ? y : (",
            "{ return x ? y : ",
            "{ return x ? \"y\" : ",
            "{ z: x ? {} : ",
            "{ return x\n ? y\n : ",
            "{ return x ? [1, 2] : ",
            "{ return x ? f(1, {b: 1}) : ",
            "switch (x) { case 1: ",
            "switch (x) { default: return ",
        ] {
            texts.push(format!("{front}{json}"));
            texts.push(format!("{front}{pretty}"));
        }
        let mut leaks = Vec::new();
        for text in texts {
            for media_type in TYPES {
                let masked = masked(media_type, &text);
                if masked.contains("hunter") {
                    leaks.push(format!("{media_type}: {text}: {masked}"));
                    break;
                }
            }
        }
        assert!(leaks.is_empty(), "{}", leaks.join("\n\n"));
    }

    /// What was told of one body is not looked for in the next.
    #[test]
    fn each_body_is_told_by_itself() {
        let mut masker = masker();
        let long = format!("\0{}x={{\"a\":{{\"note\":\"hunter22\"}}}}", "x ".repeat(100));
        for text in [long.as_str(), "\0plain, plain", &long, "{\"b\":\"plain\"}", &long, "\0plain", &long, "plain\0"] {
            for media_type in TYPES {
                let body = masker.body(Side::Response, Some(media_type.as_bytes()), text.as_bytes(), false);
                assert_eq!(matches!(body, MaskedBody::Replaced(_)), text.contains("hunter"), "{text:?}");
            }
        }
    }

    #[test]
    fn what_a_cut_leaves_of_a_script_is_masked() {
        let text =
            r#"/**/cb(1, {"a":{"note":"hun\"ter22"}, "list":["x", "hunter33"], "c":{"memo":{"x":"hunter44"}}});"#;
        for media_type in TYPES {
            for cut in 0..text.len() {
                let masked = masked_to(media_type, &text[..cut], true);
                assert!(!masked.contains("hu"), "{media_type} {masked}");
            }
        }
    }

    /// However deep it is, and whatever was opened in vain in front of it.
    #[test]
    fn depth_hides_nothing_in_a_script() {
        for depth in [1, 100, 127, 128, 129, 1000, 100_000] {
            for open in ["[", "{", "(", "{\"a\":", "(["] {
                let front = open.repeat(depth);
                let text = format!("x {front} x {{\"a\":{{\"note\":\"hunter22\"}}}}");
                assert!(!masked("text/plain", &text).contains("hunter"), "{depth} {open}");
                let text = format!(
                    "cb({{\"memo\":[{front}{}\"hunter22\"],\"b\":1}})",
                    "]".repeat(depth * open.matches(['[', '{', '(']).count())
                );
                assert!(!masked("text/plain", &text).contains("hunter"), "{depth} {open}");
            }
        }
    }

    #[test]
    fn a_script_is_read_as_text_where_it_is_no_such_one() {
        for text in [
            "if (x) { password = 'hunter22' }",
            "cb(password: [hunter22",
            "password: ({hunter22})",
            "cb({'password': 'hunter22'})",
        ] {
            assert!(!masked("application/javascript", text).contains("hunter"), "{text}");
        }
        assert_eq!(masked("text/plain", "note(s) on {\"a\":1}"), "note(s) on {\"a\":1}");
    }
}
