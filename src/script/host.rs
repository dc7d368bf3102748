//! The runner's side of the scripts: it decides which job runs when and what came of it, and believes nothing.
//!
//! A child that breaks the protocol, or does not come back in time, is ended. What it had to do yet goes on in a new one: jobs
//! share nothing but outputs, and those are kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::call::{Broken, Call, Used};
use super::clean::{clean, clean_json};
use super::graph::{self, Graph, Job, Need};
use super::kit::Kit;
use super::limits::{Limit, Limits, Reached};
use super::line::Line;
use super::process::{Child, GRACE, load};
use super::tools::{App, Tools, told};
use super::wire::{Outcome, Problem, Registered, ToChild};
use super::{JobResult, Moment, Script, Side, Verdict};
use crate::sandbox::bubblewrap::CageFault;
use crate::secrets::redact::Redactor;

const MOST_SCRIPTS: usize = 256;

/// The machine is at fault, or it was cancelled.
#[derive(Debug, thiserror::Error)]
pub enum NoScripts {
    #[error(transparent)]
    Cage(#[from] CageFault),
    #[error("{path} cannot be read: {source}")]
    Fennel { path: String, source: io::Error },
    #[error("the scripts' process broke the protocol: {0}")]
    Protocol(String),
}

/// Why there are no jobs.
#[derive(Debug, thiserror::Error)]
pub enum NotDefined {
    /// The scripts are at fault: everything that is wrong, in order.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Wrong(Vec<Problem>),
    /// There are scripts in Fennel and no compiler. The operator can mend it.
    #[error(
        "{script} is written in Fennel, and its compiler is not on this machine; install it (Debian 13: the package `fennel`) or \
         say where `fennel.lua` is in CC_CI_FENNEL, or write the script in Lua"
    )]
    NoFennel { script: String },
    #[error(transparent)]
    Fault(#[from] NoScripts),
}

