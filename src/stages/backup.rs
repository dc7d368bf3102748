//! Proves that a backup can be restored. Markers are written, a backup is made by abra and looked into with restic itself, the
//! markers are damaged and restored in place; then the app goes with all its volumes, is deployed afresh, and everything has to
//! come back from the snapshot alone. Each step is a check row of its own.
//!
//! Whoever restores for real brings the secrets along, since Swarm gives none back and a restored database wants the password
//! it was made with; so the app that is deployed afresh gets the values that the lost one had.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::checks::Standing;
use super::deploy::{self, Deployed};
use super::markers::{self, Marker, Planted};
use super::{Done, Job, Learned, Trouble};
use crate::abra::driver::Session;
use crate::backup::labels::{self, Wanted, When};
use crate::backup::service::{BackupService, ServiceFault};
use crate::backup::snapshot::{self, Entry, Snapshot};
use crate::clock::Time;
use crate::engine::run::checked;
use crate::model::{CheckState, EvidenceKind, StackName, StageName};
use crate::plan::Without;
use crate::recipe::Said;
use crate::script::Moment;
use crate::store::stages::Check;
use crate::swarm::Swarm;
use crate::swarm::views::TaskState;

const BACKUP: StageName = StageName::Backup;
/// How often a backup is made when the app's containers changed while it was.
const ATTEMPTS: usize = 3;
/// Written into a run's directory before its first backup: whoever tears down then removes its snapshots.
const INTENT: &str = "backed-up";
/// The end of a run does not wait for ever for a repository that somebody holds.
const FORGET: Duration = Duration::from_secs(120);
/// Files of times are written to the second by some.
const SECOND: Duration = Duration::from_secs(1);

/// Whether a recipe asks for backups, by its labels; if not, what that makes of the stage. One that holds data and asks for
/// none is warned by lint, too.
pub fn applies(said: &Said) -> Result<(), Without> {
    let services = labels::of_compose(&said.compose, &said.stack);
    // What cannot be followed is told when it is tried.
    if !matches!(labels::read(&services), Ok(None)) {
        return Ok(());
    }
    let volumes: BTreeSet<String> =
        services.into_iter().flat_map(|service| service.mounts).map(|mount| mount.volume).collect();
    if volumes.is_empty() {
        return Err(Without::NotApplicable("the recipe has no volumes, so it holds no data".to_owned()));
    }
    let volumes: Vec<String> = volumes.into_iter().collect();
    let (noun, names) = (if volumes.len() == 1 { "volume" } else { "volumes" }, volumes.join(", "));
    Err(Without::NotTested(format!("no label asks for a backup, and there is data in the {noun} {names}")))
}

pub async fn backup(job: &Job, cancel: &CancellationToken, learned: &mut Learned) -> Result<Done, Trouble> {
    let deployed = learned.deployed.clone().ok_or_else(|| Trouble::Infra("nothing is deployed to back up".into()))?;
    let (stack, tree) = (deployed.made.stack.clone(), deployed.tree.clone());
    let services = labels::of_compose(&deployed.said.compose, &deployed.said.stack);
    let wanted = labels::read(&services).map_err(|error| Trouble::Recipe(error.to_string()))?.unwrap_or_default();
    if wanted.volumes.is_empty() {
        return Err(Trouble::Recipe(
            "the labels ask for a backup, and there is no volume of which anything would be kept".to_owned(),
        ));
    }
    learned.scripts.at(job, cancel, BACKUP, &[Moment::Install], Standing::App(&deployed)).await?;
    let step = Step { job, cancel, service: BackupService::find(&job.swarm).await?, wanted, stack };
    let planted = markers::plant(job, cancel, BACKUP, &deployed, &markers::choose(&deployed.said, job.known())).await?;
    if let Some(why) = planted.refused.first() {
        return Err(Trouble::Recipe(format!("a marker is declared and could not be written: {why}")));
    }
    if planted.markers.is_empty() {
        return Err(Trouble::Recipe(
            "nothing could be written to the app that its backup would keep, so nothing can be said about it"
                .to_owned(),
        ));
    }

    deploy::settle(job, cancel, BACKUP, &deployed).await?;
    let kept = step.keep(&deployed, &planted).await?;
    learned.scripts.at(job, cancel, BACKUP, &[Moment::Backup], Standing::App(&deployed)).await?;
    markers::damage(job, cancel, BACKUP, &deployed, &planted).await?;
    step.restore(&deployed, &kept, "restored in place").await?;
    step.look(&deployed, &planted, "after the restore in place").await?;
    learned.scripts.at(job, cancel, BACKUP, &[Moment::InPlace], Standing::App(&deployed)).await?;

    learned.deployed = None;
    deploy::take_down(job, BACKUP, &deployed.made).await?;
    let afresh = deploy::fresh(job, cancel, BACKUP, learned, &tree).await?;
    learned.deployed = Some(afresh.clone());
    step.restore(&afresh, &kept, "restored into a fresh app").await?;
    step.look(&afresh, &planted, "after the restore into a fresh app").await?;
    learned.scripts.at(job, cancel, BACKUP, &[Moment::Restore], Standing::App(&afresh)).await?;
    markers::remove(job, cancel, BACKUP, &afresh, &planted).await?;
    let note = format!("snapshot {} restored in place and into a fresh app", kept.short());
    Ok(Done { note: Some(note), waited: afresh.waited })
}

