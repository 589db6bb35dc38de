//! The PROXY protocol at the start of a connection: taken out of the stream before HTTP is read from it.
//!
//! Whether the stream begins with it is told by its content, which its first byte nearly always does. Bytes of which that is
//! not certain yet are kept (at most 107, as they came) and handed on unchanged where it turns out to be something else; so
//! nothing depends on how the stream was cut into segments.
//!
//! Of a connection whose handshake was not seen nobody knows whether what is seen first is its beginning: what looks like a
//! header there is taken out of either direction, in whatever pieces it comes, so that the request behind it is found, and not
//! believed. What is left of one that lost bytes goes on as it is, but by itself.

use decap::{Direction, Endpoint};
use reassembly::Position;

use crate::normalize::{Preface, ProxyVersion, V1_LONGEST, read_preface};

/// Where a connection stands with its preface.
#[derive(Debug, Default)]
pub struct Opening {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// There is none, or it lies behind.
    #[default]
    Over,
    /// What this direction begins with says.
    Begins(Direction),
    /// The beginning was not seen; of this direction it is known that what was seen first is no header.
    Joined(Option<Direction>),
    /// The same, once a header that comes in pieces may have begun: how both directions stand, each for itself.
    JoinedPieces(Box<Both>),
    /// Bytes are lost: at most so many may be left of a header's line.
    Torn(Direction, usize),
    /// It may be in these bytes.
    Unclear(Direction, Box<Kept>),
    /// The rest of a header, in bytes.
    Within(Direction, u64),
}

/// Both directions of a connection, each by itself.
#[derive(Debug, Default)]
struct Both {
    forward: Opening,
    reverse: Opening,
}

impl Both {
    const fn of(&self, direction: Direction) -> &Opening {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Reverse => &self.reverse,
        }
    }

    const fn of_mut(&mut self, direction: Direction) -> &mut Opening {
        match direction {
            Direction::Forward => &mut self.forward,
            Direction::Reverse => &mut self.reverse,
        }
    }
}

/// The first bytes of a direction, and how they came.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    /// Where each piece begins in the stream, and where it ends in `bytes`.
    pieces: Vec<(Position, usize)>,
}

impl Kept {
    /// The pieces in which the bytes came.
    pub fn pieces(&self) -> impl Iterator<Item = (Position, &[u8])> {
        let mut start = 0;
        self.pieces.iter().map(move |(position, end)| {
            let piece = self.bytes.get(start..*end).unwrap_or_default();
            start = *end;
            (*position, piece)
        })
    }
}

/// What is to be done with bytes of a connection that has just begun.
#[derive(Debug)]
pub enum Taken {
    /// They are the connection's: so are those kept before, if any, which go first.
    Passed(Option<Box<Kept>>),
    /// They may be a header's, and are kept.
    Kept,
    /// They are the connection's, but so many of them are what is left of a torn header: the rest begins behind them.
    Torn(usize),
    /// This many of all that came so far, `before` of them in earlier calls, belong to the header; the rest of the bytes are
    /// the connection's.
    Header {
        /// What it says, if it was found just now.
        found: Option<Proxied>,
        /// How many bytes of this call belong to it.
        len: usize,
        /// How many bytes before them do that were kept.
        before: usize,
    },
}

/// What a PROXY protocol header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Its version.
    pub version: ProxyVersion,
    /// The ends of the connection that the sender speaks for, the client's first, if it speaks for one.
    pub addresses: Option<(Endpoint, Endpoint)>,
}

impl Opening {
    /// The opening of a connection of which nothing is looked for.
    pub const NONE: Self = Self { state: State::Over };

    /// The opening of a connection whose client sends in this direction; `None`: its beginning was not seen.
    #[must_use]
    pub const fn new(client: Option<Direction>) -> Self {
        Self {
            state: match client {
                Some(direction) => State::Begins(direction),
                None => State::Joined(None),
            },
        }
    }

