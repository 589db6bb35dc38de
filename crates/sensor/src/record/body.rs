//! What of a message's body a record holds, and how native records say it.

use http_parse::{Body, DecodeOutcome, Decoder, Flag, Flags, Message};

use super::json::{MAX_ESCAPED, append_base64, append_str, escaped_len, escaped_prefix, put_bool, put_number};
use super::masking::{MaskedBody, Masking};
use super::room::Room;

/// Finds what of a body is written; keeps the decoder's buffers.
#[derive(Debug)]
pub(super) struct Bodies {
    decoder: Decoder,
    decoded: Vec<u8>,
    /// What was packed without saying so, unpacked.
    unpacked: Vec<u8>,
    limit: usize,
    content_limit: usize,
    /// What of `content_limit` the record's earlier body has left.
    content_left: usize,
}

const CONTENT_ENCODING: &[u8] = b"content-encoding";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
const BROTLI: &[u8] = b"br";

/// Decoded bytes for which the buffer is kept from body to body.
const KEPT_DECODED: usize = 1 << 20;
/// Room for less than this is not worth knowing beforehand.
const LARGE: usize = 64 << 10;
/// First bytes of a body by which it is told from text.
const LOOKED_AT: usize = 64;
/// The same of one that was unpacked on trial.
const WEIGHED: usize = 4 << 10;
/// What else a record takes behind a long string.
const SLACK: usize = 8 << 10;

/// What of a body is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Content<'a> {
    pub(super) bytes: &'a [u8],
    /// A content coding was undone to get `bytes`.
    pub(super) is_decoded: bool,
    /// `bytes` is not the whole of it.
    pub(super) is_truncated: bool,
    /// The length of the body without its content coding, if that was undone to its end.
    decoded_bytes: Option<u64>,
    /// `bytes` still has a content coding, because it could not be undone.
    is_coded: bool,
    /// What was odd about the coding.
    pub(super) flags: Flags,
}

impl Bodies {
    /// `limit`: bytes that a body may be decoded to. `content_limit`: bytes that the bodies of a record may be written in.
    pub(super) fn new(limit: usize, content_limit: usize) -> Self {
        let decoder = Decoder::new();
        let (decoded, unpacked) = (Vec::new(), Vec::new());
        Self { decoder, decoded, unpacked, limit, content_limit, content_left: content_limit }
    }

    /// The bodies that follow are another record's.
    pub(super) fn begin_record(&mut self) {
        self.content_left = self.content_limit;
    }

    /// How many bytes this record's bodies may still be written in.
    pub(super) fn left(&self) -> usize {
        self.content_left
    }

    /// A body of this record was written in so many bytes.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.content_left = self.content_left.saturating_sub(bytes);
    }

    /// The body without its content coding as far as that can be had, else as it was sent; without secrets. `None`: the
    /// message has none.
    #[inline]
    pub(super) fn content<'a, M: Masking>(
        &'a mut self,
        message: &'a Message,
        masking: &'a mut M,
    ) -> Option<Content<'a>> {
        let body = message.body();
        if body.bytes == 0 && body.missing == 0 && body.captured.is_empty() {
            return None;
        }
        let Self { decoder, decoded, unpacked, limit, .. } = self;
        let mut content = unmasked(decoder, decoded, *limit, message, &body);
        if !M::IS_ON || content.bytes.is_empty() {
            return Some(content);
        }
        let is_media = || message.header("content-type").is_some_and(is_media);
        let guess = if content.is_coded { Guess::None } else { Guess::of(content.bytes) };
        if guess != Guess::None && !is_media() {
            content = content.unpacked(guess, decoder, unpacked, *limit);
        }
        let dropped = Content { bytes: &[], is_truncated: true, ..content };
        if (content.is_coded || is_packed(content.bytes)) && !masking.keeps_coded(message.kind(), content.bytes) {
            return Some(dropped);
        }
        let fields = message.headers().filter(|field| field.name.eq_ignore_ascii_case(b"content-type"));
        if masking.leaves_out(message.kind(), fields.map(|field| field.value)) {
            return Some(dropped);
        }
        let content_type = message.header("content-type");
        Some(match masking.body(message.kind(), content_type, content.bytes, content.is_truncated) {
            MaskedBody::Kept => content,
            MaskedBody::Replaced(bytes) => Content { bytes, ..content },
            MaskedBody::Dropped => dropped,
        })
    }
}

