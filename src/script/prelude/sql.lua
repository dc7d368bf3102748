-- `sql`: PostgreSQL and MariaDB, each asked by its own client in its own container.

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
