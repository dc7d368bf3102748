//! `cc-ci runs compare A B`: where two runs came out differently, and what the stage that failed said last in each.

use serde::Serialize;

use super::appliance::Appliance;
use super::runs::short;
use super::table::{Form, Table, took};
use super::{Done, Failure};
use crate::api::images::{self, Image};
use crate::api::{Check, Run, Stage, WholeRun};
use crate::logs::Line;
use crate::logs::diff::{Which, diff};
use crate::model::{CheckState, RunId, StageName, StageState};

/// How much of the end of each log is searched for the failing stage, in bytes.
const SEARCHED: u64 = 1 << 20;
/// Lines of each side that are compared.
const LINES: usize = 60;

/// Two runs side by side.
#[derive(Serialize)]
struct Compared<'a> {
    runs: [&'a Run; 2],
    stages: Vec<Stages<'a>>,
    /// Those that did not come out alike.
    checks: Vec<Checks<'a>>,
    images: Vec<[Option<&'a Image>; 2]>,
    /// The stage that one of them failed in.
    failing: Option<StageName>,
    log: Vec<Said>,
}

#[derive(Serialize)]
struct Stages<'a> {
    name: StageName,
    sides: [Option<&'a Stage>; 2],
}

#[derive(Serialize)]
struct Checks<'a> {
    stage: StageName,
    name: &'a str,
    sides: [Option<CheckState>; 2],
}

#[derive(Serialize)]
struct Said {
    by: Which,
    line: String,
}

pub(super) async fn compare(appliance: &Appliance, first: RunId, second: RunId, form: Form) -> Done {
    let wholes = [appliance.run(first).await?, appliance.run(second).await?];
    let failing = failing(&wholes);
    let mut log = Vec::new();
    if let Some(stage) = failing {
        let lines = [last_lines(appliance, first, stage).await?, last_lines(appliance, second, stage).await?];
        log.extend(diff(&lines[0], &lines[1]).into_iter().map(|(by, line)| Said { by, line: line.to_owned() }));
    }
    let runs = [&wholes[0].run, &wholes[1].run];
    let kept = [appliance.images(first).await?, appliance.images(second).await?];
    let images = images::beside(&kept[0], &kept[1]);
    let compared = Compared { images, runs, stages: stages(&wholes), checks: checks(&wholes), failing, log };
    let bare = || runs.iter().map(|run| format!("{} {}", run.id, run.state.as_str())).collect();
    form.tell(&compared, bare, || say(&compared))
}

fn failing(wholes: &[WholeRun; 2]) -> Option<StageName> {
    let is_fault = |state| matches!(state, StageState::Failed | StageState::TimedOut | StageState::Infra);
    wholes.iter().find_map(|whole| whole.stages.iter().find(|stage| is_fault(stage.state))).map(|stage| stage.name)
}

async fn last_lines(appliance: &Appliance, run: RunId, stage: StageName) -> Result<Vec<String>, Failure> {
    let text = appliance.log_end(run, SEARCHED).await?;
    let text = String::from_utf8_lossy(&text);
    let of_stage = text.lines().filter_map(Line::parse).filter(|line| line.stage == stage);
    let mut lines: Vec<String> = of_stage.map(|line| line.plain().into_owned()).collect();
    let spare = lines.len().saturating_sub(LINES);
    lines.drain(..spare);
    Ok(lines)
}

fn stages(wholes: &[WholeRun; 2]) -> Vec<Stages<'_>> {
    let of = |side: usize, name| wholes[side].stages.iter().find(|stage: &&Stage| stage.name == name);
    let rows = StageName::ALL.iter().map(|&name| Stages { name, sides: [of(0, name), of(1, name)] });
    rows.filter(|row| row.sides.iter().any(Option::is_some)).collect()
}

fn checks(wholes: &[WholeRun; 2]) -> Vec<Checks<'_>> {
    let is = |check: &Check, row: &Checks| check.stage == row.stage && check.name == row.name;
    let mut rows: Vec<Checks> = Vec::new();
    for (side, whole) in wholes.iter().enumerate() {
        for check in &whole.checks {
            let at = rows.iter().position(|row| is(check, row)).unwrap_or_else(|| {
                rows.push(Checks { stage: check.stage, name: &check.name, sides: [None, None] });
                rows.len() - 1
            });
            rows[at].sides[side] = Some(check.state);
        }
    }
    rows.retain(|row| row.sides[0] != row.sides[1]);
    rows
}

fn say(compared: &Compared) {
    let [a, b] = compared.runs;
    let mut table = Table::new(&["", &format!("run {}", a.id), &format!("run {}", b.id)]);
    let mut row = |name: &str, of: &dyn Fn(&Run) -> String| table.row(vec![name.to_owned(), of(a), of(b)]);
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    row("state", &|run| run.state.as_str().to_owned());
    row("recipe", &|run| format!("{}{}", run.recipe, run.pr.map(|pr| format!(" #{pr}")).unwrap_or_default()));
    row("head", &|run| short(&run.head).to_owned());
    row("version", &|run| known(&run.version));
    row("from", &|run| known(&run.base));
    row("level", &|run| run.level.map_or_else(|| "-".into(), |level| level.to_string()));
    row("took", &|run| took(run.started_at.as_deref(), run.finished_at.as_deref()));
    for stage in &compared.stages {
        let shown = |side: Option<&Stage>| {
            side.map_or_else(
                || "-".to_owned(),
                |stage| format!("{} {}", stage.state, took(stage.started_at.as_deref(), stage.finished_at.as_deref())),
            )
        };
        table.row(vec![stage.name.to_string(), shown(stage.sides[0]), shown(stage.sides[1])]);
    }
    for check in &compared.checks {
        let shown = |state: Option<CheckState>| state.map_or_else(|| "-".to_owned(), |state| state.to_string());
        table.row(vec![format!("{}: {}", check.stage, check.name), shown(check.sides[0]), shown(check.sides[1])]);
    }
    for &[left, right] in &compared.images {
        let shown = |image: Option<&Image>| {
            image.map_or_else(
                || "-".to_owned(),
                |image| format!("{} {}", image.image, image.short_digest().unwrap_or("no digest")),
            )
        };
        let name = left.or(right).map_or_else(String::new, |image| format!("{}: {}", image.deployment, image.service));
        table.row(vec![name, shown(left), shown(right)]);
    }
    table.say();
    for run in compared.runs {
        if let Some(reason) = run.reason.as_deref().filter(|reason| !reason.is_empty()) {
            crate::say!("run {}: {}", run.id, super::table::plain(reason));
        }
    }
    let Some(stage) = compared.failing else { return };
    crate::say!("last lines of {stage}, - only in run {}, + only in run {}:", a.id, b.id);
    for said in &compared.log {
        let mark = match said.by {
            Which::Both => ' ',
            Which::First => '-',
            Which::Second => '+',
        };
        crate::say!("{mark} {}", super::table::plain(&said.line));
    }
}
