//! One situation each: what the handler sees of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use core::time::Duration;

use common::{Event, Packet, Scene, content};
use decap::{Direction, TcpFlags, Timestamp, TunnelPath};
use reassembly::{CloseReason, DropReason, Limits, Want};

use Direction::{Forward, Reverse};

const ACK: u8 = TcpFlags::ACK;
const SYN: u8 = TcpFlags::SYN;
const FIN: u8 = TcpFlags::FIN;
const RST: u8 = TcpFlags::RST;

const MILLI: Duration = Duration::from_millis(1);

fn text(scene: &Scene, direction: Direction) -> String {
    let byte = |byte: Option<u8>| byte.map_or('.', char::from);
    scene.log().stream(direction).into_iter().map(byte).collect()
}

#[test]
fn a_connection_from_handshake_to_fin() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"hello").push(Reverse, ACK, 500, 105, b"world");
    scene.push(Forward, ACK | FIN, 105, 505, b"").push(Reverse, ACK | FIN, 505, 106, b"");
    scene.push(Forward, ACK, 106, 506, b"");
    let log = scene.log();
    let ending = log.ending.unwrap();
    assert_eq!((log.initiator, ending.why, ending.shunted), (Some(Forward), CloseReason::Finished, [0; 2]));
    let Event::Data(_, position, _) = &log.events[0] else { panic!() };
    assert_eq!((position.offset as u32, position.acked.map(|acked| acked as u32)), (100, Some(500)));
    assert_eq!(log.events.len(), 4);
    assert!(matches!(log.events[2], Event::End(Forward, position) if position.offset as u32 == 105));
    assert!(matches!(log.events[3], Event::End(Reverse, position) if position.acked.map(|a| a as u32) == Some(105)));
    scene.finish();
}

#[test]
fn of_the_data_in_a_syn_only_what_the_peer_took_is_of_the_stream() {
    let opening = |acked: u32, again: (u32, &[u8])| {
        let mut scene = Scene::new();
        scene.push(Forward, SYN, 99, 0, b"old!").push(Reverse, SYN | ACK, 499, acked, b"");
        scene.push(Forward, ACK, again.0, 500, again.1).push(Reverse, ACK, 500, 107, b"ok").finish();
        assert_eq!(scene.reassembler.stats().held_bytes, 0);
        text(&scene, Forward)
    };
    assert_eq!(opening(104, (104, b"def")), "old!def");
    assert_eq!(opening(100, (100, b"new!def")), "new!def");
    assert_eq!(opening(102, (102, b"w!def")), "olw!def");
    // What was not taken and not seen again is a hole.
    assert_eq!(opening(100, (104, b"def")), "....def");

    // The mirror put the answer first, or a second SYN behind it; both times the data was not taken.
    let mut scene = Scene::new();
    scene.push(Reverse, SYN | ACK, 499, 100, b"").push(Forward, SYN, 99, 0, b"old!");
    scene.push(Forward, ACK, 100, 500, b"new!").push(Forward, SYN, 99, 0, b"old!").finish();
    assert_eq!(text(&scene, Forward), "new!");
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"old!").push(Reverse, SYN | ACK, 499, 100, b"");
    scene.push(Forward, SYN, 99, 0, b"old!").push(Forward, ACK, 100, 500, b"new!").finish();
    assert_eq!(text(&scene, Forward), "new!");

    // Who sends again before the answer is seen does not decide what was taken.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"old!").push(Forward, ACK, 100, 500, b"new!def");
    scene.push(Reverse, SYN | ACK, 499, 104, b"").push(Reverse, ACK, 500, 107, b"ok").finish();
    assert_eq!(text(&scene, Forward), "old!def");
}

#[test]
fn data_in_a_syn_whose_answer_was_not_captured() {
    // The client alone: it goes on behind the data, or sends it again.
    for (seq, bytes, expected) in [(104, &b"def"[..], "old!def"), (100, b"new!", "new!"), (102, b"w!", "olw!")] {
        let mut scene = Scene::new();
        scene.push(Forward, SYN, 99, 0, b"old!").push(Forward, ACK, seq, 500, bytes);
        let later = scene.wait(Duration::from_millis(300)).now();
        scene.reassembler.tick(later);
        assert_eq!(text(&scene, Forward), expected);
        scene.finish();
    }
    // What the client sent again was held when the server's first acknowledgement came, which covers that as well.
    for (seq, bytes, expected) in [(104, &b"def"[..], "old!def"), (100, b"new!", "new!"), (102, b"w!", "olw!")] {
        let mut scene = Scene::new();
        scene.push(Forward, SYN, 99, 0, b"old!").push(Forward, ACK, seq, 500, bytes);
        scene.push(Reverse, ACK, 500, seq + bytes.len() as u32, b"ok").finish();
        assert_eq!(text(&scene, Forward), expected);
        assert_eq!(scene.reassembler.stats().held_bytes, 0);
    }
    // Nothing but the SYN: it was sent.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"old!").finish();
    assert_eq!(text(&scene, Forward), "old!");
    // Its answer is lost, and what the server says shows that it took the data.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"old!").push(Reverse, ACK, 500, 104, b"ok");
    assert_eq!(text(&scene, Forward), "old!");
    scene.finish();
    // No memory to keep it: what was sent again is all there is.
    let mut scene = Scene::with(Limits { page_memory: 0, ..Limits::default() });
    scene.push(Forward, SYN, 99, 0, b"old!").push(Reverse, SYN | ACK, 499, 104, b"").push(Forward, ACK, 104, 500, b"d");
    scene.finish();
    assert_eq!(text(&scene, Forward), "....d");
    assert_eq!(scene.reassembler.stats().dropped_bytes[DropReason::PageMemory as usize], 4);
}

#[test]
fn flows_without_payload_are_never_opened() {
    let mut scene = Scene::new();
    scene.handshake().push(Forward, ACK | FIN, 100, 500, b"").push(Reverse, ACK | FIN, 500, 101, b"");
    scene.push(Reverse, ACK, 900, 5000, b"").push(Reverse, ACK, 900, 6000, b"").finish();
    assert!(scene.reassembler.handler().logs.is_empty());
    assert_eq!(scene.reassembler.stats().opened, 0);
}