    /// Whether the bytes of a direction are the connection's as they come.
    #[inline]
    #[must_use]
    pub fn is_over(&self, direction: Direction) -> bool {
        match &self.state {
            State::Over => true,
            State::Joined(looked_at) => *looked_at == Some(direction),
            State::JoinedPieces(both) => both.of(direction).is_over(direction),
            State::Begins(client) | State::Unclear(client, _) | State::Within(client, _) | State::Torn(client, _) => {
                *client != direction
            }
        }
    }

    /// Takes the next bytes of a direction for which it [is not over](Self::is_over).
    #[must_use]
    pub fn data(&mut self, direction: Direction, position: Position, bytes: &[u8]) -> Taken {
        let (direction, mut kept) = match std::mem::take(&mut self.state) {
            State::Over => return Taken::Passed(None),
            State::Within(direction, left) => {
                let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                self.within(direction, left - len as u64);
                return Taken::Header { found: None, len, before: 0 };
            }
            State::Torn(_, room) => return rest_of_v1(bytes, room).map_or(Taken::Passed(None), Taken::Torn),
            State::Joined(looked_at) => {
                match read_preface(bytes) {
                    Preface::Found(header) => {
                        let len = header.len.min(bytes.len());
                        self.within(direction, (header.len - len) as u64);
                        let found = Proxied { version: header.version, addresses: None };
                        return Taken::Header { found: Some(found), len, before: 0 };
                    }
                    Preface::NeedMore => {
                        let other = if looked_at.is_none() { State::Begins(direction.opposite()) } else { State::Over };
                        let mut both = Box::<Both>::default();
                        both.of_mut(direction).state = State::Begins(direction);
                        both.of_mut(direction.opposite()).state = other;
                        self.state = State::JoinedPieces(both);
                        return self.data(direction, position, bytes);
                    }
                    Preface::NotProxy if looked_at.is_none() => self.state = State::Joined(Some(direction)),
                    Preface::NotProxy => {}
                }
                return Taken::Passed(None);
            }
            State::JoinedPieces(mut both) => {
                let mut taken = both.of_mut(direction).data(direction, position, bytes);
                if let Taken::Header { found: Some(found), .. } = &mut taken {
                    found.addresses = None;
                    // What is kept of the other direction is handed on with what comes of it next, or at its end.
                    let other = both.of_mut(direction.opposite());
                    if !matches!(other.state, State::Unclear(..)) {
                        *other = Self::NONE;
                    }
                }
                self.state = State::JoinedPieces(both);
                return taken;
            }
            State::Begins(direction) => match read_preface(bytes) {
                // The usual case.
                Preface::NotProxy => return Taken::Passed(None),
                _ => (direction, Box::default()),
            },
            State::Unclear(direction, kept) => (direction, kept),
        };
        let before = kept.bytes.len();
        kept.bytes.extend_from_slice(bytes);
        match read_preface(&kept.bytes) {
            Preface::NotProxy => {
                kept.bytes.truncate(before);
                Taken::Passed((before > 0).then_some(kept))
            }
            Preface::NeedMore => {
                kept.pieces.push((position, kept.bytes.len()));
                self.state = State::Unclear(direction, kept);
                Taken::Kept
            }
            Preface::Found(header) => {
                // Never told before the header's last byte of what is needed, which lies in these bytes.
                let len = header.len.saturating_sub(before).min(bytes.len());
                self.within(direction, (header.len - (before + len).min(header.len)) as u64);
                let found = Proxied { version: header.version, addresses: header.addresses };
                Taken::Header { found: Some(found), len, before }
            }
        }
    }

