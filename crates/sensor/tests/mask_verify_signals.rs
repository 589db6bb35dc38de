//! `sensor mask verify` that is stopped leaves nothing behind, and the next run removes what one that was killed has left.

mod cli_capture;

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cli_capture::Capture;
use tempfile::TempDir;

/// The times that the captures are read before the spool is looked at.
const LOOKS: usize = 3;

struct Case {
    folder: TempDir,
    capture: PathBuf,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let capture = Capture::of_http(2, 10).write(folder.path().join("a.pcap"));
        fs::write(folder.path().join("sensor.toml"), "").unwrap();
        fs::write(folder.path().join("secrets"), "/c0/t1\n").unwrap();
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { folder, capture }
    }

    fn temporary(&self) -> PathBuf {
        self.folder.path().join("tmp")
    }

    fn start(&self, capture: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sensor"));
        command.env("TMPDIR", self.temporary()).current_dir(self.folder.path());
        command.args(["mask", "verify", "--config", "sensor.toml", "--secrets", "secrets"]).arg(capture);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// One that waits for more of its capture with batches in its folder; what keeps it waiting comes with it.
    fn stuck(&self, name: &str) -> (Child, fs::File) {
        let pipe = self.folder.path().join(name);
        make_pipe(&pipe);
        let child = self.start(&pipe);
        let bytes = fs::read(&self.capture).unwrap();
        for _ in 0..LOOKS {
            let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
            writer.write_all(&bytes).unwrap();
            // Whoever opens it again gets another one, and not what is still read.
            let next = self.folder.path().join("next");
            make_pipe(&next);
            fs::rename(next, &pipe).unwrap();
        }
        let waits = OpenOptions::new().write(true).open(&pipe).unwrap();
        let begun = Instant::now();
        while self.folders().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no folder was made");
            std::thread::sleep(Duration::from_millis(10));
        }
        (child, waits)
    }

    fn folders(&self) -> Vec<PathBuf> {
        fs::read_dir(self.temporary()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn a_signal_takes_the_folder_away() {
    // A hang-up that was to be ignored is.
    for signal in ["SIGTERM", "SIGINT", "SIGHUP"].into_iter().filter(|signal| !fixtures::is_ignored(signal)) {
        let case = Case::new();
        let (mut child, _waits) = case.stuck("pipe");
        fixtures::signal(child.id(), signal);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal}");
        assert_eq!(case.folders(), Vec::<PathBuf>::new(), "{signal}");
        let (mut said, mut told) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert!(said.is_empty() && told.contains("nothing is verified"), "{said}{told}");
    }
}

#[test]
fn what_was_killed_is_cleaned_up_after_and_what_runs_is_left_alone() {
    let case = Case::new();
    let (mut killed, _waits) = case.stuck("one");
    let left = case.folders();
    let verify = || {
        let run = case.start(&case.capture).wait_with_output().unwrap();
        assert!(run.status.success() || run.status.code() == Some(1), "{run:?}");
    };
    assert!(left.iter().all(|folder| fs::metadata(folder).unwrap().mode() & 0o077 == 0), "nobody else reads it");
    // It runs still.
    verify();
    assert_eq!(case.folders(), left);
    fixtures::signal(killed.id(), "SIGKILL");
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert_eq!(case.folders(), left);
    verify();
    assert_eq!(case.folders(), Vec::<PathBuf>::new());
}
