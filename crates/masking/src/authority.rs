//! Hosts in headers, in front of which clients have put user and password.
//!
//! A header may hold nothing but a host there, or a list of them, so that whatever is in front of an `@` is taken for a user and
//! a password, however it is written: in quotes, behind a scheme or slashes, with signs in it that no URL would have there.
//! Only what cannot be part of them stays: names of parameters, and hosts that come before in a list.

/// The user information in the hosts of `text`, each up to its `@`, in order. `has_parameters` says that it is of `name=value`
/// pairs, and not of hosts alone.
pub(crate) fn users(text: &[u8], has_parameters: bool) -> Users<'_> {
    Users { text, has_parameters, at: 0, closing: None, is_in_path: false, first: None }
}

/// Whether there may be some.
pub(crate) fn may_have_users(text: &[u8]) -> bool {
    memchr::memchr2(b'@', b'%', text).is_some_and(|at| {
        let rest = &text[at..];
        memchr::memchr(b'@', rest).is_some() || memchr::memmem::find(rest, b"40").is_some()
    })
}

pub(crate) struct Users<'a> {
    text: &'a [u8],
    has_parameters: bool,
    at: usize,
    /// What ends the quotes, or the brackets, that it is in.
    closing: Option<u8>,
    /// Behind a host and a slash.
    is_in_path: bool,
    /// Where what is no host starts: it can only be of a user.
    first: Option<usize>,
}

impl Users<'_> {
    /// Whether a piece ends at `at`.
    fn is_end(&self, at: usize) -> bool {
        match self.text[at] {
            b'"' | b'\'' | b'<' | b'>' | b'(' | b')' | b'/' | b'\\' | b'?' | b'#' => true,
            b',' if !self.has_parameters || self.closing.is_some() => {
                self.text.get(at + 1).is_none_or(u8::is_ascii_whitespace)
            }
            b',' | b';' | b'=' => self.has_parameters && self.closing.is_none(),
            byte => byte.is_ascii_whitespace(),
        }
    }

    /// Where the piece from `start` on ends, or the sign in it is.
    fn piece_end(&self, start: usize) -> usize {
        (start..self.text.len())
            .find(|at| self.is_end(*at) || sign_len(&self.text[*at..]) > 0)
            .unwrap_or(self.text.len())
    }

    /// A sign between a user and a host was passed: nothing in front of it matters any more.
    fn reset(&mut self) {
        (self.first, self.is_in_path) = (None, false);
    }
}

impl Iterator for Users<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        // Of a blank in front of the sign: what is in front of both.
        let mut last = None;
        while self.at < self.text.len() {
            let start = self.at;
            let end = self.piece_end(start);
            let piece = &self.text[start..end];
            let len = self.text.get(end..).map_or(0, sign_len);
            if len > 0 {
                self.at = end + len;
                let user = match (self.first, last) {
                    (Some(first), _) => Some(first),
                    _ if self.is_in_path && !piece.contains(&b':') => None,
                    (None, Some(last)) if piece.is_empty() => Some(last),
                    _ => Some(start).filter(|start| *start < end),
                };
                let Some(user) = user else { continue };
                // A password may have the sign in it, too.
                let mut sign = end;
                loop {
                    let end = self.piece_end(self.at);
                    let len = self.text.get(end..).map_or(0, sign_len);
                    if len == 0 {
                        break;
                    }
                    (sign, self.at) = (end, end + len);
                }
                self.reset();
                return Some((user, sign));
            }
            let behind = &self.text[end..];
            self.at = end + 1;
            let is_address = is_address(piece);
            match behind {
                [b'/' | b'?' | b'#', ..] if is_address && !piece.is_empty() => self.is_in_path = self.first.is_none(),
                // One slash; two are in front of a host.
                [b'/', second, ..] if piece.is_empty() && *second != b'/' && !self.text[..start].ends_with(b"/") => {
                    self.is_in_path = self.first.is_none();
                }
                _ if piece.is_empty() || is_address || self.is_in_path || is_scheme(piece, behind) => {}
                _ => self.first = self.first.or(Some(start)),
            }
            match behind.first() {
                Some(sign) if self.closing == Some(*sign) => self.closing = None,
                Some(sign @ (b'"' | b'<')) if self.has_parameters && self.closing.is_none() => {
                    self.closing = Some(if *sign == b'<' { b'>' } else { *sign });
                }
                // Each parameter is one of its own.
                Some(b',' | b';' | b'=') if self.has_parameters && self.closing.is_none() => {
                    self.reset();
                    last = None;
                    continue;
                }
                Some(byte) if byte.is_ascii_whitespace() || *byte == b',' => self.is_in_path = false,
                _ => {}
            }
            if piece.contains(&b':') && !self.is_in_path && !is_scheme(piece, behind) {
                last = Some(start);
            } else if !piece.is_empty() {
                last = None;
            }
        }
        None
    }
}

