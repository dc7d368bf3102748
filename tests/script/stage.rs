//! What the tests stand on: the kit of this machine, scripts in a host, and an app that is a table in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cc_ci::probe::browser;
use cc_ci::sandbox::{self, Command};
use cc_ci::script::tools::{
    App, Bytes, ExecAnswer, ExecRequest, HttpAnswer, HttpRequest, Seen, Step, ToolError, Tools,
};
use cc_ci::script::{Event, Host, JobResult, Kit, Limits, Moment, NotDefined, Script, Side, Verdict};
use cc_ci::secrets::Secret;
use cc_ci::secrets::redact::Redactor;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio_util::sync::CancellationToken;

/// The kit, or the reason for a skip, said.
pub(crate) fn kit(story: &str) -> Option<Kit> {
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    Kit::find().inspect_err(|missing| println!("SKIPPED {story}: {missing}")).ok()
}

/// The same, with Fennel.
pub(crate) async fn fennel_kit(story: &str) -> Option<Kit> {
    let mut kit = kit(story)?;
    if kit.fennel.is_none() {
        kit.fennel = fetched_fennel().await;
    }
    if kit.fennel.is_none() {
        println!("SKIPPED {story}: Fennel's compiler is not here, and scripts/lib/fennel.sh could not fetch it");
        return None;
    }
    Some(kit)
}

async fn fetched_fennel() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/fennel.sh");
    let command = Command::new(script).env_from_ours(["PATH", "HOME", "CC_CI_CACHE"]).limit(Duration::from_secs(120));
    let output = sandbox::output(&command, &CancellationToken::new(), 4096).await.ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_file().then_some(path)
}

pub(crate) fn browser_kit(story: &str) -> Option<browser::Kit> {
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    browser::Kit::find().inspect_err(|missing| println!("SKIPPED {story}: {missing}")).ok()
}

pub(crate) fn app() -> App {
    let mut app = App::new("notes".parse().unwrap(), "notes-pr7.ci.example.org".parse().unwrap());
    let keycloak = App::new("keycloak".parse().unwrap(), "keyc-pr7.ci.example.org".parse().unwrap());
    app.needs.insert("keycloak".parse().unwrap(), keycloak);
    app
}

/// Small, so that running into them takes no time.
pub(crate) fn tight() -> Limits {
    Limits { instructions: 5_000_000, time: Duration::from_secs(3), output: 2000, calls: 50, ..Limits::default() }
}

/// A host with one script, or what is wrong with it.
pub(crate) async fn define(kit: Kit, side: Side, limits: Limits, scripts: Vec<Script>) -> Result<Host, NotDefined> {
    Host::define(kit, side, scripts, limits, Redactor::new(), CancellationToken::new()).await
}

/// The words in which a definition was refused.
pub(crate) fn refusal(defined: Result<Host, NotDefined>) -> Vec<String> {
    match defined {
        Err(NotDefined::Wrong(problems)) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("nothing is wrong"),
    }
}

/// What was heard of the jobs.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) results: BTreeMap<String, Verdict>,
    pub(crate) order: Vec<String>,
    pub(crate) lines: Vec<String>,
}

impl Heard {
    pub(crate) fn passed(&self, job: &str) -> &serde_json::Value {
        match &self.results[job] {
            Verdict::Passed(output) => output,
            other => panic!("{job}: {other:?}\n{}", self.lines.join("\n")),
        }
    }

    /// `file:line: message` of a job that failed.
    pub(crate) fn failed(&self, job: &str) -> String {
        match &self.results[job] {
            Verdict::Failed { message, file, line } => format!("{file}:{line}: {message}"),
            other => panic!("{job}: {other:?}\n{}", self.lines.join("\n")),
        }
    }

    pub(crate) fn skipped(&self, job: &str) -> &str {
        match &self.results[job] {
            Verdict::Skipped(reason) => reason,
            other => panic!("{job}: {other:?}"),
        }
    }

