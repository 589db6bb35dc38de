//! What a lossless capture says, found without the product: which packets belong to which transaction, and which response
//! answered which request.
//!
//! It only knows traffic in which a client waits for each response before it asks again (nothing is pipelined), in
//! plain TCP over Ethernet, captured in order. There, the payload of a flow alternates: what the client sends is a
//! request, what the server sends after it is its response, and no more has to be understood.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use sensor::source::{CaptureReader, Input, ReadOptions};

/// No transaction.
const NONE: u32 = u32::MAX;
/// Heads longer than this are not searched for the header.
const MAX_HEAD: usize = 16 << 10;

/// A transaction as the lossless capture has it.
#[derive(Debug)]
pub(crate) struct Transaction {
    /// The request's target.
    pub(crate) target: String,
    /// What names its response: see [`answer`]; `None`: no response in the capture.
    pub(crate) answer: Option<String>,
    /// When the first packet of the response was captured, in nanoseconds.
    answered_at: u64,
    /// Which connection, in the order of first packets.
    pub(crate) connection: u32,
}

/// What names a response: the value of the header that is unique to each, and when its first byte was captured (a server
/// may leave the header out, as nginx does for errors; and within a connection no two responses begin at one time).
pub(crate) fn answer(header: Option<&str>, at: u64) -> String {
    format!("{} at {at}", header.unwrap_or("none"))
}

/// Which transaction a frame belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    transaction: u32,
    /// Whether it carries payload.
    pub(crate) has_payload: bool,
}

impl Place {
    /// Its transaction's index.
    pub(crate) fn transaction(self) -> Option<usize> {
        (self.transaction != NONE).then_some(self.transaction as usize)
    }
}

/// The truth about one capture.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// In the order of their requests.
    pub(crate) transactions: Vec<Transaction>,
    /// For each frame of the capture.
    pub(crate) places: Vec<Place>,
    /// By target, the transaction. Targets are unique; those that are not are left out.
    pub(crate) by_target: HashMap<String, usize>,
    /// Targets that occur more than once.
    pub(crate) ambiguous: usize,
}

#[derive(Debug, Default)]
struct Flow {
    connection: u32,
    client: Option<SocketAddr>,
    /// By sender (the client first): the sequence number behind all that it has sent.
    next: [Option<u32>; 2],
    current: Option<usize>,
    server_spoke: bool,
    /// The head now sent, as far as it has come; empty when it is known.
    head: Vec<u8>,
}

struct Segment<'a> {
    source: SocketAddr,
    destination: SocketAddr,
    seq: u32,
    opens: bool,
    payload: &'a [u8],
}

impl Truth {
    /// Reads a capture through.
    pub(crate) fn read(capture: &str, header: &str) -> Result<Self> {
        let mut reader = CaptureReader::open(&Input::File(capture.into()), &ReadOptions::default())?;
        let mut truth = Self::default();
        let mut flows: HashMap<(SocketAddr, SocketAddr), Flow> = HashMap::new();
        let mut connections = 0;
        let header = format!("\r\n{}: ", header.to_ascii_lowercase());
        while let Some(captured) = reader.next()? {
            let place = match segment(captured.frame.data) {
                Some(segment) => {
                    let ends = (segment.source.min(segment.destination), segment.source.max(segment.destination));
                    let flow = flows.entry(ends).or_default();
                    if segment.opens || flow.connection == 0 {
                        connections += 1;
                        *flow = Flow { connection: connections, ..Flow::default() };
                        flow.client = segment.opens.then_some(segment.source);
                    }
                    truth.place(flow, &segment, captured.frame.at.as_nanos(), header.as_bytes())
                }
                None => Place { transaction: NONE, has_payload: false },
            };
            truth.places.push(place);
        }
        let mut seen = HashMap::new();
        for (index, transaction) in truth.transactions.iter().enumerate() {
            seen.entry(transaction.target.clone()).or_insert_with(Vec::new).push(index);
        }
        truth.ambiguous = seen.values().filter(|indexes| indexes.len() > 1).count();
        truth.by_target =
            seen.into_iter().filter(|(_, all)| all.len() == 1).map(|(target, all)| (target, all[0])).collect();
        Ok(truth)
    }

    fn place(&mut self, flow: &mut Flow, segment: &Segment<'_>, at: u64, header: &[u8]) -> Place {
        if segment.payload.is_empty() {
            return Place { transaction: index(flow.current), has_payload: false };
        }
        let client = *flow.client.get_or_insert_with(|| {
            // Picked up mid-stream: whoever does not send a response asks.
            if segment.payload.starts_with(b"HTTP/") { segment.destination } else { segment.source }
        });
        let is_client = segment.source == client;
        let next = &mut flow.next[usize::from(!is_client)];
        let end = segment.seq.wrapping_add(u32::try_from(segment.payload.len()).unwrap_or(u32::MAX));
        let is_copy = next.is_some_and(|next| end.wrapping_sub(next).cast_signed() <= 0);
        if is_copy {
            return Place { transaction: index(flow.current), has_payload: true };
        }
        *next = Some(end);
        if is_client && (flow.current.is_none() || flow.server_spoke) {
            flow.current = Some(self.transactions.len());
            flow.head.clear();
            self.transactions.push(Transaction {
                target: String::new(),
                answer: None,
                answered_at: 0,
                connection: flow.connection,
            });
        }
        let answers = !is_client && !flow.server_spoke;
        flow.server_spoke = !is_client;
        let Some(transaction) = flow.current.and_then(|current| self.transactions.get_mut(current)) else {
            return Place { transaction: NONE, has_payload: true };
        };
        if answers {
            flow.head.clear();
            transaction.answered_at = at;
        }
        let is_known = if is_client { !transaction.target.is_empty() } else { transaction.answer.is_some() };
        if !is_known && flow.head.len() < MAX_HEAD {
            flow.head.extend_from_slice(segment.payload);
            if is_client {
                let line = flow.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
                let mut words = line.split(|byte| *byte == b' ');
                if let (Some(_), Some(target), Some(_)) = (words.next(), words.next(), words.next()) {
                    transaction.target = String::from_utf8_lossy(target).into_owned();
                }
            } else if flow.head.windows(4).any(|window| window == b"\r\n\r\n") {
                transaction.answer = Some(answer(value(&flow.head, header).as_deref(), transaction.answered_at));
            }
        }
        Place { transaction: index(flow.current), has_payload: true }
    }
}

fn index(transaction: Option<usize>) -> u32 {
    transaction.and_then(|index| u32::try_from(index).ok()).unwrap_or(NONE)
}

/// The value of a header in a head; `name` is in lower case, with line end and colon around it.
fn value(head: &[u8], name: &[u8]) -> Option<String> {
    let at = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name))? + name.len();
    let rest = &head[at..];
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let (from, to): (IpAddr, IpAddr) = match packet.net? {
        NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        _ => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    Some(Segment {
        source: SocketAddr::new(from, tcp.source_port()),
        destination: SocketAddr::new(to, tcp.destination_port()),
        seq: tcp.sequence_number(),
        opens: tcp.syn() && !tcp.ack(),
        payload: tcp.payload(),
    })
}
