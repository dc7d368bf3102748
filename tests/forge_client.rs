//! The client against the dev forge with each misbehaviour on: what real forges do, and what the client makes of it.

#[path = "support/forge.rs"]
mod forge;

use std::time::Duration;

use cc_ci::clock::{Clock, Time};
use cc_ci::forge::gitea::{Gitea, Patience};
use cc_ci::forge::{Forge, ForgeError, Push, Status, StatusState};
use cc_ci::model::{CommentId, Head, Pr};
use cc_ci::secrets::Secret;
use forge::*;
use serde_json::json;

const LONG_AGO: Time = Time(0);
const PR: Pr = Pr(1);

fn status() -> Status {
    Status {
        state: StatusState::Pending,
        context: "cc-ci/test".into(),
        target_url: "https://ci.example.org/runs/1".into(),
        description: "waiting".into(),
    }
}

#[tokio::test]
async fn the_ordinary_calls_tell_what_is_there() {
    let place = Place::open().await;
    let (gitea, repo) = (&place.gitea, repo());

    assert_eq!(gitea.version().await.unwrap(), "1.26.0");
    assert_eq!(gitea.whoami().await.unwrap().as_str(), BOT);
    let repositories = gitea.repositories(&login(ORG)).await.unwrap();
    assert_eq!(repositories.len(), 1);
    assert_eq!((&repositories[0].repo, repositories[0].default_branch.as_str()), (&repo, "main"));

    let pull = gitea.pull_request(&repo, PR).await.unwrap();
    assert!(pull.open && !pull.merged);
    assert_eq!(
        (pull.head.as_str(), pull.base_branch.as_str(), pull.author.as_str()),
        (place.head.as_str(), "main", MEMBER)
    );
    assert_eq!(pull.url, format!("{}/{REPO}/pulls/1", place.url));

    let id = gitea.post_comment(&repo, PR, "one").await.unwrap();
    gitea.edit_comment(&repo, id, "two").await.unwrap();
    let comment = gitea.comment(&repo, id).await.unwrap().unwrap();
    assert_eq!((comment.body.as_str(), comment.author.as_str(), comment.pr), ("two", BOT, Some(PR)));
    gitea.delete_comment(&repo, id).await.unwrap();
    gitea.delete_comment(&repo, id).await.unwrap();
    assert_eq!(gitea.comment(&repo, id).await.unwrap(), None);

    gitea.set_status(&repo, &place.head, &status()).await.unwrap();
    let there = [("for", "status"), ("repo", REPO), ("sha", place.head.as_str()), ("state", "pending")];
    place.remote.wait(&there, Duration::ZERO).await.unwrap();
    place.said_no_secret().await;
}

/// Rows 1, 3 and 4.
#[tokio::test]
async fn every_comment_comes_once_however_the_server_pages() {
    let place = Place::open().await;
    let ids = place.comments(70).await;
    // One client asked for the limit before it changed; the server cuts what it asks for without a word.
    let old_client = place.client();
    old_client.comments_since(&repo(), LONG_AGO).await.unwrap();
    for (switches, requests) in [
        (json!({}), 4),
        (json!({"max_response_items": 7}), 11),
        (json!({"total_count": "too-high"}), 11),
        (json!({"total_count": "missing"}), 11),
        (json!({"max_response_items": 50, "forgejo_paging": true}), 3),
        (json!({"same_page": true}), 2),
        (json!({"same_page": false, "null_items": true}), 3),
    ] {
        place.remote.switch(&switches).await.unwrap();
        let before = place.requests("").await;
        let gitea = if switches["max_response_items"] == 7 { &old_client } else { &place.client() };
        let found = gitea.comments_since(&repo(), LONG_AGO).await.unwrap();
        assert_eq!(found.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), ids, "{switches}");
        let asked = place.requests("").await - before;
        assert!(asked <= requests + 2, "{switches}: {asked} requests");
    }
}

/// Row 2.
#[tokio::test]
async fn the_comments_of_a_pull_request_are_one_request() {
    let place = Place::open().await;
    let ids = place.comments(70).await;
    let found = place.gitea.comments_of(&repo(), PR).await.unwrap();
    assert_eq!(found.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), ids);
    assert_eq!(place.requests("/issues/1/comments").await, 1);
}

