//! The examples of `docs/recipe-checks.md` are run as they stand there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cc_ci::script::tools::{ExecAnswer, ExecRequest, HttpAnswer, HttpRequest, Seen, Step, ToolError, Tools};
use cc_ci::script::{Event, Host, JobResult, Kit, Limits, Moment, Script, Side, Verdict};
use cc_ci::secrets::Secret;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::browser::{Window, a_window};
use crate::stage::{Notes, app, define, fennel_kit, play};

const PAGE: &str = include_str!("../../docs/recipe-checks.md");

/// The fenced blocks: what stands after the fence, the line, and the text.
fn blocks(page: &str) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info.to_owned(), number + 1, String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, _, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// One example of a script: what stands after its fence, its line and its text.
struct Example {
    info: String,
    line: usize,
    text: String,
}

impl Example {
    fn all() -> Vec<Example> {
        let scripts = blocks(PAGE).into_iter().filter(|(info, ..)| !info.starts_with("yaml"));
        scripts.map(|(info, line, text)| Example { info, line, text }).collect()
    }

    async fn define(&self, kit: &Kit) -> Host {
        let extension = if self.info.starts_with("fennel") { "fnl" } else { "lua" };
        let script = Script::new(format!("checks/line-{}.{extension}", self.line), self.text.clone());
        let side = if self.info.contains("appliance") { Side::Appliance } else { Side::Recipe };
        let host = define(kit.clone(), side, Limits::default(), vec![script]).await;
        host.unwrap_or_else(|wrong| panic!("the example in line {}: {wrong}", self.line))
    }

    /// The app it is about; nothing where it needs a browser and there is none.
    async fn app(&self, story: &str) -> Option<Everything> {
        let window = if self.info.contains("browser") { Some(a_window(story).await?) } else { None };
        let notes = Notes::default();
        notes.state.lock().unwrap().not_yet = 2;
        Some(Everything { notes, window, broken: Arc::default() })
    }
}

/// The app of the other tests, with a browser if there is one, until it is broken.
struct Everything {
    notes: Notes,
    window: Option<Window>,
    broken: Arc<AtomicBool>,
}

