-- What a script sees of its tools. It runs inside the sandbox, under the script's own limits, on top of a few functions of
-- the child (`core`); so a mistake in here gives a script nothing that it could not ask for anyway. The files of this folder
-- are one chunk, this one first.

local core = ...
local null, encode = core.null, core.encode

-- A public function ends in `return give(…)`: a tail call, so that level 2 is the line of the script that called it.
local function give(ok, ...)
  if ok then return ... end
  error((...), 2)
end

local function shortened(text, most)
  text = tostring(text)
  if #text > most then return text:sub(1, most) .. "…" end
  return text
end

local function shown(value)
  if value == nil or value == null then return "null" end
  local ok, text = encode(value)
  return ok and shortened(text, 200) or tostring(value)
end

-- As a sentence has it: "a table", "nil".
local function kind(value)
  if value == nil then return "nil" end
  return value == null and "`ci.null`" or "a " .. type(value)
end

-- Options are a table of known keys with known types; `types` is name → type, or list of types.
local function options(tool, given, types)
  if given == nil then return {} end
  if type(given) ~= "table" then return nil, ("%s: its options are a table, not %s"):format(tool, kind(given)) end
  for key, value in pairs(given) do
    local wanted = types[key]
    if not wanted then
      local known = {}
      for name in pairs(types) do known[#known + 1] = name end
      table.sort(known)
      return nil, ("%s: there is no option `%s`; there are %s"):format(tool, tostring(key), table.concat(known, ", "))
    end
    if wanted ~= "any" and not (" " .. wanted .. " "):find(" " .. type(value) .. " ", 1, true) then
      return nil, ("%s: `%s` is a %s, not %s"):format(tool, key, (wanted:gsub(" ", " or a ")), kind(value))
    end
  end
  return given
end

local function text_argument(tool, what, value)
  if type(value) == "string" then return true end
  return false, ("%s: %s is text, not %s"):format(tool, what, kind(value))
end

-- No job has an hour.
local function seconds(tool, name, value)
  if value >= 0 and value <= 3600 then return true end
  return false, ("%s: `%s` is a number of seconds from 0 to 3600, not %g"):format(tool, name, value)
end

local function ask(tool, request)
  local ok, answer = core.ask(request)
  if ok then return true, answer end
  return false, tool .. ": " .. answer
end

-- An answer's `json` is read when it is asked for, so that a page that is none is an error only then.
-- Returned by a job, it is its `output`: nobody means to hand a whole page to other jobs.
local function with_json(answer, text, what, output)
  return setmetatable(answer, {
    output = output,
    __index = function(self, key)
      if key ~= "json" then return nil end
      local ok, value = core.decode(text)
      if not ok then error(("%s is not JSON (%s): %s"):format(what, value, shortened(text, 200)), 2) end
      rawset(self, "json", value)
      return value
    end,
  })
end
