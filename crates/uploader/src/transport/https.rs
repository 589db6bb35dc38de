//! HTTPS to the platform.
//!
//! A peer (the platform, and the token endpoint beside it) has a client of its own: TLS settings, a connection pool, a
//! proxy. When its certificate files change, the whole client is replaced: connections under way finish on the old one,
//! every new one uses the new pair. Swapping the certificate inside the old client would not do, because a resumed TLS
//! session keeps the identity that it was begun with.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Request, Uri};
use rustls::pki_types::ServerName;
use url::Url;

use super::answer::{Body, Doubt, bytes_to_read, classify, describe, failure};
use super::certificate::{Fingerprint, Lifetime, TlsError, Validity};
use super::client::{Client, Reply, RequestError, Way};
use super::oauth::OAuth;
use super::proxy::proxy_for;
use super::token_client::TokenClient;
use super::{Apply, Transport, TransportError, tls};
use crate::outcome::{Outcome, RetryReason};
use crate::sealed::SealedBatch;
use crate::seldom::Seldom;
use crate::settings::{AnswerRule, Destination, HttpsSettings, TlsSettings};
use crate::stats::{Stats, add};

/// How often there are warnings of a certificate's end.
const EXPIRY_WARNING_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Posts batches to the platform.
pub struct HttpsTransport {
    /// What it works with now; whoever is sending goes on with what it began with.
    link: ArcSwap<Link>,
    /// Whoever attends is to look after the link at once.
    reload: tokio::sync::Notify,
    log: Seldom,
    doubt_log: Seldom,
    /// The latest failure in words.
    last_failure: ArcSwapOption<String>,
    /// The uploader's, once it attends.
    stats: ArcSwap<Stats>,
}

/// The clients, and all that goes by one set of settings.
struct Link {
    platform: Peer,
    /// What is asked for; its host is the server name where that is set.
    uri: Uri,
    client: Arc<ArcSwap<Client>>,
    token_endpoint: Option<Peer>,
    oauth: Option<OAuth>,
    answer: AnswerRule,
}

impl HttpsTransport {
    /// Reads certificates and sets up the clients. Connects to nothing.
    ///
    /// # Errors
    ///
    /// If the settings contradict themselves, or certificates, keys or authorities cannot be used. An expired client
    /// certificate is no error here: the sensor must be able to start, spool, and wait for a new one.
    pub fn new(settings: &HttpsSettings) -> Result<Self, TransportError> {
        Ok(Self {
            link: ArcSwap::from_pointee(Link::new(settings)?),
            reload: tokio::sync::Notify::new(),
            log: Seldom::new(Duration::from_secs(60)),
            doubt_log: Seldom::new(Duration::from_secs(60)),
            last_failure: ArcSwapOption::empty(),
            stats: ArcSwap::default(),
        })
    }

    /// Fetches a token, for [`super::check()`].
    pub(super) async fn try_token(&self) -> Result<(), String> {
        match &self.link.load_full().oauth {
            Some(oauth) => oauth.token().await.map(|_| ()).map_err(|error| error.what),
            None => Ok(()),
        }
    }

    /// Posts a body, for [`super::check()`]. With a failure comes what exactly went wrong, where that is known.
    pub(super) async fn try_post(&self, body: bytes::Bytes, content_type: &str) -> (Outcome, Option<String>) {
        let (outcome, _) = self.post(body, content_type, None).await;
        (outcome, self.last_failure.swap(None).map(|what| (*what).clone()))
    }

