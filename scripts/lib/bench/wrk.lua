-- wrk -s wrk.lua URL -- PATHS: asks for random paths out of a file, one a line, and prints its figures as one JSON line.
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("seed", 7919 * threads)
end

function init(args)
  math.randomseed(seed)
  requests = {}
  for path in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency, _)
  local errors = summary.errors
  print(string.format('{"rps":%.1f,"p50_ms":%.3f,"p99_ms":%.3f,"requests":%d,"bad":%d}',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.requests, errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