#[test]
fn an_acknowledgement_never_advances_the_stream() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").server_ack(109).client(103, b"def").client(106, b"ghi").finish();
    assert_eq!(text(&scene, Forward), "abcdefghi");
    assert_eq!(scene.reassembler.stats().gaps, 0);
}

/// The acknowledgement that each piece of the client's came with.
fn acknowledged(scene: &Scene) -> Vec<(u32, Option<u32>)> {
    let data = scene.log().events.iter().filter_map(|event| match event {
        Event::Data(Forward, position, _) => Some((position.offset as u32, position.acked.map(|acked| acked as u32))),
        _ => None,
    });
    data.collect()
}

#[test]
fn a_retransmission_does_not_tell_what_had_been_acknowledged() {
    // Lost, and repeated when the answers to it and to what came behind it had arrived.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, ACK, 106, 520, b"ghi").push(Forward, ACK, 103, 540, b"def");
    scene.finish();
    assert_eq!(acknowledged(&scene), [(100, Some(500)), (103, None), (106, Some(520))]);
    // Repeated together with what was not lost, before it or behind it.
    for (seq, bytes) in [(100, &b"abcdef"[..]), (103, b"defghi")] {
        let mut scene = Scene::new();
        scene.handshake().client(100, b"abc").push(Forward, ACK, 106, 520, b"ghi").push(Forward, ACK, seq, 520, bytes);
        scene.finish();
        assert_eq!(acknowledged(&scene), [(100, Some(500)), (103, None), (106, Some(520))], "{seq}");
    }
    // Late for the mirror's sake.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, ACK, 106, 520, b"ghi").push(Forward, ACK, 103, 510, b"def");
    scene.finish();
    assert_eq!(acknowledged(&scene), [(100, Some(500)), (103, Some(510)), (106, Some(520))]);
}

#[test]
fn an_acknowledged_hole_becomes_a_gap_after_a_time() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi").server_ack(109);
    let acknowledged = scene.now();
    scene.wait(199 * MILLI).server_ack(109);
    assert_eq!(scene.log().gaps(Forward), []);
    // Noticed a second late, reported as when it was due.
    scene.wait(1000 * MILLI).server_ack(109);
    assert_eq!(text(&scene, Forward), "abc...ghi");
    let (offset, len, at) = scene.log().gaps(Forward)[0];
    assert_eq!((offset as u32, len, at), (103, 3, acknowledged + 200 * MILLI));
    let late = scene.packet(Forward, ACK, 103, 500, b"def");
    scene.push_packet(&late).finish();
    assert_eq!(scene.reassembler.stats().already_seen_bytes, 3);
}

#[test]
fn an_acknowledged_hole_becomes_a_gap_after_further_segments() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi").server_ack(109);
    for n in 0..15 {
        scene.client(109 + n, b".");
    }
    assert_eq!(scene.log().gaps(Forward).len(), 0);
    scene.client(124, b"!");
    assert_eq!(text(&scene, Forward), "abc...ghi...............!");
    assert_eq!(scene.log().gaps(Forward)[0].2, scene.now());
}

#[test]
fn copies_are_no_further_segments() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi").server_ack(109);
    let copy = scene.packet(Reverse, ACK, 500, 109, b"");
    for _ in 0..40 {
        scene.push_packet(&copy);
    }
    assert_eq!(scene.log().gaps(Forward), []);
    assert_eq!(scene.reassembler.stats().duplicate_segments, 39);
}

#[test]
fn several_holes_known_together_expire_together() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"a").client(102, b"c").client(104, b"e").client(106, b"g").server_ack(107);
    scene.wait(202 * MILLI).server_ack(107);
    assert_eq!(text(&scene, Forward), "a.c.e.g");
}

#[test]
fn a_hole_that_nobody_acknowledges_waits_longer() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi");
    let seen = scene.now();
    scene.wait(4000 * MILLI).server_ack(103);
    assert_eq!(scene.log().gaps(Forward), []);
    scene.wait(1001 * MILLI).server_ack(103);
    assert_eq!(scene.log().gaps(Forward).iter().map(|gap| gap.2).collect::<Vec<_>>(), [seen + 5000 * MILLI]);
}

#[test]
fn a_tick_gives_up_what_is_due() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi").server_ack(109);
    let due = scene.now() + 200 * MILLI;
    scene.reassembler.tick(due);
    assert_eq!(scene.log().gaps(Forward), []);
    scene.reassembler.tick(due + Duration::from_nanos(1));
    assert_eq!(text(&scene, Forward), "abc...ghi");
    scene.reassembler.tick(due + Duration::from_secs(310));
    assert_eq!(scene.log().ending.unwrap().why, CloseReason::Idle);
    assert_eq!(scene.log().ending.unwrap().at, due - 200 * MILLI + Duration::from_secs(300));
    assert_eq!(scene.reassembler.stats().active_flows, 0);
}

#[test]
fn an_idle_flow_ends_when_its_next_segment_comes() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc");
    let last = scene.now();
    scene.wait(Duration::from_secs(301)).client(103, b"def").client(106, b"").client(106, b"").client(106, b"");
    let logs = &scene.reassembler.handler().logs;
    assert_eq!(logs[0].ending.unwrap().at, last + Duration::from_secs(300));
    assert_eq!(logs[0].ending.unwrap().why, CloseReason::Idle);
    assert_eq!((logs[1].whole(Forward), logs[1].initiator), (b"def".to_vec(), None));
}

