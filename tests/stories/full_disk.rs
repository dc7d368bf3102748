//! The disk of the state directory runs full, on a small one of its own: nothing begins, everybody is told, and nothing is lost.

use std::io::Write;

use crate::support::*;

/// Takes what is left but so many megabytes; 0 takes all.
fn fill(house: &House, but: u64) {
    let mut file = std::fs::File::options().create(true).append(true).open(house.state("ballast")).unwrap();
    let block = vec![b'x'; 1 << 20];
    let free = || {
        let disk = rustix::fs::statvfs(house.state("")).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    while free() > but << 20 {
        let most = block.len().min(usize::try_from(free()).unwrap().max(4096));
        if file.write_all(&block[..most]).is_err() {
            break;
        }
    }
}

fn make_room(house: &House) {
    std::fs::remove_file(house.state("ballast")).unwrap();
}

#[tokio::test]
async fn a_full_disk_stops_new_runs_says_so_and_loses_nothing() {
    let Some(house) = House::open_with("full-disk", Setup::SmallDisk).await else { return };
    let html = house.pull_request(Fixture::named("custom-html")).await;
    fill(&house, 16);
    html.says(MEMBER, "!testme install").await;
    html.hears("**Waiting**")
        .await
        .contains("the disk of cc-ci is nearly full")
        .contains("the operator has to make room");
    html.status_is("pending").await;
    house.page_comes_to_say("/queue", "is nearly full").await;
    house.page_comes_to_say("/ready", "\"disk\":\"the disk of cc-ci is nearly full").await;

    // Not a byte is left, while comments come in: they cannot be written down, and are read again later.
    fill(&house, 0);
    let late = house.pull_request(Fixture::named("custom-html").called("later")).await;
    late.says(MEMBER, "!testme install").await;
    house.has_looked().await;
    make_room(&house);

    html.hears("**Passed").await;
    late.hears("**Passed").await;
    house.database_is_whole().await;
    house.is_empty().await;
}

/// A run that cannot write down how it came out is closed when there is room again, and asked for anew by itself.
#[tokio::test]
async fn a_disk_that_runs_full_in_the_middle_of_a_run_holds_nothing_up_for_ever() {
    let Some(house) = House::open_with("full-disk-mid-run", Setup::SmallDisk).await else { return };
    let slow = house.pull_request(Fixture::named("slow-first-start")).await;
    slow.says(MEMBER, "!testme install").await;
    slow.hears("| install | ▸ running").await;
    fill(&house, 0);
    house.comes_to_say("a run could not be closed; trying again").await;
    make_room(&house);
    slow.hears("**Passed").await;
    house.database_is_whole().await;
    house.is_empty().await;
}
