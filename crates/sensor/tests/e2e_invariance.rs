//! The same transactions, whatever happened to the packets on the way that loses nothing: copies, order, segments,
//! tunnels, fragments, tags, trailers.
//!
//! Scenes are the bundled real captures and simulated conversations. Compared is everything in the records but where
//! (tunnels, VLANs) and when it was seen; the id has to be the same, too.

mod e2e_support;

use decap::LinkType;
use e2e_support::{Replayed, assert_same, into_segments, packets_of, replay, said, seeds, sorted};
use fixtures::conversation::Api;
use fixtures::faults::{self, Copied};
use fixtures::packet::Outer;
use fixtures::{
    Acks, Conversation, Encapsulation, Nest, Packet, Rng, Segmentation, Side, Start, Wire, captures, conversation,
    conversations, streams,
};
use serde_json::Value;

/// Packets of plain TCP on Ethernet, and what is said in them.
struct Scene {
    name: String,
    packets: Vec<Packet>,
    said: Vec<String>,
}

impl Scene {
    fn new(name: impl Into<String>, mut packets: Vec<Packet>) -> Self {
        let name = name.into();
        let replayed = replay(&packets);
        assert!(!replayed.records.is_empty(), "{name}");
        assert_eq!(replayed.count("/beside/gaps"), 0, "{name}");
        faults::relink(&mut packets, LinkType::Ethernet);
        streams::trace(&mut packets);
        Self { name, packets, said: replayed.said() }
    }

    #[track_caller]
    fn same(&self, packets: &[Packet], what: &str) -> Replayed {
        let replayed = replay(packets);
        assert_same(&replayed.said(), &self.said, &format!("{}, {what}", self.name));
        replayed
    }
}

/// The real captures of plain TCP.
fn real() -> Vec<Scene> {
    let plain = captures().into_iter().filter(|capture| !capture.truth.is_empty());
    let plain = plain.filter(|capture| !capture.name.starts_with("mirror-"));
    plain.map(|capture| Scene::new(capture.name.clone(), packets_of(&capture))).collect()
}

/// Simulated keep-alive traffic, pipelined and not, on kinds of wires.
fn simulated() -> Vec<Scene> {
    let talk = |seed, pipelined| -> Vec<Conversation> {
        (0..3).map(|n| conversation::api(10 * seed + n, 12, pipelined).0).collect()
    };
    let wires = [
        ("plain", Wire::new(1), false),
        ("pipelined", Wire::new(2), true),
        ("IPv6", Wire::new(3).ipv6(true), true),
        ("mid-stream", Wire::new(4).start(Start::MidStream), false),
        ("wrapping", Wire::new(5).near_wrap(true), false),
        ("repeating", Wire::new(6).retransmission(0.1), true),
        ("offloading", Wire::new(7).segmentation(Segmentation::Turns), true),
        ("sparse", Wire::new(8).acks(Acks::Sparse), true),
    ];
    let scenes = wires.into_iter().enumerate().map(|(seed, (name, wire, pipelined))| {
        Scene::new(format!("simulated {name}"), wire.run_all(&talk(seed as u64, pipelined)))
    });
    scenes.collect()
}

fn scenes() -> Vec<Scene> {
    real().into_iter().chain(simulated()).collect()
}

/// For what is tried in dozens of variants: the scenes without the two largest, unless time does not matter.
fn small_scenes() -> Vec<Scene> {
    let all = std::env::var_os("SENSOR_TEST_SEEDS").is_some();
    scenes().into_iter().filter(|scene| all || !scene.name.starts_with("wrk-")).collect()
}

/// The same with full frames at most, so that every tunnel can carry them.
fn of_frame_size(scene: &Scene) -> Vec<Packet> {
    let mut packets = into_segments(&scene.packets, 1400);
    streams::trace(&mut packets);
    packets
}

#[test]
fn scenes_are_whole() {
    for scene in simulated() {
        assert_eq!(scene.said.len(), 36, "{}", scene.name);
    }
    assert!(real().len() >= 8);
}

