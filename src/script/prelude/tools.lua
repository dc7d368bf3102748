-- `log`, `retry` and `secret`, and what a script and its jobs are given of all this.

local function log(...)
  local parts = {}
  for i = 1, select("#", ...) do
    local value = (select(i, ...))
    parts[i] = type(value) == "table" and shown(value) or tostring(value)
  end
  core.log(table.concat(parts, " "))
end

-- retry(within_seconds, f) or retry({within = …, every = …}, f): until f ends without an error, at most so long.
local function retry(given, f)
  if type(given) == "number" then given = { within = given } end
  if type(given) == "function" and f == nil then given, f = {}, given end
  local o, wrong = options("retry", given, { within = "number", every = "number" })
  if not o then return give(false, wrong) end
  if type(f) ~= "function" then return give(false, "retry: what to try is a function, not " .. kind(f)) end
  local within, every = o.within or 30, o.every or 1
  local ok, message = seconds("retry", "within", within)
  if ok then ok, message = seconds("retry", "every", every) end
  if not ok then return give(false, message) end
  local deadline, tries = core.now() + within, 0
  while true do
    tries = tries + 1
    local result = table.pack(pcall(f, tries))
    if result[1] then return table.unpack(result, 2, result.n) end
    if core.now() + every > deadline then
      local times = tries == 1 and "one try" or tries .. " tries"
      return give(false, ("retry: no success in %s within %g s; the last: %s"):format(times, within, tostring(result[2])))
    end
    ok, message = core.ask({ tool = "pause", milliseconds = math.floor(every * 1000) })
    if not ok then return give(false, "retry: " .. message) end
  end
end

local function secret(name)
  local ok, message = text_argument("secret", "the name", name)
  if not ok then return give(false, message) end
  return give(ask("secret", { tool = "secret", name = name }))
end

---- what the child takes from here ----

-- A finaliser would run where no limit is looked at.
local set_metatable = setmetatable
function setmetatable(of, metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    error("setmetatable: there are no finalisers (`__gc`) here", 2)
  end
  return set_metatable(of, metatable)
end
print = log

-- Lua's own says no line, and one alone in a job is all that its author has to go by.
local lua_assert = assert
function assert(value, message, ...)
  if value then return lua_assert(value, message, ...) end
  if message == nil then message = "assertion failed!" end
  local has_place = type(message) == "string" and message:find("^[^\n:]+%.%a+:%d+:")
  error(message, has_place and 0 or 2)
end

-- The tools of one job.
return function(app, inputs)
  local function jobs(name)
    local text = inputs[name]
    if text == nil then
      return give(false, ("jobs: `%s` is no job that this one needs; add it to its inputs"):format(tostring(name)))
    end
    return give(core.decode(text))
  end
  return {
    app = app, http = http_tool(), browser = browser, exec = exec_tool, file = file, sql = sql, log = log, retry = retry,
    secret = secret, jobs = jobs,
  }
end
