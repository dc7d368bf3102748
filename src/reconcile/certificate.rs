//! The wildcard pair: looked through before it is put in front of every app, since Traefik would start with a bad one and
//! answer with a certificate of its own. And the throw-away authority of demo and tests.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;

use crate::clock::{Clock, Time};
use crate::secrets::{self, SecretFileError};

/// What is wrong with a pair, and what to do about it. Names files, never contents.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("`proxy.key_file`: {0}")]
    KeyFile(#[from] SecretFileError),
    #[error("{path} holds no certificate in PEM; it should hold the certificate first and then its chain", path = path.display())]
    NoCertificate { path: PathBuf },
    #[error("{path} holds a certificate that cannot be read ({why})", path = path.display())]
    BadCertificate { path: PathBuf, why: String },
    #[error("{path} holds no private key in PEM", path = path.display())]
    NoKey { path: PathBuf },
    #[error(
        "the key in {key} is not the one of the certificate in {certificate}; put in the pair that was made together",
        key = key.display(), certificate = certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error(
        "the certificate in {path} is for {names} and not for *.{domain}; get one that has *.{domain} among its names",
        path = path.display(), names = names.join(", ")
    )]
    NotCovering { path: PathBuf, domain: String, names: Vec<String> },
    #[error("the certificate for *.{domain} in {path} ended on {on}; put the new pair in and run this again", path = path.display())]
    Expired { path: PathBuf, domain: String, on: String },
    #[error("the certificate for *.{domain} in {path} holds only from {on} on; is this machine's clock right?", path = path.display())]
    NotYet { path: PathBuf, domain: String, on: String },
    #[error("a throw-away certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A pair that was looked through.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Of the certificate and its chain. The key is the one that belongs to it, so this is the version of both; of the key
    /// itself nothing is told, not even by a hash.
    pub version: String,
    pub names: Vec<String>,
    pub not_after: Time,
}

/// Reads the pair and makes sure that it will do for `*.domain` now. Blocking.
pub fn read(certificate: &Path, key: &Path, domain: &str, now: Time) -> Result<Pair, CertificateError> {
    let path = || certificate.to_owned();
    let pem = crate::given::read(certificate).map_err(|source| CertificateError::File { path: path(), source })?;
    let bad = |why: String| CertificateError::BadCertificate { path: path(), why };
    let chain: Vec<CertificateDer> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(format!("not PEM: {error}")))?;
    let first = chain.first().ok_or_else(|| CertificateError::NoCertificate { path: path() })?.clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&first).map_err(|error| bad(error.to_string()))?;

    let secret = secrets::read_file(key)?;
    let private = PrivateKeyDer::from_pem_slice(secret.expose().as_bytes())
        .map_err(|_| CertificateError::NoKey { path: key.into() })?;
    let provider = rustls::crypto::ring::default_provider();
    match CertifiedKey::from_der(chain, private, &provider) {
        Ok(_) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(CertificateError::Mismatch { certificate: path(), key: key.into() });
        }
        Err(error) => return Err(bad(error.to_string())),
    }

    let names: Vec<String> = match parsed.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(dns).collect(),
        _ => Vec::new(),
    };
    let wanted = format!("*.{domain}");
    if !names.iter().any(|name| name.eq_ignore_ascii_case(&wanted)) {
        let names = if names.is_empty() { vec!["no name at all".to_owned()] } else { names };
        return Err(CertificateError::NotCovering { path: path(), domain: domain.to_owned(), names });
    }
    let moment = |time: x509_parser::time::ASN1Time| Time(time.timestamp().saturating_mul(1000));
    let (from, to) = (moment(parsed.validity().not_before), moment(parsed.validity().not_after));
    let day = |time: Time| time.format("%Y-%m-%d");
    if now > to {
        return Err(CertificateError::Expired { path: path(), domain: domain.to_owned(), on: day(to) });
    }
    if now < from {
        return Err(CertificateError::NotYet { path: path(), domain: domain.to_owned(), on: day(from) });
    }
    let version = format!("v{}", hex::encode(&Sha256::digest(&pem)[..4]));
    Ok(Pair { version, names, not_after: to })
}

