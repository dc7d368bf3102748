//! `cc-ci top`: the queue, the run that is under way and the host, live. The terminal is put back as it was however this ends,
//! so what changes it is a guard, and a panic is told only after the guard's work.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyModifiers};
use crossterm::style::{Attribute, SetAttribute};
use crossterm::{cursor, queue, terminal};
use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};

use super::appliance::{Appliance, Whom};
use super::table::plain;
use super::{Done, Failure};
use crate::api;
use crate::clock::{Clock, Time};
use crate::engine::causes;
use crate::logs::Line;
use crate::model::{RunId, StageState};
use crate::report::words::clock;

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    whom: Whom,
    /// How often it looks, in seconds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
}

/// How much of a log's end is read for its last lines, in bytes.
const TAIL: u64 = 16 << 10;

/// All that is drawn.
#[derive(Default)]
struct View {
    queue: Option<api::Queue>,
    hosts: Option<api::Hosts>,
    run: Option<api::WholeRun>,
    /// The last lines of that run.
    said: Vec<String>,
    /// Why the last look saw nothing; what is drawn is older then.
    fault: Option<String>,
}

pub(super) async fn top(asked: Top) -> Done {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(anyhow!("`cc-ci top` draws on a terminal, and this is none; try `cc-ci queue`")));
    }
    let appliance = asked.whom.appliance()?;
    let mut view = View::default();
    view.look(&appliance).await?;

    let screen = Screen::take().map_err(Failure::infra)?;
    let mut keys = EventStream::new();
    let mut ends = signal(SignalKind::terminate()).map_err(Failure::infra)?;
    let mut ticks = tokio::time::interval(Duration::from_secs(asked.every));
    loop {
        draw(&screen, &view, Clock::system().now()).map_err(Failure::infra)?;
        tokio::select! {
            _ = ends.recv() => return Ok(ExitCode::SUCCESS),
            key = keys.next() => match key {
                Some(Ok(event)) if !is_end(&event) => {}
                _ => return Ok(ExitCode::SUCCESS),
            },
            _ = ticks.tick() => view.fault = view.look(&appliance).await.err().map(|failure| causes(failure.error.as_ref())),
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

impl View {
    async fn look(&mut self, appliance: &Appliance) -> Result<(), Failure> {
        let queue = appliance.queue().await?;
        self.hosts = Some(appliance.hosts().await?);
        self.run = None;
        self.said.clear();
        if let Some(first) = queue.running.first() {
            let id = RunId(first.id);
            self.run = Some(appliance.run(id).await?);
            let text = appliance.log_end(id, TAIL).await?;
            self.said = last_lines(&String::from_utf8_lossy(&text));
        }
        self.queue = Some(queue);
        Ok(())
    }
}

/// What was said, without the moments; the first line may be the rest of one.
fn last_lines(text: &str) -> Vec<String> {
    text.lines().filter_map(Line::parse).map(|line| plain(&line.plain())).collect()
}

/// A line of the screen; a heading is shown stronger.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    text: String,
    heading: bool,
}

/// The whole screen, no line longer and not more of them than there is room for.
fn rows(view: &View, now: Time, columns: usize, lines: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut put = |text: String, heading| rows.push(Row { text, heading });
    put(format!("cc-ci · {} · q leaves", now.format("%Y-%m-%d %H:%M:%S UTC")), true);
    if let Some(fault) = &view.fault {
        put(format!("! {fault}"), true);
    }
    for process in view.hosts.iter().flat_map(|hosts| &hosts.processes) {
        put(host(process, now), false);
    }
    put(String::new(), false);
    let mut waiting = Vec::new();
    if let Some(queue) = &view.queue {
        put(format!("Queue: {} under way, {} waiting", queue.running.len(), queue.waiting_count), true);
        for run in &queue.running {
            put(open(run, run.started_at.as_deref(), now), false);
        }
        waiting.extend(queue.waiting.iter().map(|run| open(run, Some(&run.queued_at), now)));
    }
    // Of what waits no more than a third of the screen: the run that is under way matters more.
    let most = (lines / 3).max(1);
    let left = waiting.len().saturating_sub(most);
    waiting.truncate(most);
    for line in waiting {
        put(line, false);
    }
    if left > 0 {
        put(format!("        and {left} more"), false);
    }
    if let Some(whole) = &view.run {
        put(String::new(), false);
        put(format!("Run {} · {} · asked by {}", whole.run.id, whole.run.recipe, whole.run.asked_by), true);
        for stage in &whole.stages {
            put(stage_row(stage, now), false);
        }
        put(String::new(), false);
    }
    let room = lines.saturating_sub(rows.len());
    let last = view.said.len().saturating_sub(room);
    rows.extend(view.said[last..].iter().map(|line| Row { text: format!("│ {line}"), heading: false }));
    rows.truncate(lines);
    for row in &mut rows {
        row.text = plain(&row.text).chars().take(columns).collect();
    }
    rows
}

fn since(moment: Option<&str>, now: Time) -> String {
    moment.and_then(Time::parse).map_or_else(String::new, |at| clock(now.since(at)))
}

fn open(run: &api::Run, from: Option<&str>, now: Time) -> String {
    let pr = run.pr.map(|pr| format!(" #{pr}")).unwrap_or_default();
    let why = run.waits_for.as_deref().unwrap_or("");
    let of = format!("{}{pr}", run.recipe);
    format!("{:>6}  {of:28} {:8} {:>9}  {why}", run.id, run.state.as_str(), since(from, now))
}

fn stage_row(stage: &api::Stage, now: Time) -> String {
    let took = match (&stage.started_at, &stage.finished_at) {
        (Some(_), None) => since(stage.started_at.as_deref(), now),
        (from, to) => super::table::took(from.as_deref(), to.as_deref()),
    };
    let mark = if stage.state == StageState::Running { '>' } else { ' ' };
    format!("{mark} {:10} {:14} {took:>9}  {}", stage.name, stage.state, stage.reason.as_deref().unwrap_or(""))
}

fn host(process: &api::Process, now: Time) -> String {
    let mut text = format!("{} {} · heard {} ago", process.name, process.version, since(Some(&process.heard_at), now));
    let number =
        |key: &str| process.facts.get("host").and_then(|host| host.get(key)).and_then(serde_json::Value::as_u64);
    for (what, free, size) in [("disk", "disk_free", "disk_size"), ("memory", "memory_available", "memory_size")] {
        if let (Some(free), Some(size)) = (number(free), number(size)) {
            let percent = u128::from(free) * 100 / u128::from(size.max(1));
            let _ = write!(text, " · {what} {percent} % free");
        }
    }
    if let Some(count) = number("containers_running") {
        let _ = write!(text, " · {count} containers");
    }
    text
}

/// The terminal while it is ours.
struct Screen;

impl Screen {
    fn take() -> std::io::Result<Screen> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        terminal::enable_raw_mode()?;
        let screen = Screen;
        queue!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
        std::io::stdout().flush()?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Only a terminal that is ours is drawn on.
fn draw(_ours: &Screen, view: &View, now: Time) -> std::io::Result<()> {
    // A terminal over a wire may not say how large it is.
    let (columns, lines) = match terminal::size()? {
        (0, _) | (_, 0) => (80, 24),
        size => size,
    };
    let mut out = std::io::stdout().lock();
    queue!(out, terminal::BeginSynchronizedUpdate)?;
    let rows = rows(view, now, usize::from(columns), usize::from(lines));
    for (place, row) in (0..lines).zip(&rows) {
        queue!(out, cursor::MoveTo(0, place), terminal::Clear(terminal::ClearType::CurrentLine))?;
        queue!(out, SetAttribute(if row.heading { Attribute::Bold } else { Attribute::Reset }))?;
        out.write_all(row.text.as_bytes())?;
        queue!(out, SetAttribute(Attribute::Reset))?;
    }
    if rows.len() < usize::from(lines) {
        let below = u16::try_from(rows.len()).unwrap_or(lines);
        queue!(out, cursor::MoveTo(0, below), terminal::Clear(terminal::ClearType::FromCursorDown))?;
    }
    queue!(out, terminal::EndSynchronizedUpdate)?;
    out.flush()
}

/// Doing it twice does no harm, and there is nobody to tell when it fails.
fn give_back() {
    let _ = queue!(std::io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = std::io::stdout().flush();
    let _ = terminal::disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::read;
    use crate::dev::seed::{self, Seed};
    use crate::store::tests::empty;

    const NOW: Time = Time(1_767_323_045_678);

    async fn seeded() -> View {
        let (_dir, store) = empty();
        let what = Seed { runs: 30, checks: None, until: NOW, open: true, logs: None };
        seed::seed(&store, &what).await.unwrap();
        let (queue, hosts) = store.read(|db| Ok((read::queue(db)?, read::hosts(db)?))).await.unwrap();
        let id = RunId(queue.running[0].id);
        let run = store.read(move |db| read::whole_run(db, id)).await.unwrap();
        let said = (1..=200).map(|line| format!("line {line}")).collect();
        View { queue: Some(queue), hosts: Some(hosts), run, said, fault: None }
    }

    fn texts(view: &View, columns: usize, lines: usize) -> Vec<String> {
        rows(view, NOW, columns, lines).into_iter().map(|row| row.text).collect()
    }

    #[tokio::test]
    async fn the_screen_shows_queue_run_and_last_lines_and_is_never_too_large() {
        let mut view = seeded().await;
        let shown = texts(&view, 100, 40);
        let all = shown.join("\n");
        assert_eq!(shown.len(), 40);
        assert!(all.contains("Queue: 1 under way, 2 waiting"), "{all}");
        assert!(all.contains("> ") && all.contains("running"), "{all}");
        assert_eq!(shown.last().unwrap(), "│ line 200");
        for (columns, lines) in [(20, 5), (80, 24), (1, 1), (300, 80)] {
            let shown = texts(&view, columns, lines);
            assert!(shown.len() <= lines && shown.iter().all(|line| line.chars().count() <= columns), "{shown:#?}");
        }
        view.fault = Some("it does not answer".into());
        assert!(texts(&view, 100, 40).contains(&"! it does not answer".to_owned()));
    }

    /// In a process of its own, whose terminal the test below looks at.
    #[test]
    #[ignore = "ends in a panic"]
    fn the_screen_is_taken_and_a_bug_is_met() {
        let _screen = Screen::take().unwrap();
        panic!("a bug");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a terminal is made as people make one")]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        if !std::path::Path::new("/usr/bin/script").exists() {
            println!("SKIPPED a_panic_gives_the_terminal_back_before_it_is_told: there is no script(1)");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let name = "cli::top::tests::the_screen_is_taken_and_a_bug_is_met";
        let line = format!("stty -a; {} --ignored --exact {name} --nocapture; stty -a", this.display());
        let told = std::process::Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let (left, panicked) = (text.find("\x1b[?1049l"), text.find("a bug"));
        assert!(left.is_some() && left < panicked && text.contains("\x1b[?25h"), "{text}");
        assert!(text.matches(" icanon").count() == 2 && !text.contains("-icanon"), "{text}");
    }

    #[test]
    fn nothing_that_was_said_commands_the_terminal() {
        let hostile = "2026-01-02T03:04:05.678Z install out a\u{1b}[2Jb\u{9b}c\n";
        let view = View { said: last_lines(hostile), ..View::default() };
        let shown = texts(&view, 80, 24).join("\n");
        assert!(shown.contains("│ a [2Jb c") && !shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    }
}
