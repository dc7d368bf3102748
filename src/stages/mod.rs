//! What is done in a run, one file a stage. A stage gets the run's [`Job`] and what the stages before it learned, and comes
//! back with a note or with [`Trouble`], which says whose fault it is; states and outcomes are made of that elsewhere.

pub mod backup;
pub mod base;
mod checks;
pub mod deploy;
pub mod fetch;
pub mod gather;
mod head;
pub mod install;
pub mod level;
pub mod lint;
pub mod markers;
pub mod names;
pub mod needs;
pub mod overlay;
pub mod picture;
mod policy;
mod release_notes;
mod scripts;
pub mod secrets;
mod settle;
pub mod teardown;
mod upgrade;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::deploy::{Deployed, Tree};
use self::needs::{Beside, Neighbours};
use self::picture::Picture;
use self::scripts::Scripts;
use self::teardown::Means;
use crate::abra::driver::{Abra, Failed, Home, Listener};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::causes;
use crate::engine::ledger::Ledger;
use crate::engine::run;
use crate::engine::watchdog::{Watchdog, spoken};
use crate::evidence::Evidence;
use crate::knowledge::Knowledge;
use crate::logs::Log;
use crate::model::{AppDomain, CheckState, RecipeName, StackName, StageName};
use crate::plan::Plan;
use crate::recipe::{Finding, Recipe, RecipeError};
use crate::sandbox::Stream;
use crate::script::{Moment, Side};
use crate::secrets::Secret;
use crate::secrets::redact::Redactor;
use crate::store::StoreError;
use crate::store::runs::Run;
use crate::store::stages::Check;
use crate::swarm::{Swarm, SwarmFault};

/// Whose fault it is that a stage came to no good end, in words that stand alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The recipe's.
    Recipe(String),
    /// The machine's, the registry's, the network's, the forge's, or ours.
    Infra(String),
    /// It took too long.
    Limit(String),
    /// Nobody's that this run could name: it could not be tried.
    NotTested(String),
    /// It was told to end; why, the run's [`crate::engine::scheduler::Stop`] knows.
    Ended,
}

/// A stage that went well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// What there is to say of it: `https://cust-9ad31f.ci.test answers 200`.
    pub note: Option<String>,
    /// Of its time, what the recipe's own update monitor asked for.
    pub waited: Duration,
}

/// Where a recipe comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A repository on the forge, read with the token in a file.
    Forge { url: String, token_file: PathBuf },
    /// A snapshot of a directory of this machine; it is used up.
    Directory { snapshot: PathBuf, neighbours: Arc<Neighbours> },
}

/// One run, and everything its stages need.
pub struct Job {
    pub config: Arc<Config>,
    pub ledger: Ledger,
    pub clock: Clock,
    pub swarm: Swarm,
    pub abra: Arc<Abra>,
    pub run: Run,
    pub source: Source,
    pub log: Log,
    pub evidence: Evidence,
    pub redactor: Redactor,
    pub watchdog: Watchdog,
    /// The run's own directory.
    pub dir: PathBuf,
    pub home: Home,
    /// Tells this appliance's objects from another's on the same Swarm.
    pub instance: String,
    /// What appliance and repository say of the recipe, once fetch has read it.
    pub known: OnceLock<Knowledge>,
    /// The app's secrets, as they were made in this run.
    pub values: secrets::Values,
    /// What has to run beside the app, once fetch has brought it.
    pub beside: OnceLock<Vec<Beside>>,
    /// The recipe, where it is one that only stands beside the one that is tested.
    pub called: Option<RecipeName>,
}

/// What the stages learned on the way.
pub struct Learned {
    /// What is going to be done.
    pub plan: Plan,
    pub recipe: Option<Recipe>,
    pub domain: Option<AppDomain>,
    /// What runs now, if anything does.
    pub deployed: Option<Deployed>,
    /// What is torn down at the end, from the moment it was intended.
    pub app: Option<Made>,
    /// What stands beside it, in the order in which it was put up.
    pub beside: Vec<Learned>,
    /// Being taken, of the front page.
    pub picture: Option<Picture>,
    /// What is wrong with what the repository says of its test: lint's to judge.
    pub(super) misread: Vec<Finding>,
    pub scripts: Scripts,
}