#[test]
fn every_packet_twice() {
    for scene in scenes() {
        for copied in [Copied::Exactly, Copied::Routed, Copied::Tagged(77)] {
            let mut packets = scene.packets.clone();
            faults::duplicate(&mut packets, copied, 1.0, 1);
            assert_eq!(packets.len(), 2 * scene.packets.len());
            let replayed = scene.same(&packets, &format!("twice: {copied:?}"));
            assert!(replayed.count("/payload_bytes/already_seen") > 0, "{}", scene.name);
            let flows = replay(&scene.packets).count("/beside/flows");
            assert_eq!(replayed.count("/beside/flows"), flows, "{}: a copy is no flow", scene.name);
        }
    }
}

#[test]
fn every_pair_of_neighbours_swapped() {
    for scene in scenes() {
        let mut packets = scene.packets.clone();
        faults::swap_neighbours(&mut packets);
        scene.same(&packets, "swapped");
        // And the other pairing of neighbours.
        let mut packets = scene.packets.clone();
        faults::swap_neighbours(&mut packets[1..]);
        scene.same(&packets, "swapped from the second on");
    }
}

#[test]
fn copies_and_swaps_at_once() {
    for scene in scenes() {
        let mut packets = scene.packets.clone();
        faults::duplicate(&mut packets, Copied::Routed, 1.0, 1);
        faults::swap_neighbours(&mut packets[1..]);
        scene.same(&packets, "twice and swapped");
    }
}

#[test]
fn in_each_encapsulation() {
    for scene in small_scenes() {
        let packets = of_frame_size(&scene);
        for (number, sample) in Encapsulation::samples().into_iter().enumerate() {
            // Both families around each sample, on every second scene: all of it in half the time.
            let outers =
                if number % 2 == scene.name.len() % 2 { vec![Outer::v4(1)] } else { vec![Outer::v4(2), Outer::v6(1)] };
            for outer in outers {
                let nest = Nest::default().within(sample.clone(), outer);
                let mut wrapped = packets.clone();
                if faults::encapsulate(&mut wrapped, &nest) > 0 {
                    // Teredo carries IPv6 over IPv4 and nothing else.
                    assert!(matches!(sample, Encapsulation::Teredo { .. }), "{sample:?} carries {}", scene.name);
                    continue;
                }
                let replayed = scene.same(&wrapped, &format!("in {sample:?}"));
                assert_path(&replayed, &nest, &packets);
            }
        }
    }
}

/// Tunnels and VLANs of every record are those of the nest.
#[track_caller]
fn assert_path(replayed: &Replayed, nest: &Nest, plain: &[Packet]) {
    for is_v6 in [false, true] {
        let of_family = |packet: &&Packet| streams::segment(packet).is_some_and(|it| it.source.is_ipv6() == is_v6);
        let Some(plain) = plain.iter().find(of_family) else { continue };
        let hops: Vec<&str> = nest.hops(&plain.data).iter().map(|hop| hop.kind.name()).collect();
        let vlans = Value::from(nest.vlans(&plain.data));
        for record in replayed.records.iter().filter(|it| it["client"]["ip"].as_str().unwrap().contains(':') == is_v6) {
            let kinds: Vec<&str> =
                record["tunnels"].as_array().unwrap().iter().map(|tunnel| tunnel["kind"].as_str().unwrap()).collect();
            assert_eq!(kinds, hops, "{nest:?}");
            assert_eq!(record["vlans"], vlans, "{nest:?}");
        }
    }
}

