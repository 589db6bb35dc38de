//! Heads: gathered until their end, read once, and what follows from them.

use super::Connection;
use super::chunked::Chunked;
use super::side::State;
use crate::context::Context;
use crate::exchange::{ExchangeSink, Heads};
use crate::flags::Flag;
use crate::framing::{Asked, Framing, frame};
use crate::head::{find_blank_line, find_head_end, parse_head, read_regular_head};
use crate::message::{MatchState, Message, MessageKind};
use crate::protocol::Protocol;
use crate::settings::BodyTypes;
use crate::stats::Unparsable;
use crate::{Position, Side};

/// Fewer bytes than this hold no request: those of `GET / HTTP/1.0` and two line ends.
pub(super) const SHORTEST: u64 = 16;

impl Connection {
    /// A message starts at the beginning of `bytes`; returns how many of them its head took.
    pub(super) fn start_message(
        &mut self,
        side: Side,
        kind: MessageKind,
        position: Position,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        self.note_roles(side, kind);
        let mut message = cx.take(kind, position);
        message.acked_before = self.stream(side).acked_before;
        let mut scanned = 0;
        let window = bytes.get(..bytes.len().min(cx.settings().max_head)).unwrap_or_default();
        // The usual case: the whole head lies in one segment, is regular, and is copied once.
        let regular = read_regular_head(kind, window, &mut message, cx.settings().max_headers);
        let end = regular
            .or_else(|| if cx.is_endless(side, position.offset) { find_blank_line(window) } else { None })
            .or_else(|| find_head_end(window, &mut scanned));
        let used = end.unwrap_or(window.len());
        if !cx.make_head_room(&mut message, used) {
            cx.give_back(message);
            return self.refuse_for_memory(side, position, bytes.len(), cx, sink);
        }
        message.head.extend_from_slice(window.get(..used).unwrap_or_default());
        cx.stats.parsed_bytes += used as u64;
        if regular.is_none() {
            self.put_head(side, message, scanned, end.is_some(), position, used, cx, sink);
            return used;
        }
        self.begin_head(side, &mut message);
        let stream = self.stream_mut(side);
        stream.state = State::Head;
        stream.next = position.offset + used as u64;
        // Without the empty line, which is the last two bytes.
        message.head_end = message.start.offset + (used as u64).saturating_sub(2);
        self.begin_message(side, message, cx, sink);
        used
    }

    /// A candidate with `before` bytes from earlier calls turned out to be a message; returns how many of this call's
    /// bytes its head took.
    #[expect(clippy::too_many_arguments, reason = "one call site; the candidate and where it stands")]
    pub(super) fn adopt_candidate(
        &mut self,
        side: Side,
        kind: MessageKind,
        mut candidate: Box<Message>,
        before: usize,
        position: Position,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        self.note_roles(side, kind);
        candidate.kind = kind;
        let mut scanned = 0;
        let end = find_head_end(&candidate.head, &mut scanned);
        let len = end.unwrap_or(candidate.head.len()).max(before);
        candidate.head.truncate(len);
        let used = len - before;
        cx.stats.parsed_bytes += used as u64;
        self.put_head(side, candidate, scanned, end.is_some(), position, used, cx, sink);
        used
    }

    #[expect(clippy::too_many_arguments, reason = "shared by the two ways in which a message starts")]
    fn put_head(
        &mut self,
        side: Side,
        mut message: Box<Message>,
        scanned: usize,
        ended: bool,
        position: Position,
        used: usize,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        self.begin_head(side, &mut message);
        let stream = self.stream_mut(side);
        stream.scanned = u32::try_from(scanned).unwrap_or(u32::MAX);
        stream.state = State::Head;
        stream.hold(message);
        stream.next = position.offset + used as u64;
        if ended {
            self.read_head(side, cx, sink);
        }
    }

