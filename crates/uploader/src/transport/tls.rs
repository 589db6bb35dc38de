//! The TLS side of a client: whom to trust, who we are, which versions.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::certificate::{Identity, TlsError, Validity, authorities};
use crate::settings::{HttpVersions, TlsSettings, TlsVersion};

/// A client configuration, and when its certificate is valid.
pub(super) struct Configured {
    pub(super) config: ClientConfig,
    pub(super) validity: Option<Validity>,
}

/// Reads the files and builds the configuration. With `checked_name`, certificates are checked against it in place of
/// the name that was connected to.
pub(super) fn configure(
    tls: &TlsSettings,
    http: HttpVersions,
    checked_name: Option<&str>,
) -> Result<Configured, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = match tls.min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let roots = Arc::new(authorities(tls.ca.as_deref())?);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(TlsError::Rustls)?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| TlsError::Rustls(rustls::Error::General(error.to_string())))?;
    let builder = match checked_name.map(|name| ServerName::try_from(name.to_owned())) {
        Some(Ok(name)) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Named { verifier, name })),
        Some(Err(_)) => return Err(TlsError::Rustls(rustls::Error::General("the server name is not a name".into()))),
        None => builder.with_webpki_verifier(verifier),
    };
    let identity = tls.identity.as_ref().map(Identity::load).transpose()?;
    let validity = identity.as_ref().map(|identity| identity.validity);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match http {
        HttpVersions::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersions::Http1 => vec![b"http/1.1".to_vec()],
    };
    Ok(Configured { config, validity })
}

/// Checks certificates as ever, but against a name of the operator's.
#[derive(Debug)]
struct Named {
    verifier: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier.verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