    pub(crate) fn infra(&self, job: &str) -> &str {
        match &self.results[job] {
            Verdict::Infra(reason) => reason,
            other => panic!("{job}: {other:?}"),
        }
    }
}

/// Lets moments come, and the run end.
pub(crate) async fn play(mut host: Host, tools: &mut dyn Tools, moments: &[Moment]) -> Heard {
    let heard = Mutex::new(Heard::default());
    let mut events = |event: Event<'_>| {
        let mut heard = heard.lock().unwrap();
        match event {
            Event::Started { .. } => {}
            Event::Line { job, text, .. } => heard.lines.push(format!("{job}: {text}")),
            Event::Ended(JobResult { job, verdict, .. }) => {
                heard.order.push(job.clone());
                heard.results.insert(job.clone(), verdict.clone());
            }
        }
    };
    for moment in moments {
        host.moment(*moment, &app(), tools, &mut events).await.unwrap();
    }
    host.finish(&mut events);
    heard.into_inner().unwrap()
}

/// Runs one Lua script to the end of its `install`.
pub(crate) async fn run(kit: Kit, limits: Limits, text: &str) -> Heard {
    let host = define(kit, Side::Recipe, limits, vec![Script::new("checks/t.lua", text)]).await;
    play(host.unwrap_or_else(|wrong| panic!("{wrong}")), &mut Notes::default(), &[Moment::Install]).await
}

/// An app that keeps notes: `POST /notes` with a body or JSON, `GET /notes/ID`, a login with a cookie, and a few oddities. Its
/// container has files and knows a few commands.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    pub(crate) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) notes: Vec<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) requests: Vec<String>,
    pub(crate) not_yet: u32,
}

