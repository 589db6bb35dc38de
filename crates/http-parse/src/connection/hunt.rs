//! Where messages start: detection by content, and the search for a start line after a loss.

use memchr::memchr;

use super::Connection;
use super::side::State;
use super::waiting::Point;
use crate::context::Context;
use crate::exchange::ExchangeSink;
use crate::head::{StartLine, looks_like_start};
use crate::message::{MatchState, Message, MessageKind};
use crate::protocol::{ClientHello, Protocol};
use crate::recognize::{Recognized, recognize};
use crate::{Position, Side};

/// A candidate longer than this is judged anew only when a line of it has ended, so that a long line in small pieces is
/// not read again for each of them.
const EAGER: usize = 256;
/// Weak signs of TLS that make it certain.
const TLS_SIGNS: u8 = 3;

enum Verdict {
    Start(MessageKind),
    NeedMore,
    No,
    Other(Protocol, Option<ClientHello>),
}

impl Connection {
    /// Looks for a message's start at the beginning of `bytes`; returns how many were dealt with.
    pub(super) fn hunt(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        segment_start: bool,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        let exact = self.stream(side).state == State::Boundary;
        let waits = self.stream(side).message.is_some();
        if exact
            && !waits
            && self.fallback.is_none()
            && let Some(kind) = self.kind_of(side)
            && has_usual_start(bytes, kind)
        {
            return self.start_message(side, kind, position, bytes, cx, sink);
        }
        if waits {
            return self.hunt_on(side, position, bytes, exact, cx, sink);
        }
        if !exact && !segment_start {
            self.stream_mut(side).pass(position.acked, bytes);
            self.skip(side, bytes.len() as u64, cx, sink);
            return bytes.len();
        }
        let space = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b' ' | b'\t')).count();
        if space > 0 && !(exact && self.fallback.is_some()) {
            if exact {
                // RFC 9112, section 2.2: empty lines before a start line are ignored.
                self.stream_mut(side).leading = true;
                cx.stats.parsed_bytes += space as u64;
                return space;
            }
            self.skip(side, space as u64, cx, sink);
            if self.shunted.is_some() || space == bytes.len() {
                return space;
            }
            let behind = Position { offset: position.offset + space as u64, ..position };
            return space + self.hunt(side, behind, bytes.get(space..).unwrap_or_default(), true, cx, sink);
        }
        match self.judge(side, bytes, exact) {
            Verdict::Start(kind) => {
                if self.contradicts(side, kind) {
                    self.turn_round(side, cx, sink);
                    if self.shunted.is_some() {
                        return 0;
                    }
                }
                self.start_message(side, kind, position, bytes, cx, sink)
            }
            Verdict::NeedMore => {
                let mut candidate = cx.take(MessageKind::Request, position);
                candidate.acked_before = self.stream(side).acked_before;
                let used = bytes.len().min(cx.settings().max_head);
                if !cx.make_head_room(&mut candidate, used) {
                    cx.give_back(candidate);
                    return self.refuse_candidate(side, position, bytes, cx, sink);
                }
                candidate.head.extend_from_slice(bytes.get(..used).unwrap_or_default());
                cx.stats.undecided_bytes += used as u64;
                self.stream_mut(side).hold(candidate);
                used
            }
            Verdict::No => self.miss(side, position, bytes, cx, sink),
            Verdict::Other(protocol, hello) => {
                self.shunt(protocol, hello.as_ref(), cx, sink);
                0
            }
        }
    }

    /// Goes on with a candidate of which some bytes wait.
    fn hunt_on(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        exact: bool,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        let limit = cx.settings().max_head;
        let Some(mut candidate) = self.stream_mut(side).message.take() else { return 0 };
        let before = candidate.head.len();
        let used = bytes.len().min(limit.saturating_sub(before));
        let added = bytes.get(..used).unwrap_or_default();
        if !cx.make_head_room(&mut candidate, used) {
            let start = candidate.start;
            if exact && self.fallback.is_some() {
                self.stream_mut(side).hold(candidate);
                return self.miss(side, start, &[], cx, sink);
            }
            let held = std::mem::take(&mut candidate.head);
            cx.give_back(candidate);
            cx.stats.undecided_bytes -= before as u64;
            self.refuse_candidate(side, start, &held, cx, sink);
            // Like the segment starts that come behind them, these bytes are tried by themselves.
            return 0;
        }
        candidate.head.extend_from_slice(added);
        let is_line = !matches!(candidate.head.first(), Some(0x14..=0x17));
        let verdict = if used == 0 {
            Verdict::No
        } else if before >= EAGER && is_line && memchr(b'\n', added).is_none() {
            Verdict::NeedMore
        } else {
            self.judge(side, &candidate.head, exact)
        };
        match verdict {
            Verdict::Start(kind) if self.contradicts(side, kind) => {
                // It waits where it was until the other side is done with, and is looked at again then.
                candidate.head.truncate(before);
                self.stream_mut(side).hold(candidate);
                self.turn_round(side, cx, sink);
                0
            }
            Verdict::Start(kind) => {
                cx.stats.undecided_bytes -= before as u64;
                cx.stats.parsed_bytes += before as u64;
                cx.drop_pieces(&mut candidate);
                self.adopt_candidate(side, kind, candidate, before, position, cx, sink)
            }
            Verdict::NeedMore => {
                cx.stats.undecided_bytes += used as u64;
                cx.note_piece(&mut candidate, position);
                self.stream_mut(side).hold(candidate);
                used
            }
            Verdict::No => {
                let start = candidate.start;
                candidate.head.truncate(before);
                self.stream_mut(side).hold(candidate);
                if exact && self.fallback.is_some() {
                    return self.miss(side, start, &[], cx, sink);
                }
                self.retry(side, cx, sink);
                if self.shunted.is_none() && self.stream(side).has_candidate() {
                    let exact = self.stream(side).state == State::Boundary;
                    return self.hunt_on(side, position, bytes, exact, cx, sink);
                }
                // These bytes are a segment's start of their own: the caller tries them again.
                0
            }
            Verdict::Other(protocol, hello) => {
                candidate.head.truncate(before);
                self.stream_mut(side).hold(candidate);
                self.shunt(protocol, hello.as_ref(), cx, sink);
                0
            }
        }
    }

    /// There is no memory to wait for more of `bytes`, which may be a message's first.
    fn refuse_candidate(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        if self.fallback.is_none() && looks_like_start(bytes) != StartLine::No {
            return self.refuse_for_memory(side, position, bytes.len(), cx, sink);
        }
        self.miss(side, position, bytes, cx, sink)
    }

    /// No message starts here: the side's stream has to be searched. `bytes` are passed over.
    fn miss(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        if self.stream(side).state == State::Boundary {
            if let Some(protocol) = self.fallback {
                return self.leave_http(side, protocol, bytes, cx, sink);
            }
            self.mark_loss(side, position.offset);
            self.stream_mut(side).lose_sync();
        }
        if !bytes.is_empty() {
            self.stream_mut(side).pass(position.acked, bytes);
        }
        self.skip(side, bytes.len() as u64, cx, sink);
        bytes.len()
    }

    /// What follows a 101 (Switching Protocols) or a tunnel's opening is not HTTP: the connection is given up, unless the
    /// request is still on its way that the 101 answers. Reassembly may keep the first bytes of a joined connection's client.
    fn leave_http(
        &mut self,
        side: Side,
        protocol: Protocol,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        let is_unasked = |response: &Message| response.status == 101 && response.match_state == MatchState::Undecided;
        let len = self.stream(side).message.as_deref().map_or(0, |candidate| candidate.head.len()) + bytes.len();
        let stream = self.stream_mut(side);
        stream.searched = stream.searched.saturating_add(len as u64);
        let may_wait = stream.searched <= cx.settings().max_detect as u64;
        if !may_wait || self.client == Some(side) || !self.responses.last().is_some_and(is_unasked) {
            self.shunt(protocol, None, cx, sink);
            return 0;
        }
        self.drop_candidate(side, protocol, cx);
        self.count_other(protocol, bytes.len() as u64, cx);
        bytes.len()
    }

    /// What stands at the start of `bytes`. Where no message is due (not `exact`), a start line alone is not enough.
    fn judge(&mut self, side: Side, bytes: &[u8], exact: bool) -> Verdict {
        if exact
            && self.fallback.is_none()
            && let Some(kind) = self.kind_of(side)
            && has_usual_start(bytes, kind)
        {
            return Verdict::Start(kind);
        }
        let mut undecided = false;
        if self.client.is_none() || self.fallback.is_some() {
            match recognize(bytes) {
                Recognized::Certain(Protocol::Tls, None) if self.awaits_hello(side) => {}
                Recognized::Certain(protocol, hello) => return Verdict::Other(protocol, hello),
                Recognized::Likely(protocol) => {
                    self.tls_signs += 1;
                    if self.tls_signs >= TLS_SIGNS {
                        return Verdict::Other(protocol, None);
                    }
                }
                Recognized::NeedMore => undecided = true,
                Recognized::No => {}
            }
        }
        let looks = if exact || may_be_first_word(bytes) { looks_like_start(bytes) } else { StartLine::No };
        let kind = match looks {
            StartLine::Request => MessageKind::Request,
            StartLine::Response => MessageKind::Response,
            StartLine::NeedMore => return Verdict::NeedMore,
            StartLine::No if undecided => return Verdict::NeedMore,
            StartLine::No => return Verdict::No,
        };
        if undecided {
            return Verdict::NeedMore;
        }
        if !self.may_send(side, kind) {
            return Verdict::No;
        }
        if exact {
            return Verdict::Start(kind);
        }
        match has_header_behind_start_line(bytes) {
            Some(true) => Verdict::Start(kind),
            Some(false) => Verdict::No,
            None => Verdict::NeedMore,
        }
    }

    /// Whether TLS was met on a side whose peer may still show its ClientHello: the mirror may have swapped the two.
    fn awaits_hello(&mut self, side: Side) -> bool {
        self.tls_signs += 1;
        self.initiator.is_some() && !self.stream(side.opposite()).seen && self.tls_signs < TLS_SIGNS
    }

    /// Whether a message of `kind` from `side` fits what is known of the roles, or is better evidence than it.
    fn may_send(&self, side: Side, kind: MessageKind) -> bool {
        let client = client_by(side, kind);
        match self.client {
            None => true,
            Some(known) => known == client || !self.roles_agree,
        }
    }

    /// Whether a message of `kind` from `side` means that the roles so far were taken from a chance hit.
    fn contradicts(&self, side: Side, kind: MessageKind) -> bool {
        self.client.is_some_and(|known| known != client_by(side, kind))
    }

    /// Turns the roles round, because of what starts on `side`: what was found under them is emitted as it is. What is read
    /// of the other side on the way may give the connection up; no message may start then.
    fn turn_round(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let other = side.opposite();
        let client = self.client;
        self.end_side(other, cx, sink);
        self.settle(true, cx, sink);
        self.stream_mut(other).lose_sync();
        self.stream_mut(side).lossy = true;
        self.order.linked = false;
        self.drop_surplus(cx);
        self.drop_forerunners(cx);
        self.client = client.map(Side::opposite);
        self.roles_agree = self.initiator == self.client;
        self.order.last_point = Point::UNKNOWN;
    }

    /// Takes note that a message of `kind` starts on `side`.
    pub(super) fn note_roles(&mut self, side: Side, kind: MessageKind) {
        debug_assert!(self.shunted.is_none() && !self.contradicts(side, kind));
        if self.client.is_some() {
            // Each side shows its role by itself; agreement takes the other one.
            self.roles_agree |= kind == MessageKind::Response;
        } else {
            self.client = Some(client_by(side, kind));
            self.roles_agree = self.initiator == self.client;
            if !self.roles_agree {
                self.order.last_point = Point::UNKNOWN;
            }
        }
    }

    /// Counts bytes passed over in the search, and gives the connection up when they are too many.
    pub(super) fn skip(&mut self, side: Side, len: u64, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let from_start = self.initiator.is_some();
        let protocol = if self.client.is_none() && from_start { Protocol::Unknown } else { Protocol::Unsynchronized };
        self.count_other(protocol, len, cx);
        let limit = if self.client.is_none() && from_start {
            cx.settings().max_detect as u64
        } else {
            cx.settings().max_resync
        };
        let stream = self.stream_mut(side);
        stream.searched = stream.searched.saturating_add(len);
        if stream.searched > limit && self.shunted.is_none() {
            self.shunt(Protocol::Unknown, None, cx, sink);
        }
    }

    /// Counts a waiting candidate's bytes as `protocol` and lets go of it.
    pub(super) fn drop_candidate(&mut self, side: Side, protocol: Protocol, cx: &mut Context) {
        let stream = self.stream_mut(side);
        if matches!(stream.state, State::Boundary | State::Search)
            && let Some(candidate) = stream.message.take()
        {
            let len = candidate.head.len() as u64;
            cx.stats.undecided_bytes -= len;
            cx.give_back(candidate);
            self.count_other(protocol, len, cx);
        }
    }
}

