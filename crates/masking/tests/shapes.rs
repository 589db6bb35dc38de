//! Credentials in the shapes that programs and their mistakes give to heads, targets, forms and parts: by default none leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::*;
use masking::{Action, MaskedBody, Masker, Settings, Side};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

const SECRET: &str = "hunter2secret";

fn body(content_type: &str, text: &str) -> String {
    let mut masker = credentials();
    match masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), false) {
        MaskedBody::Kept => text.to_owned(),
        MaskedBody::Replaced(out) => String::from_utf8_lossy(out).into_owned(),
        MaskedBody::Dropped => String::new(),
    }
}

fn header(name: &[u8], value: &str) -> String {
    let mut masker = credentials();
    // Twice, as what was kept once is remembered.
    let _ = masker.header(Side::Request, name, value.as_bytes());
    String::from_utf8_lossy(masker.header(Side::Request, name, value.as_bytes()).or(value.as_bytes())).into_owned()
}

fn target(text: &str) -> String {
    String::from_utf8_lossy(credentials().target(text.as_bytes()).or(text.as_bytes())).into_owned()
}

fn hidden(what: &str, out: &str) {
    assert!(out.contains("tok_") && !out.contains(SECRET), "{what}\n{out}");
}

const NAMED: &str = "Content-Disposition: form-data; name=\"password\"";

fn part(head: &str, content: &str) -> String {
    format!("--BB\r\n{head}\r\n\r\n{content}\r\n--BB--\r\n")
}

#[test]
fn parts_are_found_whatever_their_boundary_is_said_to_be() {
    let plain = part(NAMED, SECRET);
    for content_type in [
        "multipart/form-data; boundary=BB",
        "multipart/form-data ; boundary = \"BB\"",
        "",
        "text/plain",
        "application/octet-stream",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=XX",
        "multipart/form-data; boundary=bb",
        "multipart/form-data; boundary=BB, multipart/form-data",
        "multipart/form-data; boundary=XX; boundary=BB",
    ] {
        for text in [&plain, &format!("\r\n{plain}")] {
            let out = body(content_type, text);
            hidden(content_type, &out);
            assert!(out.ends_with("\r\n--BB--\r\n") && out.contains(NAMED), "{out}");
        }
    }
    hidden("preamble", &body("multipart/form-data", &format!("a preamble\r\n{plain}")));
    for text in [
        plain.replace("\r\n", "\n"),
        plain.replace("\r\n", "\r"),
        plain.replace("\"\r\n\r\n", "\"\r\n\n"),
        plain.replace("\"\r\n\r\n", "\"\r\n \r\n"),
        plain.replace("\"\r\n\r\n", "\"\r\n"),
    ] {
        hidden("line breaks", &body("multipart/form-data; boundary=BB", &text));
    }
}

#[test]
fn heads_of_parts_name_what_is_behind_them() {
    let out = |head: &str, content: &str| {
        let out = body("multipart/form-data; boundary=BB", &part(head, content));
        hidden(head, &out);
        out
    };
    for head in [
        "Content-Disposition: form-data; name=password",
        "Content-Disposition: form-data; name*=UTF-8''pass%77ord",
        "Content-Disposition: form-data; name*0=\"pass\"; name*1=\"word\"",
        "Content-Disposition: form-data;\r\n name=\"password\"",
        "content-disposition : form-data; NAME=\"user%5Bpassword%5D\"",
        "Content-Disposition: form-data; name=\"u[password][first]\"; filename=\"a\"",
        "Content-Disposition: form-data; name=\"x\"; name=\"password\"",
        "X-Other: a\r\nContent-Disposition: form-data; name=\"password\"\r\nContent-Type: application/json",
    ] {
        out(head, SECRET);
    }
    for head in [
        "Authorization: Bearer hunter2secret",
        "Cookie: a=\"b\"; foo=hunter2secret",
        "X-Auth-Key: a, \"hunter2secret\"",
        "Authorization: Digest username=\"x\",\r\n response=\"hunter2secret\"",
    ] {
        out(&format!("Content-Type: text/plain\r\n{head}"), "x");
        for content_type in ["application/http", "text/plain"] {
            let message = format!("HTTP/1.1 200 OK\r\nX-A: b\r\n{head}\r\n\r\nbody");
            out(&format!("Content-Type: {content_type}"), &message);
            hidden(head, &body("message/http", &format!("GET /x HTTP/1.1\r\n{head}\r\n\r\n")));
            hidden(head, &body("", &message));
        }
    }
    out(
        "Content-Type: application/http",
        "POST /x HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nuser%5Bpassword%5D=hunter2secret",
    );
    out("Content-Type: application/http", "HTTP/1.1 200 OK\r\n\r\n{\"credentials\":{\"k\":\"hunter2secret\"}}");
}