/// Row 1a.
#[tokio::test]
async fn a_search_that_lies_costs_time_and_no_comment() {
    let place = Place::open().await;
    let org = login(ORG);
    let now = place.server_time().await;
    assert_eq!(place.gitea.changed(&org, now.minus(Duration::from_secs(120))).await.unwrap(), [repo()]);
    assert_eq!(place.gitea.changed(&org, now.plus(Duration::from_secs(60))).await.unwrap(), []);

    place.remote.switch(&json!({"search": "ignores-since"})).await.unwrap();
    assert_eq!(place.gitea.changed(&org, now.plus(Duration::from_secs(60))).await.unwrap(), [repo()]);

    place.remote.switch(&json!({"search": "lags", "skew_s": 10})).await.unwrap();
    let late = place.remote.comment(REPO, 1, MEMBER, "!testme").await.unwrap();
    assert_eq!(place.gitea.changed(&org, now.plus(Duration::from_secs(5))).await.unwrap(), []);
    for off in ["404", "400"] {
        place.remote.switch(&json!({"search": off})).await.unwrap();
        place.gitea.changed(&org, now).await.unwrap_err();
    }
    let sweep = place.gitea.comments_since(&repo(), now).await.unwrap();
    assert_eq!(sweep.last().unwrap().id, CommentId(late));

    place.remote.switch(&json!({"search": "works"})).await.unwrap();
    place.gitea.changed(&login("nobody-there"), now).await.unwrap_err();
}

/// Rows 5 and 6.
#[tokio::test]
async fn nulls_are_skipped_and_an_empty_repository_is_an_empty_list() {
    let place = Place::open().await;
    place.remote.switch(&json!({"null_items": true, "empty_is_404": true})).await.unwrap();
    place.remote.repo("recipes/empty").await.unwrap();
    let id = place.remote.comment(REPO, 1, MEMBER, "hello").await.unwrap();

    let repositories = place.gitea.repositories(&login(ORG)).await.unwrap();
    assert_eq!(repositories.iter().map(|found| found.empty).collect::<Vec<_>>(), [false, true]);
    assert_eq!(place.gitea.comments_since(&"recipes/empty".parse().unwrap(), LONG_AGO).await.unwrap(), []);
    assert_eq!(place.gitea.comments_of(&repo(), PR).await.unwrap()[0].id, CommentId(id));
    assert_eq!(place.gitea.pushes(&repo(), PR).await.unwrap().len(), 1);
    assert_eq!(place.gitea.changed(&login(ORG), LONG_AGO).await.unwrap(), [repo()]);
}

/// Row 5.
#[tokio::test]
async fn a_pull_request_outlives_its_fork() {
    let place = Place::open().await;
    let (pr, head) = place.pull_request_of_a_fork().await;
    place.remote.call(reqwest::Method::DELETE, "repos/mallory/custom-html", &json!({})).await.unwrap();

    let pull = place.gitea.pull_request(&repo(), Pr(pr)).await.unwrap();
    assert!(!pull.open && !pull.merged);
    assert_eq!(pull.head, head);
    let shape = place.remote.pull(REPO, pr).await.unwrap();
    assert!(shape["head"]["repo"].is_null() && shape["head"]["repo_id"] == -1, "{shape}");
}

/// Rows 7, 8 and 19.
#[tokio::test]
async fn only_a_clear_yes_is_a_member() {
    let place = Place::open().await;
    let org = login(ORG);
    assert_eq!(place.gitea.is_member(&org, &login(MEMBER)).await, Ok(true));
    assert_eq!(place.gitea.is_member(&org, &login(STRANGER)).await, Ok(false));
    assert_eq!(place.gitea.is_member(&org, &login("nobody-there")).await, Ok(false));

    for code in [303, 302] {
        place.remote.switch(&json!({"membership": code})).await.unwrap();
        let error = place.gitea.is_member(&org, &login(MEMBER)).await.unwrap_err();
        assert!(matches!(&error, ForgeError::Misconfigured(why) if why.contains("not a member of recipes")), "{error}");
    }
    place.remote.switch(&json!({"membership": null})).await.unwrap();
    place.remote.call(reqwest::Method::DELETE, "orgs/recipes/members/ci", &json!({})).await.unwrap();
    let error = place.gitea.is_member(&org, &login(MEMBER)).await.unwrap_err();
    assert!(matches!(error, ForgeError::Misconfigured(_)), "{error}");

    place.remote.fault(&json!({"path": "/members/", "do": {"answer": {"status": 200, "body": "{}"}}})).await.unwrap();
    assert_eq!(place.gitea.is_member(&org, &login(MEMBER)).await, Ok(false));
    assert_eq!(place.requests("collaborators").await, 0);
    assert_eq!(place.requests("public_members").await, 0);
}

