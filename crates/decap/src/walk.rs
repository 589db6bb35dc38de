//! The way through a frame: a loop over "what is the next header".
//!
//! Only offsets travel. The bytes are passed in for each stretch, so a datagram joined from fragments, which lies in
//! another buffer, is walked on by the same code with the same state.
//!
//! Every header moves the position forward or ends the walk, and joining is limited per frame, so the work is bounded
//! by the frame's length.

use etherparse::TcpHeaderSlice;

use crate::datagram::Fragment;
use crate::flow::{AddressPair, Direction, Domain, FlowKey};
use crate::fragments::FragmentKey;
use crate::frame::{Frame, LinkType};
use crate::ip::{self, Part};
use crate::reason::SkipReason;
use crate::rules::Rules;
use crate::segment::TcpFlags;
use crate::seq::SeqNum;
use crate::stats::Stats;
use crate::step::{Mark, Next, Step, Stepped, protocol};
use crate::tunnel::{TunnelHop, TunnelId, TunnelKind, TunnelPath};
use crate::udp::udp;
use crate::view::View;
use crate::{ethernet, extension, gre, link, mpls, nsh, ppp, tags, wlan};

/// Where a stretch of the walk ended. What there is to know of it is asked of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At a TCP header.
    Tcp,
    /// Behind the headers of a fragment.
    Fragment,
}

/// A TCP header, and its payload as offsets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpHeader {
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) seq: SeqNum,
    pub(crate) ack: SeqNum,
    pub(crate) flags: TcpFlags,
    pub(crate) window: u16,
    /// Where the payload starts.
    pub(crate) start: usize,
    /// Where its captured bytes end.
    pub(crate) end: usize,
    /// How many bytes of it were not captured.
    pub(crate) missing: u32,
}

/// What was learnt on the way so far.
#[derive(Debug)]
pub(crate) struct Walk<'s> {
    rules: &'s Rules,
    path: &'s mut TunnelPath,
    stats: &'s mut Stats,
    next: Next,
    /// Where the next header starts.
    at: usize,
    /// Where the captured bytes of the current layer end.
    end: usize,
    /// Where the current layer ended on the wire; at least `end`.
    wire_end: usize,
    /// The addresses of the innermost IP header; unspecified behind an inner Ethernet header.
    addresses: AddressPair,
    /// The identification of the innermost IP header.
    ip_id: u16,
    /// The address space of the innermost addresses.
    domain: Domain,
    /// Which part of its datagram the last fragment is.
    part: Part,
    is_tagged: bool,
}

impl<'s> Walk<'s> {
    /// Before the first header of a frame.
    #[inline]
    pub(crate) fn new(frame: &Frame<'_>, rules: &'s Rules, path: &'s mut TunnelPath, stats: &'s mut Stats) -> Self {
        let end = frame.data.len();
        Self {
            rules,
            path,
            stats,
            next: Next::Link(frame.link),
            at: 0,
            end,
            wire_end: end.max(frame.wire_len as usize),
            addresses: AddressPair::UNSPECIFIED,
            ip_id: 0,
            domain: rules.base_domain,
            part: Part::default(),
            is_tagged: false,
        }
    }

    /// Continues at the start of a datagram that was joined from fragments, `captured` bytes of which are there.
    pub(crate) fn rejoin(&mut self, protocol: u8, captured: usize, wire_len: usize) {
        self.next = Next::Protocol(protocol);
        self.at = 0;
        self.end = captured;
        self.wire_end = wire_len.max(captured);
    }

    /// The counts that this walk adds to.
    pub(crate) fn stats(&mut self) -> &mut Stats {
        self.stats
    }

