-- `exec` and `file`: commands in containers, and the files there by way of them.

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
