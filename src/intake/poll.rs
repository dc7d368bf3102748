//! When to look where.
//!
//! A poll is one search over the organisation and then the comments of the repositories it names. A slower sweep looks at
//! every repository, for what a search that lags, lies or is not there did not name; it goes in portions, so that a poll
//! never waits for it. Only the forge's clock counts for what is new, and everything within the overlap is looked at again:
//! comments that are known by their number do not count twice, so looking too often is harmless and looking too late is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::command::{Command, WORD};
use super::{Intake, Patience, Trouble, enrol, jittered};
use crate::alarms::Alarm;
use crate::clock::Time;
use crate::forge::{Comment, Forge, ForgeError};
use crate::model::{Login, Repo, RepoId};
use crate::report::markdown::{flat, short};
use crate::store::comments::{self, Seen};
use crate::store::repositories::{self, Listed, Repository};

use super::breaker::Breaker;

/// Repositories that one portion of a sweep looks at.
const PORTION: u32 = 20;

/// Between two portions.
const PAUSE: Duration = Duration::from_secs(1);

/// Until a timeline that is behind is looked at again.
const SOON: Duration = Duration::from_secs(3);

/// Comments stored in one transaction: the writer is not held by a flood.
const AT_ONCE: usize = 500;

/// The moment up to which the search was read, by the forge's clock.
const SEARCHED: &str = "searched";
/// The moment of the last complete listing, by the forge's clock.
const LISTED: &str = "listed";

pub(super) struct Poller<F> {
    intake: Arc<Intake<F>>,
    breaker: Breaker,
    bot: Option<Login>,
    poll_at: Time,
    /// Every repository is looked at once after this moment; none yet: the first turn begins with a sweep.
    sweep: Option<Sweep>,
    /// Some servers have no search; it is tried anew with each listing.
    can_search: bool,
    /// Named by a search or a hook, and not answered for yet.
    owed: BTreeSet<RepoId>,
}

#[derive(Clone, Copy)]
struct Sweep {
    since: Time,
    finished: bool,
}

impl<F: Forge> Poller<F> {
    pub(super) fn new(intake: Arc<Intake<F>>) -> Poller<F> {
        Poller {
            intake,
            breaker: Breaker::default(),
            bot: None,
            poll_at: Time(0),
            sweep: None,
            can_search: true,
            owed: BTreeSet::new(),
        }
    }

    /// Does what is due and says when to come again.
    pub(super) async fn turn(&mut self) -> Time {
        let now = self.intake.clock.now();
        if let Some(until) = self.breaker.shut_until(now) {
            return until;
        }
        match self.round(now).await {
            Ok(next) => {
                self.breaker.went_well();
                self.intake.alarms.polled(self.intake.clock.now());
                self.intake.alarms.clear(Alarm::ForgeSilent);
                self.intake.alarms.clear(Alarm::TokenRefused);
                next
            }
            Err(trouble) => self.give_it_a_rest(&trouble, now),
        }
    }

