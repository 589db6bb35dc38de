//! What is stored, and how the collector fares, as JSON.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::app::App;
use crate::query::{Filter, MAX_PAGE, Page};
use crate::record::{rfc3339, unix_seconds};
use crate::refusal::{Refusal, json};
use crate::store::{Store, StoreError, Totals};

/// Asks the store, off the threads that serve connections.
pub(crate) async fn ask<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Refusal> {
    let Some(store) = app.store.clone() else {
        let message = "the collector was started with a null store: nothing is kept; /stats counts what came";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "null_store", message));
    };
    let Ok(_permit) = app.readers.acquire().await else { return Err(Refusal::busy()) };
    match tokio::task::spawn_blocking(move || question(&store)).await {
        Ok(answer) => answer.map_err(Refusal::from),
        Err(_) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "asking the store failed")),
    }
}

/// Reads filter and page from a query. What is empty was left out of a form.
pub(crate) fn question(uri: &Uri, defaults: Page) -> Result<(Filter, Page), Refusal> {
    let (mut filter, mut page) = (Filter::default(), defaults);
    let mut seen = Vec::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let wrong = |problem: &str| {
            let message = format!("a parameter of the query is wrong: {problem}");
            Refusal::new(StatusCode::BAD_REQUEST, "bad_query", message).in_field(&name)
        };
        let time = |text: &str| {
            rfc3339(text)
                .or_else(|| unix_seconds(text))
                .ok_or_else(|| wrong("write a time as in 2026-11-20T22:13:17Z, or Unix seconds"))
        };
        if seen.contains(&name) {
            return Err(wrong("it is there twice"));
        }
        seen.push(name.clone());
        if value.is_empty() {
            continue;
        }
        match &*name {
            "host" => filter.host = Some(value.into_owned()),
            "path" => filter.path = Some(value.into_owned()),
            "method" => filter.method = Some(value.into_owned()),
            "status" => filter.status = Some(value.parse().map_err(|problem: String| wrong(&problem))?),
            "since" => filter.since = Some(time(&value)?),
            "until" => filter.until = Some(time(&value)?),
            "limit" => match value.parse() {
                Ok(limit) if (1..=MAX_PAGE).contains(&limit) => page.limit = limit,
                _ => return Err(wrong(&format!("write a number from 1 to {MAX_PAGE}"))),
            },
            "cursor" => page.after = Some(value.parse().map_err(|problem: String| wrong(&problem))?),
            "order" => page.order = value.parse().map_err(|problem: String| wrong(&problem))?,
            "records" => match &*value {
                "true" => page.records = true,
                "false" => page.records = false,
                _ => return Err(wrong("write true or false")),
            },
            // Unknown: a misspelt filter would show everything.
            _ => return Err(wrong("it is not known")),
        }
        if seen.len() > 10 {
            break;
        }
    }
    Ok((filter, page))
}

pub(crate) async fn transactions(State(app): State<Arc<App>>, request: Request) -> Response {
    let (filter, page) = match question(request.uri(), Page::default()) {
        Ok(question) => question,
        Err(refusal) => return refusal.into_response(),
    };
    match ask(&app, move |store| store.transactions(&filter, &page)).await {
        Ok(listing) => json(StatusCode::OK, &listing),
        Err(refusal) => refusal.into_response(),
    }
}

/// The record as it was sent, byte for byte.
pub(crate) async fn transaction(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    match ask(&app, move |store| store.transaction(&id)).await {
        Ok(Some(stored)) => {
            let mut response = Response::new(Body::from(stored.record));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Ok(None) => {
            Refusal::new(StatusCode::NOT_FOUND, "unknown_id", "no transaction with this id is stored").into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

#[derive(Serialize)]
struct Everything {
    /// Over the store's life; null with a null store.
    store: Option<Totals>,
    /// Of this run.
    run: crate::Stats,
}

pub(crate) async fn stats(State(app): State<Arc<App>>) -> Response {
    let store = match &app.store {
        None => None,
        Some(_) => match ask(&app, Store::totals).await {
            Ok(totals) => Some(totals),
            Err(refusal) => return refusal.into_response(),
        },
    };
    json(StatusCode::OK, &Everything { store, run: app.stats() })
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

/// 200 if the store answers.
pub(crate) async fn healthz(State(app): State<Arc<App>>) -> Response {
    if app.store.is_some()
        && let Err(refusal) = ask(&app, Store::totals).await
    {
        tracing::warn!(status = %refusal.status(), "the store does not answer");
        return json(StatusCode::SERVICE_UNAVAILABLE, &Health { status: "the store does not answer" });
    }
    json(StatusCode::OK, &Health { status: "ok" })
}