#[test]
fn one_sided_flows_work() {
    // Only the client's side is captured: its acknowledgements show what the server sent.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"").push(Forward, ACK, 100, 500, b"").client(100, b"one");
    scene.push(Forward, ACK, 103, 700, b"").wait(300 * MILLI).push(Forward, ACK, 103, 700, b"two");
    assert_eq!(text(&scene, Forward), "onetwo");
    let gaps: Vec<_> = scene.log().gaps(Reverse).into_iter().map(|(offset, len, _)| (offset as u32, len)).collect();
    assert_eq!(gaps, [(500, 200)]);
    // The server's FIN is acknowledged too; one byte alone may be just that.
    scene.push(Forward, ACK | FIN, 106, 701, b"").finish();
    assert_eq!(scene.log().gaps(Reverse).len(), 1);
    // Only the server's side.
    let mut scene = Scene::new();
    scene.push(Reverse, SYN | ACK, 499, 100, b"").push(Reverse, ACK, 500, 103, b"one").wait(300 * MILLI);
    scene.push(Reverse, ACK, 503, 106, b"two").finish();
    assert_eq!(text(&scene, Reverse), "onetwo");
    assert_eq!(scene.log().initiator, Some(Forward));
    let gaps: Vec<_> = scene.log().gaps(Forward).into_iter().map(|(offset, len, _)| (offset as u32, len)).collect();
    assert_eq!(gaps, [(100, 3), (103, 3)]);
}

#[test]
fn what_a_silent_side_sent_shows_in_acknowledgements() {
    // Of the client, mid-stream, only a bare acknowledgement is captured; its data are not.
    let mut scene = Scene::new();
    scene.client(1000, b"").push(Reverse, ACK, 500, 1000, b"one").push(Reverse, ACK, 503, 1100, b"two");
    scene.wait(300 * MILLI).push(Reverse, ACK, 506, 1100, b"three").finish();
    assert_eq!(text(&scene, Reverse), "onetwothree");
    let gaps: Vec<_> = scene.log().gaps(Forward).into_iter().map(|(offset, len, _)| (offset as u32, len)).collect();
    assert_eq!(gaps, [(1000, 100)]);
}

#[test]
fn mid_stream_data_waits_for_what_may_come_before() {
    let mut scene = Scene::new();
    scene.client(1000, b"def").client(997, b"abc").client(1003, b"ghi");
    assert!(scene.reassembler.handler().logs.is_empty());
    scene.client(1006, b"jkl");
    assert_eq!(text(&scene, Forward), "abcdefghijkl");
    assert_eq!(scene.log().initiator, None);
    assert_eq!(scene.reassembler.stats().mid_stream_flows, 1);
    // What lies before the anchor comes too late.
    scene.client(994, b"old").finish();
    assert_eq!(scene.reassembler.stats().out_of_window_bytes, 3);
}

#[test]
fn mid_stream_data_at_the_acknowledgement_does_not_wait() {
    let mut scene = Scene::new();
    scene.server_ack(1000).client(1000, b"abc");
    assert_eq!(text(&scene, Forward), "abc");
    let mut scene = Scene::new();
    scene.client(1000, b"abc");
    scene.reassembler.tick(scene.now() + 201 * MILLI);
    assert_eq!(text(&scene, Forward), "abc");
}

#[test]
fn a_handshake_captured_after_its_data_counts() {
    let mut scene = Scene::new();
    scene.push(Forward, ACK, 100, 500, b"abc").push(Reverse, SYN | ACK, 499, 100, b"").push(Forward, SYN, 99, 0, b"");
    scene.client(103, b"def").finish();
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.log().initiator, Some(Forward));
    assert_eq!((scene.reassembler.stats().flows, scene.reassembler.stats().mid_stream_flows), (1, 0));
}

/// Found by fuzzing: the SYN anchored a direction again that had been told its end.
#[test]
fn a_handshake_captured_after_the_end_changes_nothing() {
    let mut scene = Scene::new();
    scene.push(Reverse, ACK, 500, 100, b"abc").push(Reverse, ACK, 503, 100, b"").push(
        Forward,
        ACK | FIN,
        100,
        503,
        b"",
    );
    scene.push(Reverse, ACK, 503, 101, b"def").push(Forward, SYN, 59, 0, b"early").push(Forward, ACK, 64, 0, b"bytes");
    assert!(scene.log().has_end(Forward));
    scene.finish();
}

#[test]
fn data_on_the_syn_and_copies_of_it() {
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"abc").push(Forward, SYN, 99, 0, b"abc").push(Reverse, SYN | ACK, 499, 103, b"");
    scene.push(Forward, ACK, 103, 500, b"def").push(Reverse, SYN | ACK, 499, 103, b"").finish();
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!((scene.reassembler.stats().flows, scene.reassembler.stats().already_seen_bytes), (1, 3));
    // The answer captured first.
    let mut scene = Scene::new();
    scene.push(Reverse, SYN | ACK, 499, 103, b"").push(Forward, SYN, 99, 0, b"abc");
    scene.push(Forward, ACK, 103, 500, b"def").finish();
    assert_eq!(text(&scene, Forward), "abcdef");
}

#[test]
fn keep_alive_probes_are_seen() {
    let mut scene = Scene::new();
    scene.handshake().client(99, b"x").client(100, b"abc").client(102, b"").client(102, b"\0").client(103, b"def");
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.reassembler.stats().already_seen_bytes, 2);
    assert_eq!(scene.reassembler.stats().out_of_window_bytes, 0);
}

/// Connections that are kept alive are what a capture begins in the middle of, and some systems send a made-up byte.
#[test]
fn a_connection_joined_at_a_keep_alive_probe_begins_behind_it() {
    for pause in [250, 10_000] {
        for is_answered in [true, false] {
            let mut scene = Scene::new();
            for _ in 0..2 {
                scene.client(999, b"\0");
                if is_answered {
                    scene.server_ack(1000);
                }
                scene.wait(pause * MILLI);
            }
            scene
                .push(Forward, ACK | TcpFlags::PSH, 1000, 500, b"request")
                .server_ack(1007)
                .client(1006, b"\0")
                .finish();
            assert_eq!(text(&scene, Forward), "request", "{pause} ms, {is_answered}");
            let stats = scene.reassembler.stats();
            assert_eq!((stats.already_seen_bytes, stats.delivered_bytes, stats.gap_bytes), (3, 7, 0));
        }
    }
    // A byte that was written alone is pushed, and one of more has the rest right behind it.
    let mut scene = Scene::new();
    scene.push(Forward, ACK | TcpFlags::PSH, 1000, 500, b"a").wait(300 * MILLI).client(1001, b"bc").finish();
    assert_eq!(text(&scene, Forward), "abc");
    let mut scene = Scene::new();
    scene.client(1000, b"a").client(1001, b"b").client(1002, b"c").client(1003, b"d").finish();
    assert_eq!(text(&scene, Forward), "abcd");
}

