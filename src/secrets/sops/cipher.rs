//! One value, sealed: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
//!
//! What a value is called is sealed with it, so that nobody can put one where another stood: the keys on its path are its
//! associated data. The nonce has 32 bytes, which is sops' own choice and not what GCM likes best.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, KeyInit};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::scalar::Kind;

const IV: usize = 32;
const TAG: usize = 16;

/// Why a sealed value stays shut. Never tells anything of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Shut {
    #[error("is not of the form ENC[AES256_GCM,…]; it was cut off or changed by hand")]
    Form,
    #[error("does not fit its seal: it was changed, moved here from another key, or sealed with another data key")]
    Seal,
    #[error("holds something that its type does not allow")]
    Type,
}

/// No randomness: nothing may be sealed then.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes: {0}")]
pub struct NoRandom(#[from] getrandom::Error);

/// What every value of a file is sealed with; itself sealed once for each recipient.
pub struct DataKey {
    bytes: Zeroizing<[u8; 32]>,
    cipher: AesGcm<Aes256, U32>,
}

impl DataKey {
    pub fn new(bytes: [u8; 32]) -> DataKey {
        let bytes = Zeroizing::new(bytes);
        DataKey { cipher: AesGcm::new(bytes.as_slice().into()), bytes }
    }

    pub fn random() -> Result<DataKey, NoRandom> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(DataKey::new(bytes))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Seals `plain` under the name that `bound_to` gives it, with a fresh nonce.
    pub fn seal(&self, plain: &[u8], kind: Kind, bound_to: &str) -> Result<String, NoRandom> {
        let mut iv = [0; IV];
        getrandom::fill(&mut iv)?;
        Ok(self.seal_with(plain, kind, bound_to, &iv))
    }

    fn seal_with(&self, plain: &[u8], kind: Kind, bound_to: &str, iv: &[u8; IV]) -> String {
        let payload = Payload { msg: plain, aad: bound_to.as_bytes() };
        // It fails for messages of 64 GB only, which no file here can hold.
        let sealed = self.cipher.encrypt(iv.into(), payload).unwrap_or_default();
        let (data, tag) = sealed.split_at(sealed.len().saturating_sub(TAG));
        let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        format!("ENC[AES256_GCM,data:{},iv:{},tag:{},type:{}]", text(data), text(iv), text(tag), kind.word())
    }

    pub fn open(&self, sealed: &Sealed, bound_to: &str) -> Result<Zeroizing<Vec<u8>>, Shut> {
        let payload = Payload { msg: &sealed.data_and_tag, aad: bound_to.as_bytes() };
        self.cipher.decrypt((&sealed.iv).into(), payload).map(Zeroizing::new).map_err(|_| Shut::Seal)
    }
}

/// The parts of a sealed value.
pub struct Sealed {
    data_and_tag: Vec<u8>,
    iv: [u8; IV],
    pub kind: Kind,
}

impl Sealed {
    /// Whether a text claims to be one. What claims to be and is not was damaged.
    pub fn looks_like(text: &str) -> bool {
        text.starts_with("ENC[AES256_GCM,")
    }

    pub fn parse(text: &str) -> Result<Sealed, Shut> {
        let inner =
            text.strip_prefix("ENC[AES256_GCM,data:").and_then(|rest| rest.strip_suffix(']')).ok_or(Shut::Form)?;
        let (data, rest) = inner.split_once(",iv:").ok_or(Shut::Form)?;
        let (iv, rest) = rest.split_once(",tag:").ok_or(Shut::Form)?;
        let (tag, kind) = rest.split_once(",type:").ok_or(Shut::Form)?;
        let bytes = |text: &str| BASE64_STANDARD.decode(text).map_err(|_| Shut::Form);
        let (mut data_and_tag, tag) = (bytes(data)?, bytes(tag)?);
        if tag.len() != TAG {
            return Err(Shut::Form);
        }
        data_and_tag.extend(tag);
        let iv = bytes(iv)?.try_into().map_err(|_| Shut::Form)?;
        Ok(Sealed { data_and_tag, iv, kind: Kind::of(kind).ok_or(Shut::Form)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        DataKey::new(std::array::from_fn(|at| u8::try_from(at).unwrap()))
    }

    /// Computed with an independent AES-GCM.
    #[test]
    fn known_values_are_sealed_and_opened() {
        let iv: [u8; IV] = std::array::from_fn(|at| u8::try_from(at + 32).unwrap());
        for (path, plain, kind, data, tag) in [
            ("db:password:", "hunter2", Kind::Str, "f7SfPOh95A==", "PjY22yRCWRIcuDplnCWrWg=="),
            ("flag:", "True", Kind::Bool, "Q7OELQ==", "OAxCU+J6nicSCpxmQvT0Cw=="),
            ("port:", "8080", Kind::Int, "L/HJeA==", "6EPoTdgOssDRYIFQyGncGQ=="),
        ] {
            let text = key().seal_with(plain.as_bytes(), kind, path, &iv);
            let expected = "iv:ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
            assert_eq!(text, format!("ENC[AES256_GCM,data:{data},{expected},tag:{tag},type:{}]", kind.word()));
            let sealed = Sealed::parse(&text).unwrap();
            assert_eq!(key().open(&sealed, path).unwrap().as_slice(), plain.as_bytes());
            assert_eq!(sealed.kind, kind);
        }
    }

    #[test]
    fn no_bit_can_be_changed_and_no_value_moved() {
        let text = key().seal(b"hunter2", Kind::Str, "db:password:").unwrap();
        let opens = |text: &str, path: &str| Sealed::parse(text).and_then(|sealed| key().open(&sealed, path));
        assert!(opens(&text, "db:password:").is_ok());
        assert_eq!(opens(&text, "db:other:").unwrap_err(), Shut::Seal);
        for (at, _) in text.char_indices() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            // The type is not sealed: another one that fits the text is seen by the caller, by the MAC or not at all.
            if Sealed::parse(&changed).is_ok_and(|sealed| sealed.kind != Kind::Str) {
                continue;
            }
            assert!(opens(&changed, "db:password:").is_err(), "{changed}");
        }
    }
}
