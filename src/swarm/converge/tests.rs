//! The judge's rules, told as what happens to a stack. Time is counted by hand.

use std::time::Duration;

use tokio::time::Instant;

use super::judge::{Judge, Step};
use super::{Before, Was};
use super::{Converged, Failure, What};
use crate::clock::Time;
use crate::swarm::events::{Change, StackEvent, What as Heard};
use crate::swarm::views::{Health, Mode, Restart, Service, Slot, Task, TaskState, Template, Update, UpdateState};

const MONITOR: u64 = 5;

fn service(name: &str) -> Service {
    let labels = [("com.docker.stack.namespace".to_owned(), "s".to_owned())].into();
    Service {
        id: name.into(),
        name: format!("s_{name}"),
        image: "image".into(),
        mode: Mode::Replicated(1),
        desired: 1,
        health: Health::Off,
        restart: Restart::Always,
        monitor: Duration::from_secs(MONITOR),
        labels,
        container_labels: [].into(),
        env: Vec::new(),
        update: None,
        template: Template("new".into()),
        whole: Template("new".into()),
        configs: Vec::new(),
        secrets: Vec::new(),
        networks: Vec::new(),
        mounts: Vec::new(),
    }
}

fn checked(name: &str) -> Service {
    Service { health: Health::Own, ..service(name) }
}

fn update(state: UpdateState) -> Update {
    Update { state, started_at: Some("now".into()), message: "update paused due to failure".into() }
}

/// A stack that a test lives through.
struct Story {
    judge: Judge,
    start: Instant,
    now: Instant,
    services: Vec<Service>,
    tasks: Vec<Task>,
}

impl Story {
    fn fresh(services: Vec<Service>) -> Story {
        Story::after(Vec::new(), services)
    }

    /// `old` services stood before, with one task each that runs, or is done where it is not started again.
    fn after(old: Vec<Service>, services: Vec<Service>) -> Story {
        let start = Instant::now();
        let mut tasks = Vec::new();
        let mut before = Before { stack: "s".parse().unwrap(), at: Time(0), services: [].into(), tasks: [].into() };
        for service in old {
            let state = if service.restart == Restart::Always { TaskState::Running } else { TaskState::Complete };
            let mut task = task(&service, &format!("old {}", service.short()), state);
            task.template = service.template.clone();
            before.tasks.insert(task.id.clone(), state.is_over());
            tasks.push(task);
            let Service { id, name, template, image, update, .. } = service;
            before.services.insert(name, Was { id, template, image, update });
        }
        let judge = Judge::new(before, Duration::from_secs(300), start);
        Story { judge, start, now: start, services, tasks }
    }

    fn seconds(&mut self, seconds: f64) -> &mut Story {
        self.now += Duration::from_secs_f64(seconds);
        self
    }

    fn is(&mut self, service: &str, id: &str, state: TaskState) -> &mut Story {
        let made = task(self.services.iter().find(|found| found.short() == service).unwrap(), id, state);
        match self.tasks.iter_mut().find(|task| task.id == id) {
            Some(task) => {
                task.state = state;
                task.desired = made.desired;
            }
            None => self.tasks.push(made),
        }
        self
    }

    fn hears(&mut self, id: &str, change: Change) -> &mut Story {
        let what = Heard::Container { id: format!("c {id}"), task: Some(id.into()), service: None, change };
        self.judge.hear(&StackEvent { at: Time(0), what }, self.now);
        self
    }

    fn look(&mut self) -> Step {
        self.judge.look(&self.services, &self.tasks, self.now)
    }

    fn waits(&mut self) -> &mut Story {
        let step = self.look();
        assert!(matches!(step, Step::Wait { .. }), "{step:?}");
        self
    }

    fn converges(&mut self) -> Converged {
        match self.look() {
            Step::Converged(converged) => converged,
            other => panic!("{other:?}"),
        }
    }

    fn fails(&mut self) -> Failure {
        match self.look() {
            Step::Failed(failure) => *failure,
            other => panic!("{other:?}"),
        }
    }

    fn dies(&mut self, service: &str, id: &str) -> &mut Story {
        self.hears(id, Change::Died { exit: 1 }).is(service, id, TaskState::Failed)
    }
}

fn task(service: &Service, id: &str, state: TaskState) -> Task {
    Task {
        id: id.into(),
        service: service.id.clone(),
        slot: Slot::Number(1),
        template: service.template.clone(),
        image: service.image.clone(),
        state,
        desired: if state.is_over() { TaskState::Shutdown } else { TaskState::Running },
        since: None,
        error: String::new(),
        container: Some(format!("c {id}")),
        exit: None,
        created: None,
        configs: Vec::new(),
        secrets: Vec::new(),
    }
}

fn old(name: &str) -> Service {
    Service { template: Template("old".into()), ..service(name) }
}

