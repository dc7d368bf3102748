//! What a script may ask of the world, as requests that the host passes on when they are allowed.
//!
//! There are few of them: `file`, `sql`, `retry`, cookies and redirects are made of these inside the sandbox, where a mistake
//! in them hurts nobody.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{AppDomain, RecipeName};
use crate::probe::browser::Trouble;
pub use crate::probe::browser::{Seen, Step};
pub use crate::sandbox::frame::Bytes;
use crate::secrets::Secret;

/// The most of an answer's body that reaches a script. Implementations cut there.
pub const LARGEST_BODY: usize = 512 << 10;
/// The most of each of a command's streams.
pub const LARGEST_STREAM: usize = LARGEST_BODY / 2;

/// The app as scripts see it, at one moment of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct App {
    /// `https://` and the domain; no slash at its end.
    pub url: String,
    pub domain: AppDomain,
    /// Every name it answers to, `domain` among them. Requests go there, to what it needs, and nowhere else.
    pub hosts: Vec<AppDomain>,
    pub recipe: RecipeName,
    /// What the version label says.
    pub version: Option<String>,
    /// What runs beside it since it needs it; those need nothing.
    pub needs: BTreeMap<RecipeName, App>,
}

impl App {
    pub fn new(recipe: RecipeName, domain: AppDomain) -> App {
        let url = format!("https://{domain}");
        App { url, hosts: vec![domain.clone()], domain, recipe, version: None, needs: BTreeMap::new() }
    }

    /// Every name that a request may go to.
    pub fn reachable(&self) -> impl Iterator<Item = &AppDomain> {
        self.hosts.iter().chain(self.needs.values().flat_map(|other| &other.hosts))
    }

    /// An address of the app: absolute, or a path below it. Everything else is refused, with the reason.
    pub fn resolve(&self, address: &str) -> Result<Url, String> {
        let base = Url::parse(&self.url).map_err(|error| format!("the app's address {} is none: {error}", self.url))?;
        let url = base.join(address).map_err(|error| format!("`{}` is no address: {error}", shortened(address)))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` is not http or https", shortened(address)));
        }
        let host = url.host_str().unwrap_or_default();
        if !self.reachable().any(|allowed| allowed.as_str() == host) {
            return Err(format!("{host} is not this app ({}); a script reaches nothing else", self.domain));
        }
        if url.port().is_some_and(|port| base.port() != Some(port))
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(format!("`{}` has a port or a user in it; leave them out", shortened(address)));
        }
        Ok(url)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(120).flat_map(char::escape_debug).collect()
}

/// One request of a script, as the child puts it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "tool", rename_all = "lowercase")]
pub enum Ask {
    Http {
        method: String,
        url: String,
        headers: Vec<(String, String)>,
        body: Option<Bytes>,
    },
    Exec {
        service: String,
        command: Vec<String>,
        stdin: Option<Bytes>,
    },
    Browser {
        step: Step,
    },
    Secret {
        name: String,
    },
    /// Comes back after so many milliseconds.
    Pause {
        milliseconds: u64,
    },
}

/// A request to the app. Redirects are not followed, and no cookies are kept: the script's side does both.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    pub method: String,
    /// An address of the app, checked.
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HttpAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    /// At most [`LARGEST_BODY`].
    pub body: Bytes,
    /// There was more of it.
    pub cut: bool,
}

/// A command in a container of a service. No secret belongs in `command`: Docker's events carry it.
#[derive(Clone, Debug)]
pub struct ExecRequest {
    /// The recipe, where it is one that runs beside the app.
    pub beside: Option<RecipeName>,
    /// The service's name in the recipe, without the stack.
    pub service: String,
    pub command: Vec<String>,
    pub stdin: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ExecAnswer {
    pub code: i64,
    /// At most [`LARGEST_STREAM`] each.
    pub out: Bytes,
    pub err: Bytes,
    /// There was more of one of them.
    pub cut: bool,
}

/// Why a tool did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// The app's or the script's fault: the script hears it and, unless it says otherwise, its job fails.
    #[error("{0}")]
    Failed(String),
    /// The machine's fault: the script hears it, and its job can no longer pass.
    #[error("{0}")]
    Infra(String),
}

impl From<Trouble> for ToolError {
    fn from(trouble: Trouble) -> ToolError {
        match trouble {
            Trouble::Page(text) => ToolError::Failed(text),
            Trouble::Machine(text) => ToolError::Infra(text),
        }
    }
}

/// Does what scripts ask for. The host has checked the request's form and that it is about this app.
pub trait Tools: Send {
    fn http(&mut self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>>;
    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>>;
    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>>;
    /// Asked for only by scripts of the appliance's side.
    fn secret(&mut self, name: &str) -> BoxFuture<'_, Result<Secret, ToolError>>;
}

/// What a tool gave, in the child's form.
pub(super) fn told<T: Serialize>(answer: &T) -> Result<Value, ToolError> {
    serde_json::to_value(answer).map_err(|error| ToolError::Infra(format!("an answer that cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reaches_what_its_app_needs_too() {
        let mut app = App::new("notes".parse().unwrap(), "note-1.ci.test".parse().unwrap());
        assert!(app.resolve("https://keyc-2.ci.test/realms").is_err());
        let keycloak = App::new("keycloak".parse().unwrap(), "keyc-2.ci.test".parse().unwrap());
        app.needs.insert("keycloak".parse().unwrap(), keycloak);
        assert_eq!(app.resolve("https://keyc-2.ci.test/realms").unwrap().path(), "/realms");
        assert_eq!(told(&app).unwrap()["needs"]["keycloak"]["url"], "https://keyc-2.ci.test");
    }

    #[test]
    fn a_script_reaches_its_app_and_nothing_else() {
        let app = App::new("notes".parse().unwrap(), "notes-pr7.ci.example.org".parse().unwrap());
        let reach = |address: &str| app.resolve(address).map(|url| url.to_string());
        assert_eq!(reach("/a?b=c").unwrap(), "https://notes-pr7.ci.example.org/a?b=c");
        assert_eq!(reach("https://notes-pr7.ci.example.org/x").unwrap(), "https://notes-pr7.ci.example.org/x");
        assert_eq!(reach("http://notes-pr7.ci.example.org/").unwrap(), "http://notes-pr7.ci.example.org/");
        for refused in [
            "https://example.org/",
            "//example.org/",
            "http://127.0.0.1/",
            "http://169.254.169.254/latest",
            "https://notes-pr7.ci.example.org:2375/",
            "https://notes-pr7.ci.example.org@evil.example/",
            "https://me:pw@notes-pr7.ci.example.org/",
            "file:///etc/passwd",
            "unix:/run/docker.sock",
            "https://notes-pr7.ci.example.org.evil.example/",
        ] {
            assert!(reach(refused).is_err(), "{refused}");
        }
    }
}
