//! Clients that keep many requests under way, each named by its number, and what their servers answer.

use http_parse::Settings;

use super::Outcome;

/// What a request asks: the last of these is what most do.
pub const HEAD: u64 = 0;
const POST: u64 = 1;
const NOT_MODIFIED: u64 = 2;
pub const GET: u64 = 3;

/// A client that keeps `window` requests under way, in turns or one for each response.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub window: usize,
    pub in_turns: bool,
    pub exchanges: usize,
    /// How many of a hundred ask something else than GET.
    pub heads: u64,
    /// How many requests or responses may wait.
    pub limit: usize,
    /// Requests sent together share a segment, and so may their responses.
    pub joined: bool,
    /// Bodies look like responses.
    pub nested: bool,
}

pub fn request(number: usize, asks: u64) -> String {
    let (method, rest) = match asks {
        HEAD => ("HEAD", "\r\n"),
        POST => ("POST", "Content-Length: 4\r\n\r\nbody"),
        _ => ("GET", "\r\n"),
    };
    format!("{method} /{number} HTTP/1.1\r\nHost: h\r\n{rest}")
}

pub fn response(number: usize, asks: u64, nested: bool) -> String {
    let body = if nested { "HTTP/1.1 200 OK\r\nX-Target: /x\r\nContent-Length: 0\r\n\r\n" } else { "a body" };
    let status = if asks == NOT_MODIFIED { "304 Not Modified" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nX-Target: /{number}\r\nContent-Length: {}\r\n\r\n", body.len());
    if matches!(asks, HEAD | NOT_MODIFIED) { head } else { head + body }
}

pub fn settings(way: Way) -> Settings {
    Settings { max_pending: way.limit, ..Settings::default() }
}

/// The numbers of the requests that were paired.
pub fn paired(outcome: &Outcome) -> Vec<usize> {
    let paired = outcome.records.iter().filter(|record| record.response.is_some());
    paired.filter_map(|record| record.request.as_ref()?.start.split_once('/')?.1.parse().ok()).collect()
}
