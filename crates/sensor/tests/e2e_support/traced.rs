//! A capture with what was said in it, to judge what is found after packets were lost.

use std::collections::{BTreeMap, BTreeSet};

use decap::Timestamp;
use fixtures::{Packet, Side, streams};
use serde_json::Value;

use super::{Read, header, read, time};

/// VXLAN's port.
const VXLAN: [u8; 2] = 4789_u16.to_be_bytes();

/// A capture, and what is in it by other means than the product's.
#[derive(Debug)]
pub struct Traced {
    /// As captured.
    pub packets: Vec<Packet>,
    /// Plain packets of TCP, and which of [`Traced::packets`] each was made of.
    inner: Vec<(Packet, Vec<usize>)>,
    /// What was said.
    pub wanted: Vec<Wanted>,
}

/// An exchange that is in a capture.
#[derive(Debug)]
pub struct Wanted {
    pub connection: usize,
    /// The client's address, as records write it.
    pub client: (String, u16),
    /// The server's address.
    pub server: (String, u16),
    pub read: Read,
    /// When bytes were captured with which the response began, an interim one in front or the final one.
    pub times: BTreeSet<Timestamp>,
}

impl Traced {
    /// Of packets that lack nothing: plain TCP, or TCP in VXLAN over IPv4, whole or in fragments.
    pub fn new(packets: Vec<Packet>) -> Self {
        let inner = peel(&packets);
        let (mut plain, sources): (Vec<_>, Vec<_>) = inner.into_iter().unzip();
        let connections = streams::reassemble(&plain);
        streams::trace(&mut plain);
        let mut wanted = Vec::new();
        for (connection, streams) in connections.iter().enumerate() {
            assert!(!streams.holes, "bytes are missing");
            let end = |address: std::net::SocketAddr| (address.ip().to_string(), address.port());
            for read in read(&streams.from_client, &streams.from_server) {
                let starts = [read.response.start, read.answer];
                let begins = plain.iter().filter(|packet| {
                    packet.origin.as_ref().is_some_and(|origin| {
                        origin.connection == connection
                            && origin.side == Side::Server
                            && starts.iter().any(|start| origin.bytes.contains(start))
                    })
                });
                wanted.push(Wanted {
                    connection,
                    client: end(streams.client),
                    server: end(streams.server),
                    times: begins.map(|packet| packet.at).collect(),
                    read,
                });
            }
        }
        Self { packets, inner: plain.into_iter().zip(sources).collect(), wanted }
    }

    /// Whether all packets of each exchange are among those kept.
    pub fn untouched(&self, kept: &[bool]) -> Vec<bool> {
        let mut lost: BTreeMap<(usize, Side), Vec<core::ops::Range<u64>>> = BTreeMap::new();
        for (packet, sources) in &self.inner {
            if let Some(origin) = packet.origin.as_ref().filter(|_| sources.iter().any(|source| !kept[*source])) {
                lost.entry((origin.connection, origin.side)).or_default().push(origin.bytes.clone());
            }
        }
        let overlaps = |connection, side, bytes: &core::ops::Range<u64>| {
            let lost = lost.get(&(connection, side)).map_or(&[][..], Vec::as_slice);
            lost.iter().any(|lost| lost.start < bytes.end && bytes.start < lost.end)
        };
        let untouched = self.wanted.iter().map(|wanted| {
            !overlaps(wanted.connection, Side::Client, &wanted.read.request)
                && !overlaps(wanted.connection, Side::Server, &wanted.read.response)
        });
        untouched.collect()
    }

    /// The exchange whose request a record holds; `None`: nobody sent it.
    pub fn asked(&self, record: &Value) -> Option<usize> {
        let (request, ends) = (&record["request"], ends(record));
        let mut matching = self.wanted.iter().enumerate().filter(|(_, wanted)| {
            ends == (wanted.client.clone(), wanted.server.clone())
                && request["method"] == *wanted.read.method
                && request["target"] == *wanted.read.target
                && header(request, "x-request-id") == wanted.read.request_id.as_deref()
        });
        let (number, _) = matching.next()?;
        assert!(matching.next().is_none(), "requests of a capture tell themselves apart: {record}");
        Some(number)
    }

    /// The exchanges whose response a record's may be; more than one where several arrived in one packet.
    pub fn answered(&self, record: &Value) -> Vec<usize> {
        let (response, ends) = (&record["response"], ends(record));
        let at = time(&response["time"]);
        let matching = self.wanted.iter().enumerate().filter(|(_, wanted)| {
            ends == (wanted.client.clone(), wanted.server.clone())
                && response["status"] == wanted.read.status
                && wanted.times.contains(&at)
        });
        matching.map(|(number, _)| number).collect()
    }
}

/// A record's two ends, as [`Wanted`] has them.
fn ends(record: &Value) -> ((String, u16), (String, u16)) {
    let end = |name: &str| {
        let (ip, port) = (&record[name]["ip"], &record[name]["port"]);
        (ip.as_str().unwrap().to_owned(), u16::try_from(port.as_u64().unwrap()).unwrap())
    };
    (end("client"), end("server"))
}

/// Takes VXLAN over IPv4 off, fragments joined; other packets stay as they are. Beside each packet: which ones it was in.
fn peel(packets: &[Packet]) -> Vec<(Packet, Vec<usize>)> {
    let mut peeled: Vec<(Packet, Vec<usize>)> = Vec::new();
    let mut open: BTreeMap<[u8; 2], (Vec<u8>, Vec<usize>)> = BTreeMap::new();
    for (index, packet) in packets.iter().enumerate() {
        let is_outer = packet.data.get(12..14) == Some(&[8, 0]) && packet.data.get(23) == Some(&17);
        if !is_outer {
            peeled.push((packet.clone(), vec![index]));
            continue;
        }
        let id = [packet.data[18], packet.data[19]];
        let fragment = u16::from_be_bytes([packet.data[20], packet.data[21]]);
        let (mut datagram, mut sources) = open.remove(&id).unwrap_or_default();
        assert_eq!(datagram.len(), usize::from(fragment & 0x1fff) * 8, "these captures have fragments in order");
        let end = 14 + usize::from(u16::from_be_bytes([packet.data[16], packet.data[17]]));
        datagram.extend_from_slice(&packet.data[34..end]);
        sources.push(index);
        if fragment & 0x2000 != 0 {
            open.insert(id, (datagram, sources));
        } else if datagram[2..4] == VXLAN {
            peeled.push((Packet::ethernet(packet.at, datagram[16..].to_vec()), sources));
        }
    }
    peeled
}
