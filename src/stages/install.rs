//! Installs the head as people would: `abra app new`, secrets, `abra app deploy`; then waits by our own rules until it runs,
//! asks for its front page through the proxy, and makes sure that what runs is the head and nothing else.
//!
//! The app's row stands in the database before the first act outside, so a crash anywhere in here leaves a name to tear down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Done, Job, Learned, Made, Trouble, head, off_the_runtime, overlay};
use crate::compose::{self, Compose, abra_sh, env_file, inside};
use crate::engine::run::{self, checked};
use crate::model::{AppDomain, StageName, StackName};
use crate::probe::http;
use crate::swarm::converge::{self, Before, Failure, NotConverged};
use crate::swarm::pull::PullWhy;

const INSTALL: StageName = StageName::Install;
/// The recipe's own `timeout` label may ask for more, never for less.
const LEAST_WAIT: Duration = Duration::from_secs(300);
/// Registries are asked for so many images at a time.
const PULLS: usize = 3;

pub async fn install(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    let app = intend(job, learned).await?;
    let (recipe, dir, domain) = learned.recipe()?;
    let (recipe, dir, domain) = (recipe.clone(), dir.clone(), domain.clone());
    let session = job.abra.session(&job.home, job.config.runner.limits.command, cancel);

    session.app_new(&recipe, &domain, &mut job.listener(INSTALL)).await?;
    let compose = patch(job, &dir, &app).await?;
    make_secrets(job, &session, &compose, &app).await?;
    pull(job, cancel, &compose).await?;

    let before = Before::look(&job.swarm, &app.stack).await?;
    session.deploy(&domain, &mut job.listener(INSTALL)).await?;
    let waited = converges(job, cancel, &compose, &before).await?;
    let note = answers(job, cancel, &domain).await?;
    head::assert(job, INSTALL, &compose, &app).await?;
    learned.compose = Some(compose);
    Ok(Done { note: Some(note), waited })
}

/// The row first, the app after.
async fn intend(job: &Job, learned: &mut Learned) -> Result<Made, Trouble> {
    let (_, _, domain) = learned.recipe()?;
    let (id, now) = (job.run.id, job.clock.now());
    let (intended, abra_dir) = (domain.clone(), job.home.abra_dir.to_string_lossy().into_owned());
    let app = job
        .ledger
        .write("could not note an app", move |tx| run::intend_app(tx, id, &intended, &abra_dir, now))
        .await?;
    let made = Made { id: app, domain: domain.clone(), stack: domain.stack() };
    learned.app = Some(made.clone());
    Ok(made)
}

/// Sets in the app's `.env` what only cc-ci can know, lays our overlay beside the recipe's files, and reads the whole as it is
/// going to be deployed.
async fn patch(job: &Job, dir: &Path, app: &Made) -> Result<Compose, Trouble> {
    let env_file = job.home.env_file(&app.domain);
    let (dir, app, run, instance) = (dir.to_owned(), app.clone(), job.run.id, job.instance.clone());
    off_the_runtime(move || {
        let unreadable = |error: &dyn std::fmt::Display| Trouble::Infra(format!("{}: {error}", env_file.display()));
        let text = std::fs::read_to_string(&env_file).map_err(|error| unreadable(&error))?;
        let mut env = env_file::parse(&text).map_err(|error| Trouble::Recipe(format!(".env.sample: {error}")))?;
        let files = env.get("COMPOSE_FILE").filter(|files| !files.is_empty()).unwrap_or("compose.yml").to_owned();
        env.set("DOMAIN", app.domain.as_str());
        env.set("LETS_ENCRYPT_ENV", "");
        env.set("COMPOSE_FILE", &overlay::appended(&files));
        // The stack's name is abra's rule of the domain; another would lead teardown and checks astray.
        env.remove("STACK_NAME");

        let own = read(&dir, &files, &env.map(), &app)?;
        let text = overlay::for_recipe(&own, run, &instance);
        std::fs::write(dir.join(overlay::FILE), text).map_err(|error| unreadable(&error))?;
        std::fs::write(&env_file, env_file::write(&env)).map_err(|error| unreadable(&error))?;
        read(&dir, &overlay::appended(&files), &env.map(), &app)
    })
    .await?
}

