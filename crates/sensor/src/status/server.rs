//! The HTTP server of the status endpoints.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use super::{Check, Condition, render};

/// How long requests under way may take when the server stops.
const PARTING: Duration = Duration::from_millis(500);

/// A running status server; it stops when dropped.
#[derive(Debug)]
pub struct StatusServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The status address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the status on {address}: {source}; choose another with [status] listen")]
pub struct StatusError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl StatusServer {
    /// Begins to answer.
    ///
    /// # Errors
    /// When the address cannot be bound, or there is no thread to be had.
    pub fn start(address: SocketAddr, condition: Arc<dyn Condition>) -> Result<Self, StatusError> {
        let failed = |source| StatusError { address, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let routes = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(condition);
        let thread = thread::Builder::new()
            .name("status".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let stopped = async {
                        let _ = stopped.await;
                    };
                    let serving = axum::serve(listener, routes).with_graceful_shutdown(stopped);
                    if let Err(error) = serving.await {
                        tracing::warn!("the status server ended: {error}");
                    }
                });
                runtime.shutdown_timeout(PARTING);
            })
            .map_err(failed)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for StatusServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // A client that keeps its connection open must not keep the process: the thread is not waited for long.
        if let Some(thread) = self.thread.take() {
            let end = std::time::Instant::now() + PARTING;
            while !thread.is_finished() && std::time::Instant::now() < end {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

async fn healthz(State(condition): State<Arc<dyn Condition>>) -> Response {
    answer(condition.health())
}

async fn readyz(State(condition): State<Arc<dyn Condition>>) -> Response {
    answer(condition.readiness())
}

async fn metrics(State(condition): State<Arc<dyn Condition>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], render(condition.metrics())).into_response()
}

/// A line for each check; 200 when all hold, else 503.
fn answer(checks: Vec<Check>) -> Response {
    let all = checks.iter().all(|check| check.holds);
    let mut text = String::from(if all { "ok\n" } else { "not ok\n" });
    for check in checks {
        text += &format!("{} {}: {}\n", if check.holds { "+" } else { "-" }, check.name, check.detail);
    }
    (if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::status::{Kind, Metric};

    #[derive(Default)]
    struct Switch(AtomicBool);

    impl Condition for Switch {
        fn health(&self) -> Vec<Check> {
            vec![Check { name: "thread capture-0".to_owned(), holds: true, detail: "alive".to_owned() }]
        }

        fn readiness(&self) -> Vec<Check> {
            let holds = self.0.load(Ordering::Relaxed);
            vec![Check { name: "source eth0".to_owned(), holds, detail: "down".to_owned() }]
        }

        fn metrics(&self) -> Vec<Metric> {
            vec![Metric::plain("frames_seen", "Frames", Kind::Counter, 3.0)]
        }
    }

    fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn each_endpoint_answers_from_the_condition() {
        let condition = Arc::new(Switch::default());
        let server = StatusServer::start("127.0.0.1:0".parse().unwrap(), Arc::clone(&condition) as _).unwrap();
        let address = server.address();
        let health = ask(address, "/healthz");
        assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("+ thread capture-0: alive\n"), "{health}");
        let readiness = ask(address, "/readyz");
        assert!(readiness.starts_with("HTTP/1.1 503") && readiness.contains("- source eth0: down"), "{readiness}");
        condition.0.store(true, Ordering::Relaxed);
        assert!(ask(address, "/readyz").starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/metrics").contains("sensor_frames_seen_total 3.0\n"));
        assert!(ask(address, "/nothing").starts_with("HTTP/1.1 404"));

        let taken = StatusServer::start(address, condition).unwrap_err().to_string();
        assert!(taken.contains(&address.to_string()) && taken.contains("[status] listen"), "{taken}");
        // A connection that is kept open does not keep the server.
        let _open = TcpStream::connect(address).unwrap();
        drop(server);
        assert!(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err());
    }
}
