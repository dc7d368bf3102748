//! The runner's side of the scripts: it starts the child, decides which job runs when, passes requests on, and believes nothing.
//!
//! A child that breaks the protocol, or does not come back in time, is ended. What it had to do yet goes on in a new one: jobs
//! share nothing but outputs, and those are kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::graph::{self, Graph, Job, Need};
use super::limits::{Limit, Limits, Reached};
use super::line::Line;
use super::tools::{
    App, Ask, ExecRequest, HttpRequest, LARGEST_BODY, LARGEST_STREAM, Seen, Step, ToolError, Tools, told,
};
use super::wire::{FROM_CHILD, FromChild, Outcome, Problem, Registered, TO_CHILD, ToChild};
use super::{JobResult, Moment, Script, Side, Verdict};
use crate::sandbox::bubblewrap::{Bubblewrap, Cage, CageFault, Inside, NoCage, PROGRAM, PrivateDir, Software, argv};
use crate::sandbox::frame::{receive, send};
use crate::secrets::redact::Redactor;

/// How long past its limit a child may take to say so itself.
const GRACE: Duration = Duration::from_secs(2);
/// The longest a child may live; the engine's own limits come first.
const LIFE: Duration = Duration::from_secs(6 * 3600);
const MOST_SCRIPTS: usize = 256;
/// Each script has at most a hundred, and a child that keeps to that is not ended for them.
const MOST_PROBLEMS: usize = MOST_SCRIPTS * 101;
/// Characters of a message or a reason.
const LONGEST_TEXT: usize = 4000;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Where Fennel's compiler may lie, after what the environment and the build say.
const FENNEL: [&str; 4] = [
    "/usr/share/lua/5.4/fennel.lua",
    "/usr/local/share/lua/5.4/fennel.lua",
    "/usr/share/lua/common/fennel.lua",
    "/run/current-system/sw/share/lua/5.4/fennel.lua",
];

/// What this machine has for running scripts.
#[derive(Clone, Debug)]
pub struct Kit {
    pub bubblewrap: Bubblewrap,
    /// Fennel's compiler, one file of Lua.
    pub fennel: Option<PathBuf>,
}

impl Kit {
    /// Looks for bubblewrap on the PATH, and for Fennel's compiler where `CC_CI_FENNEL` says, now or when cc-ci was built, and
    /// in the usual places.
    pub fn find() -> Result<Kit, NoCage> {
        let told = std::env::var_os("CC_CI_FENNEL").map(PathBuf::from);
        let built = option_env!("CC_CI_FENNEL").map(PathBuf::from);
        let fennel = told.into_iter().chain(built).chain(FENNEL.map(PathBuf::from)).find(|path| path.is_file());
        Ok(Kit { bubblewrap: Bubblewrap::find()?, fennel })
    }
}

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
        let whole: Vec<Vec<Registered>> = host.scripts.iter().zip(&registered).map(|(_, jobs)| jobs.clone()).collect();
        match graph::plan(&whole) {
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
        let fennel = match &self.kit.fennel {
            Some(path) if self.scripts.iter().any(Script::is_fennel) => Some(read_compiler(path).await?),
            _ => None,
        };
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
            output: 0,
            calls: 0,
            infra: BTreeMap::new(),
        };
        let order = ToChild::Run { script: job.script, job: job.index, app: facts, inputs };
        let ended = tokio::select! {
            ended = timeout(self.limits.time + GRACE, call.serve(&mut child.stream, &order)) => ended,
            fault = child.cage.ended() => Ok(Err(Broken::Fault(fault.into()))),
        };
        let infra = std::mem::take(&mut call.infra);
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

async fn read_compiler(path: &Path) -> Result<String, NoScripts> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|source| NoScripts::Fennel { path: path.display().to_string(), source })
}

enum Turn {
    NotYet,
    Never(String),
    Now(BTreeMap<String, Value>),
}

