//! A simulated connection: two byte streams turned into packets.

use core::time::Duration;

use decap::{Direction, TcpFlags, Timestamp};

use super::{Packet, content};

/// A small generator of numbers; the same seed gives the same ones.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

/// How a connection goes.
#[derive(Clone, Debug)]
pub struct Talk {
    pub port: u16,
    pub seed: u64,
    pub isn: [u32; 2],
    /// Requests and responses.
    pub turns: u64,
    /// The largest segment.
    pub mss: u64,
    /// The longest message.
    pub longest: u64,
    pub closes: bool,
}

impl Default for Talk {
    fn default() -> Self {
        Self { port: 1000, seed: 1, isn: [99, 499], turns: 3, mss: 100, longest: 600, closes: true }
    }
}

impl Talk {
    /// The packets, 1 ms apart. The byte at each sequence number is [`content`] of it.
    pub fn packets(&self) -> Vec<Packet> {
        let mut dice = Dice::new(self.seed);
        let mut packets = Vec::new();
        let mut next = self.isn;
        let mut ids = [1_u16, 30_000];
        let mut send = |next: &mut [u32; 2], direction: Direction, flags: u8, len: u64| {
            let (from, to) = (direction.index(), direction.opposite().index());
            ids[from] += 1;
            let payload: Vec<u8> = (0..len as u32).map(|n| content(next[from].wrapping_add(n))).collect();
            // As all systems do it; without, it would be a keep-alive probe.
            let flags = if len == 1 { flags | TcpFlags::PSH } else { flags };
            packets.push(Packet {
                at: Timestamp::ZERO + Duration::from_millis(1_000_000 + packets.len() as u64),
                port: self.port,
                direction,
                seq: next[from],
                ack: if flags & TcpFlags::ACK != 0 { next[to] } else { 0 },
                flags,
                ip_id: ids[from],
                payload,
                missing: 0,
            });
            let consumed = u32::from(flags & (TcpFlags::SYN | TcpFlags::FIN) != 0);
            next[from] = next[from].wrapping_add(len as u32 + consumed);
        };
        let (ack, syn, fin) = (TcpFlags::ACK, TcpFlags::SYN, TcpFlags::FIN);
        send(&mut next, Direction::Forward, syn, 0);
        send(&mut next, Direction::Reverse, syn | ack, 0);
        send(&mut next, Direction::Forward, ack, 0);
        for turn in 0..2 * self.turns {
            let direction = if turn % 2 == 0 { Direction::Forward } else { Direction::Reverse };
            let mut left = 1 + dice.roll(self.longest);
            while left > 0 {
                let len = left.min(1 + dice.roll(self.mss));
                send(&mut next, direction, ack, len);
                left -= len;
                if dice.chance(40) {
                    send(&mut next, direction.opposite(), ack, 0);
                }
            }
        }
        if self.closes {
            send(&mut next, Direction::Forward, fin | ack, 0);
            send(&mut next, Direction::Reverse, fin | ack, 0);
            send(&mut next, Direction::Forward, ack, 0);
        }
        packets
    }
}

/// The bytes of a direction, from the first payload to the last: where they start, and what is missing between.
pub fn captured(packets: &[Packet], direction: Direction) -> Vec<(u32, Vec<u8>)> {
    packets
        .iter()
        .filter(|packet| packet.direction == direction && !packet.payload.is_empty())
        .map(|packet| {
            let syn = u32::from(packet.flags & TcpFlags::SYN != 0);
            (packet.seq.wrapping_add(syn), packet.payload.clone())
        })
        .collect()
}

/// The stream that packets without loss carry.
pub fn stream(packets: &[Packet], direction: Direction) -> Vec<u8> {
    captured(packets, direction).into_iter().flat_map(|(_, bytes)| bytes).collect()
}
