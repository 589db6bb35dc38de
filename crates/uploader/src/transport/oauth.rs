//! Bearer tokens by OAuth 2.0 client credentials (RFC 6749, section 4.4).
//!
//! One request for a token is under way at a time, however many batches wait for it; a token is renewed ahead of its end
//! while the old one is still used; after a failure the endpoint is left alone for a growing time. Secret and token are
//! in memory that is overwritten afterwards, and in no log, error or `Debug`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use url::Url;
use zeroize::Zeroizing;

use super::answer::{describe, failure, parse_retry_after};
use super::token_client::TokenClient;
use crate::secret::Secret;
use crate::settings::OAuthSettings;
use crate::stats::{Stats, add};

/// An answer larger than this holds no token.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Life of a token whose answer says nothing of it.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);

/// The most that a token is renewed ahead of its end.
const MAX_LEAD: Duration = Duration::from_secs(60);

/// Delay after the first failure; each further one doubles it, up to the cap.
const BACKOFF: Duration = Duration::from_millis(500);
const BACKOFF_CAP: Duration = Duration::from_secs(60);

/// A token in use.
pub(super) struct Token {
    /// `Bearer …`, marked as sensitive.
    pub(super) header: HeaderValue,
    secret: Secret,
    renew_at: Instant,
    ends_at: Instant,
}

impl Token {
    /// Whether `text` repeats the token.
    pub(super) fn is_in(&self, text: &[u8]) -> bool {
        let token = self.secret.expose().as_bytes();
        text.windows(token.len()).any(|window| window == token)
    }
}

/// No token can be had now.
#[derive(Debug, thiserror::Error)]
#[error("no token: {what}")]
pub(super) struct TokenError {
    pub(super) what: String,
    /// When it makes sense to ask again.
    pub(super) after: Duration,
}

pub(super) struct OAuth {
    settings: OAuthSettings,
    /// What is asked for; its host may be the server name.
    url: Url,
    /// For an operator: the host that is connected to.
    host: String,
    client: Arc<ArcSwap<TokenClient>>,
    current: ArcSwapOption<Token>,
    /// Held by the one that asks.
    asking: tokio::sync::Mutex<Asking>,
    stats: ArcSwap<Stats>,
}

struct Asking {
    failures: u32,
    not_before: Option<Instant>,
    random: StdRng,
    what: String,
}

impl OAuth {
    pub(super) fn new(settings: OAuthSettings, url: Url, host: String, client: Arc<ArcSwap<TokenClient>>) -> Self {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1u8);
        Self {
            settings,
            url,
            host,
            client,
            current: ArcSwapOption::empty(),
            asking: tokio::sync::Mutex::new(Asking {
                failures: 0,
                not_before: None,
                random: StdRng::seed_from_u64(seed),
                what: String::new(),
            }),
            stats: ArcSwap::default(),
        }
    }

    pub(super) fn count_in(&self, stats: Arc<Stats>) {
        self.stats.store(stats);
    }

    /// A token that is good as far as is known.
    pub(super) async fn token(&self) -> Result<Arc<Token>, TokenError> {
        let now = Instant::now();
        let current = self.current.load_full();
        let mut asking = match current {
            Some(token) if now < token.renew_at => return Ok(token),
            // Still good: whoever comes first renews it, the others go on with it.
            Some(token) if now < token.ends_at => match self.asking.try_lock() {
                Ok(mut asking) => return Ok(self.renew(&mut asking, now).await.unwrap_or(token)),
                Err(_) => return Ok(token),
            },
            _ => self.asking.lock().await,
        };
        let now = Instant::now();
        match self.current.load_full() {
            // Another one asked meanwhile.
            Some(token) if now < token.renew_at => Ok(token),
            _ => self.renew(&mut asking, now).await,
        }
    }

    /// The platform refused `token`: the next one that asks gets another. If that has happened already, nothing changes.
    pub(super) fn expire(&self, token: &Arc<Token>) {
        self.current.rcu(|current| match current {
            Some(current) if Arc::ptr_eq(current, token) => None,
            other => other.clone(),
        });
    }

    async fn renew(&self, asking: &mut Asking, now: Instant) -> Result<Arc<Token>, TokenError> {
        if let Some(not_before) = asking.not_before.filter(|not_before| now < *not_before) {
            return Err(TokenError { what: asking.what.clone(), after: not_before - now });
        }
        let stats = self.stats.load_full();
        match self.request().await {
            Ok(token) => {
                add(&stats.tokens_fetched, 1);
                asking.failures = 0;
                asking.not_before = None;
                let token = Arc::new(token);
                self.current.store(Some(Arc::clone(&token)));
                Ok(token)
            }
            Err((what, after)) => {
                stats.token_errors.fetch_add(1, Ordering::Relaxed);
                asking.failures = asking.failures.saturating_add(1);
                let factor = 1u32.checked_shl(asking.failures - 1).unwrap_or(u32::MAX);
                let bound = BACKOFF.saturating_mul(factor).min(BACKOFF_CAP);
                let own = bound.mul_f64(asking.random.random::<f64>()).max(BACKOFF / 10);
                let after = own.max(after.unwrap_or_default().min(Duration::from_secs(900)));
                asking.not_before = Some(Instant::now() + after);
                asking.what.clone_from(&what);
                if asking.failures == 1 || asking.failures.is_multiple_of(10) {
                    tracing::warn!(error = %what, failures = asking.failures, "no token could be had");
                }
                Err(TokenError { what, after })
            }
        }
    }

    /// One request. The error is text for an operator: the server's own words are not in it, they might repeat ours.
    async fn request(&self) -> Result<Token, (String, Option<Duration>)> {
        let plain = |what: String| (what, None);
        let source = self.settings.client_secret.clone();
        let secret = tokio::task::spawn_blocking(move || source.read())
            .await
            .map_err(|_| plain("the secret cannot be read".into()))?
            .map_err(|error| plain(error.to_string()))?;
        let asked = Instant::now();
        let client = self.client.load_full();
        let request = client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(Bytes::from_owner(self.form(&secret)));
        drop(secret);
        let broken = |error: reqwest::Error| {
            let error = client.explain(error);
            let (host, advice) = (&self.host, failure(&error).advice());
            plain(format!("the token endpoint at {host} cannot be asked: {}; {advice}", describe(&error)))
        };
        let mut response = request.send().await.map_err(broken)?;
        let status = response.status().as_u16();
        if status != 200 {
            let after = response.headers().get(RETRY_AFTER);
            let after = after.and_then(|value| parse_retry_after(value.as_bytes(), std::time::SystemTime::now()));
            let advice = match status {
                400 | 401 | 403 => "; check the client id, its secret and its rights",
                404 => "; check the token endpoint's address",
                _ => "",
            };
            return Err((format!("the token endpoint answered {status}{advice}"), after));
        }
        // Room for all of it at once: a buffer that grows would leave copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(plain(format!("the token endpoint's answer is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        parse_token(&body, asked).map_err(|what| plain(what.to_owned()))
    }

    fn form(&self, secret: &Secret) -> Zeroizing<Vec<u8>> {
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &self.settings.client_id),
            ("client_secret", secret.expose()),
        ];
        if let Some(scope) = &self.settings.scope {
            fields.push(("scope", scope));
        }
        let room = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
        let mut form = Zeroizing::new(Vec::with_capacity(room));
        for (name, value) in fields {
            if !form.is_empty() {
                form.push(b'&');
            }
            form.extend_from_slice(name.as_bytes());
            form.push(b'=');
            encode_form(value, &mut form);
        }
        form
    }
}