/// The compose files with the variables that abra gives them.
pub fn read(dir: &Path, files: &str, env: &BTreeMap<String, String>, app: &Made) -> Result<Compose, Trouble> {
    let mut env = env.clone();
    env.insert("DOMAIN".to_owned(), app.domain.to_string());
    env.insert("STACK_NAME".to_owned(), app.stack.to_string());
    if let Ok(text) = inside::read(dir, Path::new("abra.sh")) {
        env.extend(abra_sh::exports(&text).exports.into_iter().map(|export| (export.name, export.value)));
    }
    let files: Vec<String> = files.split(':').filter(|file| !file.is_empty()).map(str::to_owned).collect();
    compose::load(dir, &files, &env).map_err(|error| Trouble::Recipe(error.to_string()))
}

/// Has abra make the secrets, and makes sure that each value is known to the redactor before anything can print it.
async fn make_secrets(
    job: &Job,
    session: &crate::abra::driver::Session<'_>,
    compose: &Compose,
    app: &Made,
) -> Result<(), Trouble> {
    let used: Vec<(String, String)> = compose
        .used_secrets()
        .iter()
        .map(|secret| (secret.key.to_owned(), secret.full_name(app.stack.as_str())))
        .collect();
    if used.is_empty() {
        return Ok(());
    }
    let generated = session.secret_generate(&app.domain, &mut job.listener(INSTALL)).await?;
    let mut known = BTreeSet::new();
    for (name, value) in &generated {
        let name = own_name(name, &app.stack, &used);
        job.redactor.register(&name, value);
        known.insert(name);
    }
    let unredactable = job.redactor.unredactable();
    for name in &unredactable {
        job.say(INSTALL, &format!("the secret {name} is shorter than 8 bytes and cannot be masked"));
    }
    let id = job.run.id;
    job.ledger
        .write("could not note short secrets", move |tx| run::note_unredactable(tx, id, &unredactable))
        .await?;

    let there: BTreeSet<String> = job.swarm.secrets().await?.into_iter().map(|secret| secret.name).collect();
    for (name, full_name) in &used {
        if there.contains(full_name) && !known.contains(name) {
            return Err(Trouble::Infra(format!(
                "abra made the secret {name}, but its value could not be read from what abra printed, so it could not be masked; nothing was deployed"
            )));
        }
    }
    job.say(INSTALL, &format!("secrets made and masked: {}", known.into_iter().collect::<Vec<_>>().join(", ")));
    Ok(())
}

/// As the compose file calls it; some abra print the name that Swarm knows.
fn own_name(printed: &str, stack: &StackName, used: &[(String, String)]) -> String {
    let by_full_name = used.iter().find(|(_, full_name)| full_name == printed);
    let by_key = used.iter().find(|(key, full_name)| {
        key == printed || full_name.strip_prefix(stack.as_str()).is_some_and(|rest| {
            rest.strip_prefix('_').and_then(|rest| rest.rsplit_once('_')).is_some_and(|(name, _)| name == printed)
        })
    });
    by_full_name.or(by_key).map_or_else(|| printed.to_owned(), |(key, _)| key.clone())
}

/// Gets the images before anything is deployed: a registry's fault must not look like an app that does not start.
async fn pull(job: &Job, cancel: &CancellationToken, compose: &Compose) -> Result<(), Trouble> {
    let images: BTreeSet<String> =
        compose.images().into_iter().filter_map(|(_, image)| image.as_str().map(str::to_owned)).collect();
    let within = job.config.runner.limits.command;
    let mut pulls = stream::iter(images)
        .map(|image| async move {
            if job.swarm.has_image(&image).await? {
                job.say(INSTALL, &format!("{image} is on this machine"));
                return Ok(());
            }
            job.say(INSTALL, &format!("pulling {image}"));
            let pulled = job.swarm.pull(&image, None, within, cancel, &mut |line| job.say(INSTALL, &line)).await;
            pulled.map_err(|error| match error.why {
                PullWhy::Cancelled => Trouble::Ended,
                _ => Trouble::Infra(error.to_string()),
            })
        })
        .buffer_unordered(PULLS);
    while let Some(pulled) = pulls.next().await {
        pulled?;
    }
    Ok(())
}

