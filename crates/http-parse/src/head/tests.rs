use proptest::prelude::*;

use super::*;
use crate::framing::{Asked, frame};

fn message(head: &[u8]) -> Message {
    Message { head: head.to_vec(), head_end: head.len() as u64, ..Message::default() }
}

fn request(head: &[u8]) -> Message {
    let mut message = message(head);
    parse_head(MessageKind::Request, &mut message, 512)
        .unwrap_or_else(|_| panic!("{:?}", head.escape_ascii().to_string()));
    message
}

fn response(head: &[u8]) -> Message {
    let mut message = message(head);
    parse_head(MessageKind::Response, &mut message, 512)
        .unwrap_or_else(|_| panic!("{:?}", head.escape_ascii().to_string()));
    message
}

fn is_malformed(kind: MessageKind, head: &[u8]) -> bool {
    let mut message = message(head);
    let result = parse_head(kind, &mut message, 512);
    assert_eq!(result.is_err(), result == Err(MalformedHead));
    assert!(result.is_ok() || message.headers.is_empty());
    result.is_err()
}

fn flags(message: &Message) -> Vec<Flag> {
    message.flags.iter().collect()
}

fn fields(message: &Message) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    message.headers().map(|header| (text(header.name), text(header.value))).collect()
}

// Where a head ends.

#[test]
fn head_ends_at_the_first_empty_line_of_any_kind() {
    for (head, rest) in [
        ("GET / HTTP/1.1\r\nA: b\r\n\r\n", "body"),
        ("GET / HTTP/1.1\nA: b\n\n", "\r\n\r\n"),
        ("GET / HTTP/1.1\r\nA: b\r\n\n", ""),
        ("GET / HTTP/1.1\r\nA: b\n\r\n", "\n"),
        ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", "x"),
        (" \t\r\n\nHTTP/1.1 200 OK\n\n", "x"),
        ("GET / HTTP/1.1\r\n\r\r\nA: b\r\n\r\n", ""),
        ("GET / HTTP/1.1\r\nA: b\r\n \r\n c\r\n\r\n", ""),
    ] {
        let all = [head, rest].concat();
        assert_eq!(find_head_end(all.as_bytes(), &mut 0), Some(head.len()), "{all:?}");
        assert_eq!(find_head_end(&all.as_bytes()[..head.len() - 1], &mut 0), None, "{all:?}");
    }
}

/// The end by definition, byte by byte.
fn slow_head_end(buf: &[u8]) -> Option<usize> {
    let lead = buf.iter().take(64).take_while(|byte| b"\r\n \t".contains(byte)).count();
    let ends = |at: usize| buf[at..].starts_with(b"\n\n") || buf[at..].starts_with(b"\n\r\n");
    (lead..buf.len()).find(|at| ends(*at)).map(|at| at + if buf[at + 1] == b'\n' { 2 } else { 3 })
}

proptest! {
    #[test]
    fn head_end_is_the_same_however_the_bytes_arrive(
        buf in prop_oneof![
            "[a\r\n ]{0,300}",
            "(([a-z]{0,40}: [a-z ]{0,90}\r\n){0,9}\r?\n[a\r\n]{0,9}){0,3}",
        ],
        cuts in prop::collection::vec(0usize..400, 0..6),
    ) {
        let buf = buf.as_bytes();
        let expected = slow_head_end(buf);
        prop_assert_eq!(find_head_end(buf, &mut 0), expected);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(buf.len())).chain([buf.len()]).collect();
        cuts.sort_unstable();
        let mut scanned = 0;
        for cut in cuts {
            let found = find_head_end(&buf[..cut], &mut scanned);
            prop_assert!(scanned <= cut);
            prop_assert_eq!(found, expected.filter(|end| *end <= cut));
            if found.is_some() {
                break;
            }
        }
    }
}

