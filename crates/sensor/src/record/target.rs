//! A request target taken apart (RFC 9112, section 3.2).

/// The parts of a request target, as they were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The scheme of an absolute form.
    pub(crate) scheme: Option<&'a [u8]>,
    /// The authority of an absolute form, without user information; `None` when it is empty.
    pub(crate) host: Option<&'a [u8]>,
    /// The path; `None`: the authority form of CONNECT has none.
    pub(crate) path: Option<&'a [u8]>,
    /// What follows the first `?`.
    pub(crate) query: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Takes a target apart. Nothing is decoded and nothing refused: what is no absolute form is path and query.
    #[inline]
    pub(crate) fn new(method: &[u8], target: &'a [u8]) -> Self {
        if target.first() != Some(&b'/') {
            if let Some((scheme, rest)) = split_scheme(target) {
                return Self::absolute(scheme, rest);
            }
            if method == b"CONNECT" {
                return Self::default();
            }
        }
        let (path, query) = split_query(target);
        Self { path: Some(path), query, ..Self::default() }
    }

    fn absolute(scheme: &'a [u8], rest: &'a [u8]) -> Self {
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let host = match memchr::memrchr(b'@', authority) {
            Some(at) => &authority[at + 1..],
            None => authority,
        };
        let (path, query) = split_query(rest);
        // An empty path is the same as "/" (RFC 9110, section 4.2.3).
        let path = if path.is_empty() { b"/" } else { path };
        Self { scheme: Some(scheme), host: Some(host).filter(|host| !host.is_empty()), path: Some(path), query }
    }
}

/// Scheme (RFC 3986, section 3.1) and what follows its `://`.
fn split_scheme(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', target)?;
    let (scheme, rest) = target.split_at(colon);
    let rest = rest.strip_prefix(b"://")?;
    let (first, others) = scheme.split_first()?;
    let is_scheme = first.is_ascii_alphabetic()
        && others.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>);

    fn parts<'a>(method: &str, target: &'a str) -> Parts<'a> {
        let target = Target::new(method.as_bytes(), target.as_bytes());
        let text = |part: Option<&'a [u8]>| part.map(|part| core::str::from_utf8(part).unwrap());
        (text(target.scheme), text(target.host), text(target.path), text(target.query))
    }

    #[test]
    fn the_four_forms() {
        for (method, target, expected) in [
            ("GET", "/where?q=now", (None, None, Some("/where"), Some("q=now"))),
            ("GET", "/", (None, None, Some("/"), None)),
            ("GET", "/a?", (None, None, Some("/a"), Some(""))),
            ("GET", "/a?b?c#d", (None, None, Some("/a"), Some("b?c#d"))),
            ("GET", "//twice//over", (None, None, Some("//twice//over"), None)),
            ("GET", "/to?u=http://a.b/c", (None, None, Some("/to"), Some("u=http://a.b/c"))),
            ("GET", "http://a.b:81/p?q", (Some("http"), Some("a.b:81"), Some("/p"), Some("q"))),
            ("GET", "HTTP://A.b", (Some("HTTP"), Some("A.b"), Some("/"), None)),
            ("GET", "http://a.b?q", (Some("http"), Some("a.b"), Some("/"), Some("q"))),
            ("GET", "http://u:p@x@a.b/p", (Some("http"), Some("a.b"), Some("/p"), None)),
            ("GET", "http://[::1]:80/p", (Some("http"), Some("[::1]:80"), Some("/p"), None)),
            ("GET", "http:///p", (Some("http"), None, Some("/p"), None)),
            ("CONNECT", "a.b:443", (None, None, None, None)),
            ("CONNECT", "/odd", (None, None, Some("/odd"), None)),
            ("OPTIONS", "*", (None, None, Some("*"), None)),
        ] {
            assert_eq!(parts(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn what_is_no_form_is_a_path() {
        for target in ["", "where", "a.b:80", "1http://a/b", "x y://a/b", ":", "://"] {
            assert_eq!(parts("GET", target), (None, None, Some(target), None));
        }
    }
}
