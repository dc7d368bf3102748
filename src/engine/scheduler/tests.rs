//! The queue stepped by hand: the clock is held, runs end when the test says so.

use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::clock::Time;
use crate::model::{Origin, Outcome, StageName, StageState};
use crate::store::Store;
use crate::store::runs::NewRun;
use crate::store::tests::empty;

/// Runs that a test holds and lets go.
#[derive(Clone)]
struct Held {
    store: Store,
    clock: Clock,
    arrived: mpsc::UnboundedSender<(Run, Stop, oneshot::Sender<Outcome>)>,
    broken: Arc<Mutex<Vec<RunId>>>,
    full: Arc<Mutex<Option<String>>>,
    /// Nothing can be written, so nothing can be closed.
    stuck: Arc<Mutex<bool>>,
}

impl Work for Held {
    fn plan(&self, _asked: Asked) -> Vec<Planned> {
        vec![(StageName::Fetch, StageState::Waiting, None)]
    }

    async fn held_up(&self) -> Option<String> {
        self.full.lock().unwrap().clone()
    }

    async fn carry_out(&self, run: Run, stop: Stop) {
        let (let_go, told) = oneshot::channel();
        let id = run.id;
        self.arrived.send((run, stop, let_go)).unwrap();
        let outcome = told.await.expect("the test lets go by a fault");
        self.end(id, outcome).await;
    }

    async fn pick_up(&self, run: RunId) {
        self.broken.lock().unwrap().push(run);
        if !*self.stuck.lock().unwrap() {
            self.end(run, Outcome::Infra).await;
        }
    }
}

impl Held {
    async fn end(&self, id: RunId, outcome: Outcome) {
        let now = self.clock.now();
        self.store
            .write("is being tested", move |tx| {
                let verdict = run::Verdict { outcome, reason: "so it came".into() };
                run::finish(tx, id, verdict, run::torn_down(tx, id)?, now)
            })
            .await
            .unwrap();
    }
}

struct House {
    _dir: tempfile::TempDir,
    store: Store,
    clock: Clock,
    scheduler: Scheduler<Held>,
    arrivals: mpsc::UnboundedReceiver<(Run, Stop, oneshot::Sender<Outcome>)>,
    broken: Arc<Mutex<Vec<RunId>>>,
    full: Arc<Mutex<Option<String>>>,
    stuck: Arc<Mutex<bool>>,
}

impl House {
    fn with_room_for(parallel: usize) -> House {
        let (dir, store) = empty();
        let clock = Clock::held(Time(1_767_323_045_000));
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let broken = Arc::default();
        let full = Arc::default();
        let stuck = Arc::default();
        let ledger = Ledger::new(store.clone(), crate::bell::Bell::of(dir.path().join("nobody")));
        let work = Held {
            store: store.clone(),
            clock: clock.clone(),
            arrived,
            broken: Arc::clone(&broken),
            full: Arc::clone(&full),
            stuck: Arc::clone(&stuck),
        };
        let scheduler = Scheduler::new(ledger, clock.clone(), work, parallel, Duration::from_secs(60));
        House { _dir: dir, store, clock, scheduler, arrivals, broken, full, stuck }
    }

    async fn asked_for(&self, recipe: &str) -> RunId {
        let new = NewRun {
            origin: Origin::Local,
            repository: None,
            repo_name: recipe.into(),
            recipe: recipe.into(),
            pr: Some(crate::model::Pr(1)),
            head: "3f9c2ab13f9c2ab13f9c2ab13f9c2ab13f9c2ab1".parse().unwrap(),
            base_branch: None,
            title: String::new(),
            comment: None,
            asked_by: "member".into(),
            asked: Asked::All,
            upgrade_from: None,
            attempt: 1,
            retry_of: None,
        };
        let now = self.clock.now();
        self.clock.advance(Duration::from_secs(1));
        self.store.write("is being tested", move |tx| run::queue(tx, &new, now)).await.unwrap()
    }

