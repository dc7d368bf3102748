//! What a recipe says of its own test: declared checks, scripts, and what it may not make of them.

use crate::support::*;

fn has_a_browser(what: &str) -> bool {
    cc_ci::probe::browser::Kit::find().inspect_err(|missing| println!("SKIPPED {what}: {missing}")).is_ok()
}

fn has_fennel(what: &str) -> bool {
    let found = cc_ci::script::Kit::find().is_ok_and(|kit| kit.fennel.is_some());
    if !found {
        println!("SKIPPED {what}: Fennel's compiler is not here");
    }
    found
}

/// A small site with something for each kind of check.
const SITE: &str = r#"
server {
  listen 80;
  default_type text/html;
  absolute_redirect off;
  location = /healthz { return 200 "ok\n"; }
  location = / {
    return 200 '<!doctype html><title>Notes</title><link rel="stylesheet" href="/a.css"><script src="/b.js"></script><p>Welcome';
  }
  location = /a.css { default_type text/css; return 200 'p { color: red }'; }
  location = /b.js { default_type text/javascript; return 200 'let x = 1'; }
  location = /status { default_type application/json; return 200 '{"ready": true, "parts": ["a", "b"]}'; }
  location = /old { return 302 /; }
  location = /login {
    return 200 '<!doctype html><title>Log in</title><form action="/in"><input name="user"><input name="pass" type="password"><button>In</button></form>';
  }
  location = /in {
    if ($arg_pass != "four") { return 403; }
    return 200 '<!doctype html><h1>Hello $arg_user</h1>';
  }
}
"#;

const DECLARED: &str = r#"
health: {path: /healthz, within: 1m}
checks:
  - {name: title, get: /, title: Notes, contains: Welcome, header: {content-type: text/html}}
  - {name: ready, get: /status, json: {/ready: true, /parts/1: b}, until: 5s}
  - {name: old address, get: /old, redirect: /}
  - {name: not there, get: /nothing, status: 404}
  - {name: listens, tcp: 80}
  - {name: configured, run: [nginx, -t], contains: syntax is ok}
  - {name: files, assets: /}
  - name: login
    login: {at: /login, fill: {'input[name=user]': ada, 'input[name=pass]': four}, press: button, see: h1, contains: Hello ada}
"#;

#[tokio::test]
async fn declared_checks_pass_and_one_that_does_not_is_named_with_what_came() {
    let Some(house) = House::open("declared").await else { return };
    let recipe = Fixture::named("custom-html").file("default.conf", SITE).file(".cc-ci/recipe.yaml", DECLARED);
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme checks").await;
    let run = if has_a_browser("the login form of the declared checks") {
        change.hears("install · checks (8) · uninstall").await;
        change.hears("**Passed").await;
        let run = house.page("/runs/1").await;
        run.contains("`h1` is there");
        run
    } else {
        // Nobody could look, which is never green.
        change.hears("**Not tested**").await;
        house.page("/runs/1").await
    };
    run.contains("front page").contains("app is healthy").contains("certificate for *.").contains("10 checks");
    run.contains("302").contains("syntax is ok").contains("/a.css loads, /b.js loads");

    change.pushes(".cc-ci/recipe.yaml", "checks: [{name: name, get: /, title: Cards}, {get: /status}]\n").await;
    change.says(MEMBER, "!testme checks").await;

    let verdict = change.hears("**Failed: checks.**").await;
    verdict.contains("name: expected 2xx, title").contains("Cards").contains("got title").contains("Notes");
    house.page("/runs/2").await.contains("GET /status");
    house.is_empty().await;
}

const SEEDED: &str = r#"
ci.job("seed", {"base"}, function(t)
  t.http.expect("/data/kept", {method = "PUT", body = "by the base", status = {200, 201, 204}})
  t.log("seeded at", t.app.moment)
  return {name = "kept"}
end)
ci.job("alive", {"upgrade", "seed"}, function(t)
  return t.http.expect("/data/" .. t.jobs("seed").name, {contains = "by the base"})
end)
ci.job("restored", {"restore"}, function(t) return true end)
ci.job("no-mail", {"install"}, function() return nil, "this edition has no mail" end)
"#;

const IN_FENNEL: &str = r#"(local ci (require :cc-ci))
(ci.job :version [:install]
  (fn [{: app : exec}] (assert (= (. (exec "app" "echo $APP_VERSION") :out) "2\n")) {:version app.version}))
"#;