#[test]
fn head_that_arrives_byte_by_byte_is_searched_once() {
    let head = [&b"GET / HTTP/1.1\r\n"[..], &b"A: b\r\n".repeat(50), b"\r\n"].concat();
    let mut scanned = 0;
    for len in 0..head.len() {
        assert_eq!(find_head_end(&head[..len], &mut scanned), None);
        assert!(scanned + 2 >= len, "{scanned} of {len}");
    }
    assert_eq!(find_head_end(&head, &mut scanned), Some(head.len()));
}

// Both readers.

/// Everything a reader found: start line, fields, flags.
type Reading = (Start, Vec<(Vec<u8>, Vec<u8>)>, Flags);

fn read(
    reader: fn(MessageKind, &[u8], &mut Fields<'_>) -> Option<Start>,
    kind: MessageKind,
    head: &[u8],
) -> Option<Reading> {
    let mut spans = Vec::new();
    let mut fields = Fields::new(&mut spans, 512);
    let mut start = reader(kind, head, &mut fields)?;
    let flags = fields.flags;
    let slice = |span: Span| head[span.start as usize..span.end as usize].to_vec();
    if start.text.start == start.text.end {
        start.text = Span::default();
    }
    Some((start, spans.iter().map(|field| (slice(field.name), slice(field.value))).collect(), flags))
}

/// What the reader of regular heads makes of bytes that begin with a head: how long it is and what the message became.
fn read_regularly(kind: MessageKind, bytes: &[u8]) -> Option<(usize, Message)> {
    let mut message = message(b"");
    let len = read_regular_head(kind, bytes, &mut message, 512)?;
    message.head = bytes[..len].to_vec();
    message.head_end = len as u64;
    Some((len, message))
}

/// Holds the reader of regular heads to what the others say of the same bytes. Whether it read the head.
fn agree_on_regular(kind: MessageKind, bytes: &[u8]) -> bool {
    let Some((len, regular)) = read_regularly(kind, bytes) else { return false };
    assert_eq!(find_head_end(bytes, &mut 0), Some(len), "{}", bytes.escape_ascii());
    assert!(read(read_strictly, kind, &bytes[..len]).is_some(), "httparse refuses {}", bytes.escape_ascii());
    let mut other = message(&bytes[..len]);
    parse_head(kind, &mut other, 512).unwrap();
    let told = |message: &Message| {
        let Message { kind, version, status, flags, head_end, .. } = *message;
        let fields: Vec<_> = message.headers().map(|field| (field.name.to_vec(), field.value.to_vec())).collect();
        let start = [message.method(), message.target(), message.reason()].map(<[u8]>::to_vec);
        (kind, version, status, flags, head_end, fields, start)
    };
    assert_eq!(told(&regular), told(&other), "{}", bytes.escape_ascii());
    for asked in [Asked::Other, Asked::Head] {
        assert_eq!(frame(&regular, asked), frame(&other, asked), "{}", bytes.escape_ascii());
    }
    true
}

fn agree(kind: MessageKind, head: &[u8]) -> bool {
    agree_on_regular(kind, head);
    let strict = read(read_strictly, kind, head);
    if strict.is_some() {
        assert_eq!(strict, read(lines::read_head, kind, head), "{}", head.escape_ascii());
    }
    strict.is_some()
}

fn head_of_the_grammar() -> impl Strategy<Value = (MessageKind, String)> {
    let eol = || prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    let start = prop_oneof![
        "[A-Z!#$%&'*+.^_`|~-]{1,9} [!-~äß]{1,20} HTTP/1[.][01]".prop_map(|line| (MessageKind::Request, line)),
        "HTTP/1[.][01] [0-9]{3}( [ -~\té]{0,12})?".prop_map(|line| (MessageKind::Response, line)),
    ];
    let field =
        prop_oneof!["[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}:[ \t]{0,2}[ -~\tü]{0,20}", "(Host|HOST|host):[a-z.]{0,9}",];
    let fields = prop::collection::vec((field, eol()), 0..8);
    (prop::collection::vec(eol(), 0..3), start, eol(), fields, eol()).prop_map(
        |(lead, (kind, start), end, fields, last)| {
            let fields: String = fields.iter().map(|(field, eol)| format!("{field}{eol}")).collect();
            (kind, format!("{}{start}{end}{fields}{last}", lead.concat()))
        },
    )
}

/// Heads as nearly all are, short and long, and what follows them.
fn usual_head() -> impl Strategy<Value = (MessageKind, String, String)> {
    let start = prop_oneof![
        "[A-Z]{1,9} /[!-~]{0,90} HTTP/1[.][01]".prop_map(|line| (MessageKind::Request, line)),
        "HTTP/1[.][01] [0-9]{3}( [ -~]{0,12})?".prop_map(|line| (MessageKind::Response, line)),
    ];
    let field = prop_oneof![
        4 => "[a-zA-Z0-9_-]{1,40}: {0,2}[ -~]{0,150}",
        1 => "(Host|host):[a-z.]{0,9}",
        1 => "[Cc]ontent-[Ll]ength: ([0-9]{1,21}|[0-9, +x]{0,4})",
        1 => "[Tt]ransfer-[Ee]ncoding: ?(chunked|gzip|gzip, chunked)?",
    ];
    (start, prop::collection::vec(field, 0..12), "[ -~\r\n]{0,90}").prop_map(|((kind, start), fields, rest)| {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        (kind, format!("{start}\r\n{fields}\r\n"), rest)
    })
}

proptest! {
    #[test]
    fn usual_heads_are_regular_and_read_as_httparse_reads_them((kind, head, rest) in usual_head()) {
        let all = [&head[..], &rest[..]].concat();
        prop_assert!(agree_on_regular(kind, all.as_bytes()), "not regular: {head:?}");
        prop_assert!(!agree_on_regular(kind, &all.as_bytes()[..head.len() - 1]), "the head is not whole");
        let mut message = message(b"");
        let fields = head.lines().count() - 2;
        let max = fields.saturating_sub(1);
        let read = read_regular_head(kind, all.as_bytes(), &mut message, max);
        prop_assert_eq!(read.is_some(), fields <= max, "more fields than are kept are not its to choose from");
    }

    #[test]
    fn damaged_usual_heads_are_read_as_httparse_reads_them(
        (kind, head, rest) in usual_head(),
        damage in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![any::<u8>(), prop::sample::select(&b"\r\n \t:\0\x7f\x80\xff"[..])]),
            1..4,
        ),
        removed in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = [&head[..], &rest[..]].concat().into_bytes();
        for (index, byte) in damage {
            let at = index.index(head.len());
            bytes[at] = byte;
        }
        if let Some(index) = removed {
            bytes.remove(index.index(head.len()));
        }
        agree_on_regular(kind, &bytes);
    }

    #[test]
    fn lenient_reader_agrees_with_httparse((kind, head) in head_of_the_grammar()) {
        prop_assert!(agree(kind, head.as_bytes()), "httparse refuses {head:?}");
        prop_assert_eq!(find_head_end(head.as_bytes(), &mut 0), Some(head.len()));
    }

    #[test]
    fn readers_agree_on_damaged_heads(
        (kind, head) in head_of_the_grammar(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'\r'), Just(b' '), Just(0)]), 1..4),
        len in any::<prop::sample::Index>(),
    ) {
        let mut head = head.into_bytes();
        for (index, byte) in damage {
            let at = index.index(head.len());
            head[at] = byte;
        }
        agree(kind, &head);
        head.truncate(len.index(head.len() + 1));
        agree(kind, &head);
    }

    #[test]
    fn nothing_panics_and_spans_lie_within(bytes in prop::collection::vec(any::<u8>(), 0..200), max in 0usize..4) {
        for kind in [MessageKind::Request, MessageKind::Response] {
            let mut message = message(&[b"GET / HTTP/1.1\r\n", &bytes[..]].concat());
            if parse_head(kind, &mut message, max).is_ok() {
                prop_assert!(message.headers.len() <= max + 32);
                for field in &message.headers {
                    prop_assert!(field.name.start <= field.name.end && field.name.end <= field.value.start);
                    prop_assert!(field.value.start <= field.value.end && field.value.end as usize <= message.head.len());
                }
            }
        }
        looks_like_start(&bytes);
    }
}

