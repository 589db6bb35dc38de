//! The program as it is typed: usage, broken input, configuration, exit codes. What the records say is the matter of
//! `e2e_replay.rs`.

mod cli_capture;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use cli_capture::{Capture, FILE_HEADER, PACKET_HEADER, ledger, replay, run, run_with, sensor};

#[test]
fn help_shows_every_flag_and_examples() {
    let help = run(&["replay", "--help"]);
    assert_eq!(help.code, Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    for flag in [
        "--output",
        "--filter",
        "--workers",
        "--body-limit",
        "--body-types",
        "--ledger",
        "--config",
        "--memory",
        "--sensor",
        "--quiet",
        "Examples:",
        "tcpdump",
        "Exit status:",
    ] {
        assert!(text.contains(flag), "{flag} is missing from\n{text}");
    }
    let program = run(&["--help"]);
    assert!(String::from_utf8(program.stdout).unwrap().contains("replay"));
}

#[test]
fn version_names_the_program() {
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), format!("sensor {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_2_with_a_hint() {
    for (args, hint) in [
        (&["replay", "x.pcap", "--worker", "2"][..], "--workers"),
        (&["replay"], "<FILE>"),
        (&["reply", "x.pcap"], "replay"),
        (&["replay", "x.pcap", "--workers", "many"], "0 to 256"),
        (&["replay", "x.pcap", "--workers", "257"], "0 to 256"),
        (&["replay", "x.pcap", "--body-limit", "12X"], "KiB"),
        (&["replay", "x.pcap", "--ledger", "xml"], "json"),
        (&["replay", "x.pcap", "--body-types", "json"], "application/json"),
        (&["replay", "x.pcap", "--memory", "1MiB"], "at least"),
        (&["replay", "x.pcap", "--body-limit", "64GiB"], "does not fit in memory 1GiB"),
        (&["replay", "x.pcap", "--sensor", ""], "edge-1"),
        (&["replay", "x.pcap", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (&["replay", "/no/such/capture.pcap"], "/no/such/capture.pcap"),
        (&["man", "nothing"], "nothing"),
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(2), "{args:?}: {run:?}");
        assert!(run.stdout.is_empty(), "{args:?}");
        assert!(run.stderr.contains(hint), "{args:?}: {} does not name {hint}", run.stderr);
        assert!(run.stderr.contains("--help"), "{args:?}: {}", run.stderr);
    }
}

#[test]
fn a_filter_that_is_none_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    let run = run(&["replay", capture.to_str().unwrap(), "--filter", "nonsense and more"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("nonsense and more") && run.stderr.contains("hint"), "{}", run.stderr);
}

#[test]
fn the_ledger_counts_every_frame() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = Capture::of_http(3, 4);
    capture.udp();
    let path = capture.write(folder.path().join("a.pcap"));
    let (run, ledger) = replay(&path, &[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(ledger["frames"]["total"], capture.packets.len());
    assert_eq!(run.stderr.lines().count(), 1, "quiet, so nothing but the ledger: {}", run.stderr);
}

#[test]
fn the_ledger_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    let run = run(&["replay", path.to_str().unwrap(), "--ledger", "text", "--quiet"]);
    assert_eq!(run.code, Some(0));
    for line in ["frames", "payload_bytes", "stream_bytes", "messages", "exchanges"] {
        assert!(run.stderr.lines().any(|text| text.starts_with(line) && text.contains(" = ")), "{}", run.stderr);
    }
}

#[test]
fn the_summary_is_on_standard_error_unless_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(2, 3).write(folder.path().join("a.pcap"));
    let loud = run(&["replay", path.to_str().unwrap()]);
    assert_eq!(loud.code, Some(0));
    assert!(loud.stderr.contains("1 capture · 24 packets"), "{}", loud.stderr);
    assert!(loud.stderr.contains("packets/s"), "{}", loud.stderr);
    assert!(!loud.stderr.contains('\u{1b}'), "no colours or bars without a terminal: {}", loud.stderr);
    let quiet = run(&["replay", path.to_str().unwrap(), "--quiet"]);
    assert_eq!(quiet.stderr, "");
    assert_eq!(quiet.stdout, loud.stdout);
}

#[test]
fn a_filter_s_frames_are_a_fate_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    // Raw frames match no expression about another link type's traffic; Ethernet frames of this capture match `ether`.
    let (run, all) = replay(&path, &["--filter", "ether proto 0x0800"]);
    assert_eq!((run.code, &all["frames"]["filtered"]), (Some(0), &0.into()), "{run:?}");
}

