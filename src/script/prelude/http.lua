-- `http`: requests to the app. Redirects and cookies are done here, what must be of an answer is looked at.

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
