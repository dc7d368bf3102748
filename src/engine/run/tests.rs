use proptest::prelude::*;

use super::*;
use crate::model::{Asked, Pr, RepoId};
use crate::store::Store;
use crate::store::tests::empty;

const NOW: Time = Time(1_767_323_045_000);
const PLAN: [StageName; 3] = [StageName::Fetch, StageName::Install, StageName::Uninstall];

fn plan() -> Vec<Planned> {
    PLAN.iter().map(|&name| (name, StageState::Waiting, None)).collect()
}

fn a_run(pr: i64) -> NewRun {
    NewRun {
        origin: Origin::Comment,
        repository: Some(RepoId(1)),
        repo_name: "recipes/keycloak".into(),
        recipe: "keycloak".into(),
        pr: Some(Pr(pr)),
        head: "3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1".parse().unwrap(),
        base_branch: Some("main".into()),
        title: String::new(),
        comment: None,
        asked_by: "member".into(),
        asked: Asked::All,
        upgrade_from: None,
        attempt: 1,
        retry_of: None,
    }
}

async fn house() -> (tempfile::TempDir, Store) {
    let (dir, store) = empty();
    store
        .write("is being tested", |tx| {
            tx.execute(
                "insert into repositories (id, owner, name, enrolled, why, watermark, seen_at, first_look_at)
                 values (1, 'recipes', 'keycloak', 1, '', 0, 0, 0)",
                [],
            )?;
            Ok(())
        })
        .await
        .unwrap();
    (dir, store)
}

async fn does<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Transaction) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    store.write("is being tested", work).await
}

fn proof(stack: &str) -> NothingLeft {
    NothingLeft::for_test(&stack.parse().unwrap())
}

fn passed() -> StageEnd {
    StageEnd { state: StageState::Passed, reason: None, waited: Duration::ZERO }
}

fn verdict(outcome: Outcome) -> Verdict {
    Verdict { outcome, reason: "so it came".into() }
}

fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_run_passes_when_all_its_stages_did_and_its_app_is_gone() {
    let (_dir, store) = house().await;
    let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    does(&store, move |tx| start(tx, id, &plan(), NOW)).await.unwrap();
    let app = does(&store, move |tx| {
        intend_app(tx, id, &"keyc-1.ci.test".parse().map_err(|_| StoreError::Closed)?, "/abra", NOW)
    })
    .await
    .unwrap();
    for name in PLAN {
        does(&store, move |tx| begin_stage(tx, id, name, NOW)).await.unwrap();
        does(&store, move |tx| end_stage(tx, id, name, &passed(), NOW)).await.unwrap();
    }
    let other = does(&store, move |tx| app_is_gone(tx, app, proof("keyc-2_ci_test"), NOW)).await;
    assert!(refused(other).contains("says nothing"));
    let early = does(&store, move |tx| finish(tx, id, verdict(Outcome::Passed), torn_down(tx, id)?, NOW)).await;
    assert!(refused(early).contains("stands"));
    does(&store, move |tx| app_is_gone(tx, app, proof("keyc-1_ci_test"), NOW)).await.unwrap();
    let end = does(&store, move |tx| finish(tx, id, verdict(Outcome::Passed), torn_down(tx, id)?, NOW)).await;
    assert_eq!(end.unwrap(), verdict(Outcome::Passed));
    let again = does(&store, move |tx| finish(tx, id, verdict(Outcome::Failed), torn_down(tx, id)?, NOW)).await;
    assert!(refused(again).contains("is over"));
}

