//! Everything that hostile people can write into a field.

use std::time::Duration;

use cc_ci::logs;
use cc_ci::model::{CheckState, CommentId, Origin, Outcome, Pr, RepoId, RunId, StageName, StageState, Verdict};
use cc_ci::store::comments::{self, Seen};
use cc_ci::store::repositories::Listed;
use cc_ci::store::stages::Check;
use cc_ci::store::{apps, repositories, runs, stages};

use super::house::{House, NOW};

/// What people might write where a recipe, a branch, a title, a check or a reason is expected.
pub(crate) const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\u{1b}[31m\u{202e}javascript:alert(1)\u{0}\n</title></style>";

pub(crate) async fn hostile_run(house: &House) -> RunId {
    let run = house
        .store
        .write("is being tested", |tx| {
            let repository = RepoId(1);
            for (id, name, enrolled) in [(repository, "recipes/hostile", true), (RepoId(2), "recipes/other", false)] {
                let repo = name.parse().unwrap();
                repositories::see(tx, &Listed { id, repo: &repo, enrolled, why: HOSTILE }, NOW, NOW, NOW)?;
            }
            repositories::look_failed(tx, repository, HOSTILE, NOW)?;
            for (id, command) in [(1, HOSTILE), (2, "!testme")] {
                let seen = Seen {
                    id: CommentId(id),
                    repository,
                    pr: Some(Pr(1)),
                    author: HOSTILE.into(),
                    excerpt: HOSTILE.into(),
                    command: Some(command.into()),
                    created_at: NOW,
                    updated_at: NOW,
                    looks: 0,
                };
                comments::insert(tx, &seen, NOW)?;
            }
            comments::decide(tx, CommentId(1), Verdict::Refused, HOSTILE, None, NOW)?;
            let new = runs::NewRun {
                origin: Origin::Comment,
                repository: Some(repository),
                repo_name: HOSTILE.into(),
                recipe: HOSTILE.into(),
                base_branch: Some(HOSTILE.into()),
                title: HOSTILE.into(),
                comment: Some(CommentId(2)),
                asked_by: HOSTILE.into(),
                ..cc_ci::dev::seed::plain_run("x", 1)
            };
            let run = runs::queue(tx, &new, NOW)?;
            runs::queue(tx, &new, NOW)?;
            runs::set_waits_for(tx, RunId(run.0 + 1), HOSTILE)?;
            comments::decide(tx, CommentId(2), Verdict::Accepted, HOSTILE, Some(run), NOW)?;
            runs::start(tx, run, NOW)?;
            runs::set_recipe(tx, run, HOSTILE, Some(HOSTILE), HOSTILE)?;
            runs::set_base(tx, run, HOSTILE)?;
            runs::set_level(tx, run, 3, HOSTILE)?;
            runs::set_unredactable(tx, run, HOSTILE)?;
            stages::plan(
                tx,
                run,
                &[
                    (StageName::Install, StageState::Waiting, None),
                    (StageName::Backup, StageState::NotApplicable, Some(HOSTILE.into())),
                ],
            )?;
            stages::start(tx, run, StageName::Install, NOW)?;
            let check = Check {
                stage: StageName::Install,
                name: HOSTILE.into(),
                state: CheckState::Failed,
                expected: Some(HOSTILE.into()),
                got: Some(HOSTILE.repeat(2000)),
                took: None,
            };
            stages::add_check(tx, run, &check, NOW)?;
            let app = apps::intend(tx, run, &"host-000001.ci.test".parse().unwrap(), "/abra", NOW)?;
            apps::left_over(tx, app, HOSTILE)?;
            stages::finish(tx, run, StageName::Install, StageState::Failed, Some(HOSTILE), Duration::ZERO, NOW)?;
            runs::finish(tx, run, Outcome::Failed, HOSTILE, NOW)?;
            Ok(run)
        })
        .await
        .unwrap();
    std::fs::create_dir_all(&house.logs).unwrap();
    let line = format!("2026-01-02T03:04:05.678Z install out {}\n", HOSTILE.replace('\n', "\r"));
    std::fs::write(logs::path(&house.logs, run), format!("{}{HOSTILE}\n", line.repeat(20))).unwrap();
    run
}

/// Every byte percent-encoded.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
