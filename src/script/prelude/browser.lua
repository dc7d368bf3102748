-- `browser`: steps of the one window.

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
