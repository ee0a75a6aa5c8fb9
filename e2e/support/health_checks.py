"""How GitOps tools judge our objects: kstatus, Argo CD's Lua script in a Lua interpreter, Flux's expressions by CEL."""

from collections.abc import Mapping
from typing import Any, Final

import cel
import yaml
from lupa import LuaRuntime

from lvs_lab.artifacts import CHECKOUT

GITOPS: Final = CHECKOUT / "gitops"
LUA: Final = GITOPS / "argocd" / "health.lua"
Json = Mapping[str, Any]


def kstatus(raw: Json) -> str:
    """InProgress, Current, Failed or Terminating: sigs.k8s.io/cli-utils/pkg/kstatus of kinds that it does not know.

    A generation that was not observed, Reconciling or Stalled come before Ready, of which both False and Unknown are
    InProgress; an object that says nothing of itself is Current.
    """
    metadata, status = raw["metadata"], raw.get("status", {})
    if "deletionTimestamp" in metadata:
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata["generation"]:
        return "InProgress"
    said = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if said.get("Reconciling") == "True":
        return "InProgress"
    if said.get("Stalled") == "True":
        return "Failed"
    return "Current" if said.get("Ready", "True") == "True" else "InProgress"


def argo_health(raw: Json) -> tuple[str, str]:
    """Status and message by the script, run as Argo CD runs it: the object is `obj`, and what is returned counts."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    variables: Any = lua.globals()
    variables.obj = lua.table_from(raw, recursive=True)
    found: Any = lua.execute(LUA.read_text())
    return str(found["status"]), str(found["message"])


def flux_expressions(kind: str) -> Mapping[str, str]:
    """The expressions of a kind, by their field."""
    document = yaml.safe_load((GITOPS / "flux" / "kustomization.yaml").read_text())
    (found,) = [one for one in document["spec"]["healthCheckExprs"] if one["kind"] == kind]
    return {field: text for field, text in found.items() if field in {"current", "failed", "inProgress"}}


def flux_health(raw: Json) -> str:
    """Failed, Current or InProgress by the expressions: Flux evaluates inProgress, failed and current in this order.

    A field that is not there makes an expression an error, and Flux waits on.
    """
    for field in ("failed", "current"):
        try:
            if cel.evaluate(flux_expressions(raw["kind"])[field], dict(raw)) is True:
                return field.capitalize()
        except KeyError:
            continue
    return "InProgress"
