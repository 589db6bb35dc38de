//! Secrets: where they come from, and a type that does not show them.
//!
//! A secret comes from a file, the environment or a systemd credential; there is no way to write one down in settings,
//! so that none can come from a command line or a configuration file. Memory is overwritten when a [`Secret`] goes.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::regular::open_regular;

/// A secret larger than this is a wrong file.
const MAX_BYTES: u64 = 64 << 10;

/// A secret text. `Debug` shows nothing of it, it has no `Display`, and its memory is overwritten on drop.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one place that has to send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that holds it; white space at the end does not count.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// A systemd credential, by name: a file in `$CREDENTIALS_DIRECTORY` (systemd.exec(5), `LoadCredential=`).
    Credential(String),
}

impl SecretSource {
    /// Reads the secret.
    ///
    /// # Errors
    ///
    /// If it is not there, empty, not text or larger than 64 KiB. The error names the source, never the content.
    pub fn read(&self) -> Result<Secret, SecretError> {
        let error = |what: String| SecretError { origin: self.clone(), what };
        let text = match self {
            Self::File(path) => read_file(path).map_err(error)?,
            Self::Environment(name) => match std::env::var(name) {
                Ok(text) => Zeroizing::new(text),
                Err(std::env::VarError::NotPresent) => return Err(error("is not set".to_owned())),
                Err(std::env::VarError::NotUnicode(_)) => return Err(error("is not UTF-8".to_owned())),
            },
            Self::Credential(name) => {
                if name.is_empty() || name.contains('/') || name == ".." {
                    return Err(error("is not a credential's name; use the one of LoadCredential=".to_owned()));
                }
                let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
                    return Err(error(
                        "cannot be read: CREDENTIALS_DIRECTORY is not set; start the service with LoadCredential="
                            .to_owned(),
                    ));
                };
                read_file(&PathBuf::from(folder).join(name)).map_err(error)?
            }
        };
        let trimmed = text.trim_end();
        if trimmed.is_empty() {
            return Err(error("is empty".to_owned()));
        }
        Ok(Secret::new(trimmed.to_owned()))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "systemd credential {name}"),
        }
    }
}

/// A secret that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("secret from {origin}: {what}")]
pub struct SecretError {
    origin: SecretSource,
    what: String,
}

fn read_file(path: &std::path::Path) -> Result<Zeroizing<String>, String> {
    let refused = |error: std::io::Error| format!("cannot be read: {error}");
    let file = open_regular(path).map_err(refused)?;
    // Room for all of it at once: a buffer that grows would leave copies behind.
    let room = file.metadata().map_err(refused)?.len().min(MAX_BYTES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room as usize + 1));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("is larger than {MAX_BYTES} bytes; this is not a secret"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err("is not UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_file_and_trims_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "  hunter2 \r\n\n").unwrap();
        let secret = SecretSource::File(path).read().unwrap();
        assert_eq!(secret.expose(), "  hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn errors_name_the_source_and_never_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            SecretSource::File(path)
        };
        let mut large = b"hunter2".to_vec();
        large.resize(MAX_BYTES as usize + 1, b'x');
        let sources = [
            write("empty", b" \n"),
            write("binary", b"hunter2\xff\xfe"),
            write("large", &large),
            SecretSource::File(folder.path().join("absent")),
            SecretSource::Environment("UPLOADER_TEST_NO_SUCH_VARIABLE".into()),
            SecretSource::Credential("../passwd".into()),
        ];
        for source in sources {
            let error = source.read().unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(error.to_string().contains(&source.to_string()), "{error}");
        }
    }
}
