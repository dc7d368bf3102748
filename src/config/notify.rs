//! Who hears that a recipe turned red or is green again, and of alarms, elsewhere than on the forge.

use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use serde::Deserialize;

/// One target, by one of three ways.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// How the log and `cc-ci notify test` call it.
    pub name: String,
    #[serde(default)]
    pub webhook: Option<Webhook>,
    #[serde(default)]
    pub matrix: Option<Matrix>,
    #[serde(default)]
    pub mail: Option<Mail>,
}

/// A POST of JSON to whoever listens there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    /// The body is signed with it.
    pub secret_file: PathBuf,
}

/// A room of Matrix, in which the token's account is a member.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Base address of the client-server API.
    pub homeserver: String,
    /// Its id, not an alias: `!abc:example.org`.
    pub room: String,
    pub token_file: PathBuf,
}

/// Mail through a server that takes it for delivery.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    pub server: String,
    /// The usual one of `tls` where there is none.
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: Tls,
    /// Trusted besides the system's: a CA of one's own.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub user: Option<String>,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    pub from: String,
    pub to: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Plain at first, then TLS or nothing.
    #[default]
    Starttls,
    /// From the first byte.
    Implicit,
    /// Never: only to this machine.
    None,
}

impl Target {
    /// The files with its secrets, by key.
    pub fn secrets(&self) -> Vec<(String, &Path)> {
        let webhook = self.webhook.as_ref().map(|webhook| ("webhook.secret_file", &webhook.secret_file));
        let matrix = self.matrix.as_ref().map(|matrix| ("matrix.token_file", &matrix.token_file));
        let mail = self.mail.as_ref().and_then(|mail| Some(("mail.password_file", mail.password_file.as_ref()?)));
        let all = [webhook, matrix, mail].into_iter().flatten();
        all.map(|(key, file)| (format!("notify ({}): {key}", self.name), file.as_path())).collect()
    }
}

/// What is wrong with the list, in words that name the target.
pub(super) fn check(targets: &[Target]) -> Result<(), String> {
    for (place, target) in targets.iter().enumerate() {
        let name = &target.name;
        let fits = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
            let name = name.escape_debug();
            return Err(format!("`notify`: `{name}` is not a name of 1 to 32 of a-z, 0-9 and -"));
        }
        if targets[..place].iter().any(|other| other.name == *name) {
            return Err(format!("`notify`: two targets are called `{name}`"));
        }
        let ways = [target.webhook.is_some(), target.matrix.is_some(), target.mail.is_some()];
        if ways.iter().filter(|there| **there).count() != 1 {
            return Err(format!("`notify`: `{name}` needs exactly one of `webhook`, `matrix` and `mail`"));
        }
        let of_target = |what: String| format!("`notify`: `{name}`: {what}");
        target.webhook.as_ref().map_or(Ok(()), |webhook| check_url("url", &webhook.url)).map_err(of_target)?;
        target.matrix.as_ref().map_or(Ok(()), check_matrix).map_err(of_target)?;
        target.mail.as_ref().map_or(Ok(()), check_mail).map_err(of_target)?;
    }
    Ok(())
}

fn check_url(key: &str, text: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(text).map_err(|error| format!("`{key}` is not an address ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{key}` is not an http or https address"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{key}` holds a name or password, and this file can be read by others"));
    }
    Ok(())
}

fn check_matrix(matrix: &Matrix) -> Result<(), String> {
    check_url("homeserver", &matrix.homeserver)?;
    let host = reqwest::Url::parse(&matrix.homeserver).ok().and_then(|url| url.host_str().map(str::to_owned));
    if matrix.homeserver.starts_with("http:") && !host.is_some_and(|host| is_here(&host)) {
        return Err("`homeserver`: the token would go there unencrypted; write https".into());
    }
    if !matrix.room.starts_with('!') || matrix.room.len() > 255 || matrix.room.chars().any(char::is_whitespace) {
        return Err("`room` is not a room's id, which begins with `!`; an alias (`#…`) may change".into());
    }
    Ok(())
}

fn check_mail(mail: &Mail) -> Result<(), String> {
    if mail.tls == Tls::None && !is_here(&mail.server) {
        return Err("`tls: none` is only for a server on this machine".into());
    }
    if mail.user.is_some() != mail.password_file.is_some() {
        return Err("`user` and `password_file` come together; one of them is missing".into());
    }
    if mail.to.is_empty() {
        return Err("`to` names nobody".into());
    }
    for address in mail.to.iter().chain([&mail.from]) {
        address
            .parse::<Mailbox>()
            .map_err(|error| format!("`{}` is not a mail address ({error})", address.escape_debug()))?;
    }
    Ok(())
}

fn is_here(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]")
}
