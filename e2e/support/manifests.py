"""Objects as text for `kubectl apply -f -`: JSON, which is YAML."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Spec = Mapping[str, Any]


def object_text(kind: str, name: str, spec: Spec, *, annotations: Mapping[str, str] | None = None) -> str:
    """One object of ours."""
    metadata = {"name": name, **({"annotations": dict(annotations)} if annotations else {})}
    whole = {"apiVersion": "lvs-operator.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": dict(spec)}
    return f"{json.dumps(whole)}\n"


def service_text(
    name: str,
    *addresses: str,
    ports: Sequence[Spec] = ({"name": "http", "port": 80},),
    scheduler: str = "rr",
    pool: str = "web",
    more: Spec | None = None,
) -> str:
    """A LvsVirtualService; `more` is laid over its spec."""
    spec = {
        "addresses": list(addresses),
        "ports": list(ports),
        "scheduler": scheduler,
        "realServerPoolRef": {"name": pool},
        **(more or {}),
    }
    return object_text("LvsVirtualService", name, spec)


def pool_text(
    name: str, *servers: Spec | str, more: Spec | None = None, annotations: Mapping[str, str] | None = None
) -> str:
    """A LvsRealServerPool of addresses, or of whole entries."""
    entries = [
        {"name": f"rs{number}", "address": server} if isinstance(server, str) else dict(server)
        for number, server in enumerate(servers, start=1)
    ]
    spec = {**({"realServers": entries} if entries else {}), **(more or {})}
    return object_text("LvsRealServerPool", name, spec, annotations=annotations)


def documents(*texts: str) -> str:
    """Several objects in one file."""
    return "---\n".join(texts)
