//! The engine does this; that is what people read on the pull request.

use std::sync::Arc;
use std::time::Duration;

use super::comment::FIRST_LINE;
use crate::alarms::Alarm;
use crate::config::VerdictAs;
use crate::forge::ForgeError;
use crate::intake::house::House;
use crate::intake::pretend::{MEMBER, STRANGER, head, later};
use crate::model::{Outcome, Pr, RepoId, RunId};
use crate::store::outbox::{self, Report as Row};

/// A pull request on which a member has asked, and been told that it waits.
async fn asked() -> House {
    let mut house = House::open(|forge| forge.pull_request("keycloak", 'a')).await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    house
}

impl House {
    async fn says_it_again(&self, run: i64) {
        let now = self.clock.now();
        let row = Row::Comment { run: RunId(run) };
        self.store.write("asks", move |tx| outbox::push(tx, &row, RepoId(1), Pr(1), now)).await.unwrap();
    }

    fn comment_now(&self) -> String {
        self.comment_on("keycloak", 'a').expect("there is no comment")
    }
}

#[tokio::test]
async fn one_comment_goes_from_waiting_to_the_verdict_which_is_a_new_one() {
    let mut house = asked().await;
    let progress = house.forge.heard("keycloak")[0].id;
    house.pass_time(3);
    house.starts(RunId(1)).await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Running** · keycloak at `aaaaaaaa`"), "{}", house.comment_now());
    assert!(house.comment_now().contains("| install | ▸ running | since 03:"), "{}", house.comment_now());
    assert_eq!(house.forge.heard("keycloak")[0].id, progress, "progress is edited, which notifies nobody");
    house.pass_time(72);
    house.ends(RunId(1), Outcome::Passed, "").await;
    house.send().await;
    let verdict = house.forge.heard("keycloak").remove(0);
    assert!(verdict.id > progress, "the verdict notifies");
    assert!(
        verdict.body.starts_with("**Passed** · keycloak at `aaaaaaaa` · 3 stages in 1 min 12 s"),
        "{}",
        verdict.body
    );
    assert!(verdict.body.contains("<details><summary>Stages and times</summary>"), "{}", verdict.body);
    let said: Vec<&str> = house.forge.state().statuses.iter().map(|(_, status)| status.state.as_str()).collect();
    assert_eq!(said, ["pending", "pending", "success"]);
    let status = house.forge.last_status('a').unwrap();
    assert_eq!(status.description, "passed in 1 min 12 s");
    assert_eq!(status.target_url, "https://ci.example.org/runs/1");
    assert_eq!(status.context, "cc-ci/test");
    assert!(house.unsent().await.is_empty());
}

#[tokio::test]
async fn where_the_verdict_is_an_edit_one_comment_stays_throughout() {
    let mut house = asked().await;
    house.report.verdict = VerdictAs::Edit;
    let progress = house.forge.heard("keycloak")[0].id;
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Failed, "broken").await;
    house.send().await;
    assert_eq!(house.forge.heard("keycloak")[0].id, progress);
    assert!(house.comment_now().starts_with("**Failed: upgrade.** broken\n"));
}

#[tokio::test]
async fn a_failure_says_what_why_and_how_to_go_on() {
    let mut house = asked().await;
    house.starts(RunId(1)).await;
    house
        .ends(RunId(1), Outcome::Failed, "The realm of @admin was gone, see https://evil.example, key hunter2hunter2")
        .await;
    house.send().await;
    let comment = house.comment_now();
    let first = comment.lines().next().unwrap();
    assert!(first.starts_with("**Failed: upgrade.** The realm of @"), "{first}");
    for alive in ["@admin", "https://evil", "hunter2hunter2"] {
        assert!(!comment.contains(alive), "{alive} in {comment}");
    }
    assert!(
        comment.contains("| install | ✔ passed |") && comment.contains("| **upgrade** | **✘ The realm"),
        "{comment}"
    );
    let lines = "<summary>Last lines of upgrade before the failure</summary>\n\n````text\nrun 1 upgrade, 40 lines\n";
    assert!(comment.contains(lines), "{comment}");
    assert!(comment.contains("``` [secret token]\n</details>\n@somebody\n````"), "{comment}");
    assert!(
        comment.contains("only this: `!testme upgrade` · on your machine: `cc-ci run --stage upgrade .`"),
        "{comment}"
    );
    let status = house.forge.last_status('a').unwrap();
    assert_eq!(status.state.as_str(), "failure");
    assert!(status.description.starts_with("upgrade: The realm") && !status.description.contains("hunter2"));
}

