//! Carries out the faults that [`crate::Faults`] draws.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep};

use crate::app::{App, Peer, unauthorized};
use crate::body::{discard, piece};
use crate::fault::{Action, Stage};
use crate::refusal::Refusal;
use crate::tokens::TokenProblem;
use crate::wire::Cut;

/// How long half an answer has to reach its reader before the connection is cut.
const HALF_WAY: Duration = Duration::from_millis(30);

/// An answer is never larger than this; what is longer is not held to be cut in half.
const LARGEST_ANSWER: usize = 1 << 20;

/// Tells the token endpoint that the token is to die early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenLife(pub(crate) Duration);

pub(crate) async fn misbehave(
    State((app, stage)): State<(Arc<App>, Stage)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(strike) = app.faults.draw(stage) else {
        return next.run(request).await;
    };
    tracing::debug!(fault = %strike.action, delay = ?strike.delay, %stage, "misbehaving on demand");
    sleep(strike.delay).await;
    let cut = request.extensions().get::<Peer>().map(|peer| peer.cut.clone()).unwrap_or_default();
    match strike.action {
        Action::Proceed | Action::Random => next.run(request).await,
        Action::ExpireTokens => {
            if let Some(tokens) = &app.tokens {
                tokens.expire_all();
            }
            next.run(request).await
        }
        Action::TokenLife(life) => {
            request.extensions_mut().insert(TokenLife(life));
            next.run(request).await
        }
        Action::Status { code, retry_after } => {
            read_off(&app, request).await;
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
                return status.into_response();
            }
            let refusal = Refusal::new(status, "fault", "misbehaviour on demand");
            match retry_after {
                Some(seconds) => refusal.with_header(header::RETRY_AFTER, &seconds.to_string()),
                None => refusal,
            }
            .into_response()
        }
        Action::RejectToken => {
            read_off(&app, request).await;
            match &app.tokens {
                Some(tokens) => unauthorized(tokens, TokenProblem::Invalid),
                None => Refusal::new(StatusCode::UNAUTHORIZED, "invalid_token", "misbehaviour on demand")
                    .with_header(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            }
            .into_response()
        }
        Action::Hang => {
            read_off(&app, request).await;
            cut_off(&cut).await
        }
        Action::CutRequest => {
            // Some of the body is there: the cut is in the midst of it, or right behind it if it is short.
            let _ = piece(request.body_mut(), Instant::now() + Duration::from_secs(1)).await;
            cut.now();
            cut_off(&cut).await
        }
        Action::CutReply => halved(next.run(request).await, cut).await,
    }
}

async fn read_off(app: &App, request: Request) {
    discard(&mut request.into_body(), app.max_body, app.time_limits.body).await;
}

/// Never answers; ends with the connection, whose task is ended by the cut.
async fn cut_off(cut: &Cut) -> Response {
    cut.happened().await;
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", "the connection was cut").closing().into_response()
}

/// The answer with a body that stops in its midst.
async fn halved(response: Response, cut: Cut) -> Response {
    let (mut parts, body) = response.into_parts();
    let whole = http_body_util::Limited::new(body, LARGEST_ANSWER).collect().await;
    let whole = whole.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().max(1).into());
    let half = Half { part: Some(whole.slice(..whole.len() / 2)), pause: Box::pin(sleep(HALF_WAY)), cut };
    Response::from_parts(parts, Body::new(half))
}

/// The first half of a body, and then a cut.
struct Half {
    part: Option<Bytes>,
    pause: Pin<Box<Sleep>>,
    cut: Cut,
}

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(part) = self.part.take() {
            self.pause.as_mut().reset(Instant::now() + HALF_WAY);
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        std::task::ready!(self.pause.as_mut().poll(context));
        self.cut.now();
        Poll::Ready(Some(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))))
    }
}