    fn give_it_a_rest(&mut self, trouble: &Trouble, now: Time) -> Time {
        let alarms = &self.intake.alarms;
        let after = match trouble {
            Trouble::Forge(ForgeError::Later { after, .. }) => *after,
            _ => None,
        };
        let silent = self.breaker.failed(now, after);
        match trouble {
            Trouble::Store(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "intake could not use the database");
            }
            Trouble::Forge(ForgeError::Unauthorised(_)) => alarms.raise(Alarm::TokenRefused, trouble.to_string(), now),
            Trouble::Forge(ForgeError::Later { why, .. }) if silent => {
                let since = self.breaker.since().unwrap_or(now).rfc3339_seconds();
                tracing::debug!(why, "the forge is still silent");
                alarms.raise(Alarm::ForgeSilent, format!("the forge gives no answer since {since}"), now);
            }
            Trouble::Forge(error @ ForgeError::Later { .. }) => {
                tracing::warn!(%error, "the forge gave no answer; asking again");
            }
            Trouble::Forge(error) => {
                let words = format!("{} cannot be read: {error}", self.intake.rule.organisation);
                alarms.raise(Alarm::ForgeSilent, words, now);
            }
        }
        self.breaker.shut_until(now).unwrap_or(now)
    }

    async fn round(&mut self, now: Time) -> Result<Time, Trouble> {
        let bot = self.intake.whoami(&mut self.bot).await?;
        let sweep_every = if self.can_search { self.intake.rule.poll.sweep } else { self.intake.rule.poll.interval };
        if self.sweep.is_none_or(|sweep| sweep.finished && now >= sweep.since.plus(sweep_every)) {
            self.list(now).await?;
            self.sweep = Some(Sweep { since: now, finished: false });
        }
        self.heed_hooks(now).await?;
        if now >= self.poll_at {
            self.search(now).await?;
            self.intake.recheck_waiting().await?;
            self.poll_at = now.plus(jittered(self.intake.rule.poll.interval));
        }
        self.look_at_owed(&bot).await?;
        let behind = self.intake.decide_all().await?;
        self.sweep_some(&bot).await?;
        let behind = self.intake.decide_all().await? || behind;
        Ok(self.next(now, behind, sweep_every))
    }

    fn next(&self, now: Time, behind: bool, sweep_every: Duration) -> Time {
        let sweep =
            self.sweep.map(|sweep| if sweep.finished { sweep.since.plus(sweep_every) } else { now.plus(PAUSE) });
        let soon = behind.then(|| now.plus(SOON));
        [Some(self.poll_at), sweep, soon].into_iter().flatten().min().unwrap_or(now)
    }

    /// Asks for all repositories and lets the rule have its word on each.
    async fn list(&mut self, now: Time) -> Result<(), Trouble> {
        let intake = Arc::clone(&self.intake);
        if intake.forge.server_time().is_none() {
            intake.forge.version().await?;
        }
        // Before the listing: what is written while it is read counts as new.
        let asked_at = intake.forge_time();
        let found = intake.forge.repositories(&intake.rule.organisation).await?;
        let known = intake.store.read(repositories::all).await?;
        if found.is_empty() && known.iter().any(|repository| repository.enrolled) {
            let words = format!("the forge lists no repository of {} any more", intake.rule.organisation);
            intake.alarms.raise(Alarm::Repositories, words, now);
            return Ok(());
        }
        intake.alarms.clear(Alarm::Repositories);
        self.can_search = true;
        let rule = intake.rule.enrol.clone();
        intake
            .store
            .write("notes repositories", move |tx| {
                // What was not there at that second cannot have been written about before it; in it, it can.
                let absent_at = cursor(tx, LISTED)?.map(|listed_at| listed_at.minus(Duration::from_millis(1)));
                let unseen_since = absent_at.unwrap_or(asked_at);
                let empty: BTreeSet<RepoId> = known.iter().filter(|one| was_empty(one)).map(|one| one.id).collect();
                for repository in &found {
                    let word = enrol::word(&rule, repository);
                    let (id, repo) = (repository.id, &repository.repo);
                    let listed = Listed { id, repo, enrolled: word.enrolled, why: &word.why };
                    let enrolled_at = if empty.contains(&id) { unseen_since } else { asked_at };
                    repositories::see(tx, &listed, unseen_since, enrolled_at, now)?;
                }
                let ids: BTreeSet<RepoId> = found.iter().map(|repository| repository.id).collect();
                for gone in known.iter().filter(|one| one.enrolled && !ids.contains(&one.id)) {
                    repositories::left(tx, gone.id, "it is not among the organisation's repositories any more")?;
                }
                if cursor(tx, SEARCHED)?.is_none() {
                    repositories::set_cursor(tx, SEARCHED, &asked_at.0.to_string())?;
                }
                repositories::set_cursor(tx, LISTED, &asked_at.0.to_string())
            })
            .await?;
        Ok(())
    }

    /// Whatever a webhook named is owed a look, if it is one of ours.
    async fn heed_hooks(&mut self, now: Time) -> Result<(), Trouble> {
        let names = self.intake.nudge.take();
        if names.is_empty() {
            return Ok(());
        }
        let result = self.owe(names.clone(), now).await;
        if result.is_err() {
            for name in names {
                self.intake.nudge.look_at(name);
            }
        }
        result
    }

    /// One request for the whole organisation.
    async fn search(&mut self, now: Time) -> Result<(), Trouble> {
        if !self.can_search {
            return Ok(());
        }
        let intake = Arc::clone(&self.intake);
        let since = intake.store.read(|db| cursor(db, SEARCHED)).await?.unwrap_or_else(|| intake.forge_time());
        let asked_at = intake.forge_time();
        match intake.forge.changed(&intake.rule.organisation, since.minus(intake.rule.poll.overlap)).await {
            Ok(names) => {
                self.owe(names.into_iter().collect(), now).await?;
                // What is owed is remembered here, and by the sweep that begins at every start.
                let cursor = asked_at.max(since).0.to_string();
                intake.store.write("moves on", move |tx| repositories::set_cursor(tx, SEARCHED, &cursor)).await?;
                Ok(())
            }
            Err(error @ (ForgeError::Later { .. } | ForgeError::Unauthorised(_))) => Err(error.into()),
            Err(error) => {
                tracing::info!(%error, "this forge has no search; every repository is looked at instead");
                self.can_search = false;
                if let Some(sweep) = &mut self.sweep {
                    *sweep = Sweep { since: now, finished: false };
                }
                Ok(())
            }
        }
    }

    /// Notes whom a look is owed; a name nobody knows, or one that was empty, is a reason to list again.
    async fn owe(&mut self, names: BTreeSet<Repo>, now: Time) -> Result<(), Trouble> {
        let organisation = &self.intake.rule.organisation;
        let ours = |repo: &Repo| repo.owner.as_str().eq_ignore_ascii_case(organisation.as_str());
        let mut known = self.by_name().await?;
        let is_new = |name: &Repo| known.get(&key(name)).is_none_or(was_empty);
        if names.iter().any(|name| ours(name) && is_new(name)) {
            self.list(now).await?;
            known = self.by_name().await?;
        }
        let owed = names.iter().filter_map(|name| known.get(&key(name))).filter(|one| one.enrolled).map(|one| one.id);
        self.owed.extend(owed);
        Ok(())
    }

    async fn by_name(&self) -> Result<BTreeMap<String, Repository>, Trouble> {
        let all = self.intake.store.read(repositories::all).await?;
        Ok(all.into_iter().map(|one| (key(&one.repo), one)).collect())
    }

    async fn look_at_owed(&mut self, bot: &Login) -> Result<(), Trouble> {
        let mut patience = Patience::default();
        for id in self.owed.clone() {
            let Some(repository) = self.intake.store.read(move |db| repositories::by_id(db, id)).await? else {
                self.owed.remove(&id);
                continue;
            };
            if self.look_patiently(&repository, bot, &mut patience).await? {
                self.owed.remove(&id);
            }
        }
        patience.end()
    }

    async fn sweep_some(&mut self, bot: &Login) -> Result<(), Trouble> {
        let Some(Sweep { since, finished: false }) = self.sweep else { return Ok(()) };
        let portion = self.intake.store.read(move |db| repositories::unswept(db, since, PORTION)).await?;
        let finished = portion.len() < PORTION as usize;
        let mut patience = Patience::default();
        for repository in &portion {
            // Tried counts as swept; what was not answered stays owed.
            self.owed.insert(repository.id);
            if self.look_patiently(repository, bot, &mut patience).await? {
                self.owed.remove(&repository.id);
            }
        }
        self.sweep = Some(Sweep { since, finished });
        patience.end()
    }

    /// False: no answer yet, a look is still owed. `Err`: nobody gets an answer now.
    async fn look_patiently(
        &self,
        repository: &Repository,
        bot: &Login,
        patience: &mut Patience,
    ) -> Result<bool, Trouble> {
        let error = match self.intake.look(repository, bot).await {
            Ok(()) => {
                patience.answered();
                return Ok(true);
            }
            Err(Trouble::Forge(error)) => error,
            Err(trouble) => return Err(trouble),
        };
        let (id, words, now) = (repository.id, error.to_string(), self.intake.clock.now());
        self.intake.store.write("notes a failure", move |tx| repositories::look_failed(tx, id, &words, now)).await?;
        if matches!(error, ForgeError::Later { .. } | ForgeError::Unauthorised(_)) {
            patience.unanswered(error)?;
            return Ok(false);
        }
        // This one repository has a fault of its own; the next sweep tries again.
        if repository.last_error.is_none() {
            tracing::warn!(repository = %repository.repo, %error, "a repository's comments cannot be read");
        }
        patience.answered();
        Ok(true)
    }
}