fn dns(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Makes an authority that lives no longer than this call, and a certificate by it for `*.domain` and `domain` of each
/// domain, good for a year: `authority.pem`, `certificate.pem`, `key.pem` in `dir`. Blocking.
pub fn throw_away(domains: &[&str], dir: &Path) -> Result<(), CertificateError> {
    let now = Clock::system().now();
    make(domains, dir, now.minus(DAY), now.plus(DAY * 365))
}

fn make(domains: &[&str], dir: &Path, from: Time, to: Time) -> Result<(), CertificateError> {
    // To the day, as certificates are mostly made.
    let moment = |time: Time| {
        let part = |pattern: &str| time.format(pattern).parse::<u16>().unwrap_or(1);
        let byte = |pattern: &str| u8::try_from(part(pattern)).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(part("%Y")), byte("%m"), byte("%d"))
    };
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "cc-ci throw-away authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (authority.not_before, authority.not_after) = (moment(from), moment(to));
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();

    let names: Vec<String> = domains.iter().flat_map(|domain| [format!("*.{domain}"), (*domain).to_owned()]).collect();
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "cc-ci throw-away certificate");
    (leaf.not_before, leaf.not_after) = (moment(from), moment(to));
    let key = KeyPair::generate()?;
    let pem = leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?.pem();

    std::fs::create_dir_all(dir).map_err(|source| CertificateError::File { path: dir.into(), source })?;
    write(&dir.join("authority.pem"), &authority_pem, 0o644)?;
    write(&dir.join("certificate.pem"), &pem, 0o644)?;
    write(&dir.join("key.pem"), &key.serialize_pem(), 0o600)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CertificateError> {
    let failed = |source| CertificateError::File { path: path.into(), source };
    // Anew, so that the mode is the one asked for.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "ci.example.org";

    fn pair(dir: &Path, domain: &str, from: i64, to: i64) -> (PathBuf, PathBuf) {
        let day = |days: i64| Time(days * 24 * 3600 * 1000);
        make(&[domain], dir, day(from), day(to)).unwrap();
        (dir.join("certificate.pem"), dir.join("key.pem"))
    }

    /// What a pair is told, the directory's name taken out.
    fn told(dir: &Path, certificate: &Path, key: &Path) -> String {
        let error = read(certificate, key, DOMAIN, Time(20_000 * 24 * 3600 * 1000)).unwrap_err().to_string();
        error.replace(dir.to_str().unwrap(), "")
    }

    #[test]
    fn a_good_pair_is_good_for_every_app_and_an_authority_vouches_for_it() {
        let dir = tempfile::tempdir().unwrap();
        throw_away(&["other.test", DOMAIN], dir.path()).unwrap();
        let (certificate, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let pair = read(&certificate, &key, DOMAIN, Clock::system().now()).unwrap();
        assert!(pair.names.contains(&format!("*.{DOMAIN}")), "{:?}", pair.names);
        assert!(crate::probe::tls::trusting(Some(&dir.path().join("authority.pem"))).is_ok());
        assert!(secrets::check_file(&key).is_ok());
    }

    #[test]
    fn each_fault_is_told_with_its_cure() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let (certificate, key) = pair(&one, DOMAIN, 19_000, 19_500);
        assert_eq!(
            told(dir.path(), &certificate, &key),
            "the certificate for *.ci.example.org in /one/certificate.pem ended on 2023-05-23; \
             put the new pair in and run this again"
        );
        let (certificate, key) = pair(&one, DOMAIN, 20_100, 20_500);
        assert!(told(dir.path(), &certificate, &key).contains("holds only from 2025-01-12 on"));
        let (certificate, key) = pair(&one, "example.org", 19_000, 20_500);
        assert_eq!(
            told(dir.path(), &certificate, &key),
            "the certificate in /one/certificate.pem is for *.example.org, example.org and not for *.ci.example.org; \
             get one that has *.ci.example.org among its names"
        );
        let (certificate, _) = pair(&one, DOMAIN, 19_000, 20_500);
        let (_, other) = pair(&two, DOMAIN, 19_000, 20_500);
        assert_eq!(
            told(dir.path(), &certificate, &other),
            "the key in /two/key.pem is not the one of the certificate in /one/certificate.pem; \
             put in the pair that was made together"
        );
        assert!(told(dir.path(), &other, &other).contains("holds no certificate in PEM"));
        assert!(told(dir.path(), &certificate, &dir.path().join("none")).contains("cannot be read"));
    }
}