fn unmasked<'a>(
    decoder: &mut Decoder,
    decoded: &'a mut Vec<u8>,
    limit: usize,
    message: &Message,
    body: &Body<'a>,
) -> Content<'a> {
    // Where a message's end was not seen (the connection broke off, or chunks could not be followed behind a loss), more
    // of the body may have been sent than was counted.
    let is_truncated = body.is_truncated() || body.missing > 0 || !message.is_complete();
    let as_sent = Content { bytes: body.captured, is_truncated, ..Content::default() };
    if body.captured.is_empty() || !is_coded(message) {
        return as_sent;
    }
    decoded.clear();
    decoded.shrink_to(KEPT_DECODED);
    let outcome = decoder.decode(codings(message), body.captured, limit, decoded);
    as_sent.decoded(outcome, decoded, message.is_complete())
}

impl<'a> Content<'a> {
    /// What to write of a body sent as `self`, which decoded to `decoded`. `is_complete`: the message's end was seen.
    fn decoded(self, outcome: DecodeOutcome, decoded: &'a [u8], is_complete: bool) -> Self {
        let flag = match outcome {
            DecodeOutcome::Identity | DecodeOutcome::Complete => None,
            // The coding of a body that was cut ends early too; that says nothing about its sender.
            DecodeOutcome::Partial if self.is_truncated || !is_complete => None,
            DecodeOutcome::Partial | DecodeOutcome::Failed | DecodeOutcome::Trailing => Some(Flag::DecodeFailed),
            DecodeOutcome::Limited => Some(Flag::DecodeLimit),
            DecodeOutcome::Unknown => Some(Flag::UnknownContentCoding),
        };
        let is_decoded = match outcome {
            DecodeOutcome::Identity | DecodeOutcome::Unknown => false,
            DecodeOutcome::Complete | DecodeOutcome::Limited | DecodeOutcome::Trailing => true,
            // Where nothing came of it, the bytes as sent are better than none.
            DecodeOutcome::Partial | DecodeOutcome::Failed => !decoded.is_empty(),
        };
        let mut content = self;
        if let Some(flag) = flag {
            content.flags.insert(flag);
        }
        content.is_coded = !is_decoded && outcome != DecodeOutcome::Identity;
        if is_decoded {
            content.bytes = decoded;
            content.is_decoded = true;
            content.is_truncated |= outcome != DecodeOutcome::Complete;
            content.decoded_bytes = (!content.is_truncated).then_some(decoded.len() as u64);
        }
        content
    }
}

impl<'a> Content<'a> {
    /// What is packed without saying so, unpacked: so it can be looked through. What is no such thing stays.
    ///
    /// It is flagged, as a receiver that does not unpack it reads something else.
    fn unpacked(self, guess: Guess, decoder: &mut Decoder, unpacked: &'a mut Vec<u8>, limit: usize) -> Self {
        for coding in guess.codings() {
            unpacked.clear();
            unpacked.shrink_to(KEPT_DECODED);
            let outcome = decoder.decode(std::iter::once(coding), self.bytes, limit, unpacked);
            let is_whole = matches!(outcome, DecodeOutcome::Complete | DecodeOutcome::Trailing);
            let is_some = match outcome {
                DecodeOutcome::Complete | DecodeOutcome::Trailing | DecodeOutcome::Limited => true,
                DecodeOutcome::Partial => self.is_truncated,
                DecodeOutcome::Identity | DecodeOutcome::Failed | DecodeOutcome::Unknown => false,
            };
            // Of a guess, what comes of it has to be text, be it in UTF-16; or more than chance would unpack to the last byte. Nor
            // does chance unpack to more than there was and leave something, or to half of what there was.
            let is_text = !unpacked.iter().take(LOOKED_AT).any(|byte| *byte != 0 && is_control(*byte));
            let is_more = unpacked.len() > self.bytes.len();
            let is_sound = match guess {
                Guess::Certain(_) => true,
                _ if outcome == DecodeOutcome::Trailing && !is_more || unpacked.len() < self.bytes.len() / 2 => false,
                // Short texts packed by deflate are mostly letters. Of Brotli chance makes something nearly always.
                _ if coding == BROTLI && is_mostly_text(self.bytes) && !(is_whole && is_more) => false,
                _ => is_text || is_whole && unpacked.len() > LOOKED_AT,
            };
            if is_some && is_sound && !unpacked.is_empty() {
                let is_truncated = self.is_truncated || outcome != DecodeOutcome::Complete;
                let mut flags = self.flags;
                flags.insert(Flag::UndeclaredContentCoding);
                return Content {
                    bytes: unpacked,
                    is_decoded: true,
                    is_truncated,
                    decoded_bytes: (!is_truncated).then_some(unpacked.len() as u64),
                    flags,
                    ..self
                };
            }
        }
        self
    }
}

