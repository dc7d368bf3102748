//! `cc-ci script-child`: the process that holds the scripts of one side of one run. It knows how to load them and how to call a
//! job's function; everything else is asked of the host, over the one socket it has.
//!
//! It is started inside bubblewrap, and gives up what it does not need before it reads a word.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, MultiValue, Value};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::Value as Json;

use super::api::{CompileOnDemand, Outside, Place, Registry, compile_on_demand, furnish};
use super::limits::{Limits, MACHINES};
use super::line::Line;
use super::source::is_fennel;
use super::tools::Ask;
use super::value::{to_json, to_lua};
use super::vm::{Failure, Files, Machine};
use super::wire::{FROM_CHILD, FromChild, Outcome, Problem, Registered, TO_CHILD, ToChild};
use crate::sandbox::bubblewrap::DOOR;
use crate::sandbox::frame::{receive_now, send_now};

/// The word by which `main` knows it.
pub const WORD: &str = "script-child";
/// The largest output of one job, as JSON.
const LARGEST_OUTPUT: usize = 64 << 10;
/// Of an error, in what is said of a script that cannot be loaded.
const MOST_LINES: usize = 10;

/// Runs until the host hangs up.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let door = args.first().map_or_else(|| DOOR.into(), OsString::clone);
    let served = give_up_the_rest().and_then(|()| UnixStream::connect(door)).and_then(serve);
    match served {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            eprintln!("script-child: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// No new process, no file of any size, no core, few descriptors.
fn give_up_the_rest() -> io::Result<()> {
    let limits = [(Resource::Nproc, 0), (Resource::Fsize, 0), (Resource::Core, 0), (Resource::Nofile, 16)];
    for (resource, most) in limits {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

/// The socket, for whoever is inside a call.
struct Host(RefCell<UnixStream>);

impl Host {
    fn say(&self, word: &FromChild) -> io::Result<()> {
        send_now(&mut *self.0.borrow_mut(), FROM_CHILD, word)
    }

    /// What a script registered; that it is more than one frame takes is the script's fault, and said so.
    fn registered(&self, name: &str, jobs: Vec<Registered>, problems: Vec<Problem>) -> io::Result<()> {
        match self.say(&FromChild::Script { jobs, problems }) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let message =
                    format!("its jobs, with their names and what they need, are more than {} kB", FROM_CHILD >> 10);
                let cure = "register fewer jobs, with shorter names".to_owned();
                let problems = vec![Problem { file: name.to_owned(), line: 1, message, cure }];
                self.say(&FromChild::Script { jobs: Vec::new(), problems })
            }
            said => said,
        }
    }

    fn hear(&self) -> io::Result<ToChild> {
        receive_now(&mut *self.0.borrow_mut(), TO_CHILD)
    }
}

impl Outside for Host {
    fn log(&self, text: &str) -> io::Result<()> {
        self.say(&FromChild::Log(text.to_owned()))
    }

    fn ask(&self, ask: Ask) -> io::Result<Result<Json, String>> {
        match self.say(&FromChild::Ask(Box::new(ask))) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Err(format!("the request is larger than {} MB", FROM_CHILD >> 20)));
            }
            said => said?,
        }
        match self.hear()? {
            ToChild::Answer(answer) => Ok(answer),
            other => Err(io::Error::other(format!("{other:?} is no answer"))),
        }
    }
}

/// One script in its machine.
struct Loaded {
    machine: Machine,
    registry: Rc<RefCell<Registry>>,
    tools: Function,
}

