//! What has to run beside the app: fetched after the recipe itself, judged as strictly, deployed before it and taken down after
//! it. Each is put up as its own recipe says, by the same code, as a [`Job`] of its own within the run.
//!
//! That one of them cannot be had or does not come up is not the fault of the head. Then nothing of the head was tried, and the
//! run says so, as for a base that is broken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tokio_util::sync::CancellationToken;

use super::base::Repository;
use super::checks::Standing;
use super::secrets::Values;
use super::{Done, Job, Learned, Source, Trouble, deploy, names, off_the_runtime, policy};
use crate::engine::causes;
use crate::engine::run;
use crate::engine::watchdog::{self, Broken};
use crate::git::{self, GitError};
use crate::knowledge::{self, BaseFiles, Need};
use crate::model::{AppDomain, Head, RecipeName, StageName};
use crate::plan::{Needed, Plan};
use crate::recipe::lint::{self, of_error};
use crate::recipe::{self, Recipe, Severity};
use crate::script::{Moment, Side};
use crate::secrets;

const FETCH: StageName = StageName::Fetch;

/// A recipe that is put up beside the app.
pub struct Beside {
    pub need: Need,
    /// How it is put up: its own commit, what is known about it, its own secrets.
    pub job: Job,
    pub recipe: Recipe,
    pub domain: AppDomain,
    /// As the plan names it.
    pub needed: Needed,
}

/// Where a local run finds what the recipe needs.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Directories that were named.
    pub with: BTreeMap<RecipeName, PathBuf>,
    /// Whatever else stands beside the recipe's own directory.
    pub parent: Option<PathBuf>,
}

impl Neighbours {
    fn find(&self, recipe: &RecipeName) -> Result<PathBuf, Trouble> {
        let named = self.with.get(recipe).cloned();
        let beside = || Some(self.parent.as_ref()?.join(recipe.as_str())).filter(|dir| dir.is_dir());
        named.or_else(beside).ok_or_else(|| {
            let cure = format!("name its directory with `--with {recipe}=PATH`");
            Trouble::NotTested(format!("it needs `{recipe}`, and there is no ../{recipe} beside it; {cure}"))
        })
    }
}

/// Brings everything that the recipe needs, in order. `recipe` is what abra calls the recipe itself.
pub(super) async fn fetch(job: &Job, cancel: &CancellationToken, recipe: &RecipeName) -> Result<Vec<Beside>, Trouble> {
    let needs = job.known().needs();
    if let Some(why) = knowledge::refusal(recipe, &needs) {
        return Err(Trouble::NotTested(why));
    }
    let mut all: Vec<Beside> = Vec::new();
    for need in needs {
        let name = need.recipe.clone();
        let got = bring(job, cancel, recipe, need).await;
        all.push(got.map_err(|trouble| blameless(&name, "cannot be had", trouble))?);
    }
    Ok(all)
}

/// Whoever's fault it is, it is not the head's.
fn blameless(name: &RecipeName, what: &str, trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Recipe(words) | Trouble::Limit(words) => {
            Trouble::NotTested(format!("it needs `{name}`, which {what}: {words}"))
        }
        Trouble::Infra(words) => Trouble::Infra(format!("{name}: {words}")),
        other => other,
    }
}

async fn bring(job: &Job, cancel: &CancellationToken, recipe: &RecipeName, need: Need) -> Result<Beside, Trouble> {
    let clone = job.dir.join(format!("beside-{}", need.recipe));
    let (commit, version, why) = match &job.source {
        Source::Directory { neighbours, .. } => of_directory(job, &neighbours.find(&need.recipe)?, &clone).await?,
        Source::Forge { url, token_file } => of_forge(job, cancel, &need.recipe, (url, token_file), &clone).await?,
    };
    let (home, needed) = (job.home.clone(), need.recipe.clone());
    let own = off_the_runtime(move || {
        let read = recipe::open(&clone).map_err(|error| Trouble::Recipe(of_error(&error).to_string()))?;
        let dir = home.recipe_dir(&read.name);
        if dir.exists() {
            let words = format!("it needs `{needed}`, which calls itself `{}` as another does", read.name);
            return Err(Trouble::NotTested(words));
        }
        std::fs::rename(&clone, &dir).map_err(|error| Trouble::Infra(format!("{}: {error}", dir.display())))?;
        Ok::<_, Trouble>(Recipe { dir, ..read })
    })
    .await??;
    let known = known(job, &own).await?;
    if let Some(why) = knowledge::in_turn(recipe, &need.recipe, &known.needs()) {
        return Err(Trouble::NotTested(why));
    }
    if let Some(reason) = known.unsupported() {
        return Err(Trouble::Recipe(format!("it is unsupported: {reason}")));
    }
    let domain = names::domain(&own.name, &job.run, &job.instance, &job.config.domain);
    let domain = domain.map_err(|error| Trouble::Infra(error.to_string()))?;
    job.say(FETCH, &format!("{} {version} goes first, {why}", need.recipe));
    let needed = Needed { recipe: need.recipe.clone(), version, why };
    let job = job.beside_it(need.recipe.clone(), commit, known);
    Ok(Beside { need, job, recipe: own, domain, needed })
}

