//! `cc-ci lint` as people call it: its table, its JSON, its exit codes, and what it takes from git.

#![expect(clippy::disallowed_methods, reason = "it is started as people start it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

const CC_CI: &str = env!("CARGO_BIN_EXE_cc-ci");

fn lint(arguments: &[&str]) -> Output {
    Command::new(CC_CI).arg("lint").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A fixture as a repository, its pull request checked out.
fn repository(fixture: &str, dir: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes").join(fixture);
    let out = dir.join(fixture);
    let made = Command::new(CC_CI).args(["dev", "recipe"]).arg(source).arg(&out).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    out
}

fn git(dir: &Path, arguments: &[&str]) {
    let who = ["-c", "user.name=M", "-c", "user.email=m@example.org"];
    assert!(Command::new("git").args(who).args(arguments).current_dir(dir).status().unwrap().success());
}

fn rules(json: &Output) -> Vec<String> {
    let rows: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    rows.iter().map(|row| row["rule"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_says_where_what_and_the_cure_and_only_errors_are_a_no() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("app", dir.path());
    let path = recipe.to_str().unwrap();
    let output = lint(&[path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("warning  compose.yml:"), "{}", text(&output));
    assert!(text(&output).contains("→ "), "{}", text(&output));
    assert!(text(&output).lines().last().unwrap().starts_with("0 errors, "), "{}", text(&output));

    let compose = std::fs::read_to_string(recipe.join("compose.yml")).unwrap();
    std::fs::write(recipe.join("compose.yml"), compose.replace("image: cc-ci-test/app:2", "hostname: a")).unwrap();
    let output = lint(&["--json", path]);
    assert_eq!(output.status.code(), Some(1));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let error = &rows[0];
    assert_eq!((error["rule"].as_str(), error["severity"].as_str()), (Some("R011"), Some("error")));
    assert_eq!((error["file"].as_str(), error["recipe"].as_str()), (Some("compose.yml"), Some(path)));
    assert!(error["line"].as_u64().unwrap() > 1 && error["cure"].as_str() == Some("name one"), "{error}");

    assert_eq!(lint(&["/nowhere"]).status.code(), Some(2));
}

#[test]
fn a_recipe_is_named_from_where_one_stands() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("custom-html", dir.path());
    git(&recipe, &["tag", "9.0.0+1"]);
    for (from, path) in
        [(dir.path(), "custom-html"), (dir.path(), "./custom-html/"), (&*recipe, "."), (&*recipe, "../custom-html")]
    {
        let output = Command::new(CC_CI).args(["lint", path]).current_dir(from).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{path}: {said}");
        // What git tells is there too.
        assert!(text(&output).contains("R014"), "{path}: {}", text(&output));
    }
}

#[test]
fn a_recipe_without_a_sample_hears_of_everything_else_too() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("custom-html", dir.path());
    let path = recipe.to_str().unwrap();
    let before = rules(&lint(&["--json", path]));
    assert!(!before.contains(&"R008".to_owned()));
    let compose = std::fs::read_to_string(recipe.join("compose.yml")).unwrap();
    let with_another = compose.replacen("services:\n", "services:\n  other:\n    image: nginx:latest\n", 1);
    std::fs::write(recipe.join("compose.yml"), with_another).unwrap();
    let with_sample = rules(&lint(&["--json", path]));
    std::fs::remove_file(recipe.join(".env.sample")).unwrap();

    let output = lint(&["--json", path]);

    assert_eq!(output.status.code(), Some(1));
    let found = rules(&output);
    assert_eq!(found.iter().filter(|rule| *rule == "R008").count(), 1, "{found:?}");
    let of_compose = |rules: &[String]| rules.iter().filter(|rule| *rule == "R004").count();
    assert!(of_compose(&with_sample) > 0 && of_compose(&found) == of_compose(&with_sample), "{found:?}");
    assert!(!found.iter().any(|rule| rule == "compose-variables" || rule == "type"), "{found:?}");
}

#[test]
fn what_is_no_text_is_named_with_its_own_cure() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("custom-html", dir.path());
    let path = recipe.to_str().unwrap();
    for (name, says, cure) in CANNOT_BE_READ {
        spoil(&recipe.join("compose.yml"), name);
        let output = lint(&[path]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(said.contains(says) && said.contains(&format!("→ {cure}")), "{name}: {said}");
        let output = Command::new(CC_CI).args(["policy", path]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains(says) && said.contains(cure), "{name}: {said}");
    }
    let output = Command::new(CC_CI).args(["policy", "--json", path]).output().unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&verdict["allowed"], &verdict["findings"][0]["file"]), (&Value::Bool(false), &"compose.yml".into()));
}

