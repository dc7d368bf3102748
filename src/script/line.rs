//! Where in a script something is: as Lua's stack has it, and as the errors of Lua and Fennel begin with it.

use mlua::Lua;
use mlua::debug::Debug;

/// Calls of the prelude between a tool and the script are fewer.
const DEPTH: usize = 32;

/// A line of a script, or of a module of its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// As errors show it: `checks/lib/words.lua`.
    pub(super) file: String,
    pub(super) line: usize,
}

impl Line {
    /// Nothing for what is not of a script: the prelude, Fennel's compiler, Rust.
    pub(super) fn of(debug: &Debug<'_>) -> Option<Line> {
        let line = debug.current_line()?;
        Some(Line { file: debug.source().source.as_deref()?.strip_prefix('@')?.to_owned(), line })
    }

    /// Where the script is that runs now. Lua's tail calls leave nothing.
    pub(super) fn now(lua: &Lua) -> Option<Line> {
        (0..DEPTH).map_while(|level| lua.inspect_stack(level, Line::of)).flatten().next()
    }

    /// Takes `file:line:` (and Fennel's column) off the front of an error, where the file is one of the script's.
    pub(super) fn cut_off<'a>(directory: &str, error: &'a str) -> Option<(Line, &'a str)> {
        let (file, rest) = error.split_once(':')?;
        if !file.starts_with(directory) || !matches!(file.rsplit('.').next(), Some("lua" | "fnl")) {
            return None;
        }
        let (line, rest) = rest.split_once(':')?;
        let is_column = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'?');
        let rest = match rest.split_once(':') {
            Some((column, after)) if is_column(column) => after,
            _ => rest,
        };
        Some((Line { file: file.to_owned(), line: line.parse().ok()? }, rest.trim_start()))
    }
}
