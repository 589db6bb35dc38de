//! What all requests share, and which way each goes.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tokio::sync::Semaphore;

use crate::body::Budget;
use crate::fault::{Faults, Stage};
use crate::ingest::{self, Kind};
use crate::misbehave::misbehave;
use crate::options::TimeLimits;
use crate::refusal::Refusal;
use crate::stats::{Counters, Stats, add};
use crate::store::Store;
use crate::tokens::{TokenProblem, Tokens};
use crate::wire::Cut;
use crate::{page, token_endpoint, view};

/// Bodies that are decoded, parsed and stored at the same time. One of them writes, the others prepare.
const WORKERS: usize = 4;

/// Questions that are asked of the store at the same time, so that slow ones leave threads to the workers.
const READERS: usize = 2;

pub(crate) struct App {
    /// `None`: the null store.
    pub(crate) store: Option<Store>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) faults: Faults,
    pub(crate) counters: Counters,
    pub(crate) budget: Budget,
    pub(crate) max_body: usize,
    pub(crate) max_decoded: usize,
    pub(crate) time_limits: TimeLimits,
    pub(crate) workers: Semaphore,
    pub(crate) readers: Semaphore,
}

/// What a request's connection is known for.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) cut: Cut,
    pub(crate) certificate: bool,
}

impl App {
    pub(crate) fn new(options: &crate::Options, store: Option<Store>, tokens: Option<Tokens>, faults: Faults) -> Self {
        Self {
            store,
            tokens,
            faults,
            counters: Counters::new(),
            budget: Budget::new(options.max_under_way),
            max_body: options.max_body,
            max_decoded: options.max_decoded,
            time_limits: options.time_limits,
            workers: Semaphore::new(WORKERS),
            readers: Semaphore::new(READERS),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        self.counters.snapshot(self.budget.held(), self.faults.struck())
    }

    /// Checks the bearer token, where tokens are asked for.
    pub(crate) fn authorize(&self, headers: &axum::http::HeaderMap) -> Result<(), Refusal> {
        let Some(tokens) = &self.tokens else { return Ok(()) };
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let (first, more) = (fields.next(), fields.next());
        let checked = if more.is_some() {
            Err(TokenProblem::Invalid)
        } else {
            tokens.check(first.and_then(|value| value.to_str().ok()))
        };
        checked.map_err(|problem| {
            add(&self.counters.tokens_refused, 1);
            unauthorized(tokens, problem)
        })
    }
}

/// 401 as RFC 6750, section 3, has it: no error code where no token was shown.
pub(crate) fn unauthorized(tokens: &Tokens, problem: TokenProblem) -> Refusal {
    let realm = tokens.realm();
    let message = problem.message();
    let (name, challenge) = match problem {
        TokenProblem::Missing => ("missing_token", format!("Bearer realm=\"{realm}\"")),
        TokenProblem::Invalid | TokenProblem::Expired => (
            "invalid_token",
            format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{message}\""),
        ),
    };
    Refusal::new(StatusCode::UNAUTHORIZED, name, message).with_header(header::WWW_AUTHENTICATE, &challenge)
}

/// The ways of the addresses that take records.
pub(crate) fn main_router(app: Arc<App>) -> Router {
    let ingest = Router::new()
        .route(
            "/api-transaction",
            post(|State(app): State<Arc<App>>, request: Request| ingest::ingest(app, Kind::Transaction, request)),
        )
        .route(
            "/api-transactions",
            post(|State(app): State<Arc<App>>, request: Request| ingest::ingest(app, Kind::Batch, request)),
        )
        .route(
            "/native",
            post(|State(app): State<Arc<App>>, request: Request| ingest::ingest(app, Kind::Native, request)),
        )
        .route_layer(from_fn_with_state((app.clone(), Stage::Ingest), misbehave));
    let token = Router::new()
        .route("/auth/realms/{realm}/protocol/openid-connect/token", post(token_endpoint::token))
        .route_layer(from_fn_with_state((app.clone(), Stage::Token), misbehave));
    let reading = reading().route_layer(from_fn_with_state(app.clone(), demand_token));
    finish(Router::new().merge(ingest).merge(token).merge(reading), app)
}

/// The ways of the address for a person's look.
pub(crate) fn view_router(app: Arc<App>) -> Router {
    finish(reading().layer(axum::middleware::from_fn(demand_local_host)), app)
}

fn reading() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page::page))
        .route("/transactions", get(view::transactions))
        .route("/transactions/{id}", get(view::transaction))
        .route("/stats", get(view::stats))
}

fn finish(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .route("/healthz", any(view::healthz))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path takes another method: see Allow")
        })
        .fallback(async || {
            let message =
                "there is nothing at this path; records go to /api-transaction, /api-transactions and /native";
            Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
        })
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app)
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    add(&app.counters.requests, 1);
    add(&app.counters.requests_http2, u64::from(request.version() == Version::HTTP_2));
    let certificate = request.extensions().get::<Peer>().is_some_and(|peer| peer.certificate);
    add(&app.counters.requests_with_certificate, u64::from(certificate));
    let mut response = next.run(request).await;
    app.counters.answered(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Who may not post may not read either.
async fn demand_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.authorize(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Another site's page must not read what is stored through a name of its own that leads to this machine.
async fn demand_local_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().host()).map(crate::store::without_port).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok()
        || request.method() == Method::OPTIONS
    {
        return next.run(request).await;
    }
    let message = "this address answers to localhost and to addresses only, not to other names";
    Refusal::new(StatusCode::FORBIDDEN, "foreign_host", message).into_response()
}
