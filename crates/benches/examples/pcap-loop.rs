//! libpcap's bare loop over a capture file: the bound that no sensor on top of libpcap can beat.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("usage: pcap-loop FILE");
        return ExitCode::from(2);
    };
    let (mut packets, mut bytes) = (0_u64, 0_u64);
    let outcome = pcap::Capture::from_file(&path).and_then(|mut capture| {
        capture.for_each(None, |packet| {
            packets += 1;
            bytes += packet.data.len() as u64;
        })
    });
    match outcome {
        Ok(()) => {
            eprintln!("{packets} packets, {bytes} bytes");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pcap-loop: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
