//! Recipes that ask for what a pull request may not have. Each is refused by its rule in its line, and its twin, which differs
//! in that one trick, is allowed; both by `cc-ci policy`, the program, as an operator or a recipe's author runs it.

#[path = "evil/case.rs"]
mod case;

use std::collections::BTreeSet;
use std::path::Path;

use cc_ci::compose::policy;
use cc_ci::sandbox::{self, Command};
use cc_ci::yaml::Node;
use futures_util::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;

use case::{Case, NO_PLACES, Which, cases, corpus, said};

/// What the program said.
struct Answer {
    code: Option<i32>,
    json: serde_json::Value,
    text: String,
}

async fn ask(dir: &Path) -> Answer {
    let command = Command::new(env!("CARGO_BIN_EXE_cc-ci")).args(["policy", "--json"]).arg(dir);
    let output = sandbox::output(&command, &CancellationToken::new(), 1 << 20).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(text.trim()).unwrap_or_default();
    Answer { code: output.exit.code, json, text }
}

/// What is not as expected.
async fn wrong(case: &Case<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let (file, line) = case.place();
    let evil = case.write(Which::Evil);
    let answer = ask(evil.path()).await;
    let expected = serde_json::json!({"rule": case.text("rule"), "file": file, "line": line});
    let found = answer.json["findings"].as_array().cloned().unwrap_or_default();
    // Only this one: so the recipe would be allowed without the rule, and the rule is what refuses it.
    let well = found.len() == 1
        && ["rule", "file", "line"].iter().all(|key| found[0][key] == expected[key])
        && found[0]["message"].as_str().is_some_and(|message| message.contains("; a pull request may not: "));
    if answer.code != Some(1) || answer.json["allowed"] != false || !well {
        wrong.push(format!("{}: expected {expected}, got {:?} {}", case.trick(), answer.code, answer.text));
    }
    let twin = case.write(Which::Twin);
    let answer = ask(twin.path()).await;
    if answer.code != Some(0) || answer.json != serde_json::json!({"allowed": true, "findings": []}) {
        wrong.push(format!("{}: the twin is refused: {:?} {}", case.trick(), answer.code, answer.text));
    }
    wrong
}

#[tokio::test]
async fn every_trick_is_refused_in_its_line_and_its_twin_is_allowed() {
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    let corpus = corpus();
    let cases = cases(&corpus);
    let wrong: Vec<Vec<String>> = stream::iter(&cases).map(wrong).buffer_unordered(4).collect().await;
    let wrong = wrong.concat();
    println!("{} tricks, {} wrong", cases.len(), wrong.len());
    assert!(cases.len() >= 80);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_recipe_that_breaks_it() {
    let corpus = corpus();
    let broken: BTreeSet<&str> = cases(&corpus).iter().map(|case| case.text("rule")).collect();
    let rules: BTreeSet<&str> = policy::ids().collect();
    assert_eq!(rules, broken);
}

#[test]
fn a_trick_and_its_twin_differ_and_every_place_is_one() {
    let corpus = corpus();
    let base: String =
        corpus.get("base").and_then(Node::as_map).unwrap().iter().filter_map(|(_, text)| text.scalar()).collect();
    let mut tricks = BTreeSet::new();
    for case in cases(&corpus) {
        assert!(tricks.insert(case.trick()), "twice: {}", case.trick());
        for (key, _) in case.node.as_map().unwrap() {
            let key = key.scalar().unwrap();
            assert!(NO_PLACES.contains(&key) || base.contains(&format!("<{key}>")), "{}: {key}", case.trick());
        }
        let links = |which| -> Vec<_> { case.entries("links").iter().map(|(_, goal)| said(goal, which)).collect() };
        let differ = case.files(Which::Evil) != case.files(Which::Twin) || links(Which::Evil) != links(Which::Twin);
        assert!(differ, "{}", case.trick());
    }
}

#[tokio::test]
async fn what_is_no_recipe_at_all_is_neither_allowed_nor_refused() {
    sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    let dir = tempfile::tempdir().unwrap();
    for (what, text) in [("nothing", None), ("no YAML", Some("services: [unclosed\n")), ("no mapping", Some("- a\n"))] {
        if let Some(text) = text {
            std::fs::write(dir.path().join("compose.yml"), text).unwrap();
        }
        let answer = ask(dir.path()).await;
        assert_eq!(answer.code, Some(2), "{what}: {}", answer.text);
    }
    assert_eq!(ask(&dir.path().join("none")).await.code, Some(2));
}
