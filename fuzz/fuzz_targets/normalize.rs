//! Hostile names: whatever headers, PROXY preface or path come, no panic, bounded output, fixed points, and a client that only
//! trusted proxies vouch for.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sensor::normalize::{
    MAX_TEMPLATE, Normalizer, Preface, Settings, WonBy, endpoint_template, host, normalize_path, read_preface,
};

const NAMES: [&[u8]; 8] = [
    b"X-Forwarded-For",
    b"forwarded",
    b"True-Client-IP",
    b"cf-connecting-ip",
    b"x-real-ip",
    b"X-Azure-ClientIP",
    b"x-forwarded-proto",
    b"host",
];

static TRUSTING: LazyLock<Normalizer> = LazyLock::new(|| {
    let trusted_proxies = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()).to_vec();
    Normalizer::new(Settings { trusted_proxies, ..Settings::default() })
});

fuzz_target!(|data: &[u8]| {
    // Each line is a header; its first byte chooses the name.
    let headers: Vec<(&[u8], &[u8])> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(name, value)| (NAMES[usize::from(*name) % NAMES.len()], value))
        .collect();
    let proxy: IpAddr = "10.0.0.1".parse().unwrap();
    let guest: IpAddr = "192.0.2.1".parse().unwrap();
    for (peer, proxied) in [(proxy, None), (proxy, Some(guest)), (proxy, Some(proxy)), (guest, Some(proxy))] {
        let origin = TRUSTING.origin(peer, proxied, headers.iter().copied());
        match origin.client.source {
            WonBy::Connection => assert_eq!(origin.client.ip, peer),
            WonBy::ProxyProtocol => assert_eq!(Some(origin.client.ip), proxied),
            WonBy::Header(_) => assert!(peer == proxy && proxied != Some(guest)),
        }
        // What an untrusted peer says changes nothing.
        assert!(peer != guest || (origin.client.ip == guest && origin.scheme.is_none()));
    }

    let (mut scratch, mut again) = (Vec::new(), Vec::new());
    if let Some(authority) = host(None, None, Some(data), &mut scratch) {
        assert!(authority.host.len() <= data.len() + 2);
        assert!(!authority.host.iter().any(u8::is_ascii_uppercase));
    }
    let path = normalize_path(data, &mut scratch);
    assert!(path.len() <= data.len());
    assert_eq!(normalize_path(path, &mut again), path);
    let mut template = Vec::new();
    let template = endpoint_template(path, &mut template);
    assert!(template.len() <= MAX_TEMPLATE.max(path.len()) && template.len() <= MAX_TEMPLATE);
    assert_eq!(endpoint_template(template, &mut again), template);

    // A preface is told of the shortest prefix that shows it, and never taken back.
    let whole = read_preface(data);
    assert!(data.len() < 107 || whole != Preface::NeedMore);
    for cut in 0..data.len().min(120) {
        let part = read_preface(&data[..cut]);
        assert!(part == Preface::NeedMore || part == whole);
    }
    if let Preface::Found(header) = whole {
        assert!(header.len <= 16 + usize::from(u16::MAX) && header.tlvs(data).count() <= data.len());
    }
});
