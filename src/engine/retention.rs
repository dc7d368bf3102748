//! What is kept of runs that are over: by age, by number and by size, and of each recipe the last green and the last red one
//! whatever those say.
//!
//! Files go before their row: a crash in between leaves a run that shows less, and the next round takes the rest.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::causes;
use super::execute::Engine;
use crate::clock::Time;
use crate::config::{Config, Retention};
use crate::evidence;
use crate::logs;
use crate::model::{Outcome, RunId};
use crate::store::retention::{self, Over};
use crate::store::{Store, StoreError, events};

const EVERY: Duration = Duration::from_secs(3600);
/// What happened is for pages that follow; a run's own rows keep what matters.
const EVENTS: Duration = Duration::from_secs(30 * 86_400);

/// At once and then each hour.
pub(super) async fn watch(engine: Engine, stop: CancellationToken) {
    loop {
        match round(&engine.ledger.store, &engine.config, engine.clock.now()).await {
            Ok(0) => {}
            Ok(gone) => tracing::info!(gone, "runs forgotten"),
            Err(error) => tracing::error!(error = %causes(&error), "old runs could not be forgotten"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Forgets what the rule does not keep; says how many runs that were.
async fn round(store: &Store, config: &Config, now: Time) -> Result<usize, StoreError> {
    store.write("could not trim its events", move |tx| events::trim(tx, now.minus(EVENTS))).await?;
    let over = store.read(retention::over).await?;
    let (log_dir, evidence_dir) = (config.logs_dir(), config.evidence_dir());
    let logs = log_dir.clone();
    let sized = tokio::task::spawn_blocking(move || {
        over.into_iter().map(|run| Over { bytes: run.bytes + logs::bytes(&logs, run.id), ..run }).collect::<Vec<_>>()
    });
    let over = sized.await.map_err(|error| StoreError::Refused(error.to_string()))?;
    let gone = beyond(&over, &config.retention, now);
    for run in &gone {
        if let Err(error) = remove_files(log_dir.clone(), evidence::dir(&evidence_dir, *run), *run).await {
            tracing::error!(run = %run, error = %error, "a run's files could not be removed; it is kept");
            continue;
        }
        let run = *run;
        store.write("could not forget a run", move |tx| retention::forget(tx, run, now)).await?;
    }
    Ok(gone.len())
}

async fn remove_files(logs: PathBuf, evidence: PathBuf, run: RunId) -> std::io::Result<()> {
    let removed = tokio::task::spawn_blocking(move || {
        match std::fs::remove_dir_all(&evidence) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        logs::remove(&logs, run)
    });
    removed.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
}

/// Those that the rule does not keep, of runs newest first.
fn beyond(over: &[Over], rule: &Retention, now: Time) -> Vec<RunId> {
    let mut last = HashSet::new();
    let (mut count, mut bytes) = (0, 0_u64);
    let mut gone = Vec::new();
    for run in over {
        let colour = match run.outcome {
            Outcome::Passed => Some(true),
            Outcome::Failed | Outcome::TimedOut => Some(false),
            Outcome::Infra | Outcome::Cancelled | Outcome::Superseded | Outcome::Interrupted => None,
        };
        let is_last = colour.is_some_and(|green| last.insert((&run.recipe, green)));
        let fits = count < rule.runs && bytes + run.bytes <= rule.size && now.since(run.finished_at) <= rule.age;
        if is_last || fits {
            count += 1;
            bytes += run.bytes;
        } else {
            gone.push(run.id);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: Time = Time(1000 * DAY);

    fn run(id: i64, recipe: &str, outcome: Outcome, days: i64, bytes: u64) -> Over {
        Over { id: RunId(id), recipe: recipe.into(), outcome, finished_at: Time(NOW.0 - days * DAY), bytes }
    }

    fn rule(days: u64, runs: u32, size: u64) -> Retention {
        Retention { age: Duration::from_secs(days * 86_400), runs, size, free: 0 }
    }

    fn gone(over: &[Over], rule: &Retention) -> Vec<i64> {
        beyond(over, rule, NOW).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn age_number_and_size_each_end_it_and_the_last_of_each_colour_stays() {
        use Outcome::{Failed, Infra, Passed};
        let over = [
            run(9, "a", Infra, 1, 10),
            run(8, "a", Passed, 2, 10),
            run(7, "a", Failed, 30, 10),
            run(6, "a", Passed, 40, 10),
            run(5, "b", Failed, 400, 10),
            run(4, "b", Infra, 500, 10),
        ];
        assert_eq!(gone(&over, &rule(1000, 100, 1000)), [0; 0]);
        assert_eq!(gone(&over, &rule(20, 100, 1000)), [6, 4]);
        assert_eq!(gone(&over, &rule(1000, 1, 1000)), [6, 4]);
        assert_eq!(gone(&over, &rule(1000, 0, 1000)), [9, 6, 4]);
        assert_eq!(gone(&over, &rule(1000, 100, 35)), [6, 4]);
    }

    #[tokio::test]
    async fn a_round_takes_rows_and_files_and_the_next_has_nothing_to_do() {
        use crate::dev::seed::{Seed, seed};

        let (dir, store) = crate::store::tests::empty();
        let text = format!(
            "{{domain: ci.test, state_dir: {}, forge: {{url: 'http://forge.test', organisation: recipes, token_file: /t}}, \
             retention: {{runs: 10}}}}",
            dir.path().display()
        );
        let config: Config = crate::yaml::from_str("config.yaml", &text).unwrap();
        let what = Seed { runs: 120, checks: None, until: NOW, open: true, logs: Some((config.logs_dir(), 120)) };
        seed(&store, &what).await.unwrap();
        let (all, comments) = (store.read(retention::over).await.unwrap(), count(&store, "comments").await);
        let files = |config: &Config| std::fs::read_dir(config.logs_dir()).unwrap().count();
        let before = files(&config);

        let gone = round(&store, &config, NOW).await.unwrap();
        assert!(gone > 50, "{gone} of {}", all.len());
        let left = store.read(retention::over).await.unwrap();
        assert_eq!(left.len(), all.len() - gone);
        assert!(files(&config) < before);
        for run in &all {
            let kept = left.iter().any(|one| one.id == run.id);
            assert!(kept || logs::bytes(&config.logs_dir(), run.id) == 0, "{run:?}");
        }
        assert_eq!(count(&store, "comments").await, comments, "a comment that is forgotten could ask again");
        assert_eq!(count(&store, "pragma_foreign_key_check").await, 0);
        assert_eq!(round(&store, &config, NOW).await.unwrap(), 0);
    }

    async fn count(store: &Store, table: &'static str) -> i64 {
        let sql = format!("select count(*) from {table}");
        store.read(move |db| Ok(db.query_row(&sql, [], |row| row.get(0))?)).await.unwrap()
    }

    proptest! {
        #[test]
        fn what_is_kept_is_within_the_rule_but_for_the_last_of_each_colour(
            drawn in proptest::collection::vec((0..3_u8, any::<bool>(), 0..100_i64, 0..50_u64), 0..40),
            days in 0..100_u64, most in 0..20_u32, size in 0..500_u64,
        ) {
            let mut days_ago = 0;
            let over: Vec<Over> = drawn.iter().enumerate().map(|(place, (recipe, green, days, bytes))| {
                days_ago += days / 20;
                let outcome = if *green { Outcome::Passed } else { Outcome::Failed };
                run(1000 - i64::try_from(place).unwrap(), &recipe.to_string(), outcome, days_ago, *bytes)
            }).collect();
            let gone = gone(&over, &rule(days, most, size));
            let kept: Vec<&Over> = over.iter().filter(|run| !gone.contains(&run.id.0)).collect();
            let mut seen = HashSet::new();
            let lasts: Vec<i64> =
                over.iter().filter(|run| seen.insert((&run.recipe, run.outcome))).map(|run| run.id.0).collect();
            prop_assert!(lasts.iter().all(|id| !gone.contains(id)));
            let others: Vec<&&Over> = kept.iter().filter(|run| !lasts.contains(&run.id.0)).collect();
            prop_assert!(others.len() <= most as usize);
            prop_assert!(others.iter().map(|run| run.bytes).sum::<u64>() <= size);
            prop_assert!(others.iter().all(|run| NOW.since(run.finished_at).as_secs() <= days * 86_400));
        }
    }
}
