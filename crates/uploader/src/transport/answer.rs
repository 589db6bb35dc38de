//! What an answer means: the platform's contract, as a table.

use std::error::Error;
use std::time::{Duration, SystemTime};

use crate::outcome::{Answer, Outcome, RetryReason};
use crate::settings::AnswerRule;

/// Bytes of an answer that are looked at, and kept beside a rejected batch.
pub(super) const ANSWER_BYTES: usize = 16 << 10;

/// What an answer's status, `Retry-After` and body mean for a batch.
pub(super) fn classify(
    status: u16,
    retry_after: Option<&[u8]>,
    body: &[u8],
    rule: AnswerRule,
    now: SystemTime,
) -> Outcome {
    let retry = |reason| Outcome::Retry { reason, after: retry_after.and_then(|value| parse_retry_after(value, now)) };
    match status {
        200..=299 => accepted(status, body, rule),
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

fn accepted(status: u16, body: &[u8], rule: AnswerRule) -> Outcome {
    if rule == AnswerRule::AnySuccess || body.iter().all(u8::is_ascii_whitespace) {
        return Outcome::Accepted;
    }
    // A body that was cut because it is long, or that is not JSON, is not the platform's.
    let Ok(answer) = serde_json::from_slice::<serde_json::Value>(body) else {
        return Outcome::retry(RetryReason::UnexpectedAnswer);
    };
    match answer.get("status") {
        None => Outcome::Accepted,
        Some(serde_json::Value::String(text)) if text.eq_ignore_ascii_case("ok") => Outcome::Accepted,
        Some(_) => reject(status, body),
    }
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
pub(super) fn failure(error: &reqwest::Error) -> RetryReason {
    let mut source = error.source();
    while let Some(error) = source {
        if is_tls(error) {
            return RetryReason::Tls;
        }
        source = error.source();
    }
    if error.is_timeout() {
        RetryReason::Timeout
    } else if error.is_connect() {
        RetryReason::Connect
    } else {
        RetryReason::Broken
    }
}

/// Whether `error` is TLS's. An I/O error hides what it wraps from `source`, and several may be nested.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inside.is_some_and(|inside| is_tls(inside))
}

/// An error in one line with all its causes, without addresses: the request's may hold a password, and a library's
/// documentation is no help to an operator.
pub(super) fn describe(error: reqwest::Error) -> String {
    describe_cause(&error.without_url())
}

/// The same for any error.
pub(super) fn describe_cause(error: &(dyn Error + 'static)) -> String {
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
        classify(status, None, body.as_bytes(), AnswerRule::Status, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn the_contract() {
        for body in [r#"{"status": "OK"}"#, r#"{"status":"ok","n":3}"#, "{}", "[]", "", " \n", r#""fine""#] {
            assert_eq!(of(200, body), Outcome::Accepted, "{body}");
        }
        assert!(matches!(of(200, r#"{"status":"ERROR"}"#), Outcome::Reject { status: 200, .. }));
        assert!(matches!(of(200, r#"{"status":17}"#), Outcome::Reject { status: 200, .. }));
        assert_eq!(of(200, "<html>log in"), Outcome::retry(RetryReason::UnexpectedAnswer));
        let any = classify(200, None, b"<html>", AnswerRule::AnySuccess, SystemTime::UNIX_EPOCH);
        assert_eq!(any, Outcome::Accepted);
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
        assert_eq!(describe_cause(&cause), cut);
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
        fn only_success_is_accepted(status in 100u16..1000, body in ".{0,40}", after in ".{0,30}") {
            let outcome = classify(status, Some(after.as_bytes()), body.as_bytes(), AnswerRule::Status, SystemTime::now());
            if outcome == Outcome::Accepted {
                prop_assert!((200..300).contains(&status));
            }
        }
    }
}