fn serve(stream: UnixStream) -> io::Result<()> {
    let host = Rc::new(Host(RefCell::new(stream)));
    let ToChild::Begin { limits, scripts, fennel } = host.hear()? else {
        return Err(io::Error::other("there was no beginning"));
    };
    let mut files: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); scripts.len()];
    let hosts = Rc::new(RefCell::new(Vec::new()));
    let mut loaded: Vec<Option<Loaded>> = Vec::new();
    loop {
        match host.hear()? {
            ToChild::File { script, path, text } => {
                files.get_mut(script).ok_or_else(no_such_script)?.insert(path, text);
            }
            ToChild::Define => {
                let compile = compile_on_demand(fennel.clone(), known_globals(limits), limits);
                for (script, name) in scripts.iter().enumerate() {
                    let place = place_of(name, std::mem::take(&mut files[script]));
                    let outside: Rc<dyn Outside> = host.clone();
                    let (machine, jobs, problems) = define(&place, limits, &compile, &outside, &hosts);
                    loaded.push(machine);
                    host.registered(name, jobs, problems)?;
                }
            }
            ToChild::Run { script, job, app, inputs } => {
                *hosts.borrow_mut() = reachable(&app);
                let used: usize = loaded.iter().flatten().map(|one| one.machine.lua.used_memory()).sum();
                let one = loaded.get(script).and_then(Option::as_ref).ok_or_else(no_such_script)?;
                let others = used - one.machine.lua.used_memory();
                let room = limits.memory.min((limits.memory * MACHINES).saturating_sub(others)).max(1 << 20);
                let _ = one.machine.lua.set_memory_limit(room);
                let limits = Limits { memory: room, ..limits };
                host.say(&FromChild::Done(run(one, job, &app, &inputs, limits)))?;
            }
            ToChild::Begin { .. } | ToChild::Answer(_) => return Err(io::Error::other("that was not asked for")),
        }
    }
}

/// Names of the app and of what it needs, to which a redirect may lead.
fn reachable(app: &Json) -> Vec<String> {
    let needed = app["needs"].as_object().into_iter().flat_map(|needs| needs.values());
    let names = std::iter::once(app).chain(needed).filter_map(|one| one["hosts"].as_array()).flatten();
    names.filter_map(|host| host.as_str().map(str::to_owned)).collect()
}

fn no_such_script() -> io::Error {
    io::Error::other("there is no such script")
}

fn place_of(name: &str, files: BTreeMap<String, String>) -> Place {
    let directory = name.rfind('/').map_or("", |slash| &name[..=slash]);
    Place { name: name.to_owned(), directory: directory.to_owned(), files: Files::new(files) }
}

/// The names Fennel's compiler may take for globals: those of a furnished machine.
fn known_globals(limits: Limits) -> Vec<String> {
    let own = ["ci", "require", "print"].map(str::to_owned).to_vec();
    let Ok(machine) = Machine::new(limits) else { return own };
    let globals = machine.lua.globals();
    let names = globals.pairs::<String, Value>().filter_map(Result::ok).map(|(name, _)| name);
    names.chain(own).collect()
}

/// Loads a script: what it registered, and everything that is wrong with it.
fn define(
    place: &Place,
    limits: Limits,
    compile: &CompileOnDemand,
    outside: &Rc<dyn Outside>,
    hosts: &Rc<RefCell<Vec<String>>>,
) -> (Option<Loaded>, Vec<Registered>, Vec<Problem>) {
    let name = place.name[place.directory.len()..].to_owned();
    let text = place.files.get(&name).cloned().unwrap_or_default();
    let code = if is_fennel(&name) {
        // The last form's value is nobody's, and a call in its place would lose its line.
        match compile.borrow_mut()(&place.directory, &place.files, &name, &format!("{text}\nnil\n")) {
            Ok(code) => code,
            Err(error) => return (None, Vec::new(), vec![problem_of(place, &error)]),
        }
    } else {
        text
    };
    let registry = Rc::new(RefCell::new(Registry::default()));
    let made = Machine::new(limits).and_then(|machine| {
        let tools = furnish(&machine, place, &registry, compile, outside, hosts)?;
        machine.meter.begin(&machine.lua, limits.of_loading())?;
        Ok(Loaded { machine, registry: registry.clone(), tools })
    });
    let loaded = match made {
        Ok(loaded) => loaded,
        Err(error) => return (None, Vec::new(), vec![problem_of(place, &error.to_string())]),
    };
    let lua = &loaded.machine.lua;
    let run = lua.load(code).set_name(format!("@{}", place.name)).set_mode(ChunkMode::Text).exec();
    let mut registry = registry.borrow_mut();
    registry.close();
    let mut problems = std::mem::take(&mut registry.problems);
    match run.map_err(|error| loaded.machine.failure(&error)) {
        Ok(()) if registry.jobs.is_empty() && problems.is_empty() => problems.push(Problem {
            file: place.name.clone(),
            line: 1,
            message: "this script registers no job".into(),
            cure: "call `ci.job`, or move the file into a folder if it is a module of others".into(),
        }),
        Ok(()) => {}
        Err(Failure::Limit(stopped)) => problems.push(problem_of(place, &stopped.words("while it was loaded, "))),
        Err(Failure::Error(text)) => problems.push(problem_of(place, &text)),
    }
    let jobs = registry.jobs.clone();
    drop(registry);
    (Some(loaded), jobs, problems)
}

