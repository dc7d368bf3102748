//! Lua's values as JSON and back: how inputs, outputs and requests cross the sandbox's wall.

use mlua::{Lua, Table, Value as LuaValue};
use serde_json::{Map, Number, Value};

/// Deeper than this is a table that holds itself.
const DEEPEST: usize = 32;
/// The most values of one tree.
const MOST: usize = 20_000;
/// Named value: the metatable by which an empty list is told from an empty table.
const LIST: &str = "cc-ci list";

/// A Lua value as JSON, or why it is none.
pub(super) fn to_json(lua: &Lua, value: &LuaValue) -> Result<Value, String> {
    let list = list_metatable(lua).map_err(|error| error.to_string())?;
    let mut room = MOST;
    walk(value, &list, DEEPEST, &mut room)
}

fn walk(value: &LuaValue, list: &Table, deep: usize, room: &mut usize) -> Result<Value, String> {
    *room = room.checked_sub(1).ok_or_else(|| format!("there are more than {MOST} values in it"))?;
    match value {
        LuaValue::Nil => Ok(Value::Null),
        value if value.is_null() => Ok(Value::Null),
        LuaValue::Boolean(truth) => Ok(Value::Bool(*truth)),
        LuaValue::Integer(number) => Ok(Value::Number((*number).into())),
        LuaValue::Number(number) => {
            Number::from_f64(*number).map(Value::Number).ok_or_else(|| format!("{number} cannot be written as JSON"))
        }
        LuaValue::String(text) => match text.to_str() {
            Ok(text) => Ok(Value::String(text.to_owned())),
            Err(_) => Err("there is text in it that is not UTF-8".into()),
        },
        LuaValue::Table(table) => {
            let deep = deep.checked_sub(1).ok_or_else(|| format!("it is nested more than {DEEPEST} deep"))?;
            if table.raw_len() > 0 || table.metatable().is_some_and(|metatable| metatable == *list) {
                items_of(table, list, deep, room)
            } else {
                as_map(table, list, deep, room)
            }
        }
        other => Err(format!("there is a {} in it", other.type_name())),
    }
}

fn items_of(table: &Table, list: &Table, deep: usize, room: &mut usize) -> Result<Value, String> {
    let length = table.raw_len();
    let mut items = Vec::new();
    for index in 1..=length {
        let item: LuaValue = table.raw_get(index).map_err(|error| error.to_string())?;
        items.push(walk(&item, list, deep, room)?);
    }
    let mut count = 0usize;
    for pair in table.pairs::<LuaValue, LuaValue>() {
        pair.map_err(|error| error.to_string())?;
        count += 1;
    }
    if count > length {
        return Err("there is a table in it that is a list and has names too".into());
    }
    Ok(Value::Array(items))
}

fn as_map(table: &Table, list: &Table, deep: usize, room: &mut usize) -> Result<Value, String> {
    let mut map = Map::new();
    for pair in table.pairs::<LuaValue, LuaValue>() {
        let (key, item) = pair.map_err(|error| error.to_string())?;
        let key = match &key {
            LuaValue::String(text) => text.to_str().map_err(|_| "there is a name in it that is not UTF-8")?.to_owned(),
            LuaValue::Integer(number) => number.to_string(),
            other => return Err(format!("there is a name in it that is a {}", other.type_name())),
        };
        map.insert(key, walk(&item, list, deep, room)?);
    }
    map.sort_keys();
    Ok(Value::Object(map))
}

/// JSON as a Lua value. `null` is `ci.null` in a list, and nothing at all in an object or by itself.
pub(super) fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<LuaValue> {
    Ok(match value {
        Value::Null => LuaValue::Nil,
        Value::Bool(truth) => LuaValue::Boolean(*truth),
        Value::Number(number) => match number.as_i64() {
            Some(number) => LuaValue::Integer(number),
            None => LuaValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => LuaValue::String(lua.create_string(text)?),
        Value::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for (index, item) in items.iter().enumerate() {
                let item = if item.is_null() { LuaValue::NULL } else { to_lua(lua, item)? };
                table.raw_set(index + 1, item)?;
            }
            as_list(lua, &table)?;
            LuaValue::Table(table)
        }
        Value::Object(map) => {
            let table = lua.create_table_with_capacity(0, map.len())?;
            for (key, item) in map {
                table.raw_set(key.as_str(), to_lua(lua, item)?)?;
            }
            LuaValue::Table(table)
        }
    })
}

/// Marks a table as a list, though it may be empty.
pub(super) fn as_list(lua: &Lua, table: &Table) -> mlua::Result<()> {
    table.set_metatable(Some(list_metatable(lua)?))
}

fn list_metatable(lua: &Lua) -> mlua::Result<Table> {
    if let Ok(table) = lua.named_registry_value::<Table>(LIST) {
        return Ok(table);
    }
    let table = lua.create_table()?;
    table.raw_set("__metatable", "list")?;
    lua.set_named_registry_value(LIST, &table)?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn json_of(code: &str) -> Result<Value, String> {
        let lua = Lua::new();
        let value: LuaValue = lua.load(code).eval().unwrap();
        to_json(&lua, &value)
    }

    #[test]
    fn tables_are_objects_or_lists() {
        assert_eq!(
            json_of("{a = 1, b = {1, 'x', true}, c = 1.5, [7] = 'n'}"),
            Ok(json!({"a": 1, "b": [1, "x", true], "c": 1.5, "7": "n"}))
        );
        assert_eq!(json_of("{}"), Ok(json!({})));
        assert_eq!(json_of("nil"), Ok(Value::Null));
    }

    #[test]
    fn what_is_no_json_is_refused_with_the_reason() {
        for (code, reason) in [
            ("{print}", "there is a function in it"),
            ("{1, a = 2}", "there is a table in it that is a list and has names too"),
            ("0/0", "NaN cannot be written as JSON"),
            ("'\\xff'", "there is text in it that is not UTF-8"),
            ("(function() local t = {} t.t = t return t end)()", "it is nested more than 32 deep"),
            (
                "(function() local t = {} for i = 1, 1e5 do t[i] = i end return t end)()",
                "there are more than 20000 values in it",
            ),
        ] {
            assert_eq!(json_of(code), Err(reason.to_owned()), "{code}");
        }
    }

    #[test]
    fn what_came_from_json_goes_back_as_it_was() {
        let lua = Lua::new();
        let value = json!({"list": [], "map": {}, "n": 1, "deep": [[{"x": [null, false]}]], "text": "ü\u{0}"});
        let there = to_lua(&lua, &value).unwrap();
        assert_eq!(to_json(&lua, &there), Ok(value));
    }
}