    /// The fragment that the walk stopped behind, in the bytes that it walked through; and its datagram.
    pub(crate) fn fragment<'b>(&self, bytes: &'b [u8]) -> (FragmentKey, Fragment<'b>) {
        let protocol = match self.next {
            Next::Protocol(protocol) => protocol,
            // The walk stops at fragments only behind an IP header, whose protocol is next.
            _ => protocol::FRAGMENT,
        };
        let key = FragmentKey {
            addresses: self.addresses,
            domain: self.domain,
            id: self.part.id,
            protocol: if self.addresses.is_v4 { protocol } else { 0 },
        };
        let view = self.view(bytes);
        let fragment = Fragment {
            offset: self.part.offset,
            more: self.part.more,
            protocol,
            wire_len: u32::try_from(view.wire_len).unwrap_or(u32::MAX),
            bytes: view.bytes,
        };
        (key, fragment)
    }

    /// The flow of the segment that the walk stopped at, whose ports are these.
    #[inline]
    pub(crate) fn flow(&self, source_port: u16, destination_port: u16) -> (FlowKey, Direction) {
        FlowKey::of(self.addresses, source_port, destination_port, self.domain)
    }

    /// The identification of the innermost IP header.
    pub(crate) const fn ip_id(&self) -> u16 {
        self.ip_id
    }

    /// What is left of the current layer.
    #[inline]
    fn view<'b>(&self, bytes: &'b [u8]) -> View<'b> {
        View {
            bytes: bytes.get(self.at..self.end).unwrap_or_default(),
            wire_len: self.wire_end.saturating_sub(self.at),
        }
    }

    /// Walks on through `bytes`.
    #[inline]
    pub(crate) fn run(&mut self, bytes: &[u8]) -> Result<Stop, SkipReason> {
        loop {
            let view = self.view(bytes);
            let step = match self.next {
                Next::Ip => {
                    if self.ip(view)? {
                        return Ok(Stop::Fragment);
                    }
                    if self.next == Next::Protocol(protocol::TCP) {
                        return Ok(Stop::Tcp);
                    }
                    continue;
                }
                Next::Protocol(protocol::TCP) => return Ok(Stop::Tcp),
                Next::Protocol(protocol::FRAGMENT) if self.is_v6() => {
                    if self.fragment_header(view)? {
                        return Ok(Stop::Fragment);
                    }
                    continue;
                }
                Next::Link(LinkType::Ethernet) | Next::Ethernet => ethernet::ethernet(view)?,
                other => self.other(other, view)?,
            };
            self.next = step.next;
            self.at += step.len;
            if step.mark != Mark::None {
                self.note(step.mark)?;
            }
        }
    }

    /// Reads any other header. Apart, so that the common ones stay in registers.
    #[inline(never)]
    fn other(&self, next: Next, view: View<'_>) -> Stepped {
        match next {
            Next::Link(link) => link::start(link, view),
            Next::Ethernet => ethernet::ethernet(view),
            Next::EtherType(number) => tags::tag(number, view),
            // Read by the walk itself, as is TCP: it changes more than the position.
            Next::Ip => Err(SkipReason::MalformedIp),
            Next::Protocol(number) => self.protocol(number, view),
            Next::Ppp => ppp::ppp(view),
            Next::Mpls => mpls::mpls(view),
            Next::Nsh => nsh::nsh(view),
            Next::Wlan => wlan::wlan(view),
        }
    }

    const fn is_v6(&self) -> bool {
        !self.addresses.is_v4
    }

    /// Enters an IP packet: from here on its length counts. Whether it is a fragment.
    #[inline]
    fn ip(&mut self, view: View<'_>) -> Result<bool, SkipReason> {
        let header = match view.nibble() {
            Some(4) => ip::v4(view)?,
            Some(6) => ip::v6(view)?,
            Some(_) => return Err(SkipReason::MalformedIp),
            None => return Err(view.lacking(1, SkipReason::MalformedIp)),
        };
        self.addresses = header.addresses;
        self.ip_id = header.id;
        self.wire_end = self.at + header.packet_len;
        self.end = self.end.min(self.wire_end);
        self.at += header.len;
        self.next = Next::Protocol(header.protocol);
        match header.part() {
            None => Ok(false),
            Some(part) => {
                self.part = part;
                Ok(true)
            }
        }
    }

    /// Reads an IPv6 fragment header. Whether it makes a fragment; if not (RFC 6946), it is walked over.
    fn fragment_header(&mut self, view: View<'_>) -> Result<bool, SkipReason> {
        const LEN: usize = 8;
        let Ok(header) = etherparse::Ipv6FragmentHeaderSlice::from_slice(view.bytes) else {
            return Err(view.lacking(LEN, SkipReason::MalformedIp));
        };
        self.at += LEN;
        self.next = Next::Protocol(header.next_header().0);
        self.part = Part {
            offset: u32::from(header.fragment_offset().value()) * 8,
            more: header.more_fragments(),
            id: header.identification(),
        };
        Ok(header.is_fragmenting_payload())
    }

    /// Reads what an IP protocol number announces, except TCP and fragments.
    fn protocol(&self, number: u8, view: View<'_>) -> Stepped {
        let is_v6 = self.is_v6();
        match number {
            protocol::UDP => udp(view, self.rules),
            protocol::GRE => gre::gre(view),
            protocol::IPV4 => ip_in_ip(view, 4, if is_v6 { TunnelKind::Ip4InIp6 } else { TunnelKind::Ip4InIp4 }),
            protocol::IPV6 => ip_in_ip(view, 6, if is_v6 { TunnelKind::Ip6InIp6 } else { TunnelKind::Ip6InIp4 }),
            protocol::AUTHENTICATION => extension::authentication(view),
            protocol::ROUTING if is_v6 => extension::routing(view),
            protocol::HOP_BY_HOP
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6
                if is_v6 =>
            {
                extension::options(view)
            }
            protocol::ETHER_IP => ether_ip(view),
            protocol::ETHERNET => Ok(Step::tunnel(TunnelKind::EtherIp, TunnelId::None, Next::Ethernet, 0)),
            protocol::MPLS => Ok(Step::tunnel(TunnelKind::MplsInIp, TunnelId::None, Next::Mpls, 0)),
            protocol::ICMP | protocol::ICMPV6 => Err(SkipReason::Icmp),
            protocol::SCTP => Err(SkipReason::Sctp),
            protocol::ESP => Err(SkipReason::Esp),
            _ => Err(SkipReason::OtherIpProtocol),
        }
    }

    /// Reads the TCP header that the walk stopped at (RFC 9293, section 3.1).
    #[inline]
    pub(crate) fn tcp(&self, bytes: &[u8]) -> Result<TcpHeader, SkipReason> {
        let view = self.view(bytes);
        let Ok(header) = TcpHeaderSlice::from_slice(view.bytes) else {
            return Err(tcp_fault(view));
        };
        Ok(TcpHeader {
            source_port: header.source_port(),
            destination_port: header.destination_port(),
            seq: SeqNum(header.sequence_number()),
            ack: SeqNum(header.acknowledgment_number()),
            // The byte as a whole: one load in place of eight questions.
            flags: TcpFlags(view.u8(13, SkipReason::MalformedTcp)?),
            window: header.window_size(),
            start: self.at + header.slice().len(),
            end: self.end,
            missing: u32::try_from(self.wire_end - self.end).unwrap_or(u32::MAX),
        })
    }

    /// Notes down what a header was.
    fn note(&mut self, mark: Mark) -> Result<(), SkipReason> {
        match mark {
            Mark::None => {}
            Mark::Vlan(id) => {
                if !self.is_tagged {
                    self.is_tagged = true;
                    self.stats.vlan_tagged += 1;
                }
                // A tag with id 0 has a priority only.
                if id != 0 {
                    // Tags beyond those that fit still separate flows, if tags do.
                    let _ = self.path.vlans.try_push(id);
                    self.domain = self.rules.behind_vlan(self.domain, id);
                }
            }
            Mark::Hop(kind, id) => {
                if self.path.hops.len() >= self.rules.max_depth {
                    return Err(SkipReason::TooDeep);
                }
                let (source, destination) = self.addresses.to_ip();
                let hop = TunnelHop { kind, source, destination, id };
                self.domain = self.rules.inside(self.domain, &hop);
                self.stats.tunnel(kind);
                // Fits: the depth is never more than the path's capacity.
                let _ = self.path.hops.try_push(hop);
                if self.next == Next::Ethernet {
                    self.addresses = AddressPair::UNSPECIFIED;
                }
            }
            Mark::Destination(address) => self.addresses.destination = u128::from_be_bytes(address),
        }
        Ok(())
    }
}

