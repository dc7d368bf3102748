//! The examples of `docs/recipe-checks.md` are run as they stand there.

use cc_ci::script::tools::{ExecAnswer, ExecRequest, HttpAnswer, HttpRequest, Seen, Step, ToolError, Tools};
use cc_ci::script::{Limits, Moment, Script, Side, Verdict};
use cc_ci::secrets::Secret;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::browser::{Window, a_window};
use crate::stage::{Notes, define, fennel_kit, play};

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

/// The app of the other tests, with a browser if there is one.
struct Everything {
    notes: Notes,
    window: Option<Window>,
}

impl Tools for Everything {
    fn http(&mut self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        self.notes.http(request)
    }

    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        self.notes.exec(request)
    }

    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        match &mut self.window {
            Some(window) => window.browser(step),
            None => self.notes.browser(step),
        }
    }

    fn secret(&mut self, name: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        self.notes.secret(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_does_what_the_page_says() {
    let story = "documentation::every_example_does_what_the_page_says";
    let Some(kit) = fennel_kit(story).await else { return };
    let mut examples = blocks(PAGE);
    examples.retain(|(info, ..)| !info.starts_with("yaml"));
    assert!(examples.len() >= 12, "{}", examples.len());
    for (info, line, text) in examples {
        let name = format!("checks/line-{line}.{}", if info.starts_with("fennel") { "fnl" } else { "lua" });
        let side = if info.contains("appliance") { Side::Appliance } else { Side::Recipe };
        let window = if info.contains("browser") {
            let Some(window) = a_window(story).await else { continue };
            Some(window)
        } else {
            None
        };
        let host = define(kit.clone(), side, Limits::default(), vec![Script::new(name, text)]).await;
        let host = host.unwrap_or_else(|wrong| panic!("the example in line {line}: {wrong}"));
        let mut tools = Everything { notes: Notes::default(), window };
        tools.notes.state.lock().unwrap().not_yet = 2;
        let heard = play(host, &mut tools, &Moment::ALL).await;
        for (job, verdict) in &heard.results {
            let expected = match (job.as_str(), verdict) {
                ("mail", Verdict::Skipped(reason)) => reason == "this edition has no mail",
                (_, Verdict::Passed(output)) => output != false,
                _ => false,
            };
            assert!(expected, "the example in line {line}: {job}: {verdict:?}\n{}", heard.lines.join("\n"));
        }
    }
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
    let prelude = include_str!("../../src/script/prelude.lua");
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
