//! The link layers that a capture can start with, other than Ethernet: Linux cooked, raw IP, BSD loopback, PPP and
//! HDLC.

use crate::frame::LinkType;
use crate::reason::SkipReason;
use crate::step::{Next, Step, Stepped, ether_type};
use crate::view::View;

const REASON: SkipReason = SkipReason::MalformedLink;

/// Reads the link-layer header of a captured frame.
#[inline]
pub(crate) fn start(link: LinkType, view: View<'_>) -> Stepped {
    match link {
        LinkType::Ethernet => crate::ethernet::ethernet(view),
        LinkType::LinuxSll => sll(view),
        LinkType::LinuxSll2 => sll2(view),
        LinkType::RawIp => Ok(Step::to(Next::Ip, 0)),
        LinkType::RawIpv4 => raw(view, 4),
        LinkType::RawIpv6 => raw(view, 6),
        LinkType::BsdNull | LinkType::BsdLoop => loopback(view),
        LinkType::Ppp => hdlc(view),
        LinkType::PppEther => Ok(Step::to(Next::EtherType(ether_type::PPPOE_SESSION), 0)),
        LinkType::Nflog => crate::nflog::nflog(view),
    }
}

/// Raw IP of a version that the link type fixes.
fn raw(view: View<'_>, version: u8) -> Stepped {
    match view.nibble() {
        None => Err(view.lacking(1, SkipReason::MalformedIp)),
        Some(nibble) if nibble == version => Ok(Step::to(Next::Ip, 0)),
        Some(_) => Err(SkipReason::MalformedIp),
    }
}

/// Linux cooked capture, version 1: packet type, hardware type, address, protocol.
fn sll(view: View<'_>) -> Stepped {
    let hardware = view.u16(2, REASON)?;
    let protocol = view.u16(14, REASON)?;
    cooked(hardware, protocol, 16)
}

/// Linux cooked capture, version 2: the protocol comes first, the hardware type at 8.
fn sll2(view: View<'_>) -> Stepped {
    let protocol = view.u16(0, REASON)?;
    let hardware = view.u16(8, REASON)?;
    view.require(20, REASON)?;
    cooked(hardware, protocol, 20)
}

/// What follows a cooked header: an EtherType, or one of Linux' own numbers, depending on the hardware type.
fn cooked(hardware: u16, protocol: u16, len: usize) -> Stepped {
    const ARPHRD_NETLINK: u16 = 824;
    const ETH_P_802_3: u16 = 0x0001;
    const ETH_P_802_2: u16 = 0x0004;
    match (hardware, protocol) {
        // Their protocol field is a netlink family, not an EtherType.
        (ARPHRD_NETLINK, _) | (_, ETH_P_802_3) => Err(SkipReason::NotIp),
        (_, ETH_P_802_2) => Ok(Step::to(Next::EtherType(0), len)),
        (_, protocol) if crate::ethernet::is_length(protocol) => Err(SkipReason::NotIp),
        (_, protocol) => Ok(Step::to(Next::of_ether_type(protocol), len)),
    }
}

/// BSD loopback: an address family in some host's byte order, which shows in the value, since families are small.
fn loopback(view: View<'_>) -> Stepped {
    let family = view.u32(0, REASON)?;
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    match family {
        // AF_INET is 2 everywhere; AF_INET6 is 10 (Linux), 24 (NetBSD, OpenBSD), 28 (FreeBSD), 30 (macOS), 23 (Windows).
        2 | 10 | 23 | 24 | 28 | 30 => Ok(Step::to(Next::Ip, 4)),
        _ => Err(SkipReason::NotIp),
    }
}