#[test]
fn names_of_regular_heads_have_two_symbols() {
    for byte in 0..=255_u8 {
        for before in 0..70 {
            let line = [&b"GET / HTTP/1.1\r\nHost: h\r\n"[..], &vec![b'n'; before], &[byte], b"n: v\r\n\r\n"].concat();
            let is_name = byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b':' && before > 0);
            assert_eq!(agree_on_regular(MessageKind::Request, &line), is_name, "{byte} behind {before}");
            let line = [&b"GET / HTTP/1.1\r\nHost: h\r\nn: v"[..], &vec![b'v'; before], &[byte], b"\r\n\r\n"].concat();
            let is_value = byte.is_ascii_graphic() || byte == b' ';
            assert_eq!(agree_on_regular(MessageKind::Request, &line), is_value, "{byte} behind {before}");
        }
    }
}

#[test]
fn controls_are_seen_in_heads_of_any_length() {
    let fields = b"Name: value of a field\r\n".repeat(900);
    let head = [&b"GET / HTTP/1.1\r\nHost: h\r\n"[..], &fields, b"\r\n"].concat();
    let mut spans = Vec::new();
    let len = |head: &[u8], spans: &mut _| {
        regular::read_head(MessageKind::Request, head, &mut Fields::new(spans, 1000)).map(|(_, len)| len)
    };
    assert_eq!(len(&head, &mut spans), Some(head.len()));
    for at in (50..head.len()).step_by(2_000) {
        let mut head = head.clone();
        head[at] = 1;
        assert_eq!(len(&head, &mut spans), None, "a control at {at}");
    }
}