#[test]
fn parts_within_parts_are_found_at_any_depth() {
    for depth in [1, 2, 3, 4, 5, 30, 200] {
        let mut text = format!("--L0\r\n{NAMED}\r\n\r\n{SECRET}\r\n--L0--");
        for level in 1..depth {
            text = format!(
                "--L{level}\r\nContent-Type: multipart/mixed; boundary=L{}\r\n\r\n{text}\r\n--L{level}\r\nX-A: b\r\n\r\nkept\r\n--L{level}--",
                level - 1
            );
        }
        let out = body(&format!("multipart/mixed; boundary=L{}", depth - 1), &text);
        hidden("nested", &out);
        assert_eq!(out.matches("kept").count(), depth - 1, "{out}");
    }
}

#[test]
fn packed_parts_are_looked_through() {
    use base64::Engine as _;
    for text in [
        "{\"password\":\"hunter2secret\"}",
        "{\"credentials\":{\"k\":\"hunter2secret\"}}",
        "<a><password>hunter2secret</password></a>",
        "{\"name\":\"password\",\"value\":\"hunter2secret\"}",
        "user[password][0]=hunter2secret",
    ] {
        let packed = base64::engine::general_purpose::STANDARD.encode(text);
        let broken = format!("{}!\r\n{}", &packed[..20], &packed[20..]);
        for (encoding, packed) in [("base64", &packed), ("BASE64 ; x", &packed), ("base64", &broken)] {
            let head = format!("Content-Disposition: form-data; name=\"d\"\r\nContent-Transfer-Encoding: {encoding}");
            let out = body("multipart/form-data; boundary=BB", &part(&head, packed));
            assert!(out.contains("tok_") && !out.contains(&packed[packed.len() - 16..]), "{out}");
        }
    }
    for content in
        ["p=61ssword=3Dhunter2secret", "{\"pass=\r\nword\":\"hunter2secret\"}", "password: abc=\r\nhunter2secret"]
    {
        let head = "Content-Transfer-Encoding: quoted-printable";
        hidden(content, &body("multipart/form-data; boundary=BB", &part(head, content)));
    }
}

#[test]
fn names_in_brackets_and_oddly_started_pairs() {
    for name in [
        "user[plainPassword][first]",
        "u%5BplainPassword%5D%5Bfirst%5D",
        "credentials[k]",
        "user[pin]",
        "loginForm:pin",
        "loginForm.pin",
        "loginForm%3Apin",
        "user%255Bpassword%255D",
        "user%255Bpin%255D",
        "a=1&amp;sid",
        "a=1&amp;jwt",
        ";pin",
        "foo?otp",
        "?otp",
        "otp%00",
        "otp%20",
        "/cb?jwt",
        "filter[password][$ne]",
    ] {
        let pair = format!("{name}={SECRET}");
        hidden(name, &body("application/x-www-form-urlencoded", &pair));
        hidden(name, &body("application/x-www-form-urlencoded", &format!("x=1&{pair}&y=2")));
        hidden(name, &target(&format!("/x?{pair}")));
        hidden(name, &target(&format!("/x?a=1&{pair}&b=2")));
        hidden(name, &target(&format!("/x#{pair}")));
        hidden(name, &target(&format!("/x#/r?{pair}")));
        hidden(name, &header(b"Location", &format!("https://h/#{pair}")));
    }
    for query in ["code=hunter2secret&state=1", "session_state=1&code=hunter2secret", "iss=h&code=hunter2secret"] {
        hidden(query, &target(&format!("/cb?{query}")));
        hidden(query, &header(b"Location", &format!("https://h/cb?{query}#_")));
        hidden(query, &target(&format!("/cb#{query}")));
        hidden(query, &header(b"Location", &format!("https://h/cb#{query}")));
        hidden(query, &body("application/x-www-form-urlencoded", query));
        hidden(query, &body("", query));
    }
    for client in ["client_secret=x", "client_id=x&redirect_uri=https%3A%2F%2Fh%2Fcb"] {
        let form = format!("grant_type=authorization_code&code=hunter2secret&{client}");
        hidden(client, &body("application/x-www-form-urlencoded", &form));
    }
    for text in
        ["user=bob&api+key=hunter2secret", "user=bob&password=hun,hunter2secret", "password=hun'#hunter2secret&x=1"]
    {
        for content_type in ["", "text/plain", "application/octet-stream"] {
            hidden(text, &body(content_type, text));
        }
    }
    for kept in [
        "/x?code=404",
        "/x?code=a&page=2",
        "/x?user[id]=1",
        "/x?shop:spin=2",
        "/x?sort[code]=desc",
        "/x?filter[shipping][0]=a",
    ] {
        assert_eq!(target(kept), kept);
    }
}

