//! A run's scripts: defined before anything is deployed, run at the run's moments, each job a row. What they ask for goes out
//! through here, to the one app of this run.
//!
//! Those of the pull request and those of the appliance are in different processes and never know of each other.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::checks::{self, Standing, Window};
use super::{Job, Trouble};
use crate::model::{CheckState, RecipeName, StackName, StageName};
use crate::probe::browser::{Seen, Step};
use crate::probe::{Prober, Request};
use crate::recipe::{Finding, Severity};
use crate::sandbox::bubblewrap::CageFault;
use crate::script::tools::{
    Bytes, ExecAnswer, ExecRequest, HttpAnswer, HttpRequest, LARGEST_BODY, LARGEST_STREAM, ToolError, Tools,
};
use crate::script::{Event, Host, JobResult, Kit, Limits, Moment, NoScripts, NotDefined, Side, Verdict};
use crate::secrets::Secret;
use crate::store::stages::Check;
use crate::swarm::exec::{Exec, ExecEnded};

const COMMAND: Duration = Duration::from_secs(120);

/// The scripts of both sides, as far as they are.
#[derive(Default)]
pub struct Scripts {
    hosts: Vec<Host>,
}

/// What keeps scripts from being defined.
pub(super) enum Undefined {
    /// The pull request's: all of it.
    Recipe(Vec<Finding>),
    Other(Trouble),
}

impl Scripts {
    /// Loads what there is, and says everything that is wrong with it.
    pub(super) async fn define(job: &Job, cancel: &CancellationToken) -> Result<Scripts, Undefined> {
        let mut scripts = Scripts::default();
        for side in Side::BOTH {
            let own = job.known().scripts(side).to_vec();
            if own.is_empty() {
                continue;
            }
            let machine = |why: String| Undefined::Other(Trouble::Infra(why));
            let kit = Kit::find().map_err(|missing| machine(format!("scripts cannot be run here: {missing}")))?;
            let (redactor, cancel) = (job.redactor.clone(), cancel.clone());
            match Host::define(kit, side, own, Limits::default(), redactor, cancel).await {
                Ok(host) => scripts.hosts.push(host),
                Err(NotDefined::Wrong(problems)) if side == Side::Recipe => {
                    return Err(Undefined::Recipe(problems.into_iter().map(of_problem).collect()));
                }
                Err(NotDefined::Fault(fault)) => return Err(Undefined::Other(fault.into())),
                Err(other) => return Err(machine(other.to_string())),
            }
        }
        Ok(scripts)
    }

    /// Moments have come: the jobs that waited for them run, and the first that did not pass is the stage's reason. One that came
    /// before changes nothing, so a stage that was asked for alone names `install` too: what its jobs build on has to have run.
    pub(super) async fn at(
        &mut self,
        job: &Job,
        cancel: &CancellationToken,
        stage: StageName,
        moments: &[Moment],
        standing: Standing<'_>,
    ) -> Result<(), Trouble> {
        if self.hosts.is_empty() {
            return Ok(());
        }
        let app = checks::app(job, standing)?;
        let prober = Prober::new(&job.config.proxy).map_err(|error| Trouble::Infra(error.to_string()))?;
        let window = Window::of(job, cancel, app.reachable().cloned().collect());
        let mut reach = Reach { job, cancel, standing, prober, window };
        let mut results = Vec::new();
        let mut hear = |event: Event<'_>| match event {
            Event::Started { script, job: name } => job.say(stage, &format!("{script}: {name}")),
            Event::Line { job: name, text, .. } => job.say(stage, &format!("{name}: {text}")),
            Event::Ended(_) => job.watchdog.heard(),
        };
        for &moment in moments {
            for host in &mut self.hosts {
                let came = host.moment(moment, &app, &mut reach, &mut hear).await?;
                results.extend(came.into_iter().map(|result| (host.side(), result)));
            }
        }
        reach.window.close().await;
        let mut bad = Vec::new();
        for (side, result) in &results {
            let (check, trouble) = row(stage, result);
            job.check(check).await?;
            bad.extend(trouble.map(|trouble| blamed(trouble, *side, standing)));
        }
        // A fault of the script counts before one of the machine.
        bad.sort_by_key(|trouble| match trouble {
            Trouble::Recipe(_) => 0,
            Trouble::NotTested(_) => 1,
            _ => 2,
        });
        bad.into_iter().next().map_or(Ok(()), Err)
    }

    /// Nothing more will happen: what still waited was skipped, each with the reason.
    pub fn finish(self, stage: StageName) -> Vec<Check> {
        let left = self.hosts.into_iter().flat_map(|host| host.finish(&mut |_| {}));
        left.map(|result| row(stage, &result).0).collect()
    }
}

/// What an operator's script cannot set up before anything of the head is there is not the head's fault.
fn blamed(trouble: Trouble, side: Side, standing: Standing<'_>) -> Trouble {
    match (trouble, side, standing) {
        (Trouble::Recipe(words), Side::Appliance, Standing::Beside { .. }) => {
            Trouble::NotTested(format!("what it needs could not be set up: {words}"))
        }
        (trouble, ..) => trouble,
    }
}

