//! UDP: which tunnel it carries, if any (RFC 768).
//!
//! The port decides, and the content has to agree: ports are shared, so what does not read as the tunnel is plain UDP.
//! The UDP length is not trusted beyond that; the IP length bounds the datagram.

use crate::reason::SkipReason;
use crate::rules::{Rules, UdpTunnel};
use crate::step::{Next, Step, Stepped};
use crate::tunnel::{TunnelId, TunnelKind};
use crate::view::View;
use crate::{ayiya, geneve, gtpu, lisp, mpls, teredo, vxlan};

/// Length of a UDP header.
const HEADER_LEN: usize = 8;

/// What a tunnel's reader answers: a step, not that tunnel at all, or the tunnel with a fault.
pub(crate) type Tried = Result<Option<Step>, SkipReason>;

/// Reads a UDP header and the tunnel behind it. What is no tunnel is skipped as [`SkipReason::Udp`].
pub(crate) fn udp(view: View<'_>, rules: &Rules) -> Stepped {
    let Ok(header) = etherparse::UdpHeaderSlice::from_slice(view.bytes) else {
        return Err(view.lacking(HEADER_LEN, SkipReason::Udp));
    };
    let payload = view.skip(HEADER_LEN);
    let tried = match rules.udp_tunnel(header.source_port(), header.destination_port()) {
        Some(UdpTunnel::Vxlan) => vxlan::vxlan(payload),
        Some(UdpTunnel::VxlanGpe) => vxlan::gpe(payload),
        Some(UdpTunnel::Geneve) => geneve::geneve(payload),
        Some(UdpTunnel::GtpU) => gtpu::gtpu(payload),
        Some(UdpTunnel::Teredo) => teredo::teredo(payload),
        Some(UdpTunnel::Lisp) => lisp::lisp(payload),
        Some(UdpTunnel::Ayiya) => ayiya::ayiya(payload),
        Some(UdpTunnel::Mpls) => Ok(mpls::is_plausible(payload).then_some(Step::tunnel(
            TunnelKind::MplsInUdp,
            TunnelId::None,
            Next::Mpls,
            0,
        ))),
        None => Ok(teredo::off_port(payload)),
    };
    match tried? {
        Some(step) => Ok(step.after(HEADER_LEN)),
        None => Err(SkipReason::Udp),
    }
}

/// The first `N` bytes of a tunnel's header: `Ok(None)` when the datagram is too short to hold it.
pub(crate) fn header<const N: usize>(payload: View<'_>) -> Result<Option<&[u8; N]>, SkipReason> {
    match payload.bytes.first_chunk() {
        Some(header) => Ok(Some(header)),
        None if payload.wire_len < N => Ok(None),
        None => Err(SkipReason::HeadersNotCaptured),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(source: u16, destination: u16, payload: &[u8]) -> Stepped {
        let mut bytes = [source.to_be_bytes(), destination.to_be_bytes(), [0, 0], [0, 0]].concat();
        bytes.extend(payload);
        udp(View { bytes: &bytes, wire_len: bytes.len() }, &Rules::new(&Config::default()))
    }

    #[test]
    fn ports_choose_the_tunnel_and_content_confirms_it() {
        let vxlan = [0x08, 0, 0, 0, 0, 0, 7, 0];
        let step = Step::tunnel(TunnelKind::Vxlan, TunnelId::Vni(7), Next::Ethernet, 16);
        assert_eq!(read(40000, 4789, &vxlan), Ok(step));
        assert_eq!(read(40000, 8472, &vxlan), Ok(step));
        assert_eq!(read(4789, 53, &vxlan), Err(SkipReason::Udp), "only the destination port counts");
        assert_eq!(read(40000, 4789, &[0; 8]), Err(SkipReason::Udp));
        assert_eq!(read(40000, 4789, &[8; 3]), Err(SkipReason::Udp));
        assert_eq!(read(40000, 53, b"anything"), Err(SkipReason::Udp));
    }

    #[test]
    fn some_tunnels_count_by_either_port() {
        let gtpu = [0x30, 255, 0, 1, 0, 0, 0, 9, 0x45];
        let step = Step::tunnel(TunnelKind::GtpU, TunnelId::Teid(9), Next::Ip, 16);
        assert_eq!(read(2152, 40000, &gtpu), Ok(step));
        assert_eq!(read(40000, 2152, &gtpu), Ok(step));
    }

    #[test]
    fn label_stacks_need_an_end() {
        let step = Step::tunnel(TunnelKind::MplsInUdp, TunnelId::None, Next::Mpls, 8);
        assert_eq!(read(40000, 6635, &[0, 1, 0x21, 64, 0x45]), Ok(step));
        assert_eq!(read(40000, 6635, &[0, 1, 0x20, 64, 0x44]), Err(SkipReason::Udp));
    }

    #[test]
    fn a_cut_header_is_not_plain_udp() {
        let bytes = [0x9c, 0x40, 0x12, 0xb5, 0, 0, 0, 0, 8];
        let rules = Rules::new(&Config::default());
        assert_eq!(udp(View { bytes: &bytes, wire_len: 50 }, &rules), Err(SkipReason::HeadersNotCaptured));
        assert_eq!(udp(View { bytes: &bytes[..5], wire_len: 50 }, &rules), Err(SkipReason::HeadersNotCaptured));
        assert_eq!(udp(View { bytes: &bytes[..5], wire_len: 5 }, &rules), Err(SkipReason::Udp));
    }
}
