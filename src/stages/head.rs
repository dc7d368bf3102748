//! What is tested is the head: read from what runs, never from what was meant. A stamp alone can lie (a rollback takes the
//! labels back, a base may be deployed under the head's name), so the images and the names of configs and secrets in the
//! running tasks' own specs are compared too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Job, Trouble};
use crate::compose::{Compose, Kind};
use crate::engine::run::checked;
use crate::model::{Head, StackName, StageName};
use crate::swarm::views::{Service, Task, TaskState};

/// What a service is to be made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Makings {
    image: String,
    configs: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

/// Asserts that the running stack is this commit's, and notes how that came out.
pub(super) async fn assert(
    job: &Job,
    stage: StageName,
    compose: &Compose,
    stack: &StackName,
    commit: &Head,
) -> Result<(), Trouble> {
    let (services, tasks) = tokio::try_join!(job.swarm.services(stack), job.swarm.tasks(stack))?;
    let expected = commit.short();
    let named = match &job.called {
        Some(name) => name.as_str(),
        None if *commit == job.run.head => "the head",
        None => "the base",
    };
    let stamp = stamp(&services, stack.as_str());
    let shown = stamp.clone().unwrap_or_else(|| "no stamp".to_owned());
    let stamped = stamp.as_deref().map(|stamp| stamp.trim_end_matches("+U")) == Some(expected);
    job.check(checked(stage, "commit of the stack", stamped, expected, &shown, Duration::ZERO)).await?;

    let wanted = wanted(compose, stack.as_str());
    let differences = differences(&wanted, &services, &tasks, stack.as_str());
    let got = match differences.first() {
        None => match wanted.len() {
            1 => format!("the service is as {named} names it"),
            count => format!("{count} services, all as {named} names them"),
        },
        Some(first) => first.clone(),
    };
    let expects = format!("images, configs and secrets of {named}");
    job.check(checked(stage, "what the tasks run", differences.is_empty(), &expects, &got, Duration::ZERO)).await?;
    if !stamped {
        return Err(Trouble::Recipe(format!("what runs is not {named}: the stack is stamped {shown}, not {expected}")));
    }
    match differences.into_iter().next() {
        Some(first) => Err(Trouble::Recipe(format!("what runs is not {named}: {first}"))),
        None => Ok(()),
    }
}

/// The commit that abra stamped, wherever it put it.
fn stamp(services: &[Service], stack: &str) -> Option<String> {
    let key = format!("coop-cloud.{stack}.chaos-version");
    services.iter().find_map(|service| service.labels.get(&key).cloned())
}

fn wanted(compose: &Compose, stack: &str) -> BTreeMap<String, Makings> {
    let names = |kind| -> BTreeMap<String, String> {
        let objects = compose.objects(kind).into_iter();
        objects.map(|object| (object.key.to_owned(), object.full_name(stack))).collect()
    };
    let (configs, secrets) = (names(Kind::Config), names(Kind::Secret));
    let services = compose.services().into_iter();
    services
        .map(|service| {
            let used = |kind, names: &BTreeMap<String, String>| {
                service.uses(kind).into_iter().filter_map(|(key, _)| names.get(key).cloned()).collect()
            };
            let image = service.image().and_then(|image| image.as_str()).unwrap_or_default();
            let makings = Makings {
                image: image.to_owned(),
                configs: used(Kind::Config, &configs),
                secrets: used(Kind::Secret, &secrets),
            };
            (service.name.to_owned(), makings)
        })
        .collect()
}

/// What is not as the commit names it, in words.
fn differences(wanted: &BTreeMap<String, Makings>, services: &[Service], tasks: &[Task], stack: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, want) in wanted {
        let Some(service) = services.iter().find(|service| service.name == format!("{stack}_{name}")) else {
            found.push(format!("{name} is not there"));
            continue;
        };
        let spec = ("service", &service.image, &service.configs, &service.secrets);
        let running = tasks
            .iter()
            .filter(|task| task.service == service.id && task.state == TaskState::Running)
            .map(|task| ("running task", &task.image, &task.configs, &task.secrets));
        let old = |task: &&Task| {
            task.service == service.id && task.state == TaskState::Running && task.template != service.template
        };
        if let Some(task) = tasks.iter().find(old) {
            found.push(format!("an old task of {name} still runs, with the image {}", task.image));
        }
        for (what, image, configs, secrets) in std::iter::once(spec).chain(running) {
            if !is_image(image, &want.image) {
                found.push(format!("the {what} of {name} has the image {image}, not {}", want.image));
            }
            for (kind, has, want) in [("config", configs, &want.configs), ("secret", secrets, &want.secrets)] {
                let has: BTreeSet<String> = has.iter().cloned().collect();
                if let Some(missing) = want.difference(&has).next() {
                    found.push(format!("the {what} of {name} lacks the {kind} {missing}"));
                }
                if let Some(other) = has.difference(want).next() {
                    found.push(format!("the {what} of {name} has the {kind} {other}, which is not named"));
                }
            }
        }
    }
    found
}

/// Docker adds a digest, and writes the short form of what is on its own registry.
fn is_image(running: &str, named: &str) -> bool {
    let (running, named) = (familiar(running), familiar(named));
    running == named || running.split('@').next() == Some(named.as_str())
}

fn familiar(image: &str) -> String {
    let image = ["docker.io/", "index.docker.io/"].iter().find_map(|host| image.strip_prefix(host)).unwrap_or(image);
    let image = image.strip_prefix("library/").unwrap_or(image);
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let tagged = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let name = if tagged || digest.is_some() { name.to_owned() } else { format!("{name}:latest") };
    digest.map_or_else(|| name.clone(), |digest| format!("{name}@{digest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_in_the_forms_docker_gives_it() {
        for (running, named) in [
            ("nginx:1.29.0@sha256:aa", "nginx:1.29.0"),
            ("nginx:1.29.0", "docker.io/library/nginx:1.29.0"),
            ("nginx:latest@sha256:aa", "nginx"),
            ("registry:5000/a/b:1@sha256:aa", "registry:5000/a/b:1"),
            ("registry:5000/b:latest", "registry:5000/b"),
            ("a/b@sha256:aa", "a/b@sha256:aa"),
            ("a/b:1@sha256:aa", "a/b:1@sha256:aa"),
        ] {
            assert!(is_image(running, named), "{running} {named}");
        }
        for (running, named) in [
            ("nginx:1.28.0@sha256:aa", "nginx:1.29.0"),
            ("nginx:1.29.0@sha256:aa", "nginx:1.29.0@sha256:bb"),
            ("nginx:1.29", "nginx:1.29.0"),
        ] {
            assert!(!is_image(running, named), "{running} {named}");
        }
    }
}
