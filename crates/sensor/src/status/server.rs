//! The HTTP server of the status endpoints.

use std::collections::VecDeque;
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
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Check, Condition, render};

/// How long requests under way may take when the server stops.
const PARTING: Duration = Duration::from_millis(500);

/// Connections at a time. Whoever asks is a scraper, a load balancer or two, and an operator; descriptors are needed
/// elsewhere.
const MOST_CONNECTIONS: usize = 32;
/// How long a connection may take for the head of its next request, with nothing said until then or with a little.
const HEAD: Duration = Duration::from_secs(20);
/// How long a connection may take for all of its requests: whoever does not read its answer is not waited for.
const WHOLE: Duration = Duration::from_secs(300);
/// How long to wait where no connection can be accepted: for want of descriptors there is none in the next moment either.
const BREATH: Duration = Duration::from_millis(100);

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
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
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
                    tokio::select! {
                        _ = stopped => {}
                        () = accept(&listener, &routes) => {}
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

/// Accepts connections for ever. Where there are too many the oldest goes: to answer takes no time, so that is one that says
/// nothing, and whoever comes now is heard.
async fn accept(listener: &TcpListener, routes: &Router) {
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(MOST_CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= MOST_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tokio::spawn(serve(stream, routes.clone())).abort_handle());
    }
}

async fn serve(stream: TcpStream, routes: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(16 << 10);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // What a client does wrong is its own affair.
    let _ = tokio::time::timeout(WHOLE, connection).await;
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

    /// Clients that say nothing, or half of something, take neither the descriptors nor the place of one that asks.
    #[test]
    fn clients_that_say_nothing_are_in_nobodys_way() {
        let server = StatusServer::start("127.0.0.1:0".parse().unwrap(), Arc::<Switch>::default() as _).unwrap();
        let address = server.address();
        let connect = |said: &[u8]| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(said).unwrap();
            stream
        };
        let half = b"GET /healthz HTTP/1.1\r\nHost";
        let mut idle: Vec<TcpStream> =
            (0..4 * MOST_CONNECTIONS).map(|number| connect(if number % 2 == 0 { b"" } else { half })).collect();
        assert!(ask(address, "/healthz").starts_with("HTTP/1.1 200"));
        // The oldest were closed, the latest are open: the one that asked is the last of so many.
        let is_closed = |stream: &mut TcpStream| {
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            !matches!(stream.read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        };
        let open = idle.iter_mut().filter_map(|stream| (!is_closed(stream)).then_some(())).count();
        assert_eq!(open, MOST_CONNECTIONS - 1);
        assert!(is_closed(&mut idle[0]));
        // One connection may ask often.
        let mut kept = TcpStream::connect(address).unwrap();
        for _ in 0..3 {
            kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = [0; 512];
            let len = kept.read(&mut answer).unwrap();
            assert!(answer[..len].starts_with(b"HTTP/1.1 200"));
        }
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
