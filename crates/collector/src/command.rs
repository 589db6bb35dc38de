//! The options as a command line has them, for whichever program offers the collector.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::fault::Fault;
use crate::options::{ClientCertificates, Options, StartError, StoreKind, Tls, TokenIssuer};
use crate::secret::Secret;

/// Names the variable that may hold the client secret in place of a file.
pub const SECRET_VARIABLE: &str = "COLLECTOR_CLIENT_SECRET";

/// Run the platform's stand-in: take what sensors deliver, store it once, show it.
///
/// It is for tests and a first look; it is not the platform. docs/collector.md describes endpoints, limits and faults.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Address and port to take records at; may be repeated.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9443")]
    pub listen: Vec<SocketAddr>,
    /// Loopback address for a browser: shows what is stored, without TLS and token.
    #[arg(long, value_name = "ADDRESS")]
    pub view: Option<SocketAddr>,
    /// Server certificate in PEM; without it, plain HTTP is spoken.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Private key of the certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// CA certificates in PEM that may sign clients' certificates.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub client_ca: Option<PathBuf>,
    /// What is asked of clients: demanded, optional or ignored. Demanded if there is a client CA, else ignored.
    #[arg(long, value_name = "WHAT", requires = "certificate")]
    pub client_certificates: Option<ClientCertificates>,
    /// Database file, or `memory`, or `null` to count and forget.
    #[arg(long, value_name = "STORE", default_value = "memory")]
    pub store: StoreKind,
    /// OAuth client that may fetch tokens. Its secret comes from --client-secret-file or COLLECTOR_CLIENT_SECRET.
    #[arg(long, value_name = "ID")]
    pub client_id: Option<String>,
    /// File whose first line is the client's secret.
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub client_secret_file: Option<PathBuf>,
    /// Seconds that a token is good for.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, requires = "client_id")]
    pub token_lifetime: u64,
    /// Realm in the token endpoint's path.
    #[arg(long, value_name = "NAME", default_value = "cequence", requires = "client_id")]
    pub realm: String,
    /// Largest request body, in bytes as sent.
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().max_body)]
    pub max_body: usize,
    /// Largest request body, in bytes once decoded.
    #[arg(long, value_name = "BYTES", default_value_t = Options::default().max_decoded)]
    pub max_decoded: usize,
    /// Misbehave, as in `status=503,count=3` or `random,chance=10%`; may be repeated.
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<Fault>,
    /// Seed of the faults that strike by chance.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub fault_seed: u64,
}

impl TryFrom<Arguments> for Options {
    type Error = StartError;

    /// Reads the secret, too.
    fn try_from(arguments: Arguments) -> Result<Self, StartError> {
        let tls = match (arguments.certificate, arguments.key) {
            (Some(certificate), Some(key)) => {
                let by_ca = match &arguments.client_ca {
                    Some(_) => ClientCertificates::Demanded,
                    None => ClientCertificates::Ignored,
                };
                let client_certificates = arguments.client_certificates.unwrap_or(by_ca);
                Some(Tls { certificate, key, client_ca: arguments.client_ca, client_certificates })
            }
            _ => None,
        };
        let clients = match arguments.client_id {
            Some(client_id) => Some(TokenIssuer {
                client_id,
                client_secret: secret(arguments.client_secret_file)?,
                lifetime: Duration::from_secs(arguments.token_lifetime),
                realm: arguments.realm,
            }),
            None => None,
        };
        Ok(Self {
            listen: arguments.listen,
            view: arguments.view,
            tls,
            store: arguments.store,
            clients,
            max_body: arguments.max_body,
            max_decoded: arguments.max_decoded,
            faults: arguments.fault,
            fault_seed: arguments.fault_seed,
            ..Self::default()
        })
    }
}

fn secret(file: Option<PathBuf>) -> Result<Secret, StartError> {
    let text = match file {
        Some(path) => std::fs::read_to_string(&path).map_err(|error| {
            StartError::Options(format!("the client secret cannot be read from {}: {error}", path.display()))
        })?,
        None => std::env::var(SECRET_VARIABLE).map_err(|_| {
            StartError::Options(format!("the client has no secret: name a file of it, or set {SECRET_VARIABLE}"))
        })?,
    };
    let text = zeroize::Zeroizing::new(text);
    Ok(Secret::from(text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let command = Arguments::augment_args(clap::Command::new("collector"));
        let words = std::iter::once("collector").chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let arguments = Arguments::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        Options::try_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn says_what_the_options_say() {
        let options = parse("").unwrap();
        assert_eq!((options.listen.len(), options.store, options.max_body), (1, StoreKind::Memory, 8 << 20));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "hush\n").unwrap();
        let options = parse(&format!(
            "--listen 127.0.0.1:0 --listen [::1]:0 --certificate c --key k --client-ca a --store /s/t.db --client-id me \
             --client-secret-file {} --fault status=503,count=3 --fault random,chance=10%",
            file.display()
        ))
        .unwrap();
        assert_eq!((options.listen.len(), options.faults.len()), (2, 2));
        assert_eq!(options.store, StoreKind::Sqlite("/s/t.db".into()));
        assert_eq!(options.tls.as_ref().unwrap().client_certificates, ClientCertificates::Demanded);
        assert!(options.clients.as_ref().unwrap().client_secret.matches("hush"));
        assert!(!format!("{options:?}").contains("hush"));
        assert!(parse("--certificate c").unwrap_err().contains("--key"));
        assert!(parse("--fault sometimes").unwrap_err().contains("sometimes"));
        assert!(parse("--client-certificates perhaps --certificate c --key k").unwrap_err().contains("demanded"));
    }
}
