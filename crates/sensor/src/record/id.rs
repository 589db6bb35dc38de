//! Ids that say the same for the same thing, wherever and whenever it is seen.
//!
//! Repeats are dropped by transaction id, so a client that found two requests with one id could hide the second. The hash
//! must therefore resist collisions against someone who chooses the input, which rules out fast hashes with a known key:
//! it is SHA-256, cut to 128 bits. Processors of the last years compute it in hardware, and then it is the fastest such
//! hash at the length of a head (618 bytes: about 490 ns, against 950 ns for BLAKE3, whose parallelism begins at 1 KiB,
//! and 900 ns for BLAKE2b; without the hardware 2.9 µs). And anyone can recompute it with what is at hand.

use core::fmt;
use core::net::IpAddr;

use decap::{Direction, Endpoint, FlowKey};
use http_parse::{Exchange, Message, Side};
use sha2::{Digest as _, Sha256};

use super::connection::ConnectionMeta;
use super::json::hex_digits;

/// How many digits an id has in records.
pub(super) const DIGITS: usize = 32;

/// What the first byte of a hashed input says it is, so that inputs of different kinds can never be equal.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum IdKind {
    Connection = 0,
    Request = 1,
    Orphan = 2,
}

/// The name of a transaction: the same for each sighting of it, whatever the time, the tunnel or the sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId([u8; 16]);

impl TransactionId {
    /// The id's 16 bytes; in records they stand as 32 hexadecimal digits in this order.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that the record of an exchange has, for whoever cannot wait until it is sealed.
    #[must_use]
    pub fn of(meta: &ConnectionMeta, exchange: &Exchange<'_>) -> Self {
        let mut input = Vec::new();
        append_input(meta, exchange, &mut input);
        Self::hash(&input)
    }

    /// The id that the record of an exchange with this request will have.
    #[must_use]
    pub fn of_request(meta: &ConnectionMeta, client: Side, request: &Message) -> Self {
        let mut input = Vec::new();
        append_message(meta, client, IdKind::Request, Some(request), &mut input);
        Self::hash(&input)
    }

    /// The id made of an input.
    #[inline]
    pub(super) fn hash(input: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::digest(input).into();
        Self(*first_chunk(&digest))
    }

    /// The id as it stands in records.
    pub(super) fn digits(&self) -> [u8; DIGITS] {
        let mut digits = [0; DIGITS];
        let (upper, lower) = digits.split_at_mut(DIGITS / 2);
        let (first, second) = self.0.split_at(DIGITS / 4);
        for (place, half) in [(upper, first), (lower, second)] {
            place.copy_from_slice(&hex_digits(half.first_chunk().map_or(0, |half| u64::from_be_bytes(*half))));
        }
        digits
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Appends what the id of an exchange is the hash of: its request, or else its response.
#[inline]
pub(super) fn append_input(meta: &ConnectionMeta, exchange: &Exchange<'_>, input: &mut Vec<u8>) {
    let (kind, message) = match (exchange.request, exchange.response) {
        (Some(request), _) => (IdKind::Request, Some(request)),
        (None, response) => (IdKind::Orphan, response),
    };
    append_message(meta, exchange.client, kind, message, input);
}

#[inline]
fn append_message(meta: &ConnectionMeta, client: Side, kind: IdKind, message: Option<&Message>, input: &mut Vec<u8>) {
    let sequence = message.map(Message::start).unwrap_or_default().offset as u32;
    append_endpoints(kind, meta.endpoint(client), meta.endpoint(client.opposite()), input);
    input.extend_from_slice(&sequence.to_be_bytes());
    // One contiguous input is hashed faster than pieces of it.
    input.extend_from_slice(message.map(Message::head).unwrap_or_default());
}

/// The id of a connection: of its endpoints in the key's order, its address space, and when its first segment was
/// captured (nanoseconds since the Unix epoch). Neither the number of workers nor any other flow has a part in it.
pub(super) fn connection_id(key: &FlowKey, at: u64) -> u64 {
    let mut input = Vec::with_capacity(64);
    let (lower, upper) = (key.source(Direction::Forward), key.source(Direction::Reverse));
    append_endpoints(IdKind::Connection, lower, upper, &mut input);
    input.extend_from_slice(&key.domain().as_u64().to_be_bytes());
    input.extend_from_slice(&at.to_be_bytes());
    let digest: [u8; 32] = Sha256::digest(&input).into();
    u64::from_be_bytes(*first_chunk(&digest))
}

/// Appends a kind and two endpoints: for each the IP version as a byte, the address and the port, most significant byte
/// first. The version tells the length, so different endpoints never give equal bytes.
fn append_endpoints(kind: IdKind, one: Endpoint, other: Endpoint, out: &mut Vec<u8>) {
    out.push(kind as u8);
    for endpoint in [one, other] {
        match endpoint.ip {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&endpoint.port.to_be_bytes());
    }
}

fn first_chunk<const N: usize>(digest: &[u8; 32]) -> &[u8; N] {
    const { assert!(N <= 32) };
    digest.first_chunk().unwrap_or(&[0; N])
}
