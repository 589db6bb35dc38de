//! The endpoints that take records.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;
use crate::body::{Coding, check_length, collect, decode, discard};
use crate::record::{Shape, body_text};
use crate::refusal::{Refusal, json};
use crate::stats::add;
use crate::store::{Store, Taken};
use crate::{edge, native, null};

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One transaction object.
    Transaction,
    /// `{"data": [transaction, …]}`.
    Batch,
    /// Native records, one a line.
    Native,
}

impl Kind {
    fn shape(self) -> Shape {
        if self == Self::Native { Shape::Native } else { Shape::Edge }
    }

    /// The media types that are taken; the first is the one to send.
    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Transaction | Self::Batch => &["application/json"],
            Self::Native => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
        }
    }
}

#[derive(Serialize)]
struct Accepted {
    status: &'static str,
    #[serde(flatten)]
    counts: Option<Counts>,
}

#[derive(Serialize)]
struct Counts {
    received: u64,
    stored: u64,
    duplicates: u64,
}

/// Takes a request that brings records. 200 means that all of them are stored; anything else, that none of them is.
pub(crate) async fn ingest(app: Arc<App>, kind: Kind, request: Request) -> Response {
    let (parts, mut body) = request.into_parts();
    let coding = match admit(&app, kind, &parts) {
        Ok(coding) => coding,
        Err(refusal) => {
            // A sender that asks first need not send the body at all.
            if !parts.headers.contains_key(header::EXPECT) {
                discard(&mut body, app.max_body.saturating_mul(4), app.time_limits.head).await;
            }
            return refusal.into_response();
        }
    };
    match take(&app, kind, coding, &mut body).await {
        Ok(counts) => {
            add(&app.counters.batches, 1);
            add(&app.counters.records, counts.received);
            add(&app.counters.duplicates, counts.duplicates);
            let counts = (kind != Kind::Transaction).then_some(counts);
            json(StatusCode::OK, &Accepted { status: "OK", counts })
        }
        Err(refusal) => {
            discard(&mut body, app.max_body.saturating_mul(4), app.time_limits.head).await;
            refusal.into_response()
        }
    }
}

/// What can be said before the body is read.
fn admit(app: &App, kind: Kind, parts: &Parts) -> Result<Coding, Refusal> {
    app.authorize(&parts.headers)?;
    check_media_type(kind, &parts.headers)?;
    let coding = Coding::of(&parts.headers)?;
    check_length(&parts.headers, app.max_body)?;
    Ok(coding)
}

fn check_media_type(kind: Kind, headers: &HeaderMap) -> Result<(), Refusal> {
    let types = kind.media_types();
    let field = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = field.split(';').next().unwrap_or_default().trim();
    if types.iter().any(|name| essence.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let message = format!("this path takes bodies of the type {}; say so in Content-Type", types[0]);
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_type", message))
}

async fn take(app: &Arc<App>, kind: Kind, coding: Coding, body: &mut Body) -> Result<Counts, Refusal> {
    let Some(store) = app.store.clone() else {
        let seen = null::drain(body, kind.shape(), coding, app.max_body, app.time_limits.body).await?;
        add(&app.counters.body_bytes, seen.bytes);
        return Ok(Counts { received: seen.records, stored: 0, duplicates: 0 });
    };
    let held = collect(body, app.max_body, app.time_limits.body, &app.budget).await?;
    add(&app.counters.body_bytes, held.as_slice().len() as u64);
    let Ok(_permit) = app.workers.acquire().await else { return Err(Refusal::busy()) };
    let limit = app.max_decoded;
    let stored = tokio::task::spawn_blocking(move || {
        let decoded = decode(held, coding, limit)?;
        insert(&store, kind, decoded.as_slice())
    });
    match stored.await {
        Ok(Ok(taken)) => {
            let received = taken.stored + taken.duplicates;
            Ok(Counts { received, stored: taken.stored, duplicates: taken.duplicates })
        }
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "storing the batch failed")),
    }
}

fn insert(store: &Store, kind: Kind, body: &[u8]) -> Result<Taken, Refusal> {
    let text = body_text(body)?;
    let records = match kind {
        Kind::Transaction => vec![edge::transaction(text)?],
        Kind::Batch => edge::batch(text)?,
        Kind::Native => native::lines(text)?,
    };
    store.insert(&records).map_err(|error| {
        tracing::warn!(%error, records = records.len(), "a batch could not be stored");
        Refusal::from(error)
    })
}
