//! The path as everyone should see it (RFC 3986, section 6.2.2).
//!
//! Escapes of unreserved characters are decoded, all others written with capital digits, and dot segments taken out. Nothing
//! else: `%2F` is not `/`, `//` is not `/`, and case stands. So two paths become one only if every server has to take them
//! for the same. The result of normalizing is a fixed point.

/// A path in its normalized form; the path itself where it is in that form already. `scratch` is overwritten where it is
/// not. What does not begin with `/` (the `*` of OPTIONS) has no dot segments.
#[must_use]
#[inline]
pub fn normalize_path<'a>(path: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    // Most have neither. In one pass and without a call, for they are short too.
    let (has_escape, has_dot) =
        path.iter().fold((false, false), |(escape, dot), byte| (escape | (*byte == b'%'), dot | (*byte == b'.')));
    if !(has_escape || has_dot && has_dot_segment(path)) {
        return path;
    }
    scratch.clear();
    if has_escape {
        unescape(path, scratch);
    } else {
        scratch.extend_from_slice(path);
    }
    if has_dot_segment(scratch) {
        remove_dot_segments(scratch);
    }
    scratch
}

/// Appends the path with its escapes put right.
fn unescape(path: &[u8], out: &mut Vec<u8>) {
    // Where `out` holds a `%` that begins no escape. What would stand within two bytes behind it stays escaped: decoded, it
    // could make an escape that was never there ("%6%31" is not "%61").
    let mut stray = usize::MAX;
    let mut rest = path;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some(byte) = escaped_byte(escape) else {
            stray = out.len();
            out.push(b'%');
            rest = escape.get(1..).unwrap_or_default();
            continue;
        };
        let is_behind_stray = out.len().checked_sub(stray).is_some_and(|distance| distance <= 2);
        if is_unreserved(byte) && !is_behind_stray {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Whether a segment of an absolute path is `.` or `..`.
fn has_dot_segment(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    memchr::memchr_iter(b'.', path).any(|at| {
        let before = at.checked_sub(1).and_then(|before| path.get(before));
        before == Some(&b'/') && matches!(path.get(at + 1..), Some([] | [b'/', ..] | [b'.'] | [b'.', b'/', ..]))
    })
}

/// Takes the dot segments out of an absolute path, in place (RFC 3986, section 5.2.4).
fn remove_dot_segments(path: &mut Vec<u8>) {
    let (mut read, mut written) = (0, 0);
    // Each turn takes one segment with the `/` before it.
    while read < path.len() {
        let begin = read + 1;
        let end = path.get(begin..).and_then(|rest| memchr::memchr(b'/', rest)).map_or(path.len(), |at| begin + at);
        let is_last = end == path.len();
        let ups = match path.get(begin..end) {
            Some(b".") => Some(false),
            Some(b"..") => Some(true),
            _ => None,
        };
        match ups {
            None => {
                path.copy_within(read..end, written);
                written += end - read;
            }
            Some(is_up) => {
                if is_up {
                    written = path.get(..written).and_then(|kept| memchr::memrchr(b'/', kept)).unwrap_or(0);
                }
                if is_last {
                    // `/a/.` and `/a/b/..` are `/a/`. There is room: a segment was left out.
                    if let Some(place) = path.get_mut(written) {
                        *place = b'/';
                    }
                    written += 1;
                }
            }
        }
        read = end;
    }
    path.truncate(written);
}

/// The byte that an escape says which a text begins with: a `%` and two hexadecimal digits (RFC 3986, section 2.1).
pub(crate) fn escaped_byte(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'A' + value - 10 }
}

/// RFC 3986, section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> String {
        let mut scratch = Vec::new();
        String::from_utf8_lossy(normalize_path(path.as_bytes(), &mut scratch)).into_owned()
    }

    #[test]
    fn dot_segments() {
        // The first is the RFC's own example (section 5.2.4), and so are the paths of section 5.4 under its base.
        for (path, expected) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/b/c/./g", "/b/c/g"),
            ("/b/c/.", "/b/c/"),
            ("/b/c/./", "/b/c/"),
            ("/b/c/..", "/b/"),
            ("/b/c/../", "/b/"),
            ("/b/c/../g", "/b/g"),
            ("/b/c/../..", "/"),
            ("/b/c/../../", "/"),
            ("/b/c/../../g", "/g"),
            ("/b/c/../../../g", "/g"),
            ("/b/c/../../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("/b/c/g.", "/b/c/g."),
            ("/b/c/.g", "/b/c/.g"),
            ("/b/c/g..", "/b/c/g.."),
            ("/b/c/..g", "/b/c/..g"),
            ("/b/c/./../g", "/b/g"),
            ("/b/c/./g/.", "/b/c/g/"),
            ("/b/c/g/./h", "/b/c/g/h"),
            ("/b/c/g/../h", "/b/c/h"),
            ("/b/c/g;x=1/./y", "/b/c/g;x=1/y"),
            ("/b/c/g;x=1/../y", "/b/c/y"),
            ("/", "/"),
            ("/.", "/"),
            ("/..", "/"),
            ("/...", "/..."),
            ("//", "//"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "//b"),
            ("/..//..", "/"),
            ("", ""),
            ("*", "*"),
            ("..", ".."),
            ("a/../b", "a/../b"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn escapes() {
        for (path, expected) in [
            ("/%7Euser/%41%62%30%2d%2e%5f", "/~user/Ab0-._"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb", "/a%2Fb"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/%2e%2e/a", "/a"),
            ("/a/%2E", "/a/"),
            ("/a/.%2e/b", "/b"),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("/%25%32%65", "/%252e"),
            ("/%zz", "/%zz"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/a%20b", "/a%20b"),
            ("/%6%31", "/%6%31"),
            ("/%%36%31", "/%%361"),
            ("/%%%41", "/%%%41"),
            ("*%41", "*A"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_normal_is_borrowed() {
        let mut scratch = Vec::new();
        for path in ["/v1/orders/7", "/.well-known/x.y/..z", "/", "//a"] {
            assert_eq!(normalize_path(path.as_bytes(), &mut scratch), path.as_bytes());
        }
        assert_eq!(scratch.capacity(), 0);
    }

    /// The algorithm of RFC 3986, section 5.2.4, by its steps A to E.
    fn slow(mut input: String) -> String {
        let mut output = String::new();
        while !input.is_empty() {
            if let Some(rest) = input.strip_prefix("../").or_else(|| input.strip_prefix("./")) {
                input = rest.to_owned();
            } else if let Some(rest) = input.strip_prefix("/./") {
                input = format!("/{rest}");
            } else if input == "/." {
                input = "/".to_owned();
            } else if input == "/.." || input.starts_with("/../") {
                input = format!("/{}", input[3..].trim_start_matches('\0').strip_prefix('/').unwrap_or(""));
                output.truncate(output.rfind('/').unwrap_or(0));
            } else if input == "." || input == ".." {
                input.clear();
            } else {
                let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
                output.push_str(&input[..end]);
                input = input[end..].to_owned();
            }
        }
        output
    }

    proptest! {
        #[test]
        fn dot_segments_go_as_the_rfc_says(path in "(/(\\.|\\.\\.|a|)){0,8}") {
            prop_assert_eq!(normal(&path), slow(path));
        }

        #[test]
        fn a_path_is_a_fixed_point(path in "/([%./]|[0-9a-fA-F]|2[eEfF]|%2[eE]|g){0,24}") {
            let once = normal(&path);
            prop_assert_eq!(normal(&once), once.clone());
            prop_assert!(once.len() <= path.len());
            prop_assert!(once.starts_with('/'));
        }

        /// What servers must tell apart stays apart: escapes decode to the same bytes as before.
        #[test]
        fn nothing_is_lost(path in "/([%]|[0-9a-fA-F]|g|%2[fF]){0,24}") {
            let decode = |path: &str| {
                let (bytes, mut out, mut at) = (path.as_bytes(), Vec::new(), 0);
                while at < bytes.len() {
                    let pair = bytes.get(at + 1..at + 3).and_then(|pair| Some((hex(pair[0])?, hex(pair[1])?)));
                    match pair {
                        Some((high, low)) if bytes[at] == b'%' => {
                            // A reserved character stays marked as data.
                            let byte = high << 4 | low;
                            if !is_unreserved(byte) { out.push(b'\\'); }
                            out.push(byte);
                            at += 3;
                        }
                        _ => { out.push(bytes[at]); at += 1; }
                    }
                }
                out
            };
            prop_assert_eq!(decode(&normal(&path)), decode(&path));
        }

        #[test]
        fn any_bytes_are_survived(path in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut scratch = Vec::new();
            prop_assert!(normalize_path(&path, &mut scratch).len() <= path.len());
        }
    }
}