/// What stands where `compose.yml` should, with what is said of it and the cure.
const CANNOT_BE_READ: [(&str, &str, &str); 5] = [
    ("bytes", "`compose.yml` is not UTF-8 text", "save it as UTF-8 text"),
    ("a pipe", "`compose.yml` is not a plain file", "put a plain file there"),
    ("a directory", "`compose.yml` is not a plain file", "put a plain file there"),
    ("too much", "`compose.yml` is larger than 1048576 bytes", "make it shorter"),
    ("nothing", "`compose.yml` is missing", "add the file"),
];

fn spoil(path: &Path, with: &str) {
    if std::fs::remove_file(path).is_err() {
        let _ = std::fs::remove_dir(path);
    }
    match with {
        "bytes" => std::fs::write(path, [0xff, 0xfe]).unwrap(),
        "a pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "a directory" => std::fs::create_dir(path).unwrap(),
        "too much" => std::fs::File::create(path).unwrap().set_len(1 << 30).unwrap(),
        _ => {}
    }
}

#[test]
fn a_config_that_changed_since_the_last_release_under_its_old_version_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("custom-html", dir.path());
    let path = recipe.to_str().unwrap();
    // The fixture's pull request changes the file, and its version with it.
    assert!(!rules(&lint(&["--json", path])).contains(&"config-version".to_owned()));
    git(&recipe, &["checkout", "--quiet", "1.13.0+1.29.0", "--", "abra.sh"]);
    let output = lint(&[path]);
    assert!(
        text(&output).contains("is not what 1.13.0+1.29.0 has, but `DEFAULT_CONF_VERSION` is still"),
        "{}",
        text(&output)
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn how_versions_are_tagged_is_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("custom-html", dir.path());
    let path = recipe.to_str().unwrap();
    assert!(!rules(&lint(&["--json", path])).iter().any(|rule| rule == "R014" || rule == "no-release"));
    git(&recipe, &["tag", "9.0.0+1"]);
    git(&recipe, &["tag", "9.0.1+1"]);
    assert!(text(&lint(&[path])).contains("is a lightweight one, and so are 1 more"), "{}", text(&lint(&[path])));
    for tag in ["1.12.1+1.28.0", "1.13.0+1.29.0"] {
        git(&recipe, &["tag", "--delete", tag]);
    }
    assert!(rules(&lint(&["--json", path])).contains(&"no-release".to_owned()));
}

#[test]
fn three_hundred_recipes_take_no_more_than_five_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = repository("custom-html", dir.path());
    let many: Vec<PathBuf> = (0..300).map(|number| dir.path().join(number.to_string())).collect();
    for path in &many {
        let copied = Command::new("cp").arg("-r").args([&recipe, path]).status().unwrap();
        assert!(copied.success());
    }
    let started = Instant::now();
    let output = lint(&many.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>());
    let took = started.elapsed();
    assert_eq!(output.status.code(), Some(0));
    println!("lint of 300 recipes with their tags: {:.2} s", took.as_secs_f64());
    // Built without optimisation it is slower than what is installed; `scripts/bench` measures that.
    let most = if cfg!(debug_assertions) { Duration::from_secs(30) } else { Duration::from_secs(5) };
    assert!(took < most, "{took:?}");
}