#[test]
fn the_first_copy_wins() {
    let mut scene = Scene::new();
    scene.handshake().client(103, b"DEF").client(109, b"JKL");
    scene.client(101, b"bcdefghijklmn").client(100, b"a").finish();
    assert_eq!(text(&scene, Forward), "abcDEFghiJKLmn");
    let stats = scene.reassembler.stats();
    assert_eq!((stats.conflicting_overlaps, stats.already_seen_bytes, stats.out_of_order_segments), (6, 6, 3));
    // Each range is one call, and starts where its segment (or what is left of it) does.
    let calls = scene.log().calls(Forward);
    assert_eq!(calls, [&b"a"[..], b"bc", b"DEF", b"ghi", b"JKL", b"mn"]);
}

#[test]
fn held_segments_of_any_size_come_in_one_call() {
    let mut scene = Scene::new();
    let large: Vec<u8> = (0..64_000).map(content).collect();
    scene.handshake().client(101, &large).client(100, b"a").finish();
    assert_eq!(scene.log().calls(Forward), [b"a".to_vec(), large]);
}

#[test]
fn what_the_capture_cut_off_is_a_gap_at_once() {
    let mut scene = Scene::new();
    scene.handshake();
    let cut = scene.packet(Forward, ACK, 100, 500, b"abc").missing(3);
    scene.push_packet(&cut);
    assert_eq!(text(&scene, Forward), "abc...");
    assert_eq!(scene.log().gaps(Forward)[0].2, cut.at);
    // Nothing captured at all.
    let empty = scene.packet(Forward, ACK, 106, 500, b"").missing(4);
    scene.push_packet(&empty).client(110, b"k");
    assert_eq!(text(&scene, Forward), "abc.......k");
}

#[test]
fn what_the_capture_cut_off_may_be_sent_again_while_it_waits() {
    let mut scene = Scene::new();
    scene.handshake();
    let cut = scene.packet(Forward, ACK, 103, 500, b"d").missing(5);
    scene.push_packet(&cut).client(105, b"fg");
    let empty = scene.packet(Forward, ACK, 109, 500, b"").missing(3);
    scene.push_packet(&empty).push_packet(&empty).client(100, b"abc").client(112, b"m").finish();
    assert_eq!(text(&scene, Forward), "abcd.fg.....m");
}

#[test]
fn a_reset_does_not_lose_the_data_behind_it() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, RST, 106, 0, b"");
    let reset = scene.now();
    scene.client(103, b"def").wait(300 * MILLI).client(106, b"ghi");
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.log().ending.map(|ending| (ending.why, ending.at)), Some((CloseReason::Reset, reset)));
    assert_eq!(scene.reassembler.stats().dropped_bytes[DropReason::AfterEnd as usize], 3);
    scene.finish();
}

#[test]
fn a_reset_out_of_the_window_is_ignored() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, RST, 0x4000_0000, 0, b"").push(
        Reverse,
        RST,
        0x9000_0000,
        0,
        b"",
    );
    scene.wait(1000 * MILLI).client(103, b"def").finish();
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.log().ending.unwrap().why, CloseReason::EndOfInput);
}

#[test]
fn a_refused_connection_leaves_nothing_behind() {
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"").push(Reverse, RST | ACK, 0, 100, b"").wait(1000 * MILLI);
    scene.push(Forward, SYN, 5000, 0, b"").push(Reverse, SYN | ACK, 7000, 5001, b"");
    scene.push(Forward, ACK, 5001, 7001, b"abc").finish();
    assert_eq!(text(&scene, Forward), "abc");
    assert_eq!(scene.reassembler.stats().flows, 2);
}

#[test]
fn a_new_syn_is_a_new_flow() {
    for closes in [false, true] {
        let mut scene = Scene::new();
        scene.handshake().client(100, b"abc");
        if closes {
            scene.push(Forward, ACK | FIN, 103, 500, b"").push(Reverse, ACK | FIN, 500, 104, b"");
        }
        scene.push(Forward, SYN, 77_000_000, 0, b"").push(Reverse, SYN | ACK, 88_000_000, 77_000_001, b"");
        scene.push(Forward, ACK, 77_000_001, 88_000_001, b"def").finish();
        let logs = &scene.reassembler.handler().logs;
        assert_eq!((logs[0].whole(Forward), logs[1].whole(Forward)), (b"abc".to_vec(), b"def".to_vec()));
        let why = if closes { CloseReason::Finished } else { CloseReason::Reused };
        assert_eq!(logs[0].ending.unwrap().why, why);
        assert_eq!(logs[1].initiator, Some(Forward));
    }
}

#[test]
fn late_copies_of_a_closed_flow_are_absorbed() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, ACK | FIN, 103, 500, b"").push(
        Reverse,
        ACK | FIN,
        500,
        104,
        b"",
    );
    scene.client(100, b"abc").client(102, b"cde").push(Forward, SYN, 99, 0, b"").push(Forward, ACK, 104, 501, b"");
    scene.finish();
    let stats = scene.reassembler.stats();
    assert_eq!((stats.flows, stats.already_seen_bytes, stats.dropped_bytes), (1, 4, [0, 0, 0, 2, 0]));
}

#[test]
fn a_closed_flow_does_not_swallow_a_connection_whose_handshake_was_lost() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, ACK | FIN, 103, 500, b"").push(
        Reverse,
        ACK | FIN,
        500,
        104,
        b"",
    );
    let start = 3_000_000_000;
    for n in 0..5 {
        scene.push(Forward, ACK, start + 3 * n, 900_000_000, b"new");
    }
    scene.finish();
    let logs = &scene.reassembler.handler().logs;
    assert_eq!(logs[1].whole(Forward), b"newnewnewnewnew");
}

