"""What an apply of documents would change in a cluster, spec by spec, with every default said on both sides."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from lvs_api.kinds import ALL_KINDS, Kind
from lvs_api.objects import parse_object, to_raw
from lvs_cli.cluster import Cluster

Raw = Mapping[str, Any]


def diff_documents(cluster: Cluster, documents: Sequence[Raw], namespace: str, source: str) -> str:
    """A line for each document, and a unified diff below where its spec would be changed.

    `source` says in the diff where the documents are from.
    """
    kinds = {kind.name: kind for kind in ALL_KINDS}
    there = {name: _specs(cluster, kinds[name], namespace) for name in dict.fromkeys(raw["kind"] for raw in documents)}
    return "\n".join(
        line for raw in documents for line in _lines(raw, kinds[raw["kind"]], there[raw["kind"]], namespace, source)
    )


def changed_documents(cluster: Cluster, documents: Sequence[Raw], namespace: str) -> frozenset[tuple[str, str]]:
    """Kind and name of those that are there with another spec."""
    kinds = {kind.name: kind for kind in ALL_KINDS}
    there = {name: _specs(cluster, kinds[name], namespace) for name in dict.fromkeys(raw["kind"] for raw in documents)}
    changed = set[tuple[str, str]]()
    for raw in documents:
        wanted = parse_object(kinds[raw["kind"]], raw)
        found = there[raw["kind"]].get(wanted.metadata.name)
        if found is not None and found != to_raw(wanted.spec):
            changed.add((raw["kind"], wanted.metadata.name))
    return frozenset(changed)


def _specs(cluster: Cluster, kind: Kind[Any, Any], namespace: str) -> dict[str, Raw]:
    return {one.metadata.name: to_raw(one.spec) for one in cluster.list(kind, namespace=namespace)}


def _lines(raw: Raw, kind: Kind[Any, Any], there: Mapping[str, Raw], namespace: str, source: str) -> Iterator[str]:
    wanted = parse_object(kind, raw)
    name = f"{kind.name} {namespace}/{wanted.metadata.name}"
    spec, found = to_raw(wanted.spec), there.get(wanted.metadata.name)
    if found is None:
        yield f"{name}: would be created"
    elif found == spec:
        yield f"{name}: unchanged"
    else:
        yield f"{name}: would be changed"
        yield from difflib.unified_diff(_text(found), _text(spec), "in the cluster", source, lineterm="")


def _text(spec: Raw) -> Sequence[str]:
    return yaml.safe_dump(dict(spec), sort_keys=False).splitlines()


def documents_text(documents: Iterable[Raw]) -> str:
    """As people write them: what is small on one line."""
    return yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=None, width=120).rstrip()
