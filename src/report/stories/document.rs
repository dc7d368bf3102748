//! `docs/comments.md`, made of what the renderer says of a few cards.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::clock::Time;
use crate::model::{CheckState, StageName, StageState};
use crate::report::card::{Behind, Card, Place};
use crate::report::comment::{self, render};
use crate::report::status;
use crate::store::runs::{self, Run};
use crate::store::stages::{Check, Stage};

const ADDRESS: &str = "https://ci.example.org";
const BEGAN: i64 = 60_000;

/// A run of keycloak that has just been asked for.
async fn asked_for() -> Run {
    let (_dir, store) = crate::store::tests::empty();
    let mut new = crate::dev::seed::plain_run("keycloak", 41);
    new.title = "Keycloak 26.4".into();
    let run = store.write("is being tested", move |tx| runs::queue(tx, &new, Time(0))).await.unwrap();
    let run = store.read(move |db| runs::by_id(db, run)).await.unwrap().unwrap();
    Run { id: RunId(412), version: Some("1.4.0+26.4.0".into()), base: Some("1.3.2+25.0.6".into()), ..run }
}

fn stages(so_far: &[(StageName, StageState, Option<&str>, i64)]) -> Vec<Stage> {
    let mut at = BEGAN;
    let stage = |(ordinal, (name, state, reason, seconds)): (i64, &(StageName, StageState, Option<&str>, i64))| {
        let begins = at;
        at += seconds * 1000;
        Stage {
            ordinal,
            name: *name,
            state: *state,
            reason: reason.map(str::to_owned),
            started_at: (!matches!(state, StageState::Waiting | StageState::Skipped)).then_some(Time(begins)),
            finished_at: state.is_final().then_some(Time(begins + seconds * 1000)),
            waited: Duration::ZERO,
        }
    };
    (0..).zip(so_far).map(stage).collect()
}

fn card(run: Run, so_far: &[(StageName, StageState, Option<&str>, i64)]) -> Card {
    let usually = Some(Duration::from_secs(540));
    let (checks, tail, place) = (Vec::new(), Vec::new(), None);
    Card { run, stages: stages(so_far), checks, has_picture: false, place, usually, tail }
}

fn over(run: Run, outcome: Outcome, reason: &str) -> Run {
    let (started_at, finished_at) = (Some(Time(BEGAN)), Some(Time(BEGAN + 437_000)));
    Run { started_at, finished_at, outcome: Some(outcome), reason: Some(reason.to_owned()), ..run }
}

/// What is shown, each with when that is.
async fn examples() -> Vec<(&'static str, Card)> {
    use StageName::{Backup, Checks, Fetch, Install, Lint, Uninstall, Upgrade};
    use StageState::{Failed, Infra, Passed, Running, Skipped, Waiting};
    let run = asked_for().await;
    let all = |state| [Fetch, Lint, Install, Checks, Backup, Upgrade, Uninstall].map(|name| (name, state, None, 0));
    let behind = Behind {
        name: "cryptpad".into(),
        pr: Some(Pr(88)),
        started_at: Some(Time(0)),
        usually: Some(Duration::from_secs(540)),
    };
    let waiting = Card { place: Some(Place { number: 2, behind: Some(behind) }), ..card(run.clone(), &all(Waiting)) };
    let so_far = [(Fetch, Passed, None, 2), (Lint, Passed, None, 1), (Install, Running, None, 0)];
    let rest = [Checks, Backup, Upgrade, Uninstall].map(|name| (name, Waiting, None, 0));
    let running = card(Run { started_at: Some(Time(BEGAN)), ..run.clone() }, &[&so_far[..], &rest].concat());
    let lost = "the realm written before the upgrade from 1.3.2+25.0.6 was gone after it";
    let ended = [
        (Fetch, Passed, None, 2),
        (Lint, Passed, None, 1),
        (Install, Passed, None, 72),
        (Checks, Passed, None, 9),
        (Backup, Passed, None, 160),
    ];
    let broke = [(Upgrade, Failed, Some(lost), 185), (Uninstall, Passed, None, 11)];
    let went_well = [(Upgrade, Passed, None, 185), (Uninstall, Passed, None, 11)];
    let level = |level, why: &str| Run { level: Some(level), level_reason: Some(why.into()), ..run.clone() };
    let failed = Card {
        checks: vec![Check {
            stage: Upgrade,
            name: "the realm is still there".into(),
            state: CheckState::Failed,
            expected: Some("200".into()),
            got: Some("404 Not Found".into()),
            took: None,
        }],
        tail: vec!["ERROR: relation \"realm\" does not exist".into(), "app_db exited with 3".into()],
        has_picture: true,
        ..card(over(level(1, "the upgrade loses data"), Outcome::Failed, lost), &[&ended[..], &broke].concat())
    };
    let passed = Card {
        has_picture: true,
        ..card(over(level(4, "lint has 2 warnings"), Outcome::Passed, ""), &[&ended[..], &went_well].concat())
    };
    let registry = "the image quay.io/keycloak/keycloak:26.4.0 could not be pulled: quay.io did not answer";
    let no_image = [(Install, Infra, Some(registry), 30)];
    let skipped = [Checks, Backup, Upgrade].map(|name| (name, Skipped, Some("the run ended before it"), 0));
    let gone = [(Uninstall, Passed, None, 4)];
    let infra = [&ended[..2], &no_image, &skipped, &gone].concat();
    let infra = card(over(run.clone(), Outcome::Infra, registry), &infra);
    let cancelled = Run { cancel_by: Some("member".into()), ..run };
    let cancelled = card(over(cancelled, Outcome::Cancelled, "cancelled by member"), &ended[..3]);
    vec![
        ("While it waits", waiting),
        ("While it runs", running),
        ("When the recipe is at fault", failed),
        ("When all is well", passed),
        ("When the recipe is not at fault", infra),
        ("When somebody ended it", cancelled),
    ]
}

async fn document() -> String {
    let mut text = String::from(
        "# What cc-ci says on a pull request\n\n\
         One comment for each head that is tested. While it waits and runs the comment is edited, which notifies nobody; the verdict is a\n\
         new one that takes its place. The first line is short enough to be read alone in a mail.\n\n\
         This page is made of what the program says (`CC_CI_WRITE_DOCUMENTS=1 cargo test --lib report::stories::document`), each comment\n\
         as the forge draws it and as it is written. Some blanks of no width keep a forge from making links and mentions of names.\n",
    );
    for (title, card) in examples().await {
        let said = render(&card, ADDRESS);
        let said = said.trim_end();
        let status = status::render(&card, "cc-ci/test", ADDRESS);
        let _ = write!(
            text,
            "\n## {title}\n\nThe commit status: `{}`, {}\n\n{said}\n\nAs it is written:\n\n`````markdown\n{said}\n`````\n",
            status.state.as_str(),
            status.description
        );
    }
    text
}

#[tokio::test]
async fn the_document_shows_what_the_program_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/comments.md");
    let now = document().await;
    for (title, card) in examples().await {
        let said = render(&card, ADDRESS);
        let first = said.lines().next().unwrap_or_default();
        assert!(first.starts_with("**") && first.chars().count() <= comment::FIRST_LINE, "{title}: {first}");
    }
    if std::env::var_os("CC_CI_WRITE_DOCUMENTS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let tree = std::fs::read_to_string(path).unwrap_or_default();
    assert!(tree == now, "docs/comments.md is old: CC_CI_WRITE_DOCUMENTS=1 cargo test --lib report::stories::document");
}
