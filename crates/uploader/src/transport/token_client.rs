//! The HTTP client for the token endpoint: a small question now and then, for which a general client does.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::pki_types::ServerName;
use url::Url;

use super::TransportError;
use super::answer::describe;
use super::certificate::TlsError;
use super::client::{DEAD_AFTER, IDLE, RequestError, is_late};
use super::https::Built;
use super::proxy::proxy_for;
use super::tls::{self, Alias, Configured};
use crate::settings::{HttpVersions, HttpsSettings, TlsSettings};

/// A client for the token endpoint. Dropped, its idle connections are closed; requests under way finish.
pub(super) struct TokenClient {
    client: reqwest::Client,
    connect_timeout: Duration,
    timeout: Duration,
}

impl TokenClient {
    /// Connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If certificates cannot be used, or the way there is none that this client can go.
    pub(super) fn build(url: &Url, tls: &TlsSettings, settings: &HttpsSettings) -> Result<Built<Self>, TransportError> {
        let unusable = |what: &str| TransportError::Settings(vec![what.to_owned()]);
        let proxy = proxy_for(&settings.proxy, url).map_err(|fault| unusable(&fault))?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut asked = url.clone();
        let mut builder = reqwest::Client::builder()
            .user_agent(&settings.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.timeout)
            .pool_idle_timeout(IDLE)
            .tcp_keepalive(IDLE)
            .tcp_user_timeout(DEAD_AFTER)
            .http2_keep_alive_interval(DEAD_AFTER / 2)
            .http2_keep_alive_timeout(DEAD_AFTER / 2)
            .tcp_nodelay(true);
        let mut alias = None;
        if let Some(name) = tls.server_name.as_deref().filter(|_| url.scheme() == "https") {
            if proxy.is_none() && name.parse::<IpAddr>().is_err() {
                // Asked for in SNI and Host, checked in the certificate; only the way there is the address's own.
                asked.set_host(Some(name)).map_err(|_| unusable("oauth.tls.server_name: is not a host name"))?;
                builder = builder.dns_resolver(Arc::new(ResolveInstead { host: host.clone() }));
            } else {
                // This client asks for what it connects to, and a proxy must get the address's own name. An address is no name
                // that could be asked for.
                let parse = |name: &str| ServerName::try_from(name.to_owned());
                let (Ok(asked), Ok(checked)) = (parse(&host), parse(name)) else {
                    return Err(unusable("oauth.tls.server_name: is neither a host name nor an address"));
                };
                alias = Some(Alias { asked, checked });
            }
        }
        if let Some(proxy) = proxy {
            if url.host_str().is_some_and(|host| host.starts_with('[')) {
                // This client would take the brackets for a part of the name that the certificate is checked against.
                return Err(unusable(&format!(
                    "proxy: a token endpoint with an IPv6 address cannot be asked through a proxy; give {url} a host name, or \
                     except it (NO_PROXY)"
                )));
            }
            let mut through = reqwest::Proxy::all(proxy.uri().to_string())
                .map_err(|error| TransportError::Client(describe(&error.without_url())))?;
            if let Some(auth) = proxy.basic_auth() {
                let mut auth = auth.clone();
                auth.set_sensitive(true);
                through = through.custom_http_auth(auth);
            }
            builder = builder.proxy(through);
        }
        let Configured { config, validity } = if url.scheme() == "https" {
            tls::configure(tls, settings.http, alias)?
        } else {
            // Within the machine. The client wants a TLS configuration all the same; this one trusts nobody.
            Configured { config: trusting_nobody()?, validity: None }
        };
        builder = builder.tls_backend_preconfigured(config);
        if settings.http == HttpVersions::Http1 {
            builder = builder.http1_only();
        }
        let client = builder.build().map_err(|error| TransportError::Client(describe(&error.without_url())))?;
        let client = Self { client, connect_timeout: settings.connect_timeout, timeout: settings.timeout };
        Ok(Built { client, asked, validity })
    }

    pub(super) fn post(&self, url: Url) -> reqwest::RequestBuilder {
        self.client.post(url)
    }

    /// What became of a request, in the words that are used for batches.
    pub(super) fn explain(&self, error: reqwest::Error) -> RequestError {
        let is_silence = is_late(&error) || has_ended(&error);
        match (error.is_timeout(), error.is_connect()) {
            (true, true) => RequestError::ConnectTimeout(self.connect_timeout),
            (true, false) if is_silence => RequestError::Silent(Cause::of(error)),
            (true, false) => RequestError::Timeout(self.timeout),
            (false, true) => RequestError::Connect(Cause::of(error)),
            (false, false) => RequestError::Broken(Cause::of(error)),
        }
    }
}

/// Whether the connection itself was given up.
fn has_ended(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<hyper::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

fn trusting_nobody() -> Result<rustls::ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(TlsError::Rustls)?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// What is behind the client's own error, which says no more than that there was one, and for which address.
#[derive(Debug)]
struct Cause(reqwest::Error);

impl Cause {
    fn of(error: reqwest::Error) -> Box<Self> {
        Box::new(Self(error.without_url()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.source() {
            Some(cause) => fmt::Display::fmt(cause, f),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source().and_then(Error::source)
    }
}

/// Looks up the address's own host, whatever name is asked for.
struct ResolveInstead {
    host: String,
}

impl Resolve for ResolveInstead {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
