-- Load for wrk: requests that are all different, and one line of JSON with what came of them.
-- wrk ... -s requests.lua http://host:port/path -- <kind> <prefix>
--   entry      POST {"member": ...} of a new member each time
--   noop       POST of the same size to a route that decides nothing
--   publish    POST of one message with a body of 1 KiB
--   batch      POST of a transaction that puts a small message into each of 64 queues, <prefix>-0 to <prefix>-63
--   get        GET
local threads = 0

function setup(thread)
    thread:set("id", threads)
    threads = threads + 1
end

local bodies = {
    entry = '{"member":"NAME","survey":[1,4,2]}',
    publish = '{"member":"NAME","text":"' .. string.rep("x", 980) .. '"}',
}
bodies.noop = bodies.entry

local function same_each_time(text)
    request = function() return text end
end

-- The load generator shares the processors with what it measures, so a request is made by one concatenation:
-- the name has always the same length.
local function another_name_each_time(template)
    local count, stem = 0, string.format("%s-%d-", prefix, id)
    local name = stem .. string.rep("0", 9)
    local text = wrk.format("POST", nil, nil, (template:gsub("NAME", name)))
    local from, to = text:find(name, 1, true)
    local head, tail = text:sub(1, from - 1) .. stem, text:sub(to + 1)
    request = function()
        count = count + 1
        return head .. (100000000 + count) .. tail
    end
end

function init(args)
    kind, prefix = args[1], args[2] or "m"
    wrk.headers["Content-Type"] = "application/json"
    if kind == "get" then
        same_each_time(wrk.format("GET"))
    elseif kind == "batch" then
        local operations = {} -- a transaction may name each resource once
        for n = 0, 63 do
            operations[n + 1] = string.format('{"enqueue":{"queue":"%s-%d","body":{"n":1}}}', prefix, n)
        end
        same_each_time(wrk.format("POST", nil, nil, '{"operations":[' .. table.concat(operations, ",") .. ']}'))
    else
        another_name_each_time(bodies[kind])
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        '\nJSON {"requests": %d, "seconds": %.3f, "errors": %d, "refused": %d, "mean": %.1f, "p50": %.1f, "p99": %.1f, "p999": %.1f, "max": %.1f}\n',
        summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout, e.status,
        latency.mean, latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