/// The row of a job that ended, and what was wrong, if something was.
fn row(stage: StageName, result: &JobResult) -> (Check, Option<Trouble>) {
    let name = format!("{} {}", result.script, result.job);
    let ended = |state, got: &str| Check {
        stage,
        name,
        state,
        expected: None,
        got: Some(got.to_owned()),
        took: Some(result.took),
    };
    match &result.verdict {
        Verdict::Passed(_) => (ended(CheckState::Passed, "passed"), None),
        Verdict::Skipped(reason) => (ended(CheckState::Skipped, reason), None),
        Verdict::Failed { message, file, line } => {
            let got = format!("{file}:{line}: {message}");
            (ended(CheckState::Failed, &got), Some(Trouble::Recipe(format!("{}: {got}", result.job))))
        }
        Verdict::Infra(reason) => {
            (ended(CheckState::Skipped, reason), Some(Trouble::Infra(format!("{}: {reason}", result.job))))
        }
    }
}

fn of_problem(problem: crate::script::Problem) -> Finding {
    let crate::script::Problem { file, line, message, cure } = problem;
    let line = u32::try_from(line).unwrap_or(u32::MAX);
    Finding { rule: "script", severity: Severity::Error, file, line, column: 1, message, cure }
}

impl From<NoScripts> for Trouble {
    fn from(fault: NoScripts) -> Trouble {
        match fault {
            NoScripts::Cage(CageFault::Cancelled) => Trouble::Ended,
            other => Trouble::Infra(format!("the scripts: {other}")),
        }
    }
}

/// What scripts reach: this app and what it needs, and of the machine what it lends them.
struct Reach<'a> {
    job: &'a Job,
    cancel: &'a CancellationToken,
    standing: Standing<'a>,
    prober: Prober,
    window: Window<'a>,
}

impl Reach<'_> {
    async fn ask(&self, request: HttpRequest) -> Result<HttpAnswer, ToolError> {
        let HttpRequest { method, url, headers, body } = request;
        let request = Request { method: &method, url: &url, headers: &headers, body };
        let raw = self.prober.send(request, LARGEST_BODY).await.map_err(|seen| match seen {
            crate::probe::Seen::Nothing(_) | crate::probe::Seen::Certificate(_) => ToolError::Infra(seen.to_string()),
            other => ToolError::Failed(other.to_string()),
        })?;
        Ok(HttpAnswer { status: raw.status, headers: raw.headers, body: Bytes(raw.body), cut: raw.cut })
    }

    /// Of the app, or of what stands beside it.
    fn stack(&self, beside: Option<&RecipeName>) -> Result<StackName, ToolError> {
        let not_there = |what: &str| ToolError::Failed(format!("{what} is not deployed"));
        match (beside, self.standing) {
            (Some(recipe), _) => {
                let mut all = self.job.beside().iter();
                let found = all.find(|beside| beside.need.recipe == *recipe);
                found.map(|beside| beside.domain.stack()).ok_or_else(|| not_there(&format!("`{recipe}`")))
            }
            (None, Standing::App(deployed)) => Ok(deployed.made.stack.clone()),
            (None, Standing::Beside { .. }) => Err(not_there("the app itself")),
        }
    }

    async fn execute(&self, request: ExecRequest) -> Result<ExecAnswer, ToolError> {
        let infra = |fault: crate::swarm::SwarmFault| ToolError::Infra(fault.to_string());
        let ExecRequest { beside, service, command, stdin } = request;
        let stack = self.stack(beside.as_ref())?;
        let container = self.job.swarm.container_of(&stack, &service).await.map_err(infra)?;
        let container =
            container.ok_or_else(|| ToolError::Failed(format!("no container of a service `{service}` runs")))?;
        let exec = Exec { stdin, ..Exec::new(command) };
        let done = self.job.swarm.exec(&container, &exec, COMMAND, LARGEST_STREAM, self.cancel).await.map_err(infra)?;
        match done.ended {
            ExecEnded::Exit(code) => {
                Ok(ExecAnswer { code, out: Bytes(done.stdout), err: Bytes(done.stderr), cut: done.cut })
            }
            ExecEnded::Limit { .. } => {
                Err(ToolError::Failed(format!("the command did not end within {} s", COMMAND.as_secs())))
            }
            ExecEnded::Cancelled { .. } => Err(ToolError::Infra("cancelled".into())),
        }
    }
}

impl Tools for Reach<'_> {
    fn http(&mut self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, ToolError>> {
        self.ask(request).boxed()
    }

    fn exec(&mut self, request: ExecRequest) -> BoxFuture<'_, Result<ExecAnswer, ToolError>> {
        self.execute(request).boxed()
    }

    fn browser(&mut self, step: Step) -> BoxFuture<'_, Result<Seen, ToolError>> {
        async { Ok(self.window.step(step).await?) }.boxed()
    }

    fn secret(&mut self, name: &str) -> BoxFuture<'_, Result<Secret, ToolError>> {
        let name = name.to_owned();
        async move { self.job.secret(&name, Side::Appliance).await.map_err(ToolError::Failed) }.boxed()
    }
}