#[tokio::test]
async fn leftovers_fail_a_run_and_are_named() {
    let (_dir, store) = house().await;
    let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    let end = does(&store, move |tx| {
        start(tx, id, &plan(), NOW)?;
        let app = intend_app(tx, id, &"keyc-1.ci.test".parse().map_err(|_| StoreError::Closed)?, "/abra", NOW)?;
        for name in PLAN {
            begin_stage(tx, id, name, NOW)?;
            end_stage(tx, id, name, &passed(), NOW)?;
        }
        app_left(tx, app, &["volume keyc-1_ci_test_data".into()])?;
        finish(tx, id, verdict(Outcome::Passed), torn_down(tx, id)?, NOW)
    })
    .await
    .unwrap();
    assert_eq!(end.outcome, Outcome::Failed);
    assert!(end.reason.contains("volume keyc-1_ci_test_data"), "{}", end.reason);
}

#[tokio::test]
async fn who_was_taken_back_since_the_queue_was_looked_at_waits_for_nothing() {
    let (_dir, store) = house().await;
    let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    does(&store, move |tx| ask_cancel(tx, id, "alice", NOW)).await.unwrap();
    assert!(!does(&store, move |tx| wait(tx, id, "Second in the queue", NOW)).await.unwrap());
}

#[tokio::test]
async fn transitions_from_the_wrong_place_are_refused_and_write_nothing() {
    let (_dir, store) = house().await;
    let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    assert!(refused(does(&store, move |tx| begin_stage(tx, id, StageName::Fetch, NOW)).await).contains("not started"));
    assert!(refused(does(&store, move |tx| withdraw(tx, id, NOW)).await).contains("nobody asked"));
    does(&store, move |tx| start(tx, id, &plan(), NOW)).await.unwrap();
    assert!(refused(does(&store, move |tx| start(tx, id, &plan(), NOW)).await).contains("cannot be started"));
    assert!(
        refused(does(&store, move |tx| end_stage(tx, id, StageName::Fetch, &passed(), NOW)).await)
            .contains("never began")
    );
    does(&store, move |tx| begin_stage(tx, id, StageName::Fetch, NOW)).await.unwrap();
    assert!(
        refused(does(&store, move |tx| begin_stage(tx, id, StageName::Install, NOW)).await)
            .contains("while fetch runs")
    );
    assert!(
        refused(does(&store, move |tx| finish(tx, id, verdict(Outcome::Passed), torn_down(tx, id)?, NOW)).await)
            .contains("cannot pass")
    );
    assert!(refused(does(&store, move |tx| withdraw(tx, id, NOW)).await).contains("has started"));
    let other = does(&store, |tx| queue(tx, &a_run(2), NOW)).await.unwrap();
    assert!(
        refused(does(&store, move |tx| finish(tx, id, verdict(Outcome::Failed), torn_down(tx, other)?, NOW)).await)
            .contains("says nothing")
    );
}

#[tokio::test]
async fn an_interrupted_run_is_tried_three_times_and_then_tells_the_story() {
    let (_dir, store) = house().await;
    let mut id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    let first = id;
    for attempt in 1..=ATTEMPTS {
        let next = does(&store, move |tx| {
            start(tx, id, &plan(), NOW)?;
            begin_stage(tx, id, StageName::Fetch, NOW)?;
            interrupt(tx, id, "the runner died", torn_down(tx, id)?, NOW)
        })
        .await
        .unwrap();
        let run = store.read(move |db| runs::by_id(db, id)).await.unwrap().unwrap();
        assert_eq!(run.attempt, attempt);
        match next {
            Some(next) => {
                assert_eq!(run.outcome, Some(Outcome::Interrupted));
                let next_run = store.read(move |db| runs::by_id(db, next)).await.unwrap().unwrap();
                assert_eq!(next_run.retry_of, Some(id));
                id = next;
            }
            None => assert_eq!(run.outcome, Some(Outcome::Infra)),
        }
    }
    assert_eq!(id.0, first.0 + ATTEMPTS - 1);
}