#[test]
fn tokens_are_those_of_the_grammar() {
    for byte in 0..=255_u8 {
        assert_eq!(lines::is_token(byte), byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte), "{byte}");
    }
}

// Lenient reading, case by case.

#[test]
fn ordinary_request_and_response() {
    let message = request(b"GET /a?b=c HTTP/1.1\r\nHost: example.test\r\nEmpty:\r\nX: \t y z \r\n\r\n");
    assert_eq!((message.method(), message.target()), (&b"GET"[..], &b"/a?b=c"[..]));
    assert_eq!(message.version(), Version { major: 1, minor: 1 });
    assert_eq!(fields(&message), [("Host", "example.test"), ("Empty", ""), ("X", "y z")]);
    assert!(message.flags.is_empty());

    let message = response(b"HTTP/1.0 404 Not  Found\r\nServer: x\r\n\r\n");
    assert_eq!((message.status(), message.reason()), (404, &b"Not  Found"[..]));
    assert!(message.flags.is_empty());
    assert_eq!(response(b"HTTP/1.1 200\r\n\r\n").reason(), b"");
    assert_eq!(response("HTTP/1.1 200 Schön\r\n\r\n".as_bytes()).reason(), "Schön".as_bytes());
}

#[test]
fn odd_request_lines_are_read() {
    use Flag::{InvalidStartLine, LeadingEmptyLines, MissingHost, UnusualVersion};
    for (line, method, target, version, expected) in [
        ("get / HTTP/1.0", "get", "/", (1, 0), vec![]),
        ("GET   /x\t HTTP/1.0 ", "GET", "/x", (1, 0), vec![InvalidStartLine]),
        ("CONNECT host:25 / HTTP/1.0", "CONNECT", "host:25", (1, 0), vec![InvalidStartLine]),
        ("GET /x http/1.1", "GET", "/x", (1, 1), vec![InvalidStartLine, MissingHost]),
        ("GET /x HTTP/1.2", "GET", "/x", (1, 2), vec![UnusualVersion, MissingHost]),
        ("GET /x HTTP/2.0", "GET", "/x", (2, 0), vec![UnusualVersion]),
        ("GET /x HTTP/1.01", "GET", "/x", (1, 1), vec![InvalidStartLine, MissingHost]),
        ("GET /x HTTP/1", "GET", "/x", (1, 0), vec![InvalidStartLine]),
        ("\r\n \r\nGET /x HTTP/1.0", "GET", "/x", (1, 0), vec![LeadingEmptyLines]),
        ("M-SEARCH * HTTP/1.0", "M-SEARCH", "*", (1, 0), vec![]),
        ("GET /\u{1} HTTP/1.0", "GET", "/\u{1}", (1, 0), vec![InvalidStartLine]),
    ] {
        let message = request(format!("{line}\r\n\r\n").as_bytes());
        assert_eq!((message.method(), message.target()), (method.as_bytes(), target.as_bytes()), "{line:?}");
        assert_eq!((message.version().major, message.version().minor), version, "{line:?}");
        assert_eq!(flags(&message), expected, "{line:?}");
    }
    assert_eq!(request(b"GET /\xff\xfe HTTP/1.0\r\n\r\n").target(), b"/\xff\xfe");
}

