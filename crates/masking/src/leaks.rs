//! The proof: looking for planted secrets in what would leave.

use std::fmt;
use std::io::Read;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// The most bytes unpacked of one gzip member.
const MAX_UNPACKED: u64 = 64 << 20;
/// gzip within gzip.
const MAX_NESTED: usize = 2;
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
    /// Where it starts in the bytes that were searched; within a gzip member, in its unpacked bytes.
    pub offset: usize,
    /// Where the gzip member starts that it was found in, if it was in one (of nested ones, the outermost).
    pub in_gzip: Option<usize>,
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

    /// Every secret in `bytes`, in order of place, also within gzip members anywhere in them.
    pub fn find(&self, bytes: &[u8]) -> Vec<Leak> {
        let mut leaks = Vec::new();
        self.find_within(bytes, None, 0, &mut leaks);
        leaks
    }

    fn find_within(&self, bytes: &[u8], in_gzip: Option<usize>, nested: usize, leaks: &mut Vec<Leak>) {
        for found in self.search.find_overlapping_iter(bytes) {
            if let Some((secret, form)) = self.patterns.get(found.pattern().as_usize()).copied() {
                leaks.push(Leak { secret, form, offset: found.start(), in_gzip });
            }
        }
        if nested == MAX_NESTED {
            return;
        }
        let mut unpacked = Vec::new();
        for member in memchr::memmem::find_iter(bytes, b"\x1f\x8b\x08") {
            unpacked.clear();
            // What a cut or damaged member still holds counts.
            let _ = flate2::read::GzDecoder::new(&bytes[member..]).take(MAX_UNPACKED).read_to_end(&mut unpacked);
            if !unpacked.is_empty() {
                self.find_within(&unpacked, in_gzip.or(Some(member)), nested + 1, leaks);
            }
        }
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
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    forms.push((Form::Percent, each(&|byte| format!("%{byte:02X}"))));
    let percent = |byte: u8| if is_unreserved(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    forms.push((Form::Percent, each(&percent)));
    forms.push((Form::Percent, each(&|byte| if byte == b' ' { "+".into() } else { percent(byte) })));
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
                found.iter().any(|leak| leak.form == form && leak.secret == 1 && leak.in_gzip.is_none()),
                "{form}: {found:?}"
            );
            assert!(found.iter().all(|leak| leak.secret == 1 && leak.offset >= 10));
            let packed = [b"front", &gzip(&gzip(&text))[..]].concat();
            assert!(
                leaks.find(&packed).iter().any(|leak| leak.form == form && leak.in_gzip == Some(5)),
                "{form} in gzip"
            );
            let cut = &packed[..packed.len() - 4];
            assert!(leaks.find(cut).iter().any(|leak| leak.form == form), "{form} in cut gzip");
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let leaks = Leaks::new(&["hunter22", ""]).unwrap();
        assert_eq!(leaks.find(b"hunter2 hunter 22 \x1f\x8b\x08 and noise"), []);
        assert!(!format!("{leaks:?}").contains("hunter"));
    }
}