    /// A message was found; it takes over what the side's stream noted for it.
    fn begin_head(&mut self, side: Side, message: &mut Message) {
        self.fallback = None;
        self.left.searched = 0;
        self.right.searched = 0;
        let stream = self.stream_mut(side);
        message.after_loss = std::mem::take(&mut stream.lossy);
        message.after_hidden = std::mem::take(&mut stream.hidden);
        if message.after_loss {
            let start = message.start.offset;
            let has_room_from = |from: u64| start >= from.saturating_add(SHORTEST);
            let hole = std::mem::replace(&mut stream.hole, u64::MAX);
            message.after_hole = has_room_from(hole);
            message.hole_before = (start.saturating_sub(hole), std::mem::take(&mut stream.hole_bytes));
            message.after_unknown = has_room_from(std::mem::replace(&mut stream.due, u64::MAX));
        }
        if message.after_loss {
            self.note_passed(side, message);
        }
        let stream = self.stream_mut(side);
        if std::mem::take(&mut stream.resynchronized) {
            message.flags.insert(Flag::Resynchronized);
        }
        if std::mem::take(&mut stream.leading) {
            message.flags.insert(Flag::LeadingEmptyLines);
        }
    }

    /// A message was found by searching: what the bytes passed over say of it.
    #[cold]
    fn note_passed(&mut self, side: Side, message: &mut Message) {
        let has_lost = self.has_lost();
        let stream = self.stream_mut(side);
        let (unread, unread_line) = (std::mem::take(&mut stream.unread), std::mem::take(&mut stream.unread_line));
        // A request in the middle of what was passed over was sent with what stands before it; and so was this one, if
        // nothing of the server was heard in between.
        let was_with_others = unread_line || (unread > 0 && Some(unread) >= message.start.acked);
        if was_with_others && message.kind == MessageKind::Request && has_lost {
            message.after_hidden = true;
            self.order.pipelined = true;
        }
    }

    /// Gathers more of a head; returns how many bytes it took.
    pub(super) fn gather(
        &mut self,
        side: Side,
        position: Position,
        bytes: &[u8],
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        let limit = cx.settings().max_head;
        let stream = self.stream_mut(side);
        let Some(message) = stream.message.as_deref_mut() else {
            // A head without a message cannot be; searching on is right whatever happened.
            stream.lose_sync();
            return 0;
        };
        let before = message.head.len();
        let room = bytes.len().min(limit.saturating_sub(before));
        if room == 0 {
            if self.end_at_blank_line(side, false, cx, sink) {
                return 0;
            }
            self.mark_loss(side, position.offset);
            self.drop_message(side, Unparsable::HeadTooLong, cx);
            return 0;
        }
        if !cx.make_head_room(message, room) {
            return self.refuse_for_memory(side, position, bytes.len(), cx, sink);
        }
        message.head.extend_from_slice(bytes.get(..room).unwrap_or_default());
        let mut scanned = stream.scanned as usize;
        let end = find_head_end(&message.head, &mut scanned);
        stream.scanned = u32::try_from(scanned).unwrap_or(u32::MAX);
        let mut used = room;
        if let Some(end) = end {
            let end = end.max(before);
            message.head.truncate(end);
            used = end - before;
        }
        cx.stats.parsed_bytes += used as u64;
        stream.next = position.offset + used as u64;
        if end.is_some() {
            self.read_head(side, cx, sink);
        }
        used
    }

