"""Which change of a LvsNode's status is an event, and that none is told twice."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from waiting_for import until

from lvs_agent.decide.status_events import status_events
from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection, ApiRefused
from lvs_agent.objects.event_poster import PACE, EventPoster
from lvs_agent.serve.metrics import AgentMetrics
from lvs_api.bind_device import BindDevice
from lvs_api.conditions import EPOCH, Condition, ConditionStatus, Reason
from lvs_api.lvs_node import DirectorReport, LvsNodeStatus, NodeAddressState, NodeAddressStatus, ServiceException
from lvs_api.objects import to_raw
from lvs_api.testing import lvs_node

VIP = "192.168.4.15"


def address(state: str, message: str | None = None) -> LvsNodeStatus:
    return LvsNodeStatus(
        addresses=[NodeAddressStatus(address=VIP, device=BindDevice.LO, state=NodeAddressState(state), message=message)]
    )


def exception(reason: str, *, draining: int = 0, truncated: bool = False) -> LvsNodeStatus:
    one = ServiceException(
        namespace="shop", name="web", reason=reason, message="it is so", programmed=True, draining=draining
    )
    return LvsNodeStatus(exceptions=[one], truncated=truncated)


def director(*, holds: bool) -> LvsNodeStatus:
    return LvsNodeStatus(director_groups=[DirectorReport(name="default", holds_addresses=holds)])


def condition(status: str, reason: str) -> LvsNodeStatus:
    one = Condition(
        type="Ready", status=ConditionStatus(status), reason=reason, message="so", last_transition_time=EPOCH
    )
    return LvsNodeStatus(conditions=[one])


NOTHING = LvsNodeStatus()
CASES: list[tuple[str, LvsNodeStatus, LvsNodeStatus, list[tuple[str, str, str]]]] = [
    (
        "condition",
        condition("True", "Ready"),
        condition("False", "IPVSUnavailable"),
        [("Warning", "IPVSUnavailable", "")],
    ),
    ("bound", NOTHING, address("Bound"), [("Normal", "AddressBound", f"{VIP} on lo")]),
    ("bound at last", address("Failed"), address("Bound"), [("Normal", "AddressBound", f"{VIP} on lo")]),
    ("not bound yet", NOTHING, address("Failed", "asking"), []),
    ("refused", address("Failed", "asking"), address("Failed", "no"), [("Warning", "AddressFailed", f"{VIP} on lo")]),
    ("a conflict at once", NOTHING, address("Conflict", "no"), [("Warning", "AddressConflict", f"{VIP} on lo")]),
    ("the same words", address("Failed", "no"), address("Failed", "no"), []),
    ("waiting", NOTHING, exception("Pending"), []),
    ("no longer waiting", exception("Pending"), NOTHING, []),
    ("in vain", exception("Pending"), exception("AddressConflict"), [("Warning", "AddressConflict", "shop/web")]),
    ("failed", address("Bound"), address("Failed", "no"), [("Warning", "AddressFailed", f"{VIP} on lo")]),
    ("conflict", address("Failed"), address("Conflict", "no"), [("Warning", "AddressConflict", f"{VIP} on lo")]),
    ("unbound", address("Bound"), NOTHING, [("Normal", "AddressUnbound", f"{VIP} on lo")]),
    ("never bound", address("Failed"), NOTHING, []),
    ("taken", director(holds=False), director(holds=True), [("Normal", "AddressesTaken", "default")]),
    ("released", director(holds=True), director(holds=False), [("Normal", "AddressesReleased", "default")]),
    ("no longer a director", director(holds=True), NOTHING, [("Normal", "AddressesReleased", "default")]),
    ("exception", NOTHING, exception("KernelRefused"), [("Warning", "KernelRefused", "shop/web")]),
    ("another reason", exception("KernelRefused"), exception("Paused"), [("Normal", "Paused", "shop/web")]),
    ("the same reason", exception("KernelRefused"), exception("KernelRefused"), []),
    ("draining", NOTHING, exception("MembersNotReady", draining=1), [("Normal", "MembersNotReady", "shop/web")]),
    ("cleared", exception("KernelRefused"), NOTHING, [("Normal", "ExceptionCleared", "shop/web")]),
    ("no room to name it", exception("KernelRefused"), LvsNodeStatus(truncated=True), []),
]


@pytest.mark.parametrize(("before", "after", "events"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_events(before: LvsNodeStatus, after: LvsNodeStatus, events: list[tuple[str, str, str]]) -> None:
    found = status_events(before, after)
    assert [(one.type.value, one.reason, one.subject) for one in found] == events
    assert all(one.message for one in found)


class Api:
    """An API server that takes events, or does as it is told."""

    def __init__(self) -> None:
        self.created: list[Mapping[str, Any]] = []
        self.merged: list[tuple[str, Mapping[str, Any]]] = []
        self.answer: ApiUnavailable | None = None

    async def create(self, _: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.answer is not None:
            raise self.answer
        self.created.append(body)
        return {}

    async def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if self.answer is not None:
            raise self.answer
        self.merged.append((path, body))
        return {}


class Scene:
    def __init__(self, said: LvsNodeStatus | None = None) -> None:
        self.api = Api()
        self.metrics = AgentMetrics()
        self.node: dict[str, Any] | None = _node(said) if said is not None else None
        self.poster = EventPoster(
            cast("ApiConnection", self.api), node_name="n1", observed=lambda: self.node, metrics=self.metrics
        )

    @asynccontextmanager
    async def posting(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.poster.run())
        try:
            yield
        finally:
            task.cancel()

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("lvs_agent_events_total", {"result": result}) or 0.0

    @property
    def reasons(self) -> list[str]:
        return [body["reason"] for body in self.api.created]


def _node(said: LvsNodeStatus) -> dict[str, Any]:
    raw = lvs_node("n1")
    return {**raw, "metadata": {**raw["metadata"], "uid": "u1"}, "status": to_raw(said)}


async def test_a_restarted_agent_tells_nothing_twice() -> None:
    scene = Scene(address("Bound"))
    async with scene.posting():
        scene.poster.tell(address("Bound"))
        scene.poster.tell(address("Conflict", "a stranger"))
        await until(lambda: scene.reasons == ["AddressConflict"])
        assert scene.api.created[0]["involvedObject"]["uid"] == "u1"
        scene.poster.tell(address("Bound"))
        scene.poster.tell(address("Conflict", "another stranger"))
        await until(lambda: len(scene.api.merged) == 1)
        assert scene.api.merged[0][1]["count"] == 2
        assert scene.reasons == ["AddressConflict", "AddressBound"]


async def test_nothing_is_compared_before_the_object_was_seen() -> None:
    scene = Scene()
    async with scene.posting():
        scene.poster.tell(address("Failed"))
        scene.node = _node(address("Bound"))
        scene.poster.tell(address("Failed"))
        await until(lambda: scene.reasons == ["AddressFailed"])


async def test_refused_events_are_counted_and_hold_nothing_up() -> None:
    scene = Scene(NOTHING)
    scene.api.answer = ApiRefused(403, "no")
    async with scene.posting():
        scene.poster.tell(address("Bound"))
        await until(lambda: scene.count("refused") == 1)
        scene.api.answer = None
        scene.poster.tell(NOTHING)
        await until(lambda: scene.reasons == ["AddressUnbound"])
        assert scene.count("posted") == 1


async def test_without_an_answer_they_wait() -> None:
    scene = Scene(NOTHING)
    scene.api.answer = ApiUnavailable("no answer")
    async with scene.posting():
        scene.poster.tell(address("Bound"))
        scene.api.answer = None
        await until(lambda: scene.reasons == ["AddressBound"])


def test_what_finds_no_room_is_counted() -> None:
    scene = Scene(NOTHING)
    many = [
        ServiceException(namespace="shop", name=f"web{number}", reason=Reason.INVALID, message="", programmed=False)
        for number in range(128)
    ]
    scene.poster.tell(LvsNodeStatus(exceptions=many))
    scene.poster.tell(NOTHING)
    assert scene.count("dropped") == 2 * len(many) - PACE.waiting


def test_the_metrics_show_what_the_status_says() -> None:
    metrics = AgentMetrics()
    metrics.status = LvsNodeStatus(
        conditions=condition("False", "IPVSUnavailable").conditions,
        addresses=address("Conflict", "a stranger").addresses,
        exceptions=exception("KernelRefused").exceptions,
    )

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    assert value("lvs_agent_condition", type="Ready", status="False", reason="IPVSUnavailable") == 1
    assert value("lvs_agent_addresses", state="Conflict") == 1
    assert value("lvs_agent_addresses", state="Bound") == 0
    assert value("lvs_agent_exceptions", reason="KernelRefused") == 1