/// Row 9.
#[tokio::test]
async fn a_status_says_why_it_could_not_be_set() {
    let place = Place::open().await;
    let gone: Head = "0123456789012345678901234567890123456789".parse().unwrap();
    let error = place.gitea.set_status(&repo(), &gone, &status()).await.unwrap_err();
    assert!(matches!(&error, ForgeError::NotFound(what) if what.contains(gone.as_str())), "{error}");

    let narrow = place.remote.user(BOT, &["write:issue", "read:repository"]).await.unwrap();
    let error = place.client_with(&narrow).set_status(&repo(), &place.head, &status()).await.unwrap_err();
    assert!(matches!(&error, ForgeError::Forbidden(why) if why.contains("write:repository")), "{error}");

    place.bot_may_only_read().await;
    let error = place.gitea.set_status(&repo(), &place.head, &status()).await.unwrap_err();
    assert!(matches!(error, ForgeError::Forbidden(_)), "{error}");

    // A 500 for a commit that is there is the server's own trouble.
    place.remote.fault(&json!({"path": "/statuses/", "do": {"answer": {"status": 500, "body": "{}"}}})).await.unwrap();
    let error = place.gitea.set_status(&repo(), &place.head, &status()).await.unwrap_err();
    assert!(matches!(error, ForgeError::Later { .. }), "{error}");
}

/// Row 10.
#[tokio::test]
async fn eyes_that_are_there_are_there() {
    let place = Place::open().await;
    let id = CommentId(place.remote.comment(REPO, 1, MEMBER, "!testme").await.unwrap());
    place.gitea.react(&repo(), id).await.unwrap();
    place.gitea.react(&repo(), id).await.unwrap();
    let there = [("for", "reaction"), ("comment", &id.to_string()), ("content", "eyes"), ("by", BOT)];
    assert_eq!(place.remote.wait(&there, Duration::ZERO).await.unwrap().as_array().unwrap().len(), 1);

    place.remote.switch(&json!({"no_reactions": true})).await.unwrap();
    assert!(matches!(place.gitea.react(&repo(), id).await, Err(ForgeError::Forbidden(_))));
    assert!(matches!(place.gitea.react(&repo(), CommentId(999)).await, Err(ForgeError::NotFound(_))));
}

/// Rows 11, 12 and 17.
#[tokio::test]
async fn the_clock_is_the_server_s() {
    let place = Place::open().await;
    assert_eq!(place.gitea.server_time(), None);
    place.remote.switch(&json!({"skew_s": -7200, "zone_minutes": 330})).await.unwrap();
    let first = place.remote.comment(REPO, 1, MEMBER, "first").await.unwrap();
    let comment = place.gitea.comment(&repo(), CommentId(first)).await.unwrap().unwrap();
    let skew = place.gitea.skew_ms().unwrap();
    assert!((-7_210_000..=-7_190_000).contains(&skew), "{skew}");
    assert!(place.gitea.server_time().unwrap().since(comment.created_at) < Duration::from_secs(10));
    assert_eq!(comment.created_at, comment.updated_at);

    // `since` is inclusive; a moment within the second is no error.
    let within = comment.created_at.plus(Duration::from_millis(999));
    assert_eq!(place.gitea.comments_since(&repo(), within).await.unwrap().len(), 1);

    // An edit brings an old comment back, and shows.
    place.remote.switch(&json!({"skew_s": -7100})).await.unwrap();
    let later = comment.created_at.plus(Duration::from_secs(60));
    assert_eq!(place.gitea.comments_since(&repo(), later).await.unwrap(), []);
    place.remote.edit_comment(first, "!testme").await.unwrap();
    let again = &place.gitea.comments_since(&repo(), later).await.unwrap()[0];
    assert_eq!(again.id, CommentId(first));
    assert!(again.updated_at > again.created_at);
    let statuses = place.remote.log(0, "", "").await.unwrap();
    assert!(statuses.iter().all(|entry| entry["status"] != 422));
}