impl Everything {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl Tools for Everything {
    fn http(&mut self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        if self.is_broken() {
            return ready(Ok(HttpAnswer { status: 500, ..HttpAnswer::default() })).boxed();
        }
        self.notes.http(request)
    }

    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        if self.is_broken() {
            return ready(Ok(ExecAnswer { code: 1, ..ExecAnswer::default() })).boxed();
        }
        self.notes.exec(request)
    }

    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        let Some(window) = &mut self.window else { return self.notes.browser(step) };
        match step {
            // Nothing that is pressed does anything, and nobody waits long for what then never comes.
            Step::Click { .. } if self.broken.load(Ordering::Relaxed) => ready(Ok(Seen::Done)).boxed(),
            Step::Wait { selector, contains, .. } if self.broken.load(Ordering::Relaxed) => {
                window.browser(Step::Wait { selector, contains, milliseconds: 1000 })
            }
            step => window.browser(step),
        }
    }

    fn secret(&mut self, name: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        if self.is_broken() {
            return ready(Ok(Secret::new("short"))).boxed();
        }
        self.notes.secret(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_does_what_the_page_says() {
    let story = "documentation::every_example_does_what_the_page_says";
    let Some(kit) = fennel_kit(story).await else { return };
    let examples = Example::all();
    assert!(examples.len() >= 12, "{}", examples.len());
    for example in examples {
        let Some(mut tools) = example.app(story).await else { continue };
        let heard = play(example.define(&kit).await, &mut tools, &Moment::ALL).await;
        for (job, verdict) in &heard.results {
            let expected = match (job.as_str(), verdict) {
                ("mail", Verdict::Skipped(reason)) => reason == "this edition has no mail",
                (_, Verdict::Passed(_)) => true,
                _ => false,
            };
            let line = example.line;
            assert!(expected, "the example in line {line}: {job}: {verdict:?}\n{}", heard.lines.join("\n"));
        }
    }
}

/// Each job in turn, in an app that breaks as its turn comes: what it builds on was still done.
#[tokio::test(flavor = "multi_thread")]
async fn every_example_fails_in_an_app_that_is_broken() {
    let story = "documentation::every_example_fails_in_an_app_that_is_broken";
    let Some(kit) = fennel_kit(story).await else { return };
    let mut count = 0;
    for mut example in Example::all() {
        example.text = example.text.replace("{within = 20, every", "{within = 1, every");
        let graph = example.define(&kit).await.graph().clone();
        // What is logged is no check, and neither is a reason to be skipped.
        for name in graph.jobs.into_iter().map(|job| job.name).filter(|name| !matches!(name.as_str(), "log" | "mail")) {
            let Some(mut tools) = example.app(story).await else { continue };
            let verdict = broken_for(&name, example.define(&kit).await, &mut tools).await;
            let line = example.line;
            assert!(matches!(verdict, Some(Verdict::Failed { .. })), "the example in line {line}: {name}: {verdict:?}");
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

/// What comes of a job whose app breaks before it.
async fn broken_for(name: &str, mut host: Host, tools: &mut Everything) -> Option<Verdict> {
    let (broken, mut verdict) = (tools.broken.clone(), None);
    let mut hear = |event: Event<'_>| match event {
        Event::Started { job, .. } => broken.store(job == name, Ordering::Relaxed),
        Event::Ended(JobResult { job, verdict: came, .. }) if job == name => verdict = Some(came.clone()),
        _ => {}
    };
    for moment in Moment::ALL {
        host.moment(moment, &app(), tools, &mut hear).await.unwrap();
    }
    verdict
}

/// An app in which nothing is as the examples have it: what is removed stays, rows hold something else, secrets are short.
#[derive(Default)]
struct Otherwise(Notes);

impl Tools for Otherwise {
    fn http(&mut self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        self.0.http(request)
    }

    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        if request.command.first().is_some_and(|program| program == "rm") {
            return std::future::ready(Ok(ExecAnswer::default())).boxed();
        }
        let answer = self.0.exec(request);
        async move {
            let mut answer = answer.await?;
            let said = String::from_utf8_lossy(&answer.out.0).replace("2,plain", "2,other");
            answer.out.0 = said.into_bytes();
            Ok(answer)
        }
        .boxed()
    }

    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        self.0.browser(step)
    }

    fn secret(&mut self, _: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        std::future::ready(Ok(Secret::new("hunter2"))).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_example_whose_comparison_is_not_true_fails() {
    let story = "documentation::an_example_whose_comparison_is_not_true_fails";
    let Some(kit) = fennel_kit(story).await else { return };
    for job in ["file", "sql", "secret"] {
        let found = blocks(PAGE).into_iter().find(|(_, _, text)| text.contains(&format!("ci.job(\"{job}\"")));
        let (info, line, text) = found.unwrap_or_else(|| panic!("there is no example `{job}`"));
        let side = if info.contains("appliance") { Side::Appliance } else { Side::Recipe };
        let host = define(kit.clone(), side, Limits::default(), vec![Script::new("checks/t.lua", text)]).await;
        let host = host.unwrap_or_else(|wrong| panic!("the example in line {line}: {wrong}"));
        let heard = play(host, &mut Otherwise::default(), &[Moment::Install]).await;
        assert_eq!(heard.failed(job), "checks/t.lua:1: it returned false");
    }
}

#[test]
fn every_file_on_the_pages_is_good_and_every_key_is_described() {
    let enroll = include_str!("../../docs/enroll.md");
    let files = blocks(PAGE).into_iter().chain(blocks(enroll)).filter(|(info, ..)| info.starts_with("yaml"));
    let mut count = 0;
    for (info, line, text) in files {
        let side = if info.contains("appliance") { Side::Appliance } else { Side::Recipe };
        if let Err(wrong) = cc_ci::knowledge::read_text("recipe.yaml", &text, side) {
            panic!("the file in line {line}: {}", wrong[0]);
        }
        count += 1;
    }
    assert!(count >= 5, "{count}");
    let schema: serde_json::Value = serde_json::from_str(&cc_ci::knowledge::schema()).unwrap();
    let keys = |at: &str| schema.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in [keys("/properties"), keys("/definitions/CheckFile/properties")].concat() {
        assert!(PAGE.contains(&format!("{key}:")) || PAGE.contains(&format!("`{key}`")), "{key} is not described");
    }
}

#[test]
fn every_tool_is_on_the_page() {
    let prelude = concat!(
        include_str!("../../src/script/prelude/http.lua"),
        include_str!("../../src/script/prelude/containers.lua"),
        include_str!("../../src/script/prelude/sql.lua"),
        include_str!("../../src/script/prelude/browser.lua"),
    );
    let defined = prelude
        .lines()
        .filter_map(|line| line.trim().strip_prefix("function "))
        .filter_map(|rest| rest.split('(').next());
    let stepped = prelude
        .lines()
        .filter_map(|line| line.split(" = browser_step").next().filter(|name| name.starts_with("browser.")));
    let names: Vec<&str> = defined.chain(stepped).filter(|name| name.contains('.')).collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        assert!(PAGE.contains(name), "{name} is not described");
    }
    for tool in ["app", "http", "browser", "exec", "file", "sql", "log", "retry", "secret", "jobs"] {
        assert!(PAGE.contains(&format!("**`{tool}`**")), "{tool} is not described");
    }
}