impl Notes {
    fn serve(&self, request: &HttpRequest) -> HttpAnswer {
        let mut state = self.state.lock().unwrap();
        let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let body = String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()).into_owned();
        state.requests.push(format!("{} {}", request.method, request.url));
        let path = request.url.path().to_owned();
        let (status, headers, body): (u16, Vec<(&str, &str)>, String) = match (request.method.as_str(), path.as_str()) {
            ("GET", "/") => (200, vec![("content-type", "text/html")], "<title>Notes</title>".into()),
            ("POST", "/notes") => {
                let text = match header("content-type") {
                    Some("application/json") => {
                        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
                        json["text"].as_str().unwrap_or_default().to_owned()
                    }
                    _ => body,
                };
                state.notes.push(text);
                (
                    201,
                    vec![],
                    serde_json::json!({"id": state.notes.len(), "tags": ["a", "b"], "gone": null}).to_string(),
                )
            }
            ("GET", path) if path.starts_with("/notes/") => {
                let number = path["/notes/".len()..].parse::<usize>().unwrap_or(0);
                match number.checked_sub(1).and_then(|index| state.notes.get(index)) {
                    Some(note) => (200, vec![("X-Kind", "note")], note.clone()),
                    None => (404, vec![], "no such note".into()),
                }
            }
            ("POST", "/login") if body == "pass=p%26ss%20word&user=me" => {
                (302, vec![("Set-Cookie", "session=s3; Path=/; HttpOnly"), ("Location", "/me")], String::new())
            }
            ("POST", "/login") => (403, vec![], format!("wrong: {body}")),
            ("GET", "/me") if header("cookie") == Some("session=s3") => (200, vec![], "it is me".into()),
            ("GET", "/me") => (401, vec![], "who?".into()),
            ("GET", "/away") => (302, vec![("location", "https://example.org/")], "off".into()),
            ("GET", "/round") => (302, vec![("location", "/round")], String::new()),
            ("GET", "/soon") if state.not_yet > 0 => {
                state.not_yet -= 1;
                (503, vec![], "not yet".into())
            }
            ("GET", "/soon") => (200, vec![], "now".into()),
            ("GET", "/binary") => {
                let body = Bytes(vec![0, 255, 10, 13]);
                return HttpAnswer { status: 200, headers: Vec::new(), body, cut: false };
            }
            ("GET", "/search") => (200, vec![], request.url.query().unwrap_or_default().to_owned()),
            (method, _) => (405, vec![], format!("{method} {path}")),
        };
        let headers = headers.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        HttpAnswer { status, headers, body: Bytes(body.into_bytes()), cut: false }
    }

    /// A container with `cat`, `sh`, `test` and `rm`, as far as the tools use them, and databases that know one answer.
    fn execute(&self, request: &ExecRequest) -> Result<ExecAnswer, ToolError> {
        let mut state = self.state.lock().unwrap();
        let done = |out: &[u8]| ExecAnswer { out: Bytes(out.to_vec()), ..ExecAnswer::default() };
        let failed = |code, err: &str| ExecAnswer { code, err: Bytes(err.into()), ..ExecAnswer::default() };
        let words: Vec<&str> = request.command.iter().map(String::as_str).collect();
        let stdin = request.stdin.clone().unwrap_or_default();
        let service = match &request.beside {
            Some(recipe) => format!("{recipe}/{}", request.service),
            None => request.service.clone(),
        };
        Ok(match (service.as_str(), words.as_slice()) {
            ("keycloak/app", ["sh", "-c", "cat"]) => done(&stdin),
            ("app", ["cat", path]) => match state.files.get(*path) {
                Some(content) => done(content),
                None => failed(1, &format!("cat: {path}: No such file or directory")),
            },
            ("app", ["sh", "-c", _, "sh", path]) => {
                state.files.insert((*path).into(), stdin);
                done(b"")
            }
            ("app", ["test", "-e", path]) => failed(i64::from(!state.files.contains_key(*path)), ""),
            ("app", ["rm", "-f", path]) => {
                state.files.remove(*path);
                done(b"")
            }
            ("app", ["sh", "-c", "echo $((1 + 1))"]) => done(b"2\n"),
            ("app", ["status"]) => done(br#"{"ready": true}"#),
            ("app", ["false"]) => failed(1, "it is false"),
            ("app", ["wc"]) => done(stdin.len().to_string().as_bytes()),
            ("db", ["sh", "-c", script, "sh", _, "one"]) if script.contains("psql") && is_select(&stdin) => {
                done(b"psql\nid,text,none\n1,\"a \"\"quoted\"\", line\nand more\",\\N\n2,plain,\\N\n")
            }
            ("db", ["sh", "-c", ..]) => failed(3, "ERROR:  syntax error at or near \"selct\""),
            ("counts", ["sh", "-c", _, "sh", _, count]) => failed(2, &format!("it is {count}")),
            ("maria", ["sh", "-c", ..]) => done(b"mariadb\nid\ttext\tnone\n1\ta\\tb\\nc\tNULL\n"),
            (service, _) => return Err(ToolError::Failed(format!("there is no service `{service}`"))),
        })
    }
}

/// Queries come in hexadecimal.
fn is_select(stdin: &[u8]) -> bool {
    hex::decode(stdin).is_ok_and(|query| query.starts_with(b"select"))
}

impl Tools for Notes {
    fn http(&mut self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        ready(Ok(self.serve(&request))).boxed()
    }

    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        ready(self.execute(&request)).boxed()
    }

    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        ready(match step {
            Step::Open { .. } => Err(ToolError::Infra("there is no chromium on the PATH".into())),
            other => Err(ToolError::Failed(format!("{other:?} before anything was opened"))),
        })
        .boxed()
    }

    fn secret(&mut self, name: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        let found = match name {
            "x" | "keycloak/admin_password" => Ok(Secret::new("hunter2-hunter2")),
            _ => Err(ToolError::Failed(format!("no secret `{name}` is declared for this recipe"))),
        };
        ready(found).boxed()
    }
}
