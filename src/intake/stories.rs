//! Somebody writes this on a pull request; that is what becomes of it.

use std::time::Duration;

use super::house::House;
use super::pretend::{BOT, MEMBER, STRANGER, later, repo};
use crate::alarms::Alarm;
use crate::clock::Time;
use crate::forge::ForgeError;
use crate::model::{Asked, CommentId, Outcome, Pr, RepoId, RunId, Verdict};
use crate::store::{comments, repositories};

async fn keycloak() -> House {
    House::open(|forge| forge.pull_request("keycloak", 'a')).await
}

async fn reason_of(house: &House, id: CommentId) -> String {
    house
        .store
        .read(move |db| Ok(db.query_row("select reason from comments where id = ?1", [id], |row| row.get(0))?))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_member_asks_and_the_head_is_queued_with_eyes_a_pending_status_and_a_comment() {
    let mut house = keycloak().await;
    let asked = house.forge.says("keycloak", MEMBER, "Nice.\n\n!testme");
    house.settle().await;
    let run = house.run_of("keycloak").await;
    assert_eq!((run.head.as_str(), run.asked, run.asked_by.as_str()), (&*"a".repeat(40), Asked::All, MEMBER));
    assert_eq!((run.comment, run.recipe.as_str(), run.title.as_str()), (Some(asked), "keycloak", "Upgrade keycloak"));
    assert_eq!(house.decision(asked).await, Some((Verdict::Accepted, format!("queued as run {}", run.id))));
    assert_eq!(house.forge.state().reactions, [asked]);
    assert_eq!(house.forge.last_status('a').unwrap().state.as_str(), "pending");
    let comment = house.comment_on("keycloak", 'a').unwrap();
    assert!(comment.starts_with("**Waiting** · keycloak at `aaaaaaaa` · asked by member · [run 1]("), "{comment}");
    let posted: Vec<&str> = house.forge.state().requests.iter().rev().take(4).rev().copied().collect();
    // Before a head's first comment it looks whether a process that died said it already.
    assert_eq!(posted, ["react", "set_status", "comments_of", "post_comment"]);
}

#[tokio::test]
async fn looking_again_never_makes_a_second_run() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", MEMBER, "!testme");
    for _ in 0..4 {
        house.settle().await;
    }
    let mut house = house.restart();
    house.settle().await;
    assert_eq!(house.run_of("keycloak").await.id, RunId(1));
    assert_eq!(house.forge.heard("keycloak").len(), 1);
}

#[tokio::test]
async fn a_stranger_is_refused_and_told_once_who_may_ask() {
    let mut house = keycloak().await;
    let first = house.forge.says("keycloak", STRANGER, "!testme");
    let second = house.forge.says("keycloak", STRANGER, "!testme upgrade");
    house.settle().await;
    for id in [first, second] {
        assert_eq!(house.decision(id).await, Some((Verdict::Refused, "not a member of recipes".into())));
    }
    let replies = house.replies("keycloak");
    assert_eq!(replies.len(), 1, "{replies:?}");
    assert!(replies[0].contains("`stranger` is not a member of `recipes`"), "{}", replies[0]);
    assert!(replies[0].contains("ask an owner of `recipes`") && !replies[0].contains('@'), "{}", replies[0]);
    assert!(house.open_runs().await.is_empty());
    assert!(house.forge.state().statuses.is_empty() && house.forge.state().reactions.is_empty());
}

#[tokio::test]
async fn nobody_has_more_waiting_than_his_share() {
    let names = ["keycloak", "ghost", "cryptpad"];
    let house = House::open(|forge| names.iter().for_each(|name| forge.pull_request(name, 'a'))).await;
    let mut house = house.restart_with(|rule| rule.quota.member = 2);
    house.poll().await;
    house.pass_time(5);
    let mut asked = Vec::new();
    for name in names {
        asked.push(house.forge.says(name, MEMBER, "!testme"));
        house.settle().await;
    }
    assert_eq!(house.open_runs().await.len(), 2);
    let reason = "member has 2 runs waiting, as many as one member may have".to_owned();
    assert_eq!(house.decision(asked[2]).await, Some((Verdict::Refused, reason)));
    assert!(house.replies("cryptpad")[0].contains("has 2 requests waiting already"));
    // What takes the place of one that waits is no more than there was.
    let again = house.forge.says("ghost", MEMBER, "!testme again");
    house.settle().await;
    assert_eq!(house.decision(again).await.unwrap().0, Verdict::Accepted);
}

