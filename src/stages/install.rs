//! Installs the head as people would: `abra app new`, secrets, `abra app deploy`; then waits by our own rules until it runs,
//! asks for its front page through the proxy, and makes sure that what runs is the head and nothing else.
//!
//! The app's row stands in the database before the first act outside, so a crash anywhere in here leaves a name to tear down.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Done, Job, Learned, Made, Trouble, head, off_the_runtime, overlay};
use crate::abra::driver::Session;
use crate::compose::{Compose, env_file};
use crate::engine::run::{self, checked};
use crate::model::{AppDomain, StageName};
use crate::probe::{NoAnswer, Patience, Prober};
use crate::recipe::{DEFAULT_TIMEOUT, Recipe, RecipeError, Said, SecretSpec, compose_files};
use crate::sandbox::Stream;
use crate::swarm::converge::{self, Before, Failure, NotConverged};
use crate::swarm::pull::PullWhy;

const INSTALL: StageName = StageName::Install;
/// How often Traefik's swarm provider looks, as `cc-ci reconcile proxy` sets it up.
const PROXY_LOOKS: Duration = Duration::from_secs(1);
/// While the front page is asked for, the stack is looked at again so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Registries are asked for so many images at a time.
const PULLS: usize = 3;

pub async fn install(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    let (recipe, domain) = learned.recipe()?;
    let (recipe, domain) = (recipe.clone(), domain.clone());
    let app = intend(job, &domain).await?;
    learned.app = Some(app.clone());
    let session = job.abra.session(&job.home, job.config.runner.limits.command, cancel);

    session.app_new(&recipe.name, &domain, &mut job.listener(INSTALL)).await?;
    let said = patch(job, recipe, &domain).await?;
    make_secrets(job, &session, &said, &domain).await?;
    pull(job, cancel, &said.compose).await?;

    let before = Before::look(&job.swarm, &app.stack).await?;
    session.deploy(&domain, &mut job.listener(INSTALL)).await?;
    let waited = converges(job, cancel, &said, &before).await?;
    let note = answers(job, cancel, &domain, &said, &before).await?;
    head::assert(job, INSTALL, &said.compose, &app.stack).await?;
    learned.deployed = Some(said);
    Ok(Done { note: Some(note), waited })
}

/// The row first, the app after.
async fn intend(job: &Job, domain: &AppDomain) -> Result<Made, Trouble> {
    let (id, now) = (job.run.id, job.clock.now());
    let (intended, abra_dir) = (domain.clone(), job.home.abra_dir.to_string_lossy().into_owned());
    let app =
        job.ledger.write("could not note an app", move |tx| run::intend_app(tx, id, &intended, &abra_dir, now)).await?;
    Ok(Made { id: app, domain: domain.clone(), stack: domain.stack() })
}

/// Sets in the app's `.env` what only cc-ci can know, lays our overlay beside the recipe's files, and reads the whole as it is
/// going to be deployed.
async fn patch(job: &Job, recipe: Recipe, domain: &AppDomain) -> Result<Said, Trouble> {
    let path = job.home.env_file(domain);
    let (domain, run, instance) = (domain.clone(), job.run.id, job.instance.clone());
    off_the_runtime(move || {
        let faulty = |error: &dyn std::fmt::Display| Trouble::Infra(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| faulty(&error))?;
        let mut env = env_file::parse(&text).map_err(RecipeError::SampleLine)?;
        env.set("DOMAIN", domain.as_str());
        env.set("LETS_ENCRYPT_ENV", "");
        // The stack's name is abra's rule of the domain; another would lead teardown and checks astray.
        env.remove("STACK_NAME");
        let own = recipe.say(&env, domain.as_str())?;
        let overlay = overlay::text(&own.compose, run, &instance);
        std::fs::write(recipe.dir.join(overlay::FILE), overlay).map_err(|error| faulty(&error))?;
        env.set("COMPOSE_FILE", &overlay::appended(&compose_files(&env.map())));
        std::fs::write(&path, env_file::write(&env)).map_err(|error| faulty(&error))?;
        Ok(recipe.say(&env, domain.as_str())?)
    })
    .await?
}