    /// The next `len` bytes of a direction for which it [is not over](Self::is_over) are not there: how many of them belong to
    /// a header, and what was kept and is the connection's.
    #[must_use]
    pub fn missing(&mut self, direction: Direction, len: u64) -> (u64, Option<Box<Kept>>) {
        match std::mem::take(&mut self.state) {
            State::Over | State::Torn(..) => (0, None),
            joined @ State::Joined(_) => {
                self.state = joined;
                (0, None)
            }
            State::JoinedPieces(mut both) => {
                let missed = both.of_mut(direction).missing(direction, len);
                self.state = State::JoinedPieces(both);
                missed
            }
            State::Begins(direction) => {
                self.torn(direction, len);
                (0, None)
            }
            State::Unclear(direction, kept) => {
                self.torn(direction, len.saturating_add(kept.bytes.len() as u64));
                (0, Some(kept))
            }
            State::Within(direction, left) => {
                let taken = left.min(len);
                self.within(direction, left - taken);
                (taken, None)
            }
        }
    }

    /// Nothing more comes of a direction: what was kept of it is the connection's.
    #[must_use]
    pub fn end(&mut self, direction: Direction) -> Option<Box<Kept>> {
        if self.is_over(direction) {
            return None;
        }
        match std::mem::take(&mut self.state) {
            State::Unclear(_, kept) => Some(kept),
            // The other direction may still begin.
            joined @ State::Joined(_) => {
                self.state = joined;
                None
            }
            State::JoinedPieces(mut both) => {
                let kept = both.of_mut(direction).end(direction);
                self.state = State::JoinedPieces(both);
                kept
            }
            _ => None,
        }
    }

    /// Of what may be a header, `len` bytes are gone or went on as they are.
    fn torn(&mut self, direction: Direction, len: u64) {
        let left = usize::try_from(len).ok().and_then(|len| V1_LONGEST.checked_sub(len)).filter(|left| *left >= 2);
        if let Some(left) = left {
            self.state = State::Torn(direction, left);
        }
    }

    fn within(&mut self, direction: Direction, left: u64) {
        if left > 0 {
            self.state = State::Within(direction, left);
        }
    }
}

