"""From a saved table to objects, to a director's plan, and back to a saved table: `kubectl lvs import` and `export`."""

from collections.abc import Sequence
from typing import Any, Final

from lvs_api.testing import director_group
from lvs_cli.export import saved_lines
from lvs_cli.saved_table import read_saved_table
from lvs_cli.table_objects import TableObjects, Target, objects_of
from lvs_core.manifests import plan_manifests, read_manifests

ADDRESS: Final = "192.168.4.5"
DIRECTOR: Final[dict[str, Any]] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "director-1", "labels": {"lvs-director": "true"}},
    "status": {"addresses": [{"type": "InternalIP", "address": ADDRESS}]},
}


def imported(lines: Sequence[str]) -> TableObjects:
    """The objects that say the same."""
    table = read_saved_table("\n".join(lines))
    assert table.faults == ()
    return objects_of(table, Target(director_group="default"))


def manifests(objects: TableObjects) -> list[dict[str, Any]]:
    """The objects with a director and its group."""
    return [*objects.documents, director_group(), DIRECTOR]


def exported(objects: TableObjects) -> list[str]:
    """The table of a director that is told these objects, none of which is in the way of another."""
    made = plan_manifests(read_manifests(manifests(objects)), [ADDRESS])
    assert made.problems == ()
    (plan,) = made.plan.directing
    assert (plan.conflicts, plan.incomplete) == ((), ())
    return sorted(line for service in plan.services for line in saved_lines(service))
