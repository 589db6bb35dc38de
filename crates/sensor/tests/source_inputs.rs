//! From arguments to inputs.

mod source_build;

use std::fs;
use std::path::{Path, PathBuf};

use sensor::source::{CaptureReader, Input, OpenError, ReadOptions, WarningKind, expand, expand_with};
use source_build::{Ng, Packet, Pcap, gzip, zstd};

fn paths(folder: &Path, names: &[&str]) -> Vec<Input> {
    names.iter().map(|name| Input::File(folder.join(name))).collect()
}

#[test]
fn a_directory_gives_its_captures_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let packets = [Packet::new(1_000, b"abc")];
    let (pcap, pcapng) = (Pcap::default().file(&packets), Ng::default().file(&packets));
    fs::write(at("b.pcap"), &pcap).unwrap();
    fs::write(at("a.txt"), gzip(&pcapng)).unwrap();
    fs::write(at("c"), zstd(&pcap)).unwrap();
    // Broken, but a capture: whoever reads it will hear.
    fs::write(at("d.pcap"), &pcap[..20]).unwrap();
    fs::write(at("e.pcap"), Pcap { network: 127, ..Pcap::default() }.header()).unwrap();
    fs::write(at(".hidden.pcap"), &pcap).unwrap();
    fs::write(at("README.md"), "# Captures").unwrap();
    fs::write(at("empty.pcap"), "").unwrap();
    fs::write(at("notes.gz"), gzip(b"notes")).unwrap();
    fs::create_dir(at("more")).unwrap();
    fs::write(at("more/f.pcap"), &pcap).unwrap();

    let mut warnings = Vec::new();
    let inputs = expand_with(&[PathBuf::from("-"), folder.path().to_owned(), at("c")], &mut warnings).unwrap();
    let mut expected = vec![Input::Stdin];
    expected.extend(paths(folder.path(), &["a.txt", "b.pcap", "c", "d.pcap", "e.pcap", "c"]));
    assert_eq!(inputs, expected);
    assert_eq!(
        warnings.iter().map(|warning| PathBuf::from(&warning.name)).collect::<Vec<_>>(),
        [at("README.md"), at("empty.pcap"), at("notes.gz")]
    );
    assert!(warnings.iter().all(|warning| matches!(warning.kind, WarningKind::NotACapture { .. })));
    assert!(warnings[1].to_string().ends_with("empty.pcap is empty (0 bytes): left out"), "{}", warnings[1]);
    assert_eq!(expand(&[folder.path().to_owned()]).unwrap(), expected[1..6]);

    // What was named itself is not passed over.
    assert_eq!(expand(&[at("README.md"), at(".hidden.pcap")]).unwrap().len(), 2);
}

#[test]
fn what_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.pcap");
    let error = expand(std::slice::from_ref(&missing)).unwrap_err();
    assert!(matches!(&error, OpenError::NotFound { path } if *path == missing));
    assert_eq!(error.exit_code(), 2);
    assert!(error.hint().is_some());
    assert!(error.to_string().ends_with("missing.pcap: no such file or directory"), "{error}");
    let error = CaptureReader::open(&Input::File(missing), &ReadOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::NotFound { .. }));

    let error = expand(&[folder.path().to_owned()]).unwrap_err();
    assert!(matches!(error, OpenError::NoCaptures { .. }));
    assert_eq!(error.exit_code(), 2);
    let error = CaptureReader::open(&Input::File(folder.path().to_owned()), &ReadOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");

    let stdin = PathBuf::from("-");
    assert!(matches!(expand(&[stdin.clone(), stdin]), Err(OpenError::StdinTwice)));
    assert_eq!(expand(&[]).unwrap(), []);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_dangling_ones_reported_when_opened() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("real");
    fs::write(&target, Pcap::default().header()).unwrap();
    std::os::unix::fs::symlink(&target, folder.path().join("a")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("b")).unwrap();
    let inputs = expand(&[folder.path().to_owned()]).unwrap();
    assert_eq!(inputs, paths(folder.path(), &["a", "b"]));
    assert!(CaptureReader::open(&inputs[0], &ReadOptions::default()).is_ok());
    assert!(matches!(CaptureReader::open(&inputs[1], &ReadOptions::default()), Err(OpenError::NotFound { .. })));
}
