//! Who can open a file: age keys, and ssh keys of Ed25519 turned into age keys the way sops-nix does it.
//!
//! age has a recipient type of its own for ssh keys, which is something else: what is sealed to the one cannot be opened with
//! the other.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::ExposeSecret;
use age::x25519;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bech32::{Bech32, Hrp};
use curve25519_dalek::edwards::CompressedEdwardsY;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::cipher::DataKey;
use crate::secrets::{self, Secret, SecretFileError};

/// A key that is none, or not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    File(#[from] SecretFileError),
    #[error("{0} holds neither an age key (AGE-SECRET-KEY-1…) nor an ssh key (-----BEGIN OPENSSH PRIVATE KEY-----)")]
    Neither(String),
    #[error("line {line} of {name} is no age key: {why}")]
    Age { name: String, line: usize, why: &'static str },
    #[error("the ssh key in {0} has a passphrase; take it off a copy with `ssh-keygen -p`, or use an age key")]
    Passphrase(String),
    #[error("the ssh key in {0} is no Ed25519 key; only those can be turned into age keys")]
    NotEd25519(String),
    #[error("{0} is no ssh key: {1}")]
    Ssh(String, ssh_key::Error),
    #[error("`{0}` is no age recipient of the kind age1…: those of plugins and of age's own ssh kind are not ours")]
    Recipient(String),
}

/// Something that opens files.
pub struct Identity {
    key: x25519::Identity,
    /// Where it is from, for messages.
    pub from: String,
}

impl Identity {
    pub fn generate() -> Identity {
        Identity { key: x25519::Identity::generate(), from: "made just now".into() }
    }

    pub fn recipient(&self) -> String {
        self.key.to_public().to_string()
    }

    /// `AGE-SECRET-KEY-1…`.
    pub fn secret(&self) -> Secret {
        Secret::new(self.key.to_string().expose_secret())
    }

    /// The keys in a file that nobody else can read: age's own form, or an ssh key.
    pub fn read(path: &Path) -> Result<Vec<Identity>, KeyError> {
        Identity::parse(&path.display().to_string(), secrets::read_file(path)?.expose())
    }

    pub fn parse(name: &str, text: &str) -> Result<Vec<Identity>, KeyError> {
        if text.trim_start().starts_with("-----BEGIN") {
            return Ok(vec![Identity::from_ssh(name, text)?]);
        }
        let mut found = Vec::new();
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.starts_with("AGE-SECRET-KEY-") {
                return Err(KeyError::Neither(name.into()));
            }
            let key = line.parse().map_err(|why| KeyError::Age { name: name.into(), line: at + 1, why })?;
            found.push(Identity { key, from: name.into() });
        }
        if found.is_empty() { Err(KeyError::Neither(name.into())) } else { Ok(found) }
    }

    fn from_ssh(name: &str, text: &str) -> Result<Identity, KeyError> {
        // Any width of lines, as OpenSSH itself takes them.
        let body: Zeroizing<String> =
            Zeroizing::new(text.lines().filter(|line| !line.contains("-----")).map(str::trim).collect());
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(body.as_bytes()).unwrap_or_default());
        let key = ssh_key::PrivateKey::from_bytes(&bytes).map_err(|error| KeyError::Ssh(name.into(), error))?;
        if key.is_encrypted() {
            return Err(KeyError::Passphrase(name.into()));
        }
        let pair = key.key_data().ed25519().ok_or_else(|| KeyError::NotEd25519(name.into()))?;
        let scalar = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(pair.private.to_bytes())));
        let word = bech32::encode_upper::<Bech32>(Hrp::parse_unchecked("AGE-SECRET-KEY-"), &scalar[..32]);
        let word = Zeroizing::new(word.unwrap_or_default());
        let key = word.parse().map_err(|why| KeyError::Age { name: name.into(), line: 1, why })?;
        Ok(Identity { key, from: name.into() })
    }
}

/// The age recipient of an ssh public key (`ssh-ed25519 AAAA… comment`).
pub fn recipient_of_ssh(name: &str, line: &str) -> Result<String, KeyError> {
    let key = ssh_key::PublicKey::from_openssh(line.trim()).map_err(|error| KeyError::Ssh(name.into(), error))?;
    let public = key.key_data().ed25519().ok_or_else(|| KeyError::NotEd25519(name.into()))?;
    // A point that is none is no key of anybody.
    let point = CompressedEdwardsY(public.0).decompress().ok_or_else(|| KeyError::NotEd25519(name.into()))?;
    let word = bech32::encode_lower::<Bech32>(Hrp::parse_unchecked("age"), point.to_montgomery().as_bytes());
    Ok(word.unwrap_or_default())
}