    async fn scheduled(&self, recipe: &str) -> RunId {
        let run = self.asked_for(recipe).await;
        self.store
            .write("is being tested", move |tx| {
                tx.execute("update runs set origin = 'schedule', pr = null where id = ?1", [run])?;
                Ok(run)
            })
            .await
            .unwrap()
    }

    async fn look(&mut self) {
        self.scheduler.look().await.unwrap();
    }

    async fn arrival(&mut self) -> (Run, Stop, oneshot::Sender<Outcome>) {
        tokio::time::timeout(Duration::from_secs(20), self.arrivals.recv()).await.expect("no run started").unwrap()
    }

    async fn run(&self, id: RunId) -> Run {
        self.store.read(move |db| runs::by_id(db, id)).await.unwrap().unwrap()
    }

    async fn waits_for(&self, id: RunId) -> Option<String> {
        self.run(id).await.waits_for
    }
}

#[tokio::test]
async fn what_holds_everything_up_is_told_to_all_who_wait_and_ends_by_itself() {
    let mut house = House::with_room_for(1);
    let (keycloak, html) = (house.asked_for("keycloak").await, house.asked_for("custom-html").await);
    *house.full.lock().unwrap() = Some("the disk is full".into());
    house.look().await;
    assert!(house.arrivals.try_recv().is_err(), "it started all the same");
    for run in [keycloak, html] {
        assert_eq!(house.waits_for(run).await.as_deref(), Some("Not yet: the disk is full"));
    }

    *house.full.lock().unwrap() = None;
    house.look().await;
    let (running, _, let_go) = house.arrival().await;
    assert_eq!(running.id, keycloak);
    assert_eq!(house.waits_for(html).await.as_deref(), Some("Waiting for keycloak #1 to finish"));
    let_go.send(Outcome::Passed).unwrap();
}

#[tokio::test]
async fn first_asked_is_first_served_and_the_others_hear_for_whom_they_wait() {
    let mut house = House::with_room_for(1);
    let keycloak = house.asked_for("keycloak").await;
    let html = house.asked_for("custom-html").await;
    let ghost = house.asked_for("ghost").await;

    house.look().await;
    let (running, _, let_go) = house.arrival().await;
    assert_eq!(running.id, keycloak);
    assert_eq!(house.waits_for(html).await.as_deref(), Some("Waiting for keycloak #1 to finish"));
    assert_eq!(house.waits_for(ghost).await.as_deref(), Some("Second in the queue, behind custom-html #1"));

    house.look().await;
    assert!(house.arrivals.try_recv().is_err(), "two at a time though one was allowed");

    let_go.send(Outcome::Failed).unwrap();
    house.scheduler.one_ended().await;
    house.look().await;
    assert_eq!(house.arrival().await.0.id, html);
    assert_eq!(house.waits_for(ghost).await.as_deref(), Some("Waiting for custom-html #1 to finish"));
}

#[tokio::test]
async fn recipes_take_turns() {
    let mut house = House::with_room_for(1);
    for _ in 0..4 {
        house.asked_for("keycloak").await;
    }
    house.asked_for("ghost").await;
    house.asked_for("ghost").await;
    let mut order = Vec::new();
    for _ in 0..6 {
        house.look().await;
        let (running, _, let_go) = house.arrival().await;
        order.push(format!("{} {}", running.recipe, running.id));
        house.clock.advance(Duration::from_secs(1));
        let_go.send(Outcome::Failed).unwrap();
        house.scheduler.one_ended().await;
    }
    assert_eq!(order, ["keycloak 1", "ghost 5", "keycloak 2", "ghost 6", "keycloak 3", "keycloak 4"]);
}

