-- What Envoy's own filters do not do: take no orders from callers, refuse calls that the pages of other sites
-- make, hand large bodies over in one piece, and give the services' errors the shape of all others. ORIGINS is
-- set before this text.

local STATUS = {
  "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
  "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

local ENCODINGS = {identity = true, gzip = true, deflate = true}

function envoy_on_request(handle)
  local headers = handle:headers()
  local grpc = (headers:get("content-type") or ""):find("^application/grpc")
  local orders = {}
  for name, value in pairs(headers) do
    if
      -- Timeouts, retries, other paths: Envoy would trust them of callers on its own machine and network.
      name:find("^x%-envoy%-")
      -- gRPC's server remembers an encoding that it does not know as an error, also for the callers after.
      or name == "grpc-encoding" and not (grpc and ENCODINGS[value])
    then
      orders[#orders + 1] = name
    end
  end
  for _, name in ipairs(orders) do
    headers:remove(name)
  end
  -- As the services take them: what can neither forge a line of a log nor break the JSON of an error.
  local id = headers:get("x-request-id"):gsub("[^%w_.:/+=-]", "_"):sub(1, 128)
  headers:replace("x-request-id", id)
  handle:streamInfo():dynamicMetadata():set("clipsearch", "request_id", id)
  -- A browser lets any page send simple requests, and shows it no answer; by then points would be gone.
  local origin = headers:get("origin")
  if origin and not ORIGINS[origin] and origin:match("^%a+://(.*)$") ~= headers:get(":authority") then
    handle:respond({[":status"] = "403"}, "a page of " .. origin .. " calls; --allow-origin lets it")
    return
  end
  -- Of a body in pieces the JSON parser goes back to the first error with each: 20 MB take 11 s of a core.
  if grpc then
    return
  end
  local body = handle:body()
  if body ~= nil and body:length() > 262144 then
    body:setBytes(body:getBytes(0, body:length()))
    collectgarbage() -- Lua would keep its copy until it has made many more
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if tonumber(headers:get(":status")) < 400 or headers:get("content-type") ~= "application/json" then
    return
  end
  local body = handle:body()
  if body == nil then
    return
  end
  local text = body:getBytes(0, body:length())
  -- The transcoder says which field is of another type only in words.
  local unread = text:match('"code":"REQUEST_NOT_DECODABLE".*"message":"([%w_.%[%]]+): ')
  if unread then
    body:setBytes((text:gsub('"param":null', '"param":"' .. unread .. '"')))
    return
  end
  -- {"code":3,"message":"...","details":[...]}, a google.rpc.Status. Quotes inside of strings are escaped, so
  -- that the patterns find names and not what a caller wrote.
  local code, rest = text:match('^{"code":(%d+),(.*)$')
  if code == nil then
    return
  end
  local field = text:match('"field":"([^"\\]*)"')
  local metadata = handle:streamInfo():dynamicMetadata():get("clipsearch") or {}
  body:setBytes(string.format(
    '{"error":{"type":"%s","code":"%s","param":%s,"request_id":"%s",%s}',
    STATUS[tonumber(code)] or "UNKNOWN",
    text:match('"reason":"([%w_]+)"') or STATUS[tonumber(code)] or "UNKNOWN",
    field and '"' .. field .. '"' or "null",
    metadata["request_id"] or "",
    rest
  ))
  local wait = text:match('"retry_delay":"([%d.]+)s"')
  if wait then
    handle:headers():replace("retry-after", tostring(math.ceil(tonumber(wait))))
  end
end