/// Row 13.
#[tokio::test]
async fn a_comment_that_is_gone_is_not_found() {
    let place = Place::open().await;
    let id = place.gitea.post_comment(&repo(), PR, "waiting").await.unwrap();
    place.remote.delete_comment(id.0).await.unwrap();
    assert!(matches!(place.gitea.edit_comment(&repo(), id, "passed").await, Err(ForgeError::NotFound(_))));
    // Somebody else's would have been changed; who edits looks at the author first.
    let theirs = CommentId(place.remote.comment(REPO, 1, MEMBER, "mine").await.unwrap());
    assert_eq!(place.gitea.comment(&repo(), theirs).await.unwrap().unwrap().author, MEMBER);
    place.gitea.edit_comment(&repo(), theirs, "not yours any more").await.unwrap();
}

/// Row 14.
#[tokio::test]
async fn a_forge_in_trouble_is_asked_later() {
    let place = Place::open().await;
    let later = async |fault: serde_json::Value| {
        place.remote.mend().await.unwrap();
        place.remote.fault(&fault).await.unwrap();
        // Short only where nothing will come: a busy machine answers late.
        let is_silent = fault["do"] == "stall" || fault["do"]["slow"].is_number();
        let answer = Duration::from_millis(if is_silent { 300 } else { 30_000 });
        let patience = Patience { connect: Duration::from_secs(5), answer };
        let gitea = Gitea::with_patience(&place.url, place.token.clone(), Clock::system(), patience).unwrap();
        match gitea.pull_request(&repo(), PR).await {
            Err(ForgeError::Later { why, after }) => {
                assert!(!why.contains(place.token.expose()), "{why}");
                after
            }
            other => panic!("{fault}: {other:?}"),
        }
    };
    for code in [500, 502, 503, 504, 200] {
        assert_eq!(later(json!({"do": {"answer": {"status": code}}})).await, None);
    }
    let retry = |after: String| json!({"do": {"answer": {"status": 429, "headers": {"retry-after": after}}}});
    assert_eq!(later(json!({"do": {"answer": {"status": 429}}})).await, None);
    assert_eq!(later(retry("17".into())).await, Some(Duration::from_secs(17)));
    let at = Time(Clock::system().now().0 + 90_000).format("%a, %d %b %Y %H:%M:%S GMT");
    let wait = later(retry(at)).await.unwrap();
    assert!((80..=91).contains(&wait.as_secs()), "{wait:?}");
    for broken in [json!("stall"), json!("reset"), json!("reset-after"), json!({"slow": 60_000})] {
        assert_eq!(later(json!({"do": broken})).await, None);
    }
    // Nobody there at all.
    let nobody = Gitea::new("http://127.0.0.1:9", place.token.clone(), Clock::system()).unwrap();
    assert!(matches!(nobody.version().await, Err(ForgeError::Later { .. })));
}

/// Row 14: what was written before the connection broke is written; the client does not write it a second time.
#[tokio::test]
async fn a_comment_whose_answer_was_lost_is_there_once() {
    let place = Place::open().await;
    place.remote.fault(&json!({"method": "POST", "times": 1, "do": "reset-after"})).await.unwrap();
    let lost = place.gitea.post_comment(&repo(), PR, "waiting").await;
    assert!(matches!(lost, Err(ForgeError::Later { .. })), "{lost:?}");
    assert_eq!(place.gitea.comments_of(&repo(), PR).await.unwrap().len(), 1);
}

