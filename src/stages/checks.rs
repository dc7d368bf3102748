//! What has to be true of an app that runs: what cc-ci asks of every app, and what was declared for this recipe. All of it is
//! looked at whatever fails in between, each thing is a row with what was expected and what came, and the first that was wrong
//! is the stage's reason.

mod browser;
mod container;
mod http;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use self::browser::Window;
use super::deploy::Deployed;
use super::scripts::Scripts;
use super::{Done, Job, Trouble};
use crate::engine::run::checked;
use crate::knowledge::{Check, Kind};
use crate::model::{AppDomain, CheckState, RecipeName, StageName};
use crate::probe::Prober;
use crate::script::Moment;
use crate::script::tools::App;
use crate::store::stages;
use crate::swarm::SwarmFault;

/// Between two looks of a check that is repeated.
const AGAIN: Duration = Duration::from_millis(500);
/// Characters of what was got that a row keeps.
const SHOWN: usize = 300;

/// What of a run stands.
#[derive(Clone, Copy)]
pub(super) enum Standing<'a> {
    App(&'a Deployed),
    /// Nothing but what the app needs, which comes next.
    Beside {
        recipe: &'a RecipeName,
        domain: &'a AppDomain,
    },
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Well(String),
    Badly(String),
    /// Nobody can say: the machine is at fault.
    Unseen(String),
}

impl From<SwarmFault> for Came {
    fn from(fault: SwarmFault) -> Came {
        Came::Unseen(fault.to_string())
    }
}

/// An app that is looked at.
struct Look<'a> {
    job: &'a Job,
    cancel: &'a CancellationToken,
    deployed: &'a Deployed,
    app: App,
    /// Second names by their variables, and what stands beside it by its recipe.
    hosts: BTreeMap<String, AppDomain>,
    prober: Prober,
    window: Window<'a>,
}

/// Looks at everything that has to be true now, then runs the scripts' jobs that waited for these moments, whatever the looks came
/// to: their rows say more of what is wrong.
pub(super) async fn at(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    moments: &[Moment],
    scripts: &mut Scripts,
    deployed: &Deployed,
) -> Result<Done, Trouble> {
    let looked = look(job, cancel, stage, deployed).await;
    if let Err(Trouble::Ended) = looked {
        return looked;
    }
    let ran = scripts.at(job, cancel, stage, moments, Standing::App(deployed)).await;
    let is_recipes = |trouble: &Trouble| matches!(trouble, Trouble::Recipe(_));
    match (looked, ran) {
        (Ok(done), ran) => ran.map(|()| done),
        (Err(infra @ Trouble::Infra(_)), ran) => Err(ran.err().filter(is_recipes).unwrap_or(infra)),
        (Err(wrong), _) => Err(wrong),
    }
}

async fn look(job: &Job, cancel: &CancellationToken, stage: StageName, deployed: &Deployed) -> Result<Done, Trouble> {
    let app = app(job, Standing::App(deployed))?;
    let mut hosts = hosts(job, &deployed.made.domain)?;
    let beside = job.beside().iter().map(|beside| (beside.need.recipe.to_string(), beside.domain.clone()));
    hosts.extend(beside);
    let prober = Prober::new(&job.config.proxy).map_err(|error| Trouble::Infra(error.to_string()))?;
    let window = Window::of(job, cancel, app.reachable().cloned().collect());
    let mut look = Look { job, cancel, deployed, app, hosts, prober, window };
    let mut tally = Tally::default();

    let front = look.front_page().await;
    tally.note(job, stage, "front page", "2xx from the app, with the wildcard certificate", front).await?;
    for (service, health) in look.healths().await? {
        tally.note(job, stage, &format!("{service} is healthy"), "healthy", health).await?;
    }
    for check in job.known().checks() {
        if cancel.is_cancelled() {
            return Err(Trouble::Ended);
        }
        tally.began = Instant::now();
        let came = look.until(check).await?;
        tally.note(job, stage, &check.name, &expected(check), came).await?;
    }
    look.window.close().await;
    tally.verdict()
}

/// The app as checks and scripts see it, and what stands beside it.
pub(super) fn app(job: &Job, standing: Standing<'_>) -> Result<App, Trouble> {
    let (recipe, domain) = match standing {
        Standing::App(deployed) => (&deployed.tree.recipe.name, &deployed.made.domain),
        Standing::Beside { recipe, domain } => (recipe, domain),
    };
    let mut app = App::new(recipe.clone(), domain.clone());
    app.hosts.extend(hosts(job, domain)?.into_values());
    if let Standing::App(deployed) = standing {
        app.version.clone_from(&deployed.said.version);
    }
    for beside in job.beside() {
        let mut other = App::new(beside.recipe.name.clone(), beside.domain.clone());
        other.hosts.extend(hosts(&beside.job, &beside.domain)?.into_values());
        other.version = Some(beside.needed.version.clone());
        app.needs.insert(beside.need.recipe.clone(), other);
    }
    Ok(app)
}

fn hosts(job: &Job, domain: &AppDomain) -> Result<BTreeMap<String, AppDomain>, Trouble> {
    job.known().hosts(domain).map_err(|error| Trouble::Recipe(format!("a second name: {error}")))
}