/// An error of Lua or Fennel, with the place taken out of its words.
fn problem_of(place: &Place, error: &str) -> Problem {
    let (Line { file, line }, message) =
        Line::cut_off(&place.directory, error).unwrap_or_else(|| (Line { file: place.name.clone(), line: 1 }, error));
    let of_fennel = ["Compile error: ", "Parse error: "].into_iter().find_map(|kind| message.strip_prefix(kind));
    let Some(message) = of_fennel else {
        return Problem { file, line, message: on_one_line(message), cure: String::new() };
    };
    // Fennel shows the source line below its message, and ways out.
    let mut lines = message.lines();
    let message = shortened(lines.next().unwrap_or_default());
    let cure = lines.find_map(|line| line.strip_prefix("* Try ")).and_then(|cures| cures.split(", or").next());
    let cure = cure.map(|cure| format!("try {}", cure.trim_end_matches('.'))).unwrap_or_default();
    Problem { file, line, message, cure }
}

/// A problem is one line among others; what an error says in several stands beside each other, as long as somebody reads.
fn on_one_line(message: &str) -> String {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut all = lines.by_ref().take(MOST_LINES).collect::<Vec<_>>().join(" / ");
    if lines.next().is_some() {
        all.push_str(" / …");
    }
    shortened(&all)
}

/// Calls a job's function with its tools.
fn run(loaded: &Loaded, job: usize, app: &Json, inputs: &BTreeMap<String, Json>, limits: Limits) -> Outcome {
    let machine = &loaded.machine;
    let called = (|| {
        let lua = &machine.lua;
        let function = loaded.registry.borrow().functions.get(job).cloned().flatten();
        let function = function.ok_or_else(|| mlua::Error::runtime("there is no such job"))?;
        let texts = lua.create_table()?;
        for (name, value) in inputs {
            texts.raw_set(name.as_str(), value.to_string())?;
        }
        machine.meter.begin(lua, limits)?;
        let tools: Value = loaded.tools.call((to_lua(lua, app)?, texts))?;
        function.call::<MultiValue>(tools)
    })();
    let returned: Vec<Value> = match called.map_err(|error| machine.failure(&error)) {
        Ok(values) => values.into_iter().collect(),
        Err(Failure::Limit(stopped)) => return Outcome::Failed(stopped.words("")),
        Err(Failure::Error(text)) => return Outcome::Failed(shortened(&text)),
    };
    let value = match returned.first() {
        None | Some(Value::Nil) => {
            let reason = returned.get(1).and_then(Value::as_string).map(|reason| shortened(&reason.to_string_lossy()));
            return Outcome::Skipped(reason);
        }
        Some(value) => output_of(value),
    };
    match to_json(&machine.lua, &value) {
        Ok(json) if json.to_string().len() > LARGEST_OUTPUT => {
            Outcome::Failed(format!("what it returns is larger than {} kB; return less", LARGEST_OUTPUT >> 10))
        }
        Ok(json) => Outcome::Returned(json),
        Err(reason) => Outcome::Failed(format!("what it returns cannot be handed to other jobs: {reason}")),
    }
}

/// The answer of a tool stands for more than itself; see the prelude.
fn output_of(value: &Value) -> Value {
    let output =
        value.as_table().and_then(mlua::Table::metatable).and_then(|metatable| metatable.raw_get("output").ok());
    output.filter(|output: &Value| !output.is_nil()).unwrap_or_else(|| value.clone())
}

fn shortened(text: &str) -> String {
    text.chars().take(4000).collect()
}