/// Row 15.
#[tokio::test]
async fn a_renamed_repository_is_found_under_its_old_name() {
    let place = Place::open().await;
    place.remote.change_repo(REPO, &json!({"name": "custom-html-2"})).await.unwrap();

    let id = place.gitea.post_comment(&repo(), PR, "to the old name").await.unwrap();
    assert_eq!(place.gitea.comments_since(&repo(), LONG_AGO).await.unwrap().len(), 1);
    assert_eq!(place.gitea.comment(&repo(), id).await.unwrap().unwrap().pr, Some(PR));
    place.gitea.set_status(&repo(), &place.head, &status()).await.unwrap();
    assert_eq!(place.gitea.pull_request(&repo(), PR).await.unwrap().head, place.head);
    let new = place.gitea.repositories(&login(ORG)).await.unwrap().remove(0);
    assert_eq!(new.repo.name.as_str(), "custom-html-2");
    assert_eq!(place.gitea.comments_since(&new.repo, LONG_AGO).await.unwrap().len(), 1);
}

#[tokio::test]
async fn no_other_redirect_is_followed() {
    let place = Place::open().await;
    let away = json!({"status": 302, "headers": {"location": "http://127.0.0.1:9/api/v1/user/login"}});
    place.remote.fault(&json!({"do": {"answer": away}})).await.unwrap();
    let error = place.gitea.post_comment(&repo(), PR, "hello").await.unwrap_err();
    assert!(matches!(&error, ForgeError::Misconfigured(why) if why.contains("forge.url")), "{error}");
    // One that leads back to itself is not followed for ever.
    place.remote.mend().await.unwrap();
    let around = json!({"status": 301, "headers": {"location": "/api/v1/repos/recipes/other/pulls/1"}});
    place.remote.fault(&json!({"do": {"answer": around}})).await.unwrap();
    let error = place.gitea.pull_request(&repo(), PR).await.unwrap_err();
    assert!(matches!(error, ForgeError::Misconfigured(_)), "{error}");
    assert_eq!(place.requests("/pulls/1").await, 2);
}

/// Row 16.
#[tokio::test]
async fn a_revoked_token_is_said_as_such() {
    let place = Place::open().await;
    place.remote.revoke(place.token.expose()).await.unwrap();
    let error = place.gitea.comments_since(&repo(), LONG_AGO).await.unwrap_err();
    assert!(matches!(error, ForgeError::Unauthorised(_)), "{error}");
    assert!(!error.to_string().contains(place.token.expose()));
    assert!(Gitea::new(&place.url, Secret::new("two\nlines"), Clock::system()).is_err());
}

/// Rows 18 and 22.
#[tokio::test]
async fn a_forge_below_a_path_that_believes_it_is_elsewhere() {
    let place = Place::open().await;
    place
        .remote
        .switch(&json!({"sub_path": "/code/git", "root_url": "https://git.example.org/pulls/9"}))
        .await
        .unwrap();
    let url = format!("{}/code/git/", place.url);
    let gitea = Gitea::new(&url, place.token.clone(), Clock::system()).unwrap();
    let ids = place.comments(40).await;
    place.remote.switch(&json!({"max_response_items": 20})).await.unwrap();
    let found = gitea.comments_since(&repo(), LONG_AGO).await.unwrap();
    assert_eq!(found.iter().map(|comment| comment.id.0).collect::<Vec<_>>(), ids);
    assert!(found.iter().all(|comment| comment.pr == Some(PR)));
    assert_eq!(gitea.pushes(&repo(), PR).await.unwrap().len(), 1);

    let issue = json!({"title": "A question", "author": MEMBER});
    place.remote.call(reqwest::Method::POST, "repos/recipes/custom-html/issues", &issue).await.unwrap();
    place.remote.comment(REPO, 2, MEMBER, "!testme").await.unwrap();
    assert_eq!(gitea.comments_of(&repo(), Pr(2)).await.unwrap()[0].pr, None);
    place.remote.change_repo(REPO, &json!({"name": "renamed"})).await.unwrap();
    assert_eq!(gitea.pull_request(&repo(), PR).await.unwrap().number, PR);
}

/// Row 20.
#[tokio::test]
async fn a_locked_and_an_archived_target_say_so() {
    let place = Place::open().await;
    place.bot_may_only_read().await;
    place.remote.change_pull(REPO, 1, &json!({"locked": true})).await.unwrap();
    let error = place.gitea.post_comment(&repo(), PR, "hello").await.unwrap_err();
    assert!(matches!(&error, ForgeError::Forbidden(why) if why.contains("locked")), "{error}");
    place.remote.change_repo(REPO, &json!({"archived": true})).await.unwrap();
    let error = place.gitea.post_comment(&repo(), PR, "hello").await.unwrap_err();
    assert!(matches!(error, ForgeError::Archived(_)), "{error}");
    assert!(place.gitea.repositories(&login(ORG)).await.unwrap()[0].archived);
}