/// An app that was intended, and so is torn down.
#[derive(Clone, Debug)]
pub struct Made {
    pub id: i64,
    pub domain: AppDomain,
    pub stack: StackName,
}

impl Learned {
    /// Nothing but what was asked.
    pub fn of(plan: Plan) -> Learned {
        Learned {
            plan,
            recipe: None,
            domain: None,
            deployed: None,
            app: None,
            beside: Vec::new(),
            picture: None,
            misread: Vec::new(),
            scripts: Scripts::default(),
        }
    }

    fn recipe(&self) -> Result<(&Recipe, &AppDomain), Trouble> {
        match (&self.recipe, &self.domain) {
            (Some(recipe), Some(domain)) => Ok((recipe, domain)),
            _ => Err(Trouble::Infra("a stage ran before fetch, which is a fault of cc-ci".into())),
        }
    }

    /// All that was intended, the last first: the app, then what it needed.
    pub fn apps(&self) -> impl Iterator<Item = &Made> {
        self.app.iter().chain(self.beside.iter().rev().filter_map(|beside| beside.app.as_ref()))
    }

    /// The head, where abra takes it from.
    pub fn head(&self, job: &Job) -> Result<Tree, Trouble> {
        let (recipe, _) = self.recipe()?;
        Ok(Tree { commit: job.run.head.clone(), recipe: recipe.clone() })
    }
}

impl Job {
    /// Does one stage. Its commands listen to `cancel`.
    pub async fn stage(
        &self,
        name: StageName,
        cancel: &CancellationToken,
        learned: &mut Learned,
    ) -> Result<Done, Trouble> {
        match name {
            StageName::Fetch => fetch::fetch(self, cancel, learned).await,
            StageName::Lint => lint::lint(self, cancel, learned).await,
            StageName::Install => install::install(self, cancel, learned).await,
            StageName::Uninstall => Ok(Done::default()),
            StageName::Backup => backup::backup(self, cancel, learned).await,
            StageName::Upgrade => upgrade::upgrade(self, cancel, learned).await,
            StageName::Checks => {
                let Learned { deployed: Some(deployed), scripts, .. } = learned else {
                    return Err(Trouble::Infra("there is no app to look at, which is a fault of cc-ci".into()));
                };
                checks::at(self, cancel, name, &[Moment::Install], scripts, deployed).await
            }
        }
    }

    /// What appliance and repository say; nothing before fetch has read it.
    pub fn known(&self) -> &Knowledge {
        static NOTHING: LazyLock<Knowledge> = LazyLock::new(Knowledge::default);
        self.known.get().unwrap_or(&NOTHING)
    }

    /// Variables of the app that appliance and repository declare, second names among them, and where what it needs lives.
    fn declared(&self, domain: &AppDomain) -> Result<BTreeMap<String, String>, Trouble> {
        let known = self.known();
        let hosts = known.hosts(domain).map_err(|error| Trouble::Recipe(format!("a second name: {error}")))?;
        let env = known.env().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let wired = self.beside().iter().flat_map(|beside| beside.need.wired(&beside.domain));
        let wired = wired.filter(|(name, _)| !known.overrules(name));
        Ok(hosts.into_iter().map(|(name, host)| (name, host.to_string())).chain(env).chain(wired).collect())
    }

    /// The value of a secret: of the app, as it was made in this run, or of the appliance for who is on its side, or, for him too,
    /// `keycloak/admin_password` of what stands beside the app. Else why not.
    async fn secret(&self, name: &str, side: Side) -> Result<Secret, String> {
        if let Some((recipe, theirs)) = name.split_once('/') {
            let mut beside = self.beside().iter().filter(|beside| beside.need.recipe.as_str() == recipe);
            let value =
                beside.next().filter(|_| side == Side::Appliance).and_then(|beside| beside.job.values.of(theirs));
            return value.ok_or_else(|| {
                format!("there is no `{recipe}` beside the app with a secret `{theirs}` that abra made, for the appliance's side")
            });
        }
        if let Some(value) = self.values.of(name) {
            return Ok(value);
        }
        let Some(file) =
            self.known().secrets().get(name).filter(|_| side == Side::Appliance).map(|file| (*file).to_owned())
        else {
            return Err(format!("the app has no secret `{name}` that abra made, and none is declared for it"));
        };
        let read = tokio::task::spawn_blocking(move || crate::secrets::read_file(&file)).await;
        let value = read.map_err(|error| error.to_string())?.map_err(|error| causes(&error))?;
        self.redactor.register(name, &value);
        Ok(value)
    }