#[tokio::test]
async fn who_waits_is_told_for_whom_and_told_anew_when_the_queue_moves() {
    let mut house = House::open(|forge| {
        for (name, commit) in [("keycloak", 'a'), ("custom-html", 'b'), ("cryptpad", 'c')] {
            forge.pull_request(name, commit);
        }
    })
    .await;
    for name in ["keycloak", "custom-html", "cryptpad"] {
        house.forge.says(name, MEMBER, "!testme");
    }
    house.settle().await;
    house.starts(RunId(1)).await;
    house.send().await;
    let said = |house: &House, name, commit| house.comment_on(name, commit).unwrap();
    assert!(said(&house, "custom-html", 'b').contains("Second in the queue, behind keycloak #1\u{200b} (started 03:"));
    assert!(said(&house, "cryptpad", 'c').contains("Third in the queue, behind custom-html #1\u{200b}."));
    house.pass_time(540);
    house.ends(RunId(1), Outcome::Passed, "").await;
    house.send().await;
    assert!(said(&house, "custom-html", 'b').contains("First in the queue; it starts as soon as there is room."));
    assert!(said(&house, "cryptpad", 'c').contains("Second in the queue, behind custom-html #1\u{200b}."));
    // By now it is known how long one usually takes.
    house.forge.says("keycloak", MEMBER, "!testme again");
    house.starts(RunId(2)).await;
    house.ends(RunId(2), Outcome::Passed, "").await;
    house.settle().await;
    house.starts(RunId(3)).await;
    house.send().await;
    assert!(said(&house, "keycloak", 'a').contains("Second in the queue, behind cryptpad #1\u{200b} (started"));
}

#[tokio::test]
async fn an_unchanged_text_is_not_sent_again() {
    let mut house = asked().await;
    house.starts(RunId(1)).await;
    house.send().await;
    house.forge.state().requests.clear();
    for _ in 0..3 {
        house.says_it_again(1).await;
        house.send().await;
    }
    assert_eq!(house.forge.state().requests, Vec::<&str>::new());
    assert!(house.unsent().await.is_empty());
}

#[tokio::test]
async fn a_deleted_comment_is_posted_anew() {
    let mut house = asked().await;
    house.forge.deletes(house.forge.heard("keycloak")[0].id);
    house.starts(RunId(1)).await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Running**"));
    house.forge.deletes(house.forge.heard("keycloak")[0].id);
    house.ends(RunId(1), Outcome::Passed, "").await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
}

#[tokio::test]
async fn nobody_elses_comment_is_touched() {
    let mut house = asked().await;
    let theirs = house.forge.says("keycloak", STRANGER, "mine");
    let mut voice = house.store.read(|db| outbox::voice(db, RepoId(1), Pr(1), &head('a'))).await.unwrap();
    let ours = voice.comment.replace(theirs).unwrap();
    house.forge.deletes(ours);
    house
        .store
        .write("is tampered with", move |tx| outbox::set_voice(tx, RepoId(1), Pr(1), &head('a'), &voice))
        .await
        .unwrap();
    // The forge of these stories panics when the bot edits or deletes what is not its own.
    house.starts(RunId(1)).await;
    house.send().await;
    house.ends(RunId(1), Outcome::Passed, "").await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
    assert!(house.forge.state().comments.iter().any(|(_, comment)| comment.id == theirs && comment.body == "mine"));
}

