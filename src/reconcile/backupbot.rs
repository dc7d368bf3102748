//! A backup service for a Swarm that has none. Where another bears the label (upstream's recipe, on an appliance), that one
//! does it: abra takes no more than one.
//!
//! The image brings restic; the program that speaks the specification is this one, copied to the state directory and bound into
//! the container, so that it stays what it was when this file is built anew or moved.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::ReconcileError;
use super::own::{self, Heard, Own};
use crate::backup::service;
use crate::config::Config;
use crate::engine::OWN_PROGRAM;

const RECIPE: &str = "cc-ci-backupbot";
const NAME: &str = "backupbot";
const COMPOSE: &str = include_str!("backupbot/compose.yml");
const ENV_SAMPLE: &str = include_str!("backupbot/env.sample");
const README: &str = include_str!("backupbot/README.md");

fn wanted(config: &Config, image: &str, program: &Path, volumes: &Path) -> Result<Own, ReconcileError> {
    let domain = own::domain(config, config.backup.domain.as_deref(), NAME)?;
    let (program, volumes) = (program.display().to_string(), volumes.display().to_string());
    let docker = config.runner.docker.display().to_string();
    let version = own::version_of(image);
    let mut words: BTreeMap<&str, &str> = BTreeMap::from([
        ("@IMAGE@", image),
        ("@PROGRAM@", &program),
        ("@DOCKER@", &docker),
        ("@VOLUMES@", &volumes),
        ("@VERSION@", &version),
    ]);
    let compose = own::fill(COMPOSE, &words);
    let env = format!(
        "TYPE={RECIPE}\nDOMAIN={domain}\nCOMPOSE_FILE=compose.yml\nSECRET_RESTIC_PASSWORD_VERSION=v1 # length=64\n"
    );
    let hash = own::hash_of([compose.as_str(), &env]);
    words.insert("@WANTED@", &hash);
    let files = BTreeMap::from([
        ("compose.yml", own::fill(COMPOSE, &words)),
        ("abra.sh", String::new()),
        (".env.sample", ENV_SAMPLE.to_owned()),
        ("README.md", README.to_owned()),
    ]);
    Ok(Own { name: NAME, recipe: RECIPE, image: image.to_owned(), stack: domain.stack(), domain, files, env, hash })
}

pub(super) async fn reconcile(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let docker = super::docker(config).await?;
    let domain = own::domain(config, config.backup.domain.as_deref(), NAME)?;
    let found = service::services(&docker).await?;
    if let Some(other) = found.iter().find(|service| service.stack() != Some(domain.stack().as_str())) {
        return Ok(vec![format!("backupbot: {} is this Swarm's backup service; there is no need of ours", other.name)]);
    }
    let image = config.backup.image.as_deref().ok_or(ReconcileError::NoBackupService)?;
    let root = PathBuf::from(docker.info().await?.root);
    let dir = own::host_dir(config);
    let program = own::blocking(dir.clone(), move || copy_of_ours(&dir)).await?;
    let wanted = wanted(config, image, &program, &root.join("volumes"))?;
    let Some(why) = wanted.differs(config, &docker, None).await? else {
        return Ok(vec![format!("backupbot: {} runs as it should", wanted.image)]);
    };
    let domain = wanted.domain.clone();
    let deployed = wanted.deploy(config, &docker, async |session| {
        let made = session.secret_generate(&domain, &mut Heard).await;
        made.map(drop).map_err(|failed| ReconcileError::Abra { what: NAME, failed })
    });
    deployed.await?;
    Ok(vec![format!("backupbot: {} deployed ({why})", wanted.image)])
}

pub(super) async fn remove(config: &Config) -> Result<Vec<String>, ReconcileError> {
    let domain = own::domain(config, config.backup.domain.as_deref(), NAME)?;
    own::remove(config, NAME, &domain).await
}

/// This program in a place of its own, named by its size and time: another build is another backup service.
fn copy_of_ours(dir: &Path) -> std::io::Result<PathBuf> {
    let dir = std::path::absolute(dir)?;
    let ours = std::fs::metadata(OWN_PROGRAM)?;
    let copy = dir.join(format!("backup-bot-{:x}-{:x}", ours.len(), ours.mtime()));
    if !copy.exists() {
        std::fs::create_dir_all(&dir)?;
        for old in std::fs::read_dir(&dir)?.flatten() {
            if old.file_name().to_string_lossy().starts_with("backup-bot-") {
                std::fs::remove_file(old.path())?;
            }
        }
        // Whole or not at all.
        let half = dir.join("backup-bot-new");
        std::fs::copy(OWN_PROGRAM, &half)?;
        std::fs::rename(half, &copy)?;
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose;

    #[test]
    fn the_recipe_has_no_blank_left_and_compose_takes_it() {
        let config: Config = crate::yaml::from_str(
            "config.yaml",
            "domain: ci.example.org\nforge: {url: 'https://git.example.org', organisation: recipes, token_file: /token}\n",
        )
        .unwrap();
        let wanted =
            wanted(&config, "cc-ci-test/backup:1", Path::new("/program"), Path::new("/docker/volumes")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in &wanted.files {
            assert!(!text.contains('@'), "{file}: {text}");
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        let variables = [("STACK_NAME", wanted.stack.as_str()), ("SECRET_RESTIC_PASSWORD_VERSION", "v1")];
        let env = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let composed = compose::load(dir.path(), &["compose.yml".to_owned()], &env).unwrap();
        let rendered = composed.render();
        for part in ["backupbot_ci_example_org_restic_password_v1", "/docker/volumes", &wanted.hash] {
            assert!(rendered.contains(part), "{part} is not in {rendered}");
        }
    }
}