#[test]
fn a_fresh_service_is_watched_for_its_monitor_period_and_the_wait_is_shown() {
    let mut story = Story::fresh(vec![service("app")]);
    story.waits().seconds(1.0).is("app", "1", TaskState::Starting).waits();
    story.seconds(1.0).is("app", "1", TaskState::Running).waits();
    story.seconds(4.9).waits();
    let converged = story.seconds(0.1).converges();
    assert_eq!(converged, Converged { took: Duration::from_secs(7), waited: Duration::from_secs(MONITOR) });
}

#[test]
fn a_checked_service_is_up_at_the_event_though_swarm_has_not_written_it_yet() {
    let mut story = Story::fresh(vec![checked("app")]);
    story.is("app", "1", TaskState::Starting).waits().seconds(3.0);
    let converged = story.hears("1", Change::Healthy).converges();
    assert_eq!(converged.waited, Duration::ZERO);
}

#[test]
fn the_check_of_an_image_counts_where_the_file_is_silent() {
    let mut story = Story::fresh(vec![Service { health: Health::AsImage, ..service("app") }]);
    story.judge.image_is_checked("image", true);
    story.is("app", "1", TaskState::Running).hears("1", Change::Healthy).converges();
}

#[test]
fn the_same_again_waits_for_nothing() {
    let mut story = Story::after(vec![service("app")], vec![service("app")]);
    assert_eq!(story.converges().waited, Duration::ZERO);
}

#[test]
fn the_old_task_is_not_the_new_version() {
    let mut story = Story::after(vec![old("app")], vec![service("app")]);
    story.waits().seconds(60.0).waits();
}

#[test]
fn an_update_is_over_when_swarm_says_completed() {
    let mut story = Story::after(vec![old("app")], vec![service("app")]);
    story.services[0].update = Some(update(UpdateState::Updating));
    story.is("app", "new", TaskState::Running).waits().seconds(30.0).waits();
    story.services[0].update = Some(update(UpdateState::Completed));
    assert_eq!(story.converges().waited, Duration::from_secs(30));
}

#[test]
fn the_word_of_the_update_before_is_not_this_ones() {
    let before = Service { update: Some(update(UpdateState::RollbackCompleted)), ..old("app") };
    let mut story = Story::after(vec![before], vec![service("app")]);
    story.services[0].update = Some(update(UpdateState::RollbackCompleted));
    story.waits();
}

#[test]
fn a_rollback_is_a_failure_though_everything_runs_and_the_spec_is_the_old_one() {
    let mut story = Story::after(vec![old("app")], vec![old("app")]);
    story.services[0].update = Some(update(UpdateState::RollbackStarted));
    assert!(matches!(story.fails().what, What::RolledBack { .. }));
}

#[test]
fn a_pause_is_a_failure_with_swarms_own_word() {
    let mut story = Story::after(vec![old("app")], vec![service("app")]);
    story.services[0].update = Some(update(UpdateState::Paused));
    let failure = story.fails();
    assert_eq!(failure.to_string(), "the update of app was paused half-way (update paused due to failure)");
}

#[test]
fn three_deaths_of_one_slot_fail_and_one_death_is_one_however_often_it_is_told() {
    let mut story = Story::fresh(vec![service("app")]);
    story.is("app", "1", TaskState::Running).seconds(1.0).hears("1", Change::Killed).dies("app", "1").waits().waits();
    story.is("app", "2", TaskState::Running).seconds(6.0).waits().dies("app", "2").waits();
    story.is("app", "3", TaskState::Running).seconds(6.0).waits();
    let failure = story.dies("app", "3").fails();
    assert_eq!(failure.tasks, ["1", "2", "3"]);
    assert_eq!(failure.to_string(), "app ended with exit code 1, 3 times");
}

#[test]
fn a_container_that_its_check_killed_died_though_it_ended_with_zero() {
    let mut story = Story::fresh(vec![Service { restart: Restart::OnFailure, ..checked("app") }]);
    story.is("app", "1", TaskState::Starting).seconds(4.0).hears("1", Change::Unhealthy).waits();
    story.hears("1", Change::Killed).hears("1", Change::Died { exit: 0 }).is("app", "1", TaskState::Complete);
    // Swarm takes it for done and starts no other: it was given up.
    story.waits().seconds(2.0);
    assert!(matches!(story.fails().what, What::Unhealthy { deaths: 1, .. }));
}

#[test]
fn deaths_for_want_of_another_service_do_not_count() {
    let mut story = Story::fresh(vec![service("app"), checked("db")]);
    story.is("db", "db", TaskState::Starting);
    for id in ["1", "2", "3", "4"] {
        story.is("app", id, TaskState::Running).seconds(5.0).waits().dies("app", id).waits();
    }
    story.hears("db", Change::Healthy).waits();
    for id in ["5", "6"] {
        story.is("app", id, TaskState::Running).seconds(5.0).dies("app", id).waits();
    }
    story.is("app", "7", TaskState::Running).seconds(5.0);
    assert!(matches!(story.dies("app", "7").fails().what, What::CrashLoop { deaths: 7, .. }));
}

