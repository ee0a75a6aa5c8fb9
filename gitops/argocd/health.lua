-- Health of what users write (LvsVirtualService and the like) for Argo CD; argocd-cm.yaml beside it has the same text.
-- Degraded: somebody has to change something. Progressing: it may come of itself, as a Deployment without ready pods.
local health = { status = "Progressing", message = "The operator has not seen this object yet" }
local status = obj.status
if status == nil or status.observedGeneration == nil then
  return health
end
local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local accepted, programmed, ready = found.Accepted, found.Programmed, found.Ready
if accepted ~= nil and accepted.status == "False" then
  health.status = "Degraded"
  health.message = accepted.reason .. ": " .. accepted.message
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  health.message = "The last edit is not carried out yet"
  return health
end
local waits = { NotProgrammed = true, NoDirectors = true, Pending = true }
if programmed ~= nil and programmed.status == "False" and not waits[programmed.reason] then
  health.status = "Degraded"
  health.message = programmed.reason .. ": " .. programmed.message
  return health
end
if ready == nil then
  return health
end
if ready.status == "True" then
  health.status = "Healthy"
end
health.message = ready.reason .. ": " .. ready.message
return health