impl Content<'_> {
    /// Its first `limit` bytes.
    pub(super) fn cut(mut self, limit: usize) -> Self {
        if let Some(bytes) = self.bytes.get(..limit).filter(|bytes| bytes.len() < self.bytes.len()) {
            self.bytes = bytes;
            self.is_truncated = true;
        }
        self
    }

    /// Its first `limit` bytes, because memory has no more.
    pub(super) fn cut_for_memory(self, limit: usize) -> Self {
        let mut cut = self.cut(limit);
        if cut.bytes.len() < self.bytes.len() {
            cut.flags.insert(Flag::BodyNotCaptured);
        }
        cut
    }

    /// As much of it as can be written in `limit` bytes as a JSON string.
    pub(super) fn within(mut self, limit: usize) -> Self {
        if self.bytes.len() <= limit / MAX_ESCAPED {
            return self;
        }
        let end = match as_text(&self) {
            Some(text) => escaped_prefix(text, limit),
            None => {
                let end = self.bytes.len().min(limit / 4 * 3);
                // What is left may be text, where what made it binary was cut off: then it is written as such.
                let cut = Content { bytes: self.bytes.get(..end).unwrap_or_default(), is_truncated: true, ..self };
                match as_text(&cut).filter(|_| end < self.bytes.len()) {
                    Some(text) => escaped_prefix(text, limit),
                    None => end,
                }
            }
        };
        if let Some(bytes) = self.bytes.get(..end).filter(|bytes| bytes.len() < self.bytes.len()) {
            // A character that the cut of the whole went through is no loss of ours.
            let is_ours = as_text(&self).is_none_or(|text| end < text.len());
            self.bytes = bytes;
            self.is_truncated = true;
            if is_ours {
                self.flags.insert(Flag::BodyNotCaptured);
            }
        }
        self
    }
}

/// Whether a message's fields name a coding of its body, other than chunked alone.
#[inline]
pub(crate) fn is_coded(message: &Message) -> bool {
    message.headers().any(|header| {
        header.name.eq_ignore_ascii_case(CONTENT_ENCODING)
            || header.name.eq_ignore_ascii_case(TRANSFER_ENCODING) && !header.value.eq_ignore_ascii_case(b"chunked")
    })
}

/// The codings of a body, in the order in which they were applied: those of its content, then of its transfer (RFC 9112,
/// section 7). Of the latter only the known ones that pack; the others belong to framing, which flags what is odd.
fn codings(message: &Message) -> impl Iterator<Item = &[u8]> {
    let values = |name: &'static [u8]| {
        message.headers().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let transfer = values(TRANSFER_ENCODING).flat_map(|list| list.split(|byte| *byte == b','));
    let packs =
        |name: &&[u8]| [&b"gzip"[..], b"x-gzip", b"deflate"].iter().any(|coding| name.eq_ignore_ascii_case(coding));
    values(CONTENT_ENCODING).chain(transfer.map(<[u8]>::trim_ascii).filter(packs))
}

/// Whether a media type is one of pictures and the like, which are packed in ways of their own.
fn is_media(content_type: &[u8]) -> bool {
    [&b"image/"[..], b"audio/", b"video/", b"font/"]
        .iter()
        .any(|kind| content_type.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind)))
}

/// What the first bytes of a body say it is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    /// Nothing.
    None,
    /// The format has a mark.
    Certain(&'static [u8]),
    /// It may be zlib's, or deflate or Brotli, which have no mark; or anything else that is no text.
    Any,
}