/// Row 21.
#[tokio::test]
async fn pushes_and_comments_stand_in_the_order_they_came() {
    let place = Place::open().await;
    let opened = place.gitea.pushes(&repo(), PR).await.unwrap();
    assert_eq!(opened, [Push { id: opened[0].id, commits: vec![place.head.to_string()] }]);
    let comment = place.remote.comment(REPO, 1, MEMBER, "!testme").await.unwrap();
    assert!(opened[0].id < comment);

    let second = place.pushes("second").await;
    let forced =
        place.remote.commit(REPO, &json!({"branch": "change", "from": "main", "message": "third"})).await.unwrap();
    let pushes = place.gitea.pushes(&repo(), PR).await.unwrap();
    assert!(pushes[1].id > comment);
    assert_eq!(pushes[1].commits, [second.as_str()]);
    assert_eq!(pushes[2].commits, [second, forced.clone()]);
    assert_eq!(place.gitea.pull_request(&repo(), PR).await.unwrap().head.as_str(), forced);

    // Kept back, and then naming a head that came after the comment.
    place.remote.switch(&json!({"push_entries": "held-then-latest"})).await.unwrap();
    place.pushes("fourth").await;
    let comment = place.remote.comment(REPO, 1, MEMBER, "!testme").await.unwrap();
    assert_eq!(place.gitea.pushes(&repo(), PR).await.unwrap().len(), 3);
    let fifth = place.pushes("fifth").await;
    place.remote.switch(&json!({"push_entries": "now"})).await.unwrap();
    let pushes = place.gitea.pushes(&repo(), PR).await.unwrap();
    assert!(pushes[3].id > comment);
    assert_eq!(pushes[3].commits, [fifth.as_str()]);
    assert_eq!(pushes[4].commits, [fifth]);

    place.remote.change_pull(REPO, 1, &json!({"state": "merged"})).await.unwrap();
    let pull = place.gitea.pull_request(&repo(), PR).await.unwrap();
    assert!(!pull.open && pull.merged);
}

#[tokio::test]
async fn a_comment_of_ten_megabytes_does_not_hide_the_next_one() {
    let place = Place::open().await;
    let body = "y".repeat(10 << 20);
    place.remote.comment(REPO, 1, STRANGER, &body).await.unwrap();
    place.remote.comment(REPO, 1, MEMBER, "!testme").await.unwrap();
    let found = place.gitea.comments_since(&repo(), LONG_AGO).await.unwrap();
    assert!(body.starts_with(&found[0].body) && found[0].body.len() == 64 << 10);
    assert_eq!(found[1].body, "!testme");

    let list = format!("[{}]", vec![format!("\"{}\"", "z".repeat(60 << 10)); 150].join(","));
    place.remote.fault(&json!({"do": {"answer": {"status": 200, "body": list}}})).await.unwrap();
    let error = place.gitea.pull_request(&repo(), PR).await.unwrap_err();
    assert!(matches!(&error, ForgeError::Odd(why) if why.contains("8 MiB")), "{error}");
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_odd() {
    let place = Place::open().await;
    for body in ["", "{}", "[]", "{\"number\":1", "nonsense"] {
        place.remote.mend().await.unwrap();
        place.remote.fault(&json!({"do": {"answer": {"status": 200, "body": body}}})).await.unwrap();
        let error = place.gitea.pull_request(&repo(), PR).await.unwrap_err();
        assert!(matches!(error, ForgeError::Odd(_)), "{body}: {error}");
    }
}

#[tokio::test]
async fn no_more_than_four_requests_are_under_way() {
    let place = Place::open().await;
    place.remote.fault(&json!({"do": {"slow": 200}})).await.unwrap();
    let asked = (0..12).map(|_| place.gitea.version());
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(Result::is_ok));
    let most =
        place.remote.log(0, "", "/version").await.unwrap().iter().filter_map(|entry| entry["under_way"].as_u64()).max();
    assert_eq!(most, Some(4));
}
