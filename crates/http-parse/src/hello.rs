//! Temporary stand-in for the ClientHello reader (replaced at the merge).

use crate::protocol::ClientHello;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HelloStatus {
    NeedMore,
    NotTls,
    Hello(ClientHello),
    Tls,
}

pub(crate) fn parse_client_hello(records: &[u8]) -> HelloStatus {
    match records {
        [0x16, 3, minor, a, b, rest @ ..] if *minor <= 4 => match rest {
            [1, ..] if rest.len() >= usize::from(*a) << 8 | usize::from(*b) => {
                HelloStatus::Hello(ClientHello::default())
            }
            [] | [1, ..] => HelloStatus::NeedMore,
            _ => HelloStatus::Tls,
        },
        [0x16, 3, 0..=4] | [0x16, 3] | [0x16] | [] | [0x16, 3, 0..=4, _] => HelloStatus::NeedMore,
        _ => HelloStatus::NotTls,
    }
}