#[tokio::test]
async fn an_answer_that_got_lost_does_not_post_twice() {
    let mut house = House::open(|forge| forge.pull_request("keycloak", 'a')).await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    // The first comment, the verdict and a reply, each posted while the connection breaks.
    house.forge.odd(|odd| odd.lose_next_answer = true);
    house.send().await;
    house.pass_time(5);
    house.send().await;
    assert!(house.comment_now().starts_with("**Waiting**"));
    house.starts(RunId(1)).await;
    house.send().await;
    house.ends(RunId(1), Outcome::Passed, "").await;
    house.forge.odd(|odd| odd.lose_next_answer = true);
    house.send().await;
    house.pass_time(5);
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
    house.forge.says("keycloak", MEMBER, "!testme help");
    house.forge.odd(|odd| odd.lose_next_answer = true);
    house.settle().await;
    house.pass_time(5);
    house.send().await;
    assert_eq!(house.replies("keycloak").len(), 1);
    assert_eq!(house.forge.count("post_comment"), 3);
    assert!(house.unsent().await.is_empty());
}

#[tokio::test]
async fn a_crash_between_post_and_mark_leaves_one_comment_even_if_the_run_goes_on_meanwhile() {
    let mut house = House::open(|forge| forge.pull_request("keycloak", 'a')).await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    house.forge.odd(|odd| odd.lose_next_answer = true);
    house.send().await;
    assert_eq!(house.forge.heard("keycloak").len(), 1, "posted, and nobody noted it");
    let mut house = house.restart();
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Failed, "broken").await;
    house.pass_time(5);
    house.send().await;
    assert!(house.comment_now().starts_with("**Failed: upgrade.** broken"), "the stub went");
}

#[tokio::test]
async fn a_crash_before_the_old_comment_goes_still_leaves_one() {
    let mut house = asked().await;
    house.starts(RunId(1)).await;
    house.send().await;
    house.ends(RunId(1), Outcome::Passed, "").await;
    house.forge.odd(|odd| odd.broken = vec![("delete_comment", later())]);
    house.send().await;
    assert_eq!(house.forge.heard("keycloak").len(), 2, "the new one is there, the old one too");
    let mut house = house.restart();
    house.forge.odd(|odd| odd.broken.clear());
    house.pass_time(5);
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
    assert_eq!(house.forge.count("post_comment"), 2);
}

#[tokio::test]
async fn a_minute_without_the_forge_loses_nothing() {
    let mut house = asked().await;
    house.forge.odd(|odd| odd.down = Some(later()));
    house.starts(RunId(1)).await;
    for _ in 0..20 {
        house.send().await;
        house.pass_time(3);
    }
    house.ends(RunId(1), Outcome::Failed, "broken").await;
    house.forge.odd(|odd| odd.down = None);
    for _ in 0..50 {
        house.send().await;
        house.pass_time(3);
    }
    assert!(house.comment_now().starts_with("**Failed: upgrade.** broken"));
    assert_eq!(house.forge.last_status('a').unwrap().state.as_str(), "failure");
    assert!(house.unsent().await.is_empty() && house.given_up().await.is_empty());
}

#[tokio::test]
async fn a_forge_that_asks_for_a_pause_gets_it() {
    let mut house = asked().await;
    let after = Some(Duration::from_secs(900));
    house.forge.odd(|odd| odd.down = Some(ForgeError::Later { why: "429".into(), after }));
    house.starts(RunId(1)).await;
    house.send().await;
    house.forge.state().requests.clear();
    house.pass_time(890);
    house.send().await;
    assert_eq!(house.forge.state().requests, Vec::<&str>::new());
    house.forge.odd(|odd| odd.down = None);
    house.pass_time(20);
    house.send().await;
    assert!(house.comment_now().starts_with("**Running**"));
}

