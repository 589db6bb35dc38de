//! The running collector: its addresses, its thread, its connections.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::app::{App, Peer, main_router, view_router};
use crate::fault::{Action, Faults, Stage};
use crate::options::{Options, StartError, StoreKind};
use crate::stats::{Stats, add};
use crate::store::Store;
use crate::tls;
use crate::tokens::Tokens;
use crate::wire::{Cut, Wire};

/// What one connection may have in flight towards us: bounds what an HTTP/2 sender can make us hold beyond the budget.
const H2_STREAM_WINDOW: u32 = 1 << 20;
const H2_CONNECTION_WINDOW: u32 = 2 << 20;
const H2_STREAMS: u32 = 32;

/// How long a client that was refused in the handshake may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// A collector that runs until it is shut down or dropped.
pub struct Collector {
    addresses: Vec<SocketAddr>,
    view: Option<SocketAddr>,
    app: Arc<App>,
    stop: watch::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    NotYet,
    Gently,
    Now,
}

impl Collector {
    /// Opens the store, listens, and serves from a thread of its own. When this returns, connections are accepted.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way, each with what to do about it.
    pub fn start(options: Options) -> Result<Self, StartError> {
        check(&options)?;
        let tls = match &options.tls {
            Some(tls) => Some(TlsAcceptor::from(Arc::new(tls::server_config(tls)?))),
            None => None,
        };
        let faults =
            Faults::new(&options.faults, options.fault_seed).map_err(|error| StartError::Options(error.to_string()))?;
        let store = match &options.store {
            StoreKind::Sqlite(path) => Some(Store::open(path)?),
            StoreKind::Memory => Some(Store::in_memory()?),
            StoreKind::Null => None,
        };
        let app = Arc::new(App::new(&options, store, options.clients.clone().map(Tokens::new), faults));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .max_blocking_threads(16)
            .thread_name("collector")
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let connections = Arc::new(Semaphore::new(options.max_connections));
        let (stop, stopped) = watch::channel(Stop::NotYet);
        let mut doors = Vec::new();
        let mut addresses = Vec::new();
        for address in &options.listen {
            let (listener, bound) = listen(*address)?;
            addresses.push(bound);
            doors.push((listener, main_router(app.clone()), tls.clone()));
        }
        let mut view = None;
        if let Some(address) = options.view {
            let (listener, bound) = listen(address)?;
            view = Some(bound);
            doors.push((listener, view_router(app.clone()), None));
        }
        let mut accepting = Vec::new();
        {
            let _entered = runtime.enter();
            for (listener, router, tls) in doors {
                let address = listener.local_addr().map_err(StartError::Thread)?;
                let listener = tokio::net::TcpListener::from_std(listener)
                    .map_err(|source| StartError::Listen { address, source })?;
                let door =
                    Door { app: app.clone(), router, tls, connections: connections.clone(), stopped: stopped.clone() };
                accepting.push(door.accept(listener));
            }
        }
        let thread = std::thread::Builder::new()
            .name("collector".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let mut doors = JoinSet::new();
                    for door in accepting {
                        doors.spawn(door);
                    }
                    while doors.join_next().await.is_some() {}
                });
                // What still runs on a blocking thread is a store's question or a batch being stored.
                runtime.shutdown_timeout(Duration::from_secs(10));
            })
            .map_err(StartError::Thread)?;
        tracing::info!(
            ?addresses,
            ?view,
            tls = options.tls.is_some(),
            tokens = options.clients.is_some(),
            "collecting"
        );
        Ok(Self { addresses, view, app, stop, thread: Some(thread) })
    }

    /// The first address that records are taken at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// All addresses that records are taken at, in the order of [`Options::listen`], with the ports that were taken.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The address for a person's look, if there is one.
    #[must_use]
    pub fn view(&self) -> Option<SocketAddr> {
        self.view
    }

    /// What this run has seen so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.app.stats()
    }

    /// A handle to make it misbehave.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.app.faults.clone()
    }

    /// The store; `None` with [`StoreKind::Null`]. Outlives the collector.
    #[must_use]
    pub fn store(&self) -> Option<Store> {
        self.app.store.clone()
    }

    /// Makes all tokens issued so far invalid.
    pub fn expire_tokens(&self) {
        if let Some(tokens) = &self.app.tokens {
            tokens.expire_all();
        }
    }

    /// Stops accepting, lets requests under way finish within their limit, and returns what was seen.
    pub fn shutdown(mut self) -> Stats {
        self.stop(Stop::Gently);
        self.stats()
    }

    /// Stops at once and resets all connections, as far as they can see like a crash. What was answered with 200 is stored.
    pub fn kill(mut self) -> Stats {
        self.stop(Stop::Now);
        self.stats()
    }

    fn stop(&mut self, how: Stop) {
        let Some(thread) = self.thread.take() else { return };
        self.stop.send_replace(how);
        if thread.join().is_err() {
            tracing::error!("the collector's thread panicked");
        }
        tracing::info!(addresses = ?self.addresses, "stopped collecting");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop(Stop::Now);
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector")
            .field("addresses", &self.addresses)
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

/// What contradicts itself.
fn check(options: &Options) -> Result<(), StartError> {
    let wrong = |message: &str| Err(StartError::Options(message.to_owned()));
    if options.listen.is_empty() {
        return wrong("no address to listen on; name one");
    }
    if options.threads == 0 || options.max_connections == 0 {
        return wrong("threads and max_connections must be at least 1");
    }
    if options.max_connections > Semaphore::MAX_PERMITS {
        return wrong("max_connections is more than can be counted");
    }
    if options.view.is_some_and(|view| !view.ip().is_loopback()) {
        return wrong("the view has neither TLS nor tokens: it must be on a loopback address, such as 127.0.0.1");
    }
    if let Some(clients) = &options.clients {
        if clients.client_id.is_empty() || clients.client_secret.is_empty() {
            return wrong("a client has an id and a secret; neither may be empty");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if clients.realm.is_empty() || !clients.realm.bytes().all(plain) {
            return wrong("a realm is made of letters, digits and -._~ of ASCII, because it is part of a path");
        }
    }
    Ok(())
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// One address and what is behind it.
struct Door {
    app: Arc<App>,
    router: Router,
    tls: Option<TlsAcceptor>,
    connections: Arc<Semaphore>,
    stopped: watch::Receiver<Stop>,
}

impl Door {
    async fn accept(mut self, listener: tokio::net::TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = self.stopped.changed() => break,
                Some(_) = tasks.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: those that are open will be closed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            add(&self.app.counters.connections, 1);
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                add(&self.app.counters.connections_refused, 1);
                continue;
            };
            let _ = stream.set_nodelay(true);
            let visit = Visit {
                app: self.app.clone(),
                router: self.router.clone(),
                tls: self.tls.clone(),
                stopped: self.stopped.clone(),
                cut: Cut::default(),
                _open: Open::new(self.app.clone(), permit),
            };
            tasks.spawn(visit.run(stream));
        }
        drop(listener);
        // Each connection hears of the stop by itself.
        while tasks.join_next().await.is_some() {}
    }
}

/// Counts a connection as open.
struct Open {
    app: Arc<App>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(app: Arc<App>, permit: OwnedSemaphorePermit) -> Self {
        add(&app.counters.connections_open, 1);
        Self { app, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.counters.connections_open.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}

/// One connection.
struct Visit {
    app: Arc<App>,
    router: Router,
    tls: Option<TlsAcceptor>,
    stopped: watch::Receiver<Stop>,
    cut: Cut,
    _open: Open,
}

impl Visit {
    async fn run(self, stream: tokio::net::TcpStream) {
        let cut = self.cut.clone();
        let stopped = self.stopped.clone();
        let grace = self.app.time_limits.shutdown;
        let over = async move {
            if stopping(stopped).await == Stop::Gently {
                tokio::time::sleep(grace).await;
            }
        };
        tokio::select! {
            () = cut.happened() => {}
            () = over => cut.now(),
            () = self.serve(stream) => {}
        }
        // Ends what still works for this connection, such as a fault that never answers.
        cut.now();
    }

    async fn serve(&self, stream: tokio::net::TcpStream) {
        let limits = self.app.time_limits;
        let wire = Wire::new(stream, self.cut.clone(), limits.idle);
        if let Some(strike) = self.app.faults.draw(Stage::Connection) {
            tokio::time::sleep(strike.delay).await;
            match strike.action {
                Action::Hang => return tokio::time::sleep(limits.idle).await,
                Action::CutRequest => return self.cut.now(),
                _ => {}
            }
        }
        let Some(tls) = &self.tls else {
            return self.speak(wire, false).await;
        };
        match tokio::time::timeout(limits.handshake, tls.accept(wire).into_fallible()).await {
            Ok(Ok(stream)) => {
                let certificate = stream.get_ref().1.peer_certificates().is_some();
                self.speak(stream, certificate).await;
            }
            Ok(Err((error, wire))) => {
                add(&self.app.counters.handshakes_failed, 1);
                tracing::debug!(%error, "a TLS handshake failed");
                let _ = tokio::time::timeout(LINGER, hear_out(wire)).await;
            }
            Err(_) => {
                add(&self.app.counters.handshakes_failed, 1);
                tracing::debug!("a TLS handshake took too long");
            }
        }
    }

    /// HTTP/1.1 or HTTP/2, whichever the client begins with.
    async fn speak(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, certificate: bool) {
        let peer = Peer { cut: self.cut.clone(), certificate };
        let service = service_fn(|mut request: hyper::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer.clone());
            self.router.clone().oneshot(request.map(Body::new))
        });
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(self.app.time_limits.head);
        http.http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_concurrent_streams(H2_STREAMS)
            .max_frame_size(128 << 10);
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let stopped = stopping(self.stopped.clone());
        tokio::pin!(stopped);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Closes our side and reads the other's to its end. A client of TLS 1.3 has sent its request before it can know that its
/// certificate is refused; closed with that unread, the connection would be reset and the alert lost.
async fn hear_out(mut wire: Wire) {
    let mut scrap = vec![0; 16 << 10];
    if wire.shutdown().await.is_ok() {
        while wire.read(&mut scrap).await.is_ok_and(|count| count > 0) {}
    }
}

/// Once the collector is to stop: how.
async fn stopping(mut stopped: watch::Receiver<Stop>) -> Stop {
    // The sender is gone only together with the collector.
    stopped.wait_for(|stop| *stop != Stop::NotYet).await.map_or(Stop::Now, |how| *how)
}