#[tokio::test]
async fn scripts_in_lua_and_fennel_run_at_their_moments_and_say_what_came() {
    let Some(house) = House::open("scripts").await else { return };
    let recipe = Fixture::named("app").file(".cc-ci/checks/keeps.lua", SEEDED);
    let fennel = has_fennel("scripts in Fennel");
    let recipe = if fennel { recipe.file(".cc-ci/checks/version.fnl", IN_FENNEL) } else { recipe };

    house.knows("app", "recipe.yaml", "not_applicable: {backup: it is another story}\n");
    let change = house.pull_request(recipe).await;
    change.says(MEMBER, "!testme").await;

    change.hears("**Passed").await;
    let run = house.page("/runs/1").await;
    run.contains("`restore` did not come")
        .contains("keeps.lua seed")
        .contains("keeps.lua alive")
        .contains("this edition has no mail");
    if fennel {
        run.contains("version.fnl version");
    }
    house.page("/runs/1/log").await.contains("seed: seeded at base");
    house.is_empty().await;
}

/// A marker of its own: planted, damaged once it is kept, looked for.
const OWN_MARKER: &str = r#"
ci.job("plant", {"install"}, function(t)
  t.http.expect("/data/kept", {method = "PUT", body = "by the script", status = {200, 201, 204}})
  return {name = "kept"}
end)
ci.job("damage", {"backup", "plant"}, function(t)
  t.log("damaging it at", t.app.moment)
  return t.http.expect("/data/kept", {method = "PUT", body = "damaged", status = {200, 201, 204}})
end)
ci.job("came-back-in-place", {"in-place", "damage"}, function(t)
  return t.http.expect("/data/kept", {contains = "by the script"})
end)
ci.job("came-back", {"restore", "plant", "damage"}, function(t)
  return t.http.expect("/data/" .. t.jobs("plant").name, {contains = "by the script"})
end)
ci.job("upgraded", {"upgrade", "plant"}, function(t) return true end)
"#;

#[tokio::test]
async fn a_script_plants_a_marker_of_its_own_and_finds_it_restored_though_only_the_backup_was_asked_for() {
    let Some(house) = House::open("script-marker").await else { return };
    let change = house.pull_request(Fixture::named("app").file(".cc-ci/checks/own.lua", OWN_MARKER)).await;

    change.says(MEMBER, "!testme backup").await;

    change.hears("install · backup and restore · uninstall").await;
    change.hears("**Passed").await;
    let run = house.page("/runs/1").await;
    run.contains("own.lua plant").contains("own.lua came-back").contains("`upgrade` did not come");
    house
        .page("/runs/1/log")
        .await
        .contains("damage: damaging it at backup")
        .contains("own.lua came-back: passed")
        .contains("own.lua came-back-in-place: passed");

    // Alone, the upgrade is where the head runs first.
    let other = Fixture::named("app").called("other").file(".cc-ci/checks/own.lua", OWN_MARKER);
    let change = house.pull_request(other).await;
    change.says(MEMBER, "!testme upgrade").await;
    change.hears("**Passed").await;
    let run = house.page("/runs/2").await;
    run.contains("own.lua upgraded").contains("`backup` did not come").contains("`restore` did not come");
    house.page("/runs/2/log").await.contains("own.lua upgraded: passed");
    house.is_empty().await;
}

