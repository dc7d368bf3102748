//! One job's run, from outside: what its script asks for is counted here, looked at, and passed on where it is allowed.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::sleep;

use super::Side;
use super::clean::{brief, clean_all};
use super::host::{Event, Events, NoScripts};
use super::limits::{Limit, Limits};
use super::process::broken;
use super::tools::{
    App, Ask, ExecRequest, HttpRequest, LARGEST_BODY, LARGEST_STREAM, Seen, Step, ToolError, Tools, told,
};
use super::wire::{FROM_CHILD, FromChild, Outcome, TO_CHILD, ToChild};
use crate::sandbox::frame::{receive, send};
use crate::secrets::redact::Redactor;

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Why a call did not come to its end.
pub(super) enum Broken {
    Limit(Limit),
    Io(io::Error),
    Fault(NoScripts),
}

impl From<io::Error> for Broken {
    fn from(fault: io::Error) -> Broken {
        Broken::Io(fault)
    }
}

/// One job's run, seen from outside.
pub(super) struct Call<'a> {
    pub(super) app: &'a App,
    pub(super) side: Side,
    pub(super) limits: Limits,
    pub(super) tools: &'a mut dyn Tools,
    pub(super) redactor: &'a Redactor,
    pub(super) script: &'a str,
    pub(super) job: &'a str,
    pub(super) events: Events<'a>,
    pub(super) used: Used,
}

/// What it has used up, and what it ran into.
#[derive(Default)]
pub(super) struct Used {
    output: usize,
    calls: u32,
    /// Tools that failed by the machine's fault and were not seen to work since: whatever the script makes of it, the job
    /// cannot pass.
    pub(super) infra: BTreeMap<&'static str, String>,
}

