//! The first message of a TLS client (RFC 8446, section 4.1.2), as far as it stands in clear text.
//!
//! Reads no keys and decrypts nothing. It looks at the bytes from their start each time, which is bounded: a hello has at
//! most 64 KiB and comes in at most 64 records.

use std::borrow::Cow;

use crate::protocol::ClientHello;

/// The longest ClientHello that is read, bytes; records that carry it; names that it may offer.
const MAX_HELLO: usize = 64 << 10;
const MAX_RECORDS: usize = 64;
const MAX_NAMES: usize = 64;

/// The longest record of any version (RFC 5246, section 6.2.3).
const MAX_RECORD: usize = (16 << 10) + 2048;

const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// What the first bytes of a stream are to TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HelloStatus {
    /// They may be TLS; more bytes will tell.
    NeedMore,
    /// Something else.
    NotTls,
    /// A ClientHello.
    Hello(ClientHello),
    /// TLS, but no ClientHello that can be read: records from the middle of a stream, the server's side, or a hello in
    /// the form of SSL 2.
    Tls,
}

/// What could be gathered of a handshake message.
enum Message<'a> {
    Whole(Cow<'a, [u8]>),
    Cut,
    Unreadable,
}

/// Reads the ClientHello at the start of `records`.
pub(crate) fn parse_client_hello(records: &[u8]) -> HelloStatus {
    match looks_like_record(records) {
        None => return looks_like_ssl2_hello(records),
        Some(false) => return HelloStatus::NeedMore,
        Some(true) if records.first() != Some(&HANDSHAKE) => return HelloStatus::Tls,
        Some(true) => {}
    }
    match gather(records) {
        Message::Cut => HelloStatus::NeedMore,
        Message::Unreadable => HelloStatus::Tls,
        Message::Whole(body) => read_hello(&mut Reader(&body)).map_or(HelloStatus::Tls, HelloStatus::Hello),
    }
}

/// Whether a TLS record starts here; `Some(false)`: as far as there are bytes.
fn looks_like_record(bytes: &[u8]) -> Option<bool> {
    let plausible = |at: usize, is: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| is(*byte));
    if !plausible(0, |kind| (20..=24).contains(&kind)) || !plausible(1, |v| v == 3) || !plausible(2, |v| v <= 4) {
        return None;
    }
    let Some(header) = bytes.first_chunk::<RECORD_HEADER>() else { return Some(false) };
    let len = record_len(header);
    // Only application data may be empty.
    ((1..=MAX_RECORD).contains(&len) || (len == 0 && header[0] == 23)).then_some(true)
}

fn record_len(header: &[u8; RECORD_HEADER]) -> usize {
    usize::from(u16::from_be_bytes([header[3], header[4]]))
}

/// The body of the ClientHello, from one record or joined from several.
fn gather(records: &[u8]) -> Message<'_> {
    let mut joined = Vec::new();
    let mut rest = records;
    for _ in 0..MAX_RECORDS {
        let Some((header, behind)) = rest.split_first_chunk::<RECORD_HEADER>() else { return Message::Cut };
        let len = record_len(header);
        if header[0] != HANDSHAKE || header[1] != 3 || len == 0 || len > MAX_RECORD {
            return Message::Unreadable;
        }
        let (payload, behind) = behind.split_at_checked(len).unwrap_or((behind, &[]));
        let is_whole = payload.len() == len;
        if joined.is_empty() {
            match body(payload) {
                Ok(Some(body)) => return Message::Whole(Cow::Borrowed(body)),
                Ok(None) => {}
                Err(()) => return Message::Unreadable,
            }
        }
        if !is_whole {
            // What is there of the last record may be all that was missing.
            joined.extend_from_slice(payload);
            return whole(joined).unwrap_or(Message::Cut);
        }
        joined.extend_from_slice(payload);
        match body(&joined) {
            Ok(Some(_)) => return whole(joined).unwrap_or(Message::Cut),
            Ok(None) => {}
            Err(()) => return Message::Unreadable,
        }
        rest = behind;
    }
    Message::Unreadable
}

fn whole<'a>(mut joined: Vec<u8>) -> Option<Message<'a>> {
    let len = match body(&joined) {
        Ok(body) => body?.len(),
        Err(()) => return Some(Message::Unreadable),
    };
    joined.drain(..4);
    joined.truncate(len);
    Some(Message::Whole(Cow::Owned(joined)))
}