async fn known(job: &Job, own: &Recipe) -> Result<knowledge::Knowledge, Trouble> {
    let (dir, name, head) = (job.config.recipes_dir.clone(), own.name.clone(), own.dir.clone());
    // What is published speaks for itself.
    let read = off_the_runtime(move || knowledge::read(Some(&dir), &name, &head, &BaseFiles::TheHead)).await?;
    read.map_err(|wrong| {
        let all: Vec<String> = wrong.findings.iter().map(ToString::to_string).collect();
        match wrong.side {
            Side::Recipe => Trouble::Recipe(all.join("; ")),
            Side::Appliance => Trouble::Infra(all.join("; ")),
        }
    })
}

/// Its newest release, else what is published: from the same organisation, whatever the name is.
async fn of_forge(
    job: &Job,
    cancel: &CancellationToken,
    name: &RecipeName,
    (url, token_file): (&str, &Path),
    clone: &Path,
) -> Result<(Head, String, String), Trouble> {
    let organisation = url.rsplit_once('/').map_or(url, |(above, _)| above);
    let owner = organisation.rsplit('/').next().unwrap_or(organisation);
    let url = format!("{organisation}/{name}.git");
    let token = secrets::read_file(token_file).map_err(|error| Trouble::Infra(causes(&error)))?;
    let limits = git::Limits { time: job.config.runner.limits.command, ..git::Limits::default() };
    let unreadable = |error: GitError| match error {
        GitError::Cancelled => Trouble::Ended,
        GitError::Refused(_) => Trouble::Recipe(format!("{owner} has no repository `{name}` that cc-ci may read")),
        error if error.is_infra() => Trouble::Infra(causes(&error)),
        error => Trouble::Recipe(causes(&error)),
    };
    let tip = git::tip(&url, Some(&token), clone, &limits, cancel).await.map_err(unreadable)?;
    let Some(tip) = tip else { return Err(Trouble::Recipe("its repository is empty".to_owned())) };
    let source =
        git::Source { url, token: Some(token), head: tip.clone(), pr_ref: None, base_branch: None, allow_file: false };
    git::fetch(&source, clone, &limits, cancel, &mut |stream, bytes| {
        job.watchdog.heard();
        job.log.chunk(FETCH, stream, bytes);
    })
    .await
    .map_err(unreadable)?;
    job.log.settle(FETCH);
    let repository = Repository::read(clone, &tip).await?;
    let Some(release) = repository.newest_release().await? else {
        return Ok((tip.clone(), repository.name(&tip), "the tip of its branch: it has no release".to_owned()));
    };
    if release != tip {
        git::checkout(clone, &release).await?;
    }
    Ok((release.clone(), repository.name(&release), "its newest release".to_owned()))
}

/// A directory as it is, as the recipe's own is taken.
async fn of_directory(job: &Job, path: &Path, clone: &Path) -> Result<(Head, String, String), Trouble> {
    let snapshot = git::local_snapshot(path, clone).await.map_err(|error| Trouble::Recipe(causes(&error)))?;
    let name = Repository::read(clone, &snapshot.head).await?.name(&snapshot.head);
    job.say(FETCH, &format!("taking {} as it is", path.display()));
    Ok((snapshot.head, name, format!("as it is in {}", path.display())))
}

/// Judged as the head is, before anything is deployed. Whoever wrote it, the machine is the same.
pub(super) async fn lint(job: &Job) -> Result<(), Trouble> {
    for beside in job.beside() {
        let name = &beside.need.recipe;
        let judge = async {
            policy::admit(&beside.job, &beside.recipe, &beside.domain).await?;
            let found = lint::lint_with_history(&beside.recipe.dir).await;
            let found = found.map_err(|error| Trouble::Infra(causes(&error)))?;
            match found.iter().find(|finding| finding.severity == Severity::Error) {
                Some(error) => Err(Trouble::Recipe(error.to_string())),
                None => Ok(()),
            }
        };
        judge.await.map_err(|trouble| blameless(name, "may not be deployed", trouble))?;
    }
    Ok(())
}