    async fn post(
        &self,
        body: bytes::Bytes,
        content_type: &str,
        encoding: Option<&'static str>,
    ) -> (Outcome, Option<Doubt>) {
        let link = self.link.load_full();
        let token = match &link.oauth {
            None => None,
            Some(oauth) => match oauth.token().await {
                Ok(token) => Some(token),
                Err(error) => {
                    self.explain(&link, &error.what);
                    return (Outcome::Retry { reason: RetryReason::Token, after: Some(error.after) }, None);
                }
            },
        };
        let mut request = Request::post(link.uri.clone());
        if let Ok(content_type) = HeaderValue::from_str(content_type) {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(encoding) = encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        if let Some(token) = &token {
            request = request.header(AUTHORIZATION, token.header.clone());
        }
        let Ok(request) = request.body(Full::new(body)) else {
            return (Outcome::retry(RetryReason::Local), None); // All its parts have been looked at before.
        };
        let client = link.client.load_full();
        let mut answer = Vec::new();
        let Reply { status, headers, is_cut, failure } = match client.send(request, &mut answer, bytes_to_read).await {
            Ok(reply) => reply,
            Err(error) => return (self.failed(&link, &error), None),
        };
        // Whether the platform took it is not known; any other status says enough by itself.
        if let Some(error) = failure.filter(|_| (200..300).contains(&status)) {
            return (self.failed(&link, &error), None);
        }
        if let Some(token) = &token {
            if status == 401
                && let Some(oauth) = &link.oauth
            {
                oauth.expire(token);
            }
            if token.is_in(&answer) {
                answer = b"(the answer repeated the token and is not kept)".to_vec();
            }
        }
        let retry_after = headers.get(RETRY_AFTER).map(HeaderValue::as_bytes);
        let body = Body { read: &answer, is_cut };
        let (outcome, doubt) = classify(status, retry_after, body, link.answer, SystemTime::now());
        if let Some(doubt) = &doubt
            && let Some(left_out) = self.doubt_log.admit(std::time::Instant::now())
        {
            tracing::warn!(
                host = link.platform.host,
                status,
                doubt = doubt.what,
                left_out,
                "a batch counts as accepted by the answer's status, but the answer leaves doubts; see what the platform stored"
            );
        }
        (outcome, doubt)
    }

    fn failed(&self, link: &Link, error: &RequestError) -> Outcome {
        let reason = failure(error);
        self.explain(link, &describe(error));
        Outcome::retry(reason)
    }

    /// What exactly went wrong, now and then: the retry itself is logged by whoever decides on it.
    fn explain(&self, link: &Link, what: &str) {
        if let Some(left_out) = self.log.admit(std::time::Instant::now()) {
            tracing::warn!(host = link.platform.host, error = what, left_out, "a request to the platform failed");
        }
        self.last_failure.store(Some(Arc::new(what.to_owned())));
    }
}

impl Transport for HttpsTransport {
    async fn send(&self, batch: &SealedBatch) -> Outcome {
        let (outcome, doubt) =
            self.post(batch.body().clone(), batch.content_type(), batch.coding().content_encoding()).await;
        if let Some(doubt) = doubt {
            self.stats.load().doubted(doubt.failures.min(batch.records() as u64));
        }
        outcome
    }

    async fn attend(&self, stats: Arc<Stats>) {
        self.stats.store(Arc::clone(&stats));
        loop {
            let link = self.link.load_full();
            link.count_in(&stats);
            for peer in link.peers() {
                peer.warn_of_expiry();
            }
            let interval = link.peers().map(|peer| peer.tls.reload_interval).min().unwrap_or(Duration::from_secs(5));
            let forced = tokio::select! {
                () = tokio::time::sleep(interval) => false,
                () = self.reload.notified() => true,
            };
            if !Arc::ptr_eq(&link, &self.link.load()) {
                continue; // Everything has just been read.
            }
            for peer in link.peers() {
                // A disk that stands still is not this thread's fault.
                match stats.disk.watch(|| peer.refresh(forced)) {
                    None => {}
                    Some(Ok(())) => {
                        add(&stats.reloads, 1);
                        tracing::info!(peer = peer.name, "certificates were loaded anew");
                    }
                    Some(Err(error)) => {
                        add(&stats.reload_errors, 1);
                        tracing::error!(
                            peer = peer.name, %error,
                            "new certificates cannot be used; the old ones stay in use"
                        );
                    }
                }
            }
        }
    }

    fn reload(&self) {
        self.reload.notify_one();
    }

    fn prepare(self: &Arc<Self>, destination: &Destination) -> Result<Option<Apply>, TransportError> {
        let Destination::Https(settings) = destination else { return Ok(None) };
        let link = Link::new(settings)?;
        link.check_lifetimes()?;
        let this = Arc::clone(self);
        Ok(Some(Box::new(move || {
            link.count_in(&this.stats.load_full());
            this.link.store(Arc::new(link));
            this.reload.notify_one();
        })))
    }
}

impl std::fmt::Debug for HttpsTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpsTransport").field("host", &self.link.load().platform.host).finish_non_exhaustive()
    }
}

