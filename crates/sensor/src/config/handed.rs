//! The file that is named to the program, which may be a pipe that it was handed: standard input, or a shell's `<(…)`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_setfl};
use uploader::open_regular;

/// The names of what a process was handed open.
const STDIN: &str = "/dev/stdin";
const FOLDERS: [&str; 2] = ["/dev/fd", "/proc/self/fd"];

/// Whether a path is that of a pipe that this process was handed open: it can be read once. A pipe by any other name is a mistake,
/// for somebody would have to be writing to it just then.
#[must_use]
pub fn is_handed_pipe(path: &Path) -> bool {
    let is_handed = path == Path::new(STDIN) || FOLDERS.iter().any(|folder| path.parent() == Some(Path::new(folder)));
    is_handed && std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Opens a regular file, or a pipe that was handed over.
pub(super) fn open_named(path: &Path) -> io::Result<File> {
    if !is_handed_pipe(path) {
        return open_regular(path);
    }
    // Whoever wrote to it may be done and gone by now: that is its end, and not to be waited for.
    let pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    fcntl_setfl(&pipe, OFlags::empty())?;
    Ok(pipe)
}
