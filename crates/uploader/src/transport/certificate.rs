//! Certificates, keys and authorities from PEM files.
//!
//! Errors name files and what is wrong with them, never their content.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::{Zeroize, Zeroizing};

use crate::settings::{IdentityFiles, TlsSettings};

/// A PEM file larger than this is a wrong file.
const MAX_PEM_BYTES: u64 = 16 << 20;

/// Certificates, a key or authorities that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}; check that it exists and may be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate; it must be PEM (BEGIN CERTIFICATE)", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no key that can be used.
    #[error("{} holds no usable key; it must be PEM, not encrypted: PKCS#8, SEC1 or PKCS#1", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be used.
    #[error("a certificate in {} cannot be used ({reason}); make it anew, as X.509 version 3", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not belong together.
    #[error("the key in {} does not belong to the certificate in {}", .key.display(), .certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate has ended.
    #[error("the certificate in {} has expired", .path.display())]
    Expired {
        /// The file.
        path: PathBuf,
    },
    /// The certificate has not begun.
    #[error("the certificate in {} is not valid yet, by this system's clock", .path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
    },
    /// The system has no authorities.
    #[error("the system has no trusted authorities; install ca-certificates, or name a bundle with tls.ca")]
    NoSystemAuthorities,
    /// rustls does not want the combination.
    #[error("TLS cannot be set up: {0}")]
    Rustls(rustls::Error),
}

/// A client certificate with its key.
pub(crate) struct Identity {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
}

impl Identity {
    /// Loads a pair and makes sure that the two belong together. Whether it is valid now is for the caller to judge.
    pub(crate) fn load(files: &IdentityFiles) -> Result<Self, TlsError> {
        let certificates = read(&files.certificate)?;
        let chain = parse_certificates(&certificates, &files.certificate)?;
        let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate { path: files.certificate.clone() })?;
        let validity = Validity::of(leaf).ok_or_else(|| malformed(&files.certificate, "it is no X.509"))?;
        let pem = read(&files.key)?;
        let no_key = || TlsError::NoKey { path: files.key.clone() };
        let mut der = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| no_key())?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der);
        der.zeroize();
        let certified = CertifiedKey::new(chain, key.map_err(|_| no_key())?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() });
            }
            Err(error) => return Err(malformed(&files.certificate, error)),
        }
        Ok(Self { certified: Arc::new(certified), validity })
    }
}

/// From how long before a certificate's end there are warnings, in seconds.
const EXPIRY_WARNING: i64 = 30 * 86_400;

/// From when until when a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) begins: i64,
    pub(crate) ends: i64,
}

impl Validity {
    /// What the certificate says; `None` if it is no X.509.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() })
    }

    /// How it stands at `now`, in seconds since 1970.
    pub(super) const fn at(self, now: i64) -> Lifetime {
        if now < self.begins {
            return Lifetime::Ahead;
        }
        match self.ends.saturating_sub(now) {
            ..=0 => Lifetime::Over,
            1..=EXPIRY_WARNING => Lifetime::Ending,
            _ => Lifetime::Running,
        }
    }
}

/// How it stands with a certificate's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// It has not begun.
    Ahead,
    Running,
    /// It ends within 30 days.
    Ending,
    Over,
}

/// The authorities to trust: those of `bundle`, or the system's.
pub(crate) fn authorities(bundle: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match bundle {
        Some(path) => {
            for certificate in parse_certificates(&read(path)?, path)? {
                roots.add(certificate).map_err(|error| malformed(path, error))?;
            }
            if roots.is_empty() {
                return Err(TlsError::NoCertificate { path: path.to_owned() });
            }
        }
        None => {
            // Some systems carry an authority that cannot be parsed: the others still count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemAuthorities);
            }
        }
    }
    Ok(roots)
}

/// What the files hold now, as a number that changes when they do. Content, not time: copies keep times, and two writes
/// within a tick have one time.
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint {
    key: RandomState,
    last: u64,
}

