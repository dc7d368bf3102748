//! Every list walks the index that has its order: no scan, no sort.

use super::runs::{Filter, page_sql};
use super::{comments, notices, outbox, pages, runs, tests, turns};
use crate::model::{Origin, Outcome};

pub(super) async fn plan_of(sql: &str) -> String {
    let sql = sql.to_owned();
    let (_dir, store) = tests::empty();
    store
        .read(move |db| {
            let mut statement = db.prepare(&format!("explain query plan {sql}"))?;
            for index in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(index, 1)?;
            }
            let mut rows = statement.raw_query();
            let mut plan = String::new();
            while let Some(row) = rows.next()? {
                plan.push_str(&row.get::<_, String>("detail")?);
                plan.push('\n');
            }
            Ok(plan)
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn lists_walk_their_index() {
    let recipe = || Some("keycloak".to_owned());
    let (failed, schedule) = (Some(Outcome::Failed), Some(Origin::Schedule));
    for (recipe, outcome, origin, index) in [
        (None, None, None, "PRIMARY KEY"),
        (recipe(), None, None, "runs_by_recipe "),
        (None, failed, None, "runs_by_outcome "),
        (recipe(), failed, None, "runs_by_recipe_outcome "),
        (None, None, schedule, "runs_by_origin "),
        (recipe(), None, schedule, "runs_by_"),
        (None, failed, schedule, "runs_by_"),
        (recipe(), failed, schedule, "runs_by_"),
    ] {
        let filter = Filter { recipe, outcome, origin };
        for sql in [page_sql(&filter), pages::list_sql(&filter)] {
            let plan = plan_of(&sql).await;
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
    }
    for (sql, index) in [
        (pages::LATEST_OF_RECIPE, "runs_by_recipe "),
        (pages::RECIPES, "runs_by_recipe"),
        (pages::OPEN_COUNT, "runs_waiting"),
        (runs::OPEN, "runs_waiting"),
        (turns::RESUMING, "runs_resuming"),
        (turns::OF_SCHEDULE, "runs_of_schedule"),
        (turns::PAUSED, "runs_paused"),
        (turns::RECIPES, "runs_in_turn"),
        (turns::OF_RECIPE, "runs_in_turn"),
        (runs::RUNNING, "runs_waiting"),
        (runs::UNWANTED, "runs_waiting"),
        (runs::OF_PR, "runs_by_pr "),
        (runs::NEXT_ATTEMPT, "runs_by_retry_of "),
        (runs::BEFORE, "runs_by_pr "),
        (notices::UNSPREAD, "notices_unspread"),
        (notices::NEXT, "deliveries_open"),
        (runs::PASSED, "runs_by_recipe_outcome "),
        (runs::LEVELS, "runs_by_recipe "),
        (comments::UNDECIDED, "comments_undecided"),
        (comments::DECISIONS, "decisions_newest"),
        (outbox::DUE, "outbox_due"),
    ] {
        let plan = plan_of(sql).await;
        assert!(plan.contains(index), "{sql}\n{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}
