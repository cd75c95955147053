-- Orders of the tenants in turn, each with a fresh Idempotency-Key. OAAS_BENCH_TENANTS names a file: token, shop and run, one tenant a line.
local heads, bodies, run = {}, {}, os.getenv("OAAS_BENCH_RUN")
for line in io.lines(os.getenv("OAAS_BENCH_TENANTS")) do
  local token, shop = line:match("(%S+) (%S+)")
  heads[#heads + 1] = "POST /v1/orders HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: Bearer " .. token .. "\r\nIdempotency-Key: "
  bodies[#bodies + 1] = '{"shop_id":"' .. shop .. '","lines":[{"sku":"SKU-%d","quantity":1}]}'
end

local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local sent = 0
function request()
  sent = sent + 1
  local tenant = sent % #heads + 1
  local body = bodies[tenant]:format(sent % 200)
  return heads[tenant] .. run .. "-" .. number .. "-" .. sent .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency)
  io.write(string.format('\n{"requests": %d, "refused": %d, "lost": %d, "seconds": %.3f, "p50": %.3f, "p95": %.3f, "p99": %.3f}\n',
    summary.requests, summary.errors.status, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
