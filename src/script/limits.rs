//! What a script may use up, and the words it hears when it does.
//!
//! A script could catch the error of a limit and go on. So a limit, once reached, stays reached: but for its last words, the
//! machine raises the same error at every instruction from then on, outside of whatever caught it too. What never comes back
//! to an instruction (a pattern that takes for ever) the host ends by ending the child.
//!
//! Lua's own error about memory has no place in it, and comes when nothing is left of the calls that led there. So the meter
//! notes each line that a script comes to, as long as that costs next to nothing; after that, at each look.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::debug::DebugEvent;
use mlua::{HookTriggers, Lua, VmState};
use serde::{Deserialize, Serialize};

use super::line::Line;

/// Instructions between two looks at the meter.
const STEP: u32 = 10_000;
/// So many lines are noted one by one: a hundredth of a second of them, and more than most jobs have.
const LINES: u32 = 50_000;
/// Instructions for whoever catches a limit's error to say where it was, as Fennel's compiler does of a macro.
const LAST_WORDS: u32 = 100_000;

/// The limits of one job, and of loading one script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes a script's machine may hold.
    pub memory: usize,
    /// Instructions of the machine.
    pub instructions: u64,
    /// Time, waiting for tools included.
    pub time: Duration,
    /// The same for loading a script, which waits for nothing.
    pub loading: Duration,
    /// Bytes of log lines.
    pub output: usize,
    /// Calls of tools.
    pub calls: u32,
}

impl Limits {
    /// Those of loading a script, or of compiling it.
    pub(super) fn of_loading(self) -> Limits {
        Limits { time: self.loading, ..self }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 64 << 20,
            instructions: 200_000_000,
            time: Duration::from_secs(300),
            loading: Duration::from_secs(20),
            output: 256 << 10,
            calls: 10_000,
        }
    }
}

/// All machines of one child together may hold so many times [`Limits::memory`].
pub(super) const MACHINES: usize = 8;

/// Which one it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Memory,
    Instructions,
    Time,
    Output,
    Calls,
}

/// A limit with its size, as the script's author reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached(pub(super) Limit, pub(super) Limits);

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reached(limit, limits) = self;
        match limit {
            Limit::Memory => write!(f, "it ran into the memory limit ({} MB for a script)", limits.memory >> 20),
            Limit::Instructions => {
                write!(f, "it ran into the instruction limit ({} million)", limits.instructions / 1_000_000)
            }
            Limit::Time => write!(f, "it ran into the time limit ({} s)", limits.time.as_secs_f32()),
            Limit::Output => {
                write!(f, "it ran into the output limit ({} kB of log lines)", limits.output >> 10)
            }
            Limit::Calls => write!(f, "it ran into the limit of tool calls ({})", limits.calls),
        }
    }
}

/// A limit that was reached, and where, if the script was anywhere.
#[derive(Clone, Debug)]
pub(super) struct Stopped {
    pub(super) reached: Reached,
    pub(super) at: Option<Line>,
}

impl Stopped {
    /// In Lua's own form, with the place first.
    pub(super) fn words(&self, before: &str) -> String {
        match &self.at {
            Some(Line { file, line }) => format!("{file}:{line}: {before}{}", self.reached),
            None => format!("{before}{}", self.reached),
        }
    }
}

/// Counts what one machine uses.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Cell<Limits>,
    instructions: Cell<u64>,
    until: Cell<Instant>,
    output: Cell<usize>,
    calls: Cell<u32>,
    /// So many are noted yet.
    lines: Cell<u32>,
    /// The last line that was noted.
    at: RefCell<Option<Line>>,
    reached: RefCell<Option<Stopped>>,
}

impl Meter {
    /// A meter that counts what `lua` does from now on.
    pub(super) fn attach(lua: &Lua, limits: Limits) -> mlua::Result<Rc<Meter>> {
        let meter = Rc::new(Meter {
            limits: Cell::new(limits),
            instructions: Cell::new(0),
            until: Cell::new(Instant::now() + limits.time),
            output: Cell::new(0),
            calls: Cell::new(0),
            lines: Cell::new(0),
            at: RefCell::new(None),
            reached: RefCell::new(None),
        });
        meter.begin(lua, limits)?;
        Ok(meter)
    }

