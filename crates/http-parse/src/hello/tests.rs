use proptest::prelude::*;

use super::*;

/// `openssl s_client -servername api.example.test -alpn h2,http/1.1` (OpenSSL 3.0), captured on loopback.
const OPENSSL: &str = "\
160301014f0100014b030303c0ab2f50c510fd66235811d7313749bd33e5145fd6ff14b3f84d1838d78cf520c8713096\
c0bd510910e88ca9fd5a9ecf37258007076a68bb6ff7108d334ffa37003e130213031301c02cc030009fcca9cca8ccaa\
c02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff010000c4\
0000001500130000106170692e6578616d706c652e74657374000b000403000102000a00160014001d0017001e001900\
1801000101010201030104002300000010000e000c02683208687474702f312e310016000000170000000d002a002804\
0305030603080708080809080a080b080408050806040105010601030303010302040205020602002b00090803040303\
03020301002d00020101003300260024001d00200e67fddefbe821a4e653dbfdbc577088870b8ec5ff2d2a5e1ecb5dd2\
4ce6057e";

/// `curl https://shop.example.test/` (curl 7.88 with OpenSSL), captured on loopback.
const CURL: &str = "\
1603010200010001fc0303db1b92d7d455a450d6fde7859fd9055ceaf79ca3e5d90e94a22b4b954c93036620510a88fc\
123472a80568aeec03410a17240e76ad2957a5be5aa7c3ba19030729003e130213031301c02cc030009fcca9cca8ccaa\
c02bc02f009ec024c028006bc023c0270067c00ac0140039c009c0130033009d009c003d003c0035002f00ff01000175\
00000016001400001173686f702e6578616d706c652e74657374000b000403000102000a00160014001d0017001e0019\
0018010001010102010301040010000e000c02683208687474702f312e31001600000017000000310000000d002a0028\
040305030603080708080809080a080b080408050806040105010601030303010302040205020602002b000908030403\
0303020301002d00020101003300260024001d0020e1a0085abdb901b6653a96fbf6a2150e50f8b7c94da60e8042e994\
2bdf9c5a36001500ac000000000000000000000000000000000000000000000000000000000000000000000000000000\
000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
00000000000000000000000000000000000000000000000000000000000000000000000000";

/// `openssl s_client -tls1_2 -noservername`, captured on loopback: neither server name nor application protocols.
const WITHOUT_NAMES: &str = "\
16030100830100007f0303d03f140c8d199bd83dd290fbff77f888be8095626b7984d56bffe8588693279f000004c02f\
00ff01000052000b000403000102000a000c000a001d0017001e00190018002300000016000000170000000d002a0028\
040305030603080708080809080a080b080408050806040105010601030303010302040205020602";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn hello(server_name: &str, alpn: &[&str]) -> HelloStatus {
    let server_name = Some(server_name.to_owned()).filter(|name| !name.is_empty());
    HelloStatus::Hello(ClientHello { server_name, alpn: alpn.iter().map(|name| (*name).to_owned()).collect() })
}

/// The same handshake in records of at most `len` bytes.
fn fragment(record: &[u8], len: usize) -> Vec<u8> {
    let records = record[5..].chunks(len).map(|part| [&record[..3], &(part.len() as u16).to_be_bytes(), part].concat());
    records.collect::<Vec<_>>().concat()
}

/// A hello with these extensions.
fn with_extensions(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut listed = Vec::new();
    for (kind, content) in extensions {
        listed.extend_from_slice(&kind.to_be_bytes());
        listed.extend_from_slice(&(content.len() as u16).to_be_bytes());
        listed.extend_from_slice(content);
    }
    let mut body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0]].concat();
    body.extend_from_slice(&(listed.len() as u16).to_be_bytes());
    body.extend_from_slice(&listed);
    let handshake = [&[1][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    [&[22, 3, 1][..], &(handshake.len() as u16).to_be_bytes(), &handshake].concat()
}

fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
    let list: Vec<u8> = names.iter().flat_map(|name| [&[name.len() as u8][..], name].concat()).collect();
    (16, [&(list.len() as u16).to_be_bytes()[..], &list].concat())
}

fn server_name(name: &[u8]) -> (u16, Vec<u8>) {
    let entry = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
    (0, [&(entry.len() as u16).to_be_bytes()[..], &entry].concat())
}