#[tokio::test]
async fn what_was_not_the_recipes_fault_is_tried_again_after_a_pause_that_doubles() {
    let (_dir, store) = house().await;
    let mut id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    let minute = Duration::from_secs(60);
    for (attempt, pause) in [(1, Some(minute)), (2, Some(minute * 2)), (3, None)] {
        let (verdict, next) = does(&store, move |tx| {
            start(tx, id, &plan(), NOW)?;
            let verdict = Verdict { outcome: Outcome::Infra, reason: "the registry is silent".into() };
            finish_or_retry(tx, id, verdict, torn_down(tx, id)?, minute, NOW)
        })
        .await
        .unwrap();
        assert_eq!((verdict.outcome, next.is_some()), (Outcome::Infra, pause.is_some()));
        let Some((next, pause)) = next.zip(pause) else {
            assert_eq!(verdict.reason, "the registry is silent, the last of 3 attempts");
            return;
        };
        let run = store.read(move |db| runs::by_id(db, next)).await.unwrap().unwrap();
        assert_eq!((run.attempt, run.retry_of), (attempt + 1, Some(id)));
        assert_eq!(run.not_before, Some(NOW.plus(pause)));
        let words = run.waits_for.unwrap();
        assert!(words.contains(&format!("attempt {attempt} of 3")) && words.contains("silent"), "{words}");
        does(&store, move |tx| turns::end_pauses(tx, NOW.plus(pause))).await.unwrap();
        id = next;
    }
    panic!("the third attempt was not the last");
}

#[tokio::test]
async fn what_somebody_wanted_to_end_is_not_tried_again() {
    let (_dir, store) = house().await;
    let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    let (_, next) = does(&store, move |tx| {
        start(tx, id, &plan(), NOW)?;
        ask_cancel(tx, id, "member", NOW)?;
        finish_or_retry(tx, id, verdict(Outcome::Infra), torn_down(tx, id)?, Duration::ZERO, NOW)
    })
    .await
    .unwrap();
    assert_eq!(next, None);
}

#[tokio::test]
async fn an_interrupted_runs_uninstall_says_what_was_taken_down() {
    for (left, state, words) in [
        (None, StageState::Passed, "taken down after the interruption: keyc-1.ci.test"),
        (Some("volume keyc-1_ci_test_data"), StageState::Failed, "after the interruption it left volume"),
    ] {
        let (_dir, store) = house().await;
        let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
        does(&store, move |tx| {
            start(tx, id, &plan(), NOW)?;
            let domain = "keyc-1.ci.test".parse().map_err(|_| StoreError::Closed)?;
            let app = intend_app(tx, id, &domain, "/abra", NOW)?;
            match left {
                None => app_is_gone(tx, app, proof("keyc-1_ci_test"), NOW)?,
                Some(left) => app_left(tx, app, &[left.to_owned()])?,
            }
            interrupt(tx, id, "the runner died", torn_down(tx, id)?, NOW)
        })
        .await
        .unwrap();
        let stages = store.read(move |db| stages::of_run(db, id)).await.unwrap();
        let of = |name| stages.iter().find(|stage| stage.name == name).unwrap();
        let uninstall = of(StageName::Uninstall);
        assert_eq!(uninstall.state, state);
        assert!(uninstall.reason.as_ref().unwrap().starts_with(words), "{:?}", uninstall.reason);
        assert_eq!(of(StageName::Install).state, StageState::Skipped);
    }
}

#[tokio::test]
async fn an_interrupted_run_that_was_cancelled_is_not_tried_again() {
    let (_dir, store) = house().await;
    let id = does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
    let next = does(&store, move |tx| {
        start(tx, id, &plan(), NOW)?;
        ask_cancel(tx, id, "member", NOW)?;
        interrupt(tx, id, "the runner died", torn_down(tx, id)?, NOW)
    })
    .await
    .unwrap();
    assert_eq!(next, None);
    let run = store.read(move |db| runs::by_id(db, id)).await.unwrap().unwrap();
    assert_eq!((run.outcome, run.reason.as_deref()), (Some(Outcome::Cancelled), Some("cancelled by member")));
}

