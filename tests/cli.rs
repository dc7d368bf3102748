//! The command line as people meet it: pipes that close, questions that are wrong.

#![expect(clippy::disallowed_methods, reason = "programs are started as people start them")]

use std::process::{Command, Output, Stdio};

fn cc_ci(arguments: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_cc-ci")).args(arguments).env_remove("CC_CI_CONFIG"))
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn a_reader_that_is_gone_ends_a_command_quietly_as_a_shell_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let seeded = cc_ci(&["dev", "seed", "--dir", state, "--runs", "400"]);
    assert!(seeded.status.success(), "{}", said(&seeded));
    // The reader ends before anything is written: its end of the pipe is closed from the start.
    let script = r#"exec 3>&1; { "$0" runs list --state "$1" -n 400; echo "$?" >&3; } | true"#;
    let output = run(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_cc-ci"), state]));
    assert_eq!((said(&output).trim(), output.status.success()), ("141", true));
}

#[test]
fn a_wrong_question_is_told_apart_and_says_what_to_do() {
    for (arguments, code, words) in [
        (&["runs", "list"][..], 2, "--config FILE"),
        (&["check-config", "/nope"], 2, "/nope: cannot be read: No such file or directory"),
        (&["lint", "/nope"], 2, "/nope is no directory"),
        (&["runs", "show", "x"], 2, "x"),
    ] {
        let output = cc_ci(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(said.matches("os error").count() <= 1, "a cause is said once: {said}");
    }
}

#[test]
fn what_cannot_be_deployed_puts_up_no_proxy() {
    let (dir, dev) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let output = cc_ci(&["run", dir.path().to_str().unwrap(), "--dev", dev.path().to_str().unwrap()]);
    let said = said(&output);
    assert!(!said.contains("proxy"), "{said}");
    if output.status.code() == Some(3) {
        println!("SKIPPED what_cannot_be_deployed_puts_up_no_proxy: {said}");
        return;
    }
    assert!(said.contains(".env.sample") && output.status.code() == Some(1), "{said}");
}

#[test]
fn the_database_is_copied_looked_through_and_put_back_only_where_nobody_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (state, copies, anew) = (path("state"), path("copies"), path("anew"));
    let seeded = cc_ci(&["dev", "seed", "--dir", &state, "--runs", "20"]);
    assert!(seeded.status.success(), "{}", said(&seeded));
    std::fs::create_dir_all(&copies).unwrap();
    let db = |arguments: &[&str]| cc_ci(&[&["db"], arguments].concat());
    for _ in 0..2 {
        let output = db(&["backup", "--state", &state, &copies, "--keep", "1"]);
        assert!(output.status.success(), "{}", said(&output));
    }
    let kept: Vec<_> = std::fs::read_dir(&copies).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [copy] = &kept[..] else { panic!("{kept:?}") };
    let copy = copy.to_str().unwrap();
    let checked = db(&["check", copy]);
    assert!(said(&checked).contains(": whole, "), "{}", said(&checked));

    let refused = db(&["restore", "--state", &state, copy]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("is there already; a restore overwrites nothing"), "{}", said(&refused));

    // Somebody works there: the kernel's lock says so.
    std::fs::create_dir_all(&anew).unwrap();
    let lock = std::fs::File::create(path("anew/runner.lock")).unwrap();
    lock.lock().unwrap();
    let refused = db(&["restore", "--state", &anew, copy]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("is held by another runner"), "{}", said(&refused));
    drop(lock);
    let restored = db(&["restore", "--state", &anew, copy]);
    assert!(restored.status.success(), "{}", said(&restored));
    let list = |state: &str| said(&cc_ci(&["runs", "list", "--state", state]));
    assert_eq!(list(&state), list(&anew));

    let damaged = path("damaged.db");
    let mut bytes = std::fs::read(copy).unwrap();
    let half = bytes.len() / 2;
    bytes[half..half + 8192].fill(0xaa);
    std::fs::write(&damaged, bytes).unwrap();
    let checked = db(&["check", &damaged]);
    assert_eq!(checked.status.code(), Some(1), "{}", said(&checked));
    assert!(said(&checked).contains("is damaged"), "{}", said(&checked));
}

#[test]
fn what_is_said_of_a_recipe_is_validated_with_its_scripts() {
    let recipe = tempfile::tempdir().unwrap();
    let root = recipe.path();
    let write = |path: &str, text: &str| {
        std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        std::fs::write(root.join(path), text).unwrap();
    };
    write(".env.sample", "TYPE=notes\nDOMAIN=notes.example.com\n");
    write("compose.yml", "services:\n  app:\n    image: notes:1.0\n");
    let shown = root.to_str().unwrap();

    let enrolled = cc_ci(&["enroll", shown]);
    assert!(enrolled.status.success() && root.join(".cc-ci/recipe.yaml").is_file(), "{}", said(&enrolled));
    let good = cc_ci(&["validate", shown]);
    assert!(good.status.success() && said(&good).contains(".cc-ci: good; 0 scripts"), "{}", said(&good));
    let again = cc_ci(&["enroll", shown]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));

    write(".cc-ci/recipe.yaml", "checks: [{get: /, tilte: Notes}]\npolicy: [{rule: bind-mount, because: why not}]\n");
    write(".cc-ci/checks/seed.lua", "local ci = require('cc-ci')\nci.job('seed', {'instal'}, function() end)\n");
    let output = cc_ci(&["validate", shown, "--json"]);
    let unread = said(&output).contains("the scripts were not loaded");
    assert_eq!(output.status.code(), Some(if unread { 3 } else { 1 }), "{}", said(&output));
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap().to_owned();
    let place = |one| format!("{}:{} {}", text(one, "file"), one["line"], text(one, "rule"));
    let places: Vec<String> = found.iter().map(place).collect();
    let all = [".cc-ci/recipe.yaml:1 key", ".cc-ci/recipe.yaml:2 appliance-only", ".cc-ci/checks/seed.lua:2 script"];
    assert_eq!(places, all[..if unread { 2 } else { 3 }], "{}", said(&output));
    if unread {
        println!("SKIPPED the scripts in what_is_said_of_a_recipe_is_validated_with_its_scripts: {}", said(&output));
    }
}

