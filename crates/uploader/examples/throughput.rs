//! What delivery costs: a gigabyte of records through the uploader, and the processor time of its threads.
//!
//! `cargo run --profile quick -p uploader --example throughput [megabytes]`

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uploader::{
    Coding, Destination, HttpsSettings, ProxySettings, RecordId, Settings, SpoolSettings, SpoolSync, Uploader,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let megabytes: usize = std::env::args().nth(1).map_or(Ok(1024), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let https = platform(folder.path())?;
    let spool = |sync| Some(SpoolSettings { sync, ..SpoolSettings::new(folder.path().join("spool")) });
    let plain = Settings::default;
    let runs = [
        ("null, memory", plain(), Destination::Null),
        ("null, spool without sync", Settings { spool: spool(SpoolSync::None), ..plain() }, Destination::Null),
        ("null, spool", Settings { spool: spool(SpoolSync::Batch), ..plain() }, Destination::Null),
        ("null, gzip, memory", Settings { coding: Coding::Gzip, ..plain() }, Destination::Null),
        ("null, zstd, memory", Settings { coding: Coding::Zstd, ..plain() }, Destination::Null),
        ("https, memory", plain(), https.clone()),
        ("https, spool without sync", Settings { spool: spool(SpoolSync::None), ..plain() }, https.clone()),
        ("https, spool", Settings { spool: spool(SpoolSync::Batch), ..plain() }, https),
    ];
    let mut out = std::io::stdout().lock();
    use std::io::Write;
    writeln!(out, "{:28} {:>8} {:>8} {:>10} {:>8} {:>8}", "", "wall s", "MB/s", "batcher s", "seal s", "deliver s")?;
    for (name, settings, destination) in runs {
        let uploader = Uploader::start_to(settings, &destination, None)?;
        let (mut batcher, intake) = (uploader.batcher(), uploader.intake());
        let record: Vec<u8> = (0..4000u32).map(|at| b"0123456789abcdef{}\",: \n"[(at * at % 23) as usize]).collect();
        let start = Instant::now();
        for id in 0..(megabytes << 20) / record.len() {
            batcher.buffer().extend_from_slice(&record);
            if let Some(batch) = batcher.commit(RecordId((id as u128).to_be_bytes()), start) {
                intake.submit(batch).map_err(|_| "the uploader has ended")?;
            }
        }
        while uploader.stats().records().waiting() > 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let wall = start.elapsed().as_secs_f64();
        let times = ["throughput", "seal", "deliver"].map(processor_seconds);
        let report = uploader.drain(Duration::from_secs(60));
        assert!(report.complete && report.records.adds_up() && report.records.dropped_total() == 0);
        let [batcher, seal, deliver] = times;
        let rate = megabytes as f64 / wall;
        writeln!(out, "{name:28} {wall:8.2} {rate:8.0} {batcher:10.2} {seal:8.2} {deliver:8.2}")?;
    }
    Ok(())
}

/// Processor time of this process's threads of that name (for the main one: since the start of all runs).
fn processor_seconds(name: &str) -> f64 {
    let mut ticks = 0i64;
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(')') else { continue };
        if head.split_once('(').is_some_and(|(_, found)| found == name) {
            // Behind the state: parent, group, session, terminal, its group (may be -1), flags, four of faults, user, system.
            let fields: Vec<i64> = rest.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
            ticks += fields.get(10).unwrap_or(&0) + fields.get(11).unwrap_or(&0);
        }
    }
    ticks as f64 / 100.0
}

/// A server that demands a certificate, reads, and says OK.
fn platform(folder: &std::path::Path) -> Result<Destination, Box<dyn std::error::Error>> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let path = folder.join("both.pem");
    std::fs::write(&path, format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let port = listener.local_addr()?.port();
    std::thread::Builder::new().name("platform".into()).spawn(move || {
        runtime.block_on(async {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut buffer = vec![0; 256 << 10];
                    let (mut head, mut left) = (Vec::new(), 0);
                    loop {
                        let read = stream.read(&mut buffer).await?;
                        if read == 0 {
                            return Ok::<_, std::io::Error>(());
                        }
                        if left == 0 {
                            head.extend_from_slice(&buffer[..read]);
                            let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                            let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
                            let length = text.split("content-length: ").nth(1).unwrap_or_default();
                            let length: usize = length.lines().next().unwrap_or_default().parse().unwrap_or(0);
                            left = length - (head.len() - end - 4);
                            head.clear();
                        } else {
                            left -= read;
                        }
                        if left == 0 {
                            stream
                                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}")
                                .await?;
                        }
                    }
                });
            }
        });
    })?;
    let mut https = HttpsSettings::new(format!("https://127.0.0.1:{port}/api-transactions"));
    https.tls.identity = Some(uploader::IdentityFiles { certificate: path.clone(), key: path.clone() });
    https.tls.ca = Some(path);
    https.proxy = ProxySettings::None;
    Ok(Destination::Https(Box::new(https)))
}
