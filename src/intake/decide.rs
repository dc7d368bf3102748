//! What becomes of a comment in which something was asked.
//!
//! The comment was stored before; here it is decided once. The decision, the run it leads to and what the forge is to hear of
//! it are one transaction, so a crash leaves either all of it or a comment that is decided at the next start. A comment whose
//! answer hangs on a forge that cannot say yet stays undecided and is looked at again.

use std::time::Duration;

use super::answer::{self, Refusal};
use super::authorise::{self, Asked};
use super::command::{Command, Test};
use super::{Intake, Trouble};
use crate::alarms::Alarm;
use crate::clock::Time;
use crate::config;
use crate::engine::run;
use crate::forge::{Forge, ForgeError, PullRequest, Push};
use crate::model::{CommentId, Origin, Outcome, Pr, RunId, Verdict};
use crate::report;
use crate::store::comments::{self, Seen};
use crate::store::outbox::{self, Report};
use crate::store::runs::{self, NewRun, Run};
use crate::store::{StoreError, Transaction, repositories, turns};

/// So often an unclear answer of the forge is looked at again before the request is refused.
const LOOKS: i64 = 5;

/// Runs of a pull request that are looked at: more were never open at once, and an older green one is old.
const RUNS: u32 = 50;

/// Whoever stands further back in the queue is not told where.
const PLACES: usize = 1000;

/// Over which requests on one pull request are counted.
const QUOTA_SPAN: Duration = Duration::from_secs(3600);

/// Why a comment is not decided yet.
#[derive(Debug)]
pub(super) enum NotYet {
    /// The forge's timeline is behind; look again soon.
    Behind,
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for NotYet {
    fn from(trouble: T) -> NotYet {
        NotYet::Trouble(trouble.into())
    }
}

impl<F: Forge> Intake<F> {
    /// Decides one stored comment.
    pub(super) async fn decide(&self, seen: &Seen, asked: &mut Asked) -> Result<(), NotYet> {
        let command = seen.command.as_deref().and_then(Command::read);
        let (Some(command), Some(pr)) = (command, seen.pr) else {
            return Ok(self.settle(seen, Verdict::Ignored, "asks for nothing".into(), None).await?);
        };
        match command {
            Command::Help => self.reply(seen, "told what can be asked", answer::help(&self.rule)).await,
            Command::Unknown(words) => {
                self.reply(seen, "told that these words mean nothing", answer::unknown(&words)).await
            }
            Command::Status => self.tell_status(seen, pr).await,
            Command::Cancel => match self.check_author(seen, asked).await? {
                Some(refusal) => self.refuse(seen, pr, &refusal).await,
                None => self.cancel(seen, pr).await,
            },
            Command::Test(test) => match self.check_author(seen, asked).await? {
                Some(refusal) => self.refuse(seen, pr, &refusal).await,
                None => self.test(seen, pr, test).await,
            },
        }
    }

    async fn check_author(&self, seen: &Seen, asked: &mut Asked) -> Result<Option<Refusal>, NotYet> {
        match authorise::may_ask(&*self.forge, &self.rule, &seen.author, asked).await {
            Ok(may) => {
                self.alarms.clear(Alarm::BotRights);
                let organisation = self.rule.organisation.to_string();
                Ok((!may).then(|| Refusal::NotAMember { author: seen.author.clone(), organisation }))
            }
            Err(error) => self.no_answer(seen, error).await.map(Some),
        }
    }

    /// What an error of the forge means for the one who asked: a refusal, or that nothing is decided yet.
    async fn no_answer(&self, seen: &Seen, error: ForgeError) -> Result<Refusal, NotYet> {
        match &error {
            ForgeError::Later { .. } | ForgeError::Unauthorised(_) => Err(error.into()),
            ForgeError::Misconfigured(why) | ForgeError::Forbidden(why) => {
                self.alarms.raise(Alarm::BotRights, error.to_string(), self.clock.now());
                Ok(Refusal::CannotCheck(why.clone()))
            }
            ForgeError::NotFound(_) | ForgeError::Archived(_) => Ok(Refusal::Gone),
            ForgeError::Odd(why) => self.look_again_or(seen, Refusal::CannotCheck(why.clone())).await,
        }
    }

    /// Not enough to decide: look again, but not for ever.
    async fn look_again_or(&self, seen: &Seen, refusal: Refusal) -> Result<Refusal, NotYet> {
        let id = seen.id;
        let looks = self.store.write("counts a look", move |tx| comments::look_again(tx, id)).await?;
        if looks < LOOKS { Err(NotYet::Behind) } else { Ok(refusal) }
    }

