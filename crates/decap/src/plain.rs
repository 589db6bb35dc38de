//! The short way through the frames that most are: Ethernet, IPv4, TCP, whole and with nothing unusual about them.
//!
//! It looks at three headers at places that are known beforehand. What is not exactly so is left to the
//! [`walk`](crate::walk), which would come to the same result for these frames; a property test holds the two equal.

use crate::flow::AddressPair;
use crate::frame::{Frame, LinkType};
use crate::segment::TcpFlags;
use crate::seq::SeqNum;
use crate::step::{ether_type, protocol};
use crate::walk::TcpHeader;

/// Lengths of the headers without options.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP: usize = 20;

/// A TCP segment with its headers' fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    pub(crate) header: TcpHeader,
    pub(crate) addresses: AddressPair,
    pub(crate) ip_id: u16,
}

/// Reads a frame, if it is such a one.
#[inline]
pub(crate) fn read(frame: &Frame<'_>) -> Option<Plain> {
    if frame.link != LinkType::Ethernet {
        return None;
    }
    let (_, rest) = frame.data.split_at_checked(ETHERNET - 2)?;
    let ([kind @ .., version, _, t0, t1, i0, i1, f0, f1, _, next, _, _, s0, s1, s2, s3, d0, d1, d2, d3], rest) =
        rest.split_first_chunk::<{ IPV4 + 2 }>()?;
    let [p0, p1, q0, q1, n0, n1, n2, n3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, _, _] =
        rest.first_chunk::<TCP>()?;
    // No options, and neither "more fragments" nor an offset.
    let is_plain_ip = u16::from_be_bytes(*kind) == ether_type::IPV4
        && *version == 0x45
        && u16::from_be_bytes([*f0, *f1]) & 0x3fff == 0
        && *next == protocol::TCP;
    let payload = IPV4 + usize::from(offset >> 4) * 4;
    let packet = usize::from(u16::from_be_bytes([*t0, *t1]));
    // The length holds the headers, and all of it was captured.
    if !is_plain_ip || payload < IPV4 + TCP || packet < payload || frame.data.len() < ETHERNET + packet {
        return None;
    }
    Some(Plain {
        header: TcpHeader {
            source_port: u16::from_be_bytes([*p0, *p1]),
            destination_port: u16::from_be_bytes([*q0, *q1]),
            seq: SeqNum(u32::from_be_bytes([*n0, *n1, *n2, *n3])),
            ack: SeqNum(u32::from_be_bytes([*a0, *a1, *a2, *a3])),
            flags: TcpFlags(*flags),
            window: u16::from_be_bytes([*w0, *w1]),
            start: ETHERNET + payload,
            end: ETHERNET + packet,
            missing: 0,
        },
        addresses: AddressPair::v4(u32::from_be_bytes([*s0, *s1, *s2, *s3]), u32::from_be_bytes([*d0, *d1, *d2, *d3])),
        ip_id: u16::from_be_bytes([*i0, *i1]),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::rules::Rules;
    use crate::stats::Stats;
    use crate::time::Timestamp;
    use crate::tunnel::TunnelPath;
    use crate::walk::{Stop, Walk};

    /// A frame with `payload` bytes behind TCP options of `words` words, and `trailer` bytes behind that.
    fn frame(words: usize, payload: usize, trailer: usize) -> Vec<u8> {
        let tcp = TCP + words * 4;
        let mut frame = vec![2; ETHERNET - 2];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(((IPV4 + tcp + payload) as u16).to_be_bytes());
        frame.extend([7, 8, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x9c, 0x40, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, (tcp as u8 / 4) << 4, 0x18, 9, 9, 0, 0, 0, 0]);
        frame.resize(frame.len() + words * 4 + payload + trailer, b'x');
        frame
    }

    /// Holds the short way to what the walk says of the same frame. Whether there was a short way.
    fn agree(data: &[u8], link: LinkType, wire_len: u32) -> bool {
        let frame = Frame { at: Timestamp::ZERO, link, data, wire_len };
        let Some(plain) = read(&frame) else { return false };
        let rules = Rules::new(&Config::default());
        let (mut path, mut stats) = (TunnelPath::default(), Stats::default());
        let mut walk = Walk::new(&frame, &rules, &mut path, &mut stats);
        assert_eq!(walk.run(data), Ok(Stop::Tcp), "{data:02x?}");
        let header = walk.tcp(data).unwrap();
        assert_eq!(format!("{:?}", plain.header), format!("{header:?}"), "{data:02x?}");
        let (source, destination) = (header.source_port, header.destination_port);
        let flow = crate::FlowKey::of(plain.addresses, source, destination, rules.base_domain);
        assert_eq!(flow, walk.flow(source, destination));
        assert_eq!(plain.ip_id, walk.ip_id());
        assert_eq!(stats, Stats::default());
        assert_eq!(path, TunnelPath::default());
        true
    }

    #[test]
    fn ordinary_frames_take_the_short_way() {
        for (words, payload, trailer) in [(0, 0, 6), (3, 0, 0), (3, 700, 0), (10, 1448, 4)] {
            let data = frame(words, payload, trailer);
            assert!(agree(&data, LinkType::Ethernet, data.len() as u32));
            assert!(agree(&data, LinkType::Ethernet, 0));
            assert!(!agree(&data, LinkType::RawIp, data.len() as u32));
            let cut = data.len() - trailer - 1;
            assert!(!agree(&data[..cut], LinkType::Ethernet, data.len() as u32), "cut frames do not");
        }
    }

    proptest! {
        #[test]
        fn damaged_frames_come_to_the_same(
            (words, payload, trailer) in (0_usize..11, 0_usize..40, 0_usize..9),
            damage in prop::collection::vec((0_usize..54, any::<u8>()), 0..3),
            len in prop::option::of(0_usize..120),
            wire_len in prop_oneof![Just(0), 0_u32..200],
        ) {
            let mut data = frame(words, payload, trailer);
            for (at, byte) in damage {
                data[at] = byte;
            }
            data.truncate(len.unwrap_or(usize::MAX));
            agree(&data, LinkType::Ethernet, wire_len);
        }
    }
}