#[test]
fn a_live_flow_gives_way_when_acknowledgements_confirm_another() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc");
    let mut at = 3_000_000_000_u32;
    for _ in 0..8 {
        scene.push(Forward, ACK, at, 900_000_000, b"new");
        at += 3;
        scene.push(Reverse, ACK, 900_000_000, at, b"");
    }
    scene.finish();
    let logs = &scene.reassembler.handler().logs;
    assert_eq!(logs[0].ending.unwrap().why, CloseReason::Reused);
    assert!(logs[1].whole(Forward).ends_with(b"newnewnew"));
    assert!(scene.reassembler.stats().out_of_window_bytes > 0);
}

#[test]
fn a_forged_acknowledgement_moves_nothing() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").server_ack(103 + (100 << 20)).wait(1000 * MILLI);
    scene.client(103, b"def").server_ack(106).wait(1000 * MILLI).client(106, b"ghi").finish();
    assert_eq!(text(&scene, Forward), "abcdefghi");
}

#[test]
fn forged_data_far_ahead_moves_nothing() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(103 + (100 << 20), b"evil").server_ack(103).wait(6000 * MILLI);
    scene.client(103, b"def").server_ack(106).finish();
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.reassembler.stats().out_of_window_bytes, 4);
}

#[test]
fn a_long_outage_of_the_mirror_is_a_gap() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc");
    let far = 103 + (100 << 20);
    for n in 0..20 {
        scene.client(far + 3 * n, b"def").server_ack(far + 3 * n + 3);
    }
    scene.finish();
    assert_eq!(scene.log().gaps(Forward).iter().map(|gap| gap.1).collect::<Vec<_>>(), [100 << 20]);
    assert_eq!(scene.reassembler.stats().delivered_bytes, 63);
}

#[test]
fn a_fin_ahead_of_a_hole_waits_for_it() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, ACK | FIN, 106, 500, b"");
    assert!(!scene.log().has_end(Forward));
    scene.client(103, b"def");
    assert!(scene.log().has_end(Forward));
    // Bytes behind the end are not of the stream.
    scene.client(106, b"evil").finish();
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.reassembler.stats().dropped_bytes[DropReason::AfterEnd as usize], 4);
}

#[test]
fn what_is_missing_before_a_fin_is_a_gap_of_its_size() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Forward, ACK | FIN, 106, 500, b"").server_ack(107);
    scene.wait(300 * MILLI).push(Reverse, ACK | FIN, 500, 107, b"");
    assert_eq!(text(&scene, Forward), "abc...");
    assert!(scene.log().has_end(Forward));
    assert_eq!(scene.log().ending.unwrap().why, CloseReason::Finished);
}

#[test]
fn a_half_closed_flow_is_told_when_it_opens() {
    let mut scene = Scene::new();
    scene.handshake().push(Forward, ACK | FIN, 100, 500, b"").push(Reverse, ACK, 500, 101, b"abc");
    assert!(matches!(scene.log().events[..], [Event::End(Forward, _), Event::Data(Reverse, ..)]));
}

#[test]
fn everything_held_comes_out_at_the_end() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi").push(Reverse, ACK, 510, 100, b"xyz");
    let last = scene.now();
    scene.finish();
    assert_eq!((text(&scene, Forward), text(&scene, Reverse)), ("abc...ghi".into(), "..........xyz".into()));
    assert_eq!(scene.log().ending.map(|ending| (ending.why, ending.at)), Some((CloseReason::EndOfInput, last)));
}

#[test]
fn skipped_bytes_are_not_kept() {
    let mut scene = Scene::new();
    scene.reassembler.handler_mut().wants = vec![Want::Skip(6), Want::More];
    scene.handshake().client(100, b"abc").client(106, b"ghi").client(109, b"jkl");
    scene.client(103, b"def").finish();
    assert_eq!(text(&scene, Forward), "abcdef...jkl");
    let stats = scene.reassembler.stats();
    assert_eq!((stats.skipped_bytes, stats.delivered_bytes, stats.gaps), (3, 9, 0));
    assert!(scene.log().events.iter().any(|event| matches!(event, Event::Skipped(Forward, _, 3))));
}

#[test]
fn a_shunted_flow_is_only_counted() {
    let mut scene = Scene::new();
    scene.reassembler.handler_mut().wants = vec![Want::Nothing];
    scene.handshake().client(103, b"def").push(Reverse, ACK, 505, 100, b"xyz").client(100, b"abc");
    scene.client(100, b"abc").client(110, b"k").push(Reverse, ACK, 500, 100, b"uvw");
    scene.push(Forward, ACK | FIN, 111, 508, b"").push(Reverse, ACK | FIN, 508, 112, b"");
    let log = scene.log();
    assert_eq!(log.events.len(), 1);
    let ending = log.ending.unwrap();
    assert_eq!((ending.why, ending.shunted), (CloseReason::Finished, [7, 6]));
    assert_eq!(scene.reassembler.stats().shunted_bytes, 13);
    scene.finish();
}

#[test]
fn the_flow_carries_the_path_of_the_segment_that_opened_it() {
    let path = TunnelPath { vlans: [7].into_iter().collect(), ..TunnelPath::default() };
    let mut scene = Scene::new();
    let first = scene.packet(Forward, ACK, 1000, 500, b"abc");
    scene.reassembler.push(&first.segment(&path));
    // On another VLAN it is the same flow; and a deadline, which has no path of its own, opens it.
    scene.client(1003, b"def");
    scene.reassembler.tick(scene.now() + 300 * MILLI);
    assert_eq!(text(&scene, Forward), "abcdef");
    assert_eq!(scene.log().path, path);
    assert_eq!(scene.log().at, first.at);
}

#[test]
fn flows_without_payload_are_evicted_first() {
    let mut scene = Scene::with(Limits { max_flows: 3, ..Limits::default() });
    let on = |packet: Packet, port| Packet { port, ..packet };
    let mut push = |port: u16, flags: u8, payload: &[u8]| {
        let packet = on(scene.packet(Forward, flags, 99, 0, payload), port);
        scene.push_packet(&packet);
    };
    push(1, SYN | ACK, b"data");
    push(2, SYN | ACK, b"data");
    push(3, SYN, b"");
    push(4, SYN, b"");
    push(5, SYN | ACK, b"data");
    push(6, SYN | ACK, b"data");
    let logs = &scene.reassembler.handler().logs;
    let endings: Vec<_> = logs.iter().map(|log| log.ending.map(|ending| ending.why)).collect();
    assert_eq!(endings, [Some(CloseReason::Evicted), None, None, None]);
    assert_eq!(scene.reassembler.stats().evicted_flows, 3);
    assert_eq!(scene.reassembler.stats().active_flows, 3);
}

