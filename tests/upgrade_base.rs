//! What an upgrade starts from, on real repositories.

use std::fs;
use std::path::Path;

use cc_ci::dev::recipe;
use cc_ci::git;
use cc_ci::model::Head;
use cc_ci::stages::Trouble;
use cc_ci::stages::base::Repository;

/// A recipe with these steps; a step with a tag is published, the last is the head.
async fn recipe_of(steps: &[(&str, &str)]) -> (tempfile::TempDir, recipe::Made) {
    cc_ci::sandbox::warden_is_at(env!("CARGO_BIN_EXE_cc-ci"));
    let dir = tempfile::tempdir().unwrap();
    let laid = dir.path().join("laid");
    let mut history = Vec::new();
    for (at, (content, tag)) in steps.iter().enumerate() {
        fs::create_dir_all(laid.join(at.to_string())).unwrap();
        fs::write(laid.join(at.to_string()).join("compose.yml"), content).unwrap();
        history.push(format!("- files: \"{at}\"\n  title: step {at}\n"));
        history.push(match tag.strip_prefix('~') {
            Some(light) => format!("  tag: {light}\n  lightweight: true\n"),
            None if tag.is_empty() => String::new(),
            None => format!("  tag: {tag}\n"),
        });
    }
    fs::write(laid.join("history.yaml"), history.concat()).unwrap();
    let made = recipe::make(&laid, &dir.path().join("clone")).await.unwrap();
    (dir, made)
}

async fn seen_from<'a>(clone: &'a Path, head: &'a Head) -> Repository<'a> {
    Repository::read(clone, head).await.unwrap()
}

async fn commit(clone: &Path, name: &str) -> Head {
    git::commit_named(clone, name).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_newest_annotated_tag_before_the_head_is_the_base() {
    let steps = [("one", "1.9.0+1"), ("two", "1.10.0+1"), ("three", "~1.11.0+1"), ("four", "")];
    let (dir, made) = recipe_of(&steps).await;
    let head = made.head.parse().unwrap();
    let clone = dir.path().join("clone");
    let repository = seen_from(&clone, &head).await;
    let newest = repository.newest_tag().await.unwrap().unwrap();
    assert_eq!(newest, commit(&clone, "1.10.0+1").await);
    assert_eq!(repository.name(&newest), "1.10.0+1");

    // The head's own tag is no base.
    let head = commit(&clone, "1.10.0+1").await;
    let repository = seen_from(&clone, &head).await;
    assert_eq!(repository.newest_tag().await.unwrap(), Some(commit(&clone, "1.9.0+1").await));
}

#[tokio::test]
async fn what_passed_counts_once_it_is_published() {
    let (dir, made) = recipe_of(&[("one", "1.0.0+1"), ("two", "1.1.0+1"), ("three", "")]).await;
    let head = made.head.parse().unwrap();
    let clone = dir.path().join("clone");
    let repository = seen_from(&clone, &head).await;
    let (first, tip) = (commit(&clone, "1.0.0+1").await, commit(&clone, "main").await);
    let gone: Head = "0123456789012345678901234567890123456789".parse().unwrap();
    let passed = vec![gone, head.clone(), first.clone()];
    assert_eq!(repository.published(passed, Some(&tip)).await.unwrap(), Some(first.clone()));
    assert_eq!(repository.published(vec![tip.clone()], Some(&first)).await.unwrap(), None, "not in the branch yet");
    assert_eq!(repository.published(vec![first], None).await.unwrap(), None);
}

#[tokio::test]
async fn a_base_that_is_the_head_in_all_but_name_is_none() {
    let (dir, made) = recipe_of(&[("one", "1.0.0+1"), ("two", "1.1.0+1"), ("one", "")]).await;
    let head = made.head.parse().unwrap();
    let clone = dir.path().join("clone");
    let repository = seen_from(&clone, &head).await;
    let same = repository.same_as_head(&commit(&clone, "1.0.0+1").await).await.unwrap();
    assert_eq!(same.as_deref(), Some("(1.0.0+1) has the same files as the head"));
    assert_eq!(repository.same_as_head(&commit(&clone, "1.1.0+1").await).await.unwrap(), None);
    let refused = repository.named("1.0.0+1").await.unwrap_err();
    assert!(matches!(refused, Trouble::Recipe(words) if words.contains("nothing to upgrade")));
    let unknown = repository.named("9.0.0").await.unwrap_err();
    assert!(matches!(unknown, Trouble::Recipe(words) if words.contains("it has 1.1.0+1, 1.0.0+1")));
}
