//! The HTTP client for the platform: a pool of connections, each made as the peer's settings want it.
//!
//! Where a connection leads and what name is asked for and checked there are two things: a peer may be behind a proxy, or have
//! a certificate for another name than its address. So the connector knows its peer and takes no notice of the request's address.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::legacy::{Client as Pool, Error as PoolError};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;

use super::last_words::LastWords;

/// An idle connection is closed after so long.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// A connection on which the peer acknowledges nothing for so long is given up: one that a firewall has forgotten must not be
/// used for ever, and with HTTP/2 all requests share one.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(30);

/// A request that got no answer, or not all of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no complete answer within {0:?}")]
    Timeout(Duration),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// Nothing comes back of what is sent.
    #[error("the connection is dead")]
    Silent(#[source] BoxError),
    /// There is no connection.
    #[error("cannot connect")]
    Connect(#[source] BoxError),
    /// There was one.
    #[error("the connection failed")]
    Broken(#[source] BoxError),
}

type BoxError = Box<dyn Error + Send + Sync>;

impl RequestError {
    fn of(error: PoolError, connect_timeout: Duration) -> Self {
        match (is_late(&error), error.is_connect()) {
            (true, true) => Self::ConnectTimeout(connect_timeout),
            (true, false) => Self::Silent(error.into()),
            (false, true) => Self::Connect(error.into()),
            (false, false) => Self::Broken(error.into()),
        }
    }
}

/// Whether it says that connecting took too long, by our own clock or the system's.
pub(super) fn is_late(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<tokio::time::error::Elapsed>()
            || error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// How to get to a peer.
pub(super) struct Way {
    /// Scheme, host and port to connect to.
    pub(super) target: Uri,
    pub(super) proxy: Option<Intercept>,
    /// The configuration, and the name that is asked for and checked; none within the machine.
    pub(super) tls: Option<(ClientConfig, ServerName<'static>)>,
    pub(super) user_agent: String,
    /// For name resolution, TCP, proxy and TLS together.
    pub(super) connect_timeout: Duration,
    /// For the whole exchange, connecting included.
    pub(super) timeout: Duration,
}

/// A client for one peer. Dropped, its idle connections are closed; requests under way finish.
pub(super) struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    user_agent: HeaderValue,
    connect_timeout: Duration,
    timeout: Duration,
}

/// The answer to a request.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// There was more of the body than was to be read.
    pub(super) is_cut: bool,
    /// Why the body did not come to its end, if it did not.
    pub(super) failure: Option<RequestError>,
}

impl Client {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If the user agent is no header's value, or the proxy's address has no name to check.
    pub(super) fn new(way: Way) -> Result<Self, BoxError> {
        let user_agent = HeaderValue::from_str(&way.user_agent)?;
        let (connect_timeout, timeout) = (way.connect_timeout, way.timeout);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(DEAD_AFTER / 2)
            .http2_keep_alive_timeout(DEAD_AFTER / 2)
            .build(Connector { way: Arc::new(Route::new(way, &user_agent)?) });
        Ok(Self { pool, user_agent, connect_timeout, timeout })
    }

    /// Sends `request`, and reads as much of the answer's body into `body` as `most` allows for its status.
    ///
    /// # Errors
    ///
    /// If there is no answer.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        body: &mut Vec<u8>,
        most: impl FnOnce(u16) -> usize,
    ) -> Result<Reply, RequestError> {
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let deadline = tokio::time::Instant::now() + self.timeout;
        let late = |_| RequestError::Timeout(self.timeout);
        let response = tokio::time::timeout_at(deadline, self.pool.request(request)).await.map_err(late)?;
        let response = response.map_err(|error| RequestError::of(error, self.connect_timeout))?;
        let (head, incoming): (_, Incoming) = Response::into_parts(response);
        let status = head.status.as_u16();
        let read = tokio::time::timeout_at(deadline, read(incoming, body, most(status)));
        let (is_cut, failure) = match read.await.map_err(late) {
            Ok(Ok(is_cut)) => (is_cut, None),
            Ok(Err(error)) => (false, Some(RequestError::Broken(error.into()))),
            Err(error) => (false, Some(error)),
        };
        Ok(Reply { status, headers: head.headers, is_cut, failure })
    }
}

/// Whether there was more than `most`.
async fn read(mut incoming: Incoming, body: &mut Vec<u8>, most: usize) -> Result<bool, hyper::Error> {
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = most.saturating_sub(body.len());
        body.extend_from_slice(&data[..data.len().min(room)]);
        if room < data.len() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes connections to one peer.
#[derive(Clone)]
struct Connector {
    way: Arc<Route>,
}

struct Route {
    tcp: HttpConnector,
    target: Uri,
    proxy: Option<Through>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    connect_timeout: Duration,
}

/// A proxy on the way.
struct Through {
    uri: Uri,
    /// Of a proxy that is spoken to in TLS itself.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    auth: Option<HeaderValue>,
    headers: HeaderMap,
}

impl Route {
    fn new(way: Way, user_agent: &HeaderValue) -> Result<Self, BoxError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(IDLE));
        tcp.set_tcp_user_timeout(Some(DEAD_AFTER));
        let proxy = match way.proxy {
            None => None,
            Some(proxy) => {
                let uri = proxy.uri().clone();
                let mut tls = None;
                if uri.scheme_str() == Some("https")
                    && let Some((config, _)) = &way.tls
                {
                    // CONNECT is a request of HTTP/1.1.
                    let mut config = config.clone();
                    config.alpn_protocols.clear();
                    let name = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                    tls = Some((TlsConnector::from(Arc::new(config)), ServerName::try_from(name)?));
                }
                let mut auth = proxy.basic_auth().cloned();
                auth.iter_mut().for_each(|auth| auth.set_sensitive(true));
                let headers = HeaderMap::from_iter([(USER_AGENT, user_agent.clone())]);
                Some(Through { uri, tls, auth, headers })
            }
        };
        let tls = way.tls.map(|(config, name)| (TlsConnector::from(Arc::new(config)), name));
        Ok(Self { tcp, target: way.target, proxy, tls, connect_timeout: way.connect_timeout })
    }

    async fn connect(&self) -> Result<Stream, BoxError> {
        let tcp = match &self.proxy {
            None => tcp(&self.tcp, self.target.clone()).await?,
            Some(proxy) => {
                let (to_proxy, tls) = (self.tcp.clone(), proxy.tls.clone());
                let connect = tower::service_fn(move |uri: Uri| {
                    let (to_proxy, tls) = (to_proxy.clone(), tls.clone());
                    async move {
                        let stream = tcp(&to_proxy, uri).await?;
                        Ok::<_, BoxError>(TokioIo::new(within(tls.as_ref(), stream).await?))
                    }
                });
                let mut tunnel = Tunnel::new(proxy.uri.clone(), connect).with_headers(proxy.headers.clone());
                if let Some(auth) = &proxy.auth {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                Box::new(tunnel.call(self.target.clone()).await?.into_inner())
            }
        };
        Ok(within(self.tls.as_ref(), tcp).await?)
    }
}

/// What TLS runs over: a socket, or a proxy's TLS.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

async fn tcp(connector: &HttpConnector, uri: Uri) -> Result<Box<dyn Io>, BoxError> {
    Ok(Box::new(LastWords::new(connector.clone().call(uri).await?.into_inner())))
}

async fn within(tls: Option<&(TlsConnector, ServerName<'static>)>, stream: Box<dyn Io>) -> std::io::Result<Stream> {
    match tls {
        None => Ok(Stream::Plain(stream)),
        Some((connector, name)) => Ok(Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?))),
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let way = Arc::clone(&self.way);
        Box::pin(async move { Ok(TokioIo::new(tokio::time::timeout(way.connect_timeout, way.connect()).await??)) })
    }
}

/// A connection to a peer.
enum Stream {
    Plain(Box<dyn Io>),
    Tls(Box<TlsStream<Box<dyn Io>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