/// `age1…` of an age recipient, of an ssh public key, or of the file that holds one of them.
pub fn recipient_of(what: &str) -> Result<String, KeyError> {
    if what.starts_with("ssh-") {
        return recipient_of_ssh("it", what);
    }
    if what.starts_with("age1") {
        return what
            .parse::<x25519::Recipient>()
            .map(|_| what.to_owned())
            .map_err(|_| KeyError::Recipient(what.into()));
    }
    let path = PathBuf::from(what);
    let text = crate::given::read_text(&path).map_err(|source| SecretFileError::Unreadable { path, source })?;
    match text.trim() {
        key if key.starts_with("ssh-") => recipient_of_ssh(what, key),
        key if key.starts_with("age1") => recipient_of(key),
        _ => Err(KeyError::Recipient(what.into())),
    }
}

/// Seals the data key to one recipient, in age's armour.
pub fn wrap(key: &DataKey, recipient: &str) -> Result<String, KeyError> {
    let refused = || KeyError::Recipient(recipient.to_owned());
    let to = recipient.parse::<x25519::Recipient>().map_err(|_| refused())?;
    let seal = || -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let to: &dyn age::Recipient = &to;
        let encryptor = age::Encryptor::with_recipients(std::iter::once(to))?;
        let mut writer = encryptor.wrap_output(ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?)?;
        writer.write_all(key.bytes())?;
        Ok(writer.finish()?.finish()?)
    };
    seal().ok().and_then(|armoured| String::from_utf8(armoured).ok()).ok_or_else(refused)
}

/// The data key, if one of these keys opens it.
pub fn unwrap(armoured: &str, identities: &[Identity]) -> Option<DataKey> {
    // What sops takes, and the reader here does not: blank lines around it, and foreign line ends.
    let armoured: String = armoured
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .fold(String::new(), |text, line| text + line + "\n");
    let decryptor = age::Decryptor::new_buffered(ArmoredReader::new(armoured.as_bytes())).ok()?;
    let mut reader = decryptor.decrypt(identities.iter().map(|identity| &identity.key as &dyn age::Identity)).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    Read::by_ref(&mut reader).take(64).read_to_end(&mut bytes).ok()?;
    Some(DataKey::new(bytes.as_slice().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From fixed seeds; the public side as age's own program says it.
    #[test]
    fn ssh_keys_become_the_age_keys_that_sops_nix_makes_of_them() {
        let host = "nix/tests/keys/host";
        let identity = Identity::parse(host, &std::fs::read_to_string(host).unwrap()).unwrap().remove(0);
        assert_eq!(
            identity.secret().expose(),
            "AGE-SECRET-KEY-18K2WAFYUTQ9WLQTFX4MZHCZF2KWK69ZQMM0P9E4PYHCCG8LL3EHSJQ2486"
        );
        let recipient = "age1guqappygg504gkjqn76c4cl9skqu5s9v8al3z35ce4caatrnegqsayk6a2";
        assert_eq!(identity.recipient(), recipient);
        assert_eq!(recipient_of("nix/tests/keys/host.pub").unwrap(), recipient);
        // sops-nix's own fixture.
        let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBI1+Q+ntzANebtnicCiAY29uqLGWOaOGLEa8bUqOVmS";
        assert_eq!(recipient_of(line).unwrap(), "age1a8pk4akrdamj7nvqy3zywgtny8dxz7t5xzu7u8v9mhrayp9freqsqatyrs");
    }

    #[test]
    fn what_is_sealed_to_one_is_opened_by_that_one() {
        let (one, other) = (Identity::generate(), Identity::generate());
        let key = DataKey::random().unwrap();
        let armoured = wrap(&key, &one.recipient()).unwrap();
        assert!(unwrap(&armoured, &[]).is_none());
        assert!(unwrap(&armoured, std::slice::from_ref(&other)).is_none());
        let odd = format!("\n{}\n\n", armoured.replace('\n', "\r\n"));
        assert_eq!(unwrap(&odd, &[other, one]).unwrap().bytes(), key.bytes());
    }

    #[test]
    fn a_key_that_is_not_ours_is_told_from_one_that_is_none() {
        let told = |what: &str| recipient_of(what).unwrap_err().to_string();
        assert!(told("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t").contains("plugins"));
        assert!(told("ssh-rsa AAAAB3NzaC1yc2E=").contains("no ssh key"));
        assert!(Identity::parse("keys.txt", "# only words\n").is_err());
        assert!(Identity::parse("keys.txt", "AGE-SECRET-KEY-1QQ").err().unwrap().to_string().contains("line 1"));
    }
}
