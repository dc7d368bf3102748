//! An app that prints its own generated secret, as it is, in base64 and in hex: masked wherever it could show.

use crate::support::*;

#[tokio::test]
async fn a_secret_that_an_app_prints_is_masked_everywhere() {
    let Some(house) = House::open("secret").await else { return };
    // It prints its secrets and dies before its first health check, so that the last lines reach the comment.
    let recipe = Fixture::named("app").env("MODE", "print-secret,crash-after:2");
    let change = house.pull_request(recipe.replace("compose.yml", "interval: 1s", "interval: 5s")).await;

    change.says(MEMBER, "!testme").await;
    let secret = house.secret_of_the_app("token").await;
    change.hears("**Failed").await.contains("[secret token");

    let forms = forms_of(&secret);
    let everything = house.everything_written_and_served().await;
    assert!(everything.len() > 10, "there was nothing to search");
    for (place, bytes) in everything {
        for form in &forms {
            assert!(!contains(&bytes, form.as_bytes()), "{place} holds the secret as {form}");
        }
    }
    house.is_empty().await;
}