#[tokio::test]
async fn with_a_revoked_token_reports_wait_and_the_operator_is_told() {
    let mut house = asked().await;
    house.forge.odd(|odd| odd.down = Some(ForgeError::Unauthorised("revoked".into())));
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Passed, "").await;
    for _ in 0..30 {
        house.pass_time(60);
        house.send().await;
    }
    assert_eq!(house.alarms(), [Alarm::TokenRefused]);
    assert_eq!(house.unsent().await.len(), 2);
    house.forge.odd(|odd| odd.down = None);
    house.pass_time(60);
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
    assert_eq!((house.alarms(), house.unsent().await), (vec![], vec![]));
}

#[tokio::test]
async fn where_the_bot_may_only_comment_the_comment_alone_answers() {
    let mut house = House::open(|forge| {
        forge.pull_request("keycloak", 'a');
        let forbidden = || ForgeError::Forbidden("token needs write:repository".into());
        forge.odd(|odd| odd.broken = vec![("set_status", forbidden()), ("react", forbidden())]);
    })
    .await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert!(house.comment_now().starts_with("**Waiting**"));
    assert_eq!(house.alarms(), [Alarm::Statuses, Alarm::Reactions]);
    assert!(house.alarms.lasting()[0].words.contains("write:repository"));
    let given_up = house.given_up().await;
    assert_eq!(given_up.len(), 2);
    assert!(given_up.iter().all(|(_, why)| why.contains("write:repository")));
    house.forge.odd(|odd| odd.broken.clear());
    house.starts(RunId(1)).await;
    house.send().await;
    assert_eq!(house.alarms(), [Alarm::Reactions], "statuses work again");
}

#[tokio::test]
async fn what_a_locked_or_archived_place_refuses_is_given_up_with_the_reason() {
    for error in [ForgeError::Forbidden("locked".into()), ForgeError::Archived("recipes/keycloak".into())] {
        let mut house = asked().await;
        house.forge.odd(|odd| odd.broken = vec![("post_comment", error.clone()), ("edit_comment", error.clone())]);
        house.starts(RunId(1)).await;
        house.ends(RunId(1), Outcome::Passed, "").await;
        house.send().await;
        assert_eq!(house.given_up().await, [("comment".to_owned(), error.to_string())]);
        assert_eq!(house.run(RunId(1)).await.outcome, Some(Outcome::Passed), "the result is what it is");
        assert_eq!(house.forge.last_status('a').unwrap().state.as_str(), "success");
    }
}

#[tokio::test]
async fn a_status_for_a_commit_that_was_pushed_away_is_given_up_and_holds_up_nothing() {
    let mut house = House::open(|forge| {
        forge.pull_request("keycloak", 'a');
        forge.odd(|odd| odd.broken = vec![("set_status", later())]);
    })
    .await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert!(house.comment_now().starts_with("**Waiting**"));
    for _ in 0..20 {
        house.pass_time(5);
        house.send().await;
    }
    let given_up = house.given_up().await;
    assert!(
        matches!(&given_up[..], [(kind, why)] if kind == "status" && why.contains("for this commit")),
        "{given_up:?}"
    );
    assert!(house.unsent().await.is_empty());
}

#[tokio::test]
async fn a_comment_that_asked_and_was_deleted_needs_no_eyes() {
    let mut house = House::open(|forge| forge.pull_request("keycloak", 'a')).await;
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    house.forge.deletes(asked);
    house.send().await;
    assert_eq!(house.given_up().await.len(), 1);
    assert!(house.comment_now().starts_with("**Waiting**") && house.alarms().is_empty());
}

#[tokio::test]
async fn a_log_that_cannot_be_read_changes_no_verdict() {
    let mut house = asked().await;
    house.report.tail = Arc::new(|_, _, _| panic!("the log is gone"));
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::TimedOut, "no answer within 10 min").await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Timed out: upgrade.** no answer within 10 min"));
    assert!(!house.comment_now().contains("Last lines"));
}