#[test]
fn user_information_is_found_anywhere_in_a_url() {
    let long = format!("https://bob:{}{SECRET}@h/x", "e".repeat(3000));
    for url in [
        "https://bob:hunter2secret@h/x",
        "git+https://bob:hunter2secret@h/x",
        "//bob:hunter2secret@h/x",
        "/proxy/http://bob:hunter2secret@h/x",
        "/proxy/http:/bob:hunter2secret@h/x",
        "/proxy//bob:hunter2secret@h/x",
        "https://h/proxy/https://bob:hunter2secret@h/x",
        "https://a@h/proxy/https://bob:hunter2secret@h/x?u=https://bob:hunter2secret@h",
        "https:\\\\bob:hunter2secret@h/x",
        "https://bob:o'hunter2secret@h/",
        "https://hunter2secret@h/",
        "bob:hunter2secret@h:443",
        &long,
    ] {
        hidden(url, &target(url));
        hidden(url, &header(b"Referer", url));
        hidden(url, &header(b"Location", url));
    }
    hidden("refresh", &header(b"Refresh", "0; url=https://bob:hunter2secret@h/x"));
    for name in ["X-Any", "Link", "Access-Control-Allow-Origin", "Via", "Content-Security-Policy"] {
        hidden(name, &header(name.as_bytes(), "<https://bob:hunter2secret@h/x>"));
    }
    for kept in [
        "/npm/@angular/core@18.1.0/index.js",
        "/npm//@angular/core",
        "/users/jane@example.org/a:b@c",
        "https://h/logo@2x.png",
        "mailto:jane@example.org",
        "/a//react@18/x",
    ] {
        assert_eq!(target(kept), kept);
        assert_eq!(header(b"Location", kept), kept);
    }
}

#[test]
fn cookies_are_found_among_attributes() {
    for value in [
        "a=1; Path=/, remember=hunter2secret; Path=/",
        "a=\"1\"; Version=\"1\", b=\"hunter2secret\"; Version=\"1\"",
        "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT, b=hunter2secret; Path=/",
        "a=1; hunter2secret",
        "a=1;\r\n b=hunter2secret",
        "a=1; Path=/\r\n b=hunter2secret",
        "a=1; Path=/\r\n\tSet-Cookie: b=hunter2secret",
        "hunter2secret; Path=/",
        "; a=hunter2secret",
        "a=\"x;hunter2secret\"; Path=/",
        "a=1; Secure=hunter2secret",
        "a=1; HttpOnly; Secure, b=hunter2secret; x",
    ] {
        for name in ["Set-Cookie", "Set-Cookie2", "X-Set-Cookie"] {
            hidden(value, &header(name.as_bytes(), value));
        }
    }
    let kept = "; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Max-Age=5; Domain=h; Path=/; Secure; HttpOnly; SameSite=Lax; Partitioned";
    let out = header(b"Set-Cookie", &format!("sid={SECRET}{kept}"));
    assert!(out.starts_with("sid=tok_") && out.ends_with(kept), "{out}");
}

