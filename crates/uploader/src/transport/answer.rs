//! What an answer means: the platform's contract, as a table.

use std::error::Error;
use std::time::{Duration, SystemTime};

use super::answer_body::{End, Said};
use super::client::RequestError;
use crate::outcome::{Answer, Outcome, RetryReason};
use crate::settings::AnswerRule;

/// Bytes of an answer that are kept beside a rejected batch, and of a failure's that are read.
const ANSWER_BYTES: usize = 16 << 10;

/// Bytes of a successful answer that are read: one that says something of each record of a batch is long.
const SUCCESS_BYTES: usize = 1 << 20;

/// How much of an answer is worth reading.
pub(super) const fn bytes_to_read(status: u16) -> usize {
    if is_success(status) { SUCCESS_BYTES } else { ANSWER_BYTES }
}

const fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// The body of an answer, as far as it was read.
#[derive(Clone, Copy)]
pub(super) struct Body<'a> {
    pub(super) read: &'a [u8],
    /// There was more, or its end never came.
    pub(super) is_cut: bool,
}

/// What an answer to a batch that counts as accepted leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// For an operator.
    pub(super) what: String,
    /// Of how many things inside it says that they were not taken.
    pub(super) failures: u64,
}

impl Doubt {
    fn of(what: impl Into<String>) -> Self {
        Self { what: what.into(), failures: 0 }
    }
}

/// What an answer's status, `Retry-After` and body mean for a batch. Of one that is accepted although the answer leaves doubts,
/// the doubts are told.
pub(super) fn classify(
    status: u16,
    retry_after: Option<&[u8]>,
    body: Body<'_>,
    rule: AnswerRule,
    now: SystemTime,
) -> (Outcome, Option<Doubt>) {
    if is_success(status) {
        return accepted(status, body, rule);
    }
    (refused(status, retry_after, body.read, now), None)
}

fn refused(status: u16, retry_after: Option<&[u8]>, body: &[u8], now: SystemTime) -> Outcome {
    let retry = |reason| Outcome::Retry { reason, after: retry_after.and_then(|value| parse_retry_after(value, now)) };
    match status {
        401 => Outcome::Refresh,
        _ if is_certificate_trouble(status, body) => retry(RetryReason::Tls),
        408 => retry(RetryReason::RequestTimeout),
        413 => Outcome::Split,
        429 => retry(RetryReason::TooManyRequests),
        400..=499 => reject(status, body),
        502..=504 => retry(RetryReason::Unavailable),
        500..=599 => retry(RetryReason::ServerError),
        // A redirection: the platform has none, a login page has. Following one would hand records to whoever it names.
        _ => retry(RetryReason::UnexpectedAnswer),
    }
}

/// nginx completes the handshake whatever the client's certificate, and then says in HTTP what TLS did not: 400 (495 and
/// 496 inside) with a page of its own. An expired certificate is not the records' fault: they must wait, not be rejected.
fn is_certificate_trouble(status: u16, body: &[u8]) -> bool {
    const WORDS: &[u8] = b"SSL certificate";
    matches!(status, 495 | 496)
        || (status == 400 && body.starts_with(b"<html>") && body.windows(WORDS.len()).any(|window| window == WORDS))
}

/// The contract is that a status of 200 means accepted, whatever a batch's answer holds beside it: what it says of single records
/// is not laid down. So those are told of and counted, and a batch is not sent again, or kept as refused, for what may be a misreading.
fn accepted(status: u16, body: Body<'_>, rule: AnswerRule) -> (Outcome, Option<Doubt>) {
    if rule == AnswerRule::AnySuccess {
        return (Outcome::Accepted, None);
    }
    if body.read.iter().all(u8::is_ascii_whitespace) {
        return (Outcome::Accepted, body.is_cut.then(|| Doubt::of("it did not end, and said nothing")));
    }
    let said = Said::read(body.read);
    let is_json = said.end == End::Whole || (said.end == End::Missing && body.is_cut);
    if !is_json {
        // It is not the platform's.
        return (Outcome::retry(RetryReason::UnexpectedAnswer), None);
    }
    let is_unknown = match said.status {
        None => said.end == End::Missing,
        Some(serde_json::Value::String(text)) if text.eq_ignore_ascii_case("ok") => false,
        Some(_) => return (reject(status, body.read), None),
    };
    let doubt = if said.failures > 0 {
        Some(Doubt { failures: said.failures, ..Doubt::of(format!("it reports {} failures inside", said.failures)) })
    } else if status == 207 {
        Some(Doubt::of("it is a 207, which speaks of each record, and what it says was not understood"))
    } else {
        is_unknown.then(|| Doubt::of(format!("no \"status\" in its first {} bytes", body.read.len())))
    };
    (Outcome::Accepted, doubt)
}