#[test]
fn odd_status_lines_are_read() {
    use Flag::{BareCr, InvalidStartLine, LeadingEmptyLines, NulInHead, UnusualVersion};
    for (line, version, reason, expected) in [
        ("HTTP/1.1  200 OK", (1, 1), "OK", vec![InvalidStartLine]),
        ("HTTP/1.1\t 200 OK", (1, 1), "OK", vec![InvalidStartLine]),
        ("HTTP/1.1 \t200\tOK", (1, 1), "OK", vec![InvalidStartLine]),
        ("HTTP/1.1 200OK", (1, 1), "OK", vec![InvalidStartLine]),
        ("http/1.1 200 OK", (1, 1), "OK", vec![InvalidStartLine]),
        ("HTTP/1.2 200 OK", (1, 2), "OK", vec![UnusualVersion]),
        ("HTTP/2.1 200 OK", (2, 1), "OK", vec![UnusualVersion]),
        ("HTTP/0.9 200 OK", (0, 9), "OK", vec![UnusualVersion]),
        ("HTTP/1.10 200 OK", (1, 10), "OK", vec![InvalidStartLine, UnusualVersion]),
        ("HTTP/1.00 200 OK", (1, 0), "OK", vec![InvalidStartLine]),
        ("HTTP/1.1 200 OK\rA: b", (1, 1), "OK\rA: b", vec![BareCr, InvalidStartLine]),
        ("\nHTTP/1.1 200 OK", (1, 1), "OK", vec![LeadingEmptyLines]),
        ("HTTP/1.1 200\0 OK", (1, 1), "\0 OK", vec![InvalidStartLine]),
    ] {
        let message = response(format!("{line}\r\nX: \0\r\n\r\n").as_bytes());
        assert_eq!((message.status(), message.reason()), (200, reason.as_bytes()), "{line:?}");
        assert_eq!((message.version().major, message.version().minor), version, "{line:?}");
        let mut expected = [expected, vec![NulInHead]].concat();
        expected.sort_unstable();
        assert_eq!(flags(&message), expected, "{line:?}");
    }
}

#[test]
fn lines_that_start_nothing_are_malformed() {
    for line in [
        "",
        "GET",
        "GET /",
        "GET / ",
        "GET HTTP/1.1",
        "GET / HTTP/",
        "GET / HTTP/x.1",
        "GET / FTP/1.1",
        "GET / HTTP/1.1.1",
        "\u{e4} / HTTP/1.1",
        "(GET) / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / HTTP/1.1111",
    ] {
        assert!(is_malformed(MessageKind::Request, format!("{line}\r\nHost: x\r\n\r\n").as_bytes()), "{line:?}");
    }
    for line in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.1 OK",
        "HTTP/1.1 20",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1\r 200 OK",
        "HTTP/1.1foobar",
        "HTTP/1.1\u{b}200 OK",
        "\0HTTP/1.1 200 OK",
        "ICY 200 OK",
        "HTTP 200 OK",
        "HTTP/1.1 -20 OK",
    ] {
        assert!(is_malformed(MessageKind::Response, format!("{line}\r\nA: b\r\n\r\n").as_bytes()), "{line:?}");
    }
    assert!(is_malformed(MessageKind::Request, b""));
    assert!(is_malformed(MessageKind::Request, b"GET /unfinish"));
    assert!(is_malformed(MessageKind::Request, b"GET / HTTP/1.1"));
}

