//! Runs that nobody asked for: the base branch of each repository that is tested, at its own moment after each time of the
//! schedule. So it shows when something upstream broke what was green.
//!
//! The time that was acted on stands with the repository, written in the transaction that queues the run: whoever comes back after
//! a crash neither queues twice nor forgets. Only the newest time counts, so that those which passed while the machine was off are
//! one run. Nothing of it is said on the forge.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::Trouble;
use crate::bell::Bell;
use crate::clock::{Clock, Time};
use crate::config::schedule::Schedule;
use crate::engine::run;
use crate::forge::{Forge, ForgeError, Tip};
use crate::model::{Asked, Origin};
use crate::store::repositories::Repository;
use crate::store::runs::NewRun;
use crate::store::{Store, repositories, runs};

/// Who asks, as pages call it.
const ASKS: &str = "the schedule";

/// Between two looks. A schedule counts in minutes.
const LOOK: Duration = Duration::from_secs(20);

/// What the schedule works with.
pub struct Planner<F> {
    pub forge: Arc<F>,
    pub store: Store,
    pub clock: Clock,
    pub schedule: Schedule,
    /// Rung when something was queued.
    pub runner: Bell,
}

/// Runs until `shutdown`.
pub async fn run<F: Forge>(planner: Planner<F>, shutdown: CancellationToken) {
    loop {
        let turn = tokio::select! {
            () = shutdown.cancelled() => return,
            turn = planner.turn() => turn,
        };
        if let Err(trouble) = turn {
            let trouble = crate::engine::causes(&trouble);
            tracing::warn!(trouble, "a run of the schedule could not be queued; trying again");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl<F: Forge> Planner<F> {
    /// Queues what is due. A forge that gives no answer ends the turn, and the next one takes up there.
    pub(super) async fn turn(&self) -> Result<(), Trouble> {
        let now = self.clock.now();
        let Some(time) = self.schedule.cron.newest(now) else { return Ok(()) };
        if self.schedule.after_quiet(now) > now {
            return Ok(());
        }
        for (repository, acted_on) in self.store.read(move |db| repositories::unscheduled(db, time)).await? {
            // What was before it was enrolled, or before there was a schedule, was not missed.
            let is_new = acted_on.is_none();
            if is_new || self.schedule.except.contains(&repository.repo.name) {
                self.pass_over(&repository, time).await?;
            } else if self.due(&repository, time) <= now {
                self.act(&repository, time).await?;
            }
        }
        Ok(())
    }

    /// The repository's own moment after a time of the schedule.
    fn due(&self, repository: &Repository, time: Time) -> Time {
        let begin = self.schedule.after_quiet(time);
        self.schedule.after_quiet(begin.plus(offset(&repository.repo.to_string(), self.schedule.spread)))
    }

    async fn act(&self, repository: &Repository, time: Time) -> Result<(), Trouble> {
        let tip = match self.forge.tip(&repository.repo).await {
            Ok(tip) => tip,
            Err(error @ (ForgeError::Later { .. } | ForgeError::Unauthorised(_))) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(repository = %repository.repo, error = %error, "the schedule leaves a repository out");
                return Ok(self.pass_over(repository, time).await?);
            }
        };
        let (new, id, now) = (wish(repository, tip), repository.id, self.clock.now());
        let queued = self.store.write("did not take a run of the schedule", move |tx| {
            repositories::set_scheduled(tx, id, time)?;
            // The one before still waits or runs.
            let open = runs::open(tx)?;
            if open.iter().any(|run| run.origin == Origin::Schedule && run.repository == Some(id)) {
                return Ok(None);
            }
            run::queue(tx, &new, now).map(Some)
        });
        if let Some(run) = queued.await? {
            tracing::info!(run = %run, repository = %repository.repo, "queued by the schedule");
            self.runner.ring();
        }
        Ok(())
    }

    async fn pass_over(&self, repository: &Repository, time: Time) -> Result<(), crate::store::StoreError> {
        let id = repository.id;
        self.store.write("did not pass over a time", move |tx| repositories::set_scheduled(tx, id, time)).await
    }
}

fn wish(repository: &Repository, tip: Tip) -> NewRun {
    NewRun {
        origin: Origin::Schedule,
        repository: Some(repository.id),
        repo_name: repository.repo.to_string(),
        recipe: repository.recipe.clone().unwrap_or_else(|| repository.repo.name.to_string()),
        pr: None,
        head: tip.head,
        title: format!("scheduled test of {}", tip.branch),
        base_branch: Some(tip.branch),
        comment: None,
        asked_by: ASKS.into(),
        asked: Asked::All,
        upgrade_from: None,
        attempt: 1,
        retry_of: None,
    }
}

/// Where in `spread` a repository stands, to the second: always the same.
fn offset(repository: &str, spread: Duration) -> Duration {
    let hash = Sha256::digest(repository.as_bytes());
    let place = hash.iter().take(8).fold(0_u64, |place, byte| place << 8 | u64::from(*byte));
    Duration::from_secs(place.checked_rem(spread.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::intake::house::House;
    use crate::intake::pretend::{Pretend, later};
    use crate::store::runs::Run;

    const DAY: u64 = 86_400;

    /// The schedule, and repositories that it saw already. It is Friday, 2026-01-02, 03:04:05.
    async fn planned(schedule: &str, names: &[&str]) -> (House, Planner<Pretend>) {
        let house = House::open(|forge| names.iter().for_each(|name| forge.repository(name))).await;
        let planner = Planner {
            forge: Arc::new(house.forge.clone()),
            store: house.store.clone(),
            clock: house.clock.clone(),
            schedule: crate::yaml::from_str("schedule", schedule).unwrap(),
            runner: Bell::of(PathBuf::from("/nowhere")),
        };
        planner.turn().await.unwrap();
        assert!(queued(&house).await.is_empty(), "what was before the schedule was missed by nobody");
        (house, planner)
    }

    async fn queued(house: &House) -> Vec<Run> {
        house.store.read(runs::open).await.unwrap()
    }

    /// They end, so that the next ones may begin.
    async fn all_end(house: &House) {
        let now = house.clock.now();
        for run in queued(house).await {
            house.store.write("is being tested", move |tx| run::ask_cancel(tx, run.id, "somebody", now)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn each_night_the_base_branch_is_queued_once_and_the_forge_hears_nothing() {
        let (house, planner) = planned("{cron: '0 2 * * *', spread: 0s, except: [docs]}", &["keycloak", "docs"]).await;
        house.pass_time(22 * 3600);
        planner.turn().await.unwrap();
        assert!(queued(&house).await.is_empty(), "it is not two o'clock yet");
        house.pass_time(3600);
        planner.turn().await.unwrap();
        planner.turn().await.unwrap();
        let runs = queued(&house).await;
        let [run] = &runs[..] else { panic!("{runs:#?}") };
        assert_eq!((run.origin, run.pr, run.base_branch.as_deref()), (Origin::Schedule, None, Some("main")));
        assert_eq!((run.repo_name.as_str(), run.title.as_str()), ("recipes/keycloak", "scheduled test of main"));
        let reports: i64 = house
            .store
            .read(|db| Ok(db.query_row("select count(*) from outbox", [], |row| row.get(0))?))
            .await
            .unwrap();
        assert_eq!(reports, 0);
    }

    #[tokio::test]
    async fn nights_that_were_missed_are_one_run_and_one_that_still_waits_is_enough() {
        let (house, planner) = planned("{cron: '0 2 * * *', spread: 0s}", &["keycloak"]).await;
        house.pass_time(5 * DAY);
        planner.turn().await.unwrap();
        planner.turn().await.unwrap();
        assert_eq!(queued(&house).await.len(), 1);
        house.pass_time(DAY);
        planner.turn().await.unwrap();
        assert_eq!(queued(&house).await.len(), 1, "yesterday's waits still");
        all_end(&house).await;
        planner.turn().await.unwrap();
        assert!(queued(&house).await.is_empty(), "today's time is over");
        house.pass_time(DAY);
        planner.turn().await.unwrap();
        assert_eq!(queued(&house).await.len(), 1);
    }

    #[tokio::test]
    async fn each_has_its_own_moment_in_the_spread_and_none_is_in_quiet_hours() {
        let names: Vec<String> = (0..40).map(|number| format!("recipe{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let schedule = "{cron: '0 4 * * *', spread: 4h, quiet: ['06:00-22:30', '22:30-23:00']}";
        let (house, planner) = planned(schedule, &names).await;
        let seen = house.store.read(repositories::all).await.unwrap();
        let four = Time::parse("2026-01-02T04:00:00Z").unwrap();
        let moments: Vec<Time> = seen.iter().map(|repository| planner.due(repository, four)).collect();
        let again: Vec<Time> = seen.iter().map(|repository| planner.due(repository, four)).collect();
        assert_eq!(moments, again);
        let (six, eleven) = (four.plus(Duration::from_secs(2 * 3600)), four.plus(Duration::from_secs(19 * 3600)));
        assert!(moments.iter().all(|at| (four..six).contains(at) || *at == eleven), "{moments:?}");
        let early = moments.iter().filter(|at| **at < six).count();
        assert!((5..35).contains(&early), "they are not spread: {moments:?}");

        // At six the early ones are there; a machine that comes at seven leaves them until eleven.
        house.pass_time(4 * 3600);
        planner.turn().await.unwrap();
        assert!(queued(&house).await.is_empty());
        house.pass_time(16 * 3600);
        planner.turn().await.unwrap();
        assert_eq!(queued(&house).await.len(), names.len());
    }

    #[tokio::test]
    async fn a_forge_that_is_down_costs_no_night() {
        let (house, planner) = planned("{cron: '0 2 * * *', spread: 0s}", &["keycloak"]).await;
        house.pass_time(DAY);
        house.forge.odd(|odd| odd.down = Some(later()));
        assert!(planner.turn().await.is_err());
        house.forge.odd(|odd| odd.down = None);
        planner.turn().await.unwrap();
        assert_eq!(queued(&house).await.len(), 1);
    }

    #[test]
    fn a_schedule_that_could_not_be_kept_is_refused() {
        let said = |text: &str| -> String {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.yaml");
            let rest = "domain: ci.example.org\nforge: {url: 'https://git.example.org', organisation: recipes, token_file: /x}";
            std::fs::write(&path, format!("{rest}\nschedule: {text}\n")).unwrap();
            crate::config::load_without_secrets(&path).map_or_else(|error| error.to_string(), |_| "good".into())
        };
        assert_eq!(said("{cron: '0 2 * * 1'}"), "good");
        for (text, words) in [
            ("{cron: '0 * * * *'}", "as long as the 60 minutes between two times"),
            ("{cron: '0 2 * *'}", "five fields"),
            ("{cron: '0 2 * * *', quiet: ['00:00-12:00', '12:00-00:00']}", "is the whole day"),
            ("{cron: '0 2 * * *', quiet: ['7-19']}", "is not hours such as"),
            ("{cron: '0 2 * * *', spraed: 1h}", "spread"),
        ] {
            assert!(said(text).contains(words), "{text}: {}", said(text));
        }
    }
}