    /// What a teardown takes.
    pub fn means(&self) -> Means {
        Means { swarm: self.swarm.clone(), abra: Arc::clone(&self.abra), limits: self.config.runner.limits.clone() }
    }

    /// A line of cc-ci's own in the log.
    pub fn say(&self, stage: StageName, text: &str) {
        self.watchdog.heard();
        match &self.called {
            Some(name) => self.log.line(stage, &format!("{name}: {text}")),
            None => self.log.line(stage, text),
        }
    }

    /// Notes how an assertion came out, its values masked.
    pub async fn check(&self, mut check: Check) -> Result<(), Trouble> {
        let hide = |text: Option<String>| text.map(|text| self.redactor.mask(&text));
        check.expected = hide(check.expected);
        check.got = hide(check.got);
        let name = check.name.clone();
        if let Some(recipe) = &self.called {
            check.name = format!("{recipe}: {name}");
        }
        let mark = match check.state {
            CheckState::Passed => '✔',
            CheckState::Failed => '✘',
            CheckState::Warning => '!',
            CheckState::Skipped => '–',
        };
        self.say(check.stage, &format!("{mark} {name}: {}", check.got.as_deref().unwrap_or_default()));
        let (id, now) = (self.run.id, self.clock.now());
        self.ledger.write("could not note a check", move |tx| run::add_check(tx, id, &check, now)).await?;
        Ok(())
    }

    /// Sends what a command says into the log.
    pub fn listener(&self, stage: StageName) -> Lines<'_> {
        Lines { job: self, stage }
    }
}

/// A command's words on their way into the log.
pub struct Lines<'a> {
    job: &'a Job,
    stage: StageName,
}

impl Listener for Lines<'_> {
    fn command(&mut self, line: &str) {
        self.job.say(self.stage, line);
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.job.watchdog.heard();
        self.job.log.chunk(self.stage, stream, bytes);
    }

    fn ended(&mut self) {
        self.job.log.settle(self.stage);
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Infra(causes(&error))
    }
}

impl From<SwarmFault> for Trouble {
    fn from(fault: SwarmFault) -> Trouble {
        Trouble::Infra(causes(&fault))
    }
}

/// What a recipe's directory says wrongly is the recipe's fault.
impl From<RecipeError> for Trouble {
    fn from(error: RecipeError) -> Trouble {
        let cure = match &error {
            RecipeError::Compose(compose) if !compose.cure.is_empty() => format!("; {}", compose.cure),
            _ => String::new(),
        };
        Trouble::Recipe(format!("{error}{cure}"))
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Trouble {
        match failed {
            Failed::Recipe { words, .. } => Trouble::Recipe(words),
            // abra's commands read the recipe and little else, so what nobody has seen before is most likely in it.
            Failed::Unknown { .. } => Trouble::Recipe(failed.to_string()),
            Failed::Infra { words, .. } => Trouble::Infra(words),
            Failed::Limit { ref what, limit } => {
                Trouble::Limit(format!("`abra {what}` took longer than {}, the limit of a command", spoken(limit)))
            }
            Failed::Cancelled { .. } => Trouble::Ended,
            Failed::NotDeployed | Failed::Exists | Failed::Spawn { .. } => Trouble::Infra(causes(&failed)),
        }
    }
}

/// Blocking work (reading a recipe) away from the runtime's workers.
pub async fn off_the_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Trouble::Infra(format!("a fault of cc-ci broke off the reading of the recipe: {error}")))
}
