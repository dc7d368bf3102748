//! A recipe that needs another: that one goes first, stands all the time, and goes last.

use crate::support::*;

/// Shows where the other lives, and asks it.
const NEEDS: &str = "needs: [{recipe: sso, env: {APP_TITLE: 'asks {domain}'}}]
checks:
  - {name: it was told, get: /, contains: 'asks {sso}'}
  - {name: the other answers, get: /healthz, host: sso}
";
const PREPARES: &str = "
ci.job('prepares', {'needs'}, function(t)
  local there = t.app.needs.sso
  t.http.expect(there.url .. '/healthz', {status = 200})
  local ok, why = pcall(t.exec, 'app', 'true')
  assert(not ok and why:find('the app itself is not deployed'), why)
  return {at = there.domain, version = there.version}
end)
ci.job('stays', {'restore', 'upgrade', 'prepares'}, function(t)
  assert(t.app.needs.sso.domain == t.jobs('prepares').at)
  assert(t.jobs('prepares').version == '1.0.0+1', t.jobs('prepares').version)
  local ok, why = pcall(t.exec, 'sso/app', 'true')
  assert(not ok and why:find('own services'), why)
  return true
end)
";

fn sso() -> Fixture {
    Fixture::named("app").called("sso")
}

fn app() -> Fixture {
    let told = Fixture::named("app").replace("compose.yml", "      - MODE\n", "      - MODE\n      - APP_TITLE\n");
    told.file(".cc-ci/recipe.yaml", NEEDS)
}

#[tokio::test]
pub(crate) async fn what_a_recipe_needs_goes_first_stands_all_the_time_and_goes_last() {
    let Some(house) = House::open_with("needs", Setup::recording_abra()).await else { return };
    house.pull_request(sso()).await;
    let change = house.pull_request(app().file(".cc-ci/checks/needs.lua", PREPARES)).await;

    change.says(MEMBER, "!testme").await;

    change.hears("first sso 1.0.0+1 · install · checks (3) · backup").await.contains("(5 deployments)");
    change.hears("**Passed").await;
    let run = house.page("/runs/1").await;
    run.contains("sso is deployed first, since the recipe needs it: its newest release").contains("5, as planned");
    run.contains("app 1.1.0+2, beside it sso 1.0.0+1");
    run.contains("it was told").contains("the other answers").contains("needs.lua stays").contains("sso: front page");
    let calls = house.calls_of_abra().await;
    let acts = calls.iter().filter_map(|call| {
        let act = ["app new", "app deploy", "app undeploy"].into_iter().find(|act| call.is(act))?;
        let whose = if call.text().contains("sso-") { "sso" } else { "app" };
        Some(format!("{whose} {}", act.trim_start_matches("app ")))
    });
    let acts: Vec<String> = acts.collect();
    assert_eq!(acts[..2], ["sso new", "sso deploy"], "{acts:?}");
    assert_eq!(acts[2], "app new", "{acts:?}");
    assert_eq!(acts[acts.len() - 2..], ["app undeploy", "sso undeploy"], "{acts:?}");
    assert_eq!(acts.iter().filter(|act| act.starts_with("sso")).count(), 3, "{acts:?}");
    house.is_consistent().await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_secret_of_what_is_needed_is_lent_by_the_operator_alone() {
    let Some(house) = House::open("lent").await else { return };
    let operator = "env: {APP_TITLE: 'the operator'}\nneeds: [{recipe: sso, secrets: {token: token}}]\n\
                    checks: [{name: his word counts, get: /, contains: the operator}]\n";
    house.knows("app", "recipe.yaml", operator);
    let script = "ci.job('same', {'install'}, function(t)
  local theirs = t.exec('sso/app', 'cat /run/secrets/token').out
  assert(theirs == t.exec('app', 'cat /run/secrets/token').out and theirs == t.secret('sso/token'))
  return #theirs > 8
end)
";
    house.knows("app", "checks/same.lua", script);
    house.pull_request(sso()).await;
    let wired = "needs: [{recipe: sso, env: {APP_TITLE: 'asks {domain}'}}]\n";
    let change = house.pull_request(app().file(".cc-ci/recipe.yaml", wired)).await;

    change.says(MEMBER, "!testme checks").await;
    let secret = house.secret_of_the_app("token").await;

    change.hears("**Passed").await;
    house.page("/runs/1").await.contains("same.lua same").contains("his word counts");
    for (place, bytes) in house.everything_written_and_served().await {
        assert!(!contains(&bytes, secret.as_bytes()), "the secret is in {place}");
    }
    house.is_empty().await;
}

