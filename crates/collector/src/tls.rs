//! The server's side of TLS: 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN, client certificates as told.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::options::{ClientCertificates, StartError, Tls};

/// Reads the files and puts them together.
pub(crate) fn server_config(tls: &Tls) -> Result<ServerConfig, StartError> {
    let chain = certificates("the server's certificate", &tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| {
        unusable("the server's key", &tls.key, format!("{error}; a key is PEM in PKCS#8, SEC1 or PKCS#1"))
    })?;
    let provider = Arc::new(default_provider());
    let clients: Arc<dyn ClientCertVerifier> = match (tls.client_certificates, &tls.client_ca) {
        (ClientCertificates::Ignored, _) => Arc::new(NoClientAuth),
        (_, None) => {
            let message = "client certificates are to be checked, but no client CA is named; name one, or ignore them";
            return Err(StartError::Options(message.to_owned()));
        }
        (wanted, Some(path)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("the client CA", path)? {
                roots.add(certificate).map_err(|error| unusable("the client CA", path, error.to_string()))?;
            }
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone());
            let builder =
                if wanted == ClientCertificates::Optional { builder.allow_unauthenticated() } else { builder };
            builder.build().map_err(|error| unusable("the client CA", path, error.to_string()))?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| StartError::Options(error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|error| {
            unusable("the server's certificate", &tls.certificate, format!("{error}; is the key its own?"))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    let read = CertificateDer::pem_file_iter(path).and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(unusable(what, path, "no certificate in PEM is in it".to_owned()))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(what, path, error.to_string())),
    }
}

fn unusable(what: &'static str, path: &Path, problem: String) -> StartError {
    StartError::Certificate { what, path: path.to_owned(), problem }
}
