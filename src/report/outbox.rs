//! Sends what stands in the outbox, oldest first on each pull request, until the forge has it.
//!
//! An attempt is noted before it begins. A crash, or a connection that broke, between the post and its mark leaves a row that
//! was tried: then the pull request's comments are read first, and what is there already, found by its unseen marker, is taken
//! for ours instead of posted twice. A pull request's rows go one after the other; a row that has to wait holds up no other.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::card::Card;
use super::{Report, comment, status};
use crate::alarms::Alarm;
use crate::clock::Time;
use crate::config::VerdictAs;
use crate::forge::{Comment, Forge, ForgeError};
use crate::intake::breaker::Breaker;
use crate::intake::jittered;
use crate::model::{CommentId, Login, Pr, Repo, RepoId, RunId};
use crate::store::outbox::{self, Due, Report as Row, Voice};
use crate::store::{StoreError, repositories};

/// Pull requests that are written to at a time.
const LANES: usize = 4;

/// Rows that are looked at to fill the lanes.
const AHEAD: u32 = 100;

const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Between two attempts with a token that is refused.
const TOKEN_PAUSE: Duration = Duration::from_secs(30);

/// After so many answers that make no sense a row is given up.
const ODD_ANSWERS: i64 = 8;

/// A status that the forge cannot take so often, though it answers otherwise, is for a commit it does not know.
const STATUS_ATTEMPTS: i64 = 3;

/// Why a run's report is given up before it is begun.
const NO_PLACE: &str = "its run has no pull request";

/// Runs until `shutdown`: sends what is due, then waits for more.
pub async fn run<F: Forge>(report: Report<F>, shutdown: CancellationToken) {
    let now = report.clock.now();
    if let Err(error) = report.store.write("mends reports", move |tx| super::mend(tx, now)).await {
        tracing::error!(error = &error as &dyn std::error::Error, "open runs could not be reported anew");
    }
    let mut changes = report.store.changes();
    let mut lanes = Lanes::default();
    loop {
        changes.borrow_and_update();
        let next = tokio::select! {
            () = shutdown.cancelled() => return,
            next = report.pass(&mut lanes) => next,
        };
        let now = report.clock.now();
        let rest = match next {
            Ok(Some(next)) => next.since(now),
            Ok(None) => Duration::from_secs(3600),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the outbox could not be read");
                Duration::from_secs(5)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            more = changes.changed() => if more.is_err() { return },
            () = tokio::time::sleep(rest) => {}
        }
    }
}

/// What is remembered between passes.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    breaker: Breaker,
    /// Nothing is sent until then.
    paused: Option<Time>,
    bot: Option<Login>,
}

/// How an attempt ended, for all the others.
enum Sent {
    Well,
    /// The forge did not answer; it may have said for how long.
    Unanswered(Option<Duration>),
    /// The token is refused: nothing can be sent.
    Refused,
}

impl<F: Forge> Report<F> {
    /// Sends until nothing is due; says when the next row is.
    pub(crate) async fn pass(&self, lanes: &mut Lanes) -> Result<Option<Time>, StoreError> {
        let mut changes = self.store.changes();
        let mut busy: HashSet<(RepoId, Pr)> = HashSet::new();
        let mut sending = FuturesUnordered::new();
        loop {
            let now = self.clock.now();
            let paused = lanes.paused.is_some_and(|until| until > now);
            if !paused && let Some(bot) = self.bot(lanes).await? {
                changes.borrow_and_update();
                let due = self.store.read(move |db| outbox::due(db, now, AHEAD)).await?;
                for row in due {
                    if busy.len() < LANES && busy.insert((row.repository, row.pr)) {
                        sending.push(self.send(row, bot.clone()));
                    }
                }
            }
            if sending.is_empty() {
                break;
            }
            tokio::select! {
                Some((lane, sent)) = sending.next() => {
                    busy.remove(&lane);
                    self.heed(lanes, sent?);
                }
                more = changes.changed() => if more.is_err() { break },
            }
        }
        let next = self.store.read(outbox::next_due).await?;
        Ok(next.map(|next| lanes.paused.map_or(next, |paused| next.max(paused))))
    }

    /// Who we are, asked once there is something to say.
    async fn bot(&self, lanes: &mut Lanes) -> Result<Option<Login>, StoreError> {
        if lanes.bot.is_none() && self.store.read(outbox::next_due).await?.is_some() {
            match self.forge.whoami().await {
                Ok(bot) => lanes.bot = Some(bot),
                Err(ForgeError::Unauthorised(_)) => self.heed(lanes, Sent::Refused),
                Err(ForgeError::Later { after, .. }) => {
                    self.heed(lanes, Sent::Unanswered(Some(after.unwrap_or(Duration::from_secs(5)))));
                }
                Err(error) => {
                    self.alarms.raise(
                        Alarm::BotRights,
                        format!("asking for the bot's name: {error}"),
                        self.clock.now(),
                    );
                    self.heed(lanes, Sent::Unanswered(Some(TOKEN_PAUSE)));
                }
            }
        }
        Ok(lanes.bot.clone())
    }

