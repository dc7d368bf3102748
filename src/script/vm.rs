//! A machine for one script, with everything taken out that reaches beyond it; and the one that holds Fennel's compiler.
//!
//! A script's machine is fresh, so that no script finds what another left. Fennel's compiler takes a tenth of a second to load
//! and runs the macros of whoever it compiles for, so it has one machine of its own, which only ever gives out text.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Error, Function, Lua, LuaOptions, StdLib, Table, Value};

use super::limits::{Limits, Meter, Stopped};
use super::line::Line;

/// Taken out of every machine. `require`, `load`, `print` and `setmetatable` are put back in other forms.
const TAKEN: [&str; 6] = ["dofile", "loadfile", "collectgarbage", "warn", "load", "print"];
const KEPT_OF_OS: [&str; 4] = ["time", "clock", "date", "difftime"];
/// Lua calls the handler of `xpcall` from within what failed, and where a limit failed, no limit is looked at.
const XPCALL: &str = "
local pcall, pack, unpack = pcall, table.pack, table.unpack
function xpcall(f, handler, ...)
  local result = pack(pcall(f, ...))
  if result[1] then return unpack(result, 1, result.n) end
  return false, handler(result[2])
end";
/// The compiler itself takes room and steps before it has compiled anything.
const COMPILER_MEMORY: usize = 128 << 20;

/// A machine under limits.
pub(super) struct Machine {
    pub(super) lua: Lua,
    pub(super) limits: Limits,
    pub(super) meter: Rc<Meter>,
}

impl Machine {
    pub(super) fn new(limits: Limits) -> mlua::Result<Machine> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::MATH | StdLib::OS | StdLib::COROUTINE;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        let globals = lua.globals();
        for name in TAKEN {
            globals.raw_remove(name)?;
        }
        globals.get::<Table>("string")?.raw_remove("dump")?;
        let (whole, kept) = (globals.get::<Table>("os")?, lua.create_table()?);
        for name in KEPT_OF_OS {
            kept.raw_set(name, whole.get::<Value>(name)?)?;
        }
        globals.raw_set("os", kept)?;
        globals.raw_set("load", lua.create_function(load_text)?)?;
        lua.load(XPCALL).set_name("=cc-ci").exec()?;
        lua.set_memory_limit(limits.memory)?;
        let meter = Meter::attach(&lua, limits)?;
        Ok(Machine { lua, limits, meter })
    }

    /// What an error of this machine comes to: a limit if one was reached, whatever was made of it on the way.
    pub(super) fn failure(&self, error: &Error) -> Failure {
        if let Some(stopped) = self.meter.reached() {
            return Failure::Limit(stopped);
        }
        let root = root_of(error);
        if matches!(root, Error::MemoryError(_))
            || text_of(root).lines().next().is_some_and(|line| line.ends_with("not enough memory"))
        {
            return Failure::Limit(self.meter.out_of_memory());
        }
        Failure::Error(text_of(root))
    }
}

/// How a call in a machine failed.
pub(super) enum Failure {
    Limit(Stopped),
    Error(String),
}

fn root_of(error: &Error) -> &Error {
    match error {
        Error::CallbackError { cause, .. } | Error::BadArgument { cause, .. } | Error::WithContext { cause, .. } => {
            root_of(cause)
        }
        other => other,
    }
}