    /// Pins the head, makes sure that it is the one the member saw, and queues the run.
    async fn test(&self, seen: &Seen, pr: Pr, test: Test) -> Result<(), NotYet> {
        let id = seen.repository;
        let Some(repository) = self.store.read(move |db| repositories::by_id(db, id)).await? else {
            return Ok(self.settle(seen, Verdict::Ignored, "its repository is not known".into(), None).await?);
        };
        let pull = match self.forge.pull_request(&repository.repo, pr).await {
            Ok(pull) => pull,
            Err(error) => {
                let refusal = self.no_answer(seen, error).await?;
                return self.refuse(seen, pr, &refusal).await;
            }
        };
        if !pull.open {
            let refusal = if pull.merged { Refusal::Merged } else { Refusal::Closed };
            return self.refuse(seen, pr, &refusal).await;
        }
        // Pinned first, then compared with what was pushed: a push in between shows as one after the comment.
        let pushes = match self.forge.pushes(&repository.repo, pr).await {
            Ok(pushes) => pushes,
            Err(ForgeError::NotFound(_)) => Vec::new(),
            Err(error) => {
                let refusal = self.no_answer(seen, error).await?;
                return self.refuse(seen, pr, &refusal).await;
            }
        };
        match head_at(seen.id, &pull, &pushes) {
            HeadAt::AsAsked => self.accept(seen, pr, test, pull, repository).await,
            HeadAt::Moved => self.refuse(seen, pr, &Refusal::HeadMoved(pull.head)).await,
            HeadAt::Unclear => {
                let refusal = self.look_again_or(seen, Refusal::HeadUnclear(pull.head)).await?;
                self.refuse(seen, pr, &refusal).await
            }
        }
    }

    async fn accept(
        &self,
        seen: &Seen,
        pr: Pr,
        test: Test,
        pull: PullRequest,
        repository: repositories::Repository,
    ) -> Result<(), NotYet> {
        let (seen, address, now) = (seen.clone(), self.address.clone(), self.clock.now());
        let rule = self.rule.clone();
        let queued = self
            .store
            .write("queues a run", move |tx| {
                let recent = runs::of_pr(tx, seen.repository, pr, RUNS)?;
                if let Some((reason, reply)) = known_already(&recent, &test, &pull, &address) {
                    decide(tx, &seen, Verdict::Answered, &reason, None, now)?;
                    match reply {
                        Some(reply) => say(tx, &seen, pr, reply, now)?,
                        None => {
                            outbox::push(tx, &Report::Reaction { comment: seen.id }, seen.repository, pr, now)?;
                        }
                    }
                    return Ok(false);
                }
                if let Some(refusal) = over_quota(tx, &rule.quota, &recent, &seen.author, now)? {
                    decide(tx, &seen, Verdict::Refused, &refusal.to_string(), None, now)?;
                    if let Some(reply) = refusal.reply(&rule) {
                        say(tx, &seen, pr, reply, now)?;
                    }
                    return Ok(false);
                }
                outbox::push(tx, &Report::Reaction { comment: seen.id }, seen.repository, pr, now)?;
                let new = new_run(&seen, pr, &test, pull, repository);
                let run = run::queue(tx, &new, now)?;
                make_room(tx, &recent, &new, run, now)?;
                decide(tx, &seen, Verdict::Accepted, &format!("queued as run {run}"), Some(run), now)?;
                report::refresh_waiting(tx, now)?;
                Ok(true)
            })
            .await?;
        if queued {
            self.runner.ring();
        }
        Ok(())
    }

    async fn cancel(&self, seen: &Seen, pr: Pr) -> Result<(), NotYet> {
        let (seen, address, now) = (seen.clone(), self.address.clone(), self.clock.now());
        self.store
            .write("cancels runs", move |tx| {
                let (mut waiting, mut running) = (Vec::new(), Vec::new());
                for run in runs::of_pr(tx, seen.repository, pr, RUNS)?.iter().filter(|run| run.outcome.is_none()) {
                    run::ask_cancel(tx, run.id, &seen.author, now)?;
                    let ended = if run.started_at.is_some() { &mut running } else { &mut waiting };
                    ended.push(run.id);
                }
                let reason = match waiting.len() + running.len() {
                    0 => "nothing to cancel".to_owned(),
                    1 => "cancelled one run".to_owned(),
                    count => format!("cancelled {count} runs"),
                };
                decide(tx, &seen, Verdict::Answered, &reason, None, now)?;
                say(tx, &seen, pr, answer::cancelled(&waiting, &running, &address), now)?;
                report::refresh_waiting(tx, now)
            })
            .await?;
        self.runner.ring();
        Ok(())
    }

