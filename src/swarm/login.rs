//! Logins to registries, as Docker's own `config.json` has them: for pulls that the runner and the reconcilers make. Apps never get
//! them; Docker asks a registry in their place.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use crate::secrets::{self, Secret, SecretFileError};

/// How Docker calls the registry that images without one are from.
const HUB: &str = "https://index.docker.io/v1/";

/// By registry, as the file names it. Nobody is logged in anywhere by default.
#[derive(Clone, Debug, Default)]
pub struct Logins(BTreeMap<String, Login>);

#[derive(Clone, Debug)]
struct Login {
    user: String,
    password: Secret,
}

/// Names the file, never what is in it.
#[derive(Debug, thiserror::Error)]
pub enum BadLogins {
    #[error(transparent)]
    File(#[from] SecretFileError),
    #[error("{0} is not what `docker login` writes: {1}")]
    Form(String, &'static str),
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
}

impl Logins {
    /// Blocking.
    pub fn read(path: &Path) -> Result<Logins, BadLogins> {
        Logins::parse(&path.display().to_string(), secrets::read_file(path)?.expose())
    }

    fn parse(file: &str, text: &str) -> Result<Logins, BadLogins> {
        let bad = |why| BadLogins::Form(file.to_owned(), why);
        let written: Written = serde_json::from_str(text).map_err(|_| bad("it is no JSON of that form"))?;
        if written.auths.is_empty() {
            return Err(bad(
                "it has no login under `auths`; a credential helper keeps them elsewhere, which cc-ci cannot ask",
            ));
        }
        let logins = written.auths.into_iter().map(|(registry, entry)| {
            let decoded =
                BASE64_STANDARD.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let (user, password) = decoded
                .as_deref()
                .and_then(|pair| pair.split_once(':'))
                .ok_or_else(|| bad("an entry has no `auth` with name and password"))?;
            Ok((registry, Login { user: user.to_owned(), password: Secret::new(password.trim_end_matches('\0')) }))
        });
        Ok(Logins(logins.collect::<Result<_, BadLogins>>()?))
    }

    /// What no log may show.
    pub fn passwords(&self) -> impl Iterator<Item = (String, &Secret)> {
        self.0.iter().map(|(registry, login)| (format!("login to {registry}"), &login.password))
    }

    /// The login for the registry that an image is from, if there is one.
    pub(super) fn of_image(&self, image: &str) -> Option<DockerCredentials> {
        let registry = match image.split_once('/') {
            // By Docker's rule: anything else before the first slash is a name on the Hub.
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => HUB,
        };
        let is_it =
            |name: &str| name == registry || name.trim_start_matches("https://").trim_end_matches('/') == registry;
        let (name, login) = self.0.iter().find(|(name, _)| is_it(name))?;
        Some(DockerCredentials {
            username: Some(login.user.clone()),
            password: Some(login.password.expose().to_owned()),
            serveraddress: Some(name.clone()),
            ..DockerCredentials::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_gets_the_login_of_its_own_registry() {
        let auth = |pair: &str| BASE64_STANDARD.encode(pair);
        let text = format!(
            r#"{{"auths": {{"{HUB}": {{"auth": "{}"}}, "registry.example.org": {{"auth": "{}"}}, "https://other.test:5000/": {{"auth": "{}"}}}}}}"#,
            auth("hub:one"),
            auth("example:two:three"),
            auth("other:four"),
        );
        let logins = Logins::parse("config.json", &text).unwrap();
        let of = |image: &str| logins.of_image(image).map(|login| login.password.unwrap());
        assert_eq!(of("nginx:1.29").as_deref(), Some("one"));
        assert_eq!(of("library/nginx").as_deref(), Some("one"));
        assert_eq!(of("registry.example.org/team/app:1").as_deref(), Some("two:three"));
        assert_eq!(of("other.test:5000/app").as_deref(), Some("four"));
        assert_eq!(of("registry.example.org.evil.test/app"), None);
        assert_eq!(of("localhost/app"), None);
        assert!(!format!("{logins:?}").contains("two"));
    }

    #[test]
    fn what_has_no_login_in_it_is_refused() {
        let told = |text: &str| Logins::parse("config.json", text).unwrap_err().to_string();
        assert!(told("{}").contains("credential helper"));
        assert!(told(r#"{"auths": {"a.test": {}}}"#).contains("no `auth`"));
        assert!(!told(r#"{"auths": "hunter2"}"#).contains("hunter2"));
    }
}