impl Guess {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, 0x08, ..] => Self::Certain(b"gzip"),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Certain(b"zstd"),
            // The second one is `x^`, as formulas start, too: these do not unpack.
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Self::Certain(b"deflate"),
            // The same with another window or dictionary size (RFC 1950, section 2.2); texts may start so, too.
            [first, second, ..]
                if first & 0x8f == 8
                    && second & 0x20 == 0
                    && u16::from_be_bytes([*first, *second]).is_multiple_of(31) =>
            {
                Self::Any
            }
            _ if is_no_text(bytes) => Self::Any,
            _ => Self::None,
        }
    }

    fn codings(self) -> impl Iterator<Item = &'static [u8]> {
        const MARKLESS: [&[u8]; 2] = [b"deflate", BROTLI];
        let (certain, any) = match self {
            Self::None => (None, &MARKLESS[..0]),
            Self::Certain(coding) => (Some(coding), &MARKLESS[..0]),
            Self::Any => (None, &MARKLESS[..]),
        };
        certain.into_iter().chain(any.iter().copied())
    }
}

/// Whether the first bytes are no text, as those of packed ones nearly surely are: control characters other than those of text are
/// among them, or what is no UTF-8.
fn is_no_text(bytes: &[u8]) -> bool {
    if let Some(start) = bytes.first_chunk::<LOOKED_AT>() {
        // Most are of ASCII on one line. All bytes are asked, whatever the first ones say: so many are at once.
        let (least, most) = start.iter().fold((u8::MAX, 0), |(least, most), byte| (least.min(*byte), most.max(*byte)));
        if least >= b' ' && most < 0x7f {
            return false;
        }
    }
    let start = bytes.get(..LOOKED_AT).unwrap_or(bytes);
    start.iter().copied().any(is_control)
        || !start.is_ascii() && str::from_utf8(start).is_err_and(|error| error.error_len().is_some())
}

/// Whether three in four of its bytes are those of plain text: of what Brotli packs, not one in two is, but for what it leaves as it
/// is, which can be looked through where it stands.
fn is_mostly_text(bytes: &[u8]) -> bool {
    let start = bytes.get(..WEIGHED).unwrap_or(bytes);
    let others = start.iter().filter(|byte| !byte.is_ascii() || is_control(**byte)).count();
    others <= start.len() / 4
}

#[inline(always)]
const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n' | 0x0c)
}

/// Whether it starts as packed bytes do that cannot be unpacked here, or could not.
fn is_packed(bytes: &[u8]) -> bool {
    // gzip, Zstandard, zlib at each of its levels; ZIP (and what is made of it), xz, bzip2, 7z, LZ4, lzip, RAR, compress, LZMA.
    const STARTS: [&[u8]; 18] = [
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\x78\x01",
        b"\x78\x5e",
        b"\x78\x9c",
        b"\x78\xda",
        b"PK\x03\x04",
        b"PK\x07\x08",
        b"\xfd7zXZ\0",
        b"BZh",
        b"7z\xbc\xaf\x27\x1c",
        b"\x04\x22\x4d\x18",
        b"LZIP\x01",
        b"Rar!\x1a\x07",
        b"\x1f\x9d",
        b"\x1f\xa0",
        b"\x5d\0\0",
        b"\xff\x06\0\0sNaPpY",
    ];
    // What a body of text starts with is none of these.
    const FIRSTS: [bool; 256] = {
        let (mut firsts, mut at) = ([false; 256], 0);
        while at < STARTS.len() {
            firsts[STARTS[at][0] as usize] = true;
            at += 1;
        }
        firsts
    };
    bytes.first().is_some_and(|first| FIRSTS[usize::from(*first)])
        && STARTS.iter().any(|start| bytes.starts_with(start))
        && !(bytes.starts_with(b"x^") && is_mostly_text(bytes))
        // Of bzip2, the level and the mark of a block; or of an empty one.
        && bytes.strip_prefix(b"BZh").is_none_or(|rest| {
            let mark = rest.get(1..7.min(rest.len())).unwrap_or_default();
            b"1AY&SY".starts_with(mark) || b"\x17\x72\x45\x38\x50\x90".starts_with(mark)
        })
}