#[test]
fn an_evicted_flow_hands_over_what_it_holds_if_it_is_open() {
    let mut scene = Scene::with(Limits { max_flows: 1, ..Limits::default() });
    scene.handshake().client(100, b"abc").client(106, b"ghi");
    let other = Packet { port: 1, ..scene.packet(Forward, ACK, 5, 5, b"held") };
    scene.push_packet(&other);
    assert_eq!(text(&scene, Forward), "abc...ghi");
    let another = Packet { port: 2, ..scene.packet(Forward, SYN, 5, 5, b"") };
    scene.push_packet(&another);
    assert_eq!(scene.reassembler.stats().dropped_bytes[DropReason::Evicted as usize], 4);
    scene.finish();
}

#[test]
fn without_pages_a_hole_is_given_up_rather_than_data_dropped() {
    let mut scene = Scene::with(Limits { page_memory: 0, ..Limits::default() });
    scene.handshake().client(100, b"abc").client(106, b"ghi").client(103, b"def").finish();
    assert_eq!(text(&scene, Forward), "abc...ghi");
    assert_eq!(scene.reassembler.stats().dropped_bytes, [0; 5]);
}

#[test]
fn a_direction_holds_no_more_than_it_may() {
    let limits = Limits { max_held_per_direction: 10, max_ranges_per_direction: 2, ..Limits::default() };
    let mut scene = Scene::with(limits);
    scene.handshake().client(101, b"1").client(103, b"3").client(105, b"5");
    assert_eq!(text(&scene, Forward), ".1");
    scene.client(110, b"0123456789a");
    assert_eq!(text(&scene, Forward), ".1.3.5....0123456789a");
}

#[test]
fn time_may_run_backwards() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").client(106, b"ghi").server_ack(109);
    let early = scene.packet(Forward, ACK, 103, 500, b"def").at(5);
    scene.push_packet(&early).finish();
    assert_eq!(text(&scene, Forward), "abcdefghi");
    assert!(
        scene.log().events.iter().any(|e| matches!(e, Event::Data(_, p, _) if p.at == Timestamp::from_nanos(5000)))
    );
}

#[test]
fn what_was_forged_before_the_handshake_was_done_ends_nothing() {
    // A reset and a FIN that guess at the server's number, before its own segments; near it and far from it; taking
    // effect at once or after they have lingered.
    for (isn, wait) in [(26_175, 0), (26_175, 300), (0x8000_0000, 0), (0x8000_0000, 300), (0xf000_0000, 0), (0, 0)] {
        for forged in [&[RST][..], &[FIN], &[RST, FIN], &[FIN, RST]] {
            let mut scene = Scene::new();
            scene.push(Forward, SYN, 99, 0, b"");
            for flag in forged {
                scene.push(Reverse, ACK | flag, 0, 100, b"");
            }
            scene.push(Forward, RST, 100, 0, b"").wait(wait * MILLI);
            scene.push(Reverse, SYN | ACK, isn, 100, b"");
            let first = isn.wrapping_add(1);
            scene.push(Forward, ACK, 100, first, b"").push(Forward, ACK, 100, first, b"ask");
            scene.wait(400 * MILLI).push(Reverse, ACK, first, 103, b"answer").finish();
            let seen = (text(&scene, Forward), text(&scene, Reverse), scene.log().initiator);
            let expected = ("ask".to_owned(), "answer".to_owned(), Some(Forward));
            assert_eq!(seen, expected, "number {isn}, forged {forged:?}, {wait} ms");
        }
    }
}

#[test]
fn what_is_sent_again_long_after_the_end_opens_nothing() {
    let mut scene = Scene::new();
    scene.handshake().push(Reverse, ACK | FIN, 500, 100, b"bye").push(Forward, ACK | FIN, 100, 504, b"ask");
    for millis in [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200] {
        scene.wait(millis * MILLI).push(Forward, ACK | FIN, 100, 504, b"ask");
    }
    assert_eq!(scene.log().ending.unwrap().why, CloseReason::Finished);
    assert_eq!(scene.reassembler.stats().retransmitted_segments, 7);
    // Silence ends that, and a tick sees to it.
    scene.reassembler.tick(scene.now() + Duration::from_secs(32));
    assert_eq!(scene.reassembler.stats().active_flows, 0);
    scene.finish();
}

#[test]
fn a_connection_that_goes_on_after_a_forged_end_is_not_swallowed_for_long() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"abc").push(Reverse, ACK | RST, 500, 103, b"").wait(300 * MILLI);
    for n in 0..20 {
        let _ = scene.wait(500 * MILLI).client(100, b"abc").client(103 + n, b".");
    }
    assert!(scene.reassembler.handler().logs.len() > 1);
    scene.finish();
}

#[test]
fn where_ticks_tell_the_time_flows_do_not_end_each_other() {
    // What flow 1000 shows of itself must not depend on whether flow 2000 is in the same table, even when files were
    // given in the wrong order and time jumps back.
    let alone_and_not = [false, true].map(|is_alone| {
        let mut scene = Scene::new();
        scene.reassembler.tick(Timestamp::ZERO);
        scene.handshake().push(Forward, ACK | FIN, 100, 500, b"ask").push(Reverse, ACK | FIN, 500, 104, b"answer");
        let again = scene.packet(Forward, ACK | FIN, 100, 500, b"ask");
        for port in (2000..2004).filter(|_| !is_alone) {
            let other = scene.wait(Duration::from_secs(60)).packet(Forward, SYN, 7, 0, b"");
            scene.push_packet(&Packet { port, ..other });
        }
        scene.push_packet(&again).finish();
        scene.log().clone()
    });
    assert_eq!(alone_and_not[0], alone_and_not[1]);
}

