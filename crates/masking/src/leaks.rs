//! The proof: looking for planted secrets in what would leave.

use std::collections::BTreeMap;
use std::fmt;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::carrier::{self, Carriers};

/// Shorter secrets are not looked for in base64, of which a few characters stand anywhere.
const MIN_BASE64: usize = 5;

/// In which form a secret was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// As it is.
    Plain,
    /// In base64 or base64url, at any of the three alignments.
    Base64,
    /// Percent-encoded, wholly or only where it has to be; `+` for a blank, too.
    Percent,
    /// Escaped as in a JSON string: as little as needed, or `\uXXXX` throughout.
    Json,
    /// Escaped as in HTML or XML: the five entities, or numeric references throughout.
    Html,
    /// In UTF-16, of either byte order.
    Utf16,
    /// In hexadecimal digits of either case.
    Hex,
}

impl Form {
    /// As reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Base64 => "base64",
            Self::Percent => "percent-encoded",
            Self::Json => "JSON-escaped",
            Self::Html => "HTML-escaped",
            Self::Utf16 => "UTF-16",
            Self::Hex => "hexadecimal",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A secret that was found. It says which by number only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leak {
    /// Which of the secrets [`Leaks::new`] was given, from 0.
    pub secret: usize,
    /// In which form.
    pub form: Form,
    /// Where it starts in the bytes that were searched; within carriers, in what the innermost of them holds.
    pub offset: usize,
    /// What the text is carried in that it was found in.
    pub carriers: Carriers,
}

/// Looks for secrets in bytes, in all forms that text usually takes.
#[derive(Clone)]
pub struct Leaks {
    search: AhoCorasick,
    patterns: Vec<(usize, Form)>,
}

impl Leaks {
    /// Prepares a search for `secrets`. Empty ones are never found. Letters are compared without regard to case.
    ///
    /// # Errors
    ///
    /// The secrets are too many or too long to search for at once (some hundred megabytes).
    pub fn new<S: AsRef<[u8]>>(secrets: &[S]) -> Result<Self, aho_corasick::BuildError> {
        let (mut texts, mut patterns) = (Vec::new(), Vec::new());
        for (i, secret) in secrets.iter().enumerate() {
            let secret = secret.as_ref();
            if secret.is_empty() {
                continue;
            }
            let mut forms = vec![(Form::Plain, secret.to_vec())];
            forms.extend(escaped(secret));
            forms.dedup_by(|next, kept| next.1 == kept.1);
            for (form, text) in forms {
                if form == Form::Plain || text != secret {
                    texts.push(text);
                    patterns.push((i, form));
                }
            }
        }
        let search =
            AhoCorasick::builder().match_kind(MatchKind::Standard).ascii_case_insensitive(true).build(&texts)?;
        Ok(Self { search, patterns })
    }

