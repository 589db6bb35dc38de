//! Answers that come before the body was sent: what was said must be heard, not only that the rest was not wanted.

mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::{ANY_PORT, Authority, Http2Platform, settings, submit};
use uploader::{HttpVersions, HttpsSettings, HttpsTransport, ProxySettings, RecordsLine, RetryReason, Stats, Uploader};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is said to a body that has not been read.
#[derive(Clone, Copy)]
enum Early {
    /// 413 to every body over so many bytes.
    Limit(usize),
    /// This, with a wish for patience of so many seconds.
    Status(u16, u64),
}

/// A peer that answers large bodies before it has read them, as it is told, and closes or stays; the rest it takes.
fn peer(authority: &Authority, closes: bool, early: Vec<Early>) -> SocketAddr {
    let files = authority.files("server", &["127.0.0.1"], 365);
    let config = Arc::new(support::server_config(authority, &files, &[&rustls::version::TLS13]));
    let listener = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let address = listener.local_addr().unwrap();
    let early = Arc::new(Mutex::new(VecDeque::from(early)));
    let serve = move |config, mut stream: TcpStream, early: Arc<Mutex<VecDeque<Early>>>| -> std::io::Result<()> {
        // Else what is said may wait for an acknowledgement, and be dropped by the reset that the peer sends itself.
        stream.set_nodelay(true)?;
        let mut session = rustls::ServerConnection::new(config).unwrap();
        let mut tls = rustls::Stream::new(&mut session, &mut stream);
        loop {
            let (mut buffer, mut seen) = ([0; 4096], Vec::new());
            let (head, length) = loop {
                match tls.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => seen.extend_from_slice(&buffer[..count]),
                }
                let Some(head) = seen.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let text = String::from_utf8_lossy(&seen[..head]).to_ascii_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                break (head + 4, length.parse::<usize>().unwrap());
            };
            let answer = {
                let mut early = early.lock().unwrap();
                match early.front().copied() {
                    Some(Early::Limit(most)) => (length > most).then_some((413, 0)),
                    Some(Early::Status(status, after)) => {
                        early.pop_front();
                        Some((status, after))
                    }
                    None => None,
                }
            };
            if let Some((status, after)) = answer {
                let connection = if closes { "Connection: close\r\n" } else { "" };
                let head =
                    format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nRetry-After: {after}\r\n{connection}\r\n");
                tls.write_all(head.as_bytes())?;
                if closes {
                    return Ok(()); // What was not read makes the system answer with a reset.
                }
            }
            while seen.len() < head + length {
                match tls.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => seen.extend_from_slice(&buffer[..count]),
                }
            }
            if answer.is_none() {
                tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
        }
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, early) = (Arc::clone(&config), Arc::clone(&early));
            std::thread::spawn(move || serve(config, stream, early));
        }
    });
    address
}

fn https(authority: &Authority, address: SocketAddr, http: HttpVersions) -> HttpsSettings {
    HttpsSettings {
        tls: authority.client_tls(),
        proxy: ProxySettings::None,
        timeout: Duration::from_secs(5),
        http,
        ..HttpsSettings::new(format!("https://{address}/x"))
    }
}

/// Sends a hundred records in ten batches of 600 kB: far more than what lies in buffers on the way.
fn deliver(https: &HttpsSettings) -> (Arc<Stats>, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let uploader = Uploader::start(settings(folder.path()), HttpsTransport::new(https).unwrap()).unwrap();
    let (stats, start) = (uploader.stats(), Instant::now());
    submit(&uploader, 0..100, 60_000);
    let report = uploader.drain(PATIENCE);
    assert_eq!(report.records, RecordsLine { taken: 100, accepted: 100, ..RecordsLine::default() });
    (stats, start.elapsed())
}

fn retried(stats: &Stats) -> Vec<(&'static str, u64)> {
    let retries = RetryReason::ALL.iter().map(|&reason| (reason.name(), stats.retries(reason)));
    retries.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn too_large_ahead_of_a_closed_connection_is_heard() {
    let authority = Authority::new();
    for closes in [true, false] {
        let address = peer(&authority, closes, vec![Early::Limit(200_000)]);
        let (stats, _) = deliver(&https(&authority, address, HttpVersions::Http1));
        // Ten batches of ten, halved until three at most are left: 10, 5 and 5, 2 and 3.
        assert_eq!(stats.batches_split(), 30);
    }
}

/// Which of them it was decides what is done next: nothing may be taken for a connection that broke.
#[test]
fn other_refusals_ahead_of_the_body_are_heard() {
    let authority = Authority::new();
    for closes in [true, false] {
        for (status, reason) in
            [(429, "too_many_requests"), (503, "unavailable"), (500, "server_error"), (408, "request_timeout")]
        {
            let address = peer(&authority, closes, vec![Early::Status(status, 1); 3]);
            let (stats, took) = deliver(&https(&authority, address, HttpVersions::Http1));
            assert_eq!(retried(&stats), [(reason, 3)], "{status}, closes: {closes}");
            assert!(took > Duration::from_millis(900), "{status}: the wish for patience was heard, too");
        }
        // Once for each batch it is no failure: the token may have been old.
        let address = peer(&authority, closes, vec![Early::Status(401, 0); 3]);
        let (stats, _) = deliver(&https(&authority, address, HttpVersions::Http1));
        assert!(retried(&stats).iter().all(|(name, count)| *name == "unauthorized" && *count < 3), "{closes}");
    }
}

/// A stream is answered and reset, without an error, as RFC 9113 has it (section 8.1).
#[test]
fn refusals_ahead_of_the_body_are_heard_in_http2() {
    let authority = Authority::new();
    for (status, reason) in [(429, "too_many_requests"), (503, "unavailable"), (500, "server_error")] {
        let platform = Http2Platform::start(&authority);
        platform.early.lock().unwrap().extend([status; 3]);
        let (stats, took) = deliver(&https(&authority, platform.address, HttpVersions::Any));
        assert_eq!(retried(&stats), [(reason, 3)], "{status}");
        assert!(took > Duration::from_millis(900), "{status}: the wish for patience was heard, too");
        let versions = platform.versions.lock().unwrap();
        assert!(versions.len() == 10 && versions.iter().all(|(version, _)| *version == hyper::Version::HTTP_2));
    }
    let platform = Http2Platform::start(&authority);
    platform.early.lock().unwrap().extend([401; 3]);
    let (stats, _) = deliver(&https(&authority, platform.address, HttpVersions::Any));
    assert!(retried(&stats).iter().all(|(reason, count)| *reason == "unauthorized" && *count < 3));
    let platform = Http2Platform::start(&authority);
    platform.early.lock().unwrap().extend([413; 3]);
    let (stats, _) = deliver(&https(&authority, platform.address, HttpVersions::Any));
    assert_eq!((retried(&stats), stats.batches_split()), (vec![], 3));
}
