//! The secrets of an app, made by abra as people would have them made. None is deployed whose value is not masked: a value that
//! was made and could not be read stops the run.
//!
//! A commit that is deployed a second time in a run gets the values it had the first time: data that is restored into it was
//! written with them (a database keeps the password it was made with), as whoever restores for real has to bring them along.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Job, Trouble, off_the_runtime};
use crate::abra::driver::{Failed, Session};
use crate::engine::run;
use crate::model::{AppDomain, Head, StageName};
use crate::recipe::{Said, SecretSpec};
use crate::script::Side;
use crate::secrets::Secret;

/// Values of the app's secrets, as each commit of the run was given them. They go with the run.
#[derive(Default)]
pub struct Values(Mutex<Vec<(Head, String, Secret)>>);

impl Values {
    fn note(&self, commit: &Head, name: &str, value: &Secret) {
        self.locked().push((commit.clone(), name.to_owned(), value.clone()));
    }

    /// The newest, for forms that have to be filled in.
    pub(super) fn of(&self, name: &str) -> Option<Secret> {
        self.locked().iter().rfind(|(_, known, _)| known == name).map(|(.., value)| value.clone())
    }

    fn of_commit(&self, commit: &Head, name: &str) -> Option<Secret> {
        let found = |(at, known, _): &&(Head, String, Secret)| at == commit && known == name;
        self.locked().iter().rfind(found).map(|(.., value)| value.clone())
    }

    fn locked(&self) -> MutexGuard<'_, Vec<(Head, String, Secret)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has abra make the secrets, and makes sure that each value is known to the redactor before anything can print it.
pub(super) async fn make(
    job: &Job,
    stage: StageName,
    session: &Session<'_>,
    said: &Said,
    domain: &AppDomain,
    commit: &Head,
) -> Result<(), Trouble> {
    if said.secrets.is_empty() {
        return Ok(());
    }
    // What the app had before an upgrade was made in this run, and is masked since then.
    let had = names(job).await?;
    let missing = said.secrets.iter().filter(|secret| !had.contains(&secret.full_name));
    let mut known = insert_known(job, stage, session, missing, domain, commit).await?;
    let generated = session.secret_generate(domain, &mut job.listener(stage)).await?;
    for (name, value) in &generated {
        let name = own_name(name, &said.secrets);
        job.redactor.register(&name, value);
        job.values.note(commit, &name, value);
        known.insert(name);
    }
    let unredactable = job.redactor.unredactable();
    for name in &unredactable {
        job.say(stage, &format!("the secret {name} is shorter than 8 bytes and cannot be masked"));
    }
    let id = job.run.id;
    job.ledger.write("could not note short secrets", move |tx| run::note_unredactable(tx, id, &unredactable)).await?;

    let there = names(job).await?;
    for secret in &said.secrets {
        let is_new = there.contains(&secret.full_name) && !had.contains(&secret.full_name);
        if is_new && !known.contains(&secret.name) {
            return Err(Trouble::Infra(format!(
                "abra made the secret {}, but its value could not be read from what abra printed, so it could not be masked; nothing was deployed",
                secret.name
            )));
        }
    }
    if known.is_empty() {
        return Ok(());
    }
    job.say(stage, &format!("secrets made and masked: {}", known.into_iter().collect::<Vec<_>>().join(", ")));
    Ok(())
}

/// Inserts what the operator gives this recipe and what this commit had before in this run, each from a file that nobody else
/// can read. Says which those are.
async fn insert_known(
    job: &Job,
    stage: StageName,
    session: &Session<'_>,
    missing: impl Iterator<Item = &SecretSpec>,
    domain: &AppDomain,
    commit: &Head,
) -> Result<BTreeSet<String>, Trouble> {
    let mut known = BTreeSet::new();
    let declared = job.known().secrets();
    for secret in missing {
        let value = if let Some(value) = lent(job, &secret.name)? {
            value
        } else if declared.contains_key(secret.name.as_str()) {
            job.secret(&secret.name, Side::Appliance).await.map_err(Trouble::Infra)?
        } else if let Some(value) = job.values.of_commit(commit, &secret.name) {
            value
        } else {
            continue;
        };
        job.redactor.register(&secret.name, &value);
        let file = job.dir.join(format!("secret-{}", secret.name));
        let path = file.clone();
        let faulty = |error| Trouble::Infra(format!("{}: {error}", file.display()));
        off_the_runtime(move || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(value.expose().as_bytes())
        })
        .await?
        .map_err(faulty)?;
        let named = (secret.name.as_str(), secret.version.as_str());
        let inserted = session.secret_insert(domain, named, &file, &mut job.listener(stage)).await;
        tokio::fs::remove_file(&file).await.map_err(faulty)?;
        match inserted {
            Ok(()) | Err(Failed::Exists) => known.insert(secret.name.clone()),
            Err(failed) => return Err(failed.into()),
        };
    }
    Ok(known)
}

/// A secret that the operator lets the app have of what stands beside it.
fn lent(job: &Job, name: &str) -> Result<Option<Secret>, Trouble> {
    let mut lenders = job.beside().iter().filter_map(|beside| Some((beside, beside.need.lends(name)?)));
    let Some((beside, theirs)) = lenders.next() else { return Ok(None) };
    let value = beside.job.values.of(theirs);
    let recipe = &beside.need.recipe;
    value
        .map(Some)
        .ok_or_else(|| Trouble::Infra(format!("`{name}` is to be `{theirs}` of {recipe}, and abra made none there")))
}

async fn names(job: &Job) -> Result<BTreeSet<String>, Trouble> {
    Ok(job.swarm.secrets().await?.into_iter().map(|secret| secret.name).collect())
}

/// As the compose file calls it, by whatever name abra prints it.
fn own_name(printed: &str, secrets: &[SecretSpec]) -> String {
    let is_it = |secret: &&SecretSpec| {
        let name = secret.full_name.strip_suffix(&secret.version).map(|name| name.trim_end_matches('_'));
        secret.name == printed
            || secret.full_name == printed
            || name.is_some_and(|name| name.strip_suffix(printed).is_some_and(|stack| stack.ends_with('_')))
    };
    secrets.iter().find(is_it).map_or_else(|| printed.to_owned(), |secret| secret.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{Place, env_file};

    #[test]
    fn a_secret_is_known_by_whatever_name_abra_prints() {
        let secret = SecretSpec {
            name: "pw".into(),
            variable: None,
            version: "v1".into(),
            modifiers: env_file::Modifiers { length: None, charset: None, generate: true },
            full_name: "cust-1_ci_test_db_password_v1".into(),
            place: Place { file: "compose.yml".into(), line: 1, column: 1 },
        };
        let secrets = [secret];
        for printed in ["pw", "db_password", "cust-1_ci_test_db_password_v1"] {
            assert_eq!(own_name(printed, &secrets), "pw", "{printed}");
        }
        assert_eq!(own_name("other", &secrets), "other");
    }
}