#[test]
fn headers_of_credentials_by_whatever_name() {
    for name in ["Api-Authorization", "X-User-Authorization", "ServiceAuthorization", "X-Envoy-Original-Authorization"]
    {
        let out = header(name.as_bytes(), "Bearer hunter2secret");
        assert!(out.starts_with("Bearer tok_"), "{name} {out}");
    }
    for name in [
        "X-Authentication",
        "X-Proxy-Auth",
        "X-Basic-Auth",
        "X-OAuth",
        "X-Pass",
        "X-Pin",
        "X-Bearer",
        "X-Api-Keys",
        "X-Cookie",
        "X-Forwarded-Cookie",
        "Cookies",
        "X-Session-Cookie",
        "X-Set-Cookie",
        "X-Ovh-Consumer",
        "CF_Authorization",
    ] {
        hidden(name, &header(name.as_bytes(), SECRET));
        hidden(name, &header(name.as_bytes(), "a=hunter2secret"));
    }
    for name in [
        &b"Authorization\0"[..],
        b"Authorization\x0b",
        b"Authorization\xa0",
        b" Authorization\t",
        b"\xef\xbb\xbfCookie",
    ] {
        hidden("odd name", &header(name, "a=hunter2secret"));
    }
    for (name, value) in [
        ("WWW-Authenticate", "Negotiate hunter2secret=="),
        ("Proxy-Authenticate", "Basic realm=\"x\", NTLM hunter2secret"),
        ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.hunter2secret, chat"),
        ("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.hunter2secret"),
        ("Sec-WebSocket-Protocol", "graphql-ws, Bearer, hunter2secret"),
        ("Sec-WebSocket-Protocol", "access_token, hunter2secret"),
        ("Sec-WebSocket-Protocol", "auth-hunter2secret"),
        ("Sec-WebSocket-Protocol", "eyJhunter2secret"),
    ] {
        hidden(value, &header(name.as_bytes(), value));
    }
    assert!(header(b"X-Custom", "Bearer hunter2secret").starts_with("Bearer tok_"));
    assert!(header(b"X-Custom", "basic Ym9iOmh1bnRlcjI=").starts_with("basic tok_"));
    hidden("a sign behind the name", &header(b"X-Auth-Token#", SECRET));
    for (name, value) in [
        ("X-Plan", "Basic subscription"),
        ("X-Animal", "Bear"),
        ("X-Note", "Bearer of bad news"),
        ("WWW-Authenticate", "Digest realm=\"x\", nonce=\"y\", Basic realm=\"z\""),
        ("WWW-Authenticate", "Negotiate"),
        ("WWW-Authenticate", "Bearer error=\"invalid_request\""),
        ("Sec-WebSocket-Protocol", "graphql-transport-ws, v12.stomp, mqtt, soap"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Origin", "https://a.example"),
    ] {
        assert_eq!(header(name.as_bytes(), value), value);
    }
}

#[test]
fn fields_hidden_behind_a_line_break_are_found() {
    for line in ["Authorization: Bearer hunter2secret", "Cookie: a=1; b=hunter2secret", "x-api-key : hunter2secret"] {
        for fold in ["\r\n ", "\r\n\t", "\r", "\n ", "\r\n x: y\r\n "] {
            for name in
                ["Accept", "User-Agent", "X-Any", "Referer", "Host", "Set-Cookie", "Content-Length", "WWW-Authenticate"]
            {
                let value = format!("a{fold}{line}");
                let out = header(name.as_bytes(), &value);
                hidden(&format!("{name}: {value:?}"), &out);
            }
        }
    }
    hidden("no colon", &header(b"", "Cookie a=hunter2secret"));
    hidden("no name", &header(b"", "no field password=hunter2secret"));
    assert_eq!(header(b"Accept", "*/*\r\n text/html"), "*/*\r\n text/html");
}

/// Names of credentials in other languages, and families of names; and what only looks like them.
#[test]
fn fields_of_credentials_by_whatever_name() {
    for name in [
        "tokens",
        "passwords",
        "secrets",
        "apiKeys",
        "smtp_pass",
        "loginPass",
        "passwordNew",
        "password_old",
        "password_verify",
        "pwdConfirm",
        "tokenValue",
        "accessTokenValue",
        "privateKeyPem",
        "sessid",
        "auth_code",
        "oauth_signature",
        "recoveryCodes",
        "passkey",
        "cvvNumber",
        "secret_key_base",
        "contraseña",
        "пароль",
        "Пароль",
        "登录密码",
        "パスワード",
        "비밀번호",
        "hasło",
    ] {
        let escaped: String = name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let half: String = name
            .encode_utf16()
            .map(|unit| if unit < 128 { char::from(unit as u8).to_string() } else { format!("\\u{unit:04X}") })
            .collect();
        for name in [name, &escaped, &half] {
            hidden(name, &body("application/json", &format!("{{\"a\":1,\"{name}\":\"{SECRET}\"}}")));
            hidden(name, &body("text/plain", &format!("{{\"a\":1,\"{name}\":\"{SECRET}\"}}")));
        }
        let percent: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for name in [name, &percent] {
            hidden(name, &target(&format!("/x?a=1&{name}={SECRET}")));
            hidden(name, &body("application/x-www-form-urlencoded", &format!("a=1&{name}={SECRET}")));
        }
        hidden(name, &body("multipart/form-data; boundary=BB", &part(&NAMED.replace("password", name), SECRET)));
    }
    for kept in [
        "{\"max_tokens\":512,\"total_tokens\":\"17\",\"tokens\":3,\"password_updated_at\":\"2026-11-21\"}",
        "{\"author\":\"a\",\"passenger\":\"b\",\"tokenizer\":\"c\",\"keyword\":\"d\",\"code\":\"e\",\"key\":\"f\",\"compass\":\"g\",\"bypass\":\"h\"}",
        "{\"stop_tokens\":[\"x\"],\"boarding_pass\":\"A1\",\"\\u0430\":1,\"\\uabcd\":2}",
    ] {
        assert_eq!(body("application/json", kept), kept);
    }
    for (name, value) in [("x-ratelimit-remaining-tokens", "149984"), ("x-ratelimit-reset-tokens", "6m0s")] {
        assert_eq!(header(name.as_bytes(), value), value);
    }
}

/// The list of findings names fields, not what is in them, even where that is what a part is called.
#[test]
fn names_that_hold_secrets_are_not_told() {
    let mut masker = credentials();
    masker.begin();
    let text = part(
        &format!("Content-Disposition: form-data; name=\"a password={SECRET} token\"\r\nContent-Type: text/plain"),
        "pin=hunter2secret",
    );
    let MaskedBody::Replaced(_) =
        masker.body(Side::Request, Some(b"multipart/form-data; boundary=BB"), text.as_bytes(), false)
    else {
        panic!()
    };
    assert!(masker.findings().count() >= 2);
    for finding in masker.findings() {
        assert!(!finding.field.contains(SECRET), "{finding:?}");
    }
}

/// A masker with the default policy and own names of fields, or with all detectors as well.
fn any_masker(rng: &mut StdRng) -> Masker {
    match coin(rng, 0.7) {
        true => masker(&Settings { detectors: Vec::new(), patterns: Vec::new(), ..all(Action::Hash) }),
        false => masker(&all([Action::Hash, Action::Redact, Action::Fpe][below(rng, 3)])),
    }
}

fn pick<'a>(rng: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices[below(rng, choices.len())]
}

