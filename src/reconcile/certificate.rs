//! The wildcard pair: whether it will do, and a throw-away one for demo and tests.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, Pem, X509Certificate};

use crate::clock::Time;

/// Why a pair will not do, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path} cannot be read: {source}; `proxy.certificate_file` and `proxy.key_file` name the wildcard pair", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no certificate in PEM", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error("{path} holds no private key that can be used: {why}", path = path.display())]
    NoKey { path: PathBuf, why: String },
    #[error("the certificate for *.{domain} ended at {ended}; put a new pair in its place and run this again")]
    Ended { domain: String, ended: Time },
    #[error("the certificate begins at {begins}, which is in the future; is this machine's clock right?")]
    NotYet { begins: Time },
    #[error("the certificate is for {names}, not for *.{domain}; apps would be untrusted")]
    OtherName { domain: String, names: String },
    #[error("the key in {key} is not the one of the certificate in {certificate}", key = key.display(), certificate = certificate.display())]
    OtherKey { key: PathBuf, certificate: PathBuf },
    #[error("making a throw-away certificate: {0}")]
    Making(#[from] rcgen::Error),
    #[error("{path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// A pair that was looked at and will do.
#[derive(Clone, Debug)]
pub struct Pair {
    pub ends_at: Time,
    /// Of both files: the version of the secrets made from them. Says nothing of the key.
    pub version: String,
}

/// Reads the pair and asserts that it is of one making, for `*.domain`, and valid `now`.
pub fn check(certificate: &Path, key: &Path, domain: &str, now: Time) -> Result<Pair, CertificateError> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|source| CertificateError::Unreadable { path: path.into(), source });
    let (chain, secret) = (read(certificate)?, read(key)?);
    let missing = || CertificateError::NoCertificate { path: certificate.into() };
    let first = Pem::iter_from_buffer(&chain).next().and_then(Result::ok).ok_or_else(missing)?;
    let (_, parsed) = X509Certificate::from_der(&first.contents).map_err(|_| missing())?;
    let validity = parsed.validity();
    let (begins, ended) = (Time(validity.not_before.timestamp() * 1000), Time(validity.not_after.timestamp() * 1000));
    if now < begins {
        return Err(CertificateError::NotYet { begins });
    }
    if now > ended {
        return Err(CertificateError::Ended { domain: domain.into(), ended });
    }
    let names = names_of(&parsed);
    if !names.iter().any(|name| name.eq_ignore_ascii_case(&format!("*.{domain}"))) {
        return Err(CertificateError::OtherName { domain: domain.into(), names: names.join(", ") });
    }
    belongs(&chain, &secret).map_err(|why| match why {
        None => CertificateError::OtherKey { key: key.into(), certificate: certificate.into() },
        Some(why) => CertificateError::NoKey { path: key.into(), why },
    })?;
    let mut digest = Sha256::new();
    digest.update(&chain);
    digest.update([0]);
    digest.update(&secret);
    Ok(Pair { ends_at: ended, version: hex::encode(&digest.finalize()[..5]) })
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

/// `Err(None)`: each is well, but they are not a pair.
fn belongs(chain: &[u8], secret: &[u8]) -> Result<(), Option<String>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| Some(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(secret).map_err(|error| Some(error.to_string()))?;
    let provider = rustls::crypto::ring::default_provider();
    match rustls::sign::CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(None),
        Err(error) => Err(Some(error.to_string())),
    }
}

/// Writes `authority.pem`, `certificate.pem` and `key.pem` into `dir`: an authority nobody knows, whose own key is thrown
/// away, and a pair for `*.domain` and `domain` of each domain.
pub fn throw_away(domains: &[&str], dir: &Path) -> Result<(), CertificateError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name = named("cc-ci throw-away authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names: Vec<String> = domains.iter().flat_map(|domain| [format!("*.{domain}"), (*domain).to_owned()]).collect();
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name = named("cc-ci throw-away wildcard");
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;

    write(&dir.join("authority.pem"), &authority_certificate.pem(), 0o644)?;
    write(&dir.join("certificate.pem"), &certificate.pem(), 0o644)?;
    write(&dir.join("key.pem"), &key.serialize_pem(), 0o600)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |source| CertificateError::Write { path: path.into(), source };
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    opened.map_err(failed)?.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_pair_is_told_from_two_that_do_not_belong_together() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        throw_away(&["ci.test", "other.test"], one.path()).unwrap();
        throw_away(&["ci.test"], two.path()).unwrap();
        let now = Clock::system().now();
        let file = |dir: &tempfile::TempDir, name: &str| dir.path().join(name);
        let pair = check(&file(&one, "certificate.pem"), &file(&one, "key.pem"), "other.test", now).unwrap();
        assert_eq!(pair.version.len(), 10);
        let wrong =
            |certificate: &Path, key: &Path, domain: &str, now| check(certificate, key, domain, now).unwrap_err();
        let (certificate, key) = (file(&one, "certificate.pem"), file(&one, "key.pem"));
        assert!(matches!(
            wrong(&certificate, &file(&two, "key.pem"), "ci.test", now),
            CertificateError::OtherKey { .. }
        ));
        assert!(matches!(wrong(&certificate, &key, "no.test", now), CertificateError::OtherName { .. }));
        assert!(matches!(wrong(&certificate, &key, "ci.test", Time(0)), CertificateError::NotYet { .. }));
        assert!(matches!(wrong(&certificate, &key, "ci.test", Time(i64::MAX)), CertificateError::Ended { .. }));
        assert!(matches!(wrong(&key, &key, "ci.test", now), CertificateError::NoCertificate { .. }));
        assert!(matches!(wrong(&certificate, &certificate, "ci.test", now), CertificateError::NoKey { .. }));
    }
}
