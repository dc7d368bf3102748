//! What stories are told with: a house (a forge, a cc-ci, a share of the Swarm), recipes, and patience.

#![expect(clippy::disallowed_methods, reason = "the stories start programs as people do")]
#![allow(dead_code, unused_imports, reason = "every suite uses its part")]
#![allow(clippy::unused_async, reason = "every step of a story is written alike")]
#![allow(clippy::assigning_clones, reason = "speed is no matter here")]

pub(crate) mod docker;
mod fixture;
pub(crate) mod forges;
mod house;
mod patience;
mod pull_request;
mod rig;
mod witness;

pub(crate) use docker::missing as no_docker;
pub(crate) use fixture::Fixture;
pub(crate) use house::{House, Setup};
pub(crate) use patience::eventually;
pub(crate) use pull_request::PullRequest;
pub(crate) use rig::{CC_CI, up as shared_rig, write_secret};
pub(crate) use witness::Witnesses;

pub(crate) const ORGANISATION: &str = "recipes";
pub(crate) const MEMBER: &str = "alice";
pub(crate) const STRANGER: &str = "mallory";

/// The forms in which a secret could show: as it is, in hex, in base64 wherever in a longer text it stood, in an address, in
/// JSON.
pub(crate) fn forms_of(secret: &str) -> Vec<String> {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.to_owned(), hex.to_uppercase(), hex];
    for shift in 0..3 {
        let shifted = [&vec![b'x'; shift], secret.as_bytes()].concat();
        // The first and the last letters hang on what stands beside the secret.
        let cut = |text: String| text[(8 * shift).div_ceil(6)..text.len() - 1].to_owned();
        forms.push(cut(STANDARD_NO_PAD.encode(&shifted)));
        forms.push(cut(URL_SAFE_NO_PAD.encode(&shifted)));
    }
    let in_address = secret.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    forms.push(in_address.collect());
    let json = serde_json::to_string(secret).unwrap();
    forms.push(json.trim_matches('"').to_owned());
    forms
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
