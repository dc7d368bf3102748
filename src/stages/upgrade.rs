//! The upgrade as an operator would do it: what is published runs, with data in it, and the head is deployed over it. Whether
//! the page answers then says little: a rollback answers too, and so does an update that was paused half-way or changed
//! nothing. So every service's update is asked how it ended, what runs is compared with what the head names, and the data has
//! to be there.
//!
//! A base that does not come up is nobody's fault that this run could name: the upgrade could not be tested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::checks::Standing;
use super::deploy::{Deployed, Tree};
use super::markers::Astray;
use super::{Done, Job, Learned, Trouble, checks, deploy, markers, needs, off_the_runtime, overlay, release_notes};
use crate::compose::{Kind, env_file, inside};
use crate::engine::run::checked;
use crate::git;
use crate::model::{CheckState, StageName};
use crate::plan::Base;
use crate::recipe::{self, Recipe, Said, compose_files};
use crate::script::Moment;
use crate::store::stages::Check;
use crate::swarm::views::{Mode, UpdateState};

const UPGRADE: StageName = StageName::Upgrade;

pub(super) async fn upgrade(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    let base = learned.plan.base.clone();
    let base = base.ok_or_else(|| Trouble::Infra("an upgrade without a base was planned, a fault of cc-ci".into()))?;
    learned.deployed = None;
    if let Some(made) = &learned.app {
        deploy::take_down(job, UPGRADE, made).await?;
    }
    needs::stand(job, cancel, UPGRADE, learned).await?;
    let (old, head) = match base_runs(job, cancel, learned, &base).await {
        Ok(both) => both,
        Err(Trouble::Recipe(words) | Trouble::Limit(words)) => {
            return Err(Trouble::NotTested(format!("base broken: {} ({}): {words}", base.name, base.why)));
        }
        Err(trouble) => return Err(trouble),
    };
    // What a script cannot seed at the base is not the head's fault.
    let seeded = learned.scripts.at(job, cancel, UPGRADE, &[Moment::Base], Standing::App(&old.deployed)).await;
    seeded.map_err(|trouble| match trouble {
        Trouble::Recipe(words) => Trouble::NotTested(format!("base broken: {} ({}): {words}", base.name, base.why)),
        other => other,
    })?;
    // What the base has no place for is not the head's fault.
    let choice = markers::choose(&old.deployed.said, job.known());
    let planted = markers::plant(job, cancel, UPGRADE, &old.deployed, &choice).await?;
    warn_of_configs(job, &old.configs, &head.recipe, &old.deployed).await?;
    job.say(UPGRADE, &format!("{} runs; deploying the head over it", base.name));
    let new = deploy::over(job, cancel, UPGRADE, &old.deployed, &head).await?;
    updates_completed(job, &new).await?;
    let (planted, astray) = planted.followed(&new.said, job.known());
    for Astray { marker, how } in astray {
        let name = format!("{} at the head", marker.shown());
        let (state, expected, got) = (CheckState::Warning, Some("where the base had it".to_owned()), Some(how));
        job.check(Check { stage: UPGRADE, name, state, expected, got, took: None }).await?;
    }
    markers::look(job, cancel, UPGRADE, &new, &planted, "after the upgrade").await?;
    markers::remove(job, cancel, UPGRADE, &new, &planted).await?;
    let moments = [Moment::Install, Moment::Upgrade];
    checks::at(job, cancel, UPGRADE, &moments, &mut learned.scripts, &new).await?;
    let note = format!("from {}; {}", base.name, new.note);
    let waited = old.deployed.waited + new.waited;
    learned.deployed = Some(new);
    Ok(Done { note: Some(note), waited })
}

/// The base as it runs, and what must be known of it when its files are put aside.
struct Old {
    deployed: Deployed,
    configs: BTreeMap<String, Content>,
}

/// Deploys the base afresh. Where abra looks there is one place for a recipe, so base and head take turns in it; the head
/// waits aside as it is, changes that nobody committed included.
async fn base_runs(
    job: &Job,
    cancel: &CancellationToken,
    learned: &mut Learned,
    base: &Base,
) -> Result<(Old, Tree), Trouble> {
    let head = learned.head(job)?;
    job.say(UPGRADE, &format!("upgrading from {}, {}", base.name, base.why));
    release_notes::show(job, UPGRADE, &head.recipe, base).await?;
    let aside = job.dir.join("head");
    shift(&head.recipe.dir, &aside)?;
    let recipe = clone_of(job, cancel, &aside, base).await?;
    let tree = Tree { commit: base.commit.clone(), recipe };
    let deployed = deploy::fresh(job, cancel, UPGRADE, learned, &tree).await?;
    say_of_overlays(job, &deployed);
    let said = deployed.said.clone();
    let configs = off_the_runtime(move || contents(&said)).await?;

    // abra goes by the name in the app's `.env`, which is the base's.
    let place = tree.recipe.dir;
    shift(&place, &job.dir.join("base"))?;
    shift(&aside, &place)?;
    let head = Tree { commit: head.commit, recipe: Recipe { dir: place, ..head.recipe } };
    learned.recipe = Some(head.recipe.clone());
    Ok((Old { deployed, configs }, head))
}