/// Waits until every service is what the deploy asked for. Says how much of it was the recipe's own waiting.
async fn converges(
    job: &Job,
    cancel: &CancellationToken,
    compose: &Compose,
    before: &Before,
) -> Result<Duration, Trouble> {
    let key = format!("coop-cloud.{}.timeout", before.stack);
    let asked = compose.services().iter().find_map(|service| service.label(&key)?.trim().parse().ok());
    let limit = asked.map_or(LEAST_WAIT, Duration::from_secs).max(LEAST_WAIT);
    let begun = Instant::now();
    let converged =
        converge::wait(&job.swarm, before, limit, cancel, &mut |line| job.say(INSTALL, &line)).await;
    match converged {
        Ok(converged) => {
            let count = compose.services().len();
            let got = format!("{count} up after {:.1} s", converged.took.as_secs_f64());
            job.check(checked(INSTALL, "services run", true, "all up", &got, converged.took)).await?;
            Ok(converged.waited)
        }
        Err(NotConverged::Failed(failure)) => {
            tell(job, &failure);
            let words = failure.to_string();
            if failure.is_infra() {
                return Err(Trouble::Infra(words));
            }
            job.check(checked(INSTALL, "services run", false, "all up", &words, begun.elapsed())).await?;
            Err(Trouble::Recipe(words))
        }
        Err(NotConverged::Fault(fault)) => Err(fault.into()),
        Err(NotConverged::Cancelled) => Err(Trouble::Ended),
    }
}

/// How each service stood and what the failing one said last, for the log and for whoever reads its end.
fn tell(job: &Job, failure: &Failure) {
    for service in &failure.services {
        job.say(INSTALL, service);
    }
    if !failure.last_lines.is_empty() {
        job.say(INSTALL, &format!("last lines of {}:", failure.service));
        for line in &failure.last_lines {
            job.log.chunk(INSTALL, crate::sandbox::Stream::Out, format!("{line}\n").as_bytes());
        }
    }
}

/// The front page, through the proxy as the world would ask for it.
async fn answers(job: &Job, cancel: &CancellationToken, domain: &AppDomain) -> Result<String, Trouble> {
    let begun = Instant::now();
    let probe = http::Probe::new(&job.config.proxy).map_err(|fault| Trouble::Infra(fault.to_string()))?;
    let within = job.config.runner.limits.answer;
    let answer = tokio::select! {
        answer = probe.until_it_answers(domain, "/", within) => answer,
        () = cancel.cancelled() => return Err(Trouble::Ended),
    };
    let expected = "200 to 399, from the app";
    match answer {
        Ok(answer) => {
            let got = format!("https://{domain} answers {}", answer.status);
            job.check(checked(INSTALL, "front page", true, expected, &got, begun.elapsed())).await?;
            Ok(got)
        }
        Err(silent) if silent.is_infra() => Err(Trouble::Infra(silent.to_string())),
        Err(silent) => {
            let words = silent.to_string();
            job.check(checked(INSTALL, "front page", false, expected, &words, begun.elapsed())).await?;
            Err(Trouble::Recipe(words))
        }
    }
}

/// The recipe's directory in the run's own `ABRA_DIR`.
pub fn recipe_dir(job: &Job, recipe: &crate::model::RecipeName) -> PathBuf {
    job.home.recipe_dir(recipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_whatever_name_abra_prints() {
        let stack: StackName = "cust-1_ci_test".parse().unwrap();
        let used = [("pw".to_owned(), "cust-1_ci_test_db_password_v1".to_owned())];
        for printed in ["pw", "db_password", "cust-1_ci_test_db_password_v1"] {
            assert_eq!(own_name(printed, &stack, &used), "pw", "{printed}");
        }
        assert_eq!(own_name("other", &stack, &used), "other");
    }
}