/// Deploys what does not stand yet, then lets scripts set it up. It stands for the rest of the run.
pub(super) async fn stand(
    job: &Job,
    cancel: &CancellationToken,
    stage: StageName,
    learned: &mut Learned,
) -> Result<(), Trouble> {
    if !learned.beside.is_empty() {
        return Ok(());
    }
    for beside in job.beside() {
        job.say(stage, &format!("{} first, since the recipe needs it", beside.need.recipe));
        if let Err(trouble) = put_up(beside, cancel, stage, learned).await {
            let trouble = blameless(&beside.need.recipe, "does not come up", trouble);
            return Err(give_up(job, learned, Some(stage), trouble).await?);
        }
        job.watchdog.count_anew();
    }
    if learned.beside.is_empty() {
        return Ok(());
    }
    let (recipe, domain) = learned.recipe()?;
    let (recipe, domain) = (recipe.name.clone(), domain.clone());
    let standing = Standing::Beside { recipe: &recipe, domain: &domain };
    match learned.scripts.at(job, cancel, stage, &[Moment::Needs], standing).await {
        Err(trouble) => Err(give_up(job, learned, Some(stage), trouble).await?),
        well => well,
    }
}

async fn put_up(
    beside: &Beside,
    cancel: &CancellationToken,
    stage: StageName,
    learned: &mut Learned,
) -> Result<(), Trouble> {
    let begun = tokio::time::Instant::now();
    let mut own = Learned::of(learned.plan.clone());
    (own.recipe, own.domain) = (Some(beside.recipe.clone()), Some(beside.domain.clone()));
    let tree = own.head(&beside.job)?;
    // Kept before it is made: a limit may drop us in the middle, and what was intended is torn down all the same.
    let own = learned.beside.push_mut(own);
    own.deployed = Some(deploy::fresh(&beside.job, cancel, stage, own, &tree).await?);
    beside.job.say(stage, &format!("it stands, after {}", watchdog::spoken(begun.elapsed())));
    Ok(())
}

/// A limit ended a stage while something that is needed was coming up: then it was not the head that took so long.
pub async fn ended_by(
    job: &Job,
    learned: &mut Learned,
    stage: StageName,
    limit: Broken,
) -> Result<Result<Done, Trouble>, Broken> {
    let is_limit = matches!(limit, Broken::Stage(_) | Broken::Run(_) | Broken::Silence(_));
    let coming = learned.beside.iter().position(|own| own.deployed.is_none()).filter(|_| is_limit);
    let Some(beside) = coming.and_then(|number| job.beside().get(number)) else { return Err(limit) };
    let trouble = blameless(&beside.need.recipe, "does not come up", Trouble::Limit(limit.to_string()));
    Ok(Err(give_up(job, learned, Some(stage), trouble).await.unwrap_or_else(|fault| fault)))
}

/// Nothing of the head can be tried: the rest of the plan says so, and why. Gives the trouble that ends the stage.
pub(super) async fn give_up(
    job: &Job,
    learned: &mut Learned,
    found_in: Option<StageName>,
    trouble: Trouble,
) -> Result<Trouble, Trouble> {
    if let Trouble::NotTested(words) = &trouble {
        learned.plan.give_up(&job.redactor.mask(words), found_in);
        settle(job, &learned.plan).await?;
    }
    Ok(trouble)
}

/// Writes down the plan as it is now.
pub(super) async fn settle(job: &Job, plan: &Plan) -> Result<(), Trouble> {
    let (id, now, plan) = (job.run.id, job.clock.now(), plan.clone());
    Ok(job.ledger.write("could not note the plan", move |tx| run::settle_plan(tx, id, &plan, now)).await?)
}

impl Job {
    /// What is put up beside the app; nothing before fetch has brought it.
    pub fn beside(&self) -> &[Beside] {
        self.beside.get().map_or(&[], Vec::as_slice)
    }

    /// The same run, for a recipe beside the one that is tested.
    fn beside_it(&self, name: RecipeName, commit: Head, known: knowledge::Knowledge) -> Job {
        Job {
            config: self.config.clone(),
            ledger: self.ledger.clone(),
            clock: self.clock.clone(),
            swarm: self.swarm.clone(),
            abra: self.abra.clone(),
            run: crate::store::runs::Run { head: commit, ..self.run.clone() },
            source: self.source.clone(),
            log: self.log.clone(),
            evidence: self.evidence.clone(),
            redactor: self.redactor.clone(),
            watchdog: self.watchdog.clone(),
            dir: self.dir.clone(),
            home: self.home.clone(),
            instance: self.instance.clone(),
            known: OnceLock::from(known),
            values: Values::default(),
            beside: OnceLock::new(),
            called: Some(name),
        }
    }
}