/// Which of the declared compose files only the head has.
fn say_of_overlays(job: &Job, base: &Deployed) {
    let known = job.known().env();
    let declared = known.get("COMPOSE_FILE").copied().unwrap_or_default().split(':').map(str::trim);
    for file in declared.filter(|file| !file.is_empty() && base.said.compose.files().iter().all(|used| used != file)) {
        job.say(UPGRADE, &format!("{file} is only at the head, so the base runs without it"));
    }
}

fn shift(from: &Path, to: &Path) -> Result<(), Trouble> {
    std::fs::rename(from, to)
        .map_err(|error| Trouble::Infra(format!("{} cannot be moved to {}: {error}", from.display(), to.display())))
}

/// The base's own checkout, where abra takes it from.
async fn clone_of(job: &Job, cancel: &CancellationToken, head: &Path, base: &Base) -> Result<Recipe, Trouble> {
    let source = git::Source {
        url: head.to_string_lossy().into_owned(),
        token: None,
        head: base.commit.clone(),
        pr_ref: None,
        base_branch: None,
        allow_file: true,
    };
    let limits = git::Limits { time: job.config.runner.limits.command, ..git::Limits::default() };
    let fresh = job.dir.join("fresh-base");
    git::fetch(&source, &fresh, &limits, cancel, &mut |_, _| {}).await?;
    let home = job.home.clone();
    off_the_runtime(move || {
        let read = recipe::open(&fresh)?;
        let dir = home.recipe_dir(&read.name);
        shift(&fresh, &dir)?;
        Ok(Recipe { dir, ..read })
    })
    .await?
}

/// What a config holds, and what has to be raised when that changes.
struct Content {
    hash: [u8; 32],
    file: String,
    variable: Option<String>,
}

/// Contents of the configs that are read from files, by their names in Swarm.
fn contents(said: &Said) -> BTreeMap<String, Content> {
    let mut found = BTreeMap::new();
    for object in said.compose.objects(Kind::Config) {
        let Some(file) = object.file() else { continue };
        // What cannot be read is abra's to refuse.
        let Ok(text) = inside::read(said.compose.dir(), Path::new(file)) else { continue };
        let content = Content {
            hash: Sha256::digest(text.as_bytes()).into(),
            file: file.to_owned(),
            variable: said.compose.version_variable(&object).map(str::to_owned),
        };
        found.insert(object.full_name(&said.stack), content);
    }
    found
}

/// Swarm cannot change a config. One that has other content under the same name makes the deploy fail, with words that do not
/// say which it was.
async fn warn_of_configs(
    job: &Job,
    before: &BTreeMap<String, Content>,
    head: &Recipe,
    old: &Deployed,
) -> Result<(), Trouble> {
    let (recipe, path, domain) = (head.clone(), job.home.env_file(&old.made.domain), old.made.domain.clone());
    let after = off_the_runtime(move || {
        let text = std::fs::read_to_string(path).ok()?;
        let mut env = env_file::parse(&text).ok()?;
        env.set("COMPOSE_FILE", &overlay::taken_out(&compose_files(&env.map())));
        recipe.say_unchecked(&env, domain.as_str()).ok().map(|said| contents(&said))
    })
    .await?;
    for (name, new) in after.unwrap_or_default() {
        if before.get(&name).is_none_or(|old| old.hash == new.hash) {
            continue;
        }
        let variable = new.variable.as_deref().unwrap_or("the version in its name");
        job.check(Check {
            stage: UPGRADE,
            name: format!("config {}", new.file),
            state: CheckState::Warning,
            expected: Some(format!("another {variable}, since its content changed")),
            got: Some(format!("{name} as before, which Swarm refuses to change")),
            took: None,
        })
        .await?;
    }
    Ok(())
}

/// Every service whose tasks had to change says that its update is complete.
async fn updates_completed(job: &Job, new: &Deployed) -> Result<(), Trouble> {
    let services = job.swarm.services(&new.made.stack).await?;
    let (mut updated, mut wrong) = (BTreeSet::new(), Vec::new());
    for service in &services {
        let name = service.short();
        let Some(was) = new.before.services.get(&service.name).filter(|was| was.id == service.id) else {
            updated.insert(format!("{name} is new"));
            continue;
        };
        match service.update.as_ref().filter(|update| was.update.as_ref() != Some(update)) {
            _ if was.template == service.template => {}
            Some(update) if update.state == UpdateState::Completed => {
                updated.insert(name.to_owned());
            }
            Some(update) => wrong.push(format!("the update of {name} is {:?}: {}", update.state, update.message)),
            // Without a task there is nothing to update, and Swarm says nothing of it.
            None if matches!(service.mode, Mode::Replicated(0)) => {
                updated.insert(format!("{name} is switched off"));
            }
            None => wrong.push(format!("{name} was to change, and Swarm knows of no update")),
        }
    }
    let got = match wrong.first() {
        Some(first) => first.clone(),
        None if updated.is_empty() => "no service changed: the same tasks run on".to_owned(),
        None => format!("updated: {}", updated.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let expected = "every service's update is complete";
    job.check(checked(UPGRADE, "updates", wrong.is_empty(), expected, &got, Duration::ZERO)).await?;
    match wrong.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(Trouble::Recipe(first)),
    }
}
