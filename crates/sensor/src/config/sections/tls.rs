//! `[upload.tls]` and `[upload.oauth.tls]`

use std::path::PathBuf;

use super::prelude::*;

choices! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2 (RFC 5246).
        Tls12 = "1.2",
        /// TLS 1.3 (RFC 8446).
        Tls13 = "1.3",
    }
}

section! {
    Live;
    /// How a server is known, and how the sensor is known to it. Files are read again when they change.
    pub struct Tls {
        /// The certificates (PEM) of the authorities that servers are checked against. Default: those of the system.
        pub ca: Option<PathBuf> = path().optional("/etc/sensor/tls/ca.pem"),
        /// The sensor's own certificate (PEM), and those between it and its authority. Default: none is shown.
        pub certificate: Option<PathBuf> = path().optional("/etc/sensor/tls/sensor.pem"),
        /// The certificate's private key (PEM: PKCS#8, SEC1 or PKCS#1), readable by the sensor's user only.
        pub key: Option<PathBuf> = secret_path().optional("/etc/sensor/tls/sensor.key"),
        /// The name that is asked for, and that the server's certificate has to be for. Behind a proxy a platform is asked for it,
        /// too; a token endpoint's certificate is only checked. Default: the host of the URL.
        pub server_name: Option<String> = server_name().optional("edge.example.com"),
        /// The oldest version of TLS that is spoken.
        pub min_version: TlsVersion = choice().or(TlsVersion::Tls12),
    }
    refuse {
        "insecure" => "certificates are always checked: name the authority's certificate as `ca`",
        "insecure_skip_verify" => "certificates are always checked: name the authority's certificate as `ca`",
        "key_password" => "encrypted keys are not read: decrypt the key, and let only the sensor's user read it",
    }
    check(this, reader) {
        if reader.has("certificate") && !reader.has("key") {
            reader.fault("certificate", "a certificate goes with its private key: set `key`, too");
        }
        // Of one that was refused that has been said, and nothing more is.
        if this.key.is_some() && !reader.has("certificate") {
            reader.fault("key", "a key goes with its certificate: set `certificate`, too");
        }
    }
}

fn server_name() -> Parsed<String> {
    parsed("the name of a host, or an IP address", |text| {
        let is_name = !text.is_empty()
            && text.len() <= 253
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            });
        if is_name || text.parse::<std::net::IpAddr>().is_ok() {
            return Ok(text.to_owned());
        }
        Err("allowed: the name of a host without scheme and port, as in \"edge.example.com\", or an IP address"
            .to_owned())
    })
}
