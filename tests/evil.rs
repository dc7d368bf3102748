//! Recipes that ask for what a pull request may not have. Each is refused by its rule in its line, and its twin, which differs
//! in that one trick, is allowed; both by `cc-ci policy`, the program, as an operator or a recipe's author runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cc_ci::compose::policy;
use cc_ci::sandbox::{self, Command};
use cc_ci::yaml::{self, Node};
use futures_util::stream::{self, StreamExt};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const CORPUS: &str = include_str!("evil/corpus.yaml");
/// Ends the line in which the finding is expected.
const HERE: &str = "# here";
/// The keys of a case that are no places.
const NO_PLACES: &[&str] = &["trick", "rule", "at", "files", "links"];

/// One trick.
struct Case<'a> {
    node: &'a Node,
    corpus: &'a Node,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    Evil,
    Twin,
}

/// What the program said.
struct Answer {
    code: Option<i32>,
    json: serde_json::Value,
    text: String,
}

fn cases(corpus: &Node) -> Vec<Case<'_>> {
    let cases = corpus.get("cases").and_then(Node::as_seq).unwrap().iter();
    cases.map(|node| Case { node, corpus }).collect()
}

/// What a key says for one of the two: one text is for both, of a list the first is evil.
fn said(node: &Node, which: Which) -> Option<&str> {
    match node.as_seq() {
        Some([evil, twin]) => if which == Which::Evil { evil } else { twin }.scalar(),
        Some(_) => panic!("a list of two, evil and harmless, at {}", node.span),
        None => node.scalar(),
    }
}

impl<'a> Case<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.node.get(key).and_then(Node::scalar).unwrap_or_else(|| panic!("{key} is missing at {}", self.node.span))
    }

    fn trick(&self) -> &'a str {
        self.text("trick")
    }

    fn entries(&self, key: &str) -> &'a [(Node, Node)] {
        self.node.get(key).and_then(Node::as_map).unwrap_or_default()
    }

    /// The recipe's files.
    fn files(&self, which: Which) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for (name, text) in self.corpus.get("base").and_then(Node::as_map).unwrap() {
            files.insert(name.scalar().unwrap().to_owned(), self.filled(text.scalar().unwrap(), which));
        }
        for (name, text) in self.entries("files") {
            if let Some(text) = said(text, which) {
                files.insert(name.scalar().unwrap().to_owned(), text.to_owned());
            }
        }
        files
    }

    fn at(&self, place: &str, which: Which) -> Option<&'a str> {
        let here = self.node.get(place).and_then(|node| said(node, which));
        here.or_else(|| self.corpus.at(&["usually", place]).and_then(Node::scalar))
    }

    /// A text of `base` with the case's lines in their places.
    fn filled(&self, base: &str, which: Which) -> String {
        let mut out = String::new();
        for line in base.lines() {
            let Some((before, rest)) = line.split_once('<') else {
                out.push_str(line);
                out.push('\n');
                continue;
            };
            let (place, after) = rest.split_once('>').unwrap();
            let Some(text) = self.at(place, which) else { continue };
            let indented = before.trim().is_empty();
            for (number, line) in text.lines().enumerate() {
                // Texts that begin in a column must not be moved to another.
                out.push_str(if number == 0 || indented && !line.is_empty() { before } else { "" });
                out.push_str(line);
                out.push_str(after);
                out.push('\n');
            }
        }
        out
    }

    fn write(&self, which: Which) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let make_parent = |name: &str| std::fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        for (name, text) in self.files(which) {
            make_parent(&name);
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        for (name, goal) in self.entries("links") {
            if let Some(goal) = said(goal, which) {
                let name = name.scalar().unwrap();
                make_parent(name);
                std::os::unix::fs::symlink(goal, dir.path().join(name)).unwrap();
            }
        }
        dir
    }

    /// File and line of the expected finding.
    fn place(&self) -> (String, u64) {
        if let Some(at) = self.node.get("at").and_then(Node::scalar) {
            return (at.to_owned(), 0);
        }
        let files = self.files(Which::Evil);
        let marks: Vec<(String, u64)> = files
            .iter()
            .flat_map(|(name, text)| text.lines().zip(1..).map(move |(line, number)| (name, line, number)))
            .filter(|(_, line, _)| line.trim_end().ends_with(HERE))
            .map(|(name, _, number)| (name.clone(), number))
            .collect();
        assert_eq!(marks.len(), 1, "`{}` needs one line that ends in `{HERE}`, or `at`", self.trick());
        marks.into_iter().next().unwrap()
    }
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
    let corpus = yaml::parse("corpus.yaml", CORPUS).unwrap();
    let cases = cases(&corpus);
    let wrong: Vec<Vec<String>> = stream::iter(&cases).map(wrong).buffer_unordered(4).collect().await;
    let wrong = wrong.concat();
    println!("{} tricks, {} wrong", cases.len(), wrong.len());
    assert!(cases.len() >= 80);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_recipe_that_breaks_it() {
    let corpus = yaml::parse("corpus.yaml", CORPUS).unwrap();
    let broken: BTreeSet<&str> = cases(&corpus).iter().map(|case| case.text("rule")).collect();
    let rules: BTreeSet<&str> = policy::ids().collect();
    assert_eq!(rules, broken);
}

#[test]
fn a_trick_and_its_twin_differ_and_every_place_is_one() {
    let corpus = yaml::parse("corpus.yaml", CORPUS).unwrap();
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
