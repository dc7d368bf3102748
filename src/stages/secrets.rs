//! The secrets of an app, made by abra as people would have them made. None is deployed whose value is not masked: a value that
//! was made and could not be read stops the run.

use std::collections::BTreeSet;

use super::{Job, Trouble};
use crate::abra::driver::Session;
use crate::engine::run;
use crate::model::{AppDomain, StageName};
use crate::recipe::{Said, SecretSpec};

/// Has abra make the secrets, and makes sure that each value is known to the redactor before anything can print it.
pub(super) async fn make(
    job: &Job,
    stage: StageName,
    session: &Session<'_>,
    said: &Said,
    domain: &AppDomain,
) -> Result<(), Trouble> {
    if said.secrets.is_empty() {
        return Ok(());
    }
    // What the app had before an upgrade was made in this run, and is masked since then.
    let had = names(job).await?;
    let generated = session.secret_generate(domain, &mut job.listener(stage)).await?;
    let mut known = BTreeSet::new();
    for (name, value) in &generated {
        let name = own_name(name, &said.secrets);
        job.redactor.register(&name, value);
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
