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
use sha2::{Digest as _, Sha256};

use super::json::hex_digit;

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

    /// The id of what begins with `head` at the sequence number `sequence`, between these endpoints.
    ///
    /// `scratch` is overwritten: one contiguous input is hashed faster than pieces of it.
    #[inline]
    pub(super) fn new(
        kind: IdKind,
        client: Endpoint,
        server: Endpoint,
        sequence: u32,
        head: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Self {
        scratch.clear();
        append_endpoints(kind, client, server, scratch);
        scratch.extend_from_slice(&sequence.to_be_bytes());
        scratch.extend_from_slice(head);
        let digest: [u8; 32] = Sha256::digest(scratch.as_slice()).into();
        Self(*first_chunk(&digest))
    }

    /// Appends the id's 32 digits.
    pub(super) fn append_hex(&self, out: &mut Vec<u8>) {
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
        }
        out.extend_from_slice(&digits);
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
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
