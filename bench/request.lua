-- One chat completion per request. The environment names a file with the body, headers, and perhaps a file of tokens:
-- then each request is another user's. Ends with one line of JSON.
wrk.method = "POST"
wrk.body = io.open(os.getenv("BENCH_BODY")):read("*a")
wrk.headers["content-type"] = "application/json"
for name, value in string.gmatch(os.getenv("BENCH_HEADERS") or "", "([^:\n]+): ([^\n]+)") do
  wrk.headers[name] = value
end

local tokens, turn = {}, 0

function init(args)
  local file = os.getenv("BENCH_TOKENS")
  if file then
    for token in io.lines(file) do tokens[#tokens + 1] = "Bearer " .. token end
    local headers = {}
    for name, value in pairs(wrk.headers) do headers[name] = value end
    request = function()
      turn = turn % #tokens + 1
      headers["authorization"] = tokens[turn]
      return wrk.format(nil, nil, headers)
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\nJSON {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "failed": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
