//! The masker: one for each worker, one call for each value of a transaction.

use std::sync::Arc;

use crate::body::{self, Readers};
use crate::charset;
use crate::classes::{Classes, HeaderKind, Place};
use crate::engine::{Engine, Value};
use crate::finding::{Finding, Location, Side};
use crate::form::push_name;
use crate::header::{self, Class};
use crate::layer::Layer;
use crate::media::MediaType;
use crate::policy::Policy;
use crate::target::{self, Places};

/// Longer values are not remembered.
const MAX_CLEAN: usize = 512;

/// A value after masking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masked<'a> {
    /// Nothing in it is a secret: it stays as it is.
    Kept,
    /// What stands in its place.
    Replaced(&'a [u8]),
}

impl<'a> Masked<'a> {
    /// The bytes to go on with.
    pub fn or(self, original: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Kept => original,
            Self::Replaced(bytes) => bytes,
        }
    }
}

/// A body after masking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaskedBody<'a> {
    /// Nothing in it is a secret: it stays as it is.
    Kept,
    /// What stands in its place, in the charset of the original.
    Replaced(&'a [u8]),
    /// A rule says that nothing of it may be kept.
    Dropped,
}

/// Masks the values of transactions, one after the other. It owns its buffers: on values without secrets nothing is
/// allocated once they have grown.
///
/// Given the same policy, the result depends on the value and what it is called alone.
pub struct Masker {
    pub(crate) engine: Engine,
    readers: Readers,
    decoded: String,
    encoded: Vec<u8>,
    classes: Classes,
}

/// Where what a name says is kept; `None` for a name that is too long to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderPlace(Option<Place>);