#[tokio::test]
async fn a_need_that_cannot_be_met_is_not_the_head_s_fault_and_never_green() {
    let Some(house) = House::open("unmet").await else { return };
    let change = house.pull_request(app()).await;
    change.says(MEMBER, "!testme").await;
    let verdict = change.hears("**Not tested**, and not because of the recipe: it needs \\`sso\\`").await;
    verdict.contains("which cannot be had: recipes has no repository \\`sso\\` that cc-ci may read");
    house.page("/runs/1").await.contains("nothing was deployed");

    house.pull_request(sso().env("MODE", "crash")).await;
    change.says(MEMBER, "!testme").await;
    let does_not = "it needs \\`sso\\`, which does not come up: app ended with exit code 1";
    change.hears(&format!("**Not tested**, and not because of the recipe: {does_not}")).await;
    change.status_is("error").await;
    assert_eq!(house.runs().await.len(), 2, "tried again in vain");
    let run = house.page("/runs/2").await;
    run.contains("sso: services run").contains("log.install.sso.app.txt").lacks("level 0");
    house.is_empty().await;
}

#[tokio::test]
async fn a_repository_without_anything_and_an_operator_s_script_that_fails_are_not_the_head_s_fault() {
    let Some(house) = House::open("unprepared").await else { return };
    house.empty_repository("void").await;
    let lone = app().called("lone").file(".cc-ci/recipe.yaml", "needs: [void]\n");
    let lone = house.pull_request(lone).await;
    lone.says(MEMBER, "!testme").await;
    lone.hears("it needs \\`void\\`, which cannot be had: its repository is empty").await;

    house.knows("app", "checks/realm.lua", "ci.job('realm', {'needs'}, function() error('no realm') end)\n");
    house.pull_request(sso()).await;
    let change = house.pull_request(app()).await;
    change.says(MEMBER, "!testme install").await;
    let verdict =
        change.hears("**Not tested**, and not because of the recipe: what it needs could not be set up").await;
    verdict.contains("realm: recipes/app/checks/realm.lua:1: no realm");
    house.is_consistent().await;
    house.is_empty().await;
}

#[tokio::test]
async fn what_is_needed_is_taken_down_for_a_runner_that_died() {
    let Some(house) = House::open("needs-killed").await else { return };
    house.pull_request(sso()).await;
    let change = house.pull_request(app().slow(3)).await;

    change.says(MEMBER, "!testme install").await;
    house.has_a_stack().await;
    let deployed = "select count(*) from deployments where run = 1";
    eventually("both to be deployed", || async {
        let count = house.asks_the_database(deployed);
        if count == 2 { Ok(()) } else { Err(format!("{count} deployments")) }
    })
    .await;
    house.dies().await;
    house.starts().await;

    change.hears("**Passed").await;
    house.run_is(1, "interrupted").await;
    assert_eq!(house.asks_the_database("select count(*) from apps where run = 1 and gone_at is not null"), 2);
    house.is_consistent().await;
    house.is_empty().await;
}

#[tokio::test]
async fn what_is_needed_has_its_own_time_and_is_taken_down_when_that_is_over() {
    let Some(house) = House::build("needs-late", Setup::default()).await else { return };
    house.limits("{stage: 10s}");
    house.wake().await;
    house.pull_request(sso().slow(60)).await;
    let change = house.pull_request(app()).await;

    change.says(MEMBER, "!testme").await;

    let too_late = "it needs \\`sso\\`, which does not come up: it took longer than 10 s, the limit of a stage";
    change.hears(&format!("**Not tested**, and not because of the recipe: {too_late}")).await;
    change.status_is("error").await;
    assert_eq!(house.runs().await.len(), 1, "tried again in vain");
    house.is_consistent().await;
    house.is_empty().await;
}

#[tokio::test]
async fn a_local_run_takes_what_it_needs_from_the_directory_beside_it_or_from_one_that_is_named() {
    let Some(house) = House::open("local-needs").await else { return };
    let (code, said) = house.runs_locally(&app()).await;
    said.contains("it needs `sso`, and there is no ../sso beside it; name its directory with `--with sso=PATH`");
    assert_eq!(code, 3, "{said:?}");
    let (code, said) = house.runs_locally_beside(&app(), &Fixture::named("app").in_repository("sso")).await;
    said.contains("it needs `sso`, which calls itself `app` as another does");
    assert_eq!(code, 3, "{said:?}");
    let (code, said) = house.runs_locally_beside(&app(), &Fixture::named("app").called("mail")).await;
    said.contains("`--with mail`: app does not need it");
    assert_eq!(code, 2, "{said:?}");

    let (code, said) = house.runs_locally_beside(&app(), &sso()).await;
    said.contains("app 1.1.0+2, beside it sso ").contains("passed");
    assert_eq!(code, 0, "{said:?}");
    house.is_empty().await;
}