impl Link {
    fn new(settings: &HttpsSettings) -> Result<Self, TransportError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(TransportError::Settings(problems));
        }
        let platform = Peer::new("platform", &settings.url, settings.tls.clone(), settings, build)?;
        let (platform, asked, client) = platform;
        let uri = asked.as_str().parse();
        let uri = uri.map_err(|_| TransportError::Settings(vec!["url: is not an address".to_owned()]))?;
        let (mut token_endpoint, mut oauth) = (None, None);
        if let Some(wanted) = &settings.oauth {
            // A secret that cannot be read now would not stop the sensor, but the operator wants to know at once.
            wanted.client_secret.read()?;
            let own = HttpsSettings { timeout: wanted.timeout, ..settings.clone() };
            let peer = Peer::new("token endpoint", &wanted.token_url, wanted.tls.clone(), &own, TokenClient::build)?;
            let (peer, asked, client) = peer;
            oauth = Some(OAuth::new(wanted.clone(), asked, peer.host.clone(), client));
            token_endpoint = Some(peer);
        }
        Ok(Self { platform, uri, client, token_endpoint, oauth, answer: settings.answer })
    }

    fn peers(&self) -> impl Iterator<Item = &Peer> {
        std::iter::once(&self.platform).chain(&self.token_endpoint)
    }

    /// Whether every certificate of our own can be used now: one that is to take another's place has to.
    fn check_lifetimes(&self) -> Result<(), TransportError> {
        let now = unix_now();
        for peer in self.peers() {
            let (Some(validity), Some(files)) = (peer.validity.load_full(), &peer.tls.identity) else { continue };
            let path = files.certificate.clone();
            match validity.at(now) {
                Lifetime::Ahead => return Err(TlsError::NotYetValid { path }.into()),
                Lifetime::Over => return Err(TlsError::Expired { path }.into()),
                Lifetime::Running | Lifetime::Ending => {}
            }
        }
        Ok(())
    }

    fn count_in(&self, stats: &Arc<Stats>) {
        if let Some(oauth) = &self.oauth {
            oauth.count_in(Arc::clone(stats));
        }
        stats.set_certificate_expiry(self.peers().filter_map(Peer::expiry).min());
    }
}

/// One that is talked to, and what its client is made from.
struct Peer {
    name: &'static str,
    host: String,
    tls: TlsSettings,
    make: Make,
    seen: Mutex<Fingerprint>,
    /// Of the client certificate in use.
    validity: ArcSwapOption<Validity>,
    /// Seconds since 1970 at which a pair that came too early begins; 0: none waits.
    due: AtomicI64,
    expiry_log: Seldom,
}

/// Makes a new client, to be put in the old one's place by a call; and tells when its certificate is valid.
type Make = Box<dyn Fn() -> Result<(Option<Validity>, Apply), TransportError> + Send + Sync>;