/// Text of a stranger without secrets, and without what a terminal or a page would take for an order. Masked before, since a
/// secret may have line ends, and after, since what was taken out may have stood in the middle of one.
fn clean_all(redactor: &Redactor, text: &str) -> String {
    let plain: String = redactor.mask(text).chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    redactor.mask(&plain)
}

/// The same, as long as somebody reads.
fn clean(redactor: &Redactor, text: &str) -> String {
    let clean = clean_all(redactor, text);
    match clean.char_indices().nth(LONGEST_TEXT) {
        Some((cut, _)) => format!("{}…", &clean[..cut]),
        None => clean,
    }
}

fn clean_json(redactor: &Redactor, value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(clean_all(redactor, &text)),
        Value::Array(items) => items.into_iter().map(|item| clean_json(redactor, item)).collect(),
        Value::Object(map) => {
            map.into_iter().map(|(key, item)| (clean_all(redactor, &key), clean_json(redactor, item))).collect()
        }
        other => other,
    }
}

/// The process with the scripts.
struct Child {
    stream: UnixStream,
    cage: Cage,
}

impl Child {
    async fn start(kit: &Kit, cancel: &CancellationToken) -> Result<Child, NoScripts> {
        let inside = Inside {
            software: Software::Libraries,
            argv: argv([PROGRAM, super::child::WORD]),
            env: Vec::new(),
            sockets: Vec::new(),
            shown: Vec::new(),
            tmp: 1 << 16,
            limit: LIFE,
        };
        let (cage, stream) = Cage::open(&kit.bubblewrap, PrivateDir::make()?, inside, cancel).await?;
        Ok(Child { stream, cage })
    }

    /// What is behind an error of the socket: mostly the child's end.
    async fn why(&mut self, fault: io::Error) -> NoScripts {
        match fault.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::Other => NoScripts::Protocol(brief(&fault.to_string())),
            _ => match timeout(GRACE, self.cage.ended()).await {
                Ok(fault) => fault.into(),
                Err(_) => NoScripts::Protocol(brief(&fault.to_string())),
            },
        }
    }
}

/// Hands the scripts over, and hears what they register.
async fn load(
    stream: &mut UnixStream,
    scripts: &[Script],
    limits: Limits,
    fennel: Option<String>,
) -> io::Result<(Vec<Vec<Registered>>, Vec<Problem>)> {
    let names = scripts.iter().map(|script| script.name.clone()).collect();
    tell(stream, &ToChild::Begin { limits, scripts: names, fennel }).await?;
    for (number, script) in scripts.iter().enumerate() {
        let own = script.name[script.directory().len()..].to_owned();
        let own = std::iter::once((own, script.text.clone()));
        for (path, text) in own.chain(script.modules.clone()) {
            tell(stream, &ToChild::File { script: number, path, text }).await?;
        }
    }
    tell(stream, &ToChild::Define).await?;
    let (mut registered, mut problems) = (Vec::new(), Vec::new());
    let mut lines = 0usize;
    let mut until = Instant::now() + limits.loading + GRACE;
    while let Ok(word) = timeout_at(until, receive(stream, FROM_CHILD)).await {
        match word? {
            FromChild::Script { jobs, problems: wrong } if registered.len() < scripts.len() => {
                registered.push(jobs);
                if problems.len() > MOST_PROBLEMS {
                    return Err(broken("more problems than anybody reads"));
                }
                problems.extend(wrong);
                until = Instant::now() + limits.loading + GRACE;
            }
            FromChild::Ready if registered.len() == scripts.len() => return Ok((registered, problems)),
            // What scripts print while they are loaded is dropped: there is no job it belongs to.
            FromChild::Log(_) if lines < 100_000 => lines += 1,
            // Tools are for jobs.
            FromChild::Ask(_) => tell(stream, &ToChild::Answer(Err("tools can be used by jobs only".into()))).await?,
            other => return Err(broken(&format!("{other:?} while scripts were loaded"))),
        }
    }
    // What never comes back to an instruction cannot say where it is. Those after it are judged when it is mended.
    let slow = scripts.get(registered.len()).or(scripts.last());
    problems.push(Problem {
        file: slow.map(|script| script.name.clone()).unwrap_or_default(),
        line: 1,
        message: format!("while it was loaded, {}", Reached(Limit::Time, limits.of_loading())),
        cure: "look for a pattern that takes for ever".into(),
    });
    registered.resize(scripts.len(), Vec::new());
    Ok((registered, problems))
}

