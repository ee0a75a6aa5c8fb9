"""From a kind to its whole CustomResourceDefinition."""

from collections.abc import Mapping
from typing import Any, Final

from lvs_api.api_group import CATEGORY, GROUP, VERSION
from lvs_api.conditions import EPOCH, ConditionStatus, ConditionType, Reason
from lvs_api.kinds import (
    ADDRESS_POOL,
    DIRECTOR_GROUP,
    NODE,
    REAL_SERVER_POOL,
    SERVICE_SLICE,
    USER_KINDS,
    VIRTUAL_SERVICE,
    Kind,
)
from lvs_api.structural_schema import Schema, structural_schema

Column = dict[str, Any]

MAX_NAME_LENGTH: Final = 253
"""Of any object of Kubernetes."""


def _column(name: str, path: str, description: str, *, kind: str = "string", wide: bool = False) -> Column:
    column: Column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    # The API server keeps no priority of 0: with one written, every manager but the first would have a conflict.
    return column | {"priority": 1} if wide else column


def _condition(condition: ConditionType, what: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{what}'


_READY: Final = _column("Ready", _condition(ConditionType.READY, "status"), "The condition Ready.")
_REASON: Final = _column("Reason", _condition(ConditionType.READY, "reason"), "The reason of Ready.", wide=True)
_AGE: Final = _column("Age", ".metadata.creationTimestamp", "Time since it was made.", kind="date")

COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    VIRTUAL_SERVICE.name: (
        _column("Address", ".status.addresses", "The virtual IP addresses that it has."),
        _column("Scheduler", ".spec.scheduler", "How real servers are chosen."),
        _column("Forwarding", ".spec.forwarding.method", "How packets reach the real servers."),
        _column("Director", '.status.directors[?(@.state=="Active")].node', "The Node that holds the addresses."),
        _column("Servers", ".status.realServers.total", "Real servers in the pool.", kind="integer"),
        _column("Up", ".status.realServers.ready", "Real servers that get connections.", kind="integer"),
        _READY,
        _REASON,
        _column("Pool", ".spec.realServerPoolRef.name", "The pool of real servers.", wide=True),
        _column("Group", ".spec.directorGroupRef.name", "The directors that serve it.", wide=True),
        _AGE,
    ),
    REAL_SERVER_POOL.name: (
        _column("Members", ".status.members", "Real servers found.", kind="integer"),
        _column("Services", ".status.services", "Virtual services that use it.", kind="integer"),
        _READY,
        _REASON,
        _AGE,
    ),
    DIRECTOR_GROUP.name: (
        _column("Active", ".status.active", "The Node that holds the addresses."),
        _column("Failover", ".spec.failover", "How the addresses move."),
        _column("Services", ".status.services", "Virtual services served.", kind="integer"),
        _READY,
        _REASON,
        _AGE,
    ),
    ADDRESS_POOL.name: (
        _column("Ranges", ".spec.ranges", "The addresses."),
        _column("Addresses", ".status.addresses", "How many there are.", kind="integer"),
        _column("Used", ".status.used", "Addresses that services have.", kind="integer"),
        _READY,
        _REASON,
        _AGE,
    ),
    SERVICE_SLICE.name: (
        _column("Service", ".spec.serviceRef.name", "The virtual service that it is a part of."),
        _column("Group", ".spec.directorGroup", "The directors that serve it."),
        _column("Index", ".spec.index", "Position among the service's slices.", kind="integer"),
        _AGE,
    ),
    NODE.name: (
        _column("Groups", ".spec.directorGroups", "The groups in which it is a director."),
        _READY,
        _REASON,
        _column("IPVS", ".status.capabilities.ipvsVersion", "Version of the kernel's IPVS."),
        _column("Kernel", ".status.capabilities.kernelVersion", "Version of the kernel.", wide=True),
        _column("Agent", ".status.agentVersion", "Version of the agent.", wide=True),
        _AGE,
    ),
}

SELECTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    VIRTUAL_SERVICE.name: (".spec.realServerPoolRef.name", ".spec.directorGroupRef.name"),
    SERVICE_SLICE.name: (".spec.serviceRef.name", ".spec.directorGroup"),
}
"""Fields for `--field-selector` (Kubernetes 1.31 and later; earlier ones ignore them)."""

DEFAULT_STATUS: Final[Mapping[str, Schema]] = {
    kind.name: {
        "conditions": [
            {
                "type": str(ConditionType.READY),
                "status": str(ConditionStatus.UNKNOWN),
                "reason": str(Reason.PENDING),
                "message": "No operator has seen this object yet",
                "lastTransitionTime": EPOCH,
            }
        ]
    }
    for kind in (VIRTUAL_SERVICE, REAL_SERVER_POOL, DIRECTOR_GROUP, ADDRESS_POOL)
}
"""Kinds that people wait for: a fresh object is not ready, and nothing that waits may take it for ready."""


def crd_name(kind: Kind[Any, Any]) -> str:
    """The name of the CustomResourceDefinition object."""
    return f"{kind.plural}.{GROUP}"


def crd_manifest(kind: Kind[Any, Any]) -> Schema:
    """The CustomResourceDefinition of a kind. Raises SchemaError."""
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": list(COLUMNS[kind.name]),
        "schema": {"openAPIV3Schema": _object_schema(kind)},
    }
    if fields := SELECTABLE.get(kind.name):
        version["selectableFields"] = [{"jsonPath": path} for path in fields]
    if kind.has_status:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": crd_name(kind)},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def _object_schema(kind: Kind[Any, Any]) -> Schema:
    metadata: Schema = {"type": "object"}
    if kind.max_name_length < MAX_NAME_LENGTH:
        metadata["properties"] = {"name": {"type": "string", "maxLength": kind.max_name_length}}
    properties = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": metadata,
        "spec": structural_schema(kind.spec, in_words=kind in USER_KINDS),
    }
    if kind.has_status:
        properties["status"] = structural_schema(kind.status)
        if kind.name in DEFAULT_STATUS:
            properties["status"]["default"] = DEFAULT_STATUS[kind.name]
    return {"description": kind.description, "type": "object", "required": ["spec"], "properties": properties}
