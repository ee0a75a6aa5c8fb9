"""`kubectl lvs adopt`: what a director's kernel has and no object wants, as objects that want just that.

Agents take over what equals the objects, without a write; so an apply of what is printed makes a running table ours
as it runs. What is ours already is left out, and what an object wants otherwise is named, field by field.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from lvs_api.director_table import TABLE_PATH, DirectorTable
from lvs_api.kinds import NODE, SERVICE_SLICE
from lvs_api.lvs_node import LvsNodeSpec
from lvs_api.objects import ObjectMeta
from lvs_cli.cluster import Cluster
from lvs_cli.director_tables import ask_directors, known_directors
from lvs_cli.entry_standing import ServiceEntry, Standing, judge, left_alone
from lvs_cli.errors import CliError
from lvs_cli.ipvsadm_form import endpoint
from lvs_cli.object_diff import changed_documents, diff_documents
from lvs_cli.object_options import MARKS, UNCHECKED, add_object_options, said_of, said_of_dry_run
from lvs_cli.output import Said, table
from lvs_cli.table_objects import TableObjects, Target, objects_of
from lvs_cli.told_entries import saved_table_of
from lvs_cli.way_options import add_way_options, way_of
from lvs_core.cluster_view import LvsNode, Slice
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import AnyVirtualKey, PlannedService
from lvs_core.view_objects import slice_content

_NOTHING_PRINTED: Final = (
    "nothing is printed, for that would not become ours: change the entries or the objects, or accept it with "
    "--allow-loss"
)
_NOTHING_LEFT: Final = "{}: every virtual service of its kernel is wanted by an object already; nothing is printed"
_HEADER: Final = ("ENTRY", "STATE", "OBJECT", "")


def add_adopt_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument("director", metavar="DIRECTOR", help="the Node whose kernel has the table")
    add_object_options(command, "whose directors serve it; needed where the director is in several")
    add_way_options(command)


def adopt(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """The objects for what nobody wants yet, or what stands where, and whatever can not be taken over."""
    cluster = open_cluster()
    groups = _groups(cluster, options.director)
    target = Target(
        director_group=_group(options.director, groups, options.director_group),
        namespace=options.namespace,
        paused=options.paused,
    )
    told = ask_directors(way_of(options, [options.director]), lambda: cluster, TABLE_PATH, DirectorTable)
    if told.failures:
        return Said(text="", failures=told.failures)
    (page,) = told.pages
    entries = judge(page.services, _planned(cluster, groups))
    namespace = options.namespace or cluster.namespace
    made = _without_changes(_made(entries, target), cluster, namespace)
    notes = (*made.notes, *_notes(entries, made, options.director))
    if not options.dry_run:
        return said_of(made, notes, options, nothing_printed=_NOTHING_PRINTED)
    parts = (
        table(_HEADER, list(_rows(entries))) if entries else "",
        diff_documents(cluster, made.documents, namespace, f"from {options.director}"),
    )
    return said_of_dry_run("\n\n".join(filter(None, parts)), made, notes, options)


def _groups(cluster: Cluster, director: str) -> Sequence[str]:
    """The LvsDirectorGroups of a director. Raises CliError where it is none."""
    known_directors(cluster, [director])
    found = [node.spec.director_groups for node in cluster.list(NODE) if node.metadata.name == director]
    groups = sorted(name for one in found for name in one or ())
    if not groups:
        raise CliError(f"{director} is leaving its director group: nothing there becomes ours any more")
    return groups


def _group(director: str, groups: Sequence[str], wanted: str | None) -> str:
    if wanted is None and len(groups) > 1:
        raise CliError(f"{director} is in several director groups: --director-group {' or '.join(groups)}")
    if wanted is not None and wanted not in groups:
        raise CliError(f"{director} is not in director group {wanted}, but in {', '.join(groups)}")
    return wanted or groups[0]


def _planned(cluster: Cluster, groups: Sequence[str]) -> Mapping[AnyVirtualKey, PlannedService]:
    """What the directors of these groups are told, by what clients connect to. Raises CliError."""
    slices = tuple(Slice(meta=one.metadata, content=slice_content(one.spec)) for one in cluster.list(SERVICE_SLICE))
    meta = ObjectMeta(name="", namespace=None, uid="", generation=0)
    node = LvsNode(meta=meta, spec=LvsNodeSpec(director_groups=list(groups)))
    plan = compile_plan(AgentView(node="", lvs_node=node, slices=slices))
    if incomplete := [str(service) for one in plan.directing for service in one.incomplete]:
        raise CliError(f"the first slice of {', '.join(incomplete)} is not there (yet): try again in a moment")
    return {service.key: service for one in plan.directing for service in one.services}


def _made(entries: Sequence[ServiceEntry], target: Target) -> TableObjects:
    """The objects for what no object wants, and everything that none of them brings over."""
    saved = saved_table_of(entry.told for entry in entries if entry.standing is Standing.UNWANTED)
    made = objects_of(saved, target)
    alone = [text for entry in entries for text in left_alone(entry)]
    return replace(made, losses=(*saved.faults, *made.losses, *alone))


def _without_changes(made: TableObjects, cluster: Cluster, namespace: str) -> TableObjects:
    """Without what would change an object that is there: that one serves something else."""
    changed = changed_documents(cluster, made.documents, namespace)
    pools = {name for kind, name in changed if kind == "LvsRealServerPool"}
    kept, losses = [], []
    for raw in made.documents:
        kind, name = raw["kind"], raw["metadata"]["name"]
        if (kind, name) in changed:
            losses.append(
                f"{kind} {namespace}/{name} is there already and says otherwise: it is not printed; add the entry to "
                "that object, or take another --namespace"
            )
        elif raw["spec"].get("realServerPoolRef", {}).get("name") in pools:
            losses.append(f"{kind} {namespace}/{name} is not printed, for its LvsRealServerPool is not")
        else:
            kept.append(raw)
    return replace(made, documents=_used(kept), losses=(*made.losses, *losses))


def _used(documents: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Without pools that no service uses."""
    used = {raw["spec"]["realServerPoolRef"]["name"] for raw in documents if "realServerPoolRef" in raw["spec"]}
    return tuple(raw for raw in documents if "realServerPoolRef" in raw["spec"] or raw["metadata"]["name"] in used)


def _notes(entries: Sequence[ServiceEntry], made: TableObjects, director: str) -> Iterator[str]:
    for entry in entries:
        if entry.standing is Standing.EQUAL:
            when = "when its pause ends" if entry.wanted is not None and entry.wanted.paused else "by itself"
            yield f"{entry.key} equals what {entry.wanted_by} wants: it becomes ours {when}"
    if made.documents:
        yield UNCHECKED
    if any("firewallMark" in raw["spec"] for raw in made.documents):
        yield MARKS
    if not made.documents and not made.losses:
        yield _NOTHING_LEFT.format(director)


def _rows(entries: Sequence[ServiceEntry]) -> Iterator[tuple[str, str, str, str]]:
    for entry in entries:
        yield str(entry.key), entry.standing, entry.wanted_by or "-", "; ".join(entry.why)
        for one in entry.real_servers:
            yield f"  -> {endpoint(one.address, one.port)}", one.standing, "", "; ".join(one.why)
