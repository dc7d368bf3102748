//! `app backup …` and `app restore`: orders for the backup service of this server, carried out in its container. The order is
//! one word, everything else goes by the environment; a terminal is attached both ways, so that without one Docker refuses, as
//! it refuses the real abra.

use super::cli::{Download, ListBackups, Restore};
use super::home::Home;
use super::say::Say;
use super::{Done, Fatal, docker, fatal, programs};

/// By which the service is found, whatever it is called.
const LABEL: &str = "coop-cloud.backupbot.enabled=true";
/// Where it leaves what is to be downloaded.
const ARCHIVE: &str = "/tmp/backup.tar.gz";

pub(super) fn create(home: &Home, domain: &str) -> Done {
    order(home, domain, "create", Vec::new()).map(drop)
}

pub(super) fn snapshots(home: &Home, domain: &str) -> Done {
    order(home, domain, "snapshots", Vec::new()).map(drop)
}

pub(super) fn list(home: &Home, asked: &ListBackups) -> Done {
    let mut env = vec![];
    env.extend(asked.snapshot.as_ref().map(|id| format!("SNAPSHOT={id}")));
    env.extend(asked.path.as_ref().map(|path| format!("INCLUDE_PATH={path}")));
    env.extend(asked.all.then(|| "SHOW_ALL=true".to_owned()));
    env.extend(asked.timestamps.then(|| "TIMESTAMPS=true".to_owned()));
    order(home, &asked.domain, "ls", env).map(drop)
}

pub(super) fn download(home: &Home, say: Say, asked: &Download) -> Done {
    if asked.secrets || asked.volumes {
        return fatal("the backup service of cc-ci downloads a whole snapshot, or the path of --path");
    }
    let mut env = vec![];
    env.extend(asked.snapshot.as_ref().map(|id| format!("SNAPSHOT={id}")));
    env.extend(asked.path.as_ref().map(|path| format!("INCLUDE_PATH={path}")));
    let container = order(home, &asked.domain, "download", env)?;
    docker::docker(&["cp", &format!("{container}:{ARCHIVE}"), "."], None)?.done("docker cp")?;
    say.info("backup successfully downloaded to backup.tar.gz");
    Ok(())
}

pub(super) fn restore(home: &Home, asked: &Restore) -> Done {
    let mut env = vec![];
    env.extend(asked.snapshot.as_ref().map(|id| format!("SNAPSHOT={id}")));
    env.extend(asked.target.as_ref().map(|path| format!("TARGET={path}")));
    env.extend(asked.volumes.as_ref().map(|names| format!("VOLUMES={names}")));
    env.extend(asked.container.as_ref().map(|name| format!("CONTAINER={name}")));
    env.push(format!("NO_COMMANDS={}", !asked.hooks));
    order(home, &asked.domain, "restore", env).map(drop)
}

/// Gives one order and gives back the container that carried it out.
fn order(home: &Home, domain: &str, word: &str, more: Vec<String>) -> Result<String, Fatal> {
    let app = home.app(domain)?;
    let container = service()?;
    let mut env = vec![format!("SERVICE={}", app.stack()), "MACHINE_LOGS=true".to_owned()];
    if home.flags.no_input {
        env.push("NONINTERACTIVE=true".to_owned());
    }
    env.extend(more);
    let mut words = vec!["exec", "--interactive", "--tty"];
    for variable in &env {
        words.extend(["--env", variable]);
    }
    words.extend([container.as_str(), "/usr/bin/backup", "--", word]);
    if programs::attached("docker", &words)? {
        return Ok(container);
    }
    fatal(format!("the backup service could not do `{word}` for {}; see what it said above", app.domain))
}

/// The container of the one backup service.
fn service() -> Result<String, Fatal> {
    let listed = |words: &[&str]| -> Result<Vec<String>, Fatal> {
        let text = docker::docker(words, None)?.done("docker")?;
        Ok(text.lines().map(str::to_owned).collect())
    };
    let services = listed(&["service", "ls", "--filter", &format!("label={LABEL}"), "--format", "{{.Name}}"])?;
    let service = match services.as_slice() {
        [] => return fatal(format!("no services deployed matching label '{LABEL}'?")),
        [one] => one,
        several => {
            return fatal(format!("expected 1 service but found {}: {}", several.len(), several.join(", ")));
        }
    };
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let running = listed(&["ps", "--quiet", "--filter", &filter, "--filter", "status=running"])?;
    let none = || fatal(format!("no running container of the backup service {service}"));
    running.into_iter().next().map_or_else(none, Ok)
}