/// The length of what is left of a header's line, its end included, if this can be that.
fn rest_of_v1(bytes: &[u8], room: usize) -> Option<usize> {
    let window = bytes.get(..bytes.len().min(room))?;
    let end = memchr::memmem::find(window, b"\r\n")?;
    let is_of_line = |byte: &u8| byte.is_ascii_hexdigit() || b" .:PROXYTCUNKW".contains(byte);
    window.get(..end)?.iter().all(is_of_line).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use decap::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const OFFSET: u64 = 1 << 32;

    fn at(offset: usize) -> Position {
        let offset = OFFSET + offset as u64;
        Position { at: Timestamp::from_nanos(offset), offset, acked: None }
    }

    /// What a connection is given of a stream that comes in pieces which end at `cuts`: bytes and where they began; and how
    /// many bytes were taken out.
    fn pass(stream: &[u8], cuts: &[usize], client: Option<Direction>) -> (Vec<(u64, u8)>, usize, Option<Proxied>) {
        let mut opening = Opening::new(client);
        assert_eq!(opening.is_over(Direction::Reverse), client.is_some());
        let (mut passed, mut taken_out, mut found_once) = (Vec::new(), 0, None);
        let mut pass = |position: Position, bytes: &[u8]| {
            passed.extend(bytes.iter().enumerate().map(|(n, byte)| (position.offset - OFFSET + n as u64, *byte)));
        };
        let mut start = 0;
        for end in cuts.iter().copied().chain([stream.len()]) {
            let bytes = &stream[start..end];
            if bytes.is_empty() {
                continue;
            }
            if opening.is_over(Direction::Forward) {
                pass(at(start), bytes);
            } else {
                match opening.data(Direction::Forward, at(start), bytes) {
                    Taken::Torn(_) => unreachable!("nothing is lost"),
                    Taken::Passed(kept) => {
                        kept.iter().flat_map(|kept| kept.pieces()).for_each(|(at, bytes)| pass(at, bytes));
                        pass(at(start), bytes);
                    }
                    Taken::Kept => {}
                    Taken::Header { found, len, before } => {
                        assert!(found.is_none() || found_once.is_none(), "said once");
                        found_once = found_once.or(found);
                        taken_out += len + before;
                        pass(at(start + len), &bytes[len..]);
                    }
                }
            }
            start = end;
        }
        opening.end(Direction::Forward).iter().flat_map(|kept| kept.pieces()).for_each(|(at, bytes)| pass(at, bytes));
        (passed, taken_out, found_once)
    }

    fn streams() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let v2 = {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x20".to_vec();
            header.extend([192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb]);
            header.extend([4, 0, 17]);
            header.extend([7; 17]);
            header
        };
        let header = prop_oneof![
            Just((b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(), 45)),
            Just((b"PROXY UNKNOWN\r\n".to_vec(), 15)),
            Just((v2, 48)),
            Just((b"PROXY /path HTTP/1.1\r\n".to_vec(), 0)),
            Just((b"PRO".to_vec(), 0)),
            Just((b"\r\n\r\n".to_vec(), 0)),
            Just((Vec::new(), 0)),
        ];
        let rest = prop_oneof![Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..40)];
        (header, rest).prop_map(|((header, len), rest)| ([header, rest].concat(), len))
    }

    proptest! {
        /// However a stream is cut, the same bytes are taken out, the others passed at their places, and none is lost.
        #[test]
        fn cuts_do_not_matter(
            (stream, len) in streams(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            from_start: bool,
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            let client = from_start.then_some(Direction::Forward);
            let whole = pass(&stream, &[], client);
            prop_assert_eq!(&pass(&stream, &cuts, client), &whole);
            prop_assert_eq!(&pass(&stream, &(0..stream.len()).collect::<Vec<_>>(), client), &whole);
            let (passed, taken_out, found) = whole;
            // What follows a prefix of a header at random may complete none.
            prop_assert_eq!(taken_out, len);
            prop_assert_eq!(found.is_some(), len > 0);
            let expected: Vec<_> = stream.iter().enumerate().skip(len).map(|(n, byte)| (n as u64, *byte)).collect();
            prop_assert_eq!(passed, expected);
        }
    }

    #[test]
    fn what_is_lost_of_a_header_belongs_to_it() {
        let mut opening = Opening::new(Some(Direction::Forward));
        let mut start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x01\x0c".to_vec();
        start.extend([192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb]);
        let Taken::Header { found: Some(_), len: 28, before: 0 } = opening.data(Direction::Forward, at(0), &start)
        else {
            panic!()
        };
        // Of 256 bytes of extensions, 200 are lost, and then 100 bytes with the rest.
        assert!(matches!(opening.missing(Direction::Forward, 200), (200, None)));
        assert!(!opening.is_over(Direction::Forward));
        assert!(matches!(opening.missing(Direction::Forward, 100), (56, None)));
        assert!(opening.is_over(Direction::Forward));
    }

    #[test]
    fn what_is_left_of_a_torn_line_is_told_from_what_is_behind_it() {
        let torn = || {
            let mut opening = Opening::new(Some(Direction::Forward));
            assert!(matches!(opening.missing(Direction::Forward, 20), (0, None)));
            opening
        };
        for (rest, expected) in [
            (&b"8.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n"[..], Some(22)),
            (b"\r\nGET / HTTP/1.1\r\n", Some(2)),
            (b"GET / HTTP/1.1\r\n", None),
            (b"8.51.100.7 56324 443", None),
            (&[&[b'1'; 86][..], b"\r\n"].concat(), None),
        ] {
            match (torn().data(Direction::Forward, at(20), rest), expected) {
                (Taken::Torn(len), Some(expected)) => assert_eq!(len, expected),
                (Taken::Passed(None), None) => {}
                (taken, _) => panic!("{taken:?} of {rest:?}"),
            }
        }
        // Only of what was lost within the first 107 bytes.
        let mut opening = Opening::new(Some(Direction::Forward));
        assert!(matches!(opening.missing(Direction::Forward, 106), (0, None)));
        assert!(opening.is_over(Direction::Forward));
        let mut opening = Opening::new(Some(Direction::Forward));
        assert!(matches!(opening.data(Direction::Forward, at(0), b"PROXY"), Taken::Kept));
        let (0, Some(kept)) = opening.missing(Direction::Forward, 1) else { panic!() };
        assert_eq!(kept.pieces().collect::<Vec<_>>(), [(at(0), &b"PROXY"[..])]);
        let taken = opening.data(Direction::Forward, at(6), b"TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET");
        assert!(matches!(taken, Taken::Torn(26)), "{taken:?}");
        assert!(opening.is_over(Direction::Forward));
    }

    /// Whoever sends such bytes in the midst of a connection must not become somebody else by that.
    #[test]
    fn a_header_of_a_connection_that_was_joined_is_taken_out_and_not_believed() {
        let header = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
        let stream = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
        for direction in [Direction::Forward, Direction::Reverse] {
            let other = if direction == Direction::Forward { Direction::Reverse } else { Direction::Forward };
            let mut opening = Opening::new(None);
            assert!(!opening.is_over(direction) && !opening.is_over(other));
            assert!(matches!(opening.data(other, at(0), b"HTTP/1.1 200 OK\r\n"), Taken::Passed(None)));
            assert!(opening.is_over(other));
            let Taken::Header { found: Some(found), len: 45, before: 0 } = opening.data(direction, at(0), &stream)
            else {
                panic!()
            };
            assert_eq!(found.addresses, None);
            assert!(opening.is_over(direction) && opening.is_over(other));
        }
        // In pieces, while the other direction says something else, or the same.
        for direction in [Direction::Forward, Direction::Reverse] {
            let other = direction.opposite();
            let mut opening = Opening::new(None);
            assert!(matches!(opening.data(direction, at(0), &stream[..7]), Taken::Kept));
            assert!(!opening.is_over(direction) && !opening.is_over(other));
            assert!(matches!(opening.data(other, at(0), b"PRO"), Taken::Kept));
            assert!(matches!(opening.data(other, at(3), b"P"), Taken::Passed(Some(_))));
            assert!(!opening.is_over(direction) && opening.is_over(other));
            let taken = opening.data(direction, at(7), &stream[7..]);
            let Taken::Header { found: Some(found), len: 38, before: 7 } = taken else { panic!("{taken:?}") };
            assert_eq!(found.addresses, None);
            assert!(opening.is_over(direction) && opening.is_over(other));
        }
        // What is kept of the other direction when a header is found is not lost: it comes out with what follows.
        for direction in [Direction::Forward, Direction::Reverse] {
            let other = direction.opposite();
            for ends in [false, true] {
                let mut opening = Opening::new(None);
                assert!(matches!(opening.data(other, at(0), b"\r\n"), Taken::Kept));
                let taken = opening.data(direction, at(0), &stream);
                assert!(matches!(taken, Taken::Header { found: Some(_), len: 45, before: 0 }), "{taken:?}");
                assert!(opening.is_over(direction) && !opening.is_over(other));
                let kept = if ends {
                    opening.end(other)
                } else {
                    match opening.data(other, at(2), b"HTTP/1.1 200 OK\r\n") {
                        Taken::Passed(kept) => kept,
                        taken => panic!("{taken:?}"),
                    }
                };
                let kept = kept.expect("two bytes");
                assert_eq!(kept.pieces().collect::<Vec<_>>(), [(at(0), &b"\r\n"[..])]);
                assert!(opening.is_over(other) && opening.end(other).is_none());
            }
        }
        // What was kept comes out in the end.
        let mut opening = Opening::new(None);
        assert!(matches!(opening.data(Direction::Reverse, at(0), b"PRO"), Taken::Kept));
        assert!(opening.end(Direction::Forward).is_none());
        let kept = opening.end(Direction::Reverse).expect("three bytes");
        assert_eq!(kept.pieces().collect::<Vec<_>>(), [(at(0), &b"PRO"[..])]);
        assert!(opening.end(Direction::Reverse).is_none());
    }
}
