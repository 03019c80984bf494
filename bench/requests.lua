-- Load for wrk: requests that are all different, and one line of JSON with what came of them.
-- wrk ... -s requests.lua http://host:port/path -- <kind> <prefix>
--   entry      POST {"member": ...} of a new member each time
--   noop       POST of the same size to a route that decides nothing
--   publish    POST of one message with a body of 1 KiB
--   batch      POST of a transaction that queues 64 small messages
--   get        GET
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

local bodies = {
    entry = function(n) return string.format('{"member":"%s-%d-%09d","survey":[1,4,2]}', prefix, id, n) end,
    publish = function(n) return string.format('{"member":"%s-%d-%09d","text":"%s"}', prefix, id, n, string.rep("x", 980)) end,
}
bodies.noop = bodies.entry

function init(args)
    kind, prefix, count = args[1], args[2] or "m", 0
    wrk.headers["Content-Type"] = "application/json"
    if kind == "get" then
        local text = wrk.format("GET")
        request = function() return text end
    elseif kind == "batch" then
        local one = '{"enqueue":{"queue":"' .. prefix .. '","body":{"n":1}}}'
        local text = wrk.format("POST", nil, nil, '{"operations":[' .. one .. string.rep("," .. one, 63) .. ']}')
        request = function() return text end
    else
        local body = bodies[kind]
        request = function()
            count = count + 1
            return wrk.format("POST", nil, nil, body(count))
        end
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\nJSON {"requests": %d, "seconds": %.3f, "errors": %d, "refused": %d, "mean": %.1f, "p50": %.1f, "p99": %.1f, "p999": %.1f, "max": %.1f}\n',
        summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout, e.status,
        latency.mean, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
