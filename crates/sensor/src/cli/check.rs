//! `sensor check`: whether a configuration will work, before it has to.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, geteuid};
use uploader::{Destination, SpoolUse};

use super::args::CheckArgs;
use super::{exit, print, say};
use crate::appliance::{ConfineError, Reach, become_user_of, return_to};
use crate::config::Config;
use crate::fitness::{self, Purpose};
use crate::secrecy::keep_memory_private;
use crate::upload::Delivery;

/// Reads the configuration and tries everything that delivery needs.
pub(super) fn check(args: &CheckArgs) -> u8 {
    let loaded = match fitness::read(Some(&args.config), Purpose::Here) {
        Ok((loaded, _)) => loaded,
        Err(error) => {
            say(format_args!("{error}\n"));
            return exit::USAGE;
        }
    };
    let mut report = format!("ok    configuration {}\n", args.config.display());
    for note in &loaded.notes {
        let _ = writeln!(report, "note  {note}");
    }
    let (asks, reach) = (geteuid(), Reach::of(&loaded.config, &args.config));
    let made: Vec<PathBuf> = reach.write.iter().flat_map(|folder| absent(folder)).collect();
    let delivery = Delivery::from_config(&loaded.config.upload, &loaded.config.sensor);
    let code = match (become_sensor(&loaded.config, &reach, &mut report), delivery) {
        (Err(error), _) => {
            let _ = writeln!(report, "FAIL  {error}");
            exit::FAILED
        }
        (Ok(is_another), delivery) => {
            if is_another {
                try_reload(&loaded.config, &args.config, &mut report);
            }
            if let Some(delivery) = delivery {
                try_delivery(&delivery, &mut report)
            } else {
                report.push_str("note  nothing is sent: there is no `url` in [upload], and no [upload.file]\n");
                exit::OK
            }
        }
    };
    leave_nothing(&made, asks);
    // What was found is the answer, so it goes where an answer is looked for.
    match print(report.as_bytes()) {
        exit::OK => code,
        failed => failed,
    }
}

/// What a live sensor does as the user that it goes on as is tried as that user, once the file is read. Says whether that is somebody
/// else than who asks.
fn become_sensor(config: &Config, reach: &Reach, report: &mut String) -> Result<bool, ConfineError> {
    let Some(user) = config.privileges.user.as_ref().filter(|_| !config.capture.is_empty()) else { return Ok(false) };
    let asks = geteuid();
    if become_user_of(&config.privileges, reach)? {
        let _ = writeln!(report, "note  tried as privileges.user = \"{user}\"");
    } else {
        let _ = writeln!(
            report,
            "note  tried as the user who asks: to try as privileges.user = \"{user}\" takes root, or to be that user"
        );
    }
    Ok(geteuid() != asks)
}

/// A start reads the configuration and what it names as whoever starts it, a reload as the user that the sensor goes on as.
fn try_reload(config: &Config, path: &Path, report: &mut String) {
    if let Err(error) = fitness::read(Some(path), Purpose::Reload(config)) {
        let error = error.to_string().replace('\n', "\n      ");
        let _ = writeln!(
            report,
            "warn  a start can read all this, but as its user the sensor would refuse every SIGHUP: let that user read it\n      {error}"
        );
    }
}

/// Those of a folder and what is above it that are not there.
fn absent(folder: &Path) -> Vec<PathBuf> {
    let is_absent = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
    folder.ancestors().take_while(is_absent).map(Path::to_owned).collect()
}

/// Removes folders that were made to try, as whoever asks may be somebody else than who is to write there: as far as it can as
/// whoever tried, and the others as who `asks`, whose folder they are in. One that is in use is not empty.
fn leave_nothing(made: &[PathBuf], asks: Uid) {
    let left: Vec<&PathBuf> = made.iter().filter(|folder| std::fs::remove_dir(folder).is_err()).collect();
    if geteuid() != asks && return_to(asks).is_ok() {
        for folder in left {
            let _ = std::fs::remove_dir(folder);
        }
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
        let _ = match uploader::try_spool(&spool.folder) {
            Ok(SpoolUse::Free) => writeln!(report, "ok    spool {}", spool.folder.display()),
            Ok(SpoolUse::InUse) => {
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
        // A file takes records of any shape.
        let wanted = delivery.settings.envelope.content_type();
        if matches!(delivery.destination, Destination::Https(_))
            && let Some(holds) = uploader::spooled_as(&spool.folder).ok().flatten().filter(|holds| holds != wanted)
        {
            failed = true;
            let _ = writeln!(
                report,
                "FAIL  spool {}: holds batches of {holds}, and {wanted} is to be sent; go back to the shape before until they are delivered, or name another upload.spool.folder",
                spool.folder.display()
            );
        }
    }
    match &delivery.destination {
        Destination::Https(https) => {
            for step in uploader::check(https, &delivery.settings.envelope) {
                let well = if step.is_warning { "warn" } else { "ok" };
                let _ = match step.result {
                    Ok(found) if found.is_empty() => writeln!(report, "{well:<5} {}", step.what),
                    Ok(found) => writeln!(report, "{well:<5} {}: {found}", step.what),
                    Err(error) => {
                        failed = true;
                        writeln!(report, "FAIL  {}: {error}", step.what)
                    }
                };
            }
        }
        Destination::File(file) => {
            let path = file.path.display();
            let _ = match try_file(&file.path) {
                Ok(()) => writeln!(report, "ok    records go to {path}"),
                Err(error) => {
                    failed = true;
                    writeln!(
                        report,
                        "FAIL  records cannot go to {path}: {error}; upload.file.path has to be a file, in a folder that exists and this user can write to"
                    )
                }
            };
        }
        Destination::Stdout | Destination::Null => {}
    }
    if failed { exit::FAILED } else { exit::OK }
}

/// Whether records could be written to `path`: opened as for writing, and left as it was found. One that was not there is made
/// and removed again, since nothing less shows that it can be made.
fn try_file(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        // To open a pipe or a device could wait, or do something; neither can be cut to whole lines.
        Ok(found) if !found.is_file() => Err(io::Error::other("it is no regular file")),
        Ok(_) => OpenOptions::new().read(true).write(true).open(path).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
            // Behind a link to nowhere it is the file that was made, not the link. One that is no longer empty is a sensor's,
            // which has just begun.
            let made_at = std::fs::canonicalize(path)?;
            if made.metadata()?.len() == 0 { std::fs::remove_file(made_at) } else { Ok(()) }
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let is_empty = || std::fs::read_dir(folder.path()).unwrap().next().is_none();
        let file = folder.path().join("records.ndjson");
        try_file(&file).unwrap();
        assert!(is_empty());
        for path in ["/nonexistent/dir/out.ndjson", "/proc/x.ndjson", "/dev/null"] {
            assert!(try_file(Path::new(path)).is_err(), "{path}");
        }
        assert!(try_file(folder.path()).is_err());
        assert!(is_empty());
        std::os::unix::fs::symlink(folder.path().join("target"), &file).unwrap();
        try_file(&file).unwrap();
        assert!(file.is_symlink() && !file.exists());
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "{}\n{\"half").unwrap();
        try_file(&file).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"{}\n{\"half");
    }
}
