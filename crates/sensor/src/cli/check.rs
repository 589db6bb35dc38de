//! `sensor check`: whether a configuration will work, before it has to.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use uploader::Destination;

use super::args::CheckArgs;
use super::plan::SizeLimits;
use super::{exit, print, say};
use crate::config::Loaded;
use crate::secrecy::keep_memory_private;
use crate::upload::Delivery;

/// Reads the configuration and tries everything that delivery needs.
pub(super) fn check(args: &CheckArgs) -> u8 {
    let loaded = match Loaded::read(Some(&args.config)) {
        Ok(loaded) => loaded,
        Err(error) => {
            say(format_args!("{error}\n"));
            return exit::USAGE;
        }
    };
    if let Err(error) = SizeLimits::here(&loaded.config).check() {
        say(format_args!("{}: {error}\n", args.config.display()));
        return exit::USAGE;
    }
    let mut report = format!("ok    configuration {}\n", args.config.display());
    for note in &loaded.notes {
        let _ = writeln!(report, "note  {note}");
    }
    let code = match Delivery::from_config(&loaded.config.upload, &loaded.config.sensor) {
        None => {
            report.push_str("note  nothing is sent: there is no `url` in [upload], and no [upload.file]\n");
            exit::OK
        }
        Some(delivery) => try_delivery(&delivery, &mut report),
    };
    // What was found is the answer, so it goes where an answer is looked for.
    match print(report.as_bytes()) {
        exit::OK => code,
        failed => failed,
    }
}

fn try_delivery(delivery: &Delivery, report: &mut String) -> u8 {
    // It holds the same secrets. A system that refuses this is warned of where they are used for long.
    let _ = keep_memory_private();
    let mut failed = false;
    for problem in delivery.settings.problems() {
        failed = true;
        let _ = writeln!(report, "FAIL  {problem}");
    }
    if let Some(spool) = &delivery.settings.spool {
        let _ = match try_spool(&spool.folder) {
            Ok(Spool::Free) => writeln!(report, "ok    spool {}", spool.folder.display()),
            Ok(Spool::InUse) => {
                let _ = writeln!(report, "ok    spool {}", spool.folder.display());
                writeln!(report, "note  another process uses the spool now: a second one is refused until that ends")
            }
            Err(error) => {
                failed = true;
                writeln!(
                    report,
                    "FAIL  spool {}: {error}; upload.spool.folder has to be a folder that this user can write to",
                    spool.folder.display()
                )
            }
        };
    }
    match &delivery.destination {
        Destination::Https(https) => {
            for step in uploader::check(https, &delivery.settings.envelope) {
                let _ = match step.result {
                    Ok(found) if found.is_empty() => writeln!(report, "ok    {}", step.what),
                    Ok(found) => writeln!(report, "ok    {}: {found}", step.what),
                    Err(error) => {
                        failed = true;
                        writeln!(report, "FAIL  {}: {error}", step.what)
                    }
                };
            }
        }
        Destination::File(file) => {
            let _ = writeln!(report, "note  records go to {}", file.path.display());
        }
        Destination::Stdout | Destination::Null => {}
    }
    if failed { exit::FAILED } else { exit::OK }
}

/// A spool's folder that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spool {
    Free,
    /// As it should be beside a sensor that runs.
    InUse,
}

/// Does in the spool's folder what delivery does there, and takes nothing that lies in it.
fn try_spool(folder: &Path) -> io::Result<Spool> {
    fs::create_dir_all(folder)?;
    let probe = tempfile::NamedTempFile::with_prefix_in(".check-", folder)?;
    probe.as_file().sync_all()?;
    probe.close()?;
    File::open(folder)?.sync_all()?;
    match File::open(folder.join("lock")) {
        Ok(lock) => match lock.try_lock() {
            Ok(()) => Ok(Spool::Free),
            Err(TryLockError::WouldBlock) => Ok(Spool::InUse),
            Err(TryLockError::Error(error)) => Err(error),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Spool::Free),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_is_tried_where_it_is() {
        let at = tempfile::tempdir().unwrap();
        let folder = at.path().join("new/spool");
        assert_eq!(try_spool(&folder).unwrap(), Spool::Free);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left behind");
        let lock = File::create(folder.join("lock")).unwrap();
        assert_eq!(try_spool(&folder).unwrap(), Spool::Free);
        lock.lock().unwrap();
        assert_eq!(try_spool(&folder).unwrap(), Spool::InUse);
        fs::write(at.path().join("file"), b"").unwrap();
        assert!(try_spool(&at.path().join("file")).is_err());
        assert!(try_spool(Path::new("/proc/none")).is_err());
    }
}