/// How long the sign is that a text begins with and that is behind a user: `@`, or an escape of it, which may be escaped itself.
fn sign_len(text: &[u8]) -> usize {
    let Some(mut rest) = text.strip_prefix(b"%") else { return usize::from(text.first() == Some(&b'@')) };
    for len in [3, 5, 7] {
        match rest {
            [b'4', b'0', ..] => return len,
            [b'2', b'5', behind @ ..] => rest = behind,
            _ => return 0,
        }
    }
    0
}

/// Whether a text is a host, perhaps with a port, and can be nothing else.
pub(crate) fn is_address(piece: &[u8]) -> bool {
    if !piece.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']'))
    {
        return false;
    }
    let is_port = |port: &[u8]| (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit);
    match piece.strip_prefix(b"[").map(|rest| (rest, memchr::memchr(b']', rest))) {
        Some((rest, Some(end))) => {
            let (inner, behind) = (&rest[..end], &rest[end + 1..]);
            is_ipv6(inner) && (behind.is_empty() || behind.strip_prefix(b":").is_some_and(is_port))
        }
        Some((_, None)) => false,
        None => match memchr::memchr(b':', piece) {
            Some(colon) => colon > 0 && is_port(&piece[colon + 1..]) || is_ipv6(piece),
            None => true,
        },
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    core::str::from_utf8(text).is_ok_and(|text| text.parse::<core::net::Ipv6Addr>().is_ok())
}