#[test]
fn odd_field_lines_are_kept_and_named() {
    use Flag::{BareCr, BareLf, HeaderWithoutColon, InvalidHeaderName, NulInHead, ObsFold, SpaceBeforeColon};
    for (lines, expected_fields, expected_flags) in [
        ("A : b\r\n", vec![("A", "b")], vec![SpaceBeforeColon]),
        ("A\t:b\r\n", vec![("A", "b")], vec![SpaceBeforeColon]),
        ("A\r: b\r\n", vec![("A", "b")], vec![SpaceBeforeColon, BareCr]),
        ("A B: c\r\n", vec![("A B", "c")], vec![InvalidHeaderName]),
        (": b\r\n", vec![("", "b")], vec![InvalidHeaderName]),
        ("A:: b\r\n", vec![("A", ": b")], vec![]),
        ("no field\r\nA: b\r\n", vec![("", "no field"), ("A", "b")], vec![HeaderWithoutColon]),
        (" A: b\r\n", vec![("A", "b")], vec![InvalidHeaderName]),
        ("A: b\r\n c\r\n\td\r\nE: f\r\n", vec![("A", "b\r\n c\r\n\td"), ("E", "f")], vec![ObsFold]),
        ("A:\r\n \r\n b \r\n \r\nE: f\r\n", vec![("A", "b"), ("E", "f")], vec![ObsFold]),
        ("A\r\n :\r\n b\r\n", vec![("A", "b")], vec![SpaceBeforeColon, ObsFold]),
        ("no field\r\n B: c\r\n", vec![("", "no field\r\n B: c")], vec![HeaderWithoutColon, ObsFold]),
        ("A: b\nC: d\r\n", vec![("A", "b"), ("C", "d")], vec![BareLf]),
        ("A: b\rC: d\r\n", vec![("A", "b\rC: d")], vec![BareCr]),
        ("A: \rb\r \r\n", vec![("A", "b")], vec![BareCr]),
        ("\r\r\nA: b\r\n", vec![("A", "b")], vec![HeaderWithoutColon, BareCr]),
        ("A\0: b\r\n", vec![("A\0", "b")], vec![InvalidHeaderName, NulInHead]),
        ("A: \0b\0\r\n", vec![("A", "\0b\0")], vec![NulInHead]),
        ("Ä: b\r\nC: ö\r\n", vec![("Ä", "b"), ("C", "ö")], vec![InvalidHeaderName]),
        ("A\u{b}: b\r\n", vec![("A\u{b}", "b")], vec![InvalidHeaderName]),
    ] {
        let message = response(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes());
        assert_eq!(fields(&message), expected_fields, "{lines:?}");
        assert_eq!(flags(&message), expected_flags, "{lines:?}");
    }
}

#[test]
fn hosts_are_counted_in_requests() {
    let of = |lines: &str| flags(&request(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes()));
    assert_eq!(of(""), [Flag::MissingHost]);
    assert_eq!(of("HOST: a\r\n"), []);
    assert_eq!(of("Host: a\r\nhost: a\r\n"), [Flag::DuplicateHost]);
    assert_eq!(of("Host : a\r\nhost: a\r\n"), [Flag::SpaceBeforeColon, Flag::DuplicateHost]);
    assert_eq!(flags(&request(b"GET / HTTP/1.0\r\n\r\n")), []);
    assert_eq!(flags(&response(b"HTTP/1.1 200 OK\r\n\r\n")), []);
}

