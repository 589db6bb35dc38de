//! An interface of a real kernel: a veth pair in a network namespace of its own.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sensor::live::{Interface, InterfaceError, InterfaceOptions, LiveSource as _};

/// A veth pair, `{name}a` and `{name}b`, that goes with its value. `None`, said aloud, where this process may not make one.
struct Pair(&'static str);

impl Pair {
    fn new(name: &'static str) -> Option<Self> {
        let made = ip(&["link", "add", &format!("{name}a"), "type", "veth", "peer", "name", &format!("{name}b")]);
        if !made {
            eprintln!("skipped: no right to make network interfaces here (run as root)");
            return None;
        }
        for end in ["a", "b"] {
            let end = format!("{name}{end}");
            // Without IPv6 the kernel says nothing of its own.
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1");
            assert!(ip(&["link", "set", &end, "up"]));
        }
        Some(Self(name))
    }

    /// The same with this number for the end `b`, as an interface has that comes back from another namespace.
    fn numbered(name: &'static str, index: u32) -> Self {
        let (first, second) = (format!("{name}a"), format!("{name}b"));
        let index = index.to_string();
        assert!(ip(&["link", "add", &second, "index", &index, "type", "veth", "peer", "name", &first]));
        for end in [&first, &second] {
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1");
            assert!(ip(&["link", "set", end, "up"]));
        }
        Self(name)
    }

    fn of_capturing_end(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/sys/class/net/{}b/{file}", self.0)).unwrap().trim().to_owned()
    }

    fn is_promiscuous(&self) -> bool {
        const IFF_PROMISC: u32 = 0x100;
        let flags = self.of_capturing_end("flags");
        u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap() & IFF_PROMISC != 0
    }

    fn options(&self) -> InterfaceOptions {
        InterfaceOptions { ring_bytes: 2 << 20, ..InterfaceOptions::new(format!("{}b", self.0)) }
    }

    fn sent_by_capturing_end(&self) -> u64 {
        self.of_capturing_end("statistics/tx_packets").parse().unwrap()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        ip(&["link", "del", &format!("{}a", self.0)]);
    }
}

fn ip(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Sends Ethernet frames of 60 bytes, numbered, from the pair's other end.
fn send(pair: &Pair, count: u32) {
    let capture = pcap::Capture::from_device(format!("{}a", pair.0).as_str()).unwrap();
    let mut sender = capture.open().unwrap();
    for number in 0..count {
        let mut frame = [0_u8; 60];
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame[14..18].copy_from_slice(&number.to_be_bytes());
        sender.sendpacket(frame).unwrap();
    }
}

#[test]
fn every_frame_arrives_once_and_nothing_is_sent() {
    let Some(pair) = Pair::new("sntall") else { return };
    let mut interface = Interface::open(&pair.options()).unwrap();
    let (sent_before, count) = (pair.sent_by_capturing_end(), 10_000);
    send(&pair, count);
    let mut numbers = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while numbers.len() < count as usize && Instant::now() < end {
        interface
            .poll(Duration::from_millis(100), &mut |frame| {
                assert_eq!((frame.link, frame.data.len(), frame.wire_len), (decap::LinkType::Ethernet, 60, 60));
                numbers.push(u32::from_be_bytes(frame.data[14..18].try_into().unwrap()));
            })
            .unwrap();
    }
    assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "frames for a foreign address, in order");
    let counts = interface.counts();
    assert_eq!((counts.received, counts.kernel_drops), (u64::from(count), 0));
    assert_eq!(interface.poll(Duration::from_millis(50), &mut |_| panic!("nothing more was sent")), Ok(0));
    assert_eq!(pair.sent_by_capturing_end(), sent_before, "a capture interface transmits nothing");
}

#[test]
fn a_full_ring_is_counted_to_the_frame() {
    let Some(pair) = Pair::new("sntful") else { return };
    let mut interface = Interface::open(&pair.options()).unwrap();
    let count = 60_000;
    // More than 2 MiB of ring holds, with nobody reading.
    send(&pair, count);
    let mut taken = 0;
    while interface.poll(Duration::from_millis(100), &mut |_| taken += 1).unwrap() > 0 {}
    let counts = interface.counts();
    assert_eq!(counts.received, u64::from(count));
    assert!(counts.kernel_drops > 0);
    assert_eq!(taken, counts.received - counts.kernel_drops);
}

#[test]
fn an_interface_that_goes_is_lost_and_found_again() {
    let Some(pair) = Pair::new("sntgon") else { return };
    let options = pair.options();
    let mut interface = Interface::open(&options).unwrap();
    drop(pair);
    let end = Instant::now() + Duration::from_secs(10);
    let lost = loop {
        match interface.poll(Duration::from_millis(50), &mut |_| {}) {
            Err(lost) => break lost,
            Ok(_) => assert!(Instant::now() < end, "a removed interface must be noticed"),
        }
    };
    assert!(lost.to_string().contains("sntgonb"), "{lost}");
    let missing = Interface::open(&options).unwrap_err();
    assert!(matches!(missing, InterfaceError::Missing { .. }) && missing.may_pass(), "{missing}");

    let _pair = Pair::new("sntgon").unwrap();
    Interface::open(&options).unwrap();
}

/// The kernel forgets who wanted the frames for others when an interface goes, whatever number the next one has.
#[test]
fn an_interface_that_comes_back_with_its_number_gives_the_frames_for_others_again() {
    let Some(pair) = Pair::new("sntsam") else { return };
    let mut interface = Interface::open(&pair.options()).unwrap();
    assert!(pair.is_promiscuous());
    let index = pair.of_capturing_end("ifindex").parse().unwrap();
    drop(pair);
    let end = Instant::now() + Duration::from_secs(10);
    while interface.poll(Duration::from_millis(50), &mut |_| {}).is_ok() {
        assert!(Instant::now() < end, "a removed interface must be noticed");
    }
    let pair = Pair::numbered("sntsam", index);
    interface.take_up("sntsamb").unwrap();
    assert!(pair.is_promiscuous(), "number {index}");
    exchange(&pair, &mut interface, 100);
}

/// Sends `count` frames and takes them; every one is there, once, and no other.
fn exchange(pair: &Pair, interface: &mut Interface, count: u32) {
    send(pair, count);
    let mut numbers = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    while numbers.len() < count as usize && Instant::now() < end {
        let take = &mut |frame: decap::Frame<'_>| {
            assert_eq!((frame.link, frame.data.len()), (decap::LinkType::Ethernet, 60));
            numbers.push(u32::from_be_bytes(frame.data[14..18].try_into().unwrap()));
        };
        interface.poll(Duration::from_millis(100), take).unwrap();
    }
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[test]
fn a_ring_made_ready_takes_up_what_comes_and_comes_again() {
    for filter in [None, Some("ether proto 0x88b5".to_owned())] {
        let options =
            InterfaceOptions { ring_bytes: 2 << 20, filter, ..InterfaceOptions::new("not there yet".to_owned()) };
        let Ok(mut interface) = Interface::spare(&options) else {
            eprintln!("skipped: no right to capture here (run as root)");
            return;
        };
        assert!(!interface.is_up());
        // What passes on the interface that the ring was made on is none of ours.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"noise", socket.local_addr().unwrap()).unwrap();
        assert!(matches!(interface.take_up("sntspab"), Err(InterfaceError::Missing { .. })));
        let Some(pair) = Pair::new("sntspa") else { return };
        interface.take_up("sntspab").unwrap();
        assert!(interface.is_up() && interface.name() == "sntspab");
        exchange(&pair, &mut interface, 1_000);
        assert_eq!((interface.counts().received, interface.counts().kernel_drops), (1_000, 0));

        assert!(ip(&["link", "set", "sntspab", "down"]));
        let end = Instant::now() + Duration::from_secs(10);
        let lost = loop {
            match interface.poll(Duration::from_millis(50), &mut |_| {}) {
                Err(lost) => break lost,
                Ok(_) => assert!(Instant::now() < end, "libpcap says nothing of an interface that is down"),
            }
        };
        assert!(lost.to_string().contains("down") && !interface.is_up(), "{lost}");
        assert!(matches!(interface.take_up("sntspab"), Err(InterfaceError::Down { .. })));
        drop(pair);
        let pair = Pair::new("sntspa").unwrap();
        interface.take_up("sntspab").unwrap();
        exchange(&pair, &mut interface, 1_000);
        assert_eq!((interface.counts().received, interface.counts().kernel_drops), (2_000, 0));
        assert_eq!(pair.sent_by_capturing_end(), 0);
    }
}

#[test]
fn what_an_interface_left_in_the_ring_comes_before_it_is_lost() {
    for (number, line) in ["link set sntlftb down", "link del sntlfta"].into_iter().enumerate() {
        let Some(pair) = Pair::new("sntlft") else { return };
        let options = InterfaceOptions { ring_bytes: 8 << 20, ..pair.options() };
        let mut interface = if number == 0 { Interface::open(&options) } else { Interface::spare(&options) }.unwrap();
        if number > 0 {
            interface.take_up("sntlftb").unwrap();
        }
        send(&pair, 10_000);
        assert!(ip(&line.split(' ').collect::<Vec<_>>()));
        let mut taken = 0;
        let end = Instant::now() + Duration::from_secs(10);
        let lost = loop {
            match interface.poll(Duration::from_millis(50), &mut |_| taken += 1) {
                Err(lost) => break lost,
                Ok(_) => assert!(Instant::now() < end, "it must be noticed"),
            }
        };
        let counts = interface.counts();
        assert_eq!((taken, counts.received, counts.kernel_drops), (10_000, 10_000, 0), "{line}: {lost}");
        assert!(!interface.is_up());
        drop(pair);
    }
}

/// One that is up again before its ring is empty goes on giving frames: it was lost after two seconds, by a call that had handed
/// some on, uncounted.
#[test]
fn what_an_interface_gives_while_it_flaps_is_counted() {
    let Some(pair) = Pair::new("sntflp") else { return };
    let mut interface = Interface::open(&pair.options()).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let sending = {
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let mut sender = pcap::Capture::from_device("sntflpa").unwrap().open().unwrap();
            while !is_over.load(Ordering::Relaxed) {
                // There is no way to the other end while it is down.
                let _ = sender.sendpacket([2; 60]);
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    let set = |state| assert!(ip(&["link", "set", "sntflpb", state]));
    let (mut handed_on, mut counted, mut losses) = (0, 0, 0);
    // Where this machine is too busy to send in time it is lost at once, and tried again.
    let mut goes_on = false;
    while losses < 10 && !goes_on {
        let down = Instant::now();
        set("down");
        counted += interface.poll(Duration::from_millis(10), &mut |_| handed_on += 1).unwrap();
        set("up");
        while !goes_on {
            let Ok(taken) = interface.poll(Duration::from_millis(10), &mut |_| handed_on += 1) else { break };
            counted += taken;
            goes_on = taken > 0 && down.elapsed() > Duration::from_secs(3);
            assert!(down.elapsed() < Duration::from_secs(60), "it gives nothing and is not lost");
        }
        if !goes_on {
            losses += 1;
            interface.take_up("sntflpb").unwrap();
        }
    }
    is_over.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    assert_eq!((goes_on, counted), (true, handed_on), "lost {losses} times");
}

/// Sends datagrams of 1,000 bytes over the loopback of this thread's namespace to a port that is held, and answered by
/// nobody.
fn send_to_oneself(count: u32) -> u16 {
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = receiver.local_addr().unwrap().port();
    for _ in 0..count {
        sender.send_to(&[0; 1_000], ("127.0.0.1", port)).unwrap();
    }
    port
}

/// A frame of the loopback passes every tap twice. It is one frame all the same, received or dropped.
#[test]
fn what_the_loopback_drops_is_counted_once() {
    // A namespace of this thread's own: on the host's loopback there is more to see.
    if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
        eprintln!("skipped: no right to make network namespaces here (run as root)");
        return;
    }
    assert!(ip(&["link", "set", "lo", "up"]));
    for (name, filter) in
        [("lo", None), ("lo", Some("udp")), ("any", None), ("any", Some("udp")), ("any", Some("udp and not port 1"))]
    {
        let filter = filter.map(str::to_owned);
        let options = InterfaceOptions { ring_bytes: 1 << 20, filter, ..InterfaceOptions::new(name) };
        let mut interface = Interface::open(&options).unwrap();
        // What is too much for the ring, and what is not.
        for (count, is_too_much) in [(100_u32, false), (5_000, true)] {
            let before = interface.counts();
            send_to_oneself(count);
            let mut taken = 0;
            let mut quiet = 0;
            while quiet < 3 {
                let got = interface.poll(Duration::from_millis(50), &mut |_| taken += 1).unwrap();
                quiet = if got == 0 { quiet + 1 } else { 0 };
            }
            let counts = interface.counts();
            let (received, drops) = (counts.received - before.received, counts.kernel_drops - before.kernel_drops);
            assert_eq!(received, u64::from(count), "{options:?}");
            assert_eq!(taken, received - drops, "{options:?}");
            assert_eq!(drops > 0, is_too_much, "{drops} of {count}: {options:?}");
        }
    }
    // Of another interface what is sent counts with `any`, and once.
    assert!(ip(&["link", "add", "snta", "type", "veth", "peer", "name", "sntb"]));
    for end in ["snta", "sntb"] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1");
        assert!(ip(&["link", "set", end, "up"]));
    }
    let filter = Some("ether proto 0x88b5".to_owned());
    let options = InterfaceOptions { ring_bytes: 4 << 20, filter, ..InterfaceOptions::new("any") };
    let mut interface = Interface::open(&options).unwrap();
    let mut sender = pcap::Capture::from_device("snta").unwrap().open().unwrap();
    let mut frame = [0_u8; 60];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    for _ in 0..100 {
        sender.sendpacket(frame).unwrap();
    }
    let mut taken = 0;
    let mut quiet = 0;
    while quiet < 3 {
        let got = interface.poll(Duration::from_millis(50), &mut |_| taken += 1).unwrap();
        quiet = if got == 0 { quiet + 1 } else { 0 };
    }
    assert_eq!((taken, interface.counts().received), (200, 200), "on its way out of one and into the other");
}

/// An interface of raw IP, which goes with its value.
struct Tun(&'static str);

impl Tun {
    fn new(name: &'static str) -> Option<Self> {
        if !ip(&["tuntap", "add", "dev", name, "mode", "tun"]) {
            eprintln!("skipped: no right to make network interfaces here (run as root), or no tun devices");
            return None;
        }
        let tun = Self(name);
        assert!(ip(&["link", "set", name, "up"]));
        Some(tun)
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        ip(&["tuntap", "del", "dev", self.0, "mode", "tun"]);
    }
}

#[test]
fn a_ring_takes_up_no_interface_of_another_kind() {
    let name = "snttun";
    let Some(tun) = Tun::new(name) else { return };
    let options = InterfaceOptions { ring_bytes: 1 << 20, ..InterfaceOptions::new(name) };
    let mut interface = Interface::spare(&options).unwrap();
    let error = interface.take_up(name).unwrap_err();
    assert!(matches!(error, InterfaceError::OtherKind { .. }), "{error}");
    assert!(error.may_pass() && error.to_string().contains("privileges.reopen"), "{error}");
    assert!(!interface.is_up() && interface.counts().received == 0);
    // One that was opened on it takes up another of its kind and name.
    let mut opened = Interface::open(&options).unwrap();
    assert!(matches!(opened.take_up("lo"), Err(InterfaceError::OtherKind { .. })));
    drop(tun);
    let _tun = Tun::new(name).unwrap();
    assert_eq!(opened.take_up(name), Ok(()));
}

#[test]
fn a_wrong_filter_is_named() {
    let Some(pair) = Pair::new("sntflt") else { return };
    let options = InterfaceOptions { filter: Some("tcp prot 80".to_owned()), ..pair.options() };
    let error = Interface::open(&options).unwrap_err();
    assert!(!error.may_pass() && error.to_string().contains("tcp prot 80"), "{error}");
}
