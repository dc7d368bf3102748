//! What stories are told with: a house (a forge, a cc-ci, a share of the Swarm), recipes, and patience.

#![expect(clippy::disallowed_methods, reason = "the stories start programs as people do")]
#![allow(dead_code, reason = "every suite uses its part")]
#![allow(clippy::unused_async, reason = "every step of a story is written alike")]
#![allow(clippy::assigning_clones, reason = "speed is no matter here")]

pub(crate) mod docker;
mod fixture;
mod house;
mod patience;
mod pull_request;
mod rig;

pub(crate) use fixture::Fixture;
pub(crate) use house::{House, Setup};

pub(crate) const ORGANISATION: &str = "recipes";
pub(crate) const MEMBER: &str = "alice";
pub(crate) const STRANGER: &str = "mallory";

/// The forms in which a secret could show.
pub(crate) fn forms_of(secret: &str) -> Vec<String> {
    use base64::Engine;
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
    vec![secret.to_owned(), base64, hex.to_uppercase(), hex]
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Text of a page or a comment, with claims about it.
#[derive(Debug)]
pub(crate) struct Text(pub String);

impl Text {
    pub(crate) fn contains(&self, words: &str) -> &Text {
        assert!(self.0.contains(words), "`{words}` is not in:\n{}", self.0);
        self
    }

    pub(crate) fn lacks(&self, words: &str) -> &Text {
        assert!(!self.0.contains(words), "`{words}` is in:\n{}", self.0);
        self
    }
}