const fn client_by(side: Side, kind: MessageKind) -> Side {
    match kind {
        MessageKind::Request => side,
        MessageKind::Response => side.opposite(),
    }
}

/// Whether the line behind the first is a header field or the end of the head; `None`: not all of it is there.
fn has_header_behind_start_line(bytes: &[u8]) -> Option<bool> {
    let rest = bytes.get(memchr(b'\n', bytes)? + 1..)?;
    match rest {
        [b'\n', ..] | [b'\r', b'\n', ..] => return Some(true),
        [] | [b'\r'] => return None,
        _ => {}
    }
    let name = rest.iter().take_while(|byte| is_token(**byte)).count();
    match rest.get(name) {
        Some(b':') => memchr(b'\n', rest).map(|_| name > 0),
        Some(_) => Some(false),
        // A name as long as this is none.
        None => (name > EAGER).then_some(false),
    }
}

/// Whether `bytes`, where a message of `kind` is due, begin as nearly all do: no need to look at the whole line twice.
fn has_usual_start(bytes: &[u8], kind: MessageKind) -> bool {
    match kind {
        MessageKind::Request => bytes.starts_with(b"GET /") || bytes.starts_with(b"POST /"),
        MessageKind::Response => bytes.starts_with(b"HTTP/1.1 ") || bytes.starts_with(b"HTTP/1.0 "),
    }
}