    /// Every secret in `bytes`: as they are, and in whatever is carried in them ([`Carrier`](crate::Carrier)), several
    /// carriers deep. What is found in a carrier as it is written is not told again of what it holds. Of hostile bytes, some
    /// hundred megabytes of what they carry are looked at.
    pub fn find(&self, bytes: &[u8]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        // How many of a secret were told of a group of texts, which differ in escapes only.
        let mut told: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        carrier::each(bytes, |carried| {
            let mut here: BTreeMap<usize, Vec<Leak>> = BTreeMap::new();
            for found in self.search.find_overlapping_iter(carried.text) {
                if let Some((secret, form)) = self.patterns.get(found.pattern().as_usize()).copied() {
                    let leak = Leak { secret, form, offset: found.start(), carriers: carried.carriers };
                    let here = here.entry(secret).or_default();
                    // Of ASCII, both byte orders are found in either.
                    let is_same =
                        |last: &Leak| last.form == Form::Utf16 && form == Form::Utf16 && leak.offset <= last.offset + 1;
                    if !here.last().is_some_and(is_same) {
                        here.push(leak);
                    }
                }
            }
            for (secret, found) in here {
                for (form, group) in [(Form::Base64, carried.in_base64), (Form::Utf16, carried.in_utf16)] {
                    let count = found.iter().filter(|leak| leak.form == form).count();
                    let told = told.entry((group, secret)).or_default();
                    *told = count.max(*told);
                }
                let told = told.entry((carried.group, secret)).or_default();
                leaks.extend(found.iter().skip(*told));
                *told = found.len().max(*told);
            }
        });
        leaks
    }
}

impl fmt::Debug for Leaks {
    /// How many there are; never one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaks").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

/// A secret in every other form.
fn escaped(secret: &[u8]) -> Vec<(Form, Vec<u8>)> {
    let mut forms = Vec::new();
    let each = |one: &dyn Fn(u8) -> String| secret.iter().map(|byte| one(*byte)).collect::<String>().into_bytes();
    // As RFC 3986 has it, with slashes, as browsers write forms, `encodeURIComponent` and `encodeURI`.
    for kept in ["-._~", "-._~/", "*-._", "-_.!~*'()", "-_.!~*'();,/?:@&=+$#", ""] {
        let is_kept = |byte: u8| !kept.is_empty() && byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte);
        let percent = |byte: u8| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        forms.push((Form::Percent, each(&percent)));
        forms.push((Form::Percent, each(&|byte| if byte == b' ' { "+".into() } else { percent(byte) })));
    }
    forms.push((Form::Hex, each(&|byte| format!("{byte:02x}"))));
    if secret.len() >= MIN_BASE64 {
        for alignment in 0..3 {
            forms.extend(base64_at(secret, alignment).into_iter().map(|text| (Form::Base64, text)));
        }
    }
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = |escape: &dyn Fn(char) -> Option<String>| {
            text.chars().map(|c| escape(c).unwrap_or_else(|| c.into())).collect::<String>().into_bytes()
        };
        let units =
            |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
        let short = |c: char| match c {
            '"' | '\\' => Some(format!("\\{c}")),
            '\n' => Some("\\n".into()),
            '\r' => Some("\\r".into()),
            '\t' => Some("\\t".into()),
            c if c.is_control() => Some(units(c)),
            _ => None,
        };
        forms.push((Form::Json, json(&short)));
        forms.push((Form::Json, json(&|c| if c == '/' { Some("\\/".into()) } else { short(c) })));
        forms.push((Form::Json, json(&|c| if c.is_ascii() { short(c) } else { Some(units(c)) })));
        forms.push((Form::Json, json(&|c| Some(units(c)))));
        let entity = |c: char| match c {
            '&' => Some("&amp;".to_owned()),
            '<' => Some("&lt;".to_owned()),
            '>' => Some("&gt;".to_owned()),
            '"' => Some("&quot;".to_owned()),
            '\'' => Some("&#39;".to_owned()),
            _ => None,
        };
        forms.push((Form::Html, json(&entity)));
        forms.push((Form::Html, json(&|c| if c == '\'' { Some("&apos;".into()) } else { entity(c) })));
        forms.push((Form::Html, json(&|c| Some(format!("&#{};", u32::from(c))))));
        forms.push((Form::Html, json(&|c| Some(format!("&#x{:x};", u32::from(c))))));
        forms.push((Form::Utf16, text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        forms.push((Form::Utf16, text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    }
    forms.sort();
    forms.dedup();
    forms
}

/// The characters of base64 that depend on the secret alone when `alignment` other bytes stand in front of it in its
/// group of three; in both alphabets.
fn base64_at(secret: &[u8], alignment: usize) -> Vec<Vec<u8>> {
    let mut padded = vec![0; alignment];
    padded.extend_from_slice(secret);
    let text = STANDARD_NO_PAD.encode(&padded).into_bytes();
    // Characters that share bits with what is in front or behind.
    let front = [0, 2, 3][alignment];
    let back = usize::from(!padded.len().is_multiple_of(3));
    let Some(own) = text.get(front..text.len() - back) else { return Vec::new() };
    let url = own.iter().map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        byte => *byte,
    });
    vec![own.to_vec(), url.collect()]
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let secret = "s3cr\"t /<wörd>'";
        let leaks = Leaks::new(&["other-secret", secret]).unwrap();
        let base64 = |front: &str| STANDARD_NO_PAD.encode(format!("{front}{secret} and more"));
        let forms = [
            (Form::Plain, secret.to_uppercase().replace('Ö', "ö").into_bytes()),
            (Form::Json, serde_json::to_vec(secret).unwrap()),
            (Form::Json, secret.replace('"', "\\\"").replace('ö', "\\u00F6").into_bytes()),
            (Form::Percent, b"s3cr%22t%20%2F%3Cw%C3%B6rd%3E%27".to_vec()),
            (Form::Percent, b"s3cr%22t+%2f%3cw%c3%b6rd%3e%27".to_vec()),
            (Form::Html, "s3cr&quot;t /&lt;wörd&gt;&#39;".into()),
            (Form::Base64, base64("").into_bytes()),
            (Form::Base64, base64("x").into_bytes()),
            (Form::Base64, base64("xy").replace('/', "_").replace('+', "-").into_bytes()),
            (Form::Utf16, secret.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            (Form::Hex, secret.bytes().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect()),
        ];
        for (form, text) in forms {
            let text = [b"some text ", &text[..], b" around"].concat();
            let found = leaks.find(&text);
            assert!(
                found.iter().any(|leak| leak.form == form && leak.secret == 1 && leak.carriers.is_empty()),
                "{form}: {found:?}"
            );
            assert!(found.iter().all(|leak| leak.secret == 1));
            assert!(found.iter().all(|leak| leak.carriers.is_empty()), "told twice: {found:?}");
            assert!(found.iter().all(|leak| leak.offset >= 10), "{found:?}");
            let packed = [b"front", &gzip(&gzip(&text))[..]].concat();
            assert!(
                leaks
                    .find(&packed)
                    .iter()
                    .any(|leak| leak.form == form && leak.carriers.to_string() == " within gzip within gzip"),
                "{form} in gzip"
            );
            let cut = &packed[..packed.len() - 4];
            assert!(leaks.find(cut).iter().any(|leak| leak.form == form), "{form} in cut gzip");
        }
    }

    /// In whatever a body brings it, in both shapes of a record and packed as a batch is.
    #[test]
    fn a_secret_is_found_in_whatever_carries_it() {
        let secret = "Zq7\"Xw9+Lk2/Vb4=Tn<6&R's p";
        let leaks = Leaks::new(&[secret]).unwrap();
        let json = |text: &[u8]| serde_json::to_vec(&String::from_utf8_lossy(text)).unwrap();
        let percent = |text: &[u8], kept: &[u8]| -> Vec<u8> {
            text.iter()
                .flat_map(|byte| match byte {
                    byte if byte.is_ascii_alphanumeric() || kept.contains(byte) => vec![*byte],
                    byte => format!("%{byte:02x}").into_bytes(),
                })
                .collect()
        };
        let html =
            |text: &[u8]| -> Vec<u8> { text.iter().flat_map(|byte| format!("&#{byte};").into_bytes()).collect() };
        let base64 = |text: &[u8]| base64::engine::general_purpose::STANDARD.encode(text).into_bytes();
        let lines = |text: &[u8]| base64(text).chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
        let zlib = |text: &[u8]| {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let plain = secret.as_bytes();
        let long = format!("{}{secret}{}", "front ".repeat(12), " behind".repeat(12)).into_bytes();
        let bodies: Vec<(&str, Vec<u8>)> = vec![
            ("plain", plain.to_vec()),
            ("in words", long.clone()),
            ("base64", base64(plain)),
            ("base64 in lines", lines(&long)),
            ("base64 twice", base64(&base64(plain))),
            ("JSON", json(plain)),
            ("JSON twice", json(&json(plain))),
            ("JSON three times", json(&json(&json(plain)))),
            ("\\uXXXX", secret.encode_utf16().flat_map(|unit| format!("\\u{unit:04X}").into_bytes()).collect()),
            ("percent", percent(plain, b"")),
            ("percent but for slashes", percent(plain, b"/+")),
            (
                "percent as a form",
                percent(plain, b"*-._").split(|byte| *byte == b' ').collect::<Vec<_>>().join(&b"+"[..]),
            ),
            ("percent twice", percent(&percent(plain, b"/"), b"/")),
            ("percent of base64", percent(&base64(plain), b"")),
            ("HTML", html(plain)),
            ("HTML in JSON", json(&html(plain))),
            (
                "named entities",
                secret.replace('+', "&plus;").replace('&', "&amp;").replace("amp;plus", "plus").into_bytes(),
            ),
            ("gzip", gzip(&long)),
            ("JSON in gzip", gzip(&json(plain))),
            ("zlib", zlib(&json(&long))),
            ("UTF-16", json(plain).iter().flat_map(|byte| [*byte, 0]).collect()),
        ];
        for (name, body) in bodies {
            let native = format!("{{\"content\":{}}}", String::from_utf8(json(&body)).unwrap()).into_bytes();
            let edge = [b"{\"data\":\"", &base64(&body)[..], b"\"}"].concat();
            for (shape, record) in [("body", &body), ("native", &native), ("edge", &edge)] {
                if shape == "native" && std::str::from_utf8(&body).is_err() {
                    continue;
                }
                for (packed, bytes) in [("", record.clone()), (" packed", gzip(&[record.as_slice(), b"\n"].concat()))] {
                    let found = leaks.find(&bytes);
                    assert!(!found.is_empty(), "{name} in {shape}{packed}");
                    assert!(found.len() == 1 || body == plain, "{name} in {shape}{packed}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let leaks = Leaks::new(&["hunter22", ""]).unwrap();
        assert_eq!(leaks.find(b"hunter2 hunter 22 \x1f\x8b\x08 and noise"), []);
        assert!(!format!("{leaks:?}").contains("hunter"));
    }
}
