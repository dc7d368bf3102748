//! abra is reached by spawning it and by nothing else, and in the one quiet form that was proven.

use crate::support::*;

#[tokio::test]
async fn abra_is_called_with_chaos_offline_and_no_input_and_no_secret() {
    let Some(house) = House::open_with("recording", Setup::recording_abra()).await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme").await;
    let secret = house.secret_of_the_app("token").await;
    change.hears("**Passed").await;

    let calls = house.calls_of_abra().await;
    for command in ["app new", "app secret generate", "app deploy", "app undeploy"] {
        let call =
            calls.iter().find(|call| call.is(command)).unwrap_or_else(|| panic!("no call of {command}: {calls:?}"));
        for flag in ["-n", "-o"] {
            assert!(call.has(flag), "{command} without {flag}: {call:?}");
        }
        assert!(call.env("ABRA_DIR").is_some_and(|dir| dir.contains("/work/")), "{call:?}");
        assert_eq!(call.env("HOME").map(|home| home != "/root"), Some(true), "{call:?}");
    }
    for command in ["app new", "app deploy"] {
        assert!(calls.iter().filter(|call| call.is(command)).all(|call| call.has("-C")), "{calls:?}");
    }
    assert!(calls.iter().all(|call| !call.text().contains(&secret)), "a secret stood in the arguments");
    house.is_empty().await;
}

#[tokio::test]
async fn an_abra_that_answers_otherwise_is_understood() {
    let Some(house) = House::open_with("otherwise", Setup::abra_otherwise()).await else { return };
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme").await;

    change.hears("**Passed").await;
    house.is_empty().await;
}