#[test]
fn cut_head_gives_what_was_seen_and_claims_no_more() {
    let message = request(b"GET / HTTP/1.1\r\nA: b\r\nC: d");
    assert_eq!(fields(&message), [("A", "b"), ("C", "d")]);
    assert!(message.flags.is_empty());
    assert_eq!(fields(&request(b"GET / HTTP/1.1\r\nA: b\r\nHos")), [("A", "b")]);
    assert_eq!(fields(&request(b"GET / HTTP/1.1\r\nA: b\r")), [("A", "b")]);
    assert!(request(b"GET / HTTP/1.1\r\nA: b\r").flags.is_empty());
    assert_eq!(fields(&request(b"GET / HTTP/1.1\r\n")), []);
}

#[test]
fn fields_beyond_the_limit_are_not_kept_unless_framing_needs_them() {
    let head = [&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], &b"A: b\r\n".repeat(10), b"Content-Length: 5\r\n\r\n"].concat();
    let mut message = message(&head);
    parse_head(MessageKind::Request, &mut message, 4).unwrap();
    assert_eq!(message.headers().len(), 5);
    assert_eq!(message.header("content-length"), Some(&b"5"[..]));
    assert_eq!(flags(&message), [Flag::TooManyHeaders]);

    let head = [&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], &b"Upgrade: b\r\n".repeat(1000), b"\r\n"].concat();
    message.head = head;
    message.flags = Flags::NONE;
    parse_head(MessageKind::Request, &mut message, 4).unwrap();
    assert_eq!(message.headers().len(), 36);

    let head = [&b"GET / HTTP/1.1\r\nHost: x\r\n"[..], &b"A: b\r\n".repeat(100), b"\r\n"].concat();
    let message = request(&head);
    assert_eq!(message.headers().len(), 101);
    assert!(message.flags.is_empty());
}