/// The body of a ClientHello: `None` while it is not all there, `Err` if it is another message or too long.
fn body(message: &[u8]) -> Result<Option<&[u8]>, ()> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(());
    }
    let Some((&[_, high, middle, low], behind)) = message.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes([0, high, middle, low]) as usize;
    if len > MAX_HELLO { Err(()) } else { Ok(behind.get(..len)) }
}

fn read_hello(hello: &mut Reader<'_>) -> Option<ClientHello> {
    let mut found = ClientHello::default();
    // Version, random, session id, cipher suites, compression methods.
    (hello.number()? >> 8 == 3).then_some(())?;
    hello.bytes(32)?;
    (hello.short_vector()?.0.len() <= 32).then_some(())?;
    hello.vector()?;
    hello.short_vector()?;
    if hello.0.is_empty() {
        return Some(found);
    }
    let mut extensions = hello.vector()?;
    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let mut extension = extensions.vector()?;
        match kind {
            0 => found.server_name = found.server_name.or_else(|| read_server_name(&mut extension)),
            16 if found.alpn.is_empty() => found.alpn = read_alpn(&mut extension),
            _ => {}
        }
    }
    Some(found)
}

/// The first host name (RFC 6066, section 3), if it is printable ASCII.
fn read_server_name(extension: &mut Reader<'_>) -> Option<String> {
    let mut names = extension.vector()?;
    loop {
        let kind = names.bytes(1)?;
        let name = names.vector()?.0;
        if kind == [0] {
            let is_valid = !name.is_empty() && name.len() <= 255 && name.iter().all(u8::is_ascii_graphic);
            return str::from_utf8(name).ok().filter(|_| is_valid).map(str::to_owned);
        }
    }
}

/// The offered names (RFC 7301, section 3.1) without those reserved to keep servers tolerant (RFC 8701, section 2).
fn read_alpn(extension: &mut Reader<'_>) -> Vec<String> {
    let mut offered = Vec::new();
    let Some(mut names) = extension.vector() else { return offered };
    while let Some(name) = names.short_vector()
        && offered.len() < MAX_NAMES
    {
        let is_reserved = matches!(name.0, [first, second] if first == second && first & 0x0f == 0x0a);
        if let Some(name) = str::from_utf8(name.0).ok().filter(|name| !name.is_empty() && !is_reserved) {
            offered.push(name.to_owned());
        }
    }
    offered
}

/// A hello in the form of SSL 2, as old clients sent it for TLS too (RFC 5246, appendix E.2).
fn looks_like_ssl2_hello(bytes: &[u8]) -> HelloStatus {
    let Some(&[high, low, kind, major, minor, c1, c0, s1, s0, r1, r0]) = bytes.first_chunk::<11>() else {
        let is_plausible = bytes.first().is_none_or(|byte| byte & 0x80 != 0)
            && bytes.get(2).is_none_or(|kind| *kind == CLIENT_HELLO)
            && bytes.get(3).is_none_or(|major| matches!(*major, 0 | 3));
        return if is_plausible { HelloStatus::NeedMore } else { HelloStatus::NotTls };
    };
    let number = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
    let (ciphers, session, challenge) = (number(c1, c0), number(s1, s0), number(r1, r0));
    let is_hello = high & 0x80 != 0
        && kind == CLIENT_HELLO
        && (major == 3 && minor <= 4 || (major, minor) == (0, 2))
        && ciphers > 0
        && ciphers % 3 == 0
        && matches!(session, 0 | 16)
        && (16..=32).contains(&challenge)
        && number(high & 0x7f, low) == 9 + ciphers + session + challenge;
    if is_hello { HelloStatus::Tls } else { HelloStatus::NotTls }
}

/// Takes numbers and vectors (RFC 8446, section 3.4) off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let (taken, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*taken))
    }

    fn vector(&mut self) -> Option<Self> {
        let len = self.number()?;
        self.bytes(usize::from(len)).map(Self)
    }

    fn short_vector(&mut self) -> Option<Self> {
        let (len, rest) = self.0.split_first()?;
        self.0 = rest;
        self.bytes(usize::from(*len)).map(Self)
    }
}

#[cfg(test)]
mod tests;