async fn tell(stream: &mut UnixStream, word: &ToChild) -> io::Result<()> {
    send(stream, TO_CHILD, word).await
}

/// A few words of a stranger, for an error of ours.
fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.chars().take(300).collect::<String>())
}

/// Why a call did not come to its end.
enum Broken {
    Limit(Limit),
    Io(io::Error),
    Fault(NoScripts),
}

impl From<io::Error> for Broken {
    fn from(fault: io::Error) -> Broken {
        Broken::Io(fault)
    }
}

/// One job's run, seen from outside.
struct Call<'a> {
    app: &'a App,
    side: Side,
    limits: Limits,
    tools: &'a mut dyn Tools,
    redactor: &'a Redactor,
    script: &'a str,
    job: &'a str,
    events: Events<'a>,
    output: usize,
    calls: u32,
    /// Tools that failed by the machine's fault and were not seen to work since: whatever the script makes of it, the job
    /// cannot pass.
    infra: BTreeMap<&'static str, String>,
}

impl Call<'_> {
    async fn serve(&mut self, stream: &mut UnixStream, order: &ToChild) -> Result<Outcome, Broken> {
        send(stream, TO_CHILD, order).await?;
        loop {
            match receive(stream, FROM_CHILD).await? {
                FromChild::Log(text) => self.log(&text)?,
                FromChild::Ask(ask) => {
                    self.calls += 1;
                    if self.calls > self.limits.calls {
                        return Err(Broken::Limit(Limit::Calls));
                    }
                    let answer = self.answer(*ask).await;
                    send(stream, TO_CHILD, &ToChild::Answer(answer)).await?;
                }
                FromChild::Done(outcome) => return Ok(outcome),
                other => return Err(broken(&format!("{other:?} while a job ran")).into()),
            }
        }
    }

    /// Lines as they come, masked. The child counts them too; this is for one that does not.
    fn log(&mut self, text: &str) -> Result<(), Broken> {
        self.output = self.output.saturating_add(text.len() + 1);
        if self.output > self.limits.output {
            return Err(Broken::Limit(Limit::Output));
        }
        for line in clean_all(self.redactor, text).split('\n') {
            (self.events)(Event::Line { script: self.script, job: self.job, text: line });
        }
        Ok(())
    }

    async fn answer(&mut self, ask: Ask) -> Result<Value, String> {
        let (tool, result) = match ask {
            Ask::Http { method, url, headers, body } => {
                ("http", self.http(method, &url, headers, body.map(|body| body.0)).await)
            }
            Ask::Exec { service, command, stdin } => {
                ("exec", self.exec(service, command, stdin.map(|stdin| stdin.0)).await)
            }
            Ask::Browser { step } => ("browser", self.browser(step).await),
            Ask::Secret { name } => ("secret", self.secret(&name).await),
            Ask::Pause { milliseconds } => {
                sleep(Duration::from_millis(milliseconds).min(LONGEST_PAUSE)).await;
                return Ok(Value::Null);
            }
        };
        match result {
            Ok(answer) => {
                self.infra.remove(tool);
                Ok(answer)
            }
            Err(ToolError::Failed(text)) => Err(text),
            Err(ToolError::Infra(text)) => {
                self.infra.insert(tool, text.clone());
                Err(text)
            }
        }
    }

    async fn http(
        &mut self,
        method: String,
        url: &str,
        headers: Vec<(String, String)>,
        body: Option<Vec<u8>>,
    ) -> Result<Value, ToolError> {
        let url = self.app.resolve(url).map_err(ToolError::Failed)?;
        if method.is_empty() || method.len() > 20 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(ToolError::Failed(format!("`{}` is no method", brief(&method))));
        }
        for (name, value) in &headers {
            check_header(name, value).map_err(ToolError::Failed)?;
        }
        let answer = self.tools.http(HttpRequest { method, url: url.clone(), headers, body }).await?;
        if answer.body.0.len() > LARGEST_BODY {
            return Err(ToolError::Infra("an answer that was not cut".into()));
        }
        let mut value = told(&answer)?;
        value["url"] = json!(url.as_str());
        Ok(value)
    }

    async fn exec(
        &mut self,
        service: String,
        command: Vec<String>,
        stdin: Option<Vec<u8>>,
    ) -> Result<Value, ToolError> {
        let of_another = service.split_once('/').and_then(|(recipe, own)| Some((recipe.parse().ok()?, own.to_owned())));
        let (beside, service) = match of_another {
            Some(_) if self.side != Side::Appliance => {
                let text = "scripts of a recipe's repository run commands in the recipe's own services; move the script to the \
                            appliance's side of the recipe";
                return Err(ToolError::Failed(text.into()));
            }
            Some((recipe, service)) => (Some(recipe), service),
            None => (None, service),
        };
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if service.is_empty() || service.len() > 63 || !service.chars().all(name) {
            return Err(ToolError::Failed(format!("`{}` is no service of this recipe", brief(&service))));
        }
        if command.is_empty() || command.iter().any(|word| word.contains('\0')) {
            return Err(ToolError::Failed("a command has at least one word, and no zero bytes".into()));
        }
        let answer = self.tools.exec(ExecRequest { beside, service, command, stdin }).await?;
        if answer.out.0.len().max(answer.err.0.len()) > LARGEST_STREAM {
            return Err(ToolError::Infra("an output that was not cut".into()));
        }
        told(&answer)
    }

    async fn browser(&mut self, step: Step) -> Result<Value, ToolError> {
        let step = match step {
            Step::Open { url } => Step::Open { url: self.app.resolve(&url).map_err(ToolError::Failed)?.into() },
            Step::Screenshot { name } if !is_picture_name(&name) => {
                let text = "a screenshot's name is lower-case letters, digits and `-`, at most 40";
                return Err(ToolError::Failed(text.into()));
            }
            other => other,
        };
        match self.tools.browser(step).await? {
            Seen::Text(text) => Ok(json!({ "text": text })),
            Seen::Done | Seen::Picture { .. } => Ok(json!({})),
        }
    }

    async fn secret(&mut self, name: &str) -> Result<Value, ToolError> {
        if self.side != Side::Appliance {
            let text = "scripts of a recipe's repository have no secrets; move the script to the appliance's side of the recipe";
            return Err(ToolError::Failed(text.into()));
        }
        let secret = self.tools.secret(name).await?;
        // Whoever it comes from: what a script may say, it may print.
        self.redactor.register(name, &secret);
        Ok(json!(secret.expose()))
    }
}

fn is_picture_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// What would change where a request goes, or where it ends, is not a script's to say.
fn check_header(name: &str, value: &str) -> Result<(), String> {
    const OURS: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("`{}` cannot be sent as a header", brief(name)));
    }
    if OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        return Err(format!("the header `{name}` is set by cc-ci"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[test]
    fn headers_that_steer_the_connection_are_refused() {
        assert!(check_header("accept", "text/html").is_ok());
        for (name, value) in
            [("Host", "x"), ("transfer-encoding", "chunked"), ("a b", "x"), ("x", "a\r\nhost: b"), ("", "x")]
        {
            assert!(check_header(name, value).is_err(), "{name}");
        }
    }

    #[test]
    fn a_strangers_text_gives_no_orders() {
        let redactor = Redactor::new();
        redactor.register("x", &Secret::new("hunter2-hunter2"));
        assert_eq!(clean(&redactor, "a\u{1b}[31mb\nc"), "a[31mb\nc");
        assert_eq!(clean(&redactor, "it is hunter2-\u{0}hunter2"), "it is [secret x]");
        assert_eq!(clean(&redactor, &"ü".repeat(9000)).chars().count(), 4001);
    }
}