#[test]
fn trailers_are_read_behind_the_head() {
    let mut message = response(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    let from = message.head.len();
    message.head.extend_from_slice(b"X-Sum: 1\r\nbroken\r\n\r\n");
    parse_trailers(&mut message, from, 8);
    let trailers: Vec<_> = message.trailers().map(|field| (field.name, field.value)).collect();
    assert_eq!(trailers, [(&b"X-Sum"[..], &b"1"[..]), (b"", b"broken")]);
    assert_eq!(message.headers().len(), 1);
    assert_eq!(flags(&message), [Flag::HeaderWithoutColon]);
    parse_trailers(&mut message, from + 1000, 8);
    assert_eq!(message.trailers().len(), 0);
}

// What looks like a start.

#[test]
fn starts_of_http_are_recognized() {
    use StartLine::{Request, Response};
    for (line, expected) in [
        ("GET / HTTP/1.1\r\n", Request),
        ("get / HTTP/1.1\r\n", Request),
        ("GET / http/1.0\n", Request),
        ("OPTIONS * HTTP/1.1\r\n", Request),
        ("CONNECT example.test:443 HTTP/1.1\r\n", Request),
        ("CONNECT example.test:25 / HTTP/1.0\r\n", Request),
        ("GET http://example.test/ HTTP/1.0\r\n", Request),
        ("SSTP_DUPLEX_POST /sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/ HTTP/1.1\r\n", Request),
        ("RPC_IN_DATA /rpc/rpcproxy.dll?x:6002 HTTP/1.1\r\n", Request),
        ("M-SEARCH * HTTP/1.1\r\n", Request),
        ("NOTIFY * HTTP/1.1\r\n", Request),
        ("PROPFIND /dav/ HTTP/1.1\r\n", Request),
        ("GET          /x HTTP/1.1\r\n", Request),
        ("\r\n\r\nGET / HTTP/1.1\r\n", Request),
        ("GET /ä HTTP/1.1\r\n", Request),
        ("HTTP/1.1 200 OK\r\n", Response),
        ("HTTP/1.1 200\r\n", Response),
        ("HTTP/1.1 200 ", Response),
        ("HTTP/1.1\t 200 ok\r\n", Response),
        ("HTTP/2.0 200 ok\r\n", Response),
        ("HTTP/1.01 200 ok\r\n", Response),
        ("http/1.1 200 ok\r\n", Response),
        (" \t\r\nHTTP/1.1 200 ok\r\n", Response),
    ] {
        assert_eq!(looks_like_start(line.as_bytes()), expected, "{line:?}");
        for len in 0..line.len() {
            let told = looks_like_start(&line.as_bytes()[..len]);
            assert!(told == expected || told == StartLine::NeedMore, "{line:?} at {len}: {told:?}");
        }
    }
}

#[test]
fn other_protocols_are_not_http() {
    for line in [
        "INFO {\"server_id\":\"x\"}\r\n",
        "CONNECT {\"verbose\":true}\r\n",
        "PUB subj 5\r\nhello\r\n",
        "CONNECT\naccept-version:1.2\n\n\0",
        "SEND\ndestination:/a\n\n\0",
        "GNUTELLA CONNECT/0.6\r\n",
        "OPTIONS rtsp://example.test/a RTSP/1.0\r\n",
        "RTSP/1.0 200 OK\r\n",
        "INVITE sip:a@example.test SIP/2.0\r\n",
        "SIP/2.0 200 OK\r\n",
        "ICY 200 OK\r\n",
        "220 mail.example.test ESMTP\r\n",
        "EHLO example.test\r\n",
        "USER anonymous\r\n",
        "+OK POP3 ready\r\n",
        "* OK IMAP4rev1 ready\r\n",
        "a001 LOGIN a b\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "set a 0 0 3\r\nabc\r\n",
        "get a\r\n",
        "\x13BitTorrent protocol",
        "\x4a\0\0\0\x0a8.0.36\0",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /\r\n",
        "GET HTTP/1.1\r\n",
        "\u{dd}\0\0\0 GET /txt HTTP/1.1\r\n",
        "10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 5\r\n",
        "INFO served /x with HTTP/1.1\r\n",
        "Sending request HTTP/1.1\r\n",
        "HTTP/1.1\r\n",
        "HTTP/1.1 OK\r\n",
        "HTTP/1.1 20 ok\r\n",
        "HTTP/1.1\r 200 ok\r\n",
        "HTTP/1.1foobar\r\n",
        "HTTP/1.1 2000\r\n",
        "\0HTTP/1.1 200 ok\r\n",
    ] {
        assert_eq!(looks_like_start(line.as_bytes()), StartLine::No, "{line:?}");
    }
}

#[test]
fn undecided_starts_are_bounded() {
    assert_eq!(looks_like_start(b""), StartLine::NeedMore);
    assert_eq!(looks_like_start(b"G"), StartLine::NeedMore);
    assert_eq!(looks_like_start(&[b'A'; 32]), StartLine::NeedMore);
    assert_eq!(looks_like_start(&[b'A'; 33]), StartLine::No);
    assert_eq!(looks_like_start(&[b'\n'; 63]), StartLine::NeedMore);
    assert_eq!(looks_like_start(&[b'\n'; 65]), StartLine::No);
    let long = |len| [&b"GET /"[..], &vec![b'a'; len]].concat();
    assert_eq!(looks_like_start(&long(60_000)), StartLine::NeedMore);
    assert_eq!(looks_like_start(&long(70_000)), StartLine::No);
    assert_eq!(looks_like_start(&[&long(70_000)[..], b" HTTP/1.1\r\n"].concat()), StartLine::No);
    assert_eq!(looks_like_start(&[&b"HTTP/1"[..], &[b'1'; 100]].concat()), StartLine::No);
    assert_eq!(looks_like_start(b"GET /\x01"), StartLine::No);
    assert_eq!(looks_like_start(b"CONNECT {\"verb"), StartLine::No);
}

#[test]
fn delete_in_a_target_is_odd_but_no_reason_to_lose_the_request() {
    for line in [&b"GET /a\x7fb HTTP/1.1\r\n"[..], b"GET /a\x7fb HTTP/1.1\n"] {
        assert_eq!(looks_like_start(line), StartLine::Request);
        for end in 5..line.len() {
            assert_eq!(looks_like_start(&line[..end]), StartLine::NeedMore, "{}", line[..end].escape_ascii());
        }
    }
    assert_eq!(looks_like_start(b"GET /a\x07b HTTP/1.1\r\n"), StartLine::No);
}
