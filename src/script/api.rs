//! What is below a script's tools inside the sandbox: the registry of its jobs, `require`, and the functions from which the
//! prelude makes tools.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mlua::{Error, Function, Lua, LuaString, MultiValue, Table, Value};
use reqwest::Url;
use serde_json::Value as Json;

use super::graph::{FEWER, MOST_JOBS};
use super::line::Line;
use super::tools::Ask;
use super::value::{as_list, to_json, to_lua};
use super::vm::{Compiler, Files, Machine, module_path};
use super::wire::{Problem, Registered};

/// One chunk: what comes later knows the names of what came before.
const PRELUDE: &str = concat!(
    include_str!("prelude/words.lua"),
    include_str!("prelude/http.lua"),
    include_str!("prelude/containers.lua"),
    include_str!("prelude/sql.lua"),
    include_str!("prelude/browser.lua"),
    include_str!("prelude/tools.lua"),
);
/// Of one script; more than anybody reads.
pub(super) const MOST_PROBLEMS: usize = 100;

/// The way out, and all there is of it.
pub(super) trait Outside {
    fn log(&self, text: &str) -> std::io::Result<()>;
    fn ask(&self, ask: Ask) -> std::io::Result<Result<Json, String>>;
}

/// What a script has registered so far.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) jobs: Vec<Registered>,
    /// As many as there are jobs; one that is wrong has none.
    pub(super) functions: Vec<Option<Function>>,
    pub(super) problems: Vec<Problem>,
    closed: bool,
    /// There were more jobs than there may be. What is over is not kept: a loop would fill the memory with it.
    full: bool,
}

impl Registry {
    fn problem(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }
}

/// Compiles, once there is something to compile.
pub(super) type CompileOnDemand = Rc<RefCell<dyn FnMut(&str, &Files, &str, &str) -> Result<String, String>>>;

/// A script's name, directory and files.
#[derive(Clone, Default)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) directory: String,
    pub(super) files: Files,
}

/// A compiler that is loaded when it is first needed, and again when it was spent.
pub(super) fn compile_on_demand(
    source: Option<String>,
    globals: Vec<String>,
    limits: super::Limits,
) -> CompileOnDemand {
    let mut compiler: Option<Compiler> = None;
    Rc::new(RefCell::new(move |directory: &str, files: &Files, path: &str, text: &str| {
        let Some(source) = &source else {
            return Err(format!("{directory}{path}:1: there is no Fennel compiler here"));
        };
        if compiler.as_ref().is_none_or(Compiler::is_spent) {
            let made = Compiler::new(source, globals.clone(), limits);
            compiler = Some(
                made.map_err(|error| format!("{directory}{path}:1: Fennel's compiler cannot be loaded: {error}"))?,
            );
        }
        match &mut compiler {
            Some(compiler) => compiler.compile(directory, files, path, text),
            None => Err("there is no compiler".into()),
        }
    }))
}

/// Furnishes a machine; gives back the function that makes the tools of a job.
pub(super) fn furnish(
    machine: &Machine,
    place: &Place,
    registry: &Rc<RefCell<Registry>>,
    compile: &CompileOnDemand,
    outside: &Rc<dyn Outside>,
    hosts: &Rc<RefCell<Vec<String>>>,
) -> mlua::Result<Function> {
    let lua = &machine.lua;
    let ci = lua.create_table()?;
    ci.raw_set("job", job_function(lua, place, registry)?)?;
    ci.raw_set("null", Value::NULL)?;
    let globals = lua.globals();
    globals.raw_set("ci", &ci)?;
    globals.raw_set("require", require_function(lua, ci, place, compile)?)?;
    let core = core(machine, outside, hosts)?;
    lua.load(PRELUDE).set_name("=cc-ci").call(core)
}

fn job_function(lua: &Lua, place: &Place, registry: &Rc<RefCell<Registry>>) -> mlua::Result<Function> {
    let (registry, script) = (registry.clone(), place.name.clone());
    lua.create_function(move |lua, arguments: MultiValue| {
        let mut registry = registry.borrow_mut();
        if registry.closed {
            return Err(Error::runtime("ci.job: jobs are registered when the script is loaded, not by a job"));
        }
        let arguments: Vec<Value> = arguments.into_iter().collect();
        let function = arguments.iter().find_map(Value::as_function).cloned();
        let defined = || function.as_ref()?.info().line_defined;
        let called = Line::now(lua);
        let Line { file, line } = called.unwrap_or_else(|| Line { file: script.clone(), line: defined().unwrap_or(1) });
        if registry.jobs.len() == MOST_JOBS {
            if !std::mem::replace(&mut registry.full, true) {
                let message = format!("there are more jobs than a script may have (at most {MOST_JOBS})");
                registry.problem(Problem { file, line, message, cure: FEWER.into() });
            }
            return Ok(());
        }
        let mut problem = |message: String, cure: &str| {
            registry.problem(Problem { file: file.clone(), line, message, cure: cure.into() });
        };
        let shape = "write `ci.job(name, {what it needs}, function)`";
        let name = match arguments.first() {
            Some(Value::String(name)) => name.to_string_lossy(),
            other => {
                problem(format!("a job's name is text, not {}", kind_of(other)), shape);
                return Ok(());
            }
        };
        let mut needs = Vec::new();
        match arguments.get(1) {
            Some(Value::Table(list)) => {
                for item in list.sequence_values::<Value>() {
                    match item? {
                        Value::String(need) => needs.push(need.to_string_lossy()),
                        other => {
                            let message = format!("job `{name}` needs {}", kind_of(Some(&other)));
                            problem(message, "inputs are named by text");
                        }
                    }
                }
            }
            other => {
                problem(format!("the inputs of job `{name}` are a list, not {}", kind_of(other)), shape);
                // That it then needs nothing is said once.
                needs.push("install".into());
            }
        }
        let function = match arguments.get(2) {
            Some(Value::Function(function)) => Some(function.clone()),
            other => {
                problem(format!("job `{name}` has {} where its function should be", kind_of(other)), shape);
                None
            }
        };
        registry.jobs.push(Registered { name, needs, file, line });
        registry.functions.push(function);
        Ok(())
    })
}