    /// Where a head comes to no end, a line of nothing but blanks in it was meant to be that; what is behind it is read
    /// anew. Some receivers take such a line for the empty one (by RFC 9112, section 5.2, it continues the line before).
    ///
    /// No empty line is in what is read anew, either: heads that start in the first half of it end at such a line without
    /// being gathered, or reading many of them would be reading the same bytes for each. So will all, if `ended`.
    pub(super) fn end_at_blank_line(
        &mut self,
        side: Side,
        ended: bool,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> bool {
        let stream = self.stream_mut(side);
        let Some(message) = stream.message.as_deref_mut() else { return false };
        let Some(end) = find_blank_line(&message.head) else { return false };
        let rest = message.head.split_off(end);
        cx.charge(message);
        cx.stats.parsed_bytes = cx.stats.parsed_bytes.saturating_sub(rest.len() as u64);
        let offset = message.start.offset + end as u64;
        let position = Position { at: stream.at, offset, acked: (stream.acked > 0).then_some(stream.acked) };
        stream.next = offset;
        self.read_head(side, cx, sink);
        let until = if ended { u64::MAX } else { offset.saturating_add((rest.len() / 2) as u64) };
        let before = cx.endless.replace((side, until));
        self.take(side, position, &rest, cx, sink);
        cx.endless = before;
        true
    }

    /// A message's head is whole: reads it and sets what comes next.
    fn read_head(&mut self, side: Side, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let stream = self.stream_mut(side);
        let next = stream.next;
        let Some(mut message) = stream.message.take() else { return };
        message.head_end = message.start.offset + without_empty_line(&message.head) as u64;
        let kind = message.kind;
        let parsed = parse_head(kind, &mut message, cx.settings().max_headers);
        cx.charge(&mut message);
        if parsed.is_err() {
            stream.hold(message);
            self.mark_loss(side, next);
            self.drop_message(side, Unparsable::MalformedHead, cx);
            // Its end is known, so the next message may stand right here.
            self.stream_mut(side).state = State::Boundary;
            return;
        }
        self.begin_message(side, message, cx, sink);
    }

    /// A message's head has been read: what comes next follows from it.
    fn begin_message(&mut self, side: Side, message: Box<Message>, cx: &mut Context, sink: &mut impl ExchangeSink) {
        match message.kind {
            MessageKind::Request => self.begin_request(side, message, cx, sink),
            MessageKind::Response => self.begin_response(side, message, cx, sink),
        }
    }

    fn begin_request(&mut self, side: Side, mut message: Box<Message>, cx: &mut Context, sink: &mut impl ExchangeSink) {
        self.note_request(&mut message, cx);
        let (framing, flags) = frame(&message, Asked::Other);
        message.flags = message.flags.union(flags);
        // A client that waits for 100 (Continue) may not send its body at all.
        let doubtful = framing != Framing::Empty && message.header("expect").is_some();
        self.begin_body(side, message, framing, doubtful, cx, sink);
        if framing == Framing::Empty {
            self.complete(side, cx, sink);
        } else if !self.responses.is_empty() || self.stream(side.opposite()).in_body() {
            self.settle(false, cx, sink);
        }
    }

    /// Counts a request whose head could be read and gives it its number.
    pub(super) fn note_request(&mut self, message: &mut Message, cx: &mut Context) {
        cx.stats.messages += 1;
        cx.stats.pending_messages += 1;
        self.order.index = self.order.index.saturating_add(1);
        message.index = self.order.index;
        let last = self.order.last_request_acked;
        if let Some(acked) = message.start.acked
            && acked < last
            && last != u64::MAX
        {
            self.requests.lower_acked(acked);
        }
        let crossed = self.has_lost() && self.crosses(message);
        self.order.note_request(message, !self.requests.is_empty(), crossed);
    }

    fn begin_response(
        &mut self,
        side: Side,
        mut message: Box<Message>,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) {
        // 101 (Switching Protocols) ends its exchange; the other 1xx announce that a final response will come.
        if matches!(message.status, 100 | 102..=199) {
            cx.stats.interim += 1;
            let stream = self.stream_mut(side);
            stream.lossy |= message.after_loss;
            stream.begin_answer(&message);
            stream.state = State::Boundary;
            if message.status == 100 {
                self.note_continue(side.opposite(), &message);
            }
            cx.give_back(message);
            return;
        }
        cx.stats.messages += 1;
        cx.stats.pending_messages += 1;
        self.stream_mut(side).end_answer(&mut message);
        // Which request it answers says whether it has a body.
        let given_up = if self.responses.is_empty() { self.decide_early(&mut message, cx, sink) } else { None };
        let certain = message.match_state == MatchState::Matched || given_up.is_some();
        let asked = if message.match_state.has_request() {
            self.front_request().map_or(Asked::Other, Asked::by)
        } else {
            given_up.unwrap_or(Asked::Other)
        };
        let (framing, flags) = frame(&message, asked);
        message.flags = message.flags.union(flags);
        let switches = switches_protocol(&message, asked);
        if switches.is_some() {
            message.flags.insert(Flag::Upgraded);
        }
        self.begin_body(side, message, framing, !certain && framing != Framing::Empty, cx, sink);
        if framing == Framing::Empty {
            self.complete(side, cx, sink);
        }
        if let Some(protocol) = switches {
            self.switch_to(protocol, certain);
        }
    }

    /// The server asks for the body of the request in hand, if that is the one it had received: there will be one.
    fn note_continue(&mut self, client: Side, interim: &Message) {
        let asks_for = |request: &Message| interim.start.acked.is_some_and(|acked| acked >= request.head_end);
        let stream = self.stream_mut(client);
        if stream.reading().is_some_and(asks_for) {
            stream.doubtful = false;
        }
    }

    /// Sets a side to read the body of `message`.
    fn begin_body(
        &mut self,
        side: Side,
        mut message: Box<Message>,
        framing: Framing,
        doubtful: bool,
        cx: &Context,
        sink: &mut impl ExchangeSink,
    ) {
        // Memory for it is taken when its first byte comes: a body that is only promised costs nothing.
        let mut capturing = framing != Framing::Empty && wants_body(&message, cx);
        if capturing && !sink.wants_body(&self.heads(side, &message)) {
            message.flags.insert(Flag::BodyNotCaptured);
            capturing = false;
        }
        let stream = self.stream_mut(side);
        stream.capturing = capturing;
        stream.doubtful = doubtful;
        stream.state = match framing {
            // A body of no bytes: complete at once.
            Framing::Empty => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::START),
            Framing::UntilClose => State::UntilClose,
        };
        stream.hold(message);
    }

