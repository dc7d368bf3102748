//! A recipe's clone, by the git program. Hooks and whatever else a repository could bring to run are switched off.

use std::path::{Path, PathBuf};

use super::{Done, Fatal, fatal, programs};

/// Where recipes that are not there are cloned from.
const UPSTREAM: &str = "https://git.coopcloud.tech/coop-cloud";

#[derive(Clone, Debug)]
pub(super) struct Clone {
    pub dir: PathBuf,
}

fn git(dir: Option<&Path>, args: &[&str]) -> Result<programs::Output, Fatal> {
    let safe = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "safe.directory=*"];
    let all: Vec<&str> = safe.iter().chain(args).copied().collect();
    programs::run("git", &all, dir, None)
}

impl Clone {
    pub(super) fn upstream(recipe: &str, into: &Path) -> Done {
        let url = format!("{UPSTREAM}/{recipe}.git");
        let path = into.to_string_lossy();
        git(None, &["clone", "--quiet", "--", &url, &path])?.done(&format!("unable to clone {recipe} from {url}"))?;
        Ok(())
    }

    fn run(&self, args: &[&str]) -> Result<String, Fatal> {
        git(Some(&self.dir), args)?.done(&format!("git {}", args.first().unwrap_or(&"")))
    }

    pub(super) fn head(&self) -> Result<String, Fatal> {
        self.run(&["rev-parse", "--verify", "HEAD"]).map(|text| text.trim().to_owned())
    }

    /// Changed or untracked files.
    pub(super) fn is_dirty(&self) -> Result<bool, Fatal> {
        self.run(&["status", "--porcelain", "--untracked-files=normal"]).map(|text| !text.trim().is_empty())
    }

    /// The first eight digits of HEAD, `+U` behind them where the tree is not clean.
    pub(super) fn chaos_version(&self) -> Result<String, Fatal> {
        let head = self.head()?;
        let unstaged = if self.is_dirty()? { "+U" } else { "" };
        Ok(format!("{}{unstaged}", head.get(..8).unwrap_or(&head)))
    }

    /// Every tag with whether it is annotated, oldest version first.
    pub(super) fn tags(&self) -> Result<Vec<(String, bool)>, Fatal> {
        let text = self.run(&["for-each-ref", "refs/tags", "--format=%(objecttype) %(refname:strip=2)"])?;
        let mut tags: Vec<(String, bool)> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(kind, name)| (name.to_owned(), kind == "tag"))
            .collect();
        tags.sort_by_cached_key(|(name, _)| version_key(name));
        Ok(tags)
    }

    pub(super) fn newest_tag(&self) -> Result<Option<String>, Fatal> {
        Ok(self.tags()?.into_iter().map(|(name, _)| name).rfind(|name| crate::recipe::lint::is_recipe_version(name)))
    }

    /// Refuses to touch changes of somebody.
    pub(super) fn require_clean(&self, recipe: &str) -> Done {
        if self.is_dirty()? {
            fatal(format!("{recipe} ({}) has locally unstaged changes", self.dir.display()))
        } else {
            Ok(())
        }
    }

    /// All tags, and the default branch moved to where the remote has it.
    pub(super) fn update(&self) -> Done {
        if self.run(&["remote"])?.trim().is_empty() {
            return Ok(());
        }
        self.run(&["fetch", "--quiet", "--tags", "--force", "--prune"])?;
        let head = git(Some(&self.dir), &["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"])?;
        if let Some(branch) = head.stdout.trim().strip_prefix("refs/remotes/origin/").filter(|_| head.ok) {
            self.run(&["checkout", "--quiet", "-B", branch, &format!("origin/{branch}")])?;
        }
        Ok(())
    }

    pub(super) fn checkout(&self, version: &str) -> Done {
        let found = git(Some(&self.dir), &["rev-parse", "--verify", "--quiet", &format!("{version}^{{commit}}")])?;
        if version.starts_with('-') || !found.ok {
            return fatal(format!("version {version} doesn't exist in {}", self.dir.display()));
        }
        self.run(&["checkout", "--quiet", found.stdout.trim()])?;
        Ok(())
    }

    /// A file as it is in some version.
    pub(super) fn show(&self, version: &str, path: &str) -> Option<String> {
        let output = git(Some(&self.dir), &["show", &format!("{version}:{path}")]).ok()?;
        output.ok.then_some(output.stdout)
    }
}

/// Numbers as numbers, so that 1.10 is newer than 1.9.
fn version_key(version: &str) -> Vec<(u64, String)> {
    let parts = version.split(['.', '+', '-']);
    parts.map(|part| part.parse().map_or_else(|_| (0, part.to_owned()), |number| (number, String::new()))).collect()
}

#[cfg(test)]
mod tests {
    use super::version_key;

    #[test]
    fn versions_sort_by_their_numbers() {
        let mut tags = ["1.10.0+1.28.0", "1.9.0+1.27.9", "1.9.1+1.27.10", "1.9.1+1.27.9"];
        tags.sort_by_cached_key(|tag| version_key(tag));
        assert_eq!(tags, ["1.9.0+1.27.9", "1.9.1+1.27.9", "1.9.1+1.27.10", "1.10.0+1.28.0"]);
    }
}
