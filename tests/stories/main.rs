//! Stories: each goes through the front door, over a forge, real git, a real Swarm and a real Traefik. One file a story, or a
//! few that are one subject. They run in parallel, each in a house of its own (`support/house.rs`).

#[path = "../notify/servers.rs"]
mod servers;
#[path = "../support/mod.rs"]
mod support;

mod backup;
mod bad_input;
mod canaries;
mod checks;
mod closed_before_its_turn;
mod comments;
mod doctor;
mod evil;
mod failing_apps;
mod fixtures;
mod forge_changes;
mod forge_down;
mod full_disk;
mod janitor;
mod needs;
mod notices;
mod other_doors;
mod parallel;
mod passes;
mod proof;
mod pushed_after;
mod real_apps;
mod real_gitea;
mod recording_abra;
mod restart;
mod retries;
mod secret_in_output;
mod two_requests;
mod upgrades;
