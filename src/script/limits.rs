//! What a script may use up, and the words it hears when it does.
//!
//! A script could catch the error of a limit and go on. So a limit, once reached, stays reached: from then on the machine
//! raises the same error at every instruction, outside of whatever caught it too. What never comes back to an instruction (a
//! pattern that takes for ever) the host ends by ending the child.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::{HookTriggers, Lua, VmState};
use serde::{Deserialize, Serialize};

/// Between two looks at the meter.
const STEP: u32 = 10_000;

/// The limits of one job, and of loading one script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes a script's machine may hold.
    pub memory: usize,
    /// Instructions of the machine.
    pub instructions: u64,
    /// Time, waiting for tools included.
    pub time: Duration,
    /// Bytes of log lines.
    pub output: usize,
    /// Calls of tools.
    pub calls: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory: 64 << 20,
            instructions: 200_000_000,
            time: Duration::from_secs(300),
            output: 256 << 10,
            calls: 10_000,
        }
    }
}

/// All machines of one child together may hold so many times [`Limits::memory`].
pub(super) const MACHINES: usize = 8;
/// Loading scripts calls no tools and waits for nothing.
pub(super) const LOADING: Duration = Duration::from_secs(20);

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

/// Counts what one machine uses.
#[derive(Debug)]
pub(super) struct Meter {
    limits: Cell<Limits>,
    instructions: Cell<u64>,
    until: Cell<Instant>,
    output: Cell<usize>,
    calls: Cell<u32>,
    reached: Cell<Option<Limit>>,
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
            reached: Cell::new(None),
        });
        meter.begin(lua, limits.time)?;
        Ok(meter)
    }

    /// Begins to count anew, with so much time.
    pub(super) fn begin(self: &Rc<Meter>, lua: &Lua, time: Duration) -> mlua::Result<()> {
        self.instructions.set(0);
        self.limits.set(Limits { time, ..self.limits.get() });
        self.until.set(Instant::now() + time);
        self.output.set(0);
        self.calls.set(0);
        self.reached.set(None);
        let meter = self.clone();
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(STEP), move |lua, _| {
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

    /// The limit that was reached, if one was.
    pub(super) fn reached(&self) -> Option<Reached> {
        self.reached.get().map(|limit| Reached(limit, self.limits.get()))
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
    pub(super) fn out_of_memory(&self) -> Reached {
        self.reached.set(Some(Limit::Memory));
        Reached(Limit::Memory, self.limits.get())
    }

    /// From here on there is nothing but this error.
    fn reach(&self, lua: &Lua, limit: Limit) -> mlua::Error {
        self.reached.set(Some(limit));
        let text = Reached(limit, self.limits.get()).to_string();
        let error = mlua::Error::RuntimeError(text.clone());
        let hook = move |_: &Lua, _: &mlua::debug::Debug<'_>| Err(mlua::Error::RuntimeError(text.clone()));
        match lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), hook) {
            Ok(()) => error,
            Err(other) => other,
        }
    }
}
