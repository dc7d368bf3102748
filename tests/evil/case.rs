//! The corpus: one trick a case, and its twin.

use std::collections::BTreeMap;

use cc_ci::yaml::{self, Node};
use tempfile::TempDir;

const CORPUS: &str = include_str!("corpus.yaml");
/// Ends the line in which the finding is expected.
const HERE: &str = "# here";
/// The keys of a case that are no places.
pub(crate) const NO_PLACES: &[&str] = &["trick", "rule", "at", "files", "links"];

/// One trick.
pub(crate) struct Case<'a> {
    pub(crate) node: &'a Node,
    corpus: &'a Node,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Which {
    Evil,
    Twin,
}

pub(crate) fn corpus() -> Node {
    yaml::parse("corpus.yaml", CORPUS).unwrap()
}

pub(crate) fn cases(corpus: &Node) -> Vec<Case<'_>> {
    let cases = corpus.get("cases").and_then(Node::as_seq).unwrap().iter();
    cases.map(|node| Case { node, corpus }).collect()
}

/// What a key says for one of the two: one text is for both, of a list the first is evil.
pub(crate) fn said(node: &Node, which: Which) -> Option<&str> {
    match node.as_seq() {
        Some([evil, twin]) => if which == Which::Evil { evil } else { twin }.scalar(),
        Some(_) => panic!("a list of two, evil and harmless, at {}", node.span),
        None => node.scalar(),
    }
}

impl<'a> Case<'a> {
    pub(crate) fn text(&self, key: &str) -> &'a str {
        self.node.get(key).and_then(Node::scalar).unwrap_or_else(|| panic!("{key} is missing at {}", self.node.span))
    }

    pub(crate) fn trick(&self) -> &'a str {
        self.text("trick")
    }

    pub(crate) fn entries(&self, key: &str) -> &'a [(Node, Node)] {
        self.node.get(key).and_then(Node::as_map).unwrap_or_default()
    }

    /// The recipe's files.
    pub(crate) fn files(&self, which: Which) -> BTreeMap<String, String> {
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

    pub(crate) fn at(&self, place: &str, which: Which) -> Option<&'a str> {
        let here = self.node.get(place).and_then(|node| said(node, which));
        here.or_else(|| self.corpus.at(&["usually", place]).and_then(Node::scalar))
    }

    /// A text of `base` with the case's lines in their places.
    pub(crate) fn filled(&self, base: &str, which: Which) -> String {
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

    pub(crate) fn write(&self, which: Which) -> TempDir {
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
    pub(crate) fn place(&self) -> (String, u64) {
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