#[test]
fn in_nests() {
    for scene in small_scenes() {
        let packets = of_frame_size(&scene);
        let mut tried = 0;
        for seed in 0..seeds(6) {
            let nest = Nest::random(seed, 1 + seed as usize % 5);
            // Pseudo-wires and the like: what carries the first frame carries all of a family, but not both families.
            let mut wrapped = packets.clone();
            if faults::encapsulate(&mut wrapped, &nest) > 0 {
                continue;
            }
            tried += 1;
            let replayed = scene.same(&wrapped, &format!("in nest {seed}: {nest:?}"));
            assert_path(&replayed, &nest, &packets);
        }
        assert!(tried > 0, "{}", scene.name);
        let gateway = Nest::aws_gateway_load_balancer(7);
        let mut wrapped = packets;
        assert_eq!(faults::encapsulate(&mut wrapped, &gateway), 0);
        scene.same(&wrapped, "behind a gateway load balancer");
    }
}

/// A tunnel per direction, as source ports and TEIDs differ by direction.
#[test]
fn each_direction_in_a_tunnel_of_its_own() {
    for scene in scenes() {
        let mut packets = of_frame_size(&scene);
        let gtp = |teid, n| {
            Nest::default().within(Encapsulation::GtpU { teid, sequence: None, qos_flow: None }, Outer::v4(n))
        };
        assert_eq!(faults::encapsulate_directions(&mut packets, &gtp(1, 1), &gtp(2, 2)), 0);
        scene.same(&packets, "a TEID per direction");
    }
}

#[test]
fn in_outer_fragments() {
    for scene in small_scenes() {
        for (outer, mtu) in [(Outer::v4(1), 1500), (Outer::v4(1), 576), (Outer::v6(1), 1280), (Outer::v4(1), 100)] {
            let mut packets = of_frame_size(&scene);
            faults::encapsulate(&mut packets, &Nest::default().within(Encapsulation::Vxlan { vni: 5 }, outer.clone()));
            let before = packets.len();
            faults::fragment(&mut packets, mtu);
            let replayed = scene.same(&packets, &format!("in fragments of {mtu} of {}", outer.source));
            assert_eq!(replayed.count("/frames/joined") > 0, packets.len() > before);
            // Fragments in any order are joined, too.
            let mut swapped = packets.clone();
            faults::swap_neighbours(&mut swapped);
            scene.same(&swapped, &format!("in swapped fragments of {mtu}"));
        }
    }
}

#[test]
fn in_fragments_inside_and_outside() {
    for scene in simulated() {
        let mut packets = of_frame_size(&scene);
        faults::fragment(&mut packets, 700);
        faults::encapsulate(&mut packets, &Nest::one(Encapsulation::Vxlan { vni: 5 }));
        faults::fragment(&mut packets, 300);
        scene.same(&packets, "in fragments of fragments");
    }
}

#[test]
fn in_one_byte_segments() {
    for scene in scenes() {
        // All of it byte by byte where it is small; of the large ones, the first packets of each exchange matter most.
        let total: usize = scene.packets.iter().map(|packet| packet.data.len()).sum();
        let packets = if total <= 700_000 || std::env::var_os("SENSOR_TEST_SEEDS").is_some() {
            into_segments(&scene.packets, 1)
        } else {
            let large = |packet: &Packet| packet.data.len() > 4_000;
            scene
                .packets
                .iter()
                .flat_map(|p| into_segments(core::slice::from_ref(p), if large(p) { 97 } else { 1 }))
                .collect()
        };
        scene.same(&packets, "byte by byte");
    }
}

#[test]
fn in_small_segments_swapped_and_doubled() {
    for scene in scenes() {
        let mut packets = into_segments(&scene.packets, 7 + scene.packets.len() % 5 * 31);
        faults::duplicate(&mut packets, Copied::Exactly, 0.3, 3);
        faults::swap_neighbours(&mut packets);
        scene.same(&packets, "in small segments, swapped and doubled");
    }
}

#[test]
fn with_trailers() {
    for scene in scenes() {
        for trailer in [&[0xde, 0xad, 0xbe, 0xef][..], b"GET /trailer HTTP/1.1\r\n\r\n"] {
            let mut packets = scene.packets.clone();
            faults::trailer(&mut packets, trailer);
            scene.same(&packets, "with trailers");
        }
    }
}

