//! What both shapes of a record are made of.

use core::net::IpAddr;
use std::io::Write as _;

use decap::{Endpoint, TunnelHop, TunnelId, TunnelPath};
use http_parse::{Flags, Version};

use super::connection::ConnectionMeta;
use super::json::{append_str, put_hex, put_ipv4, put_number};
use super::masking::Masking;
use super::room::Room;
use super::writer::Admission;
use crate::normalize::Normalizer;

/// The start line as sent, without its line end and without what empty lines and white space stand before it.
pub(super) fn start_line(head: &[u8]) -> &[u8] {
    let begin = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | b' ' | b'\t')).unwrap_or(head.len());
    let line = head.get(begin..).unwrap_or_default();
    let line = memchr::memchr(b'\n', line).and_then(|end| line.get(..end)).unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Puts a version as a string.
#[inline(always)]
pub(super) fn put_version(version: Version, room: &mut Room<'_>) {
    if version == (Version { major: 1, minor: 1 }) {
        room.put(b"\"1.1\"");
        return;
    }
    room.put(b"\"");
    put_number(version.major.into(), room);
    room.put(b".");
    put_number(version.minor.into(), room);
    room.put(b"\"");
}

/// Puts an endpoint as an object.
#[inline(always)]
pub(super) fn put_endpoint(endpoint: Endpoint, room: &mut Room<'_>) {
    room.put(b"{\"ip\":\"");
    put_ip(endpoint.ip, room);
    room.put(b"\",\"port\":");
    put_number(endpoint.port.into(), room);
    room.put(b"}");
}

/// Puts an address.
#[inline(always)]
pub(super) fn put_ip(ip: IpAddr, room: &mut Room<'_>) {
    match ip {
        IpAddr::V4(ip) => put_ipv4(ip.octets(), room),
        // The canonical form (RFC 5952). Writing to a Vec cannot fail.
        IpAddr::V6(ip) => room.with_vec(|out| _ = write!(out, "{ip}")),
    }
}

/// Appends tunnels and VLANs as members, each with a comma before it, and what the operator calls them.
pub(super) fn append_path(path: &TunnelPath, normalizer: &Normalizer, out: &mut Vec<u8>) {
    let mut room = Room::at_end_of(out);
    let room = &mut room;
    room.put(b",\"tunnels\":[");
    for (index, hop) in path.hops.iter().enumerate() {
        if index > 0 {
            room.put(b",");
        }
        put_hop(hop, normalizer, room);
    }
    room.put(b"],\"vlans\":[");
    for (index, vlan) in path.vlans.iter().enumerate() {
        if index > 0 {
            room.put(b",");
        }
        put_number((*vlan).into(), room);
    }
    room.put(b"]");
    if !normalizer.has_names() {
        return;
    }
    let mut separator = b",\"vlan_names\":{\"".as_slice();
    for vlan in &path.vlans {
        if let Some(name) = normalizer.vlan_name(*vlan) {
            room.put_slice(separator);
            put_number((*vlan).into(), room);
            room.put(b"\":");
            room.with_vec(|out| append_str(name, out));
            separator = b",\"";
        }
    }
    if separator.len() == 2 {
        room.put(b"}");
    }
}

#[inline(always)]
fn put_hop(hop: &TunnelHop, normalizer: &Normalizer, room: &mut Room<'_>) {
    room.put(b"{\"kind\":\"");
    room.put_slice(hop.kind.name().as_bytes());
    room.put(b"\",\"source\":");
    put_outer_ip(hop.source, room);
    room.put(b",\"destination\":");
    put_outer_ip(hop.destination, room);
    let number = match hop.id {
        TunnelId::None => None,
        TunnelId::Vni(vni) => {
            room.put(b",\"vni\":");
            Some(vni)
        }
        TunnelId::Key(key) => {
            room.put(b",\"key\":");
            Some(key)
        }
        TunnelId::Session(session) => {
            room.put(b",\"session\":");
            Some(session.into())
        }
        TunnelId::Teid(teid) => {
            room.put(b",\"teid\":");
            Some(teid)
        }
    };
    if let Some(number) = number {
        put_number(number.into(), room);
    }
    if let (true, TunnelId::Vni(id) | TunnelId::Key(id)) = (normalizer.has_names(), hop.id)
        && let Some(name) = normalizer.vni_name(id)
    {
        room.put(b",\"name\":");
        room.with_vec(|out| append_str(name, out));
    }
    room.put(b"}");
}

/// An encapsulation without addresses of its own has unspecified ones.
#[inline(always)]
fn put_outer_ip(ip: IpAddr, room: &mut Room<'_>) {
    if ip.is_unspecified() {
        room.put(b"null");
        return;
    }
    room.put(b"\"");
    put_ip(ip, room);
    room.put(b"\"");
}

/// Puts the connection as a member, with a comma before it.
#[inline(always)]
pub(super) fn put_connection(meta: &ConnectionMeta, index: Option<u32>, room: &mut Room<'_>) {
    room.put(b",\"connection\":{\"id\":\"");
    put_hex(meta.id, room);
    room.put(b"\",\"transaction\":");
    match index {
        Some(index) => put_number(index.into(), room),
        None => room.put(b"null"),
    }
    match meta.initiator {
        Some(_) => room.put(b",\"start\":\"handshake\"}"),
        None => room.put(b",\"start\":\"mid_stream\"}"),
    }
}

/// Appends flags as an array.
pub(super) fn append_flags(flags: Flags, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, flag) in flags.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append_str(flag.name(), out);
    }
    out.push(b']');
}

/// Appends which rule let the exchange through, and for how many the record stands, as a member with a comma before it.
pub(super) fn append_filter(admission: Admission<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"filter\":{\"rule\":");
    match admission.rule {
        Some(rule) => append_str(rule, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"weight\":");
    put_number(admission.weight.into(), &mut Room::at_end_of(out));
    out.push(b'}');
}

/// Appends what masking found as a member, with a comma before it: names and places, never a value.
pub(super) fn append_masked(masking: &impl Masking, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"masked\":[");
    let listed = masking.append_list(out);
    if listed > 0 {
        // The last comma.
        out.pop();
    }
    out.push(b']');
    let more = masking.findings().found.saturating_sub(listed);
    if more > 0 {
        out.extend_from_slice(b",\"masked_more\":");
        put_number(more, &mut Room::at_end_of(out));
    }
}