#[tokio::test]
async fn a_second_test_of_a_head_speaks_in_the_same_comment() {
    let mut house = asked().await;
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Failed, "broken").await;
    house.send().await;
    let first = house.forge.heard("keycloak")[0].id;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert!(house.comment_now().starts_with("**Waiting**"));
    assert_eq!(house.forge.heard("keycloak")[0].id, first);
    assert_eq!(house.forge.last_status('a').unwrap().state.as_str(), "pending");
    house.starts(RunId(2)).await;
    house.ends(RunId(2), Outcome::Passed, "").await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
    assert!(house.forge.heard("keycloak")[0].id > first);
}

#[tokio::test]
async fn two_verdicts_in_a_row_are_both_new_comments() {
    let mut house = asked().await;
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Failed, "broken").await;
    house.send().await;
    let first = house.forge.heard("keycloak")[0].id;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    // Over before anybody was told that it waits.
    house.starts(RunId(2)).await;
    house.ends(RunId(2), Outcome::Passed, "").await;
    house.send().await;
    assert!(house.comment_now().starts_with("**Passed**"));
    assert!(house.forge.heard("keycloak")[0].id > first);
}

#[tokio::test]
async fn infra_says_that_it_is_not_the_recipe() {
    let mut house = asked().await;
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Infra, "the registry answered toomanyrequests").await;
    house.send().await;
    assert!(
        house
            .comment_now()
            .starts_with("**Not tested**, and not because of the recipe: the registry answered toomanyrequests\n")
    );
    assert_eq!(house.forge.last_status('a').unwrap().state.as_str(), "error");
}

#[tokio::test]
async fn the_loop_sends_what_is_written_and_mends_what_was_left_at_its_start() {
    let mut house = House::open(|forge| forge.pull_request("keycloak", 'a')).await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    let House { forge, store, report, .. } = house;
    store.write("loses rows", |tx| Ok(tx.execute("delete from outbox", []).map(drop)?)).await.unwrap();
    let mut changes = store.changes();
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(super::run(report, shutdown.clone()));
    let posted = async {
        while forge.heard("keycloak").is_empty() || forge.last_status('a').is_none() {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), posted).await.expect("nothing was mended");
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}

mod document;

mod texts {
    //! Whatever stands in the database, the comment is what it should be.

    use proptest::prelude::*;
    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;
    use crate::clock::Time;
    use crate::intake::command::Command;
    use crate::model::{Asked, CheckState, Origin, StageName, StageState};
    use crate::report::card::{Behind, Card, Place};
    use crate::report::comment::render;
    use crate::report::status;
    use crate::store::runs::Run;
    use crate::store::stages::{Check, Stage};

    fn text() -> impl Strategy<Value = String> {
        "(\\PC|[`*_<>\\[\\]()!@#|~&\\\\:/. \n\t-]|@admin|#12|!testme|</details>|https://x){0,40}"
    }

