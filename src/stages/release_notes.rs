//! What the recipe tells those who upgrade: `release/<version>`, for the versions after the base. Whoever reads a failed upgrade
//! wants to see whether it was announced.

use std::path::Path;

use super::{Job, Trouble, off_the_runtime};
use crate::compose::inside;
use crate::model::{CheckState, StageName};
use crate::plan::Base;
use crate::recipe::Recipe;
use crate::store::stages::Check;

/// Of each note.
const SHOWN: usize = 400;
/// Notes that are shown; the newest.
const MOST: usize = 20;
/// The note of what is not published yet.
const NEXT: &str = "next";

/// Notes each as a row of the stage.
pub(super) async fn show(job: &Job, stage: StageName, head: &Recipe, base: &Base) -> Result<(), Trouble> {
    let (dir, from) = (head.dir.clone(), base.name.clone());
    for (version, text) in off_the_runtime(move || after(&dir, &from)).await? {
        let check = Check {
            stage,
            name: format!("release note {version}"),
            state: CheckState::Passed,
            expected: None,
            got: Some(text),
            took: None,
        };
        job.check(check).await?;
    }
    Ok(())
}

/// Versions and texts, oldest first. Where the base has no number, all of them are.
fn after(dir: &Path, base: &str) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(dir.join("release")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let from = numbers(base);
    let mut notes: Vec<String> = names
        .filter(|name| match (numbers(name), &from) {
            (Some(version), Some(from)) => version > *from,
            (Some(_), None) => true,
            (None, _) => name == NEXT,
        })
        .collect();
    notes.sort_by_key(|name| (name == NEXT, numbers(name)));
    notes.drain(..notes.len().saturating_sub(MOST));
    let read = |name: String| {
        let text = inside::read(dir, &Path::new("release").join(&name)).ok()?;
        let text: String = text.trim().chars().take(SHOWN).collect();
        (!text.is_empty()).then_some((name, text))
    };
    notes.into_iter().filter_map(read).collect()
}

/// `1.3.2+25.0.6` as numbers: the recipe's own part decides, the app's breaks ties.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let parts = version.split(['.', '+', '-']);
    let mut found = Vec::new();
    for part in parts {
        match part.parse() {
            Ok(number) => found.push(number),
            Err(_) if found.len() >= 3 => break,
            Err(_) => return None,
        }
    }
    (found.len() >= 3).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_after_the_base_are_shown_oldest_first_and_what_comes_next_last() {
        let dir = tempfile::tempdir().unwrap();
        let release = dir.path().join("release");
        std::fs::create_dir(&release).unwrap();
        for name in ["1.9.0+1.0", "1.10.0+1.0", "1.2.0+1.0", "2.0.0+1.0.5-social-amd64", "next", ".gitkeep"] {
            std::fs::write(release.join(name), format!("about {name}\n")).unwrap();
        }
        std::fs::write(release.join("3.0.0+1"), "\n").unwrap();
        let versions = |base: &str| after(dir.path(), base).into_iter().map(|(version, _)| version).collect::<Vec<_>>();
        assert_eq!(versions("1.9.0+1.0"), ["1.10.0+1.0", "2.0.0+1.0.5-social-amd64", "next"]);
        assert_eq!(versions("3f9c2ab1").len(), 5);
        assert_eq!(after(dir.path(), "2.0.0+1.0.5-social-amd64"), [("next".to_owned(), "about next".to_owned())]);
        assert!(after(&release, "1.0.0+1").is_empty());
    }
}