impl Look<'_> {
    /// Looks, and again for as long as the check says.
    async fn until(&mut self, check: &Check) -> Result<Came, Trouble> {
        let deadline = Instant::now() + check.until;
        if let Some(host) = check.kind.host().filter(|host| !self.hosts.contains_key(*host)) {
            return Ok(Came::Badly(format!(
                "nothing is called `{host}`: what the recipe needs counts once it is merged"
            )));
        }
        let beside: Vec<_> = self.job.beside().iter().map(|beside| (&beside.need.recipe, &beside.domain)).collect();
        let kind = check.kind.with_domains(&beside);
        loop {
            let came = match &kind {
                Kind::Http(wanted) => self.http(wanted).await,
                Kind::Tcp { service, port, contains } => self.tcp(service, *port, contains.as_deref()).await,
                Kind::Run { service, command, exit, contains } => {
                    self.command(service, command, *exit, contains.as_deref()).await
                }
                Kind::Assets { host, page } => self.assets(host.as_deref(), page).await,
                Kind::Login { host, login } => self.login(host.as_deref(), login, check.side).await,
            };
            if self.cancel.is_cancelled() {
                return Err(Trouble::Ended);
            }
            if !matches!(came, Came::Badly(_)) || Instant::now() + AGAIN > deadline {
                return Ok(came);
            }
            self.job.watchdog.heard();
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The name that a check asks for.
    fn host(&self, variable: Option<&str>) -> AppDomain {
        variable.and_then(|variable| self.hosts.get(variable)).unwrap_or(&self.app.domain).clone()
    }
}

/// How the looks came out.
struct Tally {
    began: Instant,
    count: usize,
    wrong: Vec<String>,
    unseen: Vec<String>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { began: Instant::now(), count: 0, wrong: Vec::new(), unseen: Vec::new() }
    }
}

impl Tally {
    async fn note(
        &mut self,
        job: &Job,
        stage: StageName,
        name: &str,
        expected: &str,
        came: Came,
    ) -> Result<(), Trouble> {
        let took = self.began.elapsed();
        self.began = Instant::now();
        self.count += 1;
        match came {
            Came::Well(got) => job.check(checked(stage, name, true, expected, &short(&got), took)).await,
            Came::Badly(got) => {
                let got = short(&got);
                self.wrong.push(format!("{name}: expected {expected}, got {got}"));
                job.check(checked(stage, name, false, expected, &got, took)).await
            }
            Came::Unseen(why) => {
                self.unseen.push(format!("{name}: {why}"));
                let (state, expected) = (CheckState::Skipped, Some(expected.to_owned()));
                let name = name.to_owned();
                job.check(stages::Check { stage, name, state, expected, got: Some(short(&why)), took: Some(took) })
                    .await
            }
        }
    }

    /// A recipe's fault counts before the machine's: it would be there on another machine too.
    fn verdict(self) -> Result<Done, Trouble> {
        let first = |all: &[String]| match all {
            [] => None,
            [one] => Some(one.clone()),
            [one, more @ ..] => Some(format!("{one} (and {} more)", more.len())),
        };
        if let Some(wrong) = first(&self.wrong) {
            return Err(Trouble::Recipe(wrong));
        }
        if let Some(unseen) = first(&self.unseen) {
            return Err(Trouble::Infra(unseen));
        }
        Ok(Done { note: Some(format!("{} checks", self.count)), ..Done::default() })
    }
}

fn short(text: &str) -> String {
    let mut cut: String = text.chars().filter(|c| !c.is_control() || *c == '\n').take(SHOWN).collect();
    if cut.len() < text.len() && cut.chars().count() == SHOWN {
        cut.push('…');
    }
    cut
}

/// What a check wants, in a line.
fn expected(check: &Check) -> String {
    match &check.kind {
        Kind::Http(wanted) => http::expected(wanted),
        Kind::Tcp { contains: Some(contains), .. } => format!("it takes connections and sends {contains:?}"),
        Kind::Tcp { contains: None, .. } => "it takes connections".to_owned(),
        Kind::Run { exit, contains: Some(contains), .. } => format!("exit {exit} and {contains:?} in its output"),
        Kind::Run { exit, contains: None, .. } => format!("exit {exit}"),
        Kind::Assets { .. } => "the page's first stylesheet and script load".to_owned(),
        Kind::Login { login, .. } => match &login.contains {
            Some(contains) => format!("`{}` with {contains:?} after the login", login.see),
            None => format!("`{}` after the login", login.see),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipes_fault_counts_before_the_machines_and_nothing_seen_is_never_green() {
        let tally = |wrong: &[&str], unseen: &[&str]| Tally {
            wrong: wrong.iter().map(|&text| text.to_owned()).collect(),
            unseen: unseen.iter().map(|&text| text.to_owned()).collect(),
            ..Tally::default()
        };
        assert_eq!(tally(&["a", "b"], &["c"]).verdict(), Err(Trouble::Recipe("a (and 1 more)".into())));
        assert_eq!(tally(&[], &["c"]).verdict(), Err(Trouble::Infra("c".into())));
        assert!(tally(&[], &[]).verdict().is_ok());
    }
}