struct Step<'a> {
    job: &'a Job,
    cancel: &'a CancellationToken,
    service: BackupService,
    wanted: Wanted,
    stack: StackName,
}

impl Step<'_> {
    fn session(&self) -> Session<'_> {
        self.job.abra.session(&self.job.home, self.job.config.runner.limits.command, self.cancel)
    }

    async fn note(&self, name: &str, well: bool, expected: &str, got: &str, took: Duration) -> Result<(), Trouble> {
        self.job.check(checked(BACKUP, name, well, expected, got, took)).await
    }

    /// A backup that holds what it should. It is made again where the app's containers changed in the middle of it, which a
    /// database does that is restarted: then a hook had nobody to talk to.
    async fn keep(&self, deployed: &Deployed, planted: &Planted) -> Result<Snapshot, Trouble> {
        let dir = self.job.dir.join(INTENT);
        tokio::fs::write(&dir, "").await.map_err(|error| Trouble::Infra(format!("{}: {error}", dir.display())))?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.tasks().await?;
            let trouble = match self.try_to_keep(deployed, planted).await? {
                Ok(kept) => return Ok(kept),
                Err(trouble) => trouble,
            };
            let changed = before != self.tasks().await?;
            if attempt == ATTEMPTS || !changed || !matches!(trouble.1, Trouble::Recipe(_)) {
                if let Some(check) = trouble.0 {
                    self.job.check(check).await?;
                }
                return Err(trouble.1);
            }
            self.job.say(BACKUP, "the app's containers changed while the backup was made; once more when they stand");
            deploy::settle(self.job, self.cancel, BACKUP, deployed).await?;
        }
    }

    /// Those that run.
    async fn tasks(&self) -> Result<BTreeSet<String>, Trouble> {
        let tasks = self.job.swarm.tasks(&self.stack).await?;
        Ok(tasks.into_iter().filter(|task| task.state == TaskState::Running).map(|task| task.id).collect())
    }

    /// The inner error may yet be overcome; the check that goes with it is noted when it is not.
    async fn try_to_keep(
        &self,
        deployed: &Deployed,
        planted: &Planted,
    ) -> Result<Result<Snapshot, (Option<Check>, Trouble)>, Trouble> {
        let (began, since) = (Instant::now(), self.job.clock.now().minus(SECOND));
        let domain = &deployed.made.domain;
        if let Err(failed) = self.session().backup_create(domain, &mut self.job.listener(BACKUP)).await {
            let trouble = Trouble::from(failed);
            let check = match &trouble {
                Trouble::Recipe(words) => {
                    Some(checked(BACKUP, "backup made", false, "a snapshot", words, began.elapsed()))
                }
                _ => None,
            };
            return Ok(Err((check, trouble)));
        }
        let snapshots = self.service.snapshots(&self.stack, self.cancel).await?;
        let newest = snapshots.into_iter().rfind(|one| Time::parse(&one.time).is_some_and(|time| time >= since));
        let Some(kept) = newest else {
            let words = "abra said that a backup was made, and there is no new snapshot of the app";
            let check = checked(BACKUP, "backup made", false, "a snapshot", words, began.elapsed());
            return Ok(Err((Some(check), Trouble::Recipe(words.to_owned()))));
        };
        let checks = self.look_into(&kept, planted, since).await?;
        if let Some(bad) = checks.iter().find(|check| check.state == CheckState::Failed) {
            let words = format!("the backup says that it went well, but {}", bad.got.clone().unwrap_or_default());
            return Ok(Err((Some(bad.clone()), Trouble::Recipe(words))));
        }
        self.note("backup made", true, "a snapshot", &format!("snapshot {}", kept.short()), began.elapsed()).await?;
        for check in checks {
            self.job.check(check).await?;
        }
        Ok(Ok(kept))
    }

    /// What the snapshot holds, for each thing that was to be kept, and whether the dumps hold what was written before.
    async fn look_into(&self, kept: &Snapshot, planted: &Planted, since: Time) -> Result<Vec<Check>, Trouble> {
        let began = Instant::now();
        let entries = self.service.list(&kept.id, self.cancel).await?;
        let listing = entries.iter().map(Entry::line).collect::<String>().into_bytes();
        self.job.evidence.put(BACKUP, "snapshot.txt", EvidenceKind::Text, listing).await;
        let since = self.wanted.hooks(When::BeforeBackup).next().map(|_| since);
        let held = snapshot::held(&self.wanted, self.stack.as_str(), &entries);
        let mut checks: Vec<Check> = held
            .iter()
            .map(|held| {
                let fault = held.fault(since);
                let got = fault.clone().unwrap_or_else(|| held.shown());
                let name = format!("snapshot holds {}", held.what);
                checked(BACKUP, &name, fault.is_none(), "what was to be kept", &got, began.elapsed())
            })
            .collect();
        if checks.iter().any(|check| check.state == CheckState::Failed) {
            return Ok(checks);
        }
        for (marker, value) in &planted.markers {
            let Marker::Row { service, volumes, .. } = marker else { continue };
            let began = Instant::now();
            // Of whole volumes, only the restore can tell.
            let dumps = held.iter().filter(|held| held.is_file);
            let own = |held: &&snapshot::Held| {
                volumes.iter().any(|volume| held.path.contains(&format!("{}_{volume}/", self.stack)))
            };
            let own: Vec<&snapshot::Held> = dumps.filter(own).collect();
            let mut readable = Vec::new();
            let mut found = false;
            for dump in &own {
                if let Some(holds) = self.service.holds(&kept.id, &dump.path, value, self.cancel).await? {
                    readable.push(dump.what.as_str());
                    found |= holds;
                }
            }
            if !readable.is_empty() {
                let names = readable.join(", ");
                let got = if found {
                    "it does".to_owned()
                } else {
                    format!("{names} does not hold what was written to {service} before")
                };
                let name = format!("{names} holds the {}", marker.shown());
                checks.push(checked(BACKUP, &name, found, "a dump from this run", &got, began.elapsed()));
            }
        }
        Ok(checks)
    }

    /// Whether everything came back; of what the labels leave out, why it could not.
    async fn look(&self, deployed: &Deployed, planted: &Planted, when: &str) -> Result<(), Trouble> {
        let looked = markers::look(self.job, self.cancel, BACKUP, deployed, planted, when).await;
        looked.map_err(|trouble| match trouble {
            Trouble::Recipe(words) => {
                let left_out = planted.markers.iter().find_map(|(marker, _)| marker.left_out(&self.wanted));
                Trouble::Recipe(left_out.map_or(words.clone(), |why| format!("{words}: {why}")))
            }
            other => other,
        })
    }

    async fn restore(&self, deployed: &Deployed, kept: &Snapshot, name: &str) -> Result<(), Trouble> {
        let began = Instant::now();
        let domain = &deployed.made.domain;
        let restored = self.session().restore(domain, &kept.id, &mut self.job.listener(BACKUP)).await;
        match restored.map_err(Trouble::from) {
            Ok(()) => {}
            Err(trouble) => {
                if let Trouble::Recipe(words) = &trouble {
                    self.note(name, false, "without complaint", words, began.elapsed()).await?;
                }
                return Err(trouble);
            }
        }
        self.note(name, true, "without complaint", &format!("from {}", kept.short()), began.elapsed()).await?;
        deploy::settle(self.job, self.cancel, BACKUP, deployed).await
    }
}

/// Removes the snapshots that a run made, if it made any. Says what stays, and why.
pub async fn forget(swarm: &Swarm, stack: &StackName, run_dir: &Path) -> Result<Option<usize>, ServiceFault> {
    if !tokio::fs::try_exists(run_dir.join(INTENT)).await.unwrap_or(true) {
        return Ok(None);
    }
    let cancel = CancellationToken::new();
    let forgetting = async {
        let service = BackupService::find(swarm).await?;
        let own = service.snapshots(stack, &cancel).await?;
        service.forget(&own, &cancel).await?;
        Ok(Some(own.len()))
    };
    match tokio::time::timeout(FORGET, forgetting).await {
        Ok(done) => done,
        Err(_) => Err(ServiceFault::Slow(FORGET.as_secs())),
    }
}

/// None of it is the recipe's fault.
impl From<ServiceFault> for Trouble {
    fn from(fault: ServiceFault) -> Trouble {
        Trouble::Infra(fault.to_string())
    }
}
