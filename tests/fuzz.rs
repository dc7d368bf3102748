//! What strangers write is read a great many times, changed at random, and each promise holds: no panic, no bomb, no secret
//! that comes through, nothing of the host that is allowed. A quick pass here; `scripts/fuzz` goes on for as long as it is told.

#[path = "evil/case.rs"]
#[allow(dead_code, reason = "tests/evil.rs uses the rest")]
mod case;
#[path = "fuzz/driver.rs"]
mod driver;
#[path = "fuzz/targets.rs"]
mod targets;

use std::time::Duration;

use driver::{Target, Until, corpus_of, fuzz};
use sha2::{Digest, Sha256};

/// The kept inputs, and some changes of them: the same each time.
fn holds(target: &Target) {
    let tally = fuzz(target, 6, Until::Tried(400));
    println!("{}: {} inputs, slowest {:?}", target.name, tally.tried, tally.slowest);
}

#[test]
fn reading_a_compose_file_ends_and_what_is_written_is_read_back() {
    holds(&targets::COMPOSE);
}

#[test]
fn what_is_allowed_asks_for_nothing_of_the_host() {
    holds(&targets::POLICY);
}

#[test]
fn a_command_is_read_back_and_is_none_in_a_quote() {
    holds(&targets::GRAMMAR);
}

#[test]
fn no_secret_comes_through_wherever_the_text_is_cut() {
    holds(&targets::REDACTOR);
}

#[test]
fn nothing_of_a_hook_is_believed_but_a_name() {
    holds(&targets::WEBHOOK);
}

#[test]
fn the_second_look_at_what_is_allowed_can_object() {
    let corpus = case::corpus();
    for rule in
        ["bind-mount", "privileged", "capabilities", "devices", "host-namespace", "published-port", "foreign-volume"]
    {
        let mut evil = case::cases(&corpus).into_iter().filter(|case| case.text("rule") == rule);
        assert!(evil.any(|case| targets::is_objected_to(&case.files(case::Which::Evil))), "{rule}");
    }
}

/// `CC_CI_FUZZ=TARGET SECONDS SEED`; what got a new answer is kept in the corpus.
#[test]
#[ignore = "scripts/fuzz runs it"]
fn for_as_long_as_it_is_told() {
    let asked = std::env::var("CC_CI_FUZZ").expect("scripts/fuzz says what");
    let [name, seconds, seed] = asked.split(' ').collect::<Vec<_>>()[..] else {
        panic!("TARGET SECONDS SEED: {asked}")
    };
    let target = targets::ALL.iter().find(|target| target.name == name).expect("a target");
    let tally = fuzz(target, seed.parse().unwrap(), Until::Passed(Duration::from_secs(seconds.parse().unwrap())));
    let dir = corpus_of(target);
    std::fs::create_dir_all(&dir).unwrap();
    for input in &tally.kept {
        std::fs::write(dir.join(&hex::encode(Sha256::digest(input))[..16]), input).unwrap();
    }
    println!("{name}: {} inputs in {seconds} s, slowest {:?}, {} kept", tally.tried, tally.slowest, tally.kept.len());
}