/// Found by review: a later acknowledgement was taken for the start, so a lost first response left no gap.
#[test]
fn the_first_acknowledgement_is_where_the_peer_starts() {
    let gaps = |scene: &Scene| -> Vec<_> {
        scene.log().gaps(Reverse).into_iter().map(|(offset, len, _)| (offset as u32, len)).collect()
    };
    // The SYN-ACK and the first response are lost; the handshake's last segment, or the request alone, is captured. The
    // second response comes before, or after, the hole is given up.
    for (has_handshake, has_last, wait) in
        [(true, true, 0), (true, false, 0), (true, true, 300), (false, true, 0), (false, false, 0), (false, false, 300)]
    {
        let mut scene = Scene::new();
        if has_handshake {
            scene.push(Forward, SYN, 99, 0, b"");
        }
        if has_last {
            scene.client(100, b"");
        }
        scene.client(100, b"one").push(Forward, ACK, 103, 503, b"").push(Forward, ACK, 103, 503, b"two");
        scene.wait(wait * MILLI).push(Reverse, ACK, 503, 106, b"TWO").wait(300 * MILLI);
        scene.push(Forward, ACK, 106, 506, b"").finish();
        let what = (has_handshake, has_last, wait);
        assert_eq!((text(&scene, Forward), text(&scene, Reverse)), ("onetwo".into(), "...TWO".into()), "{what:?}");
        assert_eq!(gaps(&scene), [(500, 3)], "{what:?}");
    }
    // The mirror put the first acknowledgement behind the next one.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"").push(Forward, ACK, 103, 503, b"two").client(100, b"one");
    scene.push(Reverse, ACK, 503, 106, b"TWO").finish();
    assert_eq!((text(&scene, Forward), text(&scene, Reverse)), ("onetwo".into(), "...TWO".into()));
    // The first response is late, not lost.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"").client(100, b"one").push(Forward, ACK, 103, 503, b"two");
    scene.push(Reverse, ACK, 503, 106, b"TWO").push(Reverse, ACK, 500, 103, b"ONE").finish();
    assert_eq!(text(&scene, Reverse), "ONETWO");
    assert_eq!(gaps(&scene), []);
    // The byte behind the last one is a FIN that was not captured.
    let mut scene = Scene::new();
    scene.push(Forward, SYN, 99, 0, b"").client(100, b"one").push(Forward, ACK | FIN, 103, 501, b"").finish();
    assert_eq!(gaps(&scene), []);
}

/// Found by review: a reset anywhere near the stream ended it.
#[test]
fn a_reset_out_of_place_ends_nothing_that_goes_on() {
    for (sender, seq) in
        [(Forward, 103 + 1000), (Forward, 103 - 60_000), (Reverse, 503 + 500_000), (Forward, 106), (Reverse, 502)]
    {
        for wait in [0, 100, 300, 3000] {
            let mut scene = Scene::new();
            scene.handshake().client(100, b"one").push(Reverse, ACK, 500, 103, b"ONE");
            scene.push(sender, RST, u32::from_ne_bytes(i32::to_ne_bytes(seq)), 0, b"").wait(wait * MILLI);
            // The first segment ends beyond the place nearest to it.
            scene.push(Forward, ACK, 103, 503, b"two two").push(Reverse, ACK, 503, 110, b"TWO");
            scene.wait(Duration::from_secs(8)).push(Forward, ACK, 110, 506, b"three").finish();
            let what = (sender, seq, wait);
            assert_eq!(text(&scene, Forward), "onetwo twothree", "{what:?}");
            assert_eq!(text(&scene, Reverse), "ONETWO", "{what:?}");
            assert_eq!(scene.log().ending.unwrap().why, CloseReason::EndOfInput, "{what:?}");
        }
    }
    // Acknowledgements of new data contradict it too, where its sender's data are not captured.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Reverse, RST, 1500, 0, b"").wait(300 * MILLI);
    scene.push(Reverse, ACK, 500, 106, b"").wait(Duration::from_secs(6)).client(106, b"two").finish();
    assert_eq!(text(&scene, Forward), "one...two");
    // Nothing contradicts it: it was one whose neighbours were lost.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Forward, RST, 1103, 0, b"");
    let reset = scene.now();
    scene.wait(Duration::from_secs(6)).push(Reverse, ACK, 500, 103, b"late").finish();
    assert_eq!(scene.log().ending.map(|ending| (ending.why, ending.at)), Some((CloseReason::Reset, reset)));
    // A forged one does not keep a real one from taking effect.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Forward, RST, 1103, 0, b"").push(Forward, RST, 103, 0, b"");
    let reset = scene.now();
    scene.wait(300 * MILLI).client(103, b"two").finish();
    assert_eq!(scene.log().ending.map(|ending| (ending.why, ending.at)), Some((CloseReason::Reset, reset)));
}

/// Found by review: a FIN ahead of the stream cut off what came behind its place.
#[test]
fn a_fin_ahead_of_a_stream_that_goes_on_is_void() {
    // Data pass it.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Forward, ACK | FIN, 105, 500, b"").client(103, b"two").finish();
    assert_eq!((text(&scene, Forward), scene.log().has_end(Forward)), ("onetwo".into(), false));
    // The peer acknowledges beyond it, and what it acknowledged is a gap.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Forward, ACK | FIN, 105, 500, b"").server_ack(109);
    scene.wait(300 * MILLI).client(109, b"four").push(Forward, ACK | FIN, 113, 500, b"");
    assert_eq!((text(&scene, Forward), scene.log().has_end(Forward)), ("one......four".into(), true));
    // The stream ends before it, or beyond it.
    for end in [103, 110] {
        let mut scene = Scene::new();
        scene.handshake().client(100, b"one").push(Forward, ACK | FIN, 107, 500, b"");
        scene.push(Forward, ACK | FIN, end, 500, b"").server_ack(end + 1).wait(300 * MILLI).server_ack(end + 1);
        assert!(scene.log().has_end(Forward), "{end}");
        assert_eq!(scene.log().stream(Forward).len() as u32, end - 100);
    }
    // Bytes far beyond it are no more credible than it is.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Forward, ACK | FIN, 106, 500, b"").client(100 << 20, b"evil");
    scene.client(103, b"two").finish();
    assert_eq!((text(&scene, Forward), scene.log().has_end(Forward)), ("onetwo".into(), true));
}