impl Call<'_> {
    pub(super) async fn serve(&mut self, stream: &mut UnixStream, order: &ToChild) -> Result<Outcome, Broken> {
        send(stream, TO_CHILD, order).await?;
        loop {
            match receive(stream, FROM_CHILD).await? {
                FromChild::Log(text) => self.log(&text)?,
                FromChild::Ask(ask) => {
                    self.used.calls += 1;
                    if self.used.calls > self.limits.calls {
                        return Err(Broken::Limit(Limit::Calls));
                    }
                    let answer = self.answer(*ask).await;
                    send(stream, TO_CHILD, &ToChild::Answer(answer)).await?;
                }
                FromChild::Done(outcome) => return Ok(outcome),
                FromChild::Script { .. } => return Err(broken("a script was loaded while a job ran").into()),
            }
        }
    }

    /// Lines as they come, masked. The child counts them too; this is for one that does not.
    fn log(&mut self, text: &str) -> Result<(), Broken> {
        self.used.output = self.used.output.saturating_add(text.len() + 1);
        if self.used.output > self.limits.output {
            return Err(Broken::Limit(Limit::Output));
        }
        for line in clean_all(self.redactor, text).split('\n') {
            (self.events)(Event::Line { script: self.script, job: self.job, text: line });
        }
        Ok(())
    }

    async fn answer(&mut self, ask: Ask) -> Result<Value, String> {
        let (tool, result) = match ask {
            Ask::Http { method, url, headers, body } => {
                ("http", self.http(method, &url, headers, body.map(|body| body.0)).await)
            }
            Ask::Exec { service, command, stdin } => {
                ("exec", self.exec(service, command, stdin.map(|stdin| stdin.0)).await)
            }
            Ask::Browser { step } => ("browser", self.browser(step).await),
            Ask::Secret { name } => ("secret", self.secret(&name).await),
            Ask::Pause { milliseconds } => {
                sleep(Duration::from_millis(milliseconds).min(LONGEST_PAUSE)).await;
                return Ok(Value::Null);
            }
        };
        match result {
            Ok(answer) => {
                self.used.infra.remove(tool);
                Ok(answer)
            }
            Err(ToolError::Failed(text)) => Err(text),
            Err(ToolError::Infra(text)) => {
                self.used.infra.insert(tool, text.clone());
                Err(text)
            }
        }
    }

    async fn http(
        &mut self,
        method: String,
        url: &str,
        headers: Vec<(String, String)>,
        body: Option<Vec<u8>>,
    ) -> Result<Value, ToolError> {
        let url = self.app.resolve(url).map_err(ToolError::Failed)?;
        if method.is_empty() || method.len() > 20 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(ToolError::Failed(format!("`{}` is no method", brief(&method))));
        }
        for (name, value) in &headers {
            check_header(name, value).map_err(ToolError::Failed)?;
        }
        let answer = self.tools.http(HttpRequest { method, url: url.clone(), headers, body }).await?;
        if answer.body.0.len() > LARGEST_BODY {
            return Err(ToolError::Infra("an answer that was not cut".into()));
        }
        let mut value = told(&answer)?;
        value["url"] = json!(url.as_str());
        Ok(value)
    }

    async fn exec(
        &mut self,
        service: String,
        command: Vec<String>,
        stdin: Option<Vec<u8>>,
    ) -> Result<Value, ToolError> {
        let of_another = service.split_once('/').and_then(|(recipe, own)| Some((recipe.parse().ok()?, own.to_owned())));
        let (beside, service) = match of_another {
            Some(_) if self.side != Side::Appliance => {
                let text = "scripts of a recipe's repository run commands in the recipe's own services; move the script to the \
                            appliance's side of the recipe";
                return Err(ToolError::Failed(text.into()));
            }
            Some((recipe, service)) => (Some(recipe), service),
            None => (None, service),
        };
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if service.is_empty() || service.len() > 63 || !service.chars().all(name) {
            return Err(ToolError::Failed(format!("`{}` is no service of this recipe", brief(&service))));
        }
        if command.is_empty() || command.iter().any(|word| word.contains('\0')) {
            return Err(ToolError::Failed("a command has at least one word, and no zero bytes".into()));
        }
        let answer = self.tools.exec(ExecRequest { beside, service, command, stdin }).await?;
        if answer.out.0.len().max(answer.err.0.len()) > LARGEST_STREAM {
            return Err(ToolError::Infra("an output that was not cut".into()));
        }
        told(&answer)
    }

    async fn browser(&mut self, step: Step) -> Result<Value, ToolError> {
        let step = match step {
            Step::Open { url } => Step::Open { url: self.app.resolve(&url).map_err(ToolError::Failed)?.into() },
            Step::Screenshot { name } if !is_picture_name(&name) => {
                let text = "a screenshot's name is lower-case letters, digits and `-`, at most 40";
                return Err(ToolError::Failed(text.into()));
            }
            other => other,
        };
        match self.tools.browser(step).await? {
            Seen::Text(text) => Ok(json!({ "text": text })),
            Seen::Done | Seen::Picture { .. } => Ok(json!({})),
        }
    }

    async fn secret(&mut self, name: &str) -> Result<Value, ToolError> {
        if self.side != Side::Appliance {
            let text = "scripts of a recipe's repository have no secrets; move the script to the appliance's side of the recipe";
            return Err(ToolError::Failed(text.into()));
        }
        let secret = self.tools.secret(name).await?;
        // Whoever it comes from: what a script may say, it may print.
        self.redactor.register(name, &secret);
        Ok(json!(secret.expose()))
    }
}

fn is_picture_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// What would change where a request goes, or where it ends, is not a script's to say.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    const OURS: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("`{}` cannot be sent as a header", brief(name)));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(format!("the header `{name}` is set by cc-ci"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_steer_the_connection_are_refused() {
        assert!(check_header("accept", "text/html").is_ok());
        for (name, value) in
            [("Host", "x"), ("transfer-encoding", "chunked"), ("a b", "x"), ("x", "a\r\nhost: b"), ("", "x")]
        {
            assert!(check_header(name, value).is_err(), "{name}");
        }
    }
}