#[tokio::test]
async fn one_pull_request_is_not_tested_without_end() {
    let mut house = keycloak().await.restart_with(|rule| rule.quota.pull_request = 2);
    house.poll().await;
    house.pass_time(5);
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        let asked = house.forge.says("keycloak", MEMBER, "!testme again");
        house.settle().await;
        verdicts.push(house.decision(asked).await.unwrap().0);
    }
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Accepted, Verdict::Refused]);
    house.pass_time(3601);
    let asked = house.forge.says("keycloak", MEMBER, "!testme again");
    house.settle().await;
    assert_eq!(house.decision(asked).await.unwrap().0, Verdict::Accepted);
}

#[tokio::test]
async fn whom_the_operator_allows_may_ask() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", "Helper", "!testme");
    house.settle().await;
    assert_eq!(house.open_runs().await.len(), 1);
    assert_eq!(house.forge.count("is_member"), 0);
}

#[tokio::test]
async fn what_only_talks_about_the_command_has_a_row_and_a_reason() {
    let mut house = keycloak().await;
    let code = house.forge.says("keycloak", MEMBER, "Write\n```\n!testme\n```\nto test.");
    let prose = house.forge.says("keycloak", MEMBER, "Looks good.");
    let long = house.forge.says("keycloak", MEMBER, &format!("{}\n\n!testme", "x".repeat(70_000)));
    let own = house.forge.says("keycloak", BOT, "!testme");
    let issue = house.forge.says_on("keycloak", None, MEMBER, "!testme");
    house.settle().await;
    assert_eq!(reason_of(&house, code).await, "names the command, but not as the first word of a plain line");
    assert_eq!(reason_of(&house, prose).await, "asks for nothing");
    assert_eq!(reason_of(&house, long).await, "asks for nothing in its first 64 KiB, and no more is read");
    assert_eq!(reason_of(&house, own).await, "cc-ci's own");
    assert_eq!(reason_of(&house, issue).await, "stands on an issue, not on a pull request");
    assert!(house.open_runs().await.is_empty() && house.unsent().await.is_empty());
    let told = house.store.read(|db| comments::decisions(db, None, 10)).await.unwrap();
    let told: Vec<i64> = told.iter().map(|decision| decision.comment.0).collect();
    for (comment, is_told) in [(code, true), (long, true), (issue, true), (prose, false), (own, false)] {
        assert_eq!(told.contains(&comment.0), is_told, "{comment:?}: {told:?}");
    }
}

#[tokio::test]
async fn an_edited_comment_is_never_a_request() {
    let mut house = keycloak().await;
    let before = house.forge.says("keycloak", MEMBER, "hello");
    house.pass_time(2);
    house.forge.edits(before, "!testme");
    let after = house.forge.says("keycloak", MEMBER, "hello again");
    house.settle().await;
    assert_eq!(reason_of(&house, before).await, "edited after it was written; a new comment can ask");
    house.forge.edits(after, "!testme");
    house.settle().await;
    assert_eq!(reason_of(&house, after).await, "asks for nothing");
    assert!(house.open_runs().await.is_empty());
}

#[tokio::test]
async fn a_push_after_the_comment_refuses_it_and_says_so() {
    let mut house = keycloak().await;
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.forge.push("keycloak", 'b');
    house.settle().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Refused));
    let reply = house.replies("keycloak").remove(0);
    assert!(reply.contains("pushed to after this was asked") && reply.contains("`bbbbbbbb`"), "{reply}");
    let again = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(again).await, Some(Verdict::Accepted));
    assert_eq!(house.run_of("keycloak").await.head.short(), "bbbbbbbb");
}