#[test]
fn what_a_recipe_cannot_need_is_said_with_its_place() {
    let beside = tempfile::tempdir().unwrap();
    let recipe = |name: &str, text: &str| {
        let dir = beside.path().join(name);
        std::fs::create_dir_all(dir.join(".cc-ci")).unwrap();
        std::fs::write(dir.join(".env.sample"), format!("TYPE={name}\nDOMAIN={name}.example.com\n")).unwrap();
        std::fs::write(dir.join(".cc-ci/recipe.yaml"), text).unwrap();
        dir
    };
    let notes = recipe("notes", "needs:\n  - notes\n  - {recipe: sso}\n  - mail\n");
    recipe("sso", "needs: [ldap, notes]\n");
    recipe("mail", "needs: [ldap]\n");
    let validated = |dir: &std::path::Path| {
        let output = cc_ci(&["validate", dir.to_str().unwrap()]);
        (output.status.code(), said(&output))
    };

    let (code, words) = validated(&notes);
    assert_eq!(code, Some(1), "{words}");
    for expected in [
        ".cc-ci/recipe.yaml:2:5: `notes` needs itself",
        ".cc-ci/recipe.yaml:3:5: `notes` needs `sso`, and `sso` needs `notes`: each waits for the other",
        ".cc-ci/recipe.yaml:4:5: `mail` needs `ldap` in turn, and what is put up beside a recipe is put up alone",
    ] {
        assert!(words.contains(expected), "{expected}\n{words}");
    }
    recipe("mail", "{}\n");
    let (code, words) = validated(&recipe("notes", "needs: [mail, elsewhere]\n"));
    assert!(code == Some(0) && words.contains("good"), "{words}");
}

#[test]
fn what_is_shipped_about_recipes_is_good() {
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let all: Vec<std::path::PathBuf> =
        std::fs::read_dir(&shipped).unwrap().map(|entry| entry.unwrap().path()).collect();
    let paths: Vec<&str> = all.iter().map(|path| path.to_str().unwrap()).collect();

    let output = cc_ci(&[&["validate"], &paths[..]].concat());

    if said(&output).contains("the scripts were not loaded") {
        println!("SKIPPED what_is_shipped_about_recipes_is_good: {}", said(&output));
        return;
    }
    assert!(output.status.success(), "{}", said(&output));
    for path in paths {
        assert!(said(&output).contains(&format!("{path}: good; ")), "{}", said(&output));
    }
}

#[test]
fn a_run_is_cancelled_and_retried_on_the_command_line_and_the_audit_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_str().unwrap();
    let seeded = cc_ci(&["dev", "seed", "--dir", state, "--runs", "30"]);
    assert!(seeded.status.success(), "{}", said(&seeded));
    let asked = |arguments: &[&str]| {
        let output = cc_ci(&[arguments, &["--state", state]].concat());
        (output.status.code().unwrap(), said(&output))
    };
    let (_, listed) = asked(&["runs", "list", "--json", "-n", "100"]);
    let runs: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of_state = |wanted: &str| {
        let found = runs.as_array().unwrap().iter().find(|run| run["state"] == wanted);
        found.unwrap_or_else(|| panic!("no {wanted} run: {listed}"))["id"].to_string()
    };
    let (queued, running, over) = (of_state("queued"), of_state("running"), of_state("passed"));

    for run in [&queued, &running] {
        assert_eq!(asked(&["runs", "cancel", run]), (0, format!("run {run} is told to end\n")));
        let (code, words) = asked(&["runs", "cancel", run]);
        assert!(code == 1 && words.contains("is over, or was told to end before"), "{code}: {words}");
    }
    let (_, shown) = asked(&["runs", "show", &queued]);
    assert!(shown.contains("cancelled: cancelled on the command line"), "{shown}");
    assert_eq!(asked(&["runs", "cancel", &over]).0, 1);

    let (code, words) = asked(&["runs", "retry", &over, "--json"]);
    let again: serde_json::Value = serde_json::from_str(&words).unwrap();
    assert_eq!((code, again["said"].as_str()), (0, Some(&*format!("run {} is queued", again["run"]))));
    let (code, words) = asked(&["runs", "retry", &over]);
    assert!(code == 1 && words.contains("of the same head is not over yet"), "{code}: {words}");
    let (code, words) = asked(&["runs", "retry", &running]);
    assert!(code == 1 && words.contains("is not over yet"), "{code}: {words}");

    for command in ["cancel", "retry"] {
        let (code, words) = asked(&["runs", command, "999"]);
        assert!(code == 2 && words.contains("there is no run 999"), "{code}: {words}");
    }
    let (code, words) = asked(&["audit", "list"]);
    assert!(code == 0 && words.contains(&format!("the command line: retry run {over}")), "{words}");
    assert_eq!(asked(&["audit", "verify"]).0, 0);
}