impl<F: Forge> Intake<F> {
    /// Stores every comment of a repository that was not seen before.
    async fn look(&self, repository: &Repository, bot: &Login) -> Result<(), Trouble> {
        let since = repository.watermark.minus(self.rule.poll.overlap);
        let found = self.forge.comments_since(&repository.repo, since).await?;
        let now = self.clock.now();
        // A forge lets some people date comments ahead; the watermark never runs ahead of its clock.
        let newest = found.iter().map(|comment| comment.updated_at).max();
        let watermark = newest.unwrap_or(repository.watermark).min(self.forge_time()).max(repository.watermark);
        let (id, first_look_at, bot) = (repository.id, repository.first_look_at, bot.clone());
        let mut notes: Vec<Note> = tokio::task::spawn_blocking(move || {
            found.into_iter().map(|comment| note(comment, id, first_look_at, &bot)).collect()
        })
        .await
        .map_err(|_| ForgeError::Odd("a comment could not be read".into()))?;
        notes.sort_by_key(|note| note.seen.id);
        let mut notes = notes.into_iter().peekable();
        while notes.peek().is_some() {
            let some: Vec<Note> = notes.by_ref().take(AT_ONCE).collect();
            self.store
                .write("takes in comments", move |tx| some.iter().try_for_each(|note| store(tx, note, now)))
                .await?;
        }
        self.store.write("notes a look", move |tx| repositories::looked(tx, id, watermark, now)).await?;
        Ok(())
    }
}