#[tokio::test]
async fn a_timeline_that_is_late_is_looked_at_again_soon() {
    let mut house = keycloak().await;
    house.forge.push("keycloak", 'b');
    house.forge.odd(|odd| odd.timeline_is_late = true);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    let next = house.poll().await;
    assert_eq!(house.verdict_on(asked).await, None);
    assert!(next.since(house.clock.now()) <= Duration::from_secs(3), "it comes again soon");
    house.forge.odd(|odd| odd.timeline_is_late = false);
    house.pass_time(3);
    house.turn().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn a_timeline_that_never_shows_the_head_refuses_in_the_end() {
    let mut house = keycloak().await;
    house.forge.push("keycloak", 'b');
    house.forge.odd(|odd| odd.timeline_is_late = true);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    for _ in 0..4 {
        house.settle().await;
    }
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Refused));
    assert!(house.replies("keycloak")[0].contains("does not say for certain that `bbbbbbbb` was there"));
}

#[tokio::test]
async fn a_closed_pull_request_is_not_tested() {
    let mut house = keycloak().await;
    house.forge.close("keycloak");
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.decision(asked).await, Some((Verdict::Refused, "the pull request is closed".into())));
    assert!(house.replies("keycloak")[0].contains("Reopen it"));
}

#[tokio::test]
async fn what_was_there_before_is_history() {
    let mut house = House::new();
    house.forge.pull_request("keycloak", 'a');
    let old = house.forge.says("keycloak", MEMBER, "!testme");
    house.pass_time(20);
    house.turn().await;
    house.settle().await;
    assert_eq!(house.decision(old).await.unwrap().1, "written before cc-ci first looked here");
    assert!(house.open_runs().await.is_empty());
}

#[tokio::test]
async fn a_repository_made_while_cc_ci_is_there_is_heard_from_its_first_comment_on() {
    let mut house = keycloak().await;
    house.forge.pull_request("cryptpad", 'c');
    let asked = house.forge.says("cryptpad", MEMBER, "!testme");
    house.poll().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn a_repository_that_was_listed_before_its_first_push_is_heard_from_its_first_comment_on() {
    let mut house = keycloak().await;
    house.forge.pull_request("cryptpad", 'c');
    house.forge.has_commits("cryptpad", false);
    house.pass_time(400);
    house.poll().await;
    let kept = house.store.read(|db| repositories::by_name(db, &repo("cryptpad"))).await.unwrap().unwrap();
    assert_eq!((kept.enrolled, kept.why.as_str()), (false, "it is empty"));
    house.forge.has_commits("cryptpad", true);
    let asked = house.forge.says("cryptpad", MEMBER, "!testme");
    house.poll().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn a_repository_that_is_enrolled_later_begins_then() {
    let mut house = keycloak().await.restart_with(|rule| rule.enrol.except = vec!["keycloak".parse().unwrap()]);
    house.poll().await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    let kept = house.store.read(|db| repositories::by_name(db, &repo("keycloak"))).await.unwrap().unwrap();
    assert_eq!((kept.enrolled, kept.why.as_str()), (false, "`forge.enrol.except` names it"));
    let mut house = house.restart_with(|rule| rule.enrol.except.clear());
    house.settle().await;
    assert!(house.open_runs().await.is_empty(), "the week before it was enrolled is history");
    house.pass_time(5);
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.open_runs().await.len(), 1);
}

#[tokio::test]
async fn a_renamed_repository_stays_what_it_is() {
    let mut house = keycloak().await;
    {
        let mut state = house.forge.state();
        state.repositories[0].repo = repo("sso");
        state.pulls[0].0 = repo("sso");
        state.pushes[0].0 = repo("sso");
    }
    let asked = house.forge.says("sso", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
    assert_eq!(house.run_of("sso").await.repository, Some(RepoId(1)));
}

#[tokio::test]
async fn while_the_forge_cannot_say_who_is_a_member_nothing_is_decided() {
    let mut house = keycloak().await;
    house.forge.odd(|odd| odd.broken = vec![("is_member", later())]);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(asked).await, None);
    house.forge.odd(|odd| odd.broken.clear());
    house.settle().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn a_bot_that_may_not_ask_authorises_nobody_and_the_operator_is_told() {
    let mut house = keycloak().await;
    let why = ForgeError::Misconfigured("the bot is no member of recipes".into());
    house.forge.odd(|odd| odd.broken = vec![("is_member", why)]);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Refused));
    assert_eq!(house.alarms(), [Alarm::BotRights]);
    assert!(house.open_runs().await.is_empty());
    assert!(house.replies("keycloak")[0].contains("its account on this forge lacks a right"));
    house.forge.odd(|odd| odd.broken.clear());
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!((house.open_runs().await.len(), house.alarms()), (1, vec![]));
}