impl Masker {
    /// A masker with its own buffers.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self {
            engine: Engine::new(policy),
            readers: Readers::default(),
            decoded: String::new(),
            encoded: Vec::new(),
            classes: Classes::new(),
        }
    }

    /// A new record: the findings of the last one are forgotten.
    pub fn begin(&mut self) {
        self.engine.findings.clear();
    }

    /// Masks the value of the header `name`.
    pub fn header(&mut self, side: Side, name: &[u8], value: &[u8]) -> Masked<'_> {
        let (_, place) = self.classes.look_up(&self.engine.policy, name);
        self.header_at(HeaderPlace(place), side, name, value)
    }

    /// What the name of a header says of its value. It is quickest for those that come in the same order as before.
    #[inline(always)]
    pub fn header_kind(&mut self, name: &[u8]) -> (HeaderKind, HeaderPlace) {
        let (kind, place) = self.classes.look_up_next(&self.engine.policy, name);
        (kind, HeaderPlace(place))
    }

    /// Masks the value of the header `name`, whose place [`Masker::header_kind`] gave since the last call of this.
    pub fn header_at(&mut self, place: HeaderPlace, side: Side, name: &[u8], value: &[u8]) -> Masked<'_> {
        let Self { engine, classes, .. } = self;
        let Some(place) = place.0 else {
            header::mask(engine, Class::of(&engine.policy, name), side, name, value);
            return self.masked(value);
        };
        let slot = classes.at(place);
        if slot.class == Class::Skipped {
            return self.plain_header(side, name, value);
        }
        if !slot.clean.is_empty() && slot.clean == value {
            return Masked::Kept;
        }
        header::mask(engine, slot.class, side, name, value);
        if !engine.has_edits() && value.len() <= MAX_CLEAN {
            slot.clean.clear();
            slot.clean.extend_from_slice(value);
        }
        self.masked(value)
    }

    /// Masks the value of a header that is [`HeaderKind::Plain`]. There is something to do only if it is of several lines, one of
    /// which may be a field of its own to others than those who folded it: whoever knows that it is not need not ask.
    pub fn plain_header(&mut self, side: Side, name: &[u8], value: &[u8]) -> Masked<'_> {
        if self.engine.policy.is_off() || memchr::memchr2(b'\r', b'\n', value).is_none() {
            return Masked::Kept;
        }
        header::mask(&mut self.engine, Class::Text, side, name, value);
        self.masked(value)
    }

    /// Masks a request target, in any form: `/path?query`, `https://user@host/path`, `host:port`, `*`.
    pub fn target(&mut self, target: &[u8]) -> Masked<'_> {
        if self.engine.policy.is_off() {
            return Masked::Kept;
        }
        let places = Places {
            userinfo: Location::RequestUserinfo,
            path: Location::RequestPath,
            query: Location::RequestQuery,
            prefix: b"",
        };
        target::mask(&mut self.engine, target, places, false);
        self.masked(target)
    }

    /// Masks any other text of a transaction. `field` is its name in findings; it says nothing of the value.
    pub fn text(&mut self, location: Location, field: &str, text: &[u8]) -> Masked<'_> {
        if self.engine.is_quiet(text) {
            return Masked::Kept;
        }
        self.engine.start();
        let value = Value::new(0, text.len(), Layer::Plain, location);
        self.engine.value(text, &value, &|name| push_name(name, field.as_bytes(), false));
        self.masked(text)
    }

    /// Masks a body. `bytes` are without content codings and chunks; `is_cut` says that they are not all of it: then
    /// what could be the beginning of a secret at their end is masked, too.
    ///
    /// The result is at most 32 times as long as the body.
    pub fn body(&mut self, side: Side, content_type: Option<&[u8]>, bytes: &[u8], is_cut: bool) -> MaskedBody<'_> {
        if bytes.is_empty() || self.engine.policy.is_off() {
            return MaskedBody::Kept;
        }
        let location = Location::body(side);
        let media = MediaType::parse(content_type.unwrap_or_default());
        let Self { engine, readers, decoded, encoded, .. } = self;
        let mut foreign = charset::foreign(media.charset, bytes);
        if let Some(encoding) = foreign {
            charset::decode(encoding, bytes, decoded);
            let before = engine.findings.mark();
            body::mask(engine, readers, decoded.as_bytes(), &media, location, is_cut);
            // Perhaps it is in another charset than it says: then its bytes may tell.
            if !engine.has_edits() && !engine.drop {
                engine.findings.rewind(before);
                foreign = None;
            }
        }
        let text = match foreign {
            Some(_) => decoded.as_bytes(),
            None => {
                body::mask(engine, readers, bytes, &media, location, is_cut);
                bytes
            }
        };
        if engine.drop {
            return MaskedBody::Dropped;
        }
        if !engine.has_edits() {
            return MaskedBody::Kept;
        }
        engine.finish(text);
        match foreign {
            Some(encoding) => {
                let masked = String::from_utf8_lossy(engine.finished());
                charset::write_back(encoding, bytes, (decoded, &masked), engine.replacements(), encoded);
                MaskedBody::Replaced(encoded)
            }
            None => MaskedBody::Replaced(engine.finished()),
        }
    }

    /// What was found since [`Masker::begin`]: the first [`MAX_FINDINGS`](crate::MAX_FINDINGS).
    pub fn findings(&self) -> impl Iterator<Item = Finding<'_>> {
        self.engine.findings.iter(|kind| self.engine.policy.kind_name(kind))
    }

    /// How many findings [`Masker::findings`] lists.
    pub fn listed(&self) -> usize {
        self.engine.findings.len()
    }

    /// How many secrets were found since [`Masker::begin`]. Each of them was replaced, or the body dropped.
    pub fn found(&self) -> u64 {
        self.engine.findings.found
    }

    fn masked(&mut self, value: &[u8]) -> Masked<'_> {
        if self.engine.has_edits() { Masked::Replaced(self.engine.finish(value)) } else { Masked::Kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Settings;

    /// Clients that build a request from a whole URL leave user and password in front of the host.
    #[test]
    fn a_password_before_the_host_is_hidden() {
        let policy = Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap();
        let mut masker = Masker::new(Arc::new(policy));
        assert!(matches!(masker.header(Side::Request, b"Host", b"api.example:8080"), Masked::Kept));
        for name in ["Host", "X-Forwarded-Host"] {
            let Masked::Replaced(value) = masker.header(Side::Request, name.as_bytes(), b"user:hunter2@api.example")
            else {
                panic!("{name} is kept");
            };
            let value = String::from_utf8_lossy(value);
            assert!(value.starts_with("tok_") && value.ends_with("@api.example"), "{value}");
        }
        for list in
            ["a, user:hunter2@api.example", "a,user:hunter2@api.example", "b:hunter2@c, a:80, user:hunter2@api.example"]
        {
            let masked = masker.header(Side::Request, b"Host", list.as_bytes());
            let masked = String::from_utf8_lossy(masked.or(list.as_bytes())).into_owned();
            assert!(!masked.contains("hunter2") && masked.ends_with("@api.example"), "{masked}");
        }
        for escaped in ["user%3Ahunter2%40api.example", "a, user%3ahunter2%40api.example", "user:hunter2%40api.example"]
        {
            let masked = masker.header(Side::Request, b"Host", escaped.as_bytes());
            let masked = String::from_utf8_lossy(masked.or(escaped.as_bytes())).into_owned();
            assert!(!masked.contains("hunter2") && masked.ends_with("%40api.example"), "{masked}");
        }
        for plain in ["a.example, b.example:8080", "a.example/?mail=a%40b.example"] {
            assert!(matches!(masker.header(Side::Request, b"Host", plain.as_bytes()), Masked::Kept), "{plain}");
        }
    }

    /// However the sign between the two is written; and a token may stand there alone.
    #[test]
    fn a_password_in_a_target_is_hidden() {
        let policy = Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap();
        let mut masker = Masker::new(Arc::new(policy));
        for (target, kept) in [
            ("user:hunter2@api.example:443", "@api.example:443"),
            ("hunter2@api.example:443", "@api.example:443"),
            ("hunter2@[2001:db8::1]:443", "@[2001:db8::1]:443"),
            ("http://hunter2@api.example/x", "@api.example/x"),
            ("u:hunter2%40api.example:443", "%40api.example:443"),
            ("u%3Ahunter2%40api.example:443", "%40api.example:443"),
            ("hunter2%40api.example:443", "%40api.example:443"),
            ("http://u:hunter2%40api.example/x", "%40api.example/x"),
            ("http://u:hunter2%2540api.example/x?m=a%40b", "%2540api.example/x?m=a%40b"),
            ("//u:hunter2%40api.example/x", "%40api.example/x"),
        ] {
            let Masked::Replaced(masked) = masker.target(target.as_bytes()) else { panic!("{target}") };
            let masked = String::from_utf8_lossy(masked);
            assert!(!masked.contains("hunter2") && masked.ends_with(kept), "{masked}");
        }
        for plain in [
            "/x@y:80",
            "/users/a%40b.example",
            "/x?mail=a@b.example:80",
            "http://h.example/a%40b",
            "http://h.example:80/a@b",
            "mailto:me@h.example",
            "a@b",
        ] {
            assert!(matches!(masker.target(plain.as_bytes()), Masked::Kept), "{plain}");
        }
    }

    /// So do those that put a whole URL there.
    #[test]
    fn a_password_behind_the_host_is_hidden() {
        let policy = Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap();
        let mut masker = Masker::new(Arc::new(policy));
        for value in
            ["h/?password=hunter2secret", "https://api.example/x?a=1&password=hunter2secret", "a&token=hunter2secret"]
        {
            let masked = masker.header(Side::Request, b"Host", value.as_bytes());
            let masked = String::from_utf8_lossy(masked.or(value.as_bytes())).into_owned();
            assert!(masked.contains("=tok_") && !masked.contains("hunter2secret"), "{masked}");
        }
        assert!(matches!(masker.header(Side::Request, b"Host", b"[2001:db8::1]:8080"), Masked::Kept));
    }

    /// As maps of header fields are printed.
    #[test]
    fn what_stands_behind_a_scheme_is_the_secret() {
        let policy = Policy::new(&Settings { key: vec![7; 32], ..Settings::default() }).unwrap();
        let mut masker = Masker::new(Arc::new(policy));
        for text in [
            "{authorization=Bearer hunter2hunter2, host=x}",
            "authorization = Bearer hunter2hunter2",
            "Authorization => Basic hunter2hunter2==",
            "map[Authorization:Bearer hunter2hunter2 Host:x]",
            "seen: Authorization=token hunter2hunter2; host=x",
            "{\"log\":\"{authorization=Bearer hunter2hunter2, host=x}\"}",
            "map[Authorization:[Basic hunter2/hunter2==] Host:[x]]",
            "{Authorization=[Bearer hunter2.hunter2~hunter2], Host=[x]}",
            "map[Cookie:[a=hunter2; b=hunter2] Host:[x]]",
            "{Cookie=[a=hunter2; b=hunter2], Host=[x]}",
            "{cookie=a=hunter2; b=hunter2; c=x/hunter2, host=x}",
            "{\"log\":\"{Cookie=[hunter2=hunter2], Set-Cookie=[a=hunter2; Path=/], Host=[x]}\"}",
        ] {
            for content_type in ["text/plain", "application/json"] {
                match masker.body(Side::Request, Some(content_type.as_bytes()), text.as_bytes(), false) {
                    MaskedBody::Replaced(out) => {
                        let out = String::from_utf8_lossy(out).into_owned();
                        assert!(!out.contains("hunter2") && out.contains("tok_"), "{out}");
                        assert_eq!(out.contains("ost"), text.contains("ost"), "{out}");
                    }
                    _ => panic!("{text}"),
                }
            }
        }
        // Another pair is no credential.
        let MaskedBody::Replaced(out) = masker.body(Side::Request, None, b"auth=token user=bob", false) else {
            panic!()
        };
        assert!(out.ends_with(b" user=bob"), "{}", String::from_utf8_lossy(out));
    }
}
