//! Who asks, and what their token may do.

use axum::http::HeaderMap;
use base64::Engine;

use super::{Dev, Refusal, text_header};

/// Who sent a request. Nobody at all may read what is public.
#[derive(Debug, Default)]
pub(super) struct Asker {
    /// Empty: nobody.
    pub(super) login: String,
    scopes: Vec<String>,
}

/// What tokens are given rights to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Issue,
    Repository,
    Organization,
    User,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Scope::Issue => "issue",
            Scope::Repository => "repository",
            Scope::Organization => "organization",
            Scope::User => "user",
        }
    }
}

impl Asker {
    /// A token has its scope, or 403 names what is missing. Who has no token is told what everybody is told.
    pub(super) fn may_read(&self, scope: Scope) -> Result<(), Refusal> {
        let (read, write) = (format!("read:{}", scope.name()), format!("write:{}", scope.name()));
        let has = |wanted: &str| self.scopes.iter().any(|scope| scope == wanted || scope == "all");
        if self.login.is_empty() || has(&read) || has(&write) { Ok(()) } else { Err(self.lacks(&read)) }
    }

    /// Somebody, with the scope.
    pub(super) fn may_write(&self, scope: Scope) -> Result<(), Refusal> {
        self.known()?;
        let wanted = format!("write:{}", scope.name());
        let has = self.scopes.iter().any(|scope| *scope == wanted || scope == "all");
        if has { Ok(()) } else { Err(self.lacks(&wanted)) }
    }

    pub(super) fn known(&self) -> Result<&str, Refusal> {
        if self.login.is_empty() { Err(Refusal::new(401, "token is required")) } else { Ok(&self.login) }
    }

    fn lacks(&self, wanted: &str) -> Refusal {
        let message = format!(
            "token does not have at least one of required scope(s), required=[{wanted}], token scope={}",
            self.scopes.join(",")
        );
        Refusal::new(403, message)
    }
}

impl Dev {
    /// `Authorization: token X`, `Bearer X`, or Basic with the token as name or password. A wrong one is refused even where
    /// nobody would have been asked.
    pub(super) fn asker(&self, headers: &HeaderMap) -> Result<Asker, Refusal> {
        let Some(text) = text_header(headers, "authorization") else { return Ok(Asker::default()) };
        let candidates: Vec<String> = match text.split_once(' ') {
            Some((kind, token)) if kind.eq_ignore_ascii_case("token") || kind.eq_ignore_ascii_case("bearer") => {
                vec![token.trim().to_owned()]
            }
            Some((kind, basic)) if kind.eq_ignore_ascii_case("basic") => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(basic.trim()).unwrap_or_default();
                let text = String::from_utf8(bytes).unwrap_or_default();
                text.splitn(2, ':').map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        self.look(|world| {
            let token = world.tokens.iter().find(|token| candidates.contains(&token.value));
            token.map(|token| Asker { login: token.user.clone(), scopes: token.scopes.clone() })
        })
        .ok_or_else(|| Refusal::new(401, "invalid username, password or token"))
    }
}