/// IP in IP: nothing but the inner header, whose version has to be the announced one.
fn ip_in_ip(view: View<'_>, version: u8, kind: TunnelKind) -> Stepped {
    match view.nibble() {
        Some(nibble) if nibble == version => Ok(Step::tunnel(kind, TunnelId::None, Next::Ip, 0)),
        Some(_) => Err(SkipReason::MalformedTunnel),
        None => Err(view.lacking(1, SkipReason::MalformedTunnel)),
    }
}

/// Ethernet in IP (RFC 3378): version 3 and twelve bits of nothing. Some senders have the halves the other way round.
fn ether_ip(view: View<'_>) -> Stepped {
    match view.array::<2>(0, SkipReason::MalformedTunnel)? {
        [0x30 | 0x03, 0] => Ok(Step::tunnel(TunnelKind::EtherIp, TunnelId::None, Next::Ethernet, 2)),
        _ => Err(SkipReason::MalformedTunnel),
    }
}

/// Why there is no TCP header.
#[cold]
fn tcp_fault(view: View<'_>) -> SkipReason {
    let needed = match view.bytes.get(12) {
        Some(offset) if offset >> 4 < 5 => return SkipReason::MalformedTcp,
        Some(offset) => usize::from(offset >> 4) * 4,
        None => 20,
    };
    view.lacking(needed, SkipReason::MalformedTcp)
}