    /// Begins to count anew, with these limits.
    pub(super) fn begin(self: &Rc<Meter>, lua: &Lua, limits: Limits) -> mlua::Result<()> {
        self.limits.set(limits);
        self.instructions.set(0);
        self.until.set(Instant::now() + limits.time);
        self.output.set(0);
        self.calls.set(0);
        self.lines.set(LINES);
        *self.at.borrow_mut() = None;
        *self.reached.borrow_mut() = None;
        self.watch(lua, HookTriggers::new().every_nth_instruction(STEP).every_line())
    }

    /// The same for a machine in which there are no lines of scripts: Fennel's compiler has many of its own.
    pub(super) fn begin_without_lines(self: &Rc<Meter>, lua: &Lua, limits: Limits) -> mlua::Result<()> {
        self.begin(lua, limits)?;
        self.watch(lua, HookTriggers::new().every_nth_instruction(STEP))
    }

    fn watch(self: &Rc<Meter>, lua: &Lua, triggers: HookTriggers) -> mlua::Result<()> {
        let meter = self.clone();
        lua.set_global_hook(triggers, move |lua, debug| {
            if debug.event() == DebugEvent::Line {
                meter.pass(Line::of(debug));
                match meter.lines.get().checked_sub(1) {
                    Some(left) => meter.lines.set(left),
                    None => meter.watch(lua, HookTriggers::new().every_nth_instruction(STEP))?,
                }
                return Ok(VmState::Continue);
            }
            meter.pass(Line::now(lua));
            let used = meter.instructions.get() + u64::from(STEP);
            meter.instructions.set(used);
            if used > meter.limits.get().instructions {
                return Err(meter.reach(lua, Limit::Instructions));
            }
            if Instant::now() > meter.until.get() {
                return Err(meter.reach(lua, Limit::Time));
            }
            Ok(VmState::Continue)
        })
    }

    fn pass(&self, line: Option<Line>) {
        if line.is_some() {
            *self.at.borrow_mut() = line;
        }
    }

    /// The limit that was reached, if one was.
    pub(super) fn reached(&self) -> Option<Stopped> {
        self.reached.borrow().clone()
    }

    /// Counts a log line.
    pub(super) fn output(&self, lua: &Lua, bytes: usize) -> mlua::Result<()> {
        let used = self.output.get().saturating_add(bytes + 1);
        self.output.set(used);
        if used > self.limits.get().output { Err(self.reach(lua, Limit::Output)) } else { Ok(()) }
    }

    /// Counts a call of a tool.
    pub(super) fn call(&self, lua: &Lua) -> mlua::Result<()> {
        let used = self.calls.get() + 1;
        self.calls.set(used);
        if used > self.limits.get().calls { Err(self.reach(lua, Limit::Calls)) } else { Ok(()) }
    }

    /// Notes that memory gave out: Lua's own error can be caught, and then nothing was reached.
    pub(super) fn out_of_memory(&self) -> Stopped {
        self.note(Limit::Memory)
    }

    fn note(&self, limit: Limit) -> Stopped {
        let stopped = Stopped { reached: Reached(limit, self.limits.get()), at: self.at.borrow().clone() };
        *self.reached.borrow_mut() = Some(stopped.clone());
        stopped
    }

    /// From here on there is nothing but this error.
    fn reach(&self, lua: &Lua, limit: Limit) -> mlua::Error {
        if let Some(stopped) = self.reached() {
            return mlua::Error::RuntimeError(stopped.reached.to_string());
        }
        self.pass(Line::now(lua));
        let text = self.note(limit).reached.to_string();
        let error = mlua::Error::RuntimeError(text.clone());
        match raise(lua, LAST_WORDS, text) {
            Ok(()) => error,
            Err(other) => other,
        }
    }
}

/// Raises this error after so many instructions, and then at each.
fn raise(lua: &Lua, after: u32, text: String) -> mlua::Result<()> {
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(after), move |lua, _| {
        raise(lua, 1, text.clone())?;
        Err(mlua::Error::RuntimeError(text.clone()))
    })
}