fn reject(status: u16, body: &[u8]) -> Outcome {
    let length = body.len().min(ANSWER_BYTES);
    Outcome::Reject { status, answer: Answer(body[..length].to_vec()) }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn parse_retry_after(value: &[u8], now: SystemTime) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean for ever; delivery cuts it to what it is willing to wait.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::from(u32::MAX)).min(u32::MAX.into())));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Why a request got no answer.
pub(super) fn failure(error: &RequestError) -> RetryReason {
    let mut source = error.source();
    while let Some(error) = source {
        if is_tls(error) {
            return RetryReason::Tls;
        }
        source = error.source();
    }
    match error {
        RequestError::Timeout(_) | RequestError::ConnectTimeout(_) | RequestError::Silent(_) => RetryReason::Timeout,
        RequestError::Connect(_) => RetryReason::Connect,
        RequestError::Broken(_) => RetryReason::Broken,
    }
}

/// Whether `error` is TLS's. An I/O error hides what it wraps from `source`, and several may be nested.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inside.is_some_and(|inside| is_tls(inside))
}

/// An error in one line with all its causes, without addresses: a library's documentation is no help to an operator.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = without_addresses(&error.to_string());
    let mut source = error.source();
    while let Some(error) = source {
        let cause = without_addresses(&error.to_string());
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// What an error says but for the addresses in it.
fn without_addresses(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !word.contains("://")).collect();
    words.join(" ").trim_end_matches([' ', ':', ';', ',', '(']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(status: u16, body: &str) -> Outcome {
        judge(status, body, false).0
    }

    fn judge(status: u16, body: &str, is_cut: bool) -> (Outcome, Option<Doubt>) {
        let body = Body { read: body.as_bytes(), is_cut };
        classify(status, None, body, AnswerRule::Status, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_long_answer_is_judged_by_its_beginning() {
        let begun = r#"{"status":"OK","results":[{"id":"a","sta"#;
        assert_eq!(judge(200, begun, true), (Outcome::Accepted, None));
        assert_eq!(of(200, begun), Outcome::retry(RetryReason::UnexpectedAnswer), "half an answer, and no more came");
        assert!(matches!(judge(200, r#"{"status":"ERROR","results":["#, true).0, Outcome::Reject { status: 200, .. }));
        let (outcome, doubt) = judge(200, r#"{"results":[{"id":"a"#, true);
        assert!(outcome == Outcome::Accepted && doubt.is_some_and(|doubt| doubt.what.contains("no \"status\"")));
        let (outcome, doubt) = judge(200, "  \n ", true);
        assert!(outcome == Outcome::Accepted && doubt.is_some_and(|doubt| doubt.what.contains("did not end")));
        assert_eq!(judge(200, "<html>log in", true).0, Outcome::retry(RetryReason::UnexpectedAnswer));
    }

    #[test]
    fn doubts_about_an_accepted_batch_are_told() {
        for (status, body, told) in [
            (200, r#"[{"status":"ERROR"},{"status":"ERROR"}]"#, Some("2 failures")),
            (207, r#"{"data":[{"status":"ERROR"}]}"#, Some("1 failures")),
            (207, r#"{"data":[{"state":7}]}"#, Some("207")),
            (200, r#"{"status":"OK","results":[{"status":"OK"}]}"#, None),
            (200, "{}", None),
            (204, "", None),
        ] {
            let (outcome, doubt) = judge(status, body, false);
            assert_eq!(outcome, Outcome::Accepted, "{body}");
            assert_eq!(doubt.is_some(), told.is_some(), "{body}");
            let said = doubt.map(|doubt| (doubt.what, doubt.failures)).unwrap_or_default();
            assert!(said.0.contains(told.unwrap_or_default()), "{body}");
            assert_eq!(said.1, if body.contains("ERROR") { body.matches("ERROR").count() as u64 } else { 0 }, "{body}");
        }
    }

    #[test]
    fn the_contract() {
        for body in [r#"{"status": "OK"}"#, r#"{"status":"ok","n":3}"#, "{}", "[]", "", " \n", r#""fine""#] {
            assert_eq!(of(200, body), Outcome::Accepted, "{body}");
        }
        assert!(matches!(of(200, r#"{"status":"ERROR"}"#), Outcome::Reject { status: 200, .. }));
        assert!(matches!(of(200, r#"{"status":17}"#), Outcome::Reject { status: 200, .. }));
        assert_eq!(of(200, "<html>log in"), Outcome::retry(RetryReason::UnexpectedAnswer));
        let page = Body { read: b"<html>", is_cut: false };
        let any = classify(200, None, page, AnswerRule::AnySuccess, SystemTime::UNIX_EPOCH);
        assert_eq!(any, (Outcome::Accepted, None));
        assert_eq!(of(204, ""), Outcome::Accepted);
        assert_eq!(of(302, ""), Outcome::retry(RetryReason::UnexpectedAnswer));
        assert_eq!(of(401, ""), Outcome::Refresh);
        assert_eq!(of(408, ""), Outcome::retry(RetryReason::RequestTimeout));
        assert_eq!(of(413, ""), Outcome::Split);
        assert_eq!(of(429, ""), Outcome::retry(RetryReason::TooManyRequests));
        for status in [400, 403, 404, 405, 409, 411, 415, 422, 451, 499] {
            assert_eq!(of(status, "no"), Outcome::Reject { status, answer: Answer(b"no".to_vec()) });
        }
        let page = "<html>\r\n<head><title>400 No required SSL certificate was sent</title></head>";
        assert_eq!(of(400, page), Outcome::retry(RetryReason::Tls));
        assert_eq!(of(495, ""), Outcome::retry(RetryReason::Tls));
        assert!(matches!(of(400, "{\"why\":\"SSL certificate\"}"), Outcome::Reject { .. }));
        for status in [502, 503, 504] {
            assert_eq!(of(status, ""), Outcome::retry(RetryReason::Unavailable));
        }
        for status in [500, 501, 505, 507, 599] {
            assert_eq!(of(status, ""), Outcome::retry(RetryReason::ServerError));
        }
    }

    #[test]
    fn an_error_quotes_no_addresses_and_says_all_else() {
        let cut = "peer closed connection without sending TLS close_notify";
        let cause = std::io::Error::other(format!("{cut}: https://docs.rs/rustls/manual/index.html#unexpected-eof"));
        assert_eq!(describe(&cause), cut);
        assert_eq!(without_addresses("see (https://x.test/a) or\nhttp://y.test: no route"), "see or no route");
        assert_eq!(
            without_addresses("connection to [::1]:443 refused (os error 111)"),
            "connection to [::1]:443 refused (os error 111)"
        );
        assert_eq!(without_addresses("https://x.test"), "");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let parse = |text: &str| parse_retry_after(text.as_bytes(), now);
        assert_eq!(parse("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse(" 0 "), Some(Duration::ZERO));
        assert_eq!(parse("99999999999999999999999"), Some(Duration::from_secs(u32::MAX.into())));
        assert_eq!(parse("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        for text in ["", "-1", "1.5", "soon"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        /// Whatever a peer answers, it is one of the outcomes, and nothing but a success is accepted.
        #[test]
        fn only_success_is_accepted(status in 100u16..1000, body in ".{0,40}", after in ".{0,30}", is_cut: bool) {
            let body = Body { read: body.as_bytes(), is_cut };
            let (outcome, _) = classify(status, Some(after.as_bytes()), body, AnswerRule::Status, SystemTime::now());
            if outcome == Outcome::Accepted {
                prop_assert!((200..300).contains(&status));
            }
        }
    }
}