/// Fails if a secret is in what leaves, as it is or percent-encoded: nothing here writes it otherwise.
fn no_leak(secrets: &[String], input: &[u8], out: &[u8], seed: u64) {
    let mut decoded = Vec::new();
    let mut rest = out;
    while let Some((byte, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| *byte == b'%').and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        decoded.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &behind[2..] } else { behind };
    }
    for secret in secrets {
        let is_in = |text: &[u8]| memchr::memmem::find(text, secret.as_bytes()).is_some();
        assert!(
            !is_in(out) && !is_in(&decoded),
            "seed {seed}: {secret:?} leaves\n--- in\n{}\n--- out\n{}",
            String::from_utf8_lossy(input),
            String::from_utf8_lossy(out)
        );
    }
}

fn masked_body(masker: &mut Masker, content_type: &str, text: &str, cut: bool) -> Vec<u8> {
    masker.begin();
    match masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), cut) {
        MaskedBody::Kept => text.as_bytes().to_vec(),
        MaskedBody::Replaced(out) => out.to_vec(),
        MaskedBody::Dropped => Vec::new(),
    }
}

/// A name within others, as frameworks and mistakes write it.
fn within_names(rng: &mut StdRng, name: &str) -> String {
    let mut text = match below(rng, 9) {
        0 => format!("user[{name}]"),
        1 => format!("a[b][{name}][first]"),
        2 => format!("{name}[{}]", below(rng, 9)),
        3 => format!("loginForm:{name}"),
        4 => format!("form.{name}"),
        5 => format!("amp;{name}"),
        6 => format!("{}{name}", pick(rng, &[";", "?", "??", "/cb?", "!/r?"])),
        _ => name.to_owned(),
    };
    for _ in 0..below(rng, 3) {
        let is_encoded = |byte: &u8| !byte.is_ascii_alphanumeric() && !b"-_.?;".contains(byte) || *byte == b'%';
        text = text
            .bytes()
            .map(|byte| if is_encoded(&byte) { format!("%{byte:02X}") } else { char::from(byte).to_string() })
            .collect();
    }
    text
}