/// Whether a piece is the scheme of a URL, given what is behind it.
fn is_scheme(piece: &[u8], behind: &[u8]) -> bool {
    let Some(word) = piece.strip_suffix(b":") else { return false };
    let is_web = || [&b"http"[..], b"https", b"ws", b"wss"].iter().any(|known| word.eq_ignore_ascii_case(known));
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let has_slashes = match behind {
        [b'/', second, ..] => *second == b'/' || is_web(),
        _ => behind.starts_with(b"\\\\"),
    };
    !word.is_empty() && word.iter().all(is_word) && has_slashes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str, has_parameters: bool) -> Vec<&str> {
        users(text.as_bytes(), has_parameters).map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn what_is_in_front_of_a_host_is_a_user() {
        for (text, expected) in [
            ("u@h", &["u"][..]),
            ("me:pw@h:80", &["me:pw"]),
            ("a, me:pw@h", &["me:pw"]),
            ("a:80, [::1]:80, ::1 u:p@h, v:q@h", &["u:p", "v:q"]),
            ("a,me:pw@h", &["a,me:pw"]),
            ("\"me:pw@h\"", &["me:pw"]),
            ("<me:pw@h>", &["me:pw"]),
            ("'me:pw@h'", &["me:pw"]),
            ("(me:pw@h)", &["me:pw"]),
            ("//me:pw@h", &["me:pw"]),
            ("http://me:pw@h/x@y", &["me:pw"]),
            ("HTTPS:/me:pw@h", &["me:pw"]),
            ("x-y:\\\\me:pw@h", &["me:pw"]),
            ("me:/pw@h", &["me:/pw"]),
            ("/me:pw@h", &["me:pw"]),
            ("/x@h", &[]),
            ("///me@h", &["me"]),
            ("http:me:pw@h", &["http:me:pw"]),
            ("me:pw @h", &["me:pw "]),
            ("me:1234 @h", &["me:1234 "]),
            ("me: pw@h", &["me: pw"]),
            ("me :pw@h", &[":pw"]),
            ("me:pw@ h", &["me:pw"]),
            ("me:pw@", &["me:pw"]),
            ("me:x y@h", &["me:x y"]),
            ("me:a/b@h", &["me:a/b"]),
            ("http://me:a/b?c#d\"e'f@h/g", &["me:a/b?c#d\"e'f"]),
            ("me:p@s@h me:q@h", &["me:p@s", "me:q"]),
            ("me:pw%40h", &["me:pw"]),
            ("me%253Apw%2540h", &["me%253Apw"]),
            ("me:p%25252540@h", &["me:p%25252540"]),
            ("1.1 me:pw@h (x/1.0), 1.1 y", &["me:pw"]),
            // Of a path, unless a password may be there.
            ("h/x@y", &[]),
            ("h:80/x?m=a@b", &[]),
            ("http://h/x/y#@z", &[]),
            ("h/me:pw@x", &["me:pw"]),
            ("h/x@y, me:pw@h", &["me:pw"]),
            ("h", &[]),
            ("[2001:db8::1]:443", &[]),
            ("@h", &[]),
            ("a, @h", &[]),
            ("", &[]),
        ] {
            assert_eq!(found(text, false), expected, "{text}");
        }
    }

    #[test]
    fn parameters_keep_their_names() {
        for (text, expected) in [
            ("host=\"me:pw@h\";for=1.2.3.4", &["me:pw"][..]),
            ("for=\"[::1]:80\";host=me:pw@h", &["me:pw"]),
            ("host=\"a\", host=\"me:pw@h\"", &["me:pw"]),
            ("host=\"a\",host=\"me:p;w=,x@h\",for=a!b;by=u@h", &["me:p;w=,x", "u"]),
            ("host=\"http://me:pw@h/\"", &["me:pw"]),
            ("host=\"me:p\\\"w@h\"", &["me:p\\\"w"]),
            ("h2=\"me:pw@h:443\"; ma=3600, h3=\":443\"", &["me:pw"]),
            ("for=192.0.2.1;proto=https;host=h:80, for=_x", &[]),
            ("<//me:pw@h/x?a=b;c>; rel=next, <https://v:q@h>", &["me:pw", "v:q"]),
            ("</a/b@c>; rel=x, </@d>, </e@f>, <https://h/x;a=b:c/d@e>", &[]),
        ] {
            assert_eq!(found(text, true), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// They are in order, do not overlap, and end at a sign; and no password stays that is in front of one.
        #[test]
        fn no_password_stays(
            front in "(|a, |a:80 |\"|<|//|http://|h/x, |'|\\(|\\[::1\\], )",
            user in "[a-z]{1,3}",
            password in "[!-?A-~ ]{0,6}pw[!-?A-~ ]{0,6}",
            behind in "(h|h:80|h/x|h\", b|h>|, b| h|h@)",
            noise in "[ -~]{0,40}",
            has_parameters: bool,
        ) {
            // `;` and `=` are of parameters where there are some, unless quoted.
            let quote = if has_parameters { "\"" } else { "" };
            let text = format!("{front}{quote}{user}:x{password}@{behind}");
            let text = if has_parameters && front.contains(['"', '\'', '(', '<']) { text.replacen(&front, "", 1) } else { text };
            let found = found(&text, has_parameters);
            let is_hidden = found.iter().any(|user| user.contains(&password));
            prop_assert!(is_hidden || password.contains('%') || has_parameters && password.contains('"'), "{} {:?}", text, found);
            let mut done = 0;
            for (start, end) in users(noise.as_bytes(), has_parameters) {
                prop_assert!(done <= start && start < end && sign_len(&noise.as_bytes()[end..]) > 0, "{}", noise);
                done = end;
            }
        }
    }
}
