//! Answers that say no: a status, and a JSON body that names the reason and the place.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::record::BadRecord;
use crate::store::StoreError;

/// A request that is not done. Its text quotes nothing that was sent.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    body: Box<Text>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Debug, Serialize)]
struct Text {
    status: &'static str,
    error: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        let body = Box::new(Text { status: "ERROR", error, message: message.into(), index: None, field: None });
        Self { status, body, headers: Vec::new() }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        // Values are ours: text without control characters.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// The connection is not used again.
    pub(crate) fn closing(self) -> Self {
        self.with_header(header::CONNECTION, "close")
    }

    pub(crate) fn in_field(mut self, field: &str) -> Self {
        self.body.field = Some(field.to_owned());
        self
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is larger than the {limit} bytes that are taken; send less at a time");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(crate) fn busy() -> Self {
        let message = "too much is under way; try again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).with_header(header::RETRY_AFTER, "1")
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<BadRecord> for Refusal {
    fn from(bad: BadRecord) -> Self {
        let BadRecord { error, message, index, field } = bad;
        let mut refusal = Self::new(StatusCode::BAD_REQUEST, error, message);
        refusal.body.index = index;
        refusal.body.field = field;
        refusal
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (status, name) = match error {
            StoreError::Full => (StatusCode::INSUFFICIENT_STORAGE, "store_full"),
            StoreError::TooSlow => (StatusCode::SERVICE_UNAVAILABLE, "too_slow"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "store_failed"),
        };
        Self::new(status, name, error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status, &*self.body);
        response.headers_mut().extend(self.headers);
        response
    }
}

/// An answer in JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