impl Peer {
    /// The peer, what to ask it for, and its client, which is replaced when certificates change.
    fn new<C: Send + Sync + 'static>(
        name: &'static str,
        url: &str,
        tls: TlsSettings,
        settings: &HttpsSettings,
        build: fn(&Url, &TlsSettings, &HttpsSettings) -> Result<Built<C>, TransportError>,
    ) -> Result<(Self, Url, Arc<ArcSwap<C>>), TransportError> {
        let url = Url::parse(url).map_err(|_| TransportError::Settings(vec![format!("{name}: is not an address")]))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let seen = Mutex::new(Fingerprint::new(&tls));
        let built = build(&url, &tls, settings)?;
        let client = Arc::new(ArcSwap::from_pointee(built.client));
        let (current, own_tls, settings) = (Arc::clone(&client), tls.clone(), settings.clone());
        let make: Make = Box::new(move || {
            let Built { client, validity, .. } = build(&url, &own_tls, &settings)?;
            let current = Arc::clone(&current);
            Ok((validity, Box::new(move || current.store(Arc::new(client)))))
        });
        let peer = Self {
            name,
            host,
            tls,
            make,
            seen,
            validity: ArcSwapOption::from_pointee(built.validity),
            due: AtomicI64::new(0),
            expiry_log: Seldom::new(EXPIRY_WARNING_INTERVAL),
        };
        Ok((peer, built.asked, client))
    }

    /// Looks whether the files have changed, and if so (or if `forced`) replaces the client. A pair that cannot be used,
    /// has expired or is not valid yet changes nothing; the last is tried again when its time has come.
    fn refresh(&self, forced: bool) -> Option<Result<(), TransportError>> {
        let changed = self.seen.lock().unwrap_or_else(PoisonError::into_inner).changed(&self.tls);
        let due = self.due.load(Ordering::Relaxed);
        if !changed && !forced && (due == 0 || unix_now() < due) {
            return None;
        }
        Some(self.rebuild())
    }

    fn rebuild(&self) -> Result<(), TransportError> {
        self.due.store(0, Ordering::Relaxed);
        let (validity, apply) = (self.make)()?;
        if let (Some(files), Some(validity)) = (&self.tls.identity, validity) {
            let path = || files.certificate.clone();
            match validity.at(unix_now()) {
                Lifetime::Ahead => {
                    self.due.store(validity.begins, Ordering::Relaxed);
                    return Err(TlsError::NotYetValid { path: path() }.into());
                }
                Lifetime::Over => return Err(TlsError::Expired { path: path() }.into()),
                Lifetime::Running | Lifetime::Ending => {}
            }
        }
        apply();
        self.validity.store(validity.map(Arc::new));
        self.expiry_log.reset();
        Ok(())
    }

    fn expiry(&self) -> Option<i64> {
        self.validity.load().as_ref().map(|validity| validity.ends)
    }

    fn warn_of_expiry(&self) {
        let (Some(validity), Some(files)) = (self.validity.load_full(), &self.tls.identity) else { return };
        let now = unix_now();
        let lifetime = validity.at(now);
        if lifetime == Lifetime::Running || self.expiry_log.admit(std::time::Instant::now()).is_none() {
            return;
        }
        let (peer, file) = (self.name, files.certificate.display());
        match lifetime {
            Lifetime::Running => {}
            Lifetime::Ahead => tracing::error!(
                peer, %file, "the client certificate is not valid yet; put a valid one in its place, or set the clock"
            ),
            Lifetime::Over => {
                tracing::error!(peer, %file, "the client certificate has expired; put a new one in its place");
            }
            Lifetime::Ending => {
                let days = (validity.ends - now) / 86_400;
                tracing::warn!(peer, %file, days, "the client certificate expires soon; put a new one in its place");
            }
        }
    }
}

/// A client that is ready.
pub(super) struct Built<C> {
    pub(super) client: C,
    /// The address as it is asked for; its host may be the server name.
    pub(super) asked: Url,
    /// Of the certificate that it shows.
    pub(super) validity: Option<Validity>,
}

fn build(url: &Url, tls: &TlsSettings, settings: &HttpsSettings) -> Result<Built<Client>, TransportError> {
    let unusable = |what: &str| TransportError::Settings(vec![what.to_owned()]);
    let proxy = proxy_for(&settings.proxy, url).map_err(|fault| unusable(&fault))?;
    let target: Uri = url.as_str().parse().map_err(|_| unusable("url: is not an address"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let mut asked = url.clone();
    if let Some(name) = tls.server_name.as_deref().filter(|name| name.parse::<std::net::IpAddr>().is_err()) {
        // Asked for in SNI and Host, checked in the certificate; only the way there is the address's own.
        asked.set_host(Some(name)).map_err(|_| unusable("tls.server_name: is not a host name"))?;
    }
    let (mut validity, mut secured) = (None, None);
    if url.scheme() == "https" {
        let name = ServerName::try_from(tls.server_name.as_deref().unwrap_or(host).to_owned())
            .map_err(|_| unusable("the platform's name is neither a host name nor an address"))?;
        let configured = tls::configure(tls, settings.http, None)?;
        validity = configured.validity;
        secured = Some((configured.config, name));
    }
    let way = Way {
        target,
        proxy,
        tls: secured,
        user_agent: settings.user_agent.clone(),
        connect_timeout: settings.connect_timeout,
        timeout: settings.timeout,
    };
    let client = Client::new(way).map_err(|error| TransportError::Client(describe(&*error)))?;
    Ok(Built { client, asked, validity })
}

pub(super) fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
