"""What of the losses is believed, as a table; against a real API server: e2e/api/test_operator_absence.py."""

from dataclasses import replace
from typing import Any

import pytest

from lvs_api.conditions import ConditionType, Reason, find_condition
from lvs_api.testing import CREATED, director_group, lvs_node, service_slice, virtual_service
from lvs_core.cluster_view import ClusterView, make_view
from lvs_core.decision import Decision
from lvs_core.directors import Directors
from lvs_core.group_status import Served, group_status
from lvs_core.memory import Memory
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw, service_from_raw, slice_from_raw
from lvs_operator.api_client import ApiClient
from lvs_operator.changes import meta_of
from lvs_operator.errors import ApiForbiddenError, ApiNotFoundError
from lvs_operator.kind_guard import KindGuard, mark_held
from lvs_operator.watched_kinds import LVS_NODES, SLICES
from lvs_operator.writer import Delete, ReplacePart, Write

LATER = "2025-01-02T00:00:00Z"
NOW = "2026-01-01T00:00:00Z"
SLICE = slice_from_raw(service_slice())
NODE = lvs_node_from_raw(lvs_node("d1", addresses=None, directorGroups=["default"]))
DELETE_SLICE = Delete(kind=SLICES, meta=meta_of(SLICE.meta))
TAKE_GROUP = ReplacePart(kind=LVS_NODES, meta=meta_of(NODE.meta), part="spec", value={})


class Crds(ApiClient):
    """CRDs as they are told; everything is whole otherwise."""

    def __init__(self, **told: Any) -> None:
        self.told = told

    async def get(self, path: str) -> dict[str, Any]:
        plural = path.rpartition("/")[2].partition(".")[0]
        said = self.told.get(plural, {})
        if isinstance(said, Exception):
            raise said
        metadata = {"name": plural, "creationTimestamp": CREATED, **said.get("metadata", {})}
        conditions = [{"type": "Established", "status": "True"}, *said.get("conditions", [])]
        return {"metadata": metadata, "status": {"conditions": conditions}}


async def looked(**told: Any) -> KindGuard:
    guard = KindGuard(Crds(**told))
    await guard.look()
    return guard


TERMINATING = {"conditions": [{"type": "Terminating", "status": "True"}]}
MISSING = ApiNotFoundError("GET", "404", status=404)
FORBIDDEN = ApiForbiddenError("GET", "403", status=403)


@pytest.mark.parametrize(
    ("told", "reason", "said"),
    [
        ({}, None, ""),
        ({"lvsnodes": MISSING}, Reason.CRD_MISSING, "lvsnodes.lvs-operator.io is missing"),
        ({"lvsrealserverpools": TERMINATING}, Reason.CRD_MISSING, "is being deleted"),
        ({"lvsnodes": {"metadata": {"deletionTimestamp": LATER}}}, Reason.CRD_MISSING, "is being deleted"),
        ({"lvsdirectorgroups": FORBIDDEN}, Reason.LOOK_UP_FAILED, "cannot be looked at"),
    ],
)
async def test_what_is_said_of_the_kinds(told: dict[str, Any], reason: Reason | None, said: str) -> None:
    guard = await looked(**told)
    assert guard.reason is reason
    assert said in guard.message
    assert (guard.due is None) == (reason is None)


async def test_it_tells_when_all_is_whole_again() -> None:
    client = Crds(lvsnodes=MISSING)
    guard = KindGuard(client)
    assert not await guard.look()
    assert not await guard.look()
    client.told.clear()
    assert await guard.look()
    assert not await guard.look()


def a_view(*, service: bool = False, group: bool = False) -> ClusterView:
    return make_view(
        services=[service_from_raw(virtual_service())] if service else [],
        groups=[group_from_raw(director_group())] if group else [],
        slices=[SLICE],
        lvs_nodes=[NODE],
    )


YOUNG = {"metadata": {"creationTimestamp": LATER}}


@pytest.mark.parametrize(
    ("told", "view", "loss", "is_believed"),
    [
        ({}, a_view(), DELETE_SLICE, True),
        ({"lvsvirtualservices": YOUNG}, a_view(), DELETE_SLICE, False),
        ({"lvsvirtualservices": YOUNG}, a_view(service=True), DELETE_SLICE, True),
        ({"lvsserviceslices": YOUNG}, a_view(), DELETE_SLICE, True),
        ({}, a_view(), TAKE_GROUP, True),
        ({"lvsdirectorgroups": YOUNG}, a_view(), TAKE_GROUP, False),
        ({"lvsdirectorgroups": YOUNG}, a_view(group=True), TAKE_GROUP, True),
        ({"lvsvirtualservices": YOUNG}, a_view(), TAKE_GROUP, True),
    ],
)
async def test_what_went_with_its_crd_is_not_believed(
    told: dict[str, Any], view: ClusterView, loss: Write, *, is_believed: bool
) -> None:
    guard = await looked(**told)
    assert guard.believed(view, [loss]) == ([loss] if is_believed else [])


async def test_the_director_groups_say_so() -> None:
    nobody = Directors(selected=(), forwarding=(), available=(), active=None)
    view = a_view(group=True)
    status = group_status(view, view.groups["default"], {"default": nobody}, Served(services=0, ids=None), NOW)
    decided = Decision(
        slices={},
        delete_slices=(),
        lvs_nodes={},
        delete_lvs_nodes=(),
        agent_nodes=frozenset(),
        services={},
        pools={},
        groups={"default": status},
        address_pools={},
        memory=Memory(),
    )
    held = mark_held(view, decided, await looked(lvsnodes=MISSING), NOW).groups["default"]
    said = find_condition(held.conditions, ConditionType.REMOVAL_HELD)
    assert said is not None
    assert (said.status, said.reason, said.last_transition_time) == ("True", "CRDMissing", NOW)
    before = make_view(groups=[replace(view.groups["default"], status=held)])
    again = mark_held(before, decided, await looked(lvsnodes=MISSING), LATER).groups["default"]
    assert again == held
    assert mark_held(view, decided, await looked(), NOW).groups["default"] == status
