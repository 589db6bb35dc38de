//! A plain reader of HTTP/1 over whole streams: the second opinion on which response answers which request.
//!
//! It needs both streams from their beginning and without holes, and well-formed messages (RFC 9112), as real programs
//! send them: request n is answered by final response n. It shares nothing with the product.

use core::ops::Range;

/// An exchange as it lies in the streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub method: String,
    pub target: String,
    /// The `X-Request-Id` sent, if one was.
    pub request_id: Option<String>,
    pub status: u16,
    /// The request's bytes in the client's stream.
    pub request: Range<u64>,
    /// The response's bytes in the server's stream, interim responses in front included.
    pub response: Range<u64>,
    /// Where the final response begins.
    pub answer: u64,
}

/// Every exchange of a connection, in order.
pub fn read(from_client: &[u8], from_server: &[u8]) -> Vec<Read> {
    let (mut said, mut heard) = (0, 0);
    let mut exchanges = Vec::new();
    while said < from_client.len() && heard < from_server.len() {
        let head = head(&from_client[said..]);
        let mut words = head.line.split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let request_end = said + head.len + body(&from_client[said + head.len..], &head, false);
        let response_start = heard;
        let (status, answer, response_end) = loop {
            let head = self::head(&from_server[heard..]);
            let status: u16 = head.line.split(' ').nth(1).unwrap().parse().unwrap();
            if status / 100 == 1 {
                heard += head.len;
                continue;
            }
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            let body = if bodiless { 0 } else { body(&from_server[heard + head.len..], &head, true) };
            break (status, heard, heard + head.len + body);
        };
        exchanges.push(Read {
            method,
            target,
            request_id: head.field("x-request-id").map(str::to_owned),
            status,
            request: said as u64..request_end as u64,
            response: response_start as u64..response_end as u64,
            answer: answer as u64,
        });
        (said, heard) = (request_end, response_end);
    }
    exchanges
}

struct Head<'a> {
    line: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    len: usize,
}

impl Head<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

fn head(bytes: &[u8]) -> Head<'_> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends");
    let mut lines = std::str::from_utf8(&bytes[..end]).expect("a head is text").split("\r\n");
    let line = lines.next().unwrap();
    assert!(line.contains("HTTP/1."), "{line}");
    let fields = lines.map(|line| line.split_once(':').map(|(name, value)| (name, value.trim())).unwrap()).collect();
    Head { line, fields, len: end + 4 }
}

/// The length of a body on the wire; no more than there is, where the connection ended before it.
fn body(bytes: &[u8], head: &Head<'_>, until_close: bool) -> usize {
    if head.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        let mut at = 0;
        loop {
            let line = bytes[at..].windows(2).position(|window| window == b"\r\n").expect("a chunk size ends");
            let size = std::str::from_utf8(&bytes[at..at + line]).unwrap();
            let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
            at += line + 2 + size + 2;
            if size == 0 {
                return at;
            }
        }
    }
    match head.field("content-length") {
        Some(length) => length.parse::<usize>().unwrap().min(bytes.len()),
        None if until_close => bytes.len(),
        None => 0,
    }
}
