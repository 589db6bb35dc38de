//! The state machine.

use crate::config::Config;
use crate::flow::{Direction, FlowKey};
use crate::fragments::{Fate, Fragments};
use crate::frame::Frame;
use crate::plain::{self, Plain};
use crate::reason::SkipReason;
use crate::rules::Rules;
use crate::segment::Segment;
use crate::stats::Stats;
use crate::time::Timestamp;
use crate::tunnel::{MAX_HOPS, TunnelPath};
use crate::walk::{Stop, TcpHeader, Walk};

/// How many datagrams one frame may complete, one inside the other. More are [`SkipReason::TooDeep`].
const MAX_JOINS: usize = MAX_HOPS;

/// What became of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// It carries a TCP segment (or completed the datagram that does).
    Segment(Segment<'a>),
    /// It is an IP fragment; its datagram is not complete.
    Held,
    /// It gives no segment.
    Skipped(SkipReason),
}

/// Takes frames apart. One per capture source; holds IP fragments and scratch space, nothing else.
#[derive(Debug)]
pub struct Decapsulator {
    config: Config,
    rules: Rules,
    stats: Stats,
    path: TunnelPath,
    fragments: Fragments,
    /// The datagram last joined from fragments. Part of the fragments' budget.
    joined: Vec<u8>,
}

/// Where a frame led.
enum End {
    /// To a segment, in the frame or in the joined datagram.
    Tcp {
        header: TcpHeader,
        key: FlowKey,
        direction: Direction,
        ip_id: u16,
        is_joined: bool,
    },
    Held,
    Skipped(SkipReason),
}

impl Decapsulator {
    /// A decapsulator with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            rules: Rules::new(&config),
            stats: Stats::default(),
            path: TunnelPath::default(),
            fragments: Fragments::new(config.fragment_memory, config.fragment_timeout),
            joined: Vec::new(),
            config,
        }
    }

    /// Takes a frame apart.
    // Always inlined: a segment has a dozen fields, and to hand it over through memory costs as much as to find it.
    #[inline(always)]
    pub fn push<'a>(&'a mut self, frame: Frame<'a>) -> Verdict<'a> {
        self.path.clear();
        self.fragments.advance(frame.at);
        self.stats.frames += 1;
        self.stats.bytes += frame.data.len() as u64;
        self.stats.truncated_frames += u64::from(frame.wire_len as usize > frame.data.len());
        match self.walk(&frame) {
            End::Tcp { header, key, direction, ip_id, is_joined } => {
                self.stats.segments += 1;
                self.stats.missing_bytes += u64::from(header.missing);
                let bytes = if is_joined { &self.joined[..] } else { frame.data };
                Verdict::Segment(Segment {
                    at: frame.at,
                    key,
                    direction,
                    seq: header.seq,
                    ack: header.ack,
                    flags: header.flags,
                    window: header.window,
                    ip_id,
                    payload: bytes.get(header.start..header.end).unwrap_or_default(),
                    missing: header.missing,
                    path: &self.path,
                })
            }
            // Counted where it is held: the count goes down again there, too.
            End::Held => Verdict::Held,
            End::Skipped(reason) => {
                self.stats.skip(reason, 1);
                Verdict::Skipped(reason)
            }
        }
    }

    /// Gives up datagrams that have waited longer than [`Config::fragment_timeout`].
    ///
    /// Never changes which segments come out, only when memory is given back and when the ledger moves fragments from
    /// held to skipped. (Unless `now` is ahead of frames still to come: packet time does not run backwards here.)
    pub fn tick(&mut self, now: Timestamp) {
        self.fragments.advance(now);
        self.fragments.expire(&mut self.stats);
    }

    /// Gives up every datagram still waiting: the input has ended.
    pub fn finish(&mut self) {
        self.fragments.finish(&mut self.stats);
    }

    /// The counts so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes allocated for fragments now; at most [`Config::fragment_memory`].
    #[must_use]
    pub fn memory(&self) -> usize {
        self.fragments.memory()
    }

    #[inline(always)]
    fn walk(&mut self, frame: &Frame<'_>) -> End {
        if let Some(Plain { header, addresses, ip_id }) = plain::read(frame) {
            let TcpHeader { source_port, destination_port, .. } = header;
            let (key, direction) = FlowKey::of(addresses, source_port, destination_port, self.rules.base_domain);
            return End::Tcp { header, key, direction, ip_id, is_joined: false };
        }
        self.walk_through(frame)
    }

    /// The way through any frame. Apart, so that the short one keeps its registers.
    #[inline(never)]
    fn walk_through(&mut self, frame: &Frame<'_>) -> End {
        let mut walk = Walk::new(frame, &self.rules, &mut self.path, &mut self.stats);
        match walk.run(frame.data) {
            Ok(Stop::Tcp) => end(&walk, frame.data, false),
            Ok(Stop::Fragment) => join(walk, frame, &mut self.fragments, &mut self.joined),
            Err(reason) => End::Skipped(reason),
        }
    }
}

/// The end at a TCP header.
#[inline]
fn end(walk: &Walk<'_>, bytes: &[u8], is_joined: bool) -> End {
    match walk.tcp(bytes) {
        Ok(header) => {
            let (key, direction) = walk.flow(header.source_port, header.destination_port);
            End::Tcp { header, key, direction, ip_id: walk.ip_id(), is_joined }
        }
        Err(reason) => End::Skipped(reason),
    }
}

/// Goes on from a fragment: holds it, or walks through the datagram that it completes, again and again if need be.
///
/// `joined` holds the bytes from the first completed datagram on. A fragment inside it is copied away before the next
/// datagram is written over it.
#[inline(never)]
fn join(mut walk: Walk<'_>, frame: &Frame<'_>, fragments: &mut Fragments, joined: &mut Vec<u8>) -> End {
    for joins in 0..=MAX_JOINS {
        let (key, fragment) = walk.fragment(if joins == 0 { frame.data } else { joined });
        let fate = match fragments.push(frame.at, key, &fragment, walk.stats()) {
            Ok(slot) => fragments.join(slot, joined, walk.stats()),
            Err(fate) => fate,
        };
        match fate {
            Fate::Held => return End::Held,
            Fate::Skipped(reason) => return End::Skipped(reason),
            Fate::Joined { protocol, wire_len } => walk.rejoin(protocol, joined.len(), wire_len),
        }
        match walk.run(joined) {
            Ok(Stop::Tcp) => return end(&walk, joined, true),
            Ok(Stop::Fragment) => {}
            Err(reason) => return End::Skipped(reason),
        }
    }
    End::Skipped(SkipReason::TooDeep)
}
