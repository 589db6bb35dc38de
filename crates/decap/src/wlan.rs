//! IEEE 802.11 data frames, as wireless controllers carry them in GRE.

use crate::ethernet;
use crate::reason::SkipReason;
use crate::step::Stepped;
use crate::view::View;

/// Reads the header of a data frame (IEEE 802.11, section 9.3.2) and the LLC header behind it.
pub(crate) fn wlan(view: View<'_>) -> Stepped {
    const REASON: SkipReason = SkipReason::MalformedTunnel;
    let [kind, flags] = view.array(0, REASON)?;
    // Version 0, type data; the subtype's bits: no data (4), quality of service (8).
    if kind & 0x0f != 0x08 || kind & 0x40 != 0 {
        return Err(SkipReason::UnknownTunnelPayload);
    }
    // Encrypted.
    if flags & 0x40 != 0 {
        return Err(SkipReason::UnknownTunnelPayload);
    }
    let mut len = 24;
    // To and from the distribution system: a fourth address.
    if flags & 0x03 == 0x03 {
        len += 6;
    }
    if kind & 0x80 != 0 {
        // Several frames in one, each with a header of its own.
        if view.u8(len, REASON)? & 0x80 != 0 {
            return Err(SkipReason::UnknownTunnelPayload);
        }
        len += 2;
        // High throughput control.
        if flags & 0x80 != 0 {
            len += 4;
        }
    }
    view.require(len, REASON)?;
    Ok(ethernet::llc(view.skip(len))?.after(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::{Next, Step};

    fn read(kind: u8, flags: u8, len: usize) -> Stepped {
        let mut bytes = vec![kind, flags];
        bytes.resize(len, 0);
        bytes.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
        wlan(View { bytes: &bytes, wire_len: bytes.len() })
    }

    #[test]
    fn headers_of_every_length() {
        let step = |len: usize| Ok(Step::to(Next::Ip, len + 8));
        assert_eq!(read(0x08, 0x01, 24), step(24));
        assert_eq!(read(0x88, 0x01, 26), step(26), "quality of service");
        assert_eq!(read(0x88, 0x83, 36), step(36), "four addresses, high throughput control");
    }

    #[test]
    fn what_holds_no_readable_data() {
        assert_eq!(read(0x80, 0, 24), Err(SkipReason::UnknownTunnelPayload), "beacon");
        assert_eq!(read(0x48, 1, 24), Err(SkipReason::UnknownTunnelPayload), "null function");
        assert_eq!(read(0x08, 0x41, 24), Err(SkipReason::UnknownTunnelPayload), "encrypted");
        assert_eq!(wlan(View { bytes: &[0x08, 1, 0], wire_len: 3 }), Err(SkipReason::MalformedTunnel));
    }
}
