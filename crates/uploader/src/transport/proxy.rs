//! Whether a proxy stands between us and a peer: asked once for each peer, when its client is built.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::Url;

use crate::settings::ProxySettings;

/// The proxy for `url`, if there is one. Rules and variables are curl's: `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
///
/// # Errors
///
/// If there is to be one that nobody can talk to: as text for an operator, without the address, which may hold a password.
/// To go past it without a word would be the worst answer: where there is a proxy, there is often no other way.
pub(super) fn proxy_for(settings: &ProxySettings, url: &Url) -> Result<Option<Intercept>, String> {
    if url.scheme() != "https" {
        // Within this machine alone ([`HttpsSettings::url`](crate::HttpsSettings)): a proxy would be sent records in the clear.
        return Ok(None);
    }
    let (place, address, exceptions) = match settings {
        ProxySettings::None => return Ok(None),
        ProxySettings::Explicit { url, no_proxy } => ("proxy", url.clone(), no_proxy.clone()),
        ProxySettings::Environment => {
            let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
            let Some((name, value)) = first_of(&names) else { return Ok(None) };
            (name, value, first_of(&["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default())
        }
    };
    let Ok(peer) = url.as_str().parse() else { return Ok(None) };
    let through = |proxy: &str| Matcher::builder().all(proxy).no(exceptions.as_str()).build().intercept(&peer);
    if through("http://any.invalid").is_none() {
        return Ok(None); // An exception: whatever the address is, it is not used.
    }
    check_address(&address).map_err(|fault| format!("{place}: {fault}"))?;
    match through(&address) {
        Some(proxy) => Ok(Some(proxy)),
        None => Err(format!("{place}: must be an address as http://host:port")),
    }
}

/// What is wrong with a proxy's address, and what would do; the address itself is not repeated. A scheme may be left out.
pub(crate) fn check_address(address: &str) -> Result<(), String> {
    const FORM: &str = "must be an address as http://host:port";
    let with_scheme = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let url = Url::parse(&with_scheme).map_err(|_| FORM.to_owned())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(()),
        "http" | "https" => Err(FORM.to_owned()),
        other => Err(format!("a proxy that speaks {other} cannot be used, only one that knows CONNECT; it {FORM}")),
    }
}

/// The first of these variables that is set and says something. `HTTPS_PROXY=` is how a shell takes a proxy away.
fn first_of(names: &[&'static str]) -> Option<(&'static str, String)> {
    let value = |name: &'static str| Some((name, std::env::var_os(name)?.to_string_lossy().into_owned()));
    names.iter().find_map(|name| value(name).filter(|(_, value)| !value.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_honoured_and_passwords_are_taken_apart() {
        let proxy = |no_proxy: &str, url: &str| {
            let settings =
                ProxySettings::Explicit { url: "http://me:pass@proxy.test:3128".into(), no_proxy: no_proxy.into() };
            proxy_for(&settings, &Url::parse(url).unwrap()).unwrap()
        };
        let found = proxy("", "https://edge.test/x").unwrap();
        assert_eq!(found.uri().to_string(), "http://proxy.test:3128/");
        assert!(found.basic_auth().is_some());
        assert!(proxy("edge.test", "https://edge.test/x").is_none());
        assert!(proxy(".test,10.0.0.0/8", "https://10.1.2.3:9443/x").is_none());
        assert!(proxy("10.0.0.0/8", "https://edge.test/x").is_some());
        assert!(proxy("fd00::/8", "https://[fd00::1]/x").is_none());
        assert!(proxy_for(&ProxySettings::None, &Url::parse("https://edge.test").unwrap()).unwrap().is_none());
    }

    #[test]
    fn what_cannot_or_must_not_go_through_a_proxy_does_not() {
        let proxy = |url: &str, no_proxy: &str| {
            let settings = ProxySettings::Explicit { url: "http://proxy.test:3128".into(), no_proxy: no_proxy.into() };
            proxy_for(&settings, &Url::parse(url).unwrap()).map(|proxy| proxy.is_some())
        };
        // What stays within the machine is never shown to one, as it is not encrypted.
        assert_eq!(proxy("http://127.0.0.1:8080/x", ""), Ok(false));
        assert_eq!(proxy("https://[fd00::1]:9443/x", ""), Ok(true));
        assert_eq!(proxy("https://[fd00::1]:9443/x", "fd00::/8"), Ok(false));
        assert_eq!(proxy("https://192.0.2.1/x", ""), Ok(true));
    }

    /// What cannot be talked to is said, unless it is not needed; and never with the password that is in it.
    #[test]
    fn a_proxy_of_another_kind_is_refused_at_once() {
        let proxy = |address: &str, no_proxy: &str| {
            let settings = ProxySettings::Explicit { url: address.into(), no_proxy: no_proxy.into() };
            proxy_for(&settings, &Url::parse("https://edge.test/x").unwrap()).map(|proxy| proxy.is_some())
        };
        for address in [
            "socks5://me:hunter2@proxy.test:1080",
            "socks5h://me:hunter2@proxy.test",
            "socks4://proxy.test:1080",
            "ftp://me:hunter2@proxy.test",
            "http://me:hunter2@",
            "http://me:hunter2@proxy.test:port",
            "me hunter2",
            "http://",
            "://",
        ] {
            let error = proxy(address, "").unwrap_err();
            assert!(error.contains("http://host:port") && !error.contains("hunter2"), "{error}");
            assert_eq!(proxy(address, "edge.test"), Ok(false), "{address}");
        }
        assert!(proxy("socks5://proxy.test", "").unwrap_err().contains("socks5"));
        for address in ["http://proxy.test:3128", "proxy.test:3128", "https://me:hunter2@proxy.test", "[fd00::1]:3128"]
        {
            assert_eq!(proxy(address, ""), Ok(true), "{address}");
        }
    }
}
