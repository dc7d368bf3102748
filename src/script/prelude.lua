-- What a script sees of its tools. It runs inside the sandbox, under the script's own limits, on top of a few functions of
-- the child (`core`); so a mistake in here gives a script nothing that it could not ask for anyway.

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

---- http ----

local function escaped(text)
  return (tostring(text):gsub("[^%w%-%._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function sorted_keys(of)
  local keys = {}
  for key in pairs(of) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function form_text(form)
  local parts = {}
  for _, key in ipairs(sorted_keys(form)) do parts[#parts + 1] = escaped(key) .. "=" .. escaped(form[key]) end
  return table.concat(parts, "&")
end

local function cookie_header(jar)
  local parts = {}
  for _, name in ipairs(sorted_keys(jar)) do parts[#parts + 1] = name .. "=" .. jar[name] end
  return #parts > 0 and table.concat(parts, "; ") or nil
end

local function keep_cookies(jar, headers)
  for _, header in ipairs(headers) do
    if header[1]:lower() == "set-cookie" then
      local name, value = header[2]:match("^%s*([^=;]+)=([^;]*)")
      local age = header[2]:lower():match(";%s*max%-age=(%-?%d+)")
      if name then jar[name] = not (age and tonumber(age) <= 0) and value or nil end
    end
  end
end

local request_options = {
  headers = "table", body = "string", json = "any", form = "table", query = "table", cookies = "table boolean", redirect = "boolean",
}

local function with_types(more)
  local types = {}
  for name, kind in pairs(request_options) do types[name] = kind end
  for name, kind in pairs(more) do types[name] = kind end
  return types
end

-- One request with its body and headers as they go out.
local function prepared(method, url, o)
  local headers, named = {}, {}
  for _, name in ipairs(sorted_keys(o.headers or {})) do
    headers[#headers + 1] = { tostring(name), tostring(o.headers[name]) }
    named[tostring(name):lower()] = true
  end
  local body, kind = o.body, nil
  if (body and 1 or 0) + (o.json ~= nil and 1 or 0) + (o.form and 1 or 0) > 1 then
    return nil, "http: give one of `body`, `json` and `form`"
  end
  if o.json ~= nil then
    local ok, text = encode(o.json)
    if not ok then return nil, "http: `json`: " .. text end
    body, kind = text, "application/json"
  elseif o.form then
    body, kind = form_text(o.form), "application/x-www-form-urlencoded"
  end
  if kind and not named["content-type"] then headers[#headers + 1] = { "content-type", kind } end
  if o.query then url = url .. (url:find("?", 1, true) and "&" or "?") .. form_text(o.query) end
  return { tool = "http", method = method, url = url, headers = core.list(headers), body = body and core.base64(body) or null }
end

local function with_cookies(asked, jar)
  local line = cookie_header(jar)
  if not line then return asked end
  local copy, headers = {}, core.list({ table.unpack(asked.headers) })
  for key, value in pairs(asked) do copy[key] = value end
  headers[#headers + 1] = { "cookie", line }
  copy.headers = headers
  return copy
end

local function read_answer(answer, url)
  local headers = {}
  for _, header in ipairs(answer.headers) do
    local name = header[1]:lower()
    headers[name] = headers[name] and (headers[name] .. ", " .. header[2]) or header[2]
  end
  local body = core.unbase64(answer.body)
  local read = { status = answer.status, headers = headers, body = body, url = url, cut = answer.cut }
  return with_json(read, body, "the answer of " .. url, { status = answer.status })
end

-- Follows redirects as a browser does, as long as they stay with the app.
local function request(jar, method, url, o)
  local ok, message = text_argument("http", "the address", url)
  if not ok then return false, message end
  if type(o.cookies) == "table" then
    for name, value in pairs(o.cookies) do jar[tostring(name)] = tostring(value) end
  elseif o.cookies == false then
    jar = {}
  end
  local asked, wrong = prepared(method, url, o)
  if not asked then return false, wrong end
  for _ = 0, 10 do
    local answered, answer = ask(("%s %s"):format(asked.method, shortened(asked.url, 200)), with_cookies(asked, jar))
    if not answered then return false, answer end
    keep_cookies(jar, answer.headers)
    local read = read_answer(answer, answer.url)
    local to = read.headers.location
    local follow = to and o.redirect ~= false and read.status >= 301 and read.status <= 308 and read.status ~= 304
    if not follow then return true, read end
    local next_url = core.follow(answer.url, to)
    if not next_url then return true, read end
    local again = read.status == 307 or read.status == 308
    if again or asked.method == "HEAD" then
      asked.url = next_url
    else
      asked = { tool = "http", method = "GET", url = next_url, headers = core.list({}), body = null }
    end
  end
  return false, ("%s %s: more than 10 redirects"):format(method, shortened(url, 200))
end

local function pointed(value, pointer)
  if pointer == "" then return value end
  for part in pointer:gmatch("/([^/]*)") do
    if type(value) ~= "table" then return nil end
    part = part:gsub("~1", "/"):gsub("~0", "~")
    local index = math.tointeger(tonumber(part))
    value = value[index and #value > 0 and index + 1 or part]
  end
  return value
end

local function same(a, b)
  if a == null then a = nil end
  if b == null then b = nil end
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key, value in pairs(b) do
    if a[key] == nil and value ~= null then return false end
  end
  return true
end

local function listed(value)
  return type(value) == "table" and value or { value }
end

-- Everything that is not as expected, in one list.
local function unexpected(answer, o)
  local wrong = {}
  local function say(...) wrong[#wrong + 1] = (...):format(select(2, ...)) end
  if o.status then
    local found = false
    for _, status in ipairs(listed(o.status)) do found = found or status == answer.status end
    if not found then say("status %s, not %s", answer.status, shown(o.status)) end
  elseif answer.status < 200 or answer.status > 299 then
    say("status %s, not 2xx", answer.status)
  end
  for _, text in ipairs(listed(o.contains or {})) do
    if not answer.body:find(text, 1, true) then say("it does not contain %q", text) end
  end
  for _, text in ipairs(listed(o.lacks or {})) do
    if answer.body:find(text, 1, true) then say("it contains %q", text) end
  end
  for _, name in ipairs(sorted_keys(o.header or {})) do
    local wanted, got = o.header[name], answer.headers[tostring(name):lower()]
    if wanted == true and not got then
      say("there is no header %s", name)
    elseif wanted == false and got then
      say("there is a header %s: %s", name, got)
    elseif type(wanted) == "string" and got ~= wanted then
      say("header %s is %s, not %q", name, got and ("%q"):format(got) or "missing", wanted)
    end
  end
  if o.expect then
    local read, value = core.decode(answer.body)
    for _, pointer in ipairs(sorted_keys(o.expect)) do
      if not read then
        say("it is not JSON (%s)", value)
        break
      end
      local got = pointed(value, pointer)
      if not same(got, o.expect[pointer]) then say("%s is %s, not %s", pointer, shown(got), shown(o.expect[pointer])) end
    end
  end
  return wrong
end

local expect_options = with_types({
  method = "string", status = "number table", contains = "string table", lacks = "string table", header = "table", send = "any",
})

local function http_tool()
  local jar = {}
  local http = {}
  local function plain(method)
    return function(url, given)
      local o, wrong = options("http", given, request_options)
      if not o then return give(false, wrong) end
      return give(request(jar, method, url, o))
    end
  end
  for _, method in ipairs({ "get", "head", "post", "put", "patch", "delete" }) do http[method] = plain(method:upper()) end

  function http.request(method, url, given)
    local ok, message = text_argument("http.request", "the method", method)
    if not ok then return give(false, message) end
    local o, wrong = options("http", given, request_options)
    if not o then return give(false, wrong) end
    return give(request(jar, method:upper(), url, o))
  end

  -- `json` is what the answer must hold: pointer → value. What is sent goes into `send`.
  function http.expect(url, given)
    local o, wrong = options("http.expect", given, expect_options)
    if not o then return give(false, wrong) end
    local sent = {}
    for key in pairs(request_options) do sent[key] = o[key] end
    sent.json = o.send
    local method = (o.method or "GET"):upper()
    local ok, answer = request(jar, method, url, sent)
    if not ok then return give(false, answer) end
    local checked = {}
    for key, value in pairs(o) do checked[key] = value end
    checked.expect = o.json
    local faults = unexpected(answer, checked)
    if #faults == 0 then return answer end
    local begins = shortened(answer.body, 300)
    return give(false, ("%s %s: %s; it begins: %s"):format(method, answer.url, table.concat(faults, "; "), begins))
  end
  return http
end

---- exec, file, sql ----

local function exec(tool, service, command, o)
  local ok, message = text_argument(tool, "the service", service)
  if not ok then return false, message end
  if type(command) == "string" then command = { "sh", "-c", command } end
  if type(command) ~= "table" or #command == 0 then return false, tool .. ": the command is a list of words, or one line for `sh -c`" end
  local words = {}
  for i, word in ipairs(command) do words[i] = tostring(word) end
  local stdin = o.stdin and core.base64(o.stdin) or null
  local answered, answer = ask(("%s in %s"):format(tool, service), { tool = "exec", service = service, command = words, stdin = stdin })
  if not answered then return false, answer end
  local out, err = core.unbase64(answer.out), core.unbase64(answer.err)
  if answer.code ~= 0 and o.check ~= false then
    local said = err ~= "" and err or out
    return false, ("%s in %s: exit code %d: %s"):format(tool, service, answer.code, shortened(said, 500))
  end
  return true, with_json({ code = answer.code, out = out, err = err, cut = answer.cut }, out, "the output of " .. tool, { code = answer.code })
end

local function exec_tool(service, command, given)
  local o, wrong = options("exec", given, { stdin = "string", check = "boolean" })
  if not o then return give(false, wrong) end
  return give(exec("exec", service, command, o))
end

local function absolute(tool, path)
  if type(path) == "string" and path:sub(1, 1) == "/" then return true end
  return false, ("%s: a path begins with `/`; got %s"):format(tool, shown(path))
end

local file = {}

function file.read(service, path)
  local ok, message = absolute("file.read", path)
  if not ok then return give(false, message) end
  local done, answer = exec("file.read", service, { "cat", path }, {})
  if not done then return give(false, answer) end
  return answer.out
end

function file.write(service, path, text)
  local ok, message = absolute("file.write", path)
  if ok then ok, message = text_argument("file.write", "the content", text) end
  if not ok then return give(false, message) end
  local done, answer = exec("file.write", service, { "sh", "-c", 'cat > "$1"', "sh", path }, { stdin = text })
  if not done then return give(false, answer) end
end

function file.exists(service, path)
  local ok, message = absolute("file.exists", path)
  if not ok then return give(false, message) end
  local done, answer = exec("file.exists", service, { "test", "-e", path }, { check = false })
  if not done then return give(false, answer) end
  if answer.code > 1 then return give(false, "file.exists: " .. answer.err) end
  return answer.code == 0
end

function file.remove(service, path)
  local ok, message = absolute("file.remove", path)
  if not ok then return give(false, message) end
  local done, answer = exec("file.remove", service, { "rm", "-f", path }, {})
  if not done then return give(false, answer) end
end

-- Finds the client and the credentials in the container, as the official images have them. The query comes by standard
-- input: command lines are seen by everybody who watches Docker's events. It comes in hexadecimal, so that the client finds
-- nothing in it: neither an end of the statement nor an order to itself, such as `\!`, which would run a program. MariaDB
-- prepares what is one statement and nothing else; PostgreSQL would run several, so that is looked at here. The first line
-- of the output says which client.
local sql_client = [[
value() { eval "v=\${$1-} f=\${$1_FILE-}"; if [ -n "$f" ]; then cat "$f"; else printf %s "$v"; fi; }
first() { for n do v=$(value "$n"); if [ -n "$v" ]; then printf %s "$v"; return; fi; done; }
database=$1
if command -v psql >/dev/null 2>&1; then
  [ "$2" = one ] || { echo 'there is more than one statement in the query; ask for each by itself' >&2; exit 2; }
  user=$(first POSTGRES_USER); PGPASSWORD=$(first POSTGRES_PASSWORD); export PGPASSWORD
  [ -n "$database" ] || database=$(first POSTGRES_DB); [ -n "$database" ] || database=${user:-postgres}
  echo psql
  { printf "select convert_from(decode('"; cat; printf "', 'hex'), 'UTF8') \\\\gexec\\n"; } |
    psql -X -q -v ON_ERROR_STOP=1 --csv -P 'null=\N' -U "${user:-postgres}" -d "$database" -f -
  exit
fi
client=$(command -v mariadb || command -v mysql) || { echo 'there is neither psql nor mariadb in this container' >&2; exit 127; }
[ -n "$database" ] || database=$(first MARIADB_DATABASE MYSQL_DATABASE)
MYSQL_PWD=$(first MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD); user=root
if [ -z "$MYSQL_PWD" ]; then
  MYSQL_PWD=$(first MARIADB_PASSWORD MYSQL_PASSWORD); user=$(first MARIADB_USER MYSQL_USER)
fi
export MYSQL_PWD
echo mariadb
{ printf "set names utf8mb4; set @query = convert(x'"; cat; printf "' using utf8mb4); prepare query from @query; execute query;\\n"; } |
  "$client" --batch --user="${user:-root}" ${database:+"$database"}
]]

-- Whether PostgreSQL would find more than one statement: something after a `;` that is in no quotes, comment or brackets.
local function several(query)
  local at, depth, ended = 1, 0, false
  local function past(pattern)
    local _, last = query:find("^" .. pattern, at)
    if last then at = last + 1 end
    return last ~= nil
  end
  local function to(close)
    local _, last = query:find(close, at, true)
    at = (last or #query) + 1
  end
  local function nested_comment()
    local open = 1
    while open > 0 and at <= #query do
      if past("/%*") then open = open + 1 elseif past("%*/") then open = open - 1 else at = at + 1 end
    end
  end
  while at <= #query do
    if past("%s+") then
      -- Between two words.
    elseif past("%-%-") then
      to("\n")
    elseif past("/%*") then
      nested_comment()
    elseif past(";") then
      ended = ended or depth == 0
    elseif ended then
      return true
    elseif past("[eE]'") then
      repeat
        local on = past("\\.") or past("''")
        if not on and not past("'") then at, on = at + 1, true end
      until not on or at > #query
    elseif past("'") then
      to("'")
    elseif past('"') then
      to('"')
    elseif query:find("^%$[%a_\128-\255]?[%w_\128-\255]*%$", at) then
      local tag = query:match("^%$[^$]*%$", at)
      at = at + #tag
      to(tag)
    elseif past("%(") then
      depth = depth + 1
    elseif past("%)") then
      depth = depth - 1
    elseif not past("[%w_$\128-\255]+") then
      at = at + 1
    end
  end
  return false
end

local function csv_rows(text)
  local rows, row, at = {}, {}, 1
  while at <= #text do
    local value
    if text:sub(at, at) == '"' then
      local parts = {}
      at = at + 1
      while true do
        local quote = text:find('"', at, true) or #text + 1
        parts[#parts + 1] = text:sub(at, quote - 1)
        at = quote + 1
        if text:sub(at, at) ~= '"' then break end
        parts[#parts + 1] = '"'
        at = at + 1
      end
      value = table.concat(parts)
    else
      local stop = text:find("[,\n]", at) or #text + 1
      value, at = text:sub(at, stop - 1), stop
      if value == "\\N" then value = null end
    end
    row[#row + 1] = value
    if text:sub(at, at) ~= "," then
      rows[#rows + 1], row = row, {}
    end
    at = at + 1
  end
  return rows
end

local batch_escapes = { n = "\n", t = "\t", ["0"] = "\0", ["\\"] = "\\" }

local function batch_rows(text)
  local rows = {}
  for line in text:gmatch("([^\n]*)\n") do
    local row = {}
    for value in (line .. "\t"):gmatch("([^\t]*)\t") do
      if value == "NULL" then value = null else value = value:gsub("\\(.)", batch_escapes) end
      row[#row + 1] = value
    end
    rows[#rows + 1] = row
  end
  return rows
end

local sql = {}

-- Rows as tables, column → text; NULL is nil.
function sql.query(service, query, given)
  local o, wrong = options("sql.query", given, { database = "string" })
  if not o then return give(false, wrong) end
  local ok, message = text_argument("sql.query", "the query", query)
  if not ok then return give(false, message) end
  local command = { "sh", "-c", sql_client, "sh", o.database or "", several(query) and "several" or "one" }
  local in_hex = query:gsub(".", function(c) return ("%02x"):format(c:byte()) end)
  local done, answer = exec("sql.query", service, command, { stdin = in_hex })
  -- MariaDB's client begins with what it was told, psql with the name of a file that is none.
  if not done then return give(false, (answer:gsub("^(.-: exit code %d+: ).-(ERROR.*)$", "%1%2"))) end
  local client, text = answer.out:match("^(%l+)\n(.*)$")
  local read = client == "psql" and csv_rows(text or "") or batch_rows(text or "")
  local rows = {}
  for i = 2, #read do
    local row = {}
    for column, name in ipairs(read[1]) do
      local value = read[i][column]
      if value ~= null then row[name] = value end
    end
    rows[i - 1] = row
  end
  return rows
end

---- browser ----

local browser = {}

local function step(what, fields)
  fields.step = what
  local ok, seen = ask("browser." .. what, { tool = "browser", step = fields })
  if not ok then return false, seen end
  return true, seen.text
end

local function browser_step(what, names)
  return function(...)
    local fields = {}
    for i, name in ipairs(names) do
      local value = select(i, ...)
      local ok, message = text_argument("browser." .. what, "the " .. name, value)
      if not ok then return give(false, message) end
      fields[name] = value
    end
    return give(step(what, fields))
  end
end

browser.open = browser_step("open", { "url" })
browser.fill = browser_step("fill", { "selector", "text" })
browser.click = browser_step("click", { "selector" })
browser.text = browser_step("text", { "selector" })
browser.title = browser_step("title", {})
browser.url = browser_step("url", {})
browser.screenshot = browser_step("screenshot", { "name" })

-- Until the element is there, and has the text, if one is given.
function browser.wait(selector, given)
  local o, wrong = options("browser.wait", given, { contains = "string", within = "number" })
  if not o then return give(false, wrong) end
  local ok, message = text_argument("browser.wait", "the selector", selector)
  if not ok then return give(false, message) end
  local within = o.within or 10
  ok, message = seconds("browser.wait", "within", within)
  if not ok then return give(false, message) end
  return give(step("wait", { selector = selector, contains = o.contains or null, milliseconds = math.floor(within * 1000) }))
end

-- Into a frame; without a selector back to the whole page.
function browser.frame(selector)
  if selector ~= nil then
    local ok, message = text_argument("browser.frame", "the selector", selector)
    if not ok then return give(false, message) end
  end
  return give(step("frame", { selector = selector or null }))
end

---- log, retry, secret ----

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
local said = assert
function assert(true_, ...)
  if true_ then return said(true_, ...) end
  local message = select("#", ...) == 0 and "assertion failed!" or (...)
  if type(message) ~= "string" or message:find("^[^\n:]+%.%a+:%d+:") then error(message, 0) end
  error(message, 2)
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