/// The words of an error, without the trace that mlua puts below them.
fn text_of(error: &Error) -> String {
    let text = match error {
        Error::RuntimeError(text) | Error::MemoryError(text) => text.clone(),
        Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let text = text.split("\nstack traceback:").next().unwrap_or_default().trim_end();
    // What is raised need not be text.
    match text.split_once(": 0x") {
        Some((kind @ ("table" | "function" | "thread" | "userdata"), _)) => {
            format!("a {kind} was raised as an error; raise text")
        }
        _ if matches!(text, "nil" | "") => "an error was raised without a word about it; raise text".into(),
        _ => text.into(),
    }
}

/// `load` for text, as Lua has it: nothing and a message when the text is wrong.
fn load_text(
    lua: &Lua,
    (chunk, name, _mode, env): (Value, Option<String>, Value, Option<Table>),
) -> mlua::Result<(Value, Value)> {
    let mut text = Vec::new();
    match chunk {
        Value::String(all) => text.extend_from_slice(&all.as_bytes()),
        Value::Function(next) => loop {
            match next.call::<Option<mlua::LuaString>>(())? {
                Some(part) if !part.as_bytes().is_empty() => text.extend_from_slice(&part.as_bytes()),
                _ => break,
            }
            if text.len() > 1 << 20 {
                return Err(Error::runtime("load: the text is longer than 1 MB"));
            }
        },
        other => return Err(Error::runtime(format!("load: text is loaded, not a {}", other.type_name()))),
    }
    let name = name.unwrap_or_else(|| "=(load)".into());
    let chunk = lua.load(text).set_name(name).set_mode(ChunkMode::Text);
    let chunk = if let Some(env) = env { chunk.set_environment(env) } else { chunk };
    match chunk.into_function() {
        Ok(function) => Ok((Value::Function(function), Value::Nil)),
        Err(error) => Ok((Value::Nil, Value::String(lua.create_string(text_of(&error))?))),
    }
}

/// The files of one script by their path below its directory.
pub(super) type Files = Rc<BTreeMap<String, String>>;

/// A module's file: `a.b` is `a/b.lua` or `a/b.fnl`.
pub(super) fn module_path(files: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let word =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !name.split('.').all(word) {
        return None;
    }
    let stem = name.replace('.', "/");
    ["lua", "fnl"].map(|extension| format!("{stem}.{extension}")).into_iter().find(|path| files.contains_key(path))
}

/// Fennel's compiler in a machine of its own.
pub(super) struct Compiler {
    machine: Machine,
    compile: Function,
    files: Rc<RefCell<(String, Files)>>,
}

/// Puts the compiler to work without a file system: macros are found among the script's own files.
const BOOTSTRAP: &str = r#"
local fennel, find, globals = ...
local searchers, seen = fennel["macro-searchers"], {}
for i = #searchers, 1, -1 do searchers[i] = nil end
searchers[1] = function(name)
  local path, text = find(name)
  if not path then error("there is no module `" .. name .. "` in the script's folders", 0) end
  seen[#seen + 1] = name
  return function(...)
    return fennel.eval(text, {
      env = "_COMPILER", filename = path, source = text, correlate = true, allowedGlobals = false, ["error-pinpoint"] = false,
      ["module-name"] = name, ["compiler-env"] = "strict",
    }, ...)
  end, path
end
return function(text, path)
  for i = #seen, 1, -1 do fennel["macro-loaded"][seen[i]], seen[i] = nil, nil end
  return (fennel.compileString(text, {
    filename = path, source = text, correlate = true, allowedGlobals = globals, ["error-pinpoint"] = false, ["compiler-env"] = "strict",
  }))
end
"#;

impl Compiler {
    /// Loads the compiler from its source. `globals` are the names that a script's machine knows.
    pub(super) fn new(source: &str, globals: Vec<String>, limits: Limits) -> Result<Compiler, String> {
        let instructions = limits.instructions.max(100_000_000);
        let limits = Limits { memory: COMPILER_MEMORY, instructions, ..limits.of_loading() };
        let machine = Machine::new(limits).map_err(|error| error.to_string())?;
        let files = Rc::new(RefCell::new((String::new(), Files::default())));
        match Compiler::load(&machine, source, globals, files.clone()) {
            Ok(compile) => Ok(Compiler { machine, compile, files }),
            Err(error) => Err(match machine.failure(&error) {
                Failure::Limit(stopped) => stopped.reached.to_string(),
                Failure::Error(text) => text,
            }),
        }
    }

    fn load(
        machine: &Machine,
        source: &str,
        globals: Vec<String>,
        files: Rc<RefCell<(String, Files)>>,
    ) -> mlua::Result<Function> {
        let lua = &machine.lua;
        machine.meter.begin_without_lines(lua, machine.limits)?;
        // What the compiler expects of its surroundings, and that there is nothing behind it.
        lua.load(
            "package = {path = '', loaded = {}, preload = {}, searchers = {}, config = '/\\n;\\n?\\n!\\n-\\n'}\n\
             debug = {getinfo = function() end, traceback = function(text) return text end}\n\
             io = {open = function(path) return nil, path .. ': there are no files here' end}\n\
             os.getenv = function() end\n\
             function require(name)\n\
               local loaded = package.loaded[name]\n\
               if loaded == nil then\n\
                 loaded = assert(package.preload[name], name .. ': there is no such module')(name)\n\
                 package.loaded[name] = loaded == nil and true or loaded\n\
               end\n\
               return package.loaded[name]\n\
             end",
        )
        .exec()?;
        let fennel: Table = lua.load(source).set_name("=fennel").call("fennel")?;
        lua.globals().get::<Table>("package")?.get::<Table>("loaded")?.raw_set("fennel", &fennel)?;
        let find = lua.create_function(move |_, name: String| {
            let (directory, files) = &*files.borrow();
            Ok(match module_path(files, &name) {
                Some(path) => (Some(format!("{directory}{path}")), files.get(&path).cloned()),
                None => (None, None),
            })
        })?;
        lua.load(BOOTSTRAP).set_name("=cc-ci").call((fennel, find, globals))
    }

    /// Compiles one file of a script. The lines of the result are the lines of the text.
    pub(super) fn compile(&mut self, directory: &str, files: &Files, path: &str, text: &str) -> Result<String, String> {
        *self.files.borrow_mut() = (directory.to_owned(), files.clone());
        let lua = &self.machine.lua;
        let shown = format!("{directory}{path}");
        let compiled = self.machine.meter.begin_without_lines(lua, self.machine.limits);
        compiled.and_then(|()| self.compile.call::<String>((text, shown.as_str()))).map_err(|error| {
            match self.machine.failure(&error) {
                // The compiler's own words begin with the place of the macro's call.
                Failure::Limit(Stopped { reached, .. }) => {
                    let at = Line::cut_off(directory, &text_of(root_of(&error))).map(|(line, _)| line);
                    let at = at.unwrap_or(Line { file: shown, line: 1 });
                    Stopped { reached, at: Some(at) }.words("while its macros ran, ")
                }
                Failure::Error(text) => text,
            }
        })
    }

    /// A machine that ran into a limit may hold anything.
    pub(super) fn is_spent(&self) -> bool {
        self.machine.meter.reached().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine::new(Limits { instructions: 2_000_000, memory: 8 << 20, ..Limits::default() }).unwrap()
    }

    fn said(code: &str) -> String {
        let machine = machine();
        match machine.lua.load(code).set_name("@t.lua").exec() {
            Ok(()) => "nothing".into(),
            Err(error) => match machine.failure(&error) {
                Failure::Limit(stopped) => stopped.words(""),
                Failure::Error(text) => text,
            },
        }
    }

    #[test]
    fn nothing_in_a_machine_reaches_beyond_it() {
        for name in [
            "io",
            "debug",
            "package",
            "require",
            "dofile",
            "loadfile",
            "collectgarbage",
            "os.execute",
            "os.getenv",
            "os.exit",
            "os.remove",
            "os.rename",
            "os.tmpname",
            "os.setlocale",
            "string.dump",
            "warn",
            "print",
        ] {
            let machine = machine();
            let found: Value = machine.lua.load(format!("return {name}")).eval().unwrap();
            assert!(found.is_nil(), "{name} is there");
        }
        let seen: bool =
            machine().lua.load("return os.time() > 0 and os.date('%Y') ~= nil and os.clock() >= 0").eval().unwrap();
        assert!(seen);
    }

    #[test]
    fn text_can_be_loaded_and_bytecode_cannot() {
        assert_eq!(said("assert(load('return 1')() == 1)"), "nothing");
        assert_eq!(said("local f, e = load('return +') assert(not f and e:find('unexpected symbol'))"), "nothing");
        assert_eq!(
            said("local n = 0 assert(load(function() n = n + 1 return ({'return ', '2'})[n] end)() == 2)"),
            "nothing"
        );
        assert_eq!(said("assert(load('return x', 'n', 't', {x = 3})() == 3)"), "nothing");
        // What `string.dump` would have given, by its first bytes.
        let bytecode = r"local f, e = load('\27Lua\x54\x00\x19\x93\r\n\x1a\n') assert(not f) error(e, 0)";
        assert!(said(bytecode).contains("binary chunk"), "{}", said(bytecode));
        assert!(said("load('\\27Lua', 'n', 'b')()").contains("nil"));
    }

    #[test]
    fn a_limit_names_itself_and_cannot_be_caught() {
        let instructions = "t.lua:1: it ran into the instruction limit (2 million)";
        assert_eq!(said("while true do end"), instructions);
        assert_eq!(said("while true do pcall(function() while true do end end) end"), instructions);
        assert_eq!(said("local function f() return pcall(f) end while true do f() end"), instructions);
        assert_eq!(said("while true do coroutine.wrap(function() while true do end end)() end"), instructions);
        assert_eq!(
            said("while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) end"),
            instructions
        );
        assert_eq!(said("xpcall(function() while true do end end, function() while true do end end)"), instructions);
        let memory = "t.lua:1: it ran into the memory limit (8 MB for a script)";
        assert_eq!(said("local s = ('x'):rep(1 << 30)"), memory);
        assert_eq!(said("local t = {} for i = 1, 1e9 do t[i] = 'x' .. i end"), memory);
    }
}