    /// What is known of the exchange that the message in hand belongs to.
    fn heads<'a>(&'a self, side: Side, message: &'a Message) -> Heads<'a> {
        match message.kind {
            MessageKind::Request => Heads { request: Some(message), response: None, client: side },
            MessageKind::Response => {
                let is_certain = message.match_state == MatchState::Matched;
                let request = if is_certain { self.front_request() } else { None };
                Heads { request, response: Some(message), client: side.opposite() }
            }
        }
    }

    /// A request was found for the response being read after its head: whether it has a body is known now.
    pub(super) fn reframe(&mut self, side: Side, asked: Asked, cx: &mut Context, sink: &mut impl ExchangeSink) {
        let stream = self.stream_mut(side);
        let doubtful = stream.doubtful;
        let Some(message) = stream.message.as_deref_mut() else { return };
        // A request that may yet turn out to be another's does not say that there is a body.
        stream.doubtful &= message.match_state == MatchState::Tentative;
        if asked == Asked::Other || frame(message, asked).0 != Framing::Empty {
            return;
        }
        if !doubtful {
            // What was taken for its body were other messages.
            let next = stream.next;
            self.mark_loss(side, next);
            self.cut(side, cx, sink);
            return;
        }
        let switches = switches_protocol(message, asked);
        if switches.is_some() {
            message.flags.insert(Flag::Upgraded);
        }
        let certain = message.match_state == MatchState::Matched;
        self.complete(side, cx, sink);
        if let Some(protocol) = switches {
            self.switch_to(protocol, certain);
        }
    }

    /// What follows on both sides is another protocol, or HTTP anew. Only where it is `certain` which request was answered is
    /// nothing hidden any more in front of what follows: its own request, and others before it, may be still to come.
    pub(super) fn switch_to(&mut self, protocol: Protocol, certain: bool) {
        self.fallback = Some(protocol);
        for stream in [&mut self.left, &mut self.right] {
            if stream.state == State::Search && stream.message.is_none() {
                stream.state = State::Boundary;
            }
            if certain && stream.state == State::Boundary {
                stream.lossy = false;
                (stream.hole, stream.hole_bytes, stream.due) = (u64::MAX, 0, u64::MAX);
                stream.hidden = false;
                stream.resynchronized = false;
            }
        }
    }

    /// Counts the message in hand as unparsable and searches for the next.
    pub(super) fn drop_message(&mut self, side: Side, reason: Unparsable, cx: &mut Context) {
        cx.stats.messages += 1;
        if let Some(count) = cx.stats.unparsable.get_mut(reason as usize) {
            *count += 1;
        }
        let stream = self.stream_mut(side);
        stream.lose_sync();
        if let Some(message) = stream.message.take() {
            stream.due = stream.due.min(message.start.offset);
            cx.give_back(message);
        }
    }

    /// There is no memory for the message in hand, or for one that starts here: it is counted, and `len` bytes from
    /// `position` on are passed over.
    pub(super) fn refuse_for_memory(
        &mut self,
        side: Side,
        position: Position,
        len: usize,
        cx: &mut Context,
        sink: &mut impl ExchangeSink,
    ) -> usize {
        self.mark_loss(side, position.offset);
        self.drop_message(side, Unparsable::Memory, cx);
        self.skip(side, len as u64, cx, sink);
        len
    }
}

/// What a connection changes to with this response, if it does.
pub(super) fn switches_protocol(response: &Message, asked: Asked) -> Option<Protocol> {
    if response.status == 101 {
        let upgrade = response.header("upgrade").unwrap_or_default();
        let is_http2 = upgrade.split(|byte| *byte == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(b"h2c"));
        return Some(if is_http2 { Protocol::Http2 } else { Protocol::Upgraded });
    }
    (asked == Asked::Connect && (200..=299).contains(&response.status)).then_some(Protocol::Tunnel)
}