#[tokio::test]
async fn a_comment_that_was_stored_and_not_decided_is_decided_at_the_next_start() {
    let mut house = keycloak().await;
    house.forge.odd(|odd| odd.broken = vec![("pull_request", later())]);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    assert_eq!(house.store.read(|db| comments::undecided(db, CommentId(0), 9)).await.unwrap().len(), 1);
    // By the time it is up again, even the search would not name the repository any more.
    house.pass_time(3600);
    house.forge.odd(|odd| {
        odd.broken.clear();
        odd.search_is_blind = true;
    });
    let mut house = house.restart();
    house.turn().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn one_comment_that_cannot_be_decided_holds_up_no_other() {
    let mut house = House::open(|forge| {
        forge.pull_request("keycloak", 'a');
        forge.pull_request("cryptpad", 'c');
    })
    .await;
    // Its pull request is not there, so the forge's answer makes no sense to wait for.
    let lost = house.forge.says_on("keycloak", Some(Pr(7)), MEMBER, "!testme");
    let fine = house.forge.says("cryptpad", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(lost).await, Some(Verdict::Refused));
    assert_eq!(house.verdict_on(fine).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn help_and_unknown_words_are_answered() {
    let mut house = keycloak().await;
    let help = house.forge.says("keycloak", STRANGER, "!testme help");
    let unknown = house.forge.says("keycloak", MEMBER, "!testme please @admin");
    let nothing = house.forge.says("keycloak", MEMBER, "!testmexyz");
    house.settle().await;
    assert_eq!(house.verdict_on(help).await, Some(Verdict::Answered));
    assert_eq!(house.verdict_on(unknown).await, Some(Verdict::Answered));
    assert_eq!(house.verdict_on(nothing).await, Some(Verdict::Ignored));
    let replies = house.replies("keycloak");
    assert_eq!(replies.len(), 2);
    assert!(replies[0].contains("| `!testme upgrade` |"), "{}", replies[0]);
    assert!(replies[1].contains("`please @admin` means nothing here"), "{}", replies[1]);
}

#[tokio::test]
async fn status_says_what_waits_runs_and_ran() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", STRANGER, "!testme status");
    house.settle().await;
    assert!(house.replies("keycloak")[0].starts_with("**Nothing yet:**"));
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    house.forge.says("keycloak", STRANGER, "!testme status");
    house.settle().await;
    let reply = house.replies("keycloak").remove(1);
    assert!(
        reply.contains("[run 1](https://ci.example.org/runs/1) of `aaaaaaaa`: waiting, first in the queue"),
        "{reply}"
    );
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Failed, "the upgrade <b>lost</b> data").await;
    house.forge.says("keycloak", STRANGER, "!testme status");
    house.settle().await;
    let reply = house.replies("keycloak").remove(2);
    assert!(reply.contains("failed on 2 January 2026 at") && reply.contains("\\<b\\>lost"), "{reply}");
}

#[tokio::test]
async fn cancel_ends_what_waits_and_asks_what_runs_to_stop() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    let no = house.forge.says("keycloak", STRANGER, "!testme cancel");
    house.settle().await;
    assert_eq!(house.verdict_on(no).await, Some(Verdict::Refused));
    house.starts(RunId(1)).await;
    house.forge.says("keycloak", MEMBER, "!testme again");
    house.settle().await;
    house.forge.says("keycloak", MEMBER, "!testme cancel");
    house.settle().await;
    let (running, waiting) = (house.run(RunId(1)).await, house.run(RunId(2)).await);
    assert_eq!((running.outcome, running.cancel_by.as_deref()), (None, Some(MEMBER)));
    assert_eq!((waiting.outcome, waiting.reason.as_deref()), (Some(Outcome::Cancelled), Some("cancelled by member")));
    let reply = house.replies("keycloak").remove(1);
    assert!(reply.starts_with("**Cancelling:** [run 1]") && reply.contains("[run 2]"), "{reply}");
    house.ends(RunId(1), Outcome::Cancelled, "cancelled by member").await;
    house.forge.says("keycloak", MEMBER, "!testme cancel");
    house.settle().await;
    assert!(house.replies("keycloak")[2].starts_with("**Nothing to cancel:**"));
}

