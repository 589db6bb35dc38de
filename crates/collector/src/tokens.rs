//! Bearer tokens: issued to one client by its credentials (RFC 6749, section 4.4), checked without any table.
//!
//! A token looks like a JSON web token and is one (HS256), but clients should not look inside. What makes all tokens issued so
//! far invalid ([`Tokens::expire_all`]) is a generation number that they carry; it is this process's and starts at 0.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::options::TokenIssuer;

/// Longer tokens are not looked at.
const MAX_TOKEN: usize = 4096;

pub(crate) struct Tokens {
    issuer: TokenIssuer,
    key: hmac::Key,
    generation: AtomicU64,
    serial: AtomicU64,
}

/// Why a request may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenProblem {
    /// There is none, or it is no bearer token.
    Missing,
    /// It was not issued here, or not for this client.
    Invalid,
    /// It was good once.
    Expired,
}

impl TokenProblem {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Missing => "a bearer token is needed",
            Self::Invalid => "the token is not valid here",
            Self::Expired => "the token has expired",
        }
    }
}

/// What is wrong with a request for a token: the error codes of RFC 6749, section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenRefusal {
    InvalidRequest(&'static str),
    UnsupportedGrantType,
    /// With whether the credentials came by HTTP Basic, whose answer must name the scheme.
    InvalidClient {
        basic: bool,
    },
}

/// A token and how long it is said to be good for.
pub(crate) struct Issued {
    pub(crate) token: String,
    pub(crate) expires_in: u64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    azp: String,
    iat: u64,
    exp: u64,
    /// `exp` in milliseconds, which is what counts.
    exp_ms: u64,
    jti: String,
    generation: u64,
}

impl Tokens {
    pub(crate) fn new(issuer: TokenIssuer) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, issuer.client_secret.as_bytes());
        let derived = hmac::sign(&root, format!("collector token key, realm {}", issuer.realm).as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref());
        // Serial numbers of two runs differ.
        let start = u64::try_from(now().as_nanos()).unwrap_or_default();
        Self { issuer, key, generation: AtomicU64::new(0), serial: AtomicU64::new(start) }
    }

    pub(crate) fn realm(&self) -> &str {
        &self.issuer.realm
    }

    /// Answers a token request: the form's bytes and the Authorization field, if there is one.
    pub(crate) fn request(&self, form: &[u8], authorization: Option<&str>) -> Result<(), TokenRefusal> {
        let mut fields = [None::<Zeroizing<String>>, None, None];
        for (name, value) in form_urlencoded::parse(form) {
            let value = Zeroizing::new(value.into_owned());
            let place = match &*name {
                "grant_type" => 0,
                "client_id" => 1,
                "client_secret" => 2,
                _ => continue,
            };
            if fields[place].replace(value).is_some() {
                return Err(TokenRefusal::InvalidRequest("a parameter is there twice"));
            }
        }
        let [grant, mut id, mut secret] = fields;
        let Some(grant) = grant else {
            return Err(TokenRefusal::InvalidRequest("grant_type is missing"));
        };
        if *grant != "client_credentials" {
            return Err(TokenRefusal::UnsupportedGrantType);
        }
        let basic = authorization.is_some();
        if let Some(authorization) = authorization {
            if secret.is_some() {
                return Err(TokenRefusal::InvalidRequest("credentials are in the form and in the header"));
            }
            let (user, password) = basic_credentials(authorization).ok_or(TokenRefusal::InvalidClient { basic })?;
            if id.is_some_and(|id| id != user) {
                return Err(TokenRefusal::InvalidRequest("client_id differs between form and header"));
            }
            (id, secret) = (Some(user), Some(password));
        }
        let (Some(id), Some(secret)) = (id, secret) else {
            return Err(TokenRefusal::InvalidClient { basic });
        };
        // Both are compared whatever the first says.
        let known =
            aws_lc_rs::constant_time::verify_slices_are_equal(id.as_bytes(), self.issuer.client_id.as_bytes()).is_ok();
        if known & self.issuer.client_secret.matches(&secret) {
            Ok(())
        } else {
            Err(TokenRefusal::InvalidClient { basic })
        }
    }

    /// Makes a token; with `life`, one that dies then, whatever is said.
    pub(crate) fn issue(&self, life: Option<Duration>) -> Issued {
        let stated = self.issuer.lifetime;
        let (now, end) = (now(), now() + life.unwrap_or(stated));
        let claims = Claims {
            iss: format!("collector/{}", self.issuer.realm),
            azp: self.issuer.client_id.clone(),
            iat: now.as_secs(),
            exp: (now + stated).as_secs(),
            exp_ms: milliseconds(end),
            jti: format!("{:016x}", self.serial.fetch_add(1, Ordering::Relaxed)),
            generation: self.generation.load(Ordering::Acquire),
        };
        // The claims are numbers and text, which always can be written.
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let mut token = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Issued { token, expires_in: stated.as_secs() }
    }

    /// Checks an Authorization field.
    pub(crate) fn check(&self, authorization: Option<&str>) -> Result<(), TokenProblem> {
        let token = authorization.and_then(|field| credentials(field, "bearer")).ok_or(TokenProblem::Missing)?;
        let claims = self.verified(token).ok_or(TokenProblem::Invalid)?;
        if claims.exp_ms <= milliseconds(now()) || claims.generation < self.generation.load(Ordering::Acquire) {
            return Err(TokenProblem::Expired);
        }
        Ok(())
    }

    /// Makes all tokens issued so far expire now.
    pub(crate) fn expire_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    fn verified(&self, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        // Nothing that the key did not sign is parsed; the header, too, is under the signature.
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let claims: Claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        (claims.azp == self.issuer.client_id).then_some(claims)
    }
}