#[test]
fn the_document_names_every_transition() {
    let document = include_str!("../../../docs/states.md");
    let code = include_str!("../run.rs");
    let transitions = code.split("\npub fn ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once('(')?;
        rest.trim_start().starts_with("tx: &Transaction").then_some(name)
    });
    let missing: Vec<&str> = transitions.filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/states.md: {missing:?}");
    for state in StageState::ALL {
        assert!(document.contains(&format!("`{state}`")), "{state}");
    }
    for outcome in Outcome::ALL {
        assert!(document.contains(&format!("`{outcome}`")), "{outcome}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Queue,
    Start,
    Begin(usize),
    End(usize, StageState),
    IntendApp,
    Gone(i64),
    Left(i64),
    Cancel,
    Supersede,
    Withdraw,
    Finish(Outcome),
    Retry(Outcome),
    Interrupt,
}

fn step() -> impl Strategy<Value = Step> {
    let stage_state = proptest::sample::select(StageState::ALL);
    let outcome = proptest::sample::select(Outcome::ALL);
    prop_oneof![
        1 => Just(Step::Queue),
        3 => Just(Step::Start),
        6 => (0..PLAN.len()).prop_map(Step::Begin),
        6 => ((0..PLAN.len()), stage_state).prop_map(|(at, state)| Step::End(at, state)),
        2 => Just(Step::IntendApp),
        2 => (1..4_i64).prop_map(Step::Gone),
        1 => (1..4_i64).prop_map(Step::Left),
        1 => Just(Step::Cancel),
        1 => Just(Step::Supersede),
        1 => Just(Step::Withdraw),
        3 => outcome.clone().prop_map(Step::Finish),
        2 => outcome.prop_map(Step::Retry),
        1 => Just(Step::Interrupt),
    ]
}

fn take(tx: &Transaction, step: &Step, id: RunId, number: usize) -> Result<(), StoreError> {
    match step {
        Step::Queue => queue(tx, &a_run(1), NOW).map(drop),
        Step::Start => start(tx, id, &plan(), NOW).map(drop),
        Step::Begin(at) => begin_stage(tx, id, PLAN[*at], NOW),
        Step::End(at, state) => {
            let reason = (*state != StageState::Passed).then(|| "because".to_owned());
            end_stage(tx, id, PLAN[*at], &StageEnd { state: *state, reason, waited: Duration::ZERO }, NOW)
        }
        Step::IntendApp => {
            let domain = format!("keyc-{number}.ci.test").parse().map_err(|_| StoreError::Closed)?;
            intend_app(tx, id, &domain, "/abra", NOW).map(drop)
        }
        Step::Gone(app) => match apps::by_id(tx, *app)? {
            Some(row) => app_is_gone(tx, *app, proof(row.stack.as_str()), NOW),
            None => app_is_gone(tx, *app, proof("keyc-0_ci_test"), NOW),
        },
        Step::Left(app) => app_left(tx, *app, &["volume x".into()]),
        Step::Cancel => ask_cancel(tx, id, "member", NOW).map(drop),
        Step::Supersede => {
            let newer = queue(tx, &a_run(1), NOW)?;
            supersede(tx, id, newer, NOW).map(drop)
        }
        Step::Withdraw => withdraw(tx, id, NOW),
        Step::Finish(outcome) => finish(tx, id, verdict(*outcome), torn_down(tx, id)?, NOW).map(drop),
        Step::Retry(outcome) => {
            finish_or_retry(tx, id, verdict(*outcome), torn_down(tx, id)?, Duration::ZERO, NOW).map(drop)
        }
        Step::Interrupt => interrupt(tx, id, "the runner died", torn_down(tx, id)?, NOW).map(drop),
    }
}

fn holds(db: &rusqlite::Connection) -> Result<(), StoreError> {
    let none = |sql: &str| -> Result<(), StoreError> {
        let rows: i64 = db.query_row(&format!("select count(*) from ({sql})"), [], |row| row.get(0))?;
        assert_eq!(rows, 0, "{sql}");
        Ok(())
    };
    none(
        "select 1 from runs r join stages s on s.run = r.id where r.finished_at is not null and s.state in ('waiting', 'running')",
    )?;
    none("select run from stages where state = 'running' group by run having count(*) > 1")?;
    none(
        "select 1 from apps a join runs r on r.id = a.run where r.finished_at is not null and a.gone_at is null and a.leftovers is null",
    )?;
    none(
        "select 1 from runs r join stages s on s.run = r.id where r.outcome = 'passed' and s.state not in ('passed', 'not-applicable', 'not-tested')",
    )?;
    none("select 1 from runs where finished_at is not null and reason is null")?;
    none("select 1 from stages where state not in ('waiting', 'running', 'passed') and reason is null")?;
    // Whatever happened to a run last, the pull request is to hear of it.
    none("select 1 from runs r where not exists (select 1 from outbox o where o.run = r.id and o.kind = 'status')")?;
    none(
        "select 1 from runs where outcome = 'interrupted' and id not in (select retry_of from runs where retry_of is not null)",
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_sequence_of_transitions_breaks_a_rule_of_the_states(steps in proptest::collection::vec((step(), 1..4_i64), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = house().await;
            does(&store, |tx| queue(tx, &a_run(1), NOW)).await.unwrap();
            for (number, (step, run)) in steps.into_iter().enumerate() {
                let taken = does(&store, { let step = step.clone(); move |tx| take(tx, &step, RunId(run), number) }).await;
                // A CHECK that has to stop a transition is a guard that is missing here.
                assert!(matches!(taken, Ok(()) | Err(StoreError::Refused(_))), "{step:?}: {taken:?}");
                store.read(holds).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn a_turn_of_colour_is_noticed_and_nothing_else() {
    use Outcome::{Cancelled, Failed, Infra, Passed, TimedOut};
    let (_dir, store) = house().await;
    let on_base = NewRun { pr: None, origin: Origin::Schedule, ..a_run(0) };
    let of_one_stage = NewRun { asked: Asked::Install, ..a_run(1) };
    for (new, outcome, wanted) in [
        (a_run(1), Passed, None),
        (a_run(1), Failed, Some(NoticeKind::Red)),
        (a_run(1), TimedOut, None),
        (a_run(1), Infra, None),
        (a_run(2), Infra, None),
        (a_run(2), TimedOut, Some(NoticeKind::Red)),
        (of_one_stage.clone(), Passed, None),
        (a_run(1), Cancelled, None),
        (a_run(1), Passed, Some(NoticeKind::Green)),
        (of_one_stage, Failed, None),
        (a_run(1), Passed, None),
        (on_base.clone(), Failed, Some(NoticeKind::Red)),
        (NewRun { repository: None, origin: Origin::Local, ..a_run(1) }, Failed, None),
        (on_base, Passed, Some(NoticeKind::Green)),
    ] {
        let what = format!("{:?} {outcome}", new.pr);
        let noticed = does(&store, move |tx| {
            let id = queue(tx, &new, NOW)?;
            start(tx, id, &plan(), NOW)?;
            for name in PLAN {
                begin_stage(tx, id, name, NOW)?;
                let end = StageEnd { state: StageState::Passed, reason: None, waited: Duration::ZERO };
                end_stage(tx, id, name, &end, NOW)?;
            }
            let gone = torn_down(tx, id)?;
            finish(tx, id, Verdict { outcome, reason: "because".into() }, gone, NOW)?;
            let mut of_run = tx.prepare("select kind from notices where run = ?1")?;
            let kinds: Result<Vec<NoticeKind>, _> = of_run.query_map([id], |row| row.get(0))?.collect();
            Ok(kinds?)
        });
        assert_eq!(noticed.await.unwrap(), wanted.into_iter().collect::<Vec<_>>(), "{what}");
    }
}