#[test]
fn a_capture_cut_in_its_last_packet_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(1, 2);
    let mut bytes = capture.to_bytes();
    bytes.truncate(bytes.len() - 7);
    let path = folder.path().join("cut.pcap");
    fs::write(&path, bytes).unwrap();
    let run = run(&["replay", path.to_str().unwrap(), "--ledger", "json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.stderr.contains("WARN") && run.stderr.contains("cut.pcap"), "{}", run.stderr);
    assert_eq!(ledger(&run)["frames"]["total"], capture.packets.len() - 1);
    let (quiet, _) = replay(&path, &[]);
    assert_eq!(quiet.code, Some(0));
    assert!(!quiet.stderr.contains("cut.pcap"), "{}", quiet.stderr);
}

#[test]
fn corruption_gives_what_stands_before_it_and_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(1, 5);
    let mut bytes = capture.to_bytes();
    // The seventh packet claims to be two gigabytes long.
    let offset = FILE_HEADER + capture.packets[..6].iter().map(|packet| PACKET_HEADER + packet.len()).sum::<usize>();
    bytes[offset + 8..offset + 12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    let (broken, whole) = (folder.path().join("broken.pcap"), folder.path().join("whole.pcap"));
    fs::write(&broken, bytes).unwrap();
    let (run, account) = replay(&broken, &[]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("broken.pcap") && run.stderr.contains(&offset.to_string()), "{}", run.stderr);
    assert_eq!(account["frames"]["total"], 6);
    // What comes after it is read all the same, and the exit code still tells.
    capture.write(whole.clone());
    let both = run_with(sensor().arg("replay").arg(&broken).arg(&whole).args(["--ledger", "json", "--quiet"]));
    assert_eq!(both.code, Some(1), "{both:?}");
    assert_eq!(ledger(&both)["frames"]["total"], 6 + capture.packets.len());
}

#[test]
fn what_is_no_capture_exits_1_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(1, 1);
    let (text, good) = (folder.path().join("a.pcap"), folder.path().join("b.pcap"));
    fs::write(&text, "This is a text that somebody named wrongly.\n".repeat(9)).unwrap();
    capture.write(good.clone());
    let run = run_with(sensor().arg("replay").arg(&text).arg(&good).args(["--ledger", "json", "--quiet"]));
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stderr.contains("a.pcap"), "{}", run.stderr);
    assert_eq!(ledger(&run)["frames"]["total"], capture.packets.len());
}

#[test]
fn standard_input_is_read() {
    let capture = Capture::of_http(1, 3);
    let run = run_with(sensor().args(["replay", "-", "--ledger", "json", "--quiet"]).write_stdin(capture.to_bytes()));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(ledger(&run)["frames"]["total"], capture.packets.len());
}

#[test]
fn the_input_is_never_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    let before = fs::read(&path).unwrap();
    let name = path.to_str().unwrap();
    let run = run(&["replay", name, "-o", name]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("both input and output"), "{}", run.stderr);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn an_output_that_cannot_be_created_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    let run = run(&["replay", path.to_str().unwrap(), "-o", "/nowhere/at/all.ndjson"]);
    assert_eq!(run.code, Some(2), "a wrong name: {run:?}");
    assert!(run.stderr.contains("/nowhere/at/all.ndjson"), "{}", run.stderr);
}