/// As a sentence has it: "a table", "nil".
fn kind_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Nil) => "nil".into(),
        Some(value) if value.is_null() => "`ci.null`".into(),
        Some(Value::Integer(_)) => "a number".into(),
        Some(other) => format!("a {}", other.type_name()),
    }
}

fn require_function(lua: &Lua, ci: Table, place: &Place, compile: &CompileOnDemand) -> mlua::Result<Function> {
    let loaded = lua.create_table()?;
    loaded.raw_set("cc-ci", ci)?;
    let (place, compile) = (place.clone(), compile.clone());
    lua.create_function(move |lua, name: String| {
        let known: Value = loaded.raw_get(name.as_str())?;
        if !known.is_nil() {
            return Ok(known);
        }
        let Some(path) = module_path(&place.files, &name) else {
            let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
            let directory = if place.directory.is_empty() { "its own directory" } else { place.directory.as_str() };
            let text =
                format!("require: there is no module `{shown}`; a script finds modules in folders of {directory} only");
            return Err(Error::runtime(text));
        };
        let text = place.files.get(&path).map(String::as_str).unwrap_or_default();
        let code = if super::source::is_fennel(&path) {
            let compiled = compile.borrow_mut()(&place.directory, &place.files, &path, text);
            compiled.map_err(Error::runtime)?
        } else {
            text.to_owned()
        };
        // A module that needs itself finds this.
        loaded.raw_set(name.as_str(), true)?;
        let chunk =
            lua.load(code).set_name(format!("@{}{path}", place.directory)).set_mode(mlua::chunk::ChunkMode::Text);
        let module: Value = chunk.call(name.as_str())?;
        if !module.is_nil() {
            loaded.raw_set(name.as_str(), &module)?;
        }
        loaded.raw_get(name.as_str())
    })
}

/// Either a value, or `false` and why there is none: the prelude raises it where the script called.
type Given = (bool, Value);

fn given(lua: &Lua, result: Result<Value, String>) -> mlua::Result<Given> {
    match result {
        Ok(value) => Ok((true, value)),
        Err(text) => Ok((false, Value::String(lua.create_string(text)?))),
    }
}

fn core(machine: &Machine, outside: &Rc<dyn Outside>, hosts: &Rc<RefCell<Vec<String>>>) -> mlua::Result<Table> {
    let lua = &machine.lua;
    let core = lua.create_table()?;
    core.raw_set("null", Value::NULL)?;
    let (meter, out) = (machine.meter.clone(), outside.clone());
    core.raw_set(
        "ask",
        lua.create_function(move |lua, request: Value| {
            meter.call(lua)?;
            let ask =
                to_json(lua, &request).and_then(|json| serde_json::from_value(json).map_err(|error| error.to_string()));
            match ask {
                Ok(ask) => match out.ask(ask).map_err(Error::external)? {
                    Ok(answer) => Ok((true, to_lua(lua, &answer)?)),
                    Err(text) => given(lua, Err(text)),
                },
                Err(text) => given(lua, Err(text)),
            }
        })?,
    )?;
    let (meter, out) = (machine.meter.clone(), outside.clone());
    core.raw_set(
        "log",
        lua.create_function(move |lua, text: LuaString| {
            let text = text.to_string_lossy();
            meter.output(lua, text.len())?;
            out.log(&text).map_err(Error::external)
        })?,
    )?;
    core.raw_set("list", lua.create_function(|lua, table: Table| as_list(lua, &table).map(|()| table))?)?;
    core.raw_set("base64", lua.create_function(|_, bytes: LuaString| Ok(STANDARD.encode(bytes.as_bytes())))?)?;
    core.raw_set(
        "unbase64",
        lua.create_function(|lua, text: String| lua.create_string(STANDARD.decode(text).map_err(Error::external)?))?,
    )?;
    core.raw_set(
        "encode",
        lua.create_function(|lua, value: Value| {
            let text = to_json(lua, &value).map(|json| json.to_string());
            given(
                lua,
                text.and_then(|text| lua.create_string(text).map(Value::String).map_err(|error| error.to_string())),
            )
        })?,
    )?;
    core.raw_set(
        "decode",
        lua.create_function(|lua, text: LuaString| match serde_json::from_slice::<Json>(&text.as_bytes()) {
            Ok(json) => Ok((true, to_lua(lua, &json)?)),
            Err(error) => given(lua, Err(error.to_string())),
        })?,
    )?;
    let hosts = hosts.clone();
    core.raw_set(
        "follow",
        lua.create_function(move |_, (from, to): (String, String)| {
            let next = Url::parse(&from).and_then(|from| from.join(&to)).ok();
            let ours = |url: &Url| url.host_str().is_some_and(|host| hosts.borrow().iter().any(|one| one == host));
            Ok(next.filter(ours).map(String::from))
        })?,
    )?;
    let began = Instant::now();
    core.raw_set("now", lua.create_function(move |_, ()| Ok(began.elapsed().as_secs_f64()))?)?;
    Ok(core)
}