/// Methods that are believed where a message may start, but need not. Elsewhere any token is a method; here, the rest of
/// one whose first bytes were lost, or a word of a body, must not pass for one.
const METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    // WebDAV and its extensions (RFC 3253, 3648, 3744, 4791, 4918, 5323, 5842).
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"ACL",
    b"MKCALENDAR",
    b"MKACTIVITY",
    b"MKWORKSPACE",
    b"CHECKIN",
    b"CHECKOUT",
    b"UNCHECKOUT",
    b"UPDATE",
    b"LABEL",
    b"MERGE",
    b"VERSION-CONTROL",
    b"BASELINE-CONTROL",
    b"ORDERPATCH",
    b"BIND",
    b"REBIND",
    b"UNBIND",
    // Others in common use.
    b"QUERY",
    b"PURGE",
    b"LINK",
    b"UNLINK",
    b"NOTIFY",
    b"M-SEARCH",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"POLL",
    b"RPC_IN_DATA",
    b"RPC_OUT_DATA",
];

/// Whether the first word of `bytes`, whole or not, is or may become a known method or a response's version.
fn may_be_first_word(bytes: &[u8]) -> bool {
    match bytes.iter().take(24).position(|byte| matches!(byte, b' ' | b'\t')) {
        Some(end) => {
            let word = bytes.get(..end).unwrap_or_default();
            word.starts_with(b"HTTP/") || METHODS.contains(&word)
        }
        None => {
            bytes.starts_with(b"HTTP/")
                || b"HTTP/".starts_with(bytes)
                || METHODS.iter().any(|method| method.starts_with(bytes))
        }
    }
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_line_is_believed_with_a_header_line_behind_it() {
        let cases: [(&[u8], Option<bool>); 8] = [
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Some(true)),
            (b"GET / HTTP/1.1\r\n\r\n", Some(true)),
            (b"GET / HTTP/1.1\n\n", Some(true)),
            (b"GET / HTTP/1.1\r\nHost: a", None),
            (b"GET / HTTP/1.1\r\n\r", None),
            (b"GET / HTTP/1.1\r\nHo", None),
            (b"GET / HTTP/1.1\r\n<p>See: \r\n", Some(false)),
            (b"GET / HTTP/1.1\r\n: x\r\n", Some(false)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(has_header_behind_start_line(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
