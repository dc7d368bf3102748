//! A value of each class of secret, found where it belongs, and looked for everywhere else once a run is over: in what the
//! system wrote (also inside of what it packed), in what it serves, in what the forge was told, and in the arguments and the
//! environment of every process it had.

use crate::support::*;

#[tokio::test]
async fn a_secret_is_where_it_belongs_and_nowhere_else() {
    let Some(house) = House::open_with("canaries", Setup::canaries()).await else { return };
    // The app prints its secrets, as they are and encoded, and dies: the log, the comment and the evidence have its last lines.
    let recipe = Fixture::named("app").env("MODE", "print-secret,crash-after:2");
    let change = house.pull_request(recipe.replace("compose.yml", "interval: 1s", "interval: 5s")).await;
    let watched = house.watches_its_processes();
    let api_token = house.new_token("canary", "run").await;
    house.page_comes_to_say("/repositories", "app").await;

    let asked = house.asks_by_token(&api_token, r#"{"repository": "app", "pr": 1}"#).await;
    asked.contains("run 1 is queued");
    let generated = house.secret_of_the_app("token").await;
    change.hears("**Failed").await.contains("[secret token");
    change.says(MEMBER, "!testme status").await;
    change.hears("**Here:**").await;
    house.is_empty().await;

    let secrets = [
        ("the bot's token", house.bot_token(), vec!["token", "forge/"]),
        ("the webhook's secret", House::hook_secret().to_owned(), vec!["hook-secret"]),
        ("the wildcard key", house.wildcard_key(), vec![]),
        ("the API token", api_token, vec![]),
        ("the app's secret", generated, vec![]),
    ];
    let mut everything = house.everything_written_and_served().await;
    everything.extend(house.served_to_whoever_follows_links().await);
    everything.extend(watched.stop());
    let calls = house.calls_of_abra().await;
    everything.extend(calls.iter().map(|call| ("a call of abra".to_owned(), call.text().into_bytes())));
    for kind in ["page: /runs/1", "process: environ", "a call of abra", "(unpacked)"] {
        assert!(everything.iter().any(|(place, _)| place.contains(kind)), "nothing was searched of {kind}");
    }

    for (what, secret, belongs) in secrets {
        let forms = forms_of(&secret);
        let mut at_home = belongs.clone();
        for (place, bytes) in &everything {
            let Some(form) = forms.iter().find(|form| contains(bytes, form.as_bytes())) else { continue };
            let home = belongs.iter().find(|home| house.is_at(place, home));
            assert!(home.is_some(), "{place} holds {what} as {form}");
            at_home.retain(|other| Some(other) != home);
        }
        assert!(at_home.is_empty(), "{what} was not found where it belongs: {at_home:?}");
    }
}