/// Puts a body as native records have it.
#[inline(always)]
pub(super) fn put_body(body: &Body<'_>, content: &Content<'_>, room: &mut Room<'_>) {
    let text = as_text(content);
    let captured = text.map_or(content.bytes, str::as_bytes);
    room.put(b"{\"bytes\":");
    put_number(body.bytes, room);
    room.put(b",\"decoded_bytes\":");
    match content.decoded_bytes.filter(|_| !content.is_truncated) {
        Some(bytes) => put_number(bytes, room),
        None => room.put(b"null"),
    }
    room.put(b",\"captured\":");
    put_number(captured.len() as u64, room);
    room.put(b",\"truncated\":");
    put_bool(content.is_truncated, room);
    room.put(b",\"missing\":");
    put_number(body.missing, room);
    room.put(b",\"decoded\":");
    put_bool(content.is_decoded, room);
    match text {
        Some("") if content.is_truncated => room.put(b",\"encoding\":\"utf8\",\"content\":null"),
        Some(text) => {
            room.put(b",\"encoding\":\"utf8\",\"content\":");
            room.with_vec(|out| {
                if text.len() >= LARGE {
                    // Exactly: a vector left to itself would reserve up to twice of it.
                    out.reserve_exact(escaped_len(text) + SLACK);
                }
                append_str(text, out);
            });
        }
        None => {
            room.put(b",\"encoding\":\"base64\",\"content\":");
            room.with_vec(|out| {
                if content.bytes.len() >= LARGE {
                    out.reserve_exact(content.bytes.len().div_ceil(3) * 4 + SLACK);
                }
                append_base64(content.bytes, out);
            });
        }
    }
    room.put(b"}");
}