/// What happens while jobs run. Texts are masked.
#[derive(Debug)]
pub enum Event<'a> {
    Started { script: &'a str, job: &'a str },
    Line { script: &'a str, job: &'a str, text: &'a str },
    Ended(&'a JobResult),
}

pub type Events<'a> = &'a mut (dyn FnMut(Event<'_>) + Send);

/// The scripts of one side of one run, defined, and how far they are.
pub struct Host {
    kit: Kit,
    side: Side,
    limits: Limits,
    scripts: Vec<Script>,
    redactor: Redactor,
    cancel: CancellationToken,
    registered: Vec<Vec<Registered>>,
    graph: Graph,
    happened: BTreeSet<Moment>,
    /// As long as the graph.
    results: Vec<Option<Verdict>>,
    child: Option<Child>,
}

impl Host {
    /// Loads the scripts in a child, and checks the jobs they register: everything that is wrong with all of them at once.
    pub async fn define(
        kit: Kit,
        side: Side,
        scripts: Vec<Script>,
        limits: Limits,
        redactor: Redactor,
        cancel: CancellationToken,
    ) -> Result<Host, NotDefined> {
        if let (None, Some(script)) = (&kit.fennel, scripts.iter().find(|script| script.is_fennel())) {
            return Err(NotDefined::NoFennel { script: script.name.clone() });
        }
        if scripts.len() > MOST_SCRIPTS {
            let (file, message) = (scripts[0].name.clone(), format!("there are {} scripts", scripts.len()));
            let cure = format!("put several into one file; {MOST_SCRIPTS} are the most");
            return Err(NotDefined::Wrong(vec![Problem { file, line: 1, message, cure }]));
        }
        let mut host = Host {
            kit,
            side,
            limits,
            scripts,
            redactor,
            cancel,
            registered: Vec::new(),
            graph: Graph::default(),
            happened: BTreeSet::new(),
            results: Vec::new(),
            child: None,
        };
        if host.scripts.is_empty() {
            return Ok(host);
        }
        let (child, registered, problems) = host.start_child().await?;
        let mut problems: Vec<Problem> = problems.into_iter().map(|problem| host.masked(problem)).collect();
        // A script that could not be loaded has half its jobs: what is wrong between them is only said when it is whole.
        let broken: BTreeSet<String> = problems.iter().map(|problem| problem.file.clone()).collect();
        match graph::plan(&registered) {
            Ok(graph) => host.graph = graph,
            Err(wrong) => {
                let guess = |one: &Problem| broken.contains(&one.file) && one.message.contains("which is neither");
                problems.extend(wrong.into_iter().filter(|one| !guess(one)));
            }
        }
        if !problems.is_empty() {
            problems.sort();
            problems.dedup();
            return Err(NotDefined::Wrong(problems));
        }
        host.results = vec![None; host.graph.jobs.len()];
        host.registered = registered;
        host.child = Some(child);
        Ok(host)
    }

    /// The jobs, each after what it needs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The name of a job's script.
    pub fn script_of(&self, job: &Job) -> &str {
        &self.scripts[job.script].name
    }

    /// A moment of the run has come: runs the jobs that waited for nothing else, and theirs. Their results, in order.
    pub async fn moment(
        &mut self,
        moment: Moment,
        app: &App,
        tools: &mut dyn Tools,
        events: Events<'_>,
    ) -> Result<Vec<JobResult>, NoScripts> {
        self.happened.insert(moment);
        let mut results = Vec::new();
        for number in 0..self.graph.jobs.len() {
            if self.results[number].is_some() {
                continue;
            }
            let job = self.graph.jobs[number].clone();
            let result = match self.turn(&job) {
                Turn::NotYet => continue,
                Turn::Never(reason) => self.settle(number, Verdict::Skipped(reason), Duration::ZERO),
                Turn::Now(inputs) => {
                    let script = self.scripts[job.script].name.clone();
                    events(Event::Started { script: &script, job: &job.name });
                    let began = Instant::now();
                    let verdict = self.run(&job, moment, app, inputs, tools, events).await?;
                    self.settle(number, verdict, began.elapsed())
                }
            };
            events(Event::Ended(&result));
            results.push(result);
        }
        Ok(results)
    }

    /// Whose scripts they are.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Nothing more will happen: the jobs that are left were skipped, because of what did not come. Ends the child.
    pub fn finish(mut self, events: Events<'_>) -> Vec<JobResult> {
        let mut results = Vec::new();
        for number in 0..self.graph.jobs.len() {
            if self.results[number].is_some() {
                continue;
            }
            let job = self.graph.jobs[number].clone();
            let missing = job.needs.iter().find_map(|need| match need {
                Need::Moment(moment) if !self.happened.contains(moment) => Some(format!("`{moment}` did not come")),
                _ => None,
            });
            let reason = missing.unwrap_or_else(|| match self.turn(&job) {
                Turn::Never(reason) => reason,
                _ => "the run ended before its turn".into(),
            });
            let result = self.settle(number, Verdict::Skipped(reason), Duration::ZERO);
            events(Event::Ended(&result));
            results.push(result);
        }
        results
    }

    fn turn(&self, job: &Job) -> Turn {
        let mut inputs = BTreeMap::new();
        let mut waits = false;
        for need in &job.needs {
            match need {
                Need::Moment(moment) => waits |= !self.happened.contains(moment),
                Need::Job(number) => {
                    let name = &self.graph.jobs[*number].name;
                    match &self.results[*number] {
                        None => waits = true,
                        Some(Verdict::Passed(output)) => drop(inputs.insert(name.clone(), output.clone())),
                        Some(Verdict::Skipped(_)) => {
                            return Turn::Never(format!("it needs `{name}`, which was skipped"));
                        }
                        Some(_) => return Turn::Never(format!("it needs `{name}`, which did not pass")),
                    }
                }
            }
        }
        if waits { Turn::NotYet } else { Turn::Now(inputs) }
    }

    /// Notes what came of a job, and gives it out without secrets. Its dependents get the output as it was.
    fn settle(&mut self, number: usize, verdict: Verdict, took: Duration) -> JobResult {
        let mask = |text: &str| clean(&self.redactor, text);
        let shown = match &verdict {
            Verdict::Passed(output) => Verdict::Passed(clean_json(&self.redactor, output.clone())),
            Verdict::Skipped(reason) => Verdict::Skipped(mask(reason)),
            Verdict::Infra(reason) => Verdict::Infra(mask(reason)),
            Verdict::Failed { message, file, line } => {
                Verdict::Failed { message: mask(message), file: mask(file), line: *line }
            }
        };
        self.results[number] = Some(verdict);
        let job = &self.graph.jobs[number];
        JobResult { script: self.scripts[job.script].name.clone(), job: job.name.clone(), verdict: shown, took }
    }

    fn masked(&self, problem: Problem) -> Problem {
        let Problem { file, line, message, cure } = problem;
        Problem { file: clean(&self.redactor, &file), line, message: clean(&self.redactor, &message), cure }
    }

    /// A child with all scripts loaded.
    async fn start_child(&self) -> Result<(Child, Vec<Vec<Registered>>, Vec<Problem>), NoScripts> {
        let mut child = Child::start(&self.kit, &self.cancel).await?;
        let fennel = if self.scripts.iter().any(Script::is_fennel) { self.kit.compiler().await? } else { None };
        let Child { stream, cage } = &mut child;
        let loaded = tokio::select! {
            loaded = load(stream, &self.scripts, self.limits, fennel) => loaded,
            fault = cage.ended() => return Err(fault.into()),
        };
        match loaded {
            Ok((registered, problems)) => Ok((child, registered, problems)),
            Err(fault) => Err(child.why(fault).await),
        }
    }

    /// A child to run a job in: the one there is, or one like it.
    async fn take_child(&mut self) -> Result<Child, NoScripts> {
        // It waited through a whole deployment, perhaps, and anything may have ended it.
        if let Some(child) = self.child.take().filter(|child| !child.cage.is_over()) {
            return Ok(child);
        }
        let (child, registered, problems) = self.start_child().await?;
        if problems.is_empty() && registered == self.registered {
            return Ok(child);
        }
        Err(NoScripts::Protocol("the scripts registered other jobs than the first time".into()))
    }

    async fn run(
        &mut self,
        job: &Job,
        moment: Moment,
        app: &App,
        inputs: BTreeMap<String, Value>,
        tools: &mut dyn Tools,
        events: Events<'_>,
    ) -> Result<Verdict, NoScripts> {
        let mut child = self.take_child().await?;
        let mut facts = told(app).map_err(|fault| NoScripts::Protocol(fault.to_string()))?;
        facts["moment"] = json!(moment.as_str());
        let script = self.scripts[job.script].name.clone();
        let mut call = Call {
            app,
            side: self.side,
            limits: self.limits,
            tools,
            redactor: &self.redactor,
            script: &script,
            job: &job.name,
            events,
            used: Used::default(),
        };
        let order = ToChild::Run { script: job.script, job: job.index, app: facts, inputs };
        let ended = tokio::select! {
            ended = timeout(self.limits.time + GRACE, call.serve(&mut child.stream, &order)) => ended,
            fault = child.cage.ended() => Ok(Err(Broken::Fault(fault.into()))),
        };
        let infra = std::mem::take(&mut call.used.infra);
        let outcome = match ended {
            Ok(Ok(outcome)) => {
                self.child = Some(child);
                outcome
            }
            // The child is dropped here, and with it everything in it.
            Ok(Err(Broken::Limit(limit))) => Outcome::Failed(Reached(limit, self.limits).to_string()),
            Err(_) => Outcome::Failed(Reached(Limit::Time, self.limits).to_string()),
            Ok(Err(Broken::Io(fault))) => return self.broken(child.why(fault).await),
            Ok(Err(Broken::Fault(fault))) => return self.broken(fault),
        };
        if let Some((tool, fault)) = infra.into_iter().next() {
            return Ok(Verdict::Infra(format!("{tool}: {fault}")));
        }
        Ok(self.verdict(job, outcome))
    }

    /// A cancelled run ends; a child that died takes one job with it, and nobody can say whose fault it was.
    fn broken(&self, fault: NoScripts) -> Result<Verdict, NoScripts> {
        match fault {
            NoScripts::Cage(CageFault::Cancelled) => Err(fault),
            _ if self.cancel.is_cancelled() => Err(NoScripts::Cage(CageFault::Cancelled)),
            other => Ok(Verdict::Infra(other.to_string())),
        }
    }

    fn verdict(&self, job: &Job, outcome: Outcome) -> Verdict {
        match outcome {
            // Whoever writes a check as one comparison means it.
            Outcome::Returned(Value::Bool(false)) => {
                Verdict::Failed { message: "it returned false".into(), file: job.file.clone(), line: job.line }
            }
            Outcome::Returned(output) => Verdict::Passed(output),
            Outcome::Skipped(Some(reason)) => Verdict::Skipped(reason),
            Outcome::Skipped(None) => {
                Verdict::Skipped("it returned nothing; a job that passes returns something, such as `true`".into())
            }
            Outcome::Failed(text) => {
                let directory = self.scripts[job.script].directory();
                match Line::cut_off(directory, &text) {
                    Some((Line { file, line }, message)) => Verdict::Failed { message: message.into(), file, line },
                    None => Verdict::Failed { message: text, file: job.file.clone(), line: job.line },
                }
            }
        }
    }
}

enum Turn {
    NotYet,
    Never(String),
    Now(BTreeMap<String, Value>),
}