/// Cisco HDLC: an address of its own, a control byte, an EtherType. Anything else is PPP.
fn hdlc(view: View<'_>) -> Stepped {
    const UNICAST: u8 = 0x0f;
    const MULTICAST: u8 = 0x8f;
    match view.u8(0, REASON)? {
        UNICAST | MULTICAST => Ok(Step::to(Next::of_ether_type(view.u16(2, REASON)?), 4)),
        _ => Ok(Step::to(Next::Ppp, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> View<'_> {
        View { bytes, wire_len: bytes.len() }
    }

    #[test]
    fn cooked_headers_lead_to_their_protocol() {
        let mut one = vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x08, 0x00];
        assert_eq!(start(LinkType::LinuxSll, whole(&one)), Ok(Step::to(Next::Ip, 16)));
        one[14..].copy_from_slice(&[0x81, 0]);
        assert_eq!(start(LinkType::LinuxSll, whole(&one)), Ok(Step::to(Next::EtherType(0x8100), 16)));
        one[14..].copy_from_slice(&[0, 4]);
        assert_eq!(start(LinkType::LinuxSll, whole(&one)), Ok(Step::to(Next::EtherType(0), 16)), "LLC");
        one[14..].copy_from_slice(&[0, 1]);
        assert_eq!(start(LinkType::LinuxSll, whole(&one)), Err(SkipReason::NotIp), "raw 802.3");
        one[2..4].copy_from_slice(&824_u16.to_be_bytes());
        one[14..].copy_from_slice(&[8, 0]);
        assert_eq!(start(LinkType::LinuxSll, whole(&one)), Err(SkipReason::NotIp), "netlink");
        assert_eq!(start(LinkType::LinuxSll, whole(&one[..15])), Err(SkipReason::MalformedLink));

        let two = [0x86, 0xdd, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(start(LinkType::LinuxSll2, whole(&two)), Ok(Step::to(Next::Ip, 20)));
        assert_eq!(start(LinkType::LinuxSll2, whole(&two[..19])), Err(SkipReason::MalformedLink));
    }

    #[test]
    fn loopback_reads_either_byte_order() {
        for family in [2_u32, 10, 24, 28, 30] {
            for bytes in [family.to_be_bytes(), family.to_le_bytes()] {
                for link in [LinkType::BsdNull, LinkType::BsdLoop] {
                    assert_eq!(start(link, whole(&bytes)), Ok(Step::to(Next::Ip, 4)));
                }
            }
        }
        assert_eq!(start(LinkType::BsdNull, whole(&[7, 0, 0, 0])), Err(SkipReason::NotIp));
        assert_eq!(start(LinkType::BsdNull, whole(&[2, 0, 0])), Err(SkipReason::MalformedLink));
    }

    #[test]
    fn hdlc_is_told_from_ppp() {
        let read = |bytes: &[u8]| start(LinkType::Ppp, whole(bytes));
        assert_eq!(read(&[0x0f, 0, 0x08, 0]), Ok(Step::to(Next::Ip, 4)));
        assert_eq!(read(&[0x8f, 0, 0x88, 0x47]), Ok(Step::to(Next::Mpls, 4)));
        assert_eq!(read(&[0x0f, 0, 0x08]), Err(SkipReason::MalformedLink));
        for ppp in [&[0xff, 3, 0, 0x21][..], &[0, 0x21], &[0x21]] {
            assert_eq!(read(ppp), Ok(Step::to(Next::Ppp, 0)));
        }
        assert_eq!(start(LinkType::PppEther, whole(&[])), Ok(Step::to(Next::EtherType(0x8864), 0)));
    }

    #[test]
    fn raw_ip_of_a_fixed_version_is_held_to_it() {
        assert_eq!(start(LinkType::RawIp, whole(&[0x60])), Ok(Step::to(Next::Ip, 0)));
        assert_eq!(start(LinkType::RawIpv4, whole(&[0x45])), Ok(Step::to(Next::Ip, 0)));
        assert_eq!(start(LinkType::RawIpv4, whole(&[0x60])), Err(SkipReason::MalformedIp));
        assert_eq!(start(LinkType::RawIpv6, whole(&[0x60])), Ok(Step::to(Next::Ip, 0)));
        assert_eq!(start(LinkType::RawIpv6, whole(&[])), Err(SkipReason::MalformedIp));
    }
}