#[test]
fn pairs_by_any_spelling_of_their_names() {
    for seed in 0..1000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = any_masker(&mut rng);
        let mut secrets = Vec::new();
        let mut pairs = Vec::new();
        for i in 0..1 + below(&mut rng, 3) {
            pairs.push(format!("q{i}={}", pick(&mut rng, &["", "1", "a%20b", "x.y"])));
            let (name, secret) = named_secret(&mut rng);
            pairs.push(format!("{}={}", within_names(&mut rng, &name), percent(&mut rng, &secret)));
            secrets.push(secret);
        }
        let form = pairs.join("&");
        let content_type = pick(&mut rng, &["application/x-www-form-urlencoded", "", "text/plain"]);
        let out = masked_body(&mut masker, content_type, &form, false);
        no_leak(&secrets, form.as_bytes(), &out, seed);
        for target in [format!("/a?{form}"), format!("/a#{form}"), format!("https://h/#/route?{form}")] {
            let out = masker.target(target.as_bytes()).or(target.as_bytes()).to_vec();
            no_leak(&secrets, target.as_bytes(), &out, seed);
            let out = masker.header(Side::Response, b"Location", target.as_bytes()).or(target.as_bytes()).to_vec();
            no_leak(&secrets, target.as_bytes(), &out, seed);
        }
    }
}

/// A part, and parts within it; `nl` is how lines end.
fn random_part(rng: &mut StdRng, nl: &str, depth: usize, secrets: &mut Vec<String>) -> String {
    let (name, secret) = named_secret(rng);
    if depth > 0 && coin(rng, 0.4) {
        let boundary = format!("in-{depth}{}", word(rng).len());
        let inner = random_parts(rng, nl, &boundary, depth - 1, secrets);
        return format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"{nl}{nl}{inner}");
    }
    let disposition = match below(rng, 7) {
        0 => format!("form-data; name={name}"),
        1 => format!("form-data;{nl} name=\"{name}\""),
        2 => format!("form-data;{nl}\tfilename=\"a.txt\"; Name=\"u[{name}][0]\""),
        3 => format!("form-data; name*=utf-8''{name}"),
        4 => format!("form-data; name=\"u%5B{name}%5D\""),
        5 => format!("form-data; name=\"x\"; name=\"{name}\""),
        _ => format!("form-data; name=\"{name}\""),
    };
    let colon = pick(rng, &[":", ": ", " : "]);
    let field = pick(rng, &["Content-Disposition", "content-disposition", "CONTENT-DISPOSITION"]);
    let mut fields = vec![format!("{field}{colon}{disposition}")];
    for _ in 0..below(rng, 3) {
        let other =
            pick(rng, &["Content-Type: text/plain", "Content-Type: application/json", "Content-ID: <a>", "X-A: b"]);
        fields.insert(below(rng, fields.len() + 1), other.to_owned());
    }
    secrets.push(secret.clone());
    let blank = pick(rng, &["", "", "", " ", "\t"]);
    match below(rng, 4) {
        // A field that is itself a secret; a whole message.
        0 => format!("Content-Type: text/plain{nl}X-Api-Key{colon}\"a\", {secret}{nl}{nl}x"),
        1 => format!("Content-Type: application/http{nl}{nl}GET / HTTP/1.1{nl}Cookie: a=\"b\"; c={secret}{nl}{nl}"),
        2 => {
            use base64::Engine as _;
            let text = format!("{{\"{name}\":[\"{secret}\"]}}");
            let packed = base64::engine::general_purpose::STANDARD.encode(&text);
            secrets.push(packed.clone());
            format!("Content-Transfer-Encoding: base64{nl}{nl}{packed}")
        }
        _ => format!("{}{nl}{blank}{nl}{secret}", fields.join(nl)),
    }
}

fn random_parts(rng: &mut StdRng, nl: &str, boundary: &str, depth: usize, secrets: &mut Vec<String>) -> String {
    let mut text = String::new();
    for _ in 0..1 + below(rng, 3) {
        text += &format!("--{boundary}{nl}{}{nl}", random_part(rng, nl, depth, secrets));
    }
    text + &format!("--{boundary}--{nl}")
}

#[test]
fn parts_by_any_spelling_of_their_heads() {
    for seed in 0..1000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = any_masker(&mut rng);
        let mut secrets = Vec::new();
        let nl = pick(&mut rng, &["\r\n", "\r\n", "\n", "\r"]);
        let boundary = pick(&mut rng, &["b", "----WebKitFormBoundary7MA4YWxk", "a b", "=_x'y"]);
        let depth = below(&mut rng, 4);
        let parts = random_parts(&mut rng, nl, boundary, depth, &mut secrets);
        // Without a declaration the first part has to look like one.
        let looks = parts.split(nl).nth(1).is_some_and(|line| line.to_ascii_lowercase().starts_with("content-"));
        let (content_type, text) = match below(&mut rng, if looks { 5 } else { 2 }) {
            0 => (format!("multipart/form-data; boundary=\"{boundary}\""), format!("a preamble{nl}{parts}")),
            1 => (format!("multipart/form-data; x=y ; boundary=\"{boundary}\""), parts),
            2 => ("multipart/form-data".into(), format!("a preamble{nl}{parts}")),
            3 => ("multipart/form-data; boundary=OTHER".into(), parts),
            _ => (pick(&mut rng, &["", "text/plain", "application/octet-stream"]).into(), format!("{nl}{parts}")),
        };
        // Parts that nothing announces but a boundary that is not declared are text.
        let is_declared = content_type.contains(boundary);
        let cut = coin(&mut rng, 0.2);
        let out = masked_body(&mut masker, &content_type, &text, cut);
        if is_declared || looks && depth == 0 {
            no_leak(&secrets, text.as_bytes(), &out, seed);
        }
    }
}

