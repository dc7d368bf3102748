//! Whom a probe trusts: the system's authorities and, where there is one, the operator's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;

use crate::given;

/// Where distributions keep the authorities that the system trusts.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug, thiserror::Error)]
#[error("`proxy.ca_file`: {path} {what}", path = path.display())]
pub struct CaFileError {
    pub path: PathBuf,
    pub what: String,
}

/// Trusts the system's authorities, and those in `ca_file`.
pub fn trusting(ca_file: Option<&Path>) -> Result<ClientConfig, CaFileError> {
    let mut roots = RootCertStore::empty();
    if let Some(bundle) = BUNDLES.iter().find(|bundle| Path::new(bundle).exists())
        && let Ok(certificates) = CertificateDer::pem_file_iter(bundle)
    {
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    }
    if let Some(path) = ca_file {
        let wrong = |what: String| CaFileError { path: path.into(), what };
        let pem = given::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(format!("is not PEM: {error}")))?;
            roots.add(certificate).map_err(|error| wrong(format!("holds what is no authority: {error}")))?;
            count += 1;
        }
        if count == 0 {
            return Err(wrong("holds no certificate".to_owned()));
        }
    }
    Ok(config(roots))
}

/// The hash of a certificate's key, as Chromium wants it.
pub fn pin(certificate: &X509Certificate) -> String {
    STANDARD.encode(Sha256::digest(certificate.public_key().raw))
}

/// For connections that have no TLS, whose client wants a configuration all the same.
pub fn trusting_nobody() -> ClientConfig {
    config(RootCertStore::empty())
}

fn config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // ring has every version that rustls asks for.
    match versions {
        Ok(builder) => builder.with_root_certificates(roots).with_no_client_auth(),
        Err(error) => unreachable!("ring has TLS 1.2 and 1.3: {error}"),
    }
}