#[test]
fn with_a_total_length_of_zero() {
    for scene in scenes() {
        let mut packets = scene.packets.clone();
        faults::zero_total_length(&mut packets);
        scene.same(&packets, "with a total length of 0");
        let mut packets = of_frame_size(&scene);
        faults::zero_total_length(&mut packets);
        assert_eq!(faults::encapsulate(&mut packets, &Nest::one(Encapsulation::Vxlan { vni: 1 })), 0);
        scene.same(&packets, "with an inner total length of 0");
    }
}

#[test]
fn with_spoilt_checksums() {
    for scene in scenes() {
        let mut packets = scene.packets.clone();
        faults::spoil_checksums(&mut packets);
        scene.same(&packets, "with spoilt checksums");
    }
}

#[test]
fn one_direction_tagged() {
    for scene in scenes() {
        for (client, server) in [(Some(10), None), (None, Some(20)), (Some(10), Some(20))] {
            let mut packets = scene.packets.clone();
            faults::tag_directions(&mut packets, client, server);
            scene.same(&packets, &format!("tagged {client:?}, {server:?}"));
        }
    }
}

#[test]
fn under_each_link_type() {
    for scene in small_scenes() {
        for link in [LinkType::LinuxSll, LinkType::LinuxSll2, LinkType::RawIp, LinkType::BsdNull, LinkType::BsdLoop] {
            let mut packets = scene.packets.clone();
            faults::relink(&mut packets, link);
            assert_eq!(packets.len(), scene.packets.len());
            scene.same(&packets, &format!("under {link:?}"));
        }
    }
}

/// Both ends are mirrored into networks of their own: two flows, whose transactions carry the same ids.
#[test]
fn mirrored_twice() {
    for scene in scenes() {
        let mut packets = of_frame_size(&scene);
        let vxlan = |vni| Nest::one(Encapsulation::Vxlan { vni });
        faults::mirror_twice(&mut packets, &vxlan(100), &vxlan(200));
        let replayed = replay(&packets);
        let twice: Vec<String> = scene.said.iter().flat_map(|said| [said.clone(), said.clone()]).collect();
        assert_same(&replayed.said(), &twice, &format!("{}, mirrored twice", scene.name));
        for vni in [100, 200] {
            let of_one = replayed.records.iter().filter(|record| record["tunnels"][0]["vni"] == vni);
            assert_same(&sorted(of_one.map(said)), &scene.said, &format!("{} in VNI {vni}", scene.name));
        }
        let connections = |vni: u64| {
            let of_one = replayed.records.iter().filter(|record| record["tunnels"][0]["vni"] == vni);
            sorted(of_one.map(|record| record["connection"]["id"].to_string()))
        };
        assert!(connections(100).iter().all(|id| connections(200).binary_search(id).is_err()), "{}", scene.name);
    }
}

/// Anything of the above, together.
#[test]
fn everything_at_once() {
    for scene in small_scenes() {
        for seed in 0..seeds(3) {
            let mut rng = Rng::new(seed ^ 0xe2e);
            let mut packets = match rng.below(3) {
                0 => of_frame_size(&scene),
                1 => into_segments(&scene.packets, rng.between(50, 1400)),
                _ => into_segments(&scene.packets, rng.between(300, 1400)),
            };
            streams::trace(&mut packets);
            let copied = *rng.pick(&[Copied::Exactly, Copied::Routed, Copied::Tagged(9)]);
            faults::duplicate(&mut packets, copied, *rng.pick(&[0.0, 0.2, 1.0]), seed);
            if rng.chance(0.5) {
                faults::tag_directions(&mut packets, Some(3), None);
            }
            match rng.below(3) {
                0 => faults::swap_neighbours(&mut packets),
                1 => faults::reorder(&mut packets, 3, 0.2, seed),
                _ => {}
            }
            let nest = Nest::random(seed, rng.below(4));
            let mut wrapped = packets.clone();
            if faults::encapsulate(&mut wrapped, &nest) == 0 {
                packets = wrapped;
                faults::fragment(&mut packets, rng.between(400, 1600));
            }
            scene.same(&packets, &format!("everything, seed {seed}"));
        }
    }
}

