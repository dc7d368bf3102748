-- What a Matrix server is for: somebody has an account, writes into a room and shows a picture. All of it, and the server's
-- own key, without which no other server believes it any more, is there after the upgrade and after both restores.

local hmac = require("lib.hmac")

local MESSAGE = "The harvest is in."
local PASSWORD = "only for this run"
-- The smallest that is one: a single red pixel.
local PICTURE = "\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDATx\xdac\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xf7\x03AC\x00\x00\x00\x00IEND\xaeB`\x82"

local function bearer(token) return { authorization = "Bearer " .. token } end

local function register(t, name)
  local at = "/_synapse/admin/v1/register"
  local nonce = t.http.expect(at).json.nonce
  local signed = table.concat({ nonce, name, PASSWORD, "notadmin" }, "\0")
  return t.http.expect(at, {
    method = "POST",
    send = { nonce = nonce, username = name, password = PASSWORD, admin = false, mac = hmac(t.secret("registration"), signed) },
  }).json
end

local function login(t, user)
  return t.http.expect("/_matrix/client/v3/login", {
    method = "POST",
    send = { type = "m.login.password", identifier = { type = "m.id.user", user = user }, password = PASSWORD },
  }).json.access_token
end

local function send(t, token, room, transaction, content)
  local at = ("/_matrix/client/v3/rooms/%s/send/m.room.message/%s"):format(room, transaction)
  return t.http.expect(at, { method = "PUT", headers = bearer(token), send = content }).json.event_id
end

-- By the server's own name and the key's, as another server would ask.
local function server_key(t)
  local key = t.http.expect("/_matrix/key/v2/server", { json = { ["/server_name"] = t.app.domain } }).json
  local name, value = next(key.verify_keys)
  return name .. " " .. value.key
end

local function seed(t, name)
  local user = register(t, name)
  local token = user.access_token
  local room = t.http.expect("/_matrix/client/v3/createRoom", {
    method = "POST", headers = bearer(token), send = { name = "Garden", preset = "private_chat" },
  }).json.room_id
  local picture = t.http.expect("/_matrix/media/v3/upload?filename=pixel.png", {
    method = "POST", headers = { authorization = "Bearer " .. token, ["content-type"] = "image/png" }, body = PICTURE,
  }).json.content_uri
  local said = send(t, token, room, "1", { msgtype = "m.text", body = MESSAGE })
  send(t, token, room, "2", { msgtype = "m.image", body = "pixel.png", url = picture })
  t.log("room", room, "message", said, "picture", picture)
  return { user = user.user_id, room = room, message = said, picture = picture:match("^mxc://(.+)$"), key = server_key(t) }
end

local function picture_of(t, token, seeded)
  return t.http.expect("/_matrix/client/v1/media/download/" .. seeded.picture, { headers = bearer(token) }).body
end

-- As an operator does after a restore: Synapse counts events in memory, and believes its own count before the database's. Ended well,
-- it is started anew by the Swarm, in another container.
local function restart(t)
  local before = t.exec("app", { "hostname" }).out
  t.exec("app", "kill 1", { check = false })
  t.retry(120, function()
    assert(t.exec("app", { "hostname" }).out ~= before, "it was not started anew")
    t.http.expect("/health")
  end)
end

local function look(t, seeded)
  local token = t.retry(60, function() return login(t, seeded.user) end)
  local room = "/_matrix/client/v3/rooms/" .. seeded.room
  t.http.expect(room .. "/state/m.room.name", { headers = bearer(token), json = { ["/name"] = "Garden" } })
  t.http.expect(room .. "/messages?dir=b&limit=50", { headers = bearer(token), contains = { MESSAGE, "mxc://" .. seeded.picture } })
  assert(picture_of(t, token, seeded) == PICTURE, "the picture is not the one that was uploaded")
  local key = server_key(t)
  assert(key == seeded.key, "the server's signing key was " .. seeded.key .. " and is " .. key)
  return token
end

-- Somebody else each time: where only the upgrade is asked for, `install` comes to the app that was seeded at `base`.
ci.job("base-seed", { "base" }, function(t) return seed(t, "ada") end)

ci.job("kept-over-upgrade", { "upgrade", "base-seed" }, function(t)
  local seeded = t.jobs("base-seed")
  local token = look(t, seeded)
  -- And it goes on.
  send(t, token, seeded.room, "after-upgrade", { msgtype = "m.text", body = "Now the cider." })
  return true
end)

ci.job("seed", { "install" }, function(t) return seed(t, "grace") end)

-- The row that holds the message, and the picture's file, which stays as long as it was, since Synapse goes by the length that it
-- noted. It has the message in memory still, so in place the row is asked for by itself.
ci.job("damage", { "backup", "seed" }, function(t)
  local seeded = t.jobs("seed")
  t.sql.query("db", ("delete from event_json where event_id = '%s'"):format(seeded.message))
  local files = t.exec("app", "find /data/media/local_content -type f").out
  for file in files:gmatch("[^\n]+") do t.file.write("app", file, ("x"):rep(#PICTURE)) end
  local token = login(t, seeded.user)
  assert(picture_of(t, token, seeded) ~= PICTURE, "the picture could not be damaged")
  return true
end)

ci.job("kept-in-place", { "in-place", "damage", "seed" }, function(t)
  local seeded = t.jobs("seed")
  local rows = t.sql.query("db", ("select json from event_json where event_id = '%s'"):format(seeded.message))
  assert(#rows == 1 and rows[1].json:find(MESSAGE, 1, true), "the message is not in the database that was restored in place")
  look(t, seeded)
  return true
end)

ci.job("kept-afresh", { "restore", "seed" }, function(t)
  local seeded = t.jobs("seed")
  restart(t)
  local token = look(t, seeded)
  t.http.expect("/_matrix/client/v3/account/whoami", { headers = bearer(token), json = { ["/user_id"] = seeded.user } })
  -- With the secret that the lost app had.
  register(t, "edith")
  return true
end)
