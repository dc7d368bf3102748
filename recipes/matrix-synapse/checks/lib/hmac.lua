-- HMAC-SHA1 (RFC 2104, RFC 3174), in which Synapse wants registrations signed by the shared secret.

local function rotated(x, n) return ((x << n) | (x >> (32 - n))) & 0xffffffff end

local function sha1(text)
  local h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 }
  local padded = text .. "\x80" .. ("\0"):rep((55 - #text) % 64) .. (">I8"):pack(#text * 8)
  for block = 1, #padded, 64 do
    local w = { (">" .. ("I4"):rep(16)):unpack(padded, block) }
    for i = 17, 80 do w[i] = rotated(w[i - 3] ~ w[i - 8] ~ w[i - 14] ~ w[i - 16], 1) end
    local a, b, c, d, e = table.unpack(h)
    for i = 1, 80 do
      local f, k
      if i <= 20 then
        f, k = (b & c) | (~b & d), 0x5a827999
      elseif i <= 40 then
        f, k = b ~ c ~ d, 0x6ed9eba1
      elseif i <= 60 then
        f, k = (b & c) | (b & d) | (c & d), 0x8f1bbcdc
      else
        f, k = b ~ c ~ d, 0xca62c1d6
      end
      a, b, c, d, e = (rotated(a, 5) + (f & 0xffffffff) + e + k + w[i]) & 0xffffffff, a, rotated(b, 30), c, d
    end
    for i, x in ipairs({ a, b, c, d, e }) do h[i] = (h[i] + x) & 0xffffffff end
  end
  return (">I4I4I4I4I4"):pack(table.unpack(h))
end

local function mixed(key, with)
  return (key:gsub(".", function(c) return string.char(c:byte() ~ with) end))
end

-- In hexadecimal digits.
return function(key, text)
  if #key > 64 then key = sha1(key) end
  key = key .. ("\0"):rep(64 - #key)
  local sum = sha1(mixed(key, 0x5c) .. sha1(mixed(key, 0x36) .. text))
  return (sum:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end