    fn heed(&self, lanes: &mut Lanes, sent: Sent) {
        let now = self.clock.now();
        match sent {
            Sent::Well => {
                lanes.breaker.went_well();
                self.alarms.clear(Alarm::TokenRefused);
            }
            Sent::Unanswered(after) => {
                if lanes.breaker.failed(now, after) || after.is_some() {
                    lanes.paused = lanes.breaker.shut_until(now);
                }
            }
            Sent::Refused => {
                let words =
                    "the forge refuses the bot's token (401); reports wait until `forge.token_file` holds a good one";
                self.alarms.raise(Alarm::TokenRefused, words, now);
                lanes.paused = Some(now.plus(jittered(TOKEN_PAUSE)));
            }
        }
    }

    /// One attempt at one row, and what it means for the row.
    async fn send(&self, due: Due, bot: Login) -> ((RepoId, Pr), Result<Sent, StoreError>) {
        let lane = (due.repository, due.pr);
        (lane, self.attempt(due, &bot).await)
    }

    async fn attempt(&self, due: Due, bot: &Login) -> Result<Sent, StoreError> {
        let id = due.repository;
        let (begun, now) = (due.clone(), self.clock.now());
        let repository = self
            .store
            .write("begins a report", move |tx| {
                outbox::begin(tx, &begun, now)?;
                repositories::by_id(tx, id)
            })
            .await?;
        let Some(repository) = repository else { return self.give_up(&due, "its repository is not known").await };
        let lane = Lane { report: self, due: &due, repo: repository.repo, bot };
        let result = match &due.report {
            Row::Reaction { comment } => lane.react(*comment).await,
            Row::Status { run } => lane.set_status(*run).await,
            Row::Comment { run } => lane.comment(*run).await,
            Row::Reply { comment, body } => lane.reply(*comment, body).await,
        };
        match result {
            Ok(()) => Ok(Sent::Well),
            Err(Stopped::Store(error)) => Err(error),
            Err(Stopped::Never(why)) => self.give_up(&due, &why).await,
            Err(Stopped::Forge(error)) => lane.judge(error).await,
        }
    }

    async fn give_up(&self, due: &Due, why: &str) -> Result<Sent, StoreError> {
        tracing::warn!(kind = due.report.kind(), repository = %due.repository, pr = %due.pr, why, "a report is given up");
        let (due, why, now) = (due.clone(), self.mask(why), self.clock.now());
        self.store.write("gives up a report", move |tx| outbox::give_up(tx, &due, &why, now)).await?;
        Ok(Sent::Well)
    }

    async fn try_again(&self, due: &Due, why: &str, after: Option<Duration>) -> Result<(), StoreError> {
        let doubled = Duration::from_secs(1 << due.attempts.clamp(0, 9)).min(LONGEST_PAUSE);
        let at = self.clock.now().plus(jittered(doubled).max(after.unwrap_or_default()));
        let (due, why) = (due.clone(), self.mask(why));
        self.store.write("puts off a report", move |tx| outbox::try_again(tx, &due, &why, at)).await
    }
}

/// Why an attempt stopped.
enum Stopped {
    Forge(ForgeError),
    Store(StoreError),
    /// The forge will never take it.
    Never(String),
}

impl From<ForgeError> for Stopped {
    fn from(error: ForgeError) -> Stopped {
        Stopped::Forge(error)
    }
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Stopped {
        Stopped::Store(error)
    }
}

/// One attempt.
struct Lane<'a, F> {
    report: &'a Report<F>,
    due: &'a Due,
    repo: Repo,
    bot: &'a Login,
}