#[test]
fn user_information_in_any_url() {
    for seed in 0..1000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = any_masker(&mut rng);
        let (_, secret) = named_secret(&mut rng);
        let secret = secret.replace('#', ".") + &"e".repeat(below(&mut rng, 3) * 700);
        let front = pick(
            &mut rng,
            &["", "https://h.example/proxy/", "/proxy/", "/a/b/", "0; url=", "https://me@h.example:80/x/", "/a//b/"],
        );
        let sign = if front.is_empty() {
            pick(&mut rng, &["https://", "//", "git+ssh://", "HTTP:\\\\", ""])
        } else {
            "http://"
        };
        let sign = if front.ends_with('/') && coin(&mut rng, 0.3) { "http:/" } else { sign };
        let behind = pick(&mut rng, &["", "/", "/p?q=1", ":443", ":8080/x#y", "?x=@", "/a@b"]);
        let url = format!("{front}{sign}bob:{secret}@h.example{behind}");
        let secrets = [secret];
        let out = masker.target(url.as_bytes()).or(url.as_bytes()).to_vec();
        no_leak(&secrets, url.as_bytes(), &out, seed);
        assert!(out.ends_with(format!("@h.example{behind}").as_bytes()) || out != url.as_bytes(), "{url}");
        for name in ["Referer", "Location", "Refresh", "X-Original-URL"] {
            let out = masker.header(Side::Request, name.as_bytes(), url.as_bytes()).or(url.as_bytes()).to_vec();
            no_leak(&secrets, url.as_bytes(), &out, seed);
        }
    }
}

#[test]
fn cookies_in_any_order() {
    for seed in 0..1000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut masker = any_masker(&mut rng);
        let mut secrets = Vec::new();
        let mut value = String::new();
        for i in 0..1 + below(&mut rng, 6) {
            let joint = match i {
                0 => "",
                _ => pick(&mut rng, &[";", "; ", ";\r\n ", "; ; "]),
            };
            value += joint;
            if i == 0 || coin(&mut rng, 0.4) {
                let (_, secret) = named_secret(&mut rng);
                value += &match below(&mut rng, 5) {
                    0 => secret.clone(),
                    1 => format!("c{i}=\"{secret}\""),
                    2 if i > 0 => format!("Path=/, c{i}={secret}"),
                    3 if i > 0 => format!("Expires=Wed, 21 Oct 2026 07:28:00 GMT,c{i} ={secret}"),
                    _ => format!("c{i}={secret}"),
                };
                secrets.push(secret);
            } else {
                value += pick(
                    &mut rng,
                    &[
                        "Path=/a",
                        "HttpOnly",
                        "Secure",
                        "Expires=Wed, 21 Oct 2026 07:28:00 GMT",
                        "Max-Age=5",
                        "SameSite=None",
                    ],
                );
            }
        }
        for name in ["Set-Cookie", "Set-Cookie2", "Cookie", "X-Forwarded-Cookie"] {
            let out = masker.header(Side::Response, name.as_bytes(), value.as_bytes()).or(value.as_bytes()).to_vec();
            no_leak(&secrets, value.as_bytes(), &out, seed);
        }
        // Folded into a header that is otherwise never read.
        let (_, secret) = named_secret(&mut rng);
        let field =
            pick(&mut rng, &["Authorization: Bearer ", "cookie : a=b; c=", "X-API-KEY:", "Proxy-Authorization: "]);
        let value = format!("a{}{field}{secret}", pick(&mut rng, &["\r\n ", "\r\n\t", "\r", "\n ", "\r\n x\r\n "]));
        for name in ["Accept", "User-Agent", "Location", "X-Any", "Set-Cookie"] {
            let out = masker.header(Side::Response, name.as_bytes(), value.as_bytes()).or(value.as_bytes()).to_vec();
            no_leak(std::slice::from_ref(&secret), value.as_bytes(), &out, seed);
        }
    }
}