/// The length of a head without the empty line that ends it.
fn without_empty_line(head: &[u8]) -> usize {
    let line = head.strip_suffix(b"\n").map_or(head, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    if line.ends_with(b"\n") || line.is_empty() { line.len() } else { head.len() }
}

/// Whether the settings ask for this message's body.
fn wants_body(message: &Message, cx: &Context) -> bool {
    if cx.settings().body_limit == 0 {
        return false;
    }
    match &cx.settings().body_types {
        BodyTypes::All => true,
        BodyTypes::Only(types) => {
            let value = message.header("content-type").unwrap_or_default();
            let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            types.iter().any(|wanted| matches_type(wanted.as_bytes(), media_type))
        }
    }
}

/// Whether `media_type` matches `wanted`: `type/subtype`, `type/*`, or `+suffix`.
fn matches_type(wanted: &[u8], media_type: &[u8]) -> bool {
    let starts = |prefix: &[u8]| media_type.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    match wanted {
        [b'+', ..] => media_type
            .len()
            .checked_sub(wanted.len())
            .and_then(|at| media_type.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(wanted)),
        [family @ .., b'*'] if family.ends_with(b"/") => starts(family),
        _ => media_type.eq_ignore_ascii_case(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Exchange;
    use crate::head::work;
    use crate::protocol::ClientHello;
    use crate::settings::Settings;

    struct Nothing;

    impl ExchangeSink for Nothing {
        fn exchange(&mut self, _: &Exchange<'_>) {}

        fn recognized(&mut self, _: Protocol, _: Option<&ClientHello>) {}
    }

    /// Bytes looked at for ends of heads, by length of what comes in pieces.
    fn work_per_byte(pattern: &str, piece: usize, max_head: usize) -> usize {
        let mut cx = Context::new(Settings { max_head, ..Settings::default() });
        let mut connection = Connection::new(Some(Side::Left));
        let bytes = pattern.repeat((6 * max_head).div_ceil(pattern.len()));
        work::take();
        let mut offset = 1;
        for piece in bytes.as_bytes().chunks(piece) {
            connection.data(Side::Left, Position { at: 1, offset, acked: Some(1) }, piece, &mut cx, &mut Nothing);
            offset += piece.len() as u64;
        }
        assert!(cx.stats().is_balanced(), "{:?}", cx.stats());
        connection.close(1, 0, &mut cx, &mut Nothing);
        work::take() / bytes.len()
    }

    #[test]
    fn heads_that_end_in_nothing_but_blank_lines_are_read_a_few_times_each() {
        for pattern in [
            "GET / HTTP/1.1\r\n \r\n",
            "GET / HTTP/1.1\n\t\n",
            "GET / HTTP/1.1\r\nA: b\r\n \r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n \r\nabc",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n \r\n1\r\nx\r\n0\r\n \r\n",
            "GET / HTTP/1.1\r\n \r\n \r\n \r\n",
        ] {
            for (piece, max_head) in [(1448, 16384), (1 << 20, 16384), (7, 4096)] {
                let work = work_per_byte(pattern, piece, max_head);
                assert!(work <= 6, "{pattern:?} in pieces of {piece}: {work} times");
            }
        }
    }

    #[test]
    fn media_types_match_whole_by_family_or_by_suffix() {
        assert!(matches_type(b"text/html", b"Text/HTML"));
        assert!(!matches_type(b"text/html", b"text/htmlx"));
        assert!(matches_type(b"text/*", b"text/plain"));
        assert!(!matches_type(b"text/*", b"textual/plain"));
        assert!(matches_type(b"+json", b"application/problem+JSON"));
        assert!(!matches_type(b"+json", b"application/json"));
        assert!(!matches_type(b"text/html", b""));
    }

    #[test]
    fn the_empty_line_is_not_part_of_the_head() {
        for (head, len) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], 16),
            (b"GET / HTTP/1.1\n\n", 15),
            (b"GET / HTTP/1.1\n\r\n", 15),
            (b"GET / HTTP/1.1\r\nHost: a", 23),
            (b"GET / HTTP/1.1\r\n", 16),
        ] {
            assert_eq!(without_empty_line(head), len, "{}", head.escape_ascii());
        }
    }
}