/// Cut by the capture, or by the mirror before it wraps: heads are whole, bodies are what was captured of them.
#[test]
fn cut_packets_truncate_bodies_only() {
    let (talk, _) = conversation::api(5, 60, false);
    let mut scenes = vec![Scene::new("simulated", Wire::new(9).run(&talk))];
    scenes.extend(real().into_iter().filter(|scene| !scene.name.starts_with("wrk-pipelined")));
    for scene in scenes {
        let whole = replay(&scene.packets);
        let mut snapped = scene.packets.clone();
        faults::snaplen(&mut snapped, 54 + 12 + 900);
        let mut mirrored = of_frame_size(&scene);
        faults::cut(&mut mirrored, 54 + 12 + 900);
        faults::encapsulate(&mut mirrored, &Nest::one(Encapsulation::Vxlan { vni: 1 }));
        for (packets, what) in [(snapped, "snaplen"), (mirrored, "cut before the mirror")] {
            let replayed = replay(&packets);
            let what = format!("{}, {what}", scene.name);
            assert!(
                replayed.count("/beside/truncated_payload_bytes") > 0 || scene.name.contains("keep-alive"),
                "{what}"
            );
            assert_eq!(replayed.records.len(), whole.records.len(), "{what}");
            for whole in &whole.records {
                let found = replayed.records.iter().find(|record| record["id"] == whole["id"]);
                let found = found.unwrap_or_else(|| panic!("{what}: {whole} is missing"));
                assert_cut(found, whole, &what);
            }
        }
    }
}

fn assert_cut(found: &Value, whole: &Value, what: &str) {
    assert_eq!(found["outcome"], whole["outcome"], "{what}: {found}");
    for message in ["request", "response"] {
        let (found, whole) = (&found[message], &whole[message]);
        for field in ["method", "host", "target", "status", "headers"] {
            assert_eq!(found[field], whole[field], "{what}: {field}");
        }
        let (found, whole) = (&found["body"], &whole["body"]);
        if found["truncated"] != true {
            assert_eq!(found, whole, "{what}");
            continue;
        }
        let text = |body: &Value| body["content"].as_str().unwrap_or_default().to_owned();
        if found["encoding"] == "utf8" && found["decoded"] == whole["decoded"] {
            assert!(text(whole).starts_with(&text(found)), "{what}: {found} is no beginning of {whole}");
        }
        assert!(found["bytes"].as_u64() <= whole["bytes"].as_u64(), "{what}: {found} against {whole}");
    }
}

/// Odd conversations give the same however they are cut, doubled, swapped and wrapped.
#[test]
fn conversation_files() {
    for file in conversations() {
        let wire = Wire::new(3);
        let plain = replay(&wire.run(&file.conversation)).said();
        let check = |packets: &[Packet], what: &str| {
            assert_same(&replay(packets).said(), &plain, &format!("{}, {what}", file.name));
        };
        let packets = wire.run(&file.conversation);
        check(&into_segments(&packets, 1), "byte by byte");
        let mut twice = packets.clone();
        faults::duplicate(&mut twice, Copied::Routed, 1.0, 1);
        check(&twice, "twice");
        let mut swapped = packets.clone();
        faults::swap_neighbours(&mut swapped);
        check(&swapped, "swapped");
        for seed in 0..seeds(3) {
            let max = 1 + seed as usize * 40;
            let mut packets = wire.clone().segmentation(Segmentation::Random { max }).run(&file.conversation);
            faults::encapsulate(&mut packets, &Nest::random(seed, 2));
            check(&packets, &format!("cut to at most {max} and wrapped"));
        }
    }
}