impl<F: Forge> Lane<'_, F> {
    fn forge(&self) -> &F {
        &self.report.forge
    }

    /// What an error means: once more, never, or that nothing goes.
    async fn judge(&self, error: ForgeError) -> Result<Sent, StoreError> {
        let (report, due) = (self.report, self.due);
        let now = report.clock.now();
        match &error {
            ForgeError::Unauthorised(_) => Ok(Sent::Refused),
            ForgeError::Later { why, after } => {
                if matches!(due.report, Row::Status { .. })
                    && due.attempts >= STATUS_ATTEMPTS
                    && self.forge_is_there().await
                {
                    return report.give_up(due, &format!("the forge takes no status for this commit: {why}")).await;
                }
                report.try_again(due, why, *after).await?;
                Ok(Sent::Unanswered(*after))
            }
            ForgeError::Forbidden(_) | ForgeError::Misconfigured(_) => {
                let (alarm, what) = match due.report {
                    Row::Reaction { .. } => (Alarm::Reactions, "the bot may not react to comments"),
                    Row::Status { .. } => (Alarm::Statuses, "the bot may not write commit statuses"),
                    Row::Comment { .. } | Row::Reply { .. } => (Alarm::Comments, "the bot may not comment"),
                };
                report.alarms.raise(alarm, report.mask(&format!("{what} in {}: {error}", self.repo)), now);
                report.give_up(due, &error.to_string()).await
            }
            ForgeError::Odd(why) if due.attempts < ODD_ANSWERS => {
                report.try_again(due, why, None).await?;
                Ok(Sent::Well)
            }
            ForgeError::NotFound(_) | ForgeError::Archived(_) | ForgeError::Odd(_) => {
                report.give_up(due, &error.to_string()).await
            }
        }
    }

    /// A forge answers 500 to a status for a commit that was pushed away; everything else works.
    async fn forge_is_there(&self) -> bool {
        self.forge().pull_request(&self.repo, self.due.pr).await.is_ok()
    }

    async fn react(&self, comment: CommentId) -> Result<(), Stopped> {
        self.forge().react(&self.repo, comment).await?;
        self.report.alarms.clear(Alarm::Reactions);
        self.done(None).await
    }

    async fn set_status(&self, run: RunId) -> Result<(), Stopped> {
        let Some(card) = self.card(run).await? else { return Err(Stopped::Never(NO_PLACE.into())) };
        let report = self.report;
        let mut wanted = status::render(&card, &report.context, &report.address);
        wanted.description = report.mask(&wanted.description);
        let mut voice = self.voice(&card).await?;
        let said = format!("{}\t{}\t{}", wanted.state.as_str(), wanted.description, wanted.target_url);
        if voice.status.as_deref() != Some(said.as_str()) {
            self.forge().set_status(&self.repo, &card.run.head, &wanted).await?;
            report.alarms.clear(Alarm::Statuses);
            voice.status = Some(said);
        }
        self.done(Some((card, voice))).await
    }

    async fn reply(&self, to: CommentId, body: &str) -> Result<(), Stopped> {
        let marker = comment::marker_of_reply(to);
        let is_there = self.due.tried && self.ours().await?.iter().any(|one| one.body.contains(&marker));
        if !is_there {
            let body = format!("{}\n\n{marker}", self.report.mask(body));
            self.forge().post_comment(&self.repo, self.due.pr, &body).await?;
            self.report.alarms.clear(Alarm::Comments);
        }
        self.done(None).await
    }

    /// The head's one comment, as the newest run of the head is now.
    async fn comment(&self, run: RunId) -> Result<(), Stopped> {
        let Some(mut card) = self.card(run).await? else { return Err(Stopped::Never(NO_PLACE.into())) };
        let report = self.report;
        let is_verdict = comment::is_verdict(card.run.outcome);
        card.tail = self.tail(&card).await;
        let marker = comment::marker(&card.run.head, card.run.id, is_verdict);
        let body = format!("{}\n\n{marker}", report.mask(&comment::render(&card, &report.address)));
        let hash = hex::encode(Sha256::digest(body.as_bytes()));
        let mut voice = self.voice(&card).await?;
        // A database that was restored from a backup does not know what was said since.
        if self.due.tried || voice.comment.is_none() {
            self.find_again(&card, &marker, &mut voice).await?;
        }
        if voice.comment.is_none() || voice.body_hash.as_deref() != Some(hash.as_str()) {
            let verdict_of = is_verdict.then_some(card.run.id);
            let anew = report.verdict == VerdictAs::Replace && is_verdict && voice.verdict_of != verdict_of;
            self.say(&card, &body, anew, &mut voice).await?;
            voice.body_hash = Some(hash);
            voice.verdict_of = verdict_of;
            // Before the old one goes: after a crash here it is still known which one that is.
            self.note(&card, &voice).await?;
            report.alarms.clear(Alarm::Comments);
        }
        if let Some(old) = voice.replaced.take() {
            self.remove(old).await?;
        }
        self.done(Some((card, voice))).await
    }

    /// Edits our comment, or posts one where there is none, where it is not ours, or where it should be new.
    async fn say(&self, card: &Card, body: &str, anew: bool, voice: &mut Voice) -> Result<(), Stopped> {
        let pr = card.run.pr.unwrap_or(self.due.pr);
        let old = voice.comment;
        if let Some(id) = old.filter(|_| !anew)
            && self.is_ours(id).await?
        {
            match self.forge().edit_comment(&self.repo, id, body).await {
                Ok(()) => return Ok(()),
                // Deleted in between.
                Err(ForgeError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        voice.comment = Some(self.forge().post_comment(&self.repo, pr, body).await?);
        voice.replaced = old;
        Ok(())
    }

    /// This row was tried before: what came of it may stand on the pull request without our knowing. What carries exactly our
    /// marker is the comment we meant to post; what else of ours is about this head is a stub.
    async fn find_again(&self, card: &Card, marker: &str, voice: &mut Voice) -> Result<(), Stopped> {
        let of_head = comment::marker_of_head(&card.run.head);
        let known = voice.comment;
        let mut found = self.ours().await?;
        found.retain(|one| one.body.contains(&of_head) && Some(one.id) != known);
        found.sort_by_key(|one| one.id);
        let Some(at) = found.iter().rposition(|one| one.body.contains(marker)) else {
            return self.remove_all(&found).await;
        };
        let ours = found.remove(at);
        self.remove_all(&found).await?;
        voice.replaced = known;
        voice.comment = Some(ours.id);
        voice.body_hash = Some(hex::encode(Sha256::digest(ours.body.as_bytes())));
        voice.verdict_of = comment::is_verdict(card.run.outcome).then_some(card.run.id);
        self.note(card, voice).await
    }

    async fn remove_all(&self, stubs: &[Comment]) -> Result<(), Stopped> {
        for stub in stubs {
            self.remove(stub.id).await?;
        }
        Ok(())
    }

    /// Deletes a comment if it is ours.
    async fn remove(&self, id: CommentId) -> Result<(), Stopped> {
        if !self.is_ours(id).await? {
            return Ok(());
        }
        match self.forge().delete_comment(&self.repo, id).await {
            Err(error @ (ForgeError::Forbidden(_) | ForgeError::Archived(_) | ForgeError::NotFound(_))) => {
                tracing::warn!(comment = %id, %error, "an old comment of ours stays");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// A bot with write access could change anybody's comment; it does not.
    async fn is_ours(&self, id: CommentId) -> Result<bool, Stopped> {
        let found = self.forge().comment(&self.repo, id).await?;
        Ok(found.is_some_and(|comment| self.wrote(&comment)))
    }

    fn wrote(&self, comment: &Comment) -> bool {
        comment.author.eq_ignore_ascii_case(self.bot.as_str())
    }

    async fn ours(&self) -> Result<Vec<Comment>, Stopped> {
        let mut all = self.forge().comments_of(&self.repo, self.due.pr).await?;
        all.retain(|comment| self.wrote(comment));
        Ok(all)
    }

    async fn card(&self, run: RunId) -> Result<Option<Card>, Stopped> {
        Ok(self.report.store.read(move |db| Card::of_head_of(db, run)).await?)
    }

    /// The failing stage's last lines; a log that cannot be read changes nothing else.
    async fn tail(&self, card: &Card) -> Vec<String> {
        let culprit = card.culprit().map(|stage| stage.name).filter(|_| card.run.outcome.is_some());
        let Some(stage) = culprit else { return Vec::new() };
        let (tail, run) = (std::sync::Arc::clone(&self.report.tail), card.run.id);
        tokio::task::spawn_blocking(move || tail(run, stage, comment::TAIL)).await.unwrap_or_default()
    }

    async fn voice(&self, card: &Card) -> Result<Voice, Stopped> {
        let (repository, pr, head) = (self.due.repository, self.due.pr, card.run.head.clone());
        Ok(self.report.store.read(move |db| outbox::voice(db, repository, pr, &head)).await?)
    }

    async fn note(&self, card: &Card, voice: &Voice) -> Result<(), Stopped> {
        let (repository, pr, head, voice) = (self.due.repository, self.due.pr, card.run.head.clone(), voice.clone());
        let noted = move |tx: &crate::store::Transaction| outbox::set_voice(tx, repository, pr, &head, &voice);
        Ok(self.report.store.write("notes what was said", noted).await?)
    }

    /// The forge has it.
    async fn done(&self, said: Option<(Card, Voice)>) -> Result<(), Stopped> {
        let (due, now) = (self.due.clone(), self.report.clock.now());
        self.report
            .store
            .write("marks a report", move |tx| {
                if let Some((card, voice)) = said {
                    outbox::set_voice(tx, due.repository, due.pr, &card.run.head, &voice)?;
                }
                outbox::done(tx, &due, now).map(drop)
            })
            .await?;
        Ok(())
    }
}