    fn card() -> impl Strategy<Value = Card> {
        let outcome = prop_oneof![Just(None), proptest::sample::select(Outcome::ALL).prop_map(Some)];
        let stage = (proptest::sample::select(StageState::ALL), text());
        let stages = proptest::collection::vec(stage, 0..7);
        (outcome, any::<bool>(), (text(), text(), text(), text()), stages, proptest::collection::vec(text(), 0..9))
            .prop_map(|(outcome, started, (recipe, version, reason, who), stages, tail)| {
                let started_at = (started || outcome.is_some()).then_some(Time(60_000));
                Card {
                    place: started_at.is_none().then(|| Place {
                        number: 2,
                        behind: Some(Behind { name: reason.clone(), pr: Some(Pr(1)), started_at: None, usually: None }),
                    }),
                    has_picture: started,
                    checks: vec![Check {
                        stage: StageName::Checks,
                        name: reason.clone(),
                        state: CheckState::Failed,
                        expected: Some(who.clone()),
                        got: Some(version.clone()),
                        took: None,
                    }],
                    stages: (0_i64..)
                        .zip(stages)
                        .map(|(ordinal, (state, reason))| Stage {
                            ordinal,
                            name: StageName::ALL[usize::try_from(ordinal).unwrap()],
                            state,
                            reason: Some(reason),
                            started_at: Some(Time(60_000)),
                            finished_at: state.is_final().then_some(Time(61_000)),
                            waited: Duration::ZERO,
                        })
                        .collect(),
                    usually: None,
                    tail,
                    run: Run {
                        id: RunId(7),
                        origin: Origin::Comment,
                        repository: Some(RepoId(1)),
                        repo_name: "recipes/keycloak".into(),
                        recipe,
                        pr: Some(Pr(1)),
                        head: head('a'),
                        base_branch: None,
                        title: reason.clone(),
                        comment: None,
                        asked_by: who.clone(),
                        asked: Asked::All,
                        upgrade_from: None,
                        plan: None,
                        attempt: 2,
                        retry_of: None,
                        superseded_by: Some(RunId(8)),
                        queued_at: Time(1000),
                        started_at,
                        finished_at: outcome.map(|_| Time(90_000)),
                        outcome,
                        waits_for: started_at.is_none().then(|| reason.clone()),
                        level: Some(2),
                        level_reason: Some(reason.clone()),
                        reason: Some(reason),
                        version: Some(version),
                        domain: None,
                        base: None,
                        cancel_at: None,
                        cancel_by: Some(who.clone()),
                        unredactable: Some(who),
                        not_before: None,
                    },
                }
            })
    }

    proptest! {
        #[test]
        fn nothing_from_outside_is_alive(card in card()) {
            let body = render(&card, "https://ci.example.org");
            let first = body.lines().next().unwrap_or_default();
            prop_assert!(first.starts_with("**"), "{first}");
            let is_broken = matches!(card.run.outcome, Some(Outcome::Failed | Outcome::TimedOut | Outcome::Infra));
            prop_assert!(!is_broken || first.chars().count() <= FIRST_LINE, "{first}");
            prop_assert_eq!(Command::find(&body), None);
            let (mut in_block, mut pictures) = (false, 0);
            for event in Parser::new_ext(&body, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM) {
                match event {
                    Event::Start(Tag::CodeBlock(_)) => in_block = true,
                    Event::End(pulldown_cmark::TagEnd::CodeBlock) => in_block = false,
                    Event::Text(text) if !in_block => {
                        for alive in ["@a", "#12", "!12", "https://"] {
                            prop_assert!(!text.contains(alive), "{text:?} in {body}");
                        }
                    }
                    Event::Start(Tag::Link { dest_url, .. }) => {
                        prop_assert!(dest_url.starts_with("https://ci.example.org/runs/"), "{dest_url}");
                    }
                    Event::Html(html) | Event::InlineHtml(html) => {
                        let tags = ["<details>", "</details>", "<summary>"];
                        prop_assert!(tags.iter().any(|tag| html.starts_with(tag)), "{html:?} in {body}");
                    }
                    Event::Start(Tag::Image { dest_url, .. }) => {
                        prop_assert_eq!(dest_url.as_ref(), "https://ci.example.org/runs/7/evidence/front-page.png");
                        pictures += 1;
                    }
                    Event::Start(Tag::Heading { .. } | Tag::BlockQuote(_)) => {
                        prop_assert!(false, "structure from outside in {body}");
                    }
                    _ => {}
                }
            }
            prop_assert!(pictures <= usize::from(card.has_picture), "{pictures} pictures in {body}");
            let status = status::render(&card, "cc-ci/test", "https://ci.example.org");
            prop_assert!(status.description.chars().count() <= 140 && !status.description.contains('\n'));
        }
    }
}