/// Has abra make the secrets, and makes sure that each value is known to the redactor before anything can print it.
async fn make_secrets(job: &Job, session: &Session<'_>, said: &Said, domain: &AppDomain) -> Result<(), Trouble> {
    if said.secrets.is_empty() {
        return Ok(());
    }
    let generated = session.secret_generate(domain, &mut job.listener(INSTALL)).await?;
    let mut known = BTreeSet::new();
    for (name, value) in &generated {
        let name = own_name(name, &said.secrets);
        job.redactor.register(&name, value);
        known.insert(name);
    }
    let unredactable = job.redactor.unredactable();
    for name in &unredactable {
        job.say(INSTALL, &format!("the secret {name} is shorter than 8 bytes and cannot be masked"));
    }
    let id = job.run.id;
    job.ledger.write("could not note short secrets", move |tx| run::note_unredactable(tx, id, &unredactable)).await?;

    let there: BTreeSet<String> = job.swarm.secrets().await?.into_iter().map(|secret| secret.name).collect();
    for secret in &said.secrets {
        if there.contains(&secret.full_name) && !known.contains(&secret.name) {
            return Err(Trouble::Infra(format!(
                "abra made the secret {}, but its value could not be read from what abra printed, so it could not be masked; nothing was deployed",
                secret.name
            )));
        }
    }
    if known.is_empty() {
        return Ok(());
    }
    job.say(INSTALL, &format!("secrets made and masked: {}", known.into_iter().collect::<Vec<_>>().join(", ")));
    Ok(())
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

/// Waits until every service is what the deploy asked for. Says how much of it was the recipe's own waiting. The recipe's
/// `timeout` label may ask for more patience than abra's usual one, never for less.
async fn converges(job: &Job, cancel: &CancellationToken, said: &Said, before: &Before) -> Result<Duration, Trouble> {
    let limit = said.timeout.max(DEFAULT_TIMEOUT);
    let begun = Instant::now();
    match converge::wait(&job.swarm, before, limit, cancel, &mut |line| job.say(INSTALL, &line)).await {
        Ok(converged) => {
            let got = format!("{} up after {:.1} s", said.compose.services().len(), converged.took.as_secs_f64());
            job.check(checked(INSTALL, "services run", true, "all up", &got, converged.took)).await?;
            Ok(converged.waited)
        }
        Err(not) => Err(not_up(job, not, begun.elapsed()).await?),
    }
}

/// Whose fault it is that a stack is not up, noted and with the last lines of what failed.
async fn not_up(job: &Job, not: NotConverged, after: Duration) -> Result<Trouble, Trouble> {
    let failure = match not {
        NotConverged::Failed(failure) => failure,
        NotConverged::Fault(fault) => return Ok(fault.into()),
        NotConverged::Cancelled => return Ok(Trouble::Ended),
    };
    tell(job, &failure);
    let words = failure.to_string();
    if failure.is_infra() {
        return Ok(Trouble::Infra(words));
    }
    job.check(checked(INSTALL, "services run", false, "all up", &words, after)).await?;
    Ok(Trouble::Recipe(words))
}

/// An app that was up may still die before it answers, and then the proxy's words say little. Ends when the stack has failed.
async fn dies(job: &Job, cancel: &CancellationToken, said: &Said, before: &Before) -> NotConverged {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let limit = said.timeout.max(DEFAULT_TIMEOUT);
        if let Err(not) = converge::wait(&job.swarm, before, limit, cancel, &mut |_| {}).await {
            return not;
        }
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
            job.log.chunk(INSTALL, Stream::Out, format!("{line}\n").as_bytes());
        }
    }
}

/// The front page, through the proxy as the world would ask for it.
async fn answers(
    job: &Job,
    cancel: &CancellationToken,
    domain: &AppDomain,
    said: &Said,
    before: &Before,
) -> Result<String, Trouble> {
    let begun = Instant::now();
    let prober = Prober::new(&job.config.proxy).map_err(|error| Trouble::Infra(error.to_string()))?;
    let patience = Patience { within: job.config.runner.limits.answer, refresh: PROXY_LOOKS };
    let mut heard = |line: String| job.say(INSTALL, &line);
    let answer = tokio::select! {
        answer = prober.wait_for_answer(domain, "/", &patience, cancel, &mut heard) => answer,
        not = dies(job, cancel, said, before) => return Err(not_up(job, not, begun.elapsed()).await?),
    };
    let expected = "2xx from the app, through the proxy";
    match answer {
        Ok(answer) => {
            let got = format!("https://{domain} answers {}", answer.status);
            job.check(checked(INSTALL, "front page", true, expected, &got, begun.elapsed())).await?;
            Ok(got)
        }
        Err(NoAnswer::Cancelled) => Err(Trouble::Ended),
        Err(silent) if silent.is_infra() => Err(Trouble::Infra(silent.to_string())),
        Err(silent) => {
            let words = format!("https://{domain}: {silent}");
            job.check(checked(INSTALL, "front page", false, expected, &words, begun.elapsed())).await?;
            Err(Trouble::Recipe(words))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::Place;

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