/// Simulated traffic whose bodies begin like messages.
fn traps() -> Vec<Scene> {
    let scene = |depth| {
        let talk = |seed| Api { seed, transactions: 40, depth, max_body: 3000, traps: true }.build().0;
        let talks: Vec<_> = (0..4).map(talk).collect();
        Scene::new(format!("traps, depth {depth}"), Wire::new(depth as u64).run_all(&talks))
    };
    vec![scene(1), scene(8)]
}

/// Who knows the place is not deceived by bodies that begin like messages, and at the start of a segment at that.
#[test]
fn bodies_that_look_like_messages() {
    for scene in traps() {
        assert_eq!(scene.said.len(), 160, "{}", scene.name);
        assert!(scene.said.iter().all(|said| said.contains("\"paired\"") && !said.contains("\"target\":\"/trap")));
        for size in [1, 40, 700] {
            scene.same(&into_segments(&scene.packets, size), &format!("in segments of {size}"));
        }
        let mut packets = of_frame_size(&scene);
        faults::duplicate(&mut packets, Copied::Routed, 1.0, 1);
        faults::encapsulate(&mut packets, &Nest::one(Encapsulation::Vxlan { vni: 1 }));
        faults::fragment(&mut packets, 600);
        scene.same(&packets, "twice, in fragments");
    }
}

#[test]
fn bodies_that_look_like_messages_swapped() {
    for scene in traps() {
        let mut packets = scene.packets.clone();
        faults::swap_neighbours(&mut packets);
        scene.same(&packets, "swapped");
        faults::swap_neighbours(&mut packets[1..]);
        scene.same(&packets, "swapped twice");
    }
}

/// Requests of these methods in turn, and answers that all say how long their body is (or, to HEAD, would be).
fn talk_of(methods: &[&str]) -> Conversation {
    let mut talk = Conversation::new();
    for (number, method) in methods.iter().cycle().take(40).enumerate() {
        let body = format!("answer {number}").repeat(1 + number * 7 % 40 * 8);
        let sent = if *method == "HEAD" { "" } else { &body };
        talk.say(Side::Client, format!("{method} /{number} HTTP/1.1\r\nHost: one.test\r\n\r\n"));
        let length = body.len();
        talk.say(
            Side::Server,
            format!("HTTP/1.1 200 OK\r\nX-Echo: /{number}\r\nContent-Length: {length}\r\n\r\n{sent}"),
        );
    }
    talk
}

/// Each direction alone gives what its end said: requests unanswered, responses without requests.
#[track_caller]
fn assert_alone(talk: &Conversation, side: Side) {
    let mut packets = Wire::new(1).run(talk);
    faults::keep_direction(&mut packets, side);
    let replayed = replay(&packets);
    let found = replayed.records.iter().map(|record| match side {
        Side::Client => (record["outcome"].clone(), record["request"]["target"].as_str()),
        Side::Server => (record["outcome"].clone(), e2e_support::header(&record["response"], "x-echo")),
    });
    let found: Vec<_> = found.collect();
    let outcome = if side == Side::Client { "unanswered" } else { "orphan" };
    let targets: Vec<_> = (0..40).map(|number| format!("/{number}")).collect();
    let expected: Vec<_> = targets.iter().map(|target| (Value::from(outcome), Some(&**target))).collect();
    assert_eq!(found, expected, "{side:?}");
}

#[test]
fn one_direction_alone() {
    assert_alone(&talk_of(&["GET", "DELETE", "OPTIONS"]), Side::Client);
    assert_alone(&talk_of(&["GET", "DELETE", "OPTIONS"]), Side::Server);
    assert_alone(&talk_of(&["GET", "HEAD"]), Side::Client);
}

/// Nothing in an answer says that it is one to HEAD. Where the next answer stands behind its head, it is.
#[test]
fn answers_to_head_alone() {
    assert_alone(&talk_of(&["GET", "HEAD", "HEAD"]), Side::Server);
}