/// Whatever carries a host: user and password in front of it are secrets, however they are written.
#[test]
fn users_of_hosts_are_found() {
    for host in [
        "me:hunter2secret@h",
        "\"me:hunter2secret@h\"",
        "<me:hunter2secret@h>",
        "'me:hunter2secret@h'",
        "//me:hunter2secret@h",
        "http://me:hunter2secret@h/",
        "http:/me:hunter2secret@h",
        "http:\\\\me:hunter2secret@h",
        "me:hunter2secret @h",
        "me: hunter2secret@h",
        "me:hunter2secret@ h",
        "me:a/bhunter2secret@h",
        "me:a#bhunter2secret@h",
        "me:a\"bhunter2secret@h",
        "me:x yhunter2secret@h",
        "http://me:hunter2secret/x@h/",
        "me:hunter2secret%40h",
        "me%253Ahunter2secret%2540h",
        "a, me:hunter2secret@h",
        "a:80, me:p@h, x:hunter2secret@h2",
    ] {
        for name in ["Host", ":authority", "X-Forwarded-Host", "X-Host", "Origin", "Via", "X-Forwarded-Server"] {
            let out = header(name.as_bytes(), host);
            hidden(&format!("{name}: {host}"), &out);
            assert!(!out.contains("hunter2"), "{name}: {host} {out}");
        }
        let quoted = format!("\"{}\"", host.replace('"', "\\\""));
        for line in [
            format!("Forwarded: host={quoted};for=192.0.2.1"),
            format!("Forwarded: for=192.0.2.1;by=\"_x\", for=\"[::1]:80\";host={quoted}"),
            format!("Alt-Svc: h2={quoted}; ma=3600"),
        ] {
            let (name, value) = line.split_once(": ").unwrap();
            let out = header(name.as_bytes(), value);
            hidden(&line, &out);
            for kept in ["192.0.2.1", "for=", "host=", "h2=", "[::1]:80", "ma=3600", "_x"] {
                assert_eq!(out.contains(kept), value.contains(kept), "{line} {out}");
            }
        }
    }
    for line in [
        "Forwarded: host=me:hunter2secret@h",
        "Forwarded: by=\"me:hunter2secret@h\"",
        "Link: <//me:hunter2secret@h/>; rel=x",
        "Access-Control-Allow-Origin: me:hunter2secret@h",
        "Host: h\r\n me:hunter2secret@h",
        "Host: password:hunter2secret",
    ] {
        let (name, value) = line.split_once(": ").unwrap();
        hidden(line, &header(name.as_bytes(), value));
    }
    for line in [
        "Host: api.example:8080",
        "Host: [2001:db8::1]:443",
        "X-Forwarded-Host: a, b:80",
        "Forwarded: for=192.0.2.1;proto=https;host=\"h:80\";by=_x",
        "Origin: https://app.example",
        "Via: 1.1 vegur, 1.1 x (squid/6.1)",
        "Link: <https://h/users/@me?page=2>; rel=\"next\", </jane@example.com>; rel=me",
        "Alt-Svc: h3=\":443\"; ma=2592000",
    ] {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(header(name.as_bytes(), value), value, "{line}");
    }
}

/// What is in front of a cookie's sign of equality may be more than a name, and so may be what its attributes say.
#[test]
fn pairs_around_cookies_are_found() {
    for value in [
        r#"{"password":"hunter2secret","x":"a=b"}"#,
        r#"a=1; {"password":"hunter2secret","x":"a=b"}"#,
        "%7B%22password%22:%22hunter2secret%22,%22x%22:%22a=b",
        "http://me:hunter2secret@h?a=b",
        "password:hunter2secret,x=b",
        "a=b; Path=/x?password=hunter2secret",
        "a=b; Path=/; Comment=\"password:hunter2secret\"",
        "a=b; Path=/x?a=1&password=hunter2secret; HttpOnly, c=d",
    ] {
        for name in ["Cookie", "Set-Cookie", "X-Set-Cookie"] {
            hidden(&format!("{name}: {value}"), &header(name.as_bytes(), value));
        }
    }
    let kept = "; Expires=Wed, 21 Oct 2026 07:28:00 GMT; Path=/a%20b; Domain=h; Secure";
    assert!(header(b"Set-Cookie", &format!("a{kept}")).ends_with(kept));
}