#[test]
fn hellos_of_real_clients_are_read() {
    let behind = b"\x14\x03\x03\0\x01\x01";
    for (hex, expected) in [
        (OPENSSL, hello("api.example.test", &["h2", "http/1.1"])),
        (CURL, hello("shop.example.test", &["h2", "http/1.1"])),
        (WITHOUT_NAMES, hello("", &[])),
    ] {
        let record = bytes(hex);
        assert_eq!(parse_client_hello(&record), expected);
        assert_eq!(parse_client_hello(&[&record[..], behind].concat()), expected);
        for len in 0..record.len() {
            assert_eq!(parse_client_hello(&record[..len]), HelloStatus::NeedMore, "{len}");
        }
    }
}

#[test]
fn hello_may_span_records() {
    let record = bytes(CURL);
    let expected = hello("shop.example.test", &["h2", "http/1.1"]);
    for len in [511, 300, 100, 17, 8] {
        let records = fragment(&record, len);
        assert_eq!(parse_client_hello(&records), expected, "{len}");
        for cut in 0..records.len() {
            assert_eq!(parse_client_hello(&records[..cut]), HelloStatus::NeedMore, "{len} {cut}");
        }
    }
    assert_eq!(parse_client_hello(&fragment(&record, 1)), HelloStatus::Tls, "more records than are read");
    let mixed = [&fragment(&record, 100)[..105], b"\x17\x03\x03\0\x01\x01"].concat();
    assert_eq!(parse_client_hello(&mixed), HelloStatus::Tls);
}

#[test]
fn names_that_say_nothing_are_left_out() {
    let names: [&[u8]; 6] = [b"\x0a\x0a", b"h2", b"\xfa\xfa", b"\xff\xfe", b"", b"http/1.1"];
    assert_eq!(parse_client_hello(&with_extensions(&[(0x1a1a, vec![]), alpn(&names)])), hello("", &["h2", "http/1.1"]));
    let many: Vec<&[u8]> = vec![b"x"; 1000];
    assert_eq!(parse_client_hello(&with_extensions(&[alpn(&many)])), hello("", &["x"; 64]));
    for name in [&b"a b"[..], b"", b"\xe4.test", b"a\0b", &[b'a'; 256]] {
        assert_eq!(parse_client_hello(&with_extensions(&[server_name(name)])), hello("", &[]));
    }
    assert_eq!(parse_client_hello(&with_extensions(&[server_name(b"a.test")])), hello("a.test", &[]));
    assert_eq!(parse_client_hello(&with_extensions(&[])), hello("", &[]));
}

#[test]
fn tls_without_a_readable_hello_is_still_tls() {
    for records in [
        &b"\x17\x03\x03\x00\x20encrypted"[..],
        b"\x17\x03\x01\x00\x00\x17\x03\x01",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x14\x03\x03\x00\x01\x01",
        b"\x16\x03\x03\x00\x5a\x02\0\0\x56\x03\x03server hello",
        b"\x16\x03\x03\x00\x28random bytes",
        b"\x16\x03\x01\x40\x00\x01\xff\xff\xff longer than any hello",
        b"\x16\x03\x01\x00\x06\x01\0\0\x02\x03\x03",
    ] {
        assert_eq!(parse_client_hello(records), HelloStatus::Tls, "{records:?}");
    }
    let ssl2 = [&b"\x80\x1f\x01\x03\x01\0\x06\0\0\0\x10"[..], &[0x13; 6], &[9; 16]].concat();
    assert_eq!(parse_client_hello(&ssl2), HelloStatus::Tls);
    assert_eq!(parse_client_hello(&ssl2[..10]), HelloStatus::NeedMore);
}

#[test]
fn other_protocols_are_not_tls() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"HTTP/1.1 200 OK",
        b"SSH-2.0-x",
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x19\x03\x01",
        b"\x80\x1f\x02",
        b"\x80\x1f\x01\x03\x01\0\x07\0\0\0\x10",
        b"\0\0\x12\x04\0\0\0\0\0",
    ] {
        assert_eq!(parse_client_hello(bytes), HelloStatus::NotTls, "{bytes:?}");
    }
    assert_eq!(parse_client_hello(b""), HelloStatus::NeedMore);
}

proptest! {
    #[test]
    fn damaged_hellos_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        len in 0usize..600,
        fragments in 1usize..300,
    ) {
        let mut records = fragment(&bytes(CURL), fragments);
        for (index, byte) in damage {
            let at = index.index(records.len());
            records[at] = byte;
        }
        records.truncate(len.max(1));
        // What is told of some bytes is not taken back when more come.
        let told = parse_client_hello(&records);
        let more = parse_client_hello(&[&records[..], &[0; 700]].concat());
        prop_assert!(told == HelloStatus::NeedMore || told == more, "{told:?} {more:?}");
    }
}
