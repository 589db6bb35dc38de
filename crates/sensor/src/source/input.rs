//! What was named on the command line, and which inputs it means.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::OpenError;
use super::reader::not_a_capture;
use super::warning::{Warning, WarningKind};

/// An input to read a capture from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Standard input, named `-`.
    Stdin,
    /// A file, a named pipe or whatever else opens.
    File(PathBuf),
}

impl Input {
    /// Opens it for reading.
    pub(super) fn open(&self) -> Result<File, OpenError> {
        match self {
            // A descriptor of its own, past the standard library's small buffer and its lock.
            Self::Stdin => duplicate_stdin().map_err(|source| OpenError::Refused { path: PathBuf::from("-"), source }),
            Self::File(path) => {
                let file = File::open(path).map_err(|source| refused(path, source))?;
                // A directory opens, and only fails when it is read.
                match file.metadata() {
                    Ok(metadata) if metadata.is_dir() => Err(refused(path, io::ErrorKind::IsADirectory.into())),
                    _ => Ok(file),
                }
            }
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdin => f.write_str("standard input"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The inputs that these arguments mean, in order: `-` is standard input, a directory gives the captures directly in it
/// in the order of their names, anything else is a file.
///
/// A directory's hidden files and subdirectories are passed over silently, its files that are no captures with a
/// warning to the log.
///
/// # Errors
///
/// When an argument names nothing, a directory cannot be read or has no capture in it, or `-` comes twice.
pub fn expand(args: &[PathBuf]) -> Result<Vec<Input>, OpenError> {
    let mut warnings = Vec::new();
    let inputs = expand_with(args, &mut warnings)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(inputs)
}

/// As [`expand`], with the warnings handed to the caller.
///
/// # Errors
///
/// As [`expand`].
pub fn expand_with(args: &[PathBuf], warnings: &mut Vec<Warning>) -> Result<Vec<Input>, OpenError> {
    let mut inputs = Vec::with_capacity(args.len());
    for path in args {
        if path.as_os_str() == "-" {
            if inputs.contains(&Input::Stdin) {
                return Err(OpenError::StdinTwice);
            }
            inputs.push(Input::Stdin);
            continue;
        }
        let metadata = fs::metadata(path).map_err(|source| refused(path, source))?;
        if metadata.is_dir() {
            inputs.extend(captures_in(path, warnings)?);
        } else {
            inputs.push(Input::File(path.clone()));
        }
    }
    Ok(inputs)
}

/// The captures directly in a directory, by name.
fn captures_in(directory: &Path, warnings: &mut Vec<Warning>) -> Result<Vec<Input>, OpenError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| refused(directory, source))? {
        let entry = entry.map_err(|source| refused(directory, source))?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Links are followed; what cannot be looked at is left for whoever opens it to complain about.
        if !hidden && fs::metadata(entry.path()).map_or(true, |metadata| metadata.is_file()) {
            paths.push(entry.path());
        }
    }
    paths.sort_unstable();
    let mut inputs = Vec::with_capacity(paths.len());
    for path in paths {
        let input = Input::File(path);
        match not_a_capture(&input) {
            Ok(Some(reason)) => {
                let kind = WarningKind::NotACapture { reason: reason.to_string() };
                warnings.push(Warning { name: input.to_string(), kind });
            }
            Ok(None) | Err(_) => inputs.push(input),
        }
    }
    if inputs.is_empty() {
        return Err(OpenError::NoCaptures { path: directory.to_owned() });
    }
    Ok(inputs)
}

fn refused(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => OpenError::NotFound { path },
        _ => OpenError::Refused { path, source },
    }
}

#[cfg(unix)]
fn duplicate_stdin() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

#[cfg(windows)]
fn duplicate_stdin() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stdin().as_handle().try_clone_to_owned()?))
}
