//! A slow reader of HTTP/1 for comparison: both streams whole in memory, nothing lost, the plainest code that does it.

use super::Copy;

/// The messages of a client's stream.
pub fn requests(stream: &[u8], start: u64) -> Vec<Copy> {
    messages(stream, start, &mut std::iter::empty(), true)
}

/// The final responses of a server's stream that answer requests with these methods, in order.
pub fn responses(stream: &[u8], start: u64, methods: &[String]) -> Vec<Copy> {
    messages(stream, start, &mut methods.iter().map(String::as_str), false)
}

fn messages(stream: &[u8], start: u64, methods: &mut dyn Iterator<Item = &str>, is_request: bool) -> Vec<Copy> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let rest = String::from_utf8_lossy(&stream[at..]).into_owned();
        assert!(rest.is_ascii(), "the reference reads ASCII only");
        let head_len = rest.find("\r\n\r\n").expect("a whole head") + 4;
        let (line, fields) = rest[..head_len - 2].split_once("\r\n").unwrap();
        let headers: Vec<(String, String)> = fields.lines().map(field).collect();
        let value = |name: &str| {
            headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_lowercase())
        };
        let mut words = line.split(' ');
        let (first, second) = (words.next().unwrap(), words.next().unwrap());
        let status: u16 = if is_request { 0 } else { second.parse().unwrap() };
        let offset = start + at as u64;
        at += head_len;
        if (100..200).contains(&status) {
            continue;
        }
        let method = if is_request { first } else { methods.next().unwrap_or("GET") };
        let bodyless = !is_request && (method == "HEAD" || status == 204 || status == 304);
        let mut body = Vec::new();
        let mut trailers = Vec::new();
        if bodyless {
        } else if value("transfer-encoding").as_deref() == Some("chunked") {
            loop {
                let rest = &stream[at..];
                let line_end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
                let size = std::str::from_utf8(&rest[..line_end]).unwrap();
                let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
                at += line_end + 2;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&stream[at..at + size]);
                assert_eq!(&stream[at + size..at + size + 2], b"\r\n");
                at += size + 2;
            }
            loop {
                let rest = std::str::from_utf8(&stream[at..]).unwrap();
                let line = &rest[..rest.find("\r\n").unwrap()];
                at += line.len() + 2;
                if line.is_empty() {
                    break;
                }
                trailers.push(field(line));
            }
        } else if let Some(length) = value("content-length") {
            let length: usize = length.parse().unwrap();
            body.extend_from_slice(&stream[at..at + length]);
            at += length;
        } else if !is_request {
            body.extend_from_slice(&stream[at..]);
            at = stream.len();
        }
        found.push(Copy {
            start: if is_request { format!("{first} {second}") } else { status.to_string() },
            headers,
            trailers,
            bytes: body.len() as u64,
            body,
            missing: 0,
            complete: true,
            offset,
            head: rest.as_bytes()[..head_len - 2].to_vec(),
        });
    }
    found
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap();
    (name.to_owned(), value.trim().to_owned())
}