impl Fingerprint {
    pub(crate) fn new(tls: &TlsSettings) -> Self {
        let key = RandomState::new();
        let last = Self::of(&key, tls);
        Self { key, last }
    }

    /// Whether the files have changed since the last call.
    pub(crate) fn changed(&mut self, tls: &TlsSettings) -> bool {
        let now = Self::of(&self.key, tls);
        std::mem::replace(&mut self.last, now) != now
    }

    fn of(key: &RandomState, tls: &TlsSettings) -> u64 {
        let mut hasher = key.build_hasher();
        let identity = tls.identity.iter().flat_map(|files| [&files.certificate, &files.key]);
        for path in identity.chain(&tls.ca) {
            read(path).ok().as_ref().map(|content| content.as_slice()).hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |error| TlsError::Read { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len().min(MAX_PEM_BYTES);
    let mut content = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(MAX_PEM_BYTES).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

fn parse_certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    parsed.map_err(|_| malformed(path, "it is no PEM"))
}

fn malformed(path: &Path, reason: impl ToString) -> TlsError {
    // It is our own that rustls looked at here.
    let reason = reason.to_string().trim_start_matches("invalid peer certificate: ").to_owned();
    TlsError::Malformed { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(folder: &Path, name: &str, certificate: &str, key: &str) -> IdentityFiles {
        let files =
            IdentityFiles { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        files
    }

    fn generate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["sensor.test".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn pairs_are_checked_and_errors_name_files_only() {
        let folder = tempfile::tempdir().unwrap();
        let ((certificate, key), (_, other_key)) = (generate(), generate());
        let good = Identity::load(&pair(folder.path(), "good", &certificate, &key)).unwrap();
        assert!(good.validity.ends > 1_700_000_000 && good.validity.begins < 1_700_000_000);
        let error = |name: &str, certificate: &str, key: &str| {
            let error = Identity::load(&pair(folder.path(), name, certificate, key)).err().unwrap();
            assert!(!format!("{error} {error:?}").contains(key.lines().nth(1).unwrap_or("no key at all")));
            error
        };
        assert!(matches!(error("mismatch", &certificate, &other_key), TlsError::Mismatch { .. }));
        assert!(matches!(error("nokey", &certificate, "nothing"), TlsError::NoKey { .. }));
        assert!(matches!(error("nocert", &key, &key), TlsError::NoCertificate { .. }));
        let garbage = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert!(matches!(error("garbage", garbage, &key), TlsError::Malformed { .. }));
        assert!(matches!(authorities(Some(&folder.path().join("absent"))), Err(TlsError::Read { .. })));
    }

    #[test]
    fn warnings_begin_thirty_days_ahead() {
        let (day, now) = (86_400, 1_800_000_000_i64);
        for (left, expected) in [
            (365 * day, Lifetime::Running),
            (30 * day + 1, Lifetime::Running),
            (30 * day, Lifetime::Ending),
            (1, Lifetime::Ending),
            (0, Lifetime::Over),
            (-day, Lifetime::Over),
            (i64::MIN, Lifetime::Over),
        ] {
            let validity = Validity { begins: i64::MIN, ends: now.saturating_add(left) };
            assert_eq!(validity.at(now), expected, "{left}");
            // One that has not begun is of no use, however long it will last.
            assert_eq!(Validity { begins: now + 1, ..validity }.at(now), Lifetime::Ahead, "{left}");
            assert_eq!(Validity { begins: now, ..validity }.at(now), expected, "{left}");
        }
    }

    #[test]
    fn a_change_is_seen_once() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = generate();
        let files = pair(folder.path(), "a", &certificate, &key);
        let tls = TlsSettings { identity: Some(files.clone()), ..TlsSettings::default() };
        let mut fingerprint = Fingerprint::new(&tls);
        assert!(!fingerprint.changed(&tls));
        std::fs::write(&files.key, "other").unwrap();
        assert!(fingerprint.changed(&tls));
        assert!(!fingerprint.changed(&tls));
        std::fs::remove_file(&files.key).unwrap();
        assert!(fingerprint.changed(&tls));
    }
}
