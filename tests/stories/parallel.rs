//! Two runs at a time, where the appliance may.

use std::time::Instant;

use crate::support::*;

#[tokio::test]
async fn two_recipes_are_tested_at_the_same_time_and_neither_sees_the_other() {
    let Some(house) = House::open_with("parallel", Setup::parallel()).await else { return };
    let one = house.pull_request(Fixture::named("app").slow(4)).await;
    let other = house.pull_request(Fixture::named("custom-html").called("other")).await;

    house.has_looked().await;
    let began = Instant::now();
    one.says(MEMBER, "!testme").await;
    other.says(MEMBER, "!testme").await;
    house.run_is(1, "running").await;
    house.run_is(2, "running").await;

    one.hears("**Passed").await;
    other.hears("**Passed").await;
    let (both, spans) = (began.elapsed(), "select sum(finished_at - started_at) from runs");
    println!("both took {} ms, one after the other {} ms", both.as_millis(), house.asks_the_database(spans));
    let at_once = "select count(*) from runs one, runs two where one.id = 1 and two.id = 2
                   and one.started_at < two.finished_at and two.started_at < one.finished_at and one.domain <> two.domain";
    assert_eq!(house.asks_the_database(at_once), 1);
    one.has_one_comment_of_the_bot().await;
    other.has_one_comment_of_the_bot().await;
    house.is_empty().await;
}