/// Found by review: one SYN with any number ended a live flow.
#[test]
fn a_forged_syn_ends_no_live_flow() {
    for forged in [(Forward, SYN, 777_777, 0), (Reverse, SYN, 777_777, 0), (Reverse, SYN | ACK, 777_777, 888_888)] {
        let (direction, flags, seq, ack) = forged;
        let mut scene = Scene::new();
        scene.handshake().client(100, b"one").push(Reverse, ACK, 500, 103, b"ONE");
        for n in 0..3 {
            scene.push(direction, flags, seq + n, ack, b"").push(direction, flags, seq + n, ack, b"");
            scene.push(Reverse, ACK, 503 + 3 * n, 103 + 3 * n, b"").wait(1000 * MILLI);
            scene.push(Forward, ACK, 103 + 3 * n, 503 + 3 * n, b"two");
            scene.push(Reverse, ACK, 503 + 3 * n, 106 + 3 * n, b"TWO");
        }
        scene.finish();
        assert_eq!((text(&scene, Forward), text(&scene, Reverse)), ("onetwotwotwo".into(), "ONETWOTWOTWO".into()));
        assert_eq!(scene.reassembler.stats().flows, 1);
    }
}

/// A forged SYN whose number the old stream is about to reach.
#[test]
fn a_syn_ahead_of_the_stream_ends_no_live_flow() {
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Reverse, ACK, 500, 103, b"ONE").push(Forward, SYN, 105, 0, b"");
    scene.push(Reverse, ACK, 503, 103, b"").push(Forward, ACK, 103, 503, b"two").push(Reverse, ACK, 503, 106, b"TWO");
    scene.push(Forward, ACK, 106, 506, b"three").push(Reverse, ACK, 506, 111, b"THREE").finish();
    assert_eq!((text(&scene, Forward), text(&scene, Reverse)), ("onetwothree".into(), "ONETWOTHREE".into()));
    // The response is captured before its request.
    let mut scene = Scene::new();
    scene.handshake().client(100, b"one").push(Forward, SYN, 105, 0, b"").push(Reverse, ACK, 500, 106, b"ONE");
    scene.push(Forward, ACK, 103, 500, b"two").push(Forward, ACK, 106, 503, b"three").finish();
    assert_eq!((text(&scene, Forward), text(&scene, Reverse)), ("onetwothree".into(), "ONE".into()));
}

#[test]
fn a_live_flow_gives_way_to_a_syn_with_evidence() {
    const C: u32 = 77_000_000;
    const S: u32 = 88_000_000;
    type Step = (Direction, u8, u32, u32, &'static [u8]);
    let syn: Step = (Forward, SYN, C - 1, 0, b"");
    let answer: Step = (Reverse, SYN | ACK, S - 1, C, b"");
    let last: Step = (Forward, ACK, C, S, b"");
    let ask: Step = (Forward, ACK, C, S, b"ask");
    let response: Step = (Reverse, ACK, S, C + 3, b"response");
    // Of the old connection, captured late.
    let old: Step = (Forward, ACK, 103, 500, b"");
    let cases: [(&[Step], &str, &str); 9] = [
        (&[syn, answer, last, ask, response], "ask", "response"),
        (&[answer, syn, last, ask, response], "ask", "response"),
        (&[syn, old, answer, old, ask, response], "ask", "response"),
        (&[syn, syn, answer, answer, ask, ask, response], "ask", "response"),
        (&[syn, last, ask, response], "ask", "response"),
        (&[syn, ask], "ask", ""),
        (&[syn, old, last, ask], "ask", ""),
        (&[answer, last, ask, response], "ask", "response"),
        // Its request was lost: the response acknowledges it.
        (&[syn, response], "...", "response"),
    ];
    for (number, (steps, asked, responded)) in cases.into_iter().enumerate() {
        let mut scene = Scene::new();
        scene.handshake().client(100, b"abc");
        for &(direction, flags, seq, ack, payload) in steps {
            scene.push(direction, flags, seq, ack, payload);
        }
        scene.finish();
        let text = |log: &common::FlowLog, direction: Direction| -> String {
            log.stream(direction).into_iter().map(|byte| byte.map_or('.', char::from)).collect()
        };
        let logs = &scene.reassembler.handler().logs;
        assert_eq!((logs[0].whole(Forward), logs.len()), (b"abc".to_vec(), 2), "{number}");
        assert_eq!(logs[0].ending.unwrap().why, CloseReason::Reused, "{number}");
        assert_eq!((text(&logs[1], Forward), text(&logs[1], Reverse)), (asked.into(), responded.into()), "{number}");
        assert_eq!((logs[1].initiator, scene.reassembler.stats().mid_stream_flows), (Some(Forward), 0), "{number}");
        assert_eq!(logs[1].first(Forward).unwrap() as u32, C, "{number}");
    }
}

#[test]
fn a_syn_ends_a_flow_that_has_nothing_to_lose() {
    // It was reset; one side ended; it has been silent for long; it never carried payload.
    for case in 0..4 {
        let mut scene = Scene::new();
        scene.handshake();
        if case < 3 {
            scene.client(100, b"abc");
        }
        match case {
            0 => drop(scene.push(Forward, RST, 103, 0, b"")),
            1 => drop(scene.push(Forward, ACK | FIN, 103, 500, b"")),
            2 => drop(scene.wait(Duration::from_secs(31))),
            _ => {}
        }
        scene.push(Forward, SYN, 77_000_000, 0, b"").push(Reverse, ACK, 500, 103, b"");
        assert_eq!(scene.reassembler.stats().flows, 2, "{case}");
        scene.push(Forward, ACK, 77_000_001, 9, b"new").finish();
        let logs = &scene.reassembler.handler().logs;
        assert_eq!(logs.last().unwrap().whole(Forward), b"new", "{case}");
    }
}