    async fn tell_status(&self, seen: &Seen, pr: Pr) -> Result<(), NotYet> {
        let (seen, address, now) = (seen.clone(), self.address.clone(), self.clock.now());
        self.store
            .write("answers a question", move |tx| {
                let places = turns::places(tx, PLACES)?;
                let place = |id| places.iter().position(|run| *run == id).map(|index| index + 1);
                let recent = runs::of_pr(tx, seen.repository, pr, 5)?;
                decide(tx, &seen, Verdict::Answered, "told how it stands", None, now)?;
                say(tx, &seen, pr, answer::status(&recent, place, &address), now)
            })
            .await?;
        Ok(())
    }

    async fn reply(&self, seen: &Seen, reason: &'static str, words: String) -> Result<(), NotYet> {
        Ok(self.settle(seen, Verdict::Answered, reason.into(), Some(words)).await?)
    }

    /// Refuses, and says so; a stranger is told once on each pull request.
    async fn refuse(&self, seen: &Seen, pr: Pr, refusal: &Refusal) -> Result<(), NotYet> {
        let mut reply = refusal.reply(&self.rule);
        if let Refusal::NotAMember { author, .. } = refusal {
            let (repository, author) = (seen.repository, author.clone());
            if self.store.read(move |db| comments::was_refused(db, repository, pr, &author)).await? {
                reply = None;
            }
        }
        Ok(self.settle(seen, Verdict::Refused, refusal.to_string(), reply).await?)
    }

    async fn settle(
        &self,
        seen: &Seen,
        verdict: Verdict,
        reason: String,
        reply: Option<String>,
    ) -> Result<(), StoreError> {
        let (seen, now) = (seen.clone(), self.clock.now());
        self.store
            .write("decides a comment", move |tx| {
                decide(tx, &seen, verdict, &reason, None, now)?;
                match (reply, seen.pr) {
                    (Some(reply), Some(pr)) => say(tx, &seen, pr, reply, now),
                    _ => Ok(()),
                }
            })
            .await
    }
}

/// Which commit the pull request was at when the comment was written, by the order of the forge's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeadAt {
    /// The one that is pinned.
    AsAsked,
    /// Another: there was a push since.
    Moved,
    /// The timeline does not name the pinned commit, or not yet.
    Unclear,
}

fn head_at(comment: CommentId, pull: &PullRequest, pushes: &[Push]) -> HeadAt {
    if pushes.iter().any(|push| push.id > comment.0) {
        return HeadAt::Moved;
    }
    let newest = pushes.iter().max_by_key(|push| push.id);
    match newest.and_then(|push| push.commits.last()) {
        Some(commit) if commit == pull.head.as_str() => HeadAt::AsAsked,
        _ => HeadAt::Unclear,
    }
}

/// The same head passed, is running or waits for its turn, and nobody insists: the decision's reason and the answer. What waits
/// needs no words beside its own comment; one that pauses before it is tried again gives way to whoever asks now.
fn known_already(recent: &[Run], test: &Test, pull: &PullRequest, address: &str) -> Option<(String, Option<String>)> {
    if test.again || test.from.is_some() {
        return None;
    }
    let same = |run: &&Run| run.head == pull.head && (run.asked == test.asked || run.asked == crate::model::Asked::All);
    if let Some(run) = recent.iter().filter(same).find(|run| run.outcome.is_none() && run.started_at.is_some()) {
        return (run.cancel_at.is_none())
            .then(|| (format!("run {} is testing this head", run.id), Some(answer::runs_already(run, address))));
    }
    let waits = |run: &&Run| {
        run.outcome.is_none() && run.cancel_at.is_none() && run.not_before.is_none() && run.asked == test.asked
    };
    if let Some(run) = recent.iter().filter(same).find(waits) {
        return Some((format!("run {} waits to test this head", run.id), None));
    }
    let verdict = |run: &&Run| matches!(run.outcome, Some(Outcome::Passed | Outcome::Failed | Outcome::TimedOut));
    let run = recent.iter().filter(same).find(verdict)?;
    (run.outcome == Some(Outcome::Passed))
        .then(|| (format!("this head passed in run {}", run.id), Some(answer::passed_already(run, address))))
}

