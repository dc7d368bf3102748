//! Recipes that want the machine: refused before anything is deployed, with the rule, the file and the line. The corpus of
//! `tests/evil.rs` has every trick; these come through the front door.

use crate::support::*;

async fn is_refused(name: &str, recipe: Fixture, words: &[&str]) {
    let Some(house) = House::open(name).await else { return };
    let change = house.pull_request(recipe).await;
    change.says(MEMBER, "!testme").await;
    let verdict = change.hears("**Failed").await;
    verdict.contains("a pull request may not");
    for word in words {
        verdict.contains(word);
    }
    change.status_is("failure").await;
    let run: serde_json::Value = serde_json::from_str(&house.page("/api/v1/runs/1").await.0).unwrap();
    let install = run["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "install").unwrap();
    assert_eq!(install["state"], "skipped", "{run}");
    house.is_empty().await;
}

#[tokio::test]
async fn the_engines_socket() {
    let recipe = Fixture::named("app").replace(
        "compose.yml",
        "      - data:/data",
        "      - data:/data\n      - /var/run/docker.sock:/var/run/docker.sock",
    );
    is_refused("evil-socket", recipe, &["compose.yml:13", "bind-mount"]).await;
}

#[tokio::test]
async fn a_port_of_the_machine() {
    let recipe = Fixture::named("app").replace(
        "compose.yml",
        "    secrets:\n      - token",
        "    ports:\n      - \"22:22\"\n    secrets:\n      - token",
    );
    is_refused("evil-port", recipe, &["published-port", "recipes/app/recipe.yaml"]).await;
}

#[tokio::test]
async fn a_command_in_abra_sh() {
    let recipe = Fixture::named("app").file("abra.sh", "export X_VERSION=v1\ntouch /pwned\n");
    is_refused("evil-abra-sh", recipe, &["abra.sh:2", "abra-sh"]).await;
    assert!(!std::path::Path::new("/pwned").exists());
}

#[tokio::test]
async fn another_apps_volume() {
    let recipe = Fixture::named("app").replace(
        "compose.yml",
        "  data:\n\nsecrets",
        "  data:\n    external: true\n    name: traefik_letsencrypt\n\nsecrets",
    );
    is_refused("evil-volume", recipe, &["foreign-volume"]).await;
}