#[tokio::test]
async fn a_newer_request_takes_the_place_of_one_that_waits() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    house.forge.push("keycloak", 'b');
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    let old = house.run(RunId(1)).await;
    assert_eq!((old.outcome, old.superseded_by), (Some(Outcome::Superseded), Some(RunId(2))));
    let comment = house.comment_on("keycloak", 'a').unwrap();
    assert!(comment.starts_with("**Superseded**: replaced by run 2") && comment.contains("now [run 2]"), "{comment}");
    assert_eq!(house.forge.last_status('a').unwrap().state.as_str(), "error");
    assert!(house.comment_on("keycloak", 'b').unwrap().starts_with("**Waiting**"));
    // Of the same head there is one comment, and the newer run speaks.
    house.forge.says("keycloak", MEMBER, "!testme upgrade");
    house.settle().await;
    assert!(house.comment_on("keycloak", 'b').unwrap().contains("only upgrade"));
    assert_eq!(house.forge.last_status('b').unwrap().state.as_str(), "pending");
}

#[tokio::test]
async fn what_waits_already_is_not_queued_again() {
    let mut house = keycloak().await;
    let asked: Vec<_> = (0..5).map(|_| house.forge.says("keycloak", MEMBER, "!testme")).collect();
    house.settle().await;
    assert_eq!(house.open_runs().await.len(), 1);
    assert_eq!(reason_of(&house, asked[4]).await, "run 1 waits to test this head");
    assert_eq!(house.forge.state().reactions, asked);
    assert!(house.replies("keycloak").is_empty());
}

#[tokio::test]
async fn what_runs_is_stopped_only_for_another_head() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    house.starts(RunId(1)).await;
    let same = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(same).await, Some(Verdict::Answered));
    assert!(house.replies("keycloak")[0].starts_with("**Running already:** `aaaaaaaa`"));
    assert_eq!(house.run(RunId(1)).await.cancel_at, None);
    house.forge.push("keycloak", 'b');
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    let old = house.run(RunId(1)).await;
    assert!(old.cancel_at.is_some() && old.superseded_by == Some(RunId(2)) && old.outcome.is_none());
}