/// A comment as it is stored; `settled` says why it can be no request, whoever wrote it.
struct Note {
    seen: Seen,
    settled: Option<&'static str>,
}

fn store(tx: &crate::store::Transaction, note: &Note, now: Time) -> Result<(), crate::store::StoreError> {
    match note.settled {
        Some(reason) => comments::insert_ignored(tx, &note.seen, reason, now)?,
        None => comments::insert(tx, &note.seen, now)?,
    };
    Ok(())
}

/// Forges tell a comment's time in whole seconds: one written just after the first look says the second of that look, and must
/// not be lost. One written just before it in the same second is heard too, which harms nobody.
fn whole_second(at: Time) -> Time {
    Time(at.0.div_euclid(1000) * 1000)
}

fn note(comment: Comment, repository: RepoId, first_look_at: Time, bot: &Login) -> Note {
    let own = comment.author.eq_ignore_ascii_case(bot.as_str());
    let command = if own { None } else { Command::find(&comment.body) };
    let named = !own && comment.body.contains(WORD);
    let settled = if own {
        Some("cc-ci's own")
    } else if command.is_none() && comment.body.len() > super::command::READ {
        Some("asks for nothing in its first 64 KiB, and no more is read")
    } else if command.is_none() && named {
        Some("names the command, but not as the first word of a plain line")
    } else if command.is_none() {
        Some("asks for nothing")
    } else if comment.pr.is_none() {
        Some("stands on an issue, not on a pull request")
    } else if comment.created_at < whole_second(first_look_at) {
        Some("written before cc-ci first looked here")
    } else if comment.updated_at != comment.created_at {
        Some("edited after it was written; a new comment can ask")
    } else {
        None
    };
    let first_line = comment.body.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let beginning: String = first_line.chars().take(1000).collect();
    let seen = Seen {
        id: comment.id,
        repository,
        pr: comment.pr,
        author: short(&flat(&comment.author), 100),
        excerpt: short(&flat(&beginning), 200),
        // The decision log tells also those who named it in vain.
        command: command.map(|command| command.to_string()).or_else(|| named.then(|| WORD.to_owned())),
        created_at: comment.created_at,
        updated_at: comment.updated_at,
        looks: 0,
    };
    Note { seen, settled }
}

fn cursor(db: &rusqlite::Connection, name: &str) -> Result<Option<Time>, crate::store::StoreError> {
    Ok(repositories::cursor(db, name)?.and_then(|value| value.parse().ok()).map(Time))
}

/// There was no commit in it when it was last listed.
fn was_empty(repository: &Repository) -> bool {
    !repository.enrolled && repository.why == enrol::EMPTY
}

/// Forges find names whatever their case.
fn key(repo: &Repo) -> String {
    repo.to_string().to_ascii_lowercase()
}