/// The content as text, if it is: a character that the cut went through is left out.
fn as_text<'a>(content: &Content<'a>) -> Option<&'a str> {
    match core::str::from_utf8(content.bytes) {
        Ok(text) => Some(text),
        Err(error) if content.is_truncated && error.error_len().is_none() && error.valid_up_to() > 0 => {
            content.bytes.get(..error.valid_up_to()).and_then(|whole| core::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wherever the first sign of it stands, and however long the text is.
    #[test]
    fn control_characters_make_no_text() {
        for len in 0..=2 * LOOKED_AT {
            let mut bytes = b"\ttext\r\n\x0c".repeat(LOOKED_AT);
            bytes.truncate(len);
            assert!(!is_no_text(&bytes), "{len}");
            for at in 0..len {
                let byte = std::mem::replace(&mut bytes[at], 0x7f - (at % 8) as u8 * 0x11);
                let is_seen = at < LOOKED_AT && is_control(0x7f - (at % 8) as u8 * 0x11);
                assert_eq!(is_no_text(&bytes), is_seen, "{at} of {len}");
                bytes[at] = byte;
            }
        }
    }

    fn sent(is_truncated: bool) -> Content<'static> {
        Content { bytes: b"sent", is_truncated, ..Content::default() }
    }

    /// Each outcome of decoding, of whole and cut bodies: what is written, whether it is truncated, and the flag.
    #[test]
    fn decoding_outcomes() {
        use DecodeOutcome::*;
        const DECODED: &[u8] = b"decoded";
        for (outcome, decoded, is_cut, is_complete, bytes, is_truncated, flag) in [
            (Identity, DECODED, false, true, b"sent".as_slice(), false, None),
            (Unknown, b"", false, true, b"sent", false, Some(Flag::UnknownContentCoding)),
            (Unknown, b"", true, true, b"sent", true, Some(Flag::UnknownContentCoding)),
            (Complete, DECODED, false, true, DECODED, false, None),
            (Complete, b"", false, true, b"", false, None),
            (Complete, DECODED, true, true, DECODED, true, None),
            (Partial, DECODED, true, true, DECODED, true, None),
            (Partial, DECODED, false, false, DECODED, true, None),
            (Partial, DECODED, false, true, DECODED, true, Some(Flag::DecodeFailed)),
            (Partial, b"", true, true, b"sent", true, None),
            (Limited, DECODED, false, true, DECODED, true, Some(Flag::DecodeLimit)),
            (Limited, b"", false, true, b"", true, Some(Flag::DecodeLimit)),
            (Failed, DECODED, false, true, DECODED, true, Some(Flag::DecodeFailed)),
            (Trailing, DECODED, false, true, DECODED, true, Some(Flag::DecodeFailed)),
            (Failed, b"", false, true, b"sent", false, Some(Flag::DecodeFailed)),
        ] {
            let content = sent(is_cut).decoded(outcome, decoded, is_complete);
            let case = (outcome, decoded, is_cut, is_complete);
            assert_eq!(content.bytes, bytes, "{case:?}");
            assert_eq!(content.is_decoded, bytes != b"sent", "{case:?}");
            assert_eq!(content.is_truncated, is_truncated, "{case:?}");
            assert_eq!(content.flags.iter().collect::<Vec<_>>(), flag.into_iter().collect::<Vec<_>>(), "{case:?}");
        }
    }

    fn written(captured: &[u8], content: &Content<'_>) -> serde_json::Value {
        let body = Body { bytes: 100, captured, missing: 0 };
        let mut out = Vec::new();
        put_body(&body, content, &mut Room::at_end_of(&mut out));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn only_a_whole_decoded_body_has_a_decoded_length() {
        let content = |is_decoded, is_truncated| Content {
            bytes: b"text",
            is_decoded,
            is_truncated,
            decoded_bytes: is_decoded.then_some(4),
            ..Content::default()
        };
        for (is_decoded, is_truncated, expected) in
            [(true, false, Some(4)), (true, true, None), (false, false, None), (false, true, None)]
        {
            let body = written(b"text", &content(is_decoded, is_truncated));
            assert_eq!(body["decoded_bytes"].as_u64(), expected);
            assert_eq!(body["decoded"], is_decoded);
            assert_eq!(body["content"], "text");
        }
        let empty = written(b"text", &Content { bytes: b"", decoded_bytes: Some(0), ..content(true, false) });
        assert_eq!((&empty["decoded_bytes"], &empty["content"]), (&0.into(), &"".into()));
        let lost = written(b"", &Content { bytes: b"", ..content(false, true) });
        assert_eq!((&lost["captured"], &lost["content"]), (&0.into(), &serde_json::Value::Null));
    }

    /// "ä€𝄞" cut at each byte: text as far as its characters are whole.
    #[test]
    fn a_character_at_the_cut_is_left_out() {
        let text = "ä€𝄞";
        for end in 0..=text.len() {
            let bytes = &text.as_bytes()[..end];
            let body = written(bytes, &Content { bytes, is_truncated: true, ..Content::default() });
            let whole = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap();
            let (captured, encoding, content) = match (end, whole) {
                (0, _) => (0, "utf8", serde_json::Value::Null),
                // Not even one character: nothing shows that it is text.
                (_, 0) => (end, "base64", "ww==".into()),
                _ => (whole, "utf8", text[..whole].into()),
            };
            assert_eq!(body["captured"], captured, "{end}");
            assert_eq!(body["encoding"], encoding, "{end}");
            assert_eq!(body["content"], content, "{end}");
        }
    }

    /// Whatever the content and the limit: what is written stays within the limit, is a prefix, and says so when it is cut.
    #[test]
    fn content_beyond_the_limit_is_cut_and_flagged() {
        let binary: Vec<u8> = (0..=255).cycle().take(3_000).collect();
        for whole in [&[1; 3_000], "ä\"€\n𝄞plain".repeat(200).as_bytes(), binary.as_slice(), b"short"] {
            for limit in [0, 1, 5, 6, 7, 29, 30, 100, 1_000, 6_000, 100_000] {
                let content = Content { bytes: whole, ..Content::default() }.within(limit);
                assert!(whole.starts_with(content.bytes));
                let is_cut = content.bytes.len() < whole.len();
                assert_eq!(content.is_truncated, is_cut);
                assert_eq!(content.flags.contains(Flag::BodyNotCaptured), is_cut);
                let body = written(whole, &content);
                let written = serde_json::to_string(&body["content"]).unwrap();
                assert!(written == "null" || written.len() <= limit + 2, "{limit}: {}", written.len());
            }
        }
    }

    #[test]
    fn a_half_character_in_a_whole_body_makes_it_binary() {
        let bytes = b"ab\xc3";
        let body = written(bytes, &Content { bytes, ..Content::default() });
        assert_eq!((&body["encoding"], &body["content"]), (&"base64".into(), &"YWLD".into()));
    }
}
