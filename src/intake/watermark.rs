//! No gap, no double: whatever happens in whatever order, a request is decided once.

use std::time::Duration;

use proptest::prelude::*;

use super::house::House;
use super::pretend::{MEMBER, Odd, later, repo};
use crate::model::CommentId;

#[derive(Clone, Debug)]
enum Step {
    Say(usize, bool),
    EditLast,
    Wait(u64),
    Poll,
    Hook(usize),
    Restart,
    Down(bool),
    Lag(u64),
    Blind(bool),
    NewRepository,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..4, any::<bool>()).prop_map(|(repository, asks)| Step::Say(repository, asks)),
        1 => Just(Step::EditLast),
        3 => (0_u64..200).prop_map(Step::Wait),
        5 => Just(Step::Poll),
        1 => (0_usize..4).prop_map(Step::Hook),
        1 => Just(Step::Restart),
        1 => any::<bool>().prop_map(Step::Down),
        // Within the overlap of 120 s.
        1 => (0_u64..60).prop_map(Step::Lag),
        1 => any::<bool>().prop_map(Step::Blind),
        1 => Just(Step::NewRepository),
    ]
}

async fn play(steps: Vec<Step>) {
    let mut house = House::open(|forge| forge.pull_request("recipe-0", 'a')).await;
    let mut repositories = 1;
    let (mut asked, mut edited) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Say(at, asks) => {
                let body = if asks { "!testme again" } else { "hello" };
                let id = house.forge.says(&format!("recipe-{}", at % repositories), MEMBER, body);
                if asks {
                    asked.push(id);
                }
            }
            Step::EditLast => {
                house.pass_time(1);
                let last = house.forge.state().comments.last().map(|(_, comment)| comment.id);
                if let Some(id) = last {
                    house.forge.edits(id, "!testme again");
                    edited.push(id);
                }
            }
            Step::Wait(seconds) => house.pass_time(seconds),
            Step::Poll => drop(house.poll().await),
            Step::Hook(at) => {
                house.nudge.look_at(repo(&format!("recipe-{at}")));
                house.turn().await;
            }
            Step::Restart => house = house.restart(),
            Step::Down(down) => house.forge.odd(|odd| odd.down = down.then(later)),
            Step::Lag(seconds) => house.forge.odd(|odd| odd.lag = Duration::from_secs(seconds)),
            Step::Blind(blind) => house.forge.odd(|odd| odd.search_is_blind = blind),
            Step::NewRepository if repositories < 4 => {
                house.forge.pull_request(&format!("recipe-{repositories}"), 'a');
                repositories += 1;
            }
            Step::NewRepository => {}
        }
    }
    house.forge.odd(|odd| *odd = Odd::default());
    // Longer than any pause, and long enough for a sweep.
    for _ in 0..3 {
        house.pass_time(400);
        house.turn().await;
    }
    let runs: Vec<(CommentId, i64)> = house
        .store
        .read(|db| {
            let mut statement = db.prepare("select comment, count(*) from runs group by comment")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
        .unwrap();
    for &(comment, count) in &runs {
        assert_eq!(count, 1, "comment {comment} ran {count} times");
        assert!(asked.contains(&comment), "comment {comment} asked for nothing when it was written");
    }
    for id in asked {
        if !edited.contains(&id) {
            assert!(runs.iter().any(|(comment, _)| *comment == id), "the request {id} was lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_request_is_lost_and_none_runs_twice(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}