/// Percent-encoding as `application/x-www-form-urlencoded` wants it.
fn encode_form(value: &str, form: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => form.push(byte),
            b' ' => form.push(b'+'),
            _ => form.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]),
        }
    }
}

fn parse_token(body: &[u8], asked: Instant) -> Result<Token, &'static str> {
    let mut answer: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| "the token endpoint's answer is not JSON")?;
    let secret = match answer.get_mut("access_token").map(serde_json::Value::take) {
        Some(serde_json::Value::String(text)) if !text.is_empty() => Secret::new(text),
        _ => return Err("the token endpoint's answer has no access_token"),
    };
    if answer["token_type"].as_str().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token endpoint gave a token that is not a bearer token");
    }
    let life = match &answer["expires_in"] {
        serde_json::Value::Number(seconds) => seconds.as_f64(),
        serde_json::Value::String(seconds) => seconds.parse().ok(), // Some servers quote it.
        _ => None,
    };
    let life = life
        .filter(|seconds| seconds.is_finite())
        .map_or(DEFAULT_LIFE, |seconds| Duration::from_secs_f64(seconds.clamp(1.0, 86_400.0)));
    let text = Zeroizing::new(format!("Bearer {}", secret.expose()));
    let mut header =
        HeaderValue::from_str(&text).map_err(|_| "the token endpoint gave a token that no header can hold")?;
    header.set_sensitive(true);
    let lead = (life / 5).min(MAX_LEAD);
    Ok(Token { header, secret, renew_at: asked + life - lead, ends_at: asked + life })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_ahead_of_their_end() {
        let now = Instant::now();
        let token = |text: &str| parse_token(text.as_bytes(), now);
        let long = token(r#"{"access_token":"abc","expires_in":1800,"token_type":"Bearer"}"#).unwrap();
        assert_eq!(long.header.to_str().unwrap(), "Bearer abc");
        assert!(long.header.is_sensitive());
        assert_eq!((long.renew_at - now, long.ends_at - now), (Duration::from_secs(1740), Duration::from_secs(1800)));
        let short = token(r#"{"access_token":"abc","expires_in":"10"}"#).unwrap();
        assert_eq!((short.renew_at - now, short.ends_at - now), (Duration::from_secs(8), Duration::from_secs(10)));
        for life in ["-5", "0", "1e300", "null", "\"x\""] {
            let token = token(&format!(r#"{{"access_token":"abc","expires_in":{life}}}"#)).unwrap();
            assert!(token.ends_at > now && token.ends_at <= now + Duration::from_secs(86_400), "{life}");
        }
    }

    #[test]
    fn answers_without_a_usable_token_are_errors_that_repeat_nothing() {
        for text in [
            "",
            "hunter2",
            r#"{"error":"hunter2"}"#,
            r#"{"access_token":7}"#,
            r#"{"access_token":""}"#,
            r#"{"access_token":"hun\nter2"}"#,
            r#"{"access_token":"hunter2","token_type":"mac"}"#,
        ] {
            let error = parse_token(text.as_bytes(), Instant::now()).err().unwrap();
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn forms_are_encoded() {
        let mut form = Vec::new();
        encode_form("a b&c=d+é%*-._~", &mut form);
        assert_eq!(form, b"a+b%26c%3Dd%2B%C3%A9%25*-._%7E");
    }
}
