//! The token endpoint of OpenID Connect, as far as client credentials need it (RFC 6749, sections 4.4 and 5).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;
use crate::body::{check_length, collect};
use crate::misbehave::TokenLife;
use crate::refusal::json;
use crate::stats::add;
use crate::tokens::TokenRefusal;

/// Forms are short.
const MAX_FORM: usize = 16 << 10;

#[derive(Serialize)]
struct TokenAnswer<'a> {
    access_token: &'a str,
    expires_in: u64,
    token_type: &'static str,
}

#[derive(Serialize)]
struct TokenError {
    error: &'static str,
    error_description: &'static str,
}

pub(crate) async fn token(State(app): State<Arc<App>>, Path(realm): Path<String>, request: Request) -> Response {
    let Some(tokens) = app.tokens.as_ref().filter(|tokens| tokens.realm() == realm) else {
        let answer = TokenError { error: "not_found", error_description: "there is no such realm" };
        return json(StatusCode::NOT_FOUND, &answer);
    };
    let life = request.extensions().get::<TokenLife>().map(|TokenLife(life)| *life);
    let (parts, mut body) = request.into_parts();
    let form_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let form_type = form_type.split(';').next().unwrap_or_default().trim();
    if !form_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return refused(TokenRefusal::InvalidRequest("the body is to be application/x-www-form-urlencoded"));
    }
    if let Err(refusal) = check_length(&parts.headers, MAX_FORM) {
        return refusal.into_response();
    }
    let form = match collect(&mut body, MAX_FORM, app.time_limits.head, &app.budget).await {
        Ok(form) => form,
        Err(refusal) => return refusal.into_response(),
    };
    // A field that is no text cannot be right, and must not count as absent.
    let authorization = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    match tokens.request(form.as_slice(), authorization) {
        Ok(()) => {
            add(&app.counters.tokens_issued, 1);
            let issued = tokens.issue(life);
            let answer =
                TokenAnswer { access_token: &issued.token, expires_in: issued.expires_in, token_type: "Bearer" };
            json(StatusCode::OK, &answer)
        }
        Err(refusal) => refused(refusal),
    }
}

fn refused(refusal: TokenRefusal) -> Response {
    let (status, error, error_description) = match refusal {
        TokenRefusal::InvalidRequest(what) => (StatusCode::BAD_REQUEST, "invalid_request", what),
        TokenRefusal::UnsupportedGrantType => {
            (StatusCode::BAD_REQUEST, "unsupported_grant_type", "grant_type is to be client_credentials")
        }
        TokenRefusal::InvalidClient { .. } => {
            (StatusCode::UNAUTHORIZED, "invalid_client", "client id and secret are not those of a known client")
        }
    };
    let mut response = json(status, &TokenError { error, error_description });
    if refusal == (TokenRefusal::InvalidClient { basic: true }) {
        let challenge = axum::http::HeaderValue::from_static("Basic realm=\"token\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
