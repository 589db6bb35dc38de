//! Whether a proxy stands between us and a peer: asked once for each peer, when its client is built.

use hyper_util::client::proxy::matcher::{Intercept, Matcher};

use crate::settings::ProxySettings;

/// The proxy for `url`, if there is one. Rules and variables are curl's: `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.
pub(super) fn proxy_for(settings: &ProxySettings, url: &reqwest::Url) -> Option<Intercept> {
    let matcher = match settings {
        ProxySettings::None => return None,
        ProxySettings::Environment => Matcher::from_env(),
        ProxySettings::Explicit { url, no_proxy } => Matcher::builder().all(url.as_str()).no(no_proxy.as_str()).build(),
    };
    matcher.intercept(&url.as_str().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_honoured_and_passwords_are_taken_apart() {
        let proxy = |no_proxy: &str, url: &str| {
            let settings =
                ProxySettings::Explicit { url: "http://me:pass@proxy.test:3128".into(), no_proxy: no_proxy.into() };
            proxy_for(&settings, &reqwest::Url::parse(url).unwrap())
        };
        let found = proxy("", "https://edge.test/x").unwrap();
        assert_eq!(found.uri().to_string(), "http://proxy.test:3128/");
        assert!(found.basic_auth().is_some());
        assert!(proxy("edge.test", "https://edge.test/x").is_none());
        assert!(proxy(".test,10.0.0.0/8", "https://10.1.2.3:9443/x").is_none());
        assert!(proxy("10.0.0.0/8", "https://edge.test/x").is_some());
        assert!(proxy("fd00::/8", "https://[fd00::1]/x").is_none());
        assert!(proxy_for(&ProxySettings::None, &reqwest::Url::parse("https://edge.test").unwrap()).is_none());
    }
}