#[test]
fn two_that_wait_for_each_other_fail_within_a_minute() {
    let mut story = Story::fresh(vec![service("app"), checked("db")]);
    story.is("db", "db", TaskState::Starting);
    for number in 1.. {
        let id = number.to_string();
        story.is("app", &id, TaskState::Starting).seconds(5.9).dies("app", &id);
        if let Step::Failed(failure) = story.look() {
            assert!(matches!(failure.what, What::CrashLoop { .. }));
            break;
        }
    }
    assert!(story.now.duration_since(story.start) < Duration::from_secs(60));
}

#[test]
fn one_shots_are_done_and_what_is_switched_off_is_no_lack() {
    let once = Service { restart: Restart::Never, ..service("once") };
    let off = Service { mode: Mode::Replicated(0), ..service("off") };
    let job = Service { mode: Mode::Job(1), ..service("job") };
    let mut story = Story::fresh(vec![once, off, job]);
    story.waits().is("once", "1", TaskState::Complete).is("job", "2", TaskState::Complete);
    assert!(story.converges().took < Duration::from_secs(1));
}

#[test]
fn a_one_shot_that_was_done_before_runs_again_only_if_it_changed() {
    let once = Service { restart: Restart::Never, ..service("once") };
    Story::after(vec![once.clone()], vec![once.clone()]).converges();
    let before = Service { restart: Restart::Never, ..old("once") };
    let mut story = Story::after(vec![before], vec![once]);
    // As if it had been that once before.
    story.tasks[0].template = Template("new".into());
    story.waits().is("once", "new", TaskState::Complete).converges();
}

#[test]
fn a_one_shot_that_failed_and_is_not_started_again_is_a_failure() {
    let mut story = Story::fresh(vec![Service { restart: Restart::Never, ..service("once") }]);
    story.is("once", "1", TaskState::Running).waits().dies("once", "1").waits().seconds(2.0);
    let expected = What::CrashLoop { deaths: 1, exit: Some(1), out_of_memory: false, given_up: true };
    assert_eq!(story.fails().what, expected);
}

#[test]
fn a_missing_image_is_the_machines_and_a_bad_mount_the_recipes() {
    for (error, infra) in
        [("No such image: a:1", true), ("invalid mount config: bind source path does not exist", false)]
    {
        let mut story = Story::fresh(vec![service("app")]);
        for id in ["1", "2", "3"] {
            story.is("app", id, TaskState::Rejected).seconds(1.0);
            story.tasks.last_mut().unwrap().error = error.into();
            if let Step::Failed(failure) = story.look() {
                assert_eq!(failure.what, What::Rejected { error: error.into(), infra });
                assert_eq!(id, if infra { "2" } else { "3" });
                break;
            }
        }
    }
}

#[test]
fn a_task_that_no_node_takes_is_told_of_before_the_deadline() {
    let mut story = Story::fresh(vec![service("app")]);
    story.is("app", "1", TaskState::Pending);
    story.tasks[0].error = "no suitable node (scheduling constraints not satisfied on 1 node)".into();
    story.waits().seconds(44.0).waits().seconds(2.0);
    let failure = story.fails();
    assert!(matches!(failure.what, What::Unplaced { infra: false, .. }), "{failure:?}");
}

#[test]
fn the_deadline_names_who_is_late() {
    let mut story = Story::fresh(vec![service("app"), checked("db")]);
    story.is("app", "1", TaskState::Running).is("db", "2", TaskState::Starting).waits().seconds(300.0);
    let failure = story.fails();
    assert_eq!(failure.service, "db");
    assert_eq!(failure.to_string(), "not up after 300 s: app: up; db: 0 of 1, starting, not healthy yet");
}

#[test]
fn nothing_at_all_is_a_failure_of_its_own() {
    let mut story = Story::fresh(Vec::new());
    story.waits().seconds(2.0);
    assert_eq!(story.fails().what, What::NothingDeployed);
}

#[test]
fn progress_is_told_once() {
    let mut story = Story::fresh(vec![checked("app"), Service { mode: Mode::Replicated(2), ..service("web") }]);
    story.is("app", "1", TaskState::Preparing).waits().waits();
    assert_eq!(story.judge.news(), ["app: 0 of 1, preparing", "web: 0 of 2, waiting for Swarm"]);
    story.hears("1", Change::Healthy).is("app", "1", TaskState::Starting).waits();
    assert_eq!(story.judge.news(), ["app: healthy"]);
    story.waits();
    assert!(story.judge.news().is_empty());
}
