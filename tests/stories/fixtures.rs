//! Every recipe under `tests/recipes` that says what is to come of it (`expected.yaml`), all through the front door at once: a
//! pull request each, one comment each, and a table of what was expected and what came. Then some of them from the command line.

#![expect(clippy::disallowed_methods, reason = "it is started as people start it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use crate::support::*;

/// Runs at a time: they wait for Swarm more than they compute.
const AT_A_TIME: usize = 4;

/// Those that `cc-ci run` is asked about too: one for each way to end.
const FROM_THE_COMMAND_LINE: [&str; 4] =
    ["domain-not-replaced", "no-tags", "secret-from-outside", "upgrade-rolls-back"];

/// What is to come of a fixture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// The comment.
    ask: String,
    /// Where it is not the fixture's own name.
    repository: Option<String>,
    outcome: String,
    /// Words of the run's reason.
    reason: Option<String>,
    /// All of them, in any order.
    stages: BTreeMap<String, String>,
    /// Rules of lint that warn.
    lint: Vec<String>,
}

/// What came of it, in the same words.
#[derive(Debug)]
struct Got {
    outcome: String,
    reason: String,
    stages: BTreeMap<String, String>,
    lint: Vec<String>,
}

impl Expected {
    fn repository<'a>(&'a self, name: &'a str) -> &'a str {
        self.repository.as_deref().unwrap_or(name)
    }

    /// What differs, a line each.
    fn differences(&self, got: &Got) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |what: &str, expected: &str, got: &str| {
            if expected != got {
                found.push(format!("{what}: expected {expected}, got {got}"));
            }
        };
        differ("outcome", &self.outcome, &got.outcome);
        let states = |stages: &BTreeMap<String, String>| {
            stages.iter().map(|(stage, state)| format!("{stage} {state}")).collect::<Vec<_>>().join(", ")
        };
        differ("stages", &states(&self.stages), &states(&got.stages));
        differ("lint", &self.lint.join(", "), &got.lint.join(", "));
        if let Some(words) = self.reason.as_deref().filter(|words| !got.reason.contains(words)) {
            found.push(format!("reason: expected words `{words}`, got `{}`", got.reason));
        }
        found
    }
}

impl Got {
    fn of(result: &Value) -> Got {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let stages = result["stages"].as_array().expect("a run has stages");
        let checks = result["checks"].as_array().into_iter().flatten();
        let warnings = checks.filter(|check| check["stage"] == "lint" && check["state"] == "warning");
        let rules = warnings.filter_map(|check| check["name"].as_str()?.split(' ').next().map(str::to_owned));
        let rules: BTreeSet<String> = rules.collect();
        Got {
            outcome: word(&result["outcome"]),
            reason: word(&result["reason"]),
            stages: stages.iter().map(|stage| (word(&stage["name"]), word(&stage["state"]))).collect(),
            lint: rules.into_iter().collect(),
        }
    }
}

/// Whole tests first, since they take longest; then by name.
fn fixtures() -> Vec<(String, Expected)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes");
    let mut found: Vec<(String, Expected)> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let file = entry.path().join("expected.yaml");
            let text = std::fs::read_to_string(&file).ok()?;
            let expected = cc_ci::yaml::from_str(&file.display().to_string(), &text).unwrap();
            Some((entry.file_name().into_string().unwrap(), expected))
        })
        .collect();
    found.sort_by_key(|(name, expected)| (expected.ask != "!testme", name.clone()));
    found
}

/// One line a fixture, what differs below it; fails when something does.
fn table(title: &str, started: Instant, rows: &[(String, Vec<String>, Got)]) {
    println!("{title}, in {:.0} s", started.elapsed().as_secs_f64());
    for (name, differences, got) in rows {
        let mark = if differences.is_empty() { "as expected" } else { "OTHERWISE" };
        println!("  {name:22} {:10} {mark:12} {}", got.outcome, got.reason);
        for difference in differences {
            println!("  {:22} {difference}", "");
        }
    }
    let wrong = rows.iter().filter(|(_, differences, _)| !differences.is_empty()).count();
    assert_eq!(wrong, 0, "{wrong} of {} fixtures came out otherwise; the table above says how", rows.len());
}

#[tokio::test]
async fn every_fixture_comes_out_as_it_says() {
    let Some(house) = House::open_with("fixtures", Setup::Parallel(AT_A_TIME)).await else { return };
    let fixtures = fixtures();
    let started = Instant::now();
    for (name, expected) in &fixtures {
        let recipe = Fixture::named(name).in_repository(expected.repository(name));
        house.pull_request(recipe).await.says(MEMBER, &expected.ask).await;
    }
    let mut rows = Vec::new();
    for (name, expected) in &fixtures {
        let got = Got::of(&house.result_of(expected.repository(name)).await);
        rows.push((name.clone(), expected.differences(&got), got));
    }
    table(&format!("{} fixtures, {AT_A_TIME} at a time", rows.len()), started, &rows);
    house.is_empty().await;
}

#[tokio::test]
async fn the_command_line_says_the_same() {
    // Asleep: only its forge, its proxy and its share of the Swarm are wanted.
    let Some(house) = House::open_asleep("fixtures-local").await else { return };
    let started = Instant::now();
    let mut runs = Vec::new();
    for (name, expected) in fixtures().into_iter().filter(|(name, _)| FROM_THE_COMMAND_LINE.contains(&name.as_str())) {
        let recipe = Fixture::named(&name).in_repository(expected.repository(&name));
        let checkout = house.pull_request(recipe).await.checkout();
        let kept = house.path(&format!("kept-{name}"));
        let stage = expected.ask.strip_prefix("!testme").unwrap().trim();
        let mut command = Command::new(CC_CI);
        command.args(["run", "--stage", if stage.is_empty() { "all" } else { stage }]).stdin(Stdio::null());
        command.arg("--config").arg(house.path("config.yaml")).arg("--evidence").arg(&kept).arg(checkout);
        runs.push((name, expected, kept, tokio::task::spawn_blocking(move || command.output().unwrap())));
    }
    let mut rows = Vec::new();
    for (name, expected, kept, running) in runs {
        let output = running.await.unwrap();
        let result = std::fs::read_to_string(kept.join("result.json"));
        let result = result.unwrap_or_else(|_| panic!("{name}: {}", String::from_utf8_lossy(&output.stderr)));
        let got = Got::of(&serde_json::from_str(&result).unwrap());
        let mut differences = expected.differences(&got);
        let right = Some(i32::from(expected.outcome != "passed"));
        if output.status.code() != right {
            differences.push(format!("exit code: expected {right:?}, got {:?}", output.status.code()));
        }
        rows.push((name, differences, got));
    }
    assert_eq!(rows.len(), FROM_THE_COMMAND_LINE.len());
    table("from the command line, all at once", started, &rows);
    house.is_empty().await;
}