#[tokio::test]
async fn a_head_that_passed_is_tested_again_only_when_somebody_insists() {
    let mut house = keycloak().await;
    house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    house.starts(RunId(1)).await;
    house.ends(RunId(1), Outcome::Passed, "").await;
    for (comment, verdict) in
        [("!testme", Verdict::Answered), ("!testme upgrade", Verdict::Answered), ("!testme again", Verdict::Accepted)]
    {
        let id = house.forge.says("keycloak", MEMBER, comment);
        house.settle().await;
        assert_eq!(house.verdict_on(id).await, Some(verdict), "{comment}");
    }
    assert!(house.replies("keycloak")[0].contains("`!testme again` tests it once more"));
    // What failed may be asked for without insisting.
    house.starts(RunId(2)).await;
    house.ends(RunId(2), Outcome::Failed, "broken").await;
    let id = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(id).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn two_hundred_quiet_repositories_cost_one_request() {
    let mut house =
        House::open(|forge| (0..200).for_each(|number| forge.repository(&format!("recipe-{number}")))).await;
    // The first sweep goes in portions.
    for _ in 0..12 {
        house.pass_time(1);
        house.turn().await;
    }
    assert_eq!(house.forge.count("comments_since"), 200);
    house.forge.state().requests.clear();
    house.poll().await;
    assert_eq!(house.forge.state().requests, ["changed"]);
}

#[tokio::test]
async fn what_the_search_does_not_name_is_found_by_the_sweep() {
    let mut house = keycloak().await;
    house.forge.odd(|odd| odd.search_is_blind = true);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    assert_eq!(house.verdict_on(asked).await, None);
    house.pass_time(300);
    house.poll().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn a_forge_without_a_search_is_swept_at_each_poll() {
    for error in [ForgeError::NotFound("search".into()), ForgeError::Odd("400".into())] {
        let mut house = House::open(|forge| {
            forge.pull_request("keycloak", 'a');
            forge.odd(|odd| odd.broken = vec![("changed", error)]);
        })
        .await;
        let asked = house.forge.says("keycloak", MEMBER, "!testme");
        house.poll().await;
        assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
    }
}

#[tokio::test]
async fn a_hook_makes_the_look_earlier() {
    let mut house = keycloak().await;
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.forge.state().requests.clear();
    house.turn().await;
    assert_eq!(house.verdict_on(asked).await, None, "no poll is due");
    house.nudge.look_at(repo("keycloak"));
    house.nudge.look_at("other/thing".parse().unwrap());
    house.turn().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
    assert_eq!(house.forge.count("changed"), 0);
}

#[tokio::test]
async fn a_forge_that_is_down_is_asked_less_and_nothing_is_lost() {
    let mut house = keycloak().await;
    house.forge.odd(|odd| odd.down = Some(later()));
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    for _ in 0..60 {
        house.pass_time(5);
        house.turn().await;
    }
    assert_eq!(house.alarms(), [Alarm::ForgeSilent]);
    house.forge.state().requests.clear();
    for _ in 0..60 {
        house.pass_time(5);
        house.turn().await;
    }
    assert!(house.forge.state().requests.len() <= 3, "five minutes, {:?}", house.forge.state().requests);
    house.forge.odd(|odd| odd.down = None);
    house.pass_time(331);
    house.turn().await;
    assert_eq!((house.verdict_on(asked).await, house.alarms()), (Some(Verdict::Accepted), vec![]));
}

#[tokio::test]
async fn a_forge_that_asks_for_a_pause_gets_it() {
    let mut house = keycloak().await;
    let after = Some(Duration::from_secs(900));
    house.forge.odd(|odd| odd.down = Some(ForgeError::Later { why: "429".into(), after }));
    house.poll().await;
    house.forge.state().requests.clear();
    house.pass_time(890);
    house.nudge.look_at(repo("keycloak"));
    house.turn().await;
    assert_eq!(house.forge.state().requests, Vec::<&str>::new());
}

#[tokio::test]
async fn a_revoked_token_is_an_alarm_and_requests_wait() {
    let mut house = keycloak().await;
    house.forge.odd(|odd| odd.down = Some(ForgeError::Unauthorised("token".into())));
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    assert_eq!(house.alarms(), [Alarm::TokenRefused]);
    house.forge.odd(|odd| odd.down = None);
    house.poll().await;
    assert_eq!((house.verdict_on(asked).await, house.alarms()), (Some(Verdict::Accepted), vec![]));
}

#[tokio::test]
async fn an_organisation_that_cannot_be_read_is_an_alarm_with_the_reason() {
    let mut house = House::new();
    let why = || ForgeError::Forbidden("token needs read:organization".into());
    house.forge.odd(|odd| odd.broken = vec![("repositories", why())]);
    house.poll().await;
    assert!(house.alarms.lasting()[0].words.contains("recipes cannot be read"), "{:?}", house.alarms.lasting());
    assert!(house.alarms.lasting()[0].words.contains("read:organization"));
    house.forge.odd(|odd| odd.broken.clear());
    house.poll().await;
    assert!(house.alarms().is_empty());
}

#[tokio::test]
async fn a_forge_that_suddenly_lists_nothing_does_not_make_us_forget() {
    let mut house = keycloak().await;
    let kept = std::mem::take(&mut house.forge.state().repositories);
    house.pass_time(300);
    house.poll().await;
    assert_eq!(house.alarms(), [Alarm::Repositories]);
    house.forge.state().repositories = kept;
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.settle().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_hides_no_other() {
    let mut house = House::open(|forge| {
        forge.pull_request("keycloak", 'a');
        forge.pull_request("cryptpad", 'c');
    })
    .await;
    house.forge.odd(|odd| odd.broken = vec![("comments_since", ForgeError::NotFound("issues are off".into()))]);
    house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    let seen = house.store.read(|db| repositories::by_name(db, &repo("keycloak"))).await.unwrap().unwrap();
    assert!(seen.last_error.unwrap().contains("issues are off"));
    house.forge.odd(|odd| odd.broken.clear());
    house.poll().await;
    assert_eq!(house.open_runs().await.len(), 1, "the overlap brings it back");
}

#[tokio::test]
async fn ten_thousand_comments_are_stored_and_decided_once() {
    let mut house = keycloak().await;
    for number in 0..10_000 {
        let body = if number % 1000 == 0 { "!testme help" } else { "+1" };
        house.forge.says("keycloak", MEMBER, body);
    }
    house.forge.state().comments.last_mut().unwrap().1.body = "word ".repeat(2 << 20) + "\n\n!testme";
    house.poll().await;
    house.poll().await;
    let count = "select count(*), count(decision) from comments";
    let rows: (i64, i64) =
        house.store.read(|db| Ok(db.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))?)).await.unwrap();
    assert_eq!(rows, (10_000, 10_000));
    assert_eq!(house.decisions().await.len(), 11, "ten requests, and one that nobody read to its end");
    assert!(house.open_runs().await.is_empty());
}

#[tokio::test]
async fn a_flood_by_one_stranger_asks_once_who_that_is() {
    let mut house = keycloak().await;
    for _ in 0..50 {
        house.forge.says("keycloak", STRANGER, "!testme");
    }
    house.settle().await;
    assert_eq!((house.forge.count("is_member"), house.replies("keycloak").len()), (1, 1));
}

#[tokio::test]
async fn a_comment_dated_ahead_does_not_move_the_watermark_ahead() {
    let mut house = keycloak().await;
    let ahead = house.forge.says("keycloak", MEMBER, "from the future");
    let future = house.clock.now().plus(Duration::from_secs(1 << 30));
    house.forge.state().comments.iter_mut().for_each(|(_, comment)| {
        if comment.id == ahead {
            (comment.created_at, comment.updated_at) = (future, future);
        }
    });
    house.poll().await;
    house.pass_time(600);
    let asked = house.forge.says("keycloak", MEMBER, "!testme");
    house.poll().await;
    assert_eq!(house.verdict_on(asked).await, Some(Verdict::Accepted));
}

#[tokio::test]
async fn the_loop_looks_when_a_hook_calls_and_ends_when_told() {
    let clock = crate::clock::Clock::held(Time(1_767_323_045_000));
    let forge = super::pretend::Pretend::new(&clock);
    forge.pull_request("keycloak", 'a');
    let dir = tempfile::tempdir().unwrap();
    let store = crate::store::Store::open(&dir.path().join("cc-ci.db")).unwrap();
    let nudge = super::Nudge::default();
    let intake = super::Intake {
        forge: std::sync::Arc::new(forge.clone()),
        store: store.clone(),
        clock: clock.clone(),
        alarms: crate::alarms::Alarms::default(),
        rule: super::pretend::rule(),
        address: super::house::ADDRESS.into(),
        nudge: nudge.clone(),
        runner: crate::bell::Bell::of(dir.path().join("nobody")),
    };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(super::run(intake, shutdown.clone()));
    let mut changes = store.changes();
    let swept = async {
        while forge.count("comments_since") == 0 {
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), swept).await.unwrap();
    // Not long enough for a poll.
    clock.advance(Duration::from_secs(5));
    let asked = forge.says("keycloak", MEMBER, "!testme");
    nudge.look_at(repo("keycloak"));
    let decided = async {
        loop {
            let all = store.read(|db| comments::decisions(db, None, 9)).await.unwrap();
            if all.iter().any(|one| one.comment == asked && one.verdict == Verdict::Accepted) {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), decided).await.expect("the hook woke nobody");
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(20), task).await.unwrap().unwrap();
}
