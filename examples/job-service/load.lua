-- For wrk: submits short jobs, or with the argument `get` only asks; counts answers by status.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(arguments)
  counted = {}
  if arguments[1] ~= "get" then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = '{"work": {"kind": "search", "below": 20000}}'
  end
end

function response(status)
  counted[status] = (counted[status] or 0) + 1
end

function done()
  local all = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counted")) do
      all[status] = (all[status] or 0) + count
    end
  end
  for status, count in pairs(all) do
    io.write(string.format("answer %d: %d\n", status, count))
  end
end
