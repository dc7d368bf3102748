//! Questions to a repository that was fetched, and going to another commit of it.

use std::path::Path;

use super::{GitError, MOST_SAID, ask, ask_ok, git_in, head_from, last_lines};
use crate::clock::Time;
use crate::crash::crash_point;
use crate::model::Head;

/// The most that a list of names may take, in bytes.
const MOST_NAMES: usize = 64 << 20;

/// A tag that leads to a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub name: String,
    pub commit: Head,
    /// Made with a message, as releases are; the others are mere marks.
    pub annotated: bool,
    pub tagger_time: Option<Time>,
}

/// All tags, by name.
pub async fn tags(dir: &Path) -> Result<Vec<Tag>, GitError> {
    const FORMAT: &str =
        "%(refname:strip=2)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)%00%(taggerdate:unix)";
    let command = git_in(dir).args(["for-each-ref", "--format", FORMAT, "refs/tags/"]);
    let text = ask_ok("listing the tags", command, MOST_NAMES).await?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(tag).collect())
}

fn tag(line: &str) -> Option<Tag> {
    let mut parts = line.split('\0');
    let (name, kind, object) = (parts.next()?, parts.next()?, parts.next()?);
    let (target_kind, target, date) = (parts.next()?, parts.next()?, parts.next()?);
    let commit = match (kind, target_kind) {
        ("commit", _) => object,
        ("tag", "commit") => target,
        _ => return None,
    };
    Some(Tag {
        name: name.to_owned(),
        commit: commit.parse().ok()?,
        annotated: kind == "tag",
        tagger_time: date.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000)).map(Time),
    })
}

/// The commit that is checked out.
pub async fn head(dir: &Path) -> Result<Head, GitError> {
    const WHAT: &str = "reading the head";
    let command = git_in(dir).args(["rev-parse", "--verify", "--end-of-options", "HEAD^{commit}"]);
    head_from(WHAT, &ask_ok(WHAT, command, MOST_SAID).await?)
}

/// The commit that a name leads to, if it leads to one.
pub async fn commit_named(dir: &Path, name: &str) -> Result<Option<Head>, GitError> {
    const WHAT: &str = "looking for a commit";
    let command = git_in(dir).args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
    let output = ask(WHAT, command.arg(format!("{name}^{{commit}}")), MOST_SAID).await?;
    if output.exit.is_success() { head_from(WHAT, &output.stdout).map(Some) } else { Ok(None) }
}

/// The number of a commit's files, all together: two that are equal hold the same.
pub async fn tree(dir: &Path, commit: &Head) -> Result<Head, GitError> {
    const WHAT: &str = "reading a commit";
    let command =
        git_in(dir).args(["rev-parse", "--verify", "--end-of-options"]).arg(format!("{}^{{tree}}", commit.as_str()));
    head_from(WHAT, &ask_ok(WHAT, command, MOST_SAID).await?)
}

/// Whether everything of `older` is in `newer`; a commit is its own ancestor.
pub async fn is_ancestor(dir: &Path, older: &Head, newer: &Head) -> Result<bool, GitError> {
    const WHAT: &str = "comparing commits";
    let command = git_in(dir).args(["merge-base", "--is-ancestor", older.as_str(), newer.as_str()]);
    let output = ask(WHAT, command, MOST_SAID).await?;
    match output.exit.code {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => Err(GitError::Other { what: WHAT, detail: last_lines(&output.stderr, output.exit) }),
    }
}

/// Files that differ between two commits; one that moved is named twice.
pub async fn changed_files(dir: &Path, from: &Head, to: &Head) -> Result<Vec<String>, GitError> {
    let command = git_in(dir)
        .args(["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv"])
        .args([from.as_str(), to.as_str()]);
    Ok(names(&ask_ok("comparing commits", command, MOST_NAMES).await?))
}

/// The annotated tag that the head comes from most closely.
pub async fn release_before(dir: &Path) -> Result<Option<String>, GitError> {
    let command = git_in(dir).args(["describe", "--abbrev=0", "HEAD"]);
    let output = ask("looking for a release", command, MOST_SAID).await?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Some(name).filter(|name| output.exit.is_success() && !name.is_empty()))
}

/// Files that are not as a tag has them, changes that nobody committed included.
pub async fn changed_since(dir: &Path, tag: &str) -> Result<Vec<String>, GitError> {
    let command = git_in(dir)
        .args(["diff", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules"])
        .args([&format!("refs/tags/{tag}"), "--"]);
    Ok(names(&ask_ok("comparing with a release", command, MOST_NAMES).await?))
}

/// A file as a commit or a whole reference (`refs/tags/…`) has it, if it has it.
pub async fn file_at(dir: &Path, revision: &str, path: &str, most: usize) -> Result<Option<String>, GitError> {
    let command = git_in(dir).args(["cat-file", "blob"]).arg(format!("{revision}:{path}"));
    let output = ask("reading a file of a commit", command, most).await?;
    Ok(output.exit.is_success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Whether the files differ from the commit that is checked out, new ones included unless they are ignored.
pub async fn is_dirty(dir: &Path) -> Result<bool, GitError> {
    let command =
        git_in(dir).args(["status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=all"]);
    Ok(!ask_ok("looking for changes", command, MOST_NAMES).await?.is_empty())
}

/// Brings the files to this commit, whatever was there: what is not of it is removed, ignored or not.
pub async fn checkout(dir: &Path, commit: &Head) -> Result<(), GitError> {
    const WHAT: &str = "checking out a commit";
    let command = git_in(dir).args(["checkout", "--quiet", "--force", "--detach", commit.as_str(), "--"]);
    ask_ok(WHAT, command, MOST_SAID).await?;
    ask_ok(WHAT, git_in(dir).args(["clean", "--quiet", "-ffdx"]), MOST_SAID).await?;
    crash_point!("git: commit checked out");
    Ok(())
}

/// The first line of a commit's message, at most 200 letters, none of which a terminal would obey.
pub async fn commit_title(dir: &Path, commit: &Head) -> Result<String, GitError> {
    let command =
        git_in(dir).args(["log", "-1", "--no-show-signature", "--format=%s", "--end-of-options", commit.as_str()]);
    let text = ask_ok("reading a commit", command, 1 << 20).await?;
    Ok(String::from_utf8_lossy(&text).trim().chars().filter(|char| !char.is_control()).take(200).collect())
}

/// Names that git ended with NUL.
pub(super) fn names(text: &[u8]) -> Vec<String> {
    let names = text.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_leads_to_a_commit_or_is_none() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let light = tag(&format!("1.0.0+2\0commit\0{one}\0\0\0")).unwrap();
        assert_eq!(
            (light.name.as_str(), light.commit.as_str(), light.annotated, light.tagger_time),
            ("1.0.0+2", &*one, false, None)
        );
        let full = tag(&format!("v1\0tag\0{one}\0commit\0{two}\01700000000")).unwrap();
        assert_eq!(
            (full.commit.as_str(), full.annotated, full.tagger_time),
            (&*two, true, Some(Time(1_700_000_000_000)))
        );
        assert_eq!(tag(&format!("tree\0tree\0{one}\0\0\0")), None);
    }
}