/// What follows a scheme's name, in any letter case, and its blanks.
fn credentials<'a>(field: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = field.trim().split_once(' ')?;
    (name.eq_ignore_ascii_case(scheme) && !rest.trim().is_empty()).then(|| rest.trim())
}

/// The two parts of HTTP Basic, each form-encoded (RFC 6749, section 2.3.1).
fn basic_credentials(field: &str) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(credentials(field, "basic")?).ok()?);
    let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    let decoded = |text: &str| {
        // One name without a value, as the form syntax has it, but for `=` and `&`, which stand for themselves here.
        let text = Zeroizing::new(text.replace('&', "%26").replace('=', "%3D"));
        let name = form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned());
        Zeroizing::new(name.unwrap_or_default())
    };
    Some((decoded(user), decoded(password)))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(TokenIssuer {
            client_id: "sensor-1".to_owned(),
            client_secret: secret.into(),
            lifetime: Duration::from_secs(1800),
            realm: "cequence".to_owned(),
        })
    }

    fn bearer(token: &str) -> String {
        format!("Bearer {token}")
    }

    #[test]
    fn issues_what_it_takes_and_nothing_else() {
        let here = tokens("secret");
        let issued = here.issue(None);
        assert_eq!(issued.expires_in, 1800);
        assert_eq!(here.check(Some(&bearer(&issued.token))), Ok(()));
        assert_eq!(here.check(Some(&format!("bearer  {} ", issued.token))), Ok(()));
        // The same client elsewhere, and after a restart.
        assert_eq!(tokens("secret").check(Some(&bearer(&issued.token))), Ok(()));
        assert_eq!(tokens("another").check(Some(&bearer(&issued.token))), Err(TokenProblem::Invalid));
        assert_ne!(here.issue(None).token, issued.token);
        for authorization in
            [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic YTpi"), Some(issued.token.as_str())]
        {
            assert_eq!(here.check(authorization), Err(TokenProblem::Missing), "{authorization:?}");
        }
        for place in 0..issued.token.len() {
            let mut changed = issued.token.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // The last digit of unpadded base64 has spare bits, which the decoder demands to be zero.
            assert_eq!(here.check(Some(&bearer(&changed))), Err(TokenProblem::Invalid), "{place}");
        }
        let unsigned = format!("{}..", BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(here.check(Some(&bearer(&unsigned))), Err(TokenProblem::Invalid));
        assert_eq!(here.check(Some(&bearer(&"a.".repeat(10_000)))), Err(TokenProblem::Invalid));
    }

    #[test]
    fn tokens_expire() {
        let here = tokens("secret");
        let dead = here.issue(Some(Duration::ZERO));
        assert_eq!((here.check(Some(&bearer(&dead.token))), dead.expires_in), (Err(TokenProblem::Expired), 1800));
        let issued = here.issue(None);
        here.expire_all();
        assert_eq!(here.check(Some(&bearer(&issued.token))), Err(TokenProblem::Expired));
        assert_eq!(here.check(Some(&bearer(&here.issue(None).token))), Ok(()));
    }

    #[test]
    fn credentials_come_in_the_form_or_by_basic() {
        let here = tokens("s: &=+%");
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let grant = "grant_type=client_credentials";
        let form = format!("{grant}&client_id=sensor-1&client_secret=s%3A+%26%3D%2B%25");
        let encoded = basic("sensor-1:s%3A+%26%3D%2B%25");
        let bad = |basic| Err(TokenRefusal::InvalidClient { basic });
        assert_eq!(here.request(form.as_bytes(), None), Ok(()));
        assert_eq!(here.request(grant.as_bytes(), Some(&encoded)), Ok(()));
        assert_eq!(here.request(format!("{grant}&client_id=sensor-1").as_bytes(), Some(&encoded)), Ok(()));
        assert_eq!(here.request(grant.as_bytes(), None), bad(false));
        assert_eq!(here.request(format!("{grant}&client_id=sensor-1&client_secret=no").as_bytes(), None), bad(false));
        assert_eq!(
            here.request(format!("{grant}&client_id=other&client_secret=s%3A+%26%3D%2B%25").as_bytes(), None),
            bad(false)
        );
        for broken in
            [basic("sensor-1"), basic("sensor-1:no"), "Basic ???".to_owned(), "Bearer x".to_owned(), String::new()]
        {
            assert_eq!(here.request(grant.as_bytes(), Some(&broken)), bad(true), "{broken}");
        }
        assert_eq!(here.request(b"grant_type=password", None), Err(TokenRefusal::UnsupportedGrantType));
        for twice in [String::new(), format!("{grant}&{grant}"), form.replace("sensor-1", "sensor-1&client_id=b")] {
            assert!(matches!(here.request(twice.as_bytes(), None), Err(TokenRefusal::InvalidRequest(_))), "{twice}");
        }
        assert!(matches!(here.request(form.as_bytes(), Some(&encoded)), Err(TokenRefusal::InvalidRequest(_))));
    }
}
