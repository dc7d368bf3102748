//! Takes an app away and proves it. A phase of its own, not a hook: it always runs, has its own deadline, does not listen to
//! what ended the run, and works from a name alone, since after a crash there may be neither `.env` nor checkout. The order is
//! undeploy by abra (as people do it), whatever is left by the API, the `.env` last.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::abra::driver::{Abra, Failed, Home, Listener};
use crate::config::Limits;
use crate::crash::crash_point;
use crate::engine::causes;
use crate::model::{AppDomain, StackName};
use crate::swarm::Swarm;
use crate::swarm::sweep::{self, NotGone, NothingLeft, Patience};

/// What a teardown came to.
#[derive(Debug)]
pub enum End {
    Gone(NothingLeft),
    /// Named, one by one.
    Left(Vec<String>),
    /// Docker could not be asked, so nobody knows.
    Unknown(String),
}

/// What it takes.
#[derive(Clone, Debug)]
pub struct Means {
    pub swarm: Swarm,
    pub abra: Arc<Abra>,
    pub limits: Limits,
}

/// Takes the app with this domain away. `listener` hears abra and each step.
pub async fn tear_down(
    means: &Means,
    domain: &AppDomain,
    stack: &StackName,
    abra_dir: &Path,
    listener: &mut dyn Listener,
) -> End {
    let home = Home::of_abra_dir(abra_dir);
    let env_file = home.env_file(domain);
    if env_file.exists() {
        undeploy(means, &home, domain, listener).await;
    }
    let patience = Patience { limit: means.limits.teardown, ..Patience::default() };
    let mut said = |line: String| listener.command(&line);
    let swept = Box::pin(sweep::teardown(&means.swarm, stack, patience, &mut said)).await;
    match swept {
        Ok(nothing) => match remove_env(&env_file).await {
            Ok(()) => {
                crash_point!("files: .env removed");
                End::Gone(nothing)
            }
            Err(error) => End::Left(vec![format!("file {}: {error}", env_file.display())]),
        },
        Err(NotGone::Leftovers(left)) => End::Left(left.iter().map(ToString::to_string).collect()),
        Err(NotGone::Fault(fault)) => End::Unknown(causes(&fault)),
    }
}

/// The way people take an app down. Whatever comes of it, the sweep behind it decides.
async fn undeploy(means: &Means, home: &Home, domain: &AppDomain, listener: &mut dyn Listener) {
    let never = CancellationToken::new();
    let session = means.abra.session(home, means.limits.teardown / 3, &never);
    match session.undeploy(domain, listener).await {
        Ok(()) | Err(Failed::NotDeployed) => {}
        Err(failed) => listener.command(&format!("abra could not undeploy it ({failed}); removing it by the API")),
    }
}

async fn remove_env(file: &Path) -> std::io::Result<()> {
    match tokio::fs::remove_file(file).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