#[tokio::test]
async fn what_pauses_holds_nobody_up_and_begins_when_its_pause_is_over() {
    let mut house = House::with_room_for(1);
    let pausing = house.asked_for("keycloak").await;
    let until = house.clock.now().plus(Duration::from_secs(30));
    house
        .store
        .write("is being tested", move |tx| {
            turns::pause(tx, pausing, until)?;
            run::wait(tx, pausing, "Tried again later", until).map(drop)
        })
        .await
        .unwrap();
    let other = house.asked_for("ghost").await;
    house.look().await;
    let (running, _, let_go) = house.arrival().await;
    assert_eq!(running.id, other);
    assert_eq!(house.waits_for(pausing).await.as_deref(), Some("Tried again later"));
    let_go.send(Outcome::Failed).unwrap();
    house.scheduler.one_ended().await;
    house.look().await;
    assert!(house.arrivals.try_recv().is_err(), "it began in its pause");
    house.clock.advance(Duration::from_secs(30));
    house.look().await;
    assert_eq!(house.arrival().await.0.id, pausing);
}

#[tokio::test]
async fn as_many_run_as_are_allowed() {
    let mut house = House::with_room_for(2);
    for recipe in ["a", "b", "c"] {
        house.asked_for(recipe).await;
    }
    house.look().await;
    house.arrival().await;
    house.arrival().await;
    assert_eq!(house.scheduler.busy(), 2);
    assert!(house.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn a_queued_run_that_is_cancelled_ends_without_starting() {
    let mut house = House::with_room_for(1);
    let first = house.asked_for("keycloak").await;
    house.look().await;
    let _held = house.arrival().await;
    let second = house.asked_for("ghost").await;
    let now = house.clock.now();
    // Only marked, as the server does it that has no say in runs.
    house
        .store
        .write("is being tested", move |tx| runs::ask_cancel(tx, second, "the pull request was closed", now))
        .await
        .unwrap();
    house.look().await;
    let second = house.run(second).await;
    assert_eq!((second.outcome, second.started_at), (Some(Outcome::Cancelled), None));
    assert_eq!(second.reason.as_deref(), Some("the pull request was closed"));
    assert_eq!(house.run(first).await.outcome, None);
}

#[tokio::test]
async fn a_running_run_that_is_cancelled_is_told_so() {
    let mut house = House::with_room_for(1);
    let id = house.asked_for("keycloak").await;
    house.look().await;
    let (_, stop, _let_go) = house.arrival().await;
    let now = house.clock.now();
    house.store.write("is being tested", move |tx| run::ask_cancel(tx, id, "member", now)).await.unwrap();
    house.look().await;
    assert_eq!(stop.why(), Some(Why::Asked));
    assert!(stop.token().is_cancelled());
}

#[tokio::test]
async fn a_run_that_broke_off_is_closed_all_the_same() {
    let mut house = House::with_room_for(1);
    let id = house.asked_for("keycloak").await;
    house.look().await;
    let (_, _, let_go) = house.arrival().await;
    drop(let_go);
    house.scheduler.one_ended().await;
    house.look().await;
    assert_eq!(house.scheduler.busy(), 1, "its place is taken until it is closed");
    house.scheduler.one_ended().await;
    assert_eq!(*house.broken.lock().unwrap(), [id]);
    assert_eq!((house.run(id).await.outcome, house.scheduler.busy()), (Some(Outcome::Infra), 0));
}

#[tokio::test]
async fn a_run_that_cannot_be_closed_is_closed_when_it_can_be() {
    let mut house = House::with_room_for(1);
    let id = house.asked_for("keycloak").await;
    let later = house.asked_for("ghost").await;
    house.look().await;
    *house.stuck.lock().unwrap() = true;
    drop(house.arrival().await);
    house.scheduler.one_ended().await;
    house.look().await;
    house.scheduler.one_ended().await;
    assert_eq!(house.run(id).await.outcome, None);
    *house.stuck.lock().unwrap() = false;
    house.look().await;
    assert!(house.run(later).await.started_at.is_none(), "the place is not free yet");
    house.scheduler.one_ended().await;
    assert_eq!(*house.broken.lock().unwrap(), [id, id]);
    assert_eq!(house.run(id).await.outcome, Some(Outcome::Infra));
    house.look().await;
    assert_eq!(house.arrival().await.0.id, later);
}

#[tokio::test]
async fn what_was_interrupted_goes_on_before_what_came_later() {
    let mut house = House::with_room_for(1);
    let first = house.asked_for("keycloak").await;
    let later = house.asked_for("ghost").await;
    let now = house.clock.now();
    let plan = vec![(StageName::Fetch, StageState::Waiting, None)];
    let again = house
        .store
        .write("is being tested", move |tx| {
            run::start(tx, first, &plan, now)?;
            run::interrupt(tx, first, "the runner died", run::torn_down(tx, first)?, now)
        })
        .await
        .unwrap();
    house.look().await;
    assert_eq!(Some(house.arrival().await.0.id), again);
    assert!(house.waits_for(later).await.is_some());
}

#[tokio::test]
async fn a_stopping_runner_takes_nothing_new_and_tells_the_last_one_when_its_patience_ends() {
    let mut house = House::with_room_for(1);
    let first = house.asked_for("keycloak").await;
    let second = house.asked_for("ghost").await;
    let shutdown = Shutdown::default();
    let scheduler = std::mem::replace(&mut house.scheduler, House::with_room_for(1).scheduler);
    let serving = tokio::spawn(scheduler.serve(None, shutdown.clone()));
    let (running, stop, let_go) = house.arrival().await;
    assert_eq!(running.id, first);

    shutdown.drain.cancel();
    assert_eq!(stop.why(), None, "the grace was not given");
    shutdown.haste.cancel();
    tokio::time::timeout(Duration::from_secs(20), stop.token().cancelled()).await.unwrap();
    assert_eq!(stop.why(), Some(Why::Stopping));

    let_go.send(Outcome::Infra).unwrap();
    serving.await.unwrap();
    assert_eq!(house.run(second).await.started_at, None);
}

#[tokio::test]
async fn whoever_asked_goes_before_what_the_schedule_asked() {
    let mut house = House::with_room_for(1);
    let nightly = house.scheduled("ghost").await;
    let asked = house.asked_for("keycloak").await;
    house.look().await;
    let (run, _, let_go) = house.arrival().await;
    assert_eq!(run.id, asked);
    assert_eq!(house.waits_for(nightly).await.as_deref(), Some("Waiting for keycloak #1 to finish"));
    let again = house.asked_for("keycloak").await;
    let_go.send(Outcome::Failed).unwrap();
    house.scheduler.one_ended().await;
    house.look().await;
    let (run, _, let_go) = house.arrival().await;
    assert_eq!(run.id, again, "it came later and still goes first");
    let_go.send(Outcome::Failed).unwrap();
    house.scheduler.one_ended().await;
    house.look().await;
    assert_eq!(house.arrival().await.0.id, nightly);
}

#[tokio::test]
async fn in_quiet_hours_the_schedule_waits_and_nobody_else() {
    let mut house = House::with_room_for(1);
    // It is 03:04.
    let schedule = crate::yaml::from_str("schedule", "{cron: '0 2 * * *', quiet: ['03:00-04:00']}").unwrap();
    house.scheduler = house.scheduler.heeding(Some(schedule));
    let nightly = house.scheduled("ghost").await;
    house.look().await;
    assert!(house.arrivals.try_recv().is_err(), "it began all the same");
    assert_eq!(house.waits_for(nightly).await.as_deref(), Some("Waiting for the end of the quiet hours, 04:00 UTC"));
    let asked = house.asked_for("keycloak").await;
    house.look().await;
    let (run, _, let_go) = house.arrival().await;
    assert_eq!(run.id, asked);
    let_go.send(Outcome::Failed).unwrap();
    house.scheduler.one_ended().await;
    house.clock.advance(Duration::from_secs(3600));
    house.look().await;
    assert_eq!(house.arrival().await.0.id, nightly);
}