#[test]
fn faults_of_the_configuration_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = Capture::of_http(1, 1).write(folder.path().join("a.pcap"));
    let config = folder.path().join("sensor.toml");
    fs::write(&config, "workers = 2\n\n[decap]\nmax_dept = 3\n").unwrap();
    let args = ["replay", path.to_str().unwrap(), "--config", config.to_str().unwrap()];
    let wrong = run(&args);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    for part in ["sensor.toml", "line 4", "max_dept", "max_depth"] {
        assert!(wrong.stderr.contains(part), "{} does not name {part}", wrong.stderr);
    }
    fs::write(&config, "quiet = true\nledger = \"json\"\n").unwrap();
    let right = run(&args);
    assert_eq!(right.code, Some(0), "{right:?}");
    assert_eq!(ledger(&right)["frames"]["total"], 8);
}

#[test]
fn completions_and_manual_are_printed() {
    for (args, part) in [
        (&["completions", "bash"][..], "complete -F _sensor"),
        (&["completions", "zsh"], "#compdef sensor"),
        (&["completions", "fish"], "complete -c sensor"),
        (&["man"], ".TH sensor 1"),
        (&["man", "replay"], ".TH sensor-replay 1"),
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(0), "{args:?}");
        assert!(String::from_utf8(run.stdout).unwrap().contains(part), "{args:?}");
    }
}

#[test]
fn a_capture_that_the_shell_leads_to_both_ends_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("a.pcap");
    fs::write(&capture, b"precious").unwrap();
    let open = || fs::File::open(&capture).unwrap();
    let append = || fs::OpenOptions::new().append(true).open(&capture).unwrap();
    let sensor = || Command::new(env!("CARGO_BIN_EXE_sensor"));
    // sensor replay - -o a.pcap < a.pcap, and sensor replay a.pcap >> a.pcap
    let by_input = sensor().args(["replay", "-", "-o"]).arg(&capture).stdin(open()).output().unwrap();
    let by_output = sensor().arg("replay").arg(&capture).stdout(append()).output().unwrap();
    for output in [by_input, by_output] {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("both input and output"), "{said}");
        assert_eq!(fs::read(&capture).unwrap(), b"precious");
    }
}

/// What a pipe gave so far is recorded while it is quiet, not when it ends.
#[test]
fn a_quiet_pipe_keeps_no_record_back() {
    let whole = Capture::of_http(1, 3).to_bytes();
    let packed = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&whole).unwrap();
        packed.flush().unwrap();
        packed.get_ref().clone()
    };
    let records =
        |output: &Path| fs::read(output).map_or(0, |lines| lines.iter().filter(|byte| **byte == b'\n').count());
    let at = tempfile::tempdir().unwrap();
    let complete = at.path().join("complete");
    sensor().args(["replay", "-q", "-", "-o"]).arg(&complete).write_stdin(whole.clone()).assert().success();
    let expected = records(&complete);
    assert!(expected > 0);
    for (bytes, workers) in [(&whole, "1"), (&whole, "2"), (&packed, "1")] {
        let output = at.path().join("output");
        let mut run = Command::new(env!("CARGO_BIN_EXE_sensor"))
            .args(["replay", "-q", "--workers", workers, "-", "-o"])
            .arg(&output)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = run.stdin.take().unwrap();
        pipe.write_all(bytes).unwrap();
        pipe.flush().unwrap();
        // Until the pipe ends nothing says that nothing more comes; the loop ends by itself where the records never do.
        let found = (0..400).any(|_| {
            thread::sleep(Duration::from_millis(50));
            records(&output) == expected
        });
        drop(pipe);
        run.wait().unwrap();
        assert!(found, "{workers} workers: {} of {expected}", records(&output));
    }
}

/// By itself the system would end the process, without a word.
#[test]
fn a_file_at_the_limit_of_its_size_is_as_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let capture = Capture::of_http(4, 100).write(folder.path().join("a.pcap"));
    let output = folder.path().join("out.ndjson");
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -f 16 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_sensor"), "replay", "--ledger", "json"]);
    let run = shell.arg(&capture).arg("-o").arg(&output).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{:?} {said}", run.status);
    assert!(said.contains("cannot write to") && said.contains("too large"), "{said}");
    assert!(fs::metadata(&output).unwrap().len() > 0);
}