/// Somebody asks for more than his share. What a newer request replaces does not count as waiting.
fn over_quota(
    tx: &Transaction,
    quota: &config::Quota,
    recent: &[Run],
    author: &str,
    now: Time,
) -> Result<Option<Refusal>, StoreError> {
    let asked = recent.iter().filter(|run| run.attempt == 1 && run.queued_at > now.minus(QUOTA_SPAN)).count();
    if asked >= quota.pull_request as usize {
        return Ok(Some(Refusal::PullRequestQuota(quota.pull_request)));
    }
    let replaced = recent.iter().filter(|run| run.outcome.is_none() && run.started_at.is_none()).count();
    let waiting = turns::waiting_of(tx, author)? - i64::try_from(replaced).unwrap_or(0);
    Ok((waiting >= i64::from(quota.member)).then(|| Refusal::MemberQuota(author.to_owned(), quota.member)))
}

/// A newer request on the same pull request: what waits gives way to it, what runs only if it tests another head.
fn make_room(tx: &Transaction, recent: &[Run], newer: &NewRun, by: RunId, now: Time) -> Result<(), StoreError> {
    for old in recent.iter().filter(|old| old.outcome.is_none()) {
        if old.started_at.is_none() || old.head != newer.head {
            run::supersede(tx, old.id, by, now)?;
        }
    }
    Ok(())
}

fn new_run(seen: &Seen, pr: Pr, test: &Test, pull: PullRequest, repository: repositories::Repository) -> NewRun {
    NewRun {
        origin: Origin::Comment,
        repository: Some(seen.repository),
        repo_name: repository.repo.to_string(),
        recipe: repository.recipe.unwrap_or_else(|| repository.repo.name.to_string()),
        pr: Some(pr),
        head: pull.head,
        base_branch: Some(pull.base_branch),
        title: pull.title,
        comment: Some(seen.id),
        asked_by: seen.author.clone(),
        asked: test.asked,
        upgrade_from: test.from.as_ref().map(ToString::to_string),
        attempt: 1,
        retry_of: None,
    }
}

/// Writes the decision, or stops the transaction: somebody else decided this comment.
fn decide(
    tx: &Transaction,
    seen: &Seen,
    verdict: Verdict,
    reason: &str,
    run: Option<RunId>,
    now: Time,
) -> Result<(), StoreError> {
    if comments::decide(tx, seen.id, verdict, reason, run, now)? {
        Ok(())
    } else {
        Err(StoreError::Refused(format!("comment {} is decided already", seen.id)))
    }
}

fn say(tx: &Transaction, seen: &Seen, pr: Pr, body: String, now: Time) -> Result<(), StoreError> {
    outbox::push(tx, &Report::Reply { comment: seen.id, body }, seen.repository, pr, now)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Head;

    fn pull(head: &str) -> PullRequest {
        PullRequest {
            number: Pr(1),
            title: String::new(),
            open: true,
            merged: false,
            head: head.parse().unwrap(),
            base_branch: "main".into(),
            author: "member".into(),
            url: String::new(),
        }
    }

    fn commit(letter: char) -> String {
        letter.to_string().repeat(40)
    }

    fn push(id: i64, commits: &str) -> Push {
        Push { id, commits: commits.chars().map(commit).collect() }
    }

    #[test]
    fn the_order_of_numbers_says_what_the_member_saw() {
        let at = |head, pushes: &[Push]| head_at(CommentId(10), &pull(&commit(head)), pushes);
        assert_eq!(at('a', &[push(3, "a")]), HeadAt::AsAsked);
        assert_eq!(at('b', &[push(3, "a"), push(5, "ab")]), HeadAt::AsAsked);
        assert_eq!(at('b', &[push(3, "a"), push(11, "b")]), HeadAt::Moved);
        assert_eq!(at('a', &[push(3, "a"), push(11, "b")]), HeadAt::Moved);
        // The entry of the last push is late, or there is none.
        assert_eq!(at('b', &[push(3, "a")]), HeadAt::Unclear);
        assert_eq!(at('b', &[]), HeadAt::Unclear);
        // A forced push back to the start names the start last.
        assert_eq!(at('a', &[push(3, "a"), push(5, "ba")]), HeadAt::AsAsked);
        assert_eq!(at('b', &[push(3, "a"), push(5, "ba")]), HeadAt::Unclear);
    }

    proptest! {
        #[test]
        fn a_push_above_the_comment_is_never_accepted(ids in proptest::collection::vec(1_i64..40, 0..8), head in 0_usize..3) {
            let pushes: Vec<Push> = ids.iter().map(|&id| push(id, ["a", "b", "c"][usize::try_from(id).unwrap() % 3])).collect();
            let head: Head = commit(['a', 'b', 'c'][head]).parse().unwrap();
            let at = head_at(CommentId(20), &pull(head.as_str()), &pushes);
            if ids.iter().any(|&id| id > 20) {
                prop_assert_eq!(at, HeadAt::Moved);
            } else {
                prop_assert_ne!(at, HeadAt::Moved);
            }
        }
    }
}
