//! Who hears that a recipe turned red or is green again, and of alarms, elsewhere than on the forge.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lettre::message::Mailbox;
use serde::Deserialize;

use super::check::{Unfit, base_address};

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
    pub(super) fn secrets(&self) -> Vec<(&'static str, &Path)> {
        let webhook = self.webhook.as_ref().map(|webhook| ("webhook.secret_file", &webhook.secret_file));
        let matrix = self.matrix.as_ref().map(|matrix| ("matrix.token_file", &matrix.token_file));
        let mail = self.mail.as_ref().and_then(|mail| Some(("mail.password_file", mail.password_file.as_ref()?)));
        let all = [webhook, matrix, mail].into_iter().flatten();
        all.map(|(key, file)| (key, file.as_path())).collect()
    }
}

/// What is wrong with the list, in words that name the target.
pub(super) fn check(targets: &[Target]) -> Result<(), Unfit> {
    for (place, target) in targets.iter().enumerate() {
        let name = &target.name;
        let fits = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        let of_list = |what: String| Unfit::at(format!("notify.{place}"), format!("`notify`: {what}"));
        if name.is_empty() || name.len() > 32 || !name.bytes().all(fits) {
            return Err(of_list(format!("`{}` is not a name of 1 to 32 of a-z, 0-9 and -", name.escape_debug())));
        }
        if targets[..place].iter().any(|other| other.name == *name) {
            return Err(of_list(format!("two targets are called `{name}`")));
        }
        let ways = [target.webhook.is_some(), target.matrix.is_some(), target.mail.is_some()];
        if ways.iter().filter(|there| **there).count() != 1 {
            return Err(of_list(format!("`{name}` needs exactly one of `webhook`, `matrix` and `mail`")));
        }
        let of_target = |way: &str| {
            let way = format!("notify.{place}.{way}");
            move |(key, what): Wrong| Unfit::at(format!("{way}.{key}"), format!("`notify`: `{name}`: `{key}` {what}"))
        };
        target.webhook.as_ref().map_or(Ok(()), check_webhook).map_err(of_target("webhook"))?;
        target.matrix.as_ref().map_or(Ok(()), check_matrix).map_err(of_target("matrix"))?;
        target.mail.as_ref().map_or(Ok(()), check_mail).map_err(of_target("mail"))?;
    }
    Ok(())
}

/// A key of a way, and what is wrong with it.
type Wrong = (&'static str, String);

/// As the configuration's other paths.
fn check_file(key: &'static str, file: &Path) -> Result<(), Wrong> {
    if file.is_absolute() {
        return Ok(());
    }
    Err((key, format!("is `{}`; name it from the root, since programs start in many directories", file.display())))
}

fn check_webhook(webhook: &Webhook) -> Result<(), Wrong> {
    // A query is part of some receivers' addresses; what stands behind `#` is sent to nobody.
    let (before, query) = webhook.url.split_once('?').unwrap_or((&webhook.url, ""));
    base_address(before).map_err(|what| ("url", what))?;
    if query.contains('#') {
        return Err(("url", "goes on with `#`, which is sent to nobody".into()));
    }
    check_file("secret_file", &webhook.secret_file)
}

fn check_matrix(matrix: &Matrix) -> Result<(), Wrong> {
    let url = base_address(&matrix.homeserver).map_err(|what| ("homeserver", what))?;
    if url.scheme() == "http" && !url.host_str().is_some_and(is_here) {
        return Err(("homeserver", "is http: the token would go there unencrypted; write https".into()));
    }
    if !matrix.room.starts_with('!') || matrix.room.len() > 255 || matrix.room.chars().any(char::is_whitespace) {
        return Err(("room", "is not a room's id, which begins with `!`; an alias (`#…`) may change".into()));
    }
    check_file("token_file", &matrix.token_file)
}

fn check_mail(mail: &Mail) -> Result<(), Wrong> {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
    let is_address = mail.server.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    if mail.server.is_empty() || !mail.server.bytes().all(letter) || mail.server.contains(':') && !is_address {
        return Err(("server", "is no host; name it alone, `mail.example.org`, and its port in `port`".into()));
    }
    if mail.port == Some(0) {
        return Err(("port", "is 0, where nothing answers".into()));
    }
    if mail.tls == Tls::None && !is_here(&mail.server) {
        return Err(("tls", "is `none`, which is only for a server on this machine".into()));
    }
    if mail.user.is_some() != mail.password_file.is_some() {
        return Err(("user", "and `password_file` come together; one of them is missing".into()));
    }
    if mail.to.is_empty() {
        return Err(("to", "names nobody".into()));
    }
    for (key, address) in mail.to.iter().map(|to| ("to", to)).chain([("from", &mail.from)]) {
        let wrong = || (key, format!("holds `{}`, which is not a mail address", address.escape_debug()));
        address.parse::<Mailbox>().map_err(|_| wrong())?;
    }
    [("ca_file", &mail.ca_file), ("password_file", &mail.password_file)]
        .into_iter()
        .try_for_each(|(key, file)| file.as_ref().map_or(Ok(()), |file| check_file(key, file)))
}

fn is_here(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]")
}
