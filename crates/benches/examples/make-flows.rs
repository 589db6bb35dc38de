//! Writes a capture of many TCP connections: the load for the memory figures.
//!
//!     make-flows FILE FLOWS pending      handshake and one request each, never answered, all open at once
//!     make-flows FILE FLOWS syn          one SYN each
//!     make-flows FILE FLOWS data         mid-stream: one request each, no handshake

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use etherparse::PacketBuilder;

struct Capture {
    out: BufWriter<File>,
    packet: Vec<u8>,
    microseconds: u64,
}

impl Capture {
    fn create(path: &str) -> std::io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out, packet: Vec::new(), microseconds: 1_700_000_000_000_000 })
    }

    fn write(&mut self, segment: &Segment<'_>) -> std::io::Result<()> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(segment.from.0.octets(), segment.to.0.octets(), 64)
            .tcp(segment.from.1, segment.to.1, segment.seq, 65000);
        let builder = if segment.syn { builder.syn() } else { builder };
        let builder = if let Some(ack) = segment.ack { builder.ack(ack) } else { builder };
        self.packet.clear();
        builder.write(&mut self.packet, segment.payload).map_err(std::io::Error::other)?;
        self.microseconds += 1;
        let len = u32::try_from(self.packet.len()).map_err(std::io::Error::other)?;
        let seconds = u32::try_from(self.microseconds / 1_000_000).map_err(std::io::Error::other)?;
        let fraction = u32::try_from(self.microseconds % 1_000_000).map_err(std::io::Error::other)?;
        for word in [seconds, fraction, len, len] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(&self.packet)
    }
}

struct Segment<'a> {
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    seq: u32,
    ack: Option<u32>,
    syn: bool,
    payload: &'a [u8],
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let (Some(path), Some(Ok(flows)), Some(kind)) = (args.get(1), args.get(2).map(|n| n.parse::<u32>()), args.get(3))
    else {
        eprintln!("usage: make-flows FILE FLOWS pending|syn|data");
        return ExitCode::from(2);
    };
    match make(path, flows, kind) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("make-flows: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make(path: &str, flows: u32, kind: &str) -> std::io::Result<()> {
    let mut capture = Capture::create(path)?;
    let server = (Ipv4Addr::new(198, 18, 0, 1), 80);
    for flow in 0..flows {
        let client =
            (Ipv4Addr::from(0x0a00_0000 + flow / 50_000), u16::try_from(1024 + flow % 50_000).unwrap_or(u16::MAX));
        let (isn, peer) = (flow.wrapping_mul(2_654_435_761), flow.wrapping_mul(40_503));
        let request = format!(
            "GET /v1/orders/{flow}?expand=lines HTTP/1.1\r\nHost: api.shop.example\r\nAccept: application/json\r\n\
             Accept-Encoding: gzip, deflate, br\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n\
             Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyLTQyIn0.c2lnbmF0dXJl\r\n\
             Cookie: session=4f2a9d1c77b04e7f; theme=dark; consent=1\r\nX-Correlation-Id: c-{flow:08x}\r\n\r\n"
        );
        let segment = Segment { from: client, to: server, seq: isn, ack: None, syn: false, payload: &[] };
        if kind != "data" {
            capture.write(&Segment { syn: true, ..segment })?;
        }
        if kind == "syn" {
            continue;
        }
        if kind == "pending" {
            capture.write(&Segment {
                from: server,
                to: client,
                seq: peer,
                ack: Some(isn.wrapping_add(1)),
                syn: true,
                payload: &[],
            })?;
            capture.write(&Segment { seq: isn.wrapping_add(1), ack: Some(peer.wrapping_add(1)), ..segment })?;
        }
        capture.write(&Segment {
            seq: isn.wrapping_add(1),
            ack: Some(peer.wrapping_add(1)),
            payload: request.as_bytes(),
            ..segment
        })?;
    }
    capture.out.flush()
}
