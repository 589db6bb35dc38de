//! Measures what the collector takes over TLS from one sender on one connection: bytes a second, and the processor time that
//! a gigabyte costs it. `cargo run --profile quick -p collector --example flood [null|memory|FILE] [GIGABYTES]`
#![allow(clippy::print_stdout)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use collector::{ClientCertificates, Collector, Options, Tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let store = arguments.next().unwrap_or_else(|| "null".to_owned()).parse()?;
    let gigabytes: f64 = arguments.next().map_or(Ok(2.0), |text| text.parse())?;

    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let tls = Tls {
        certificate: certificate.clone(),
        key,
        client_ca: None,
        client_certificates: ClientCertificates::Ignored,
    };
    let collector = Collector::start(Options { tls: Some(tls), store, ..Options::default() })?;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(collector.address())?);

    // Batches of 1 MiB of records with a body of 32 KiB.
    let data = "QUJDRA".repeat(32 * 1024 * 4 / 3 / 6 / 4 * 4);
    let (begun, before) = (Instant::now(), processor_ticks()?);
    let (mut bytes, mut number, mut answer) = (0f64, 0u64, [0; 4096]);
    while bytes < gigabytes * 1e9 {
        let mut body = String::from("{\"data\":[");
        while body.len() < 1 << 20 {
            number += 1;
            body.push_str(&format!(
                "{{\"timestamp\":\"1690000000.123\",\"transaction-id\":\"{number:032x}\",\"request\":{{\"http-method\":\"GET\",\"uri-query-fragment\":\"/a\",\"host\":\"api.example\",\"connection\":{{\"connection-ip\":\"192.0.2.1\",\"server-ip\":\"192.0.2.2\"}}}},\"response\":{{\"status-code\":\"200\",\"body\":{{\"length\":32768,\"data\":\"{data}\"}}}}}},"
            ));
        }
        body.pop();
        body.push_str("]}");
        write!(
            stream,
            "POST /api-transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body.as_bytes())?;
        let count = stream.read(&mut answer)?;
        if !answer[..count].starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&answer[..count]).into());
        }
        bytes += body.len() as f64;
    }
    let (seconds, ticks) = (begun.elapsed().as_secs_f64(), processor_ticks()? - before);
    let stats = collector.shutdown();
    println!(
        "{number} records sent, {} counted; {:.2} GB in {seconds:.2} s: {:.2} GB/s; the collector's threads took {:.2} s a GB",
        stats.records,
        bytes / 1e9,
        bytes / 1e9 / seconds,
        ticks as f64 / 100.0 / (bytes / 1e9),
    );
    Ok(())
}

/// Processor time of the collector's threads, in hundredths of a second as Linux counts them.
fn processor_ticks() -> std::io::Result<u64> {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        if stat.contains("(collector)") {
            // User and system time are the 14th and 15th field; the name, which may hold blanks, is the 2nd.
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            ticks += fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(ticks)
}
