//! Regular files, and nothing else under their names.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file to read it, and never waits: a named pipe in its place would keep whoever opens it until somebody
/// writes to it, and a device may take being opened for a command.
///
/// # Errors
/// What the system says, and what there is under the name where that is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    // Before it is opened: that alone may do something to a device, or to whoever waits at a pipe.
    check(&std::fs::metadata(path)?)?;
    // Something else may have taken its place since.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    check(&file.metadata()?)?;
    Ok(file)
}

fn check(metadata: &Metadata) -> io::Result<()> {
    match other_than_regular(metadata.file_type()) {
        Some(kind) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is no regular file, but {kind}"))),
        None => Ok(()),
    }
}

fn other_than_regular(kind: FileType) -> Option<&'static str> {
    Some(match kind {
        kind if kind.is_file() => return None,
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for name in ["file", "link"] {
            let mut text = String::new();
            open_regular(&at(name)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (path, kind) in [
            (at("pipe"), "a pipe"),
            (at("socket"), "a socket"),
            (folder.path().to_owned(), "a folder"),
            ("/dev/zero".into(), "a device"),
        ] {
            let (done, over) = mpsc::channel();
            std::thread::spawn(move || done.send(open_regular(&path).unwrap_err().to_string()));
            let said = over.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("{kind} was waited for"));
            assert_eq!(said, format!("it is no regular file, but {kind}"));
        }
        assert_eq!(open_regular(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