const HOSTILE: &str = r#"
ci.job("lines", {"install"}, function() error("what went wrong:\n  first\n  second") end)
ci.job("passwd", {"install"}, function() return io.open("/etc/passwd"):read("a") end)
ci.job("socket", {"install"}, function(t) return t.http.get("http://127.0.0.1:2375/info") end)
ci.job("gigabyte", {"install"}, function() return #("x"):rep(1 << 30) end)
ci.job("for-ever", {"install"}, function() while true do end end)
ci.job("fork", {"install"}, function() return os.execute("sleep 100 &") end)
ci.job("secret", {"install"}, function(t) return t.secret("token") end)
ci.job("base64", {"install"}, function(t)
  t.log("in base64 " .. t.exec("app", "base64 /run/secrets/token").out)
  return t.exec("app", "cat /run/secrets/token").out
end)
"#;

#[tokio::test]
async fn a_script_that_means_harm_is_told_no_and_its_run_is_red() {
    let Some(house) = House::open("hostile-script").await else { return };
    let change = house.pull_request(Fixture::named("app").file(".cc-ci/checks/harm.lua", HOSTILE)).await;

    change.says(MEMBER, "!testme checks").await;
    let secret = house.secret_of_the_app("token").await;

    change.hears("**Failed: checks.**").await.contains(".cc-ci/checks/harm.lua:2: what went wrong: …");
    let run = house.page("/runs/1").await;
    for words in [
        "second",
        "attempt to index a nil value",
        "127.0.0.1 is not this app",
        "memory limit (64 MB for a script)",
        "instruction limit (200 million)",
        "attempt to call a nil value",
        "scripts of a recipe's repository have no secrets",
        "harm.lua base64",
    ] {
        run.contains(words);
    }
    for (place, bytes) in house.everything_written_and_served().await {
        for form in &forms_of(&secret) {
            assert!(!contains(&bytes, form.as_bytes()), "{place} holds the secret as {form}");
        }
    }
    house.is_empty().await;
}

const WRONG: &str = r#"ci.job("one", {"two"}, function() end)
ci.job("two", {"one"}, function() end)
ci.job("two", {"install"}, function() end)
ci.job("three", {"instal"}, function() end)
ci.job("four", {}, function() end)
"#;

#[tokio::test]
async fn all_that_is_wrong_with_jobs_is_said_at_once_before_anything_is_deployed() {
    let Some(house) = House::open("wrong-jobs").await else { return };
    let recipe = Fixture::named("app").file(".cc-ci/checks/wrong.lua", WRONG);
    let change = house.pull_request(recipe.clone()).await;

    change.says(MEMBER, "!testme").await;

    change.hears("**Failed: lint.**").await.contains("(and 3 more)");
    let run = house.page("/runs/1").await;
    run.contains("jobs wait for each other: one → two → one").contains("wrong.lua:3");
    run.contains("there are two jobs called `two`").contains("job `three` needs `instal`").contains("needs nothing");
    run.contains("nothing was deployed");
    let (code, said) = house.runs_locally(&recipe).await;
    said.contains("jobs wait for each other: one → two → one").contains("(and 3 more)");
    assert_eq!(code, 1, "{said:?}");
    house.is_empty().await;
}

#[tokio::test]
async fn the_appliance_gives_its_own_scripts_secrets_and_the_app_its_values() {
    let Some(house) = House::open("appliance").await else { return };
    let file = house.keeps("smtp", "correct-horse-battery");
    house.knows("app", "recipe.yaml", &format!("secrets: {{token: {{file: {file}}}}}\ntimeout: 2m\n"));
    let script = "ci.job('same', {'install'}, function(t)\n  t.log('it is ' .. t.secret('token'))\n  \
                  return t.exec('app', 'cat /run/secrets/token').out == t.secret('token') or error('another')\nend)\n";
    house.knows("app", "checks/same.lua", script);
    let change = house.pull_request(Fixture::named("app")).await;

    change.says(MEMBER, "!testme checks").await;

    change.hears("**Passed").await;
    house.page("/runs/1").await.contains("recipes/app/checks/same.lua same");
    for (place, bytes) in house.everything_written_and_served().await {
        let at_home = house.is_at(&place, "smtp");
        assert_eq!(contains(&bytes, b"correct-horse-battery"), at_home, "is the secret in {place}?");
    }
    house.is_empty().await;
}

#[tokio::test]
async fn what_is_declared_impossible_is_not_green_and_a_contradiction_is_told() {
    let Some(house) = House::open("impossible").await else { return };
    let recipe = Fixture::named("app").file(".cc-ci/recipe.yaml", "unsupported: needs TLS passthrough\n");
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme").await;
    change.hears("**Not tested**, and not because of the recipe: unsupported: needs TLS passthrough").await;
    change.status_is("error").await;
    house.page("/runs/1").await.contains("nothing was deployed");

    let own = Fixture::named("app").called("other").file(".cc-ci/recipe.yaml", "timeout: 10m\n");
    house.knows("other", "recipe.yaml", "not_applicable: {backup: holds no data, upgrade: never had a release}\n");
    let change = house.pull_request(own).await;
    change.pushes(".cc-ci/recipe.yaml", "timeout: 1h\nnot_applicable: {backup: so I say}\n").await;
    change.says(MEMBER, "!testme").await;

    change.hears("**Passed").await;
    let run = house.page("/runs/2").await;
    run.contains("is declared to mean nothing here (holds no data), and `app` has backup labels");
    run.contains("never had a release), and 1.0.0+1 is published");
    run.contains("`not_applicable`, `timeout` changed; the test goes by the base branch until this is merged");
    house.is_empty().await;
}

/// The login form of an app that has one or not: nobody gets so far as to see.
const IN_A_BROWSER: &str = "checks: [{name: login, login: {at: /, fill: {input: ada}, press: button, see: h1}}]\n";
/// It makes nothing of the browser's fault, which counts all the same.
const SHRUGS: &str = "ci.job('looks', {'install'}, function(t) pcall(t.browser.open, '/') return true end)\n";

#[tokio::test]
async fn without_a_browser_what_needs_one_is_the_machines_fault_and_never_green() {
    let Some(house) = House::open_with("no-browser", Setup::NoBrowser).await else { return };
    let recipe = Fixture::named("app").file(".cc-ci/recipe.yaml", IN_A_BROWSER).file(".cc-ci/checks/looks.lua", SHRUGS);
    let change = house.pull_request(recipe).await;

    change.says(MEMBER, "!testme checks").await;

    let verdict = change.hears("**Not tested**, and not because of the recipe").await;
    verdict.contains("login: there is no chromedriver on the PATH");
    change.status_is("error").await;
    let run = house.page("/runs/1").await;
    run.contains("looks.lua looks").contains("there is no chromedriver on the PATH");
    house.page("/runs/1/log").await.contains("– login: there is no").contains("– .cc-ci/checks/looks.lua looks: ");
    house.is_empty().await;
}
