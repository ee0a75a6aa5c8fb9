"""When the operator looks at the API server before it takes something away: at once, but not again and again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lvs_api.testing import CREATED, lvs_node, service_slice
from lvs_core.cluster_view import AgentSigns
from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiNotFoundError, ApiUnavailableError
from lvs_operator.event_poster import EventPoster
from lvs_operator.leader import Leader
from lvs_operator.metrics import REGISTRY
from lvs_operator.reconcile import Reconciler, Rhythm
from lvs_operator.watched_kinds import LVS_NODES, SLICES

LATER = "2030-01-01T00:00:00Z"
"""Than the slices were made."""
Json = dict[str, Any]


@dataclass
class Slices:
    """An API server with slices, whose services nobody has seen."""

    there: list[Json] = field(default_factory=list)
    nodes: list[Json] = field(default_factory=list)
    """LvsNodes."""
    crds_made: str = CREATED
    refuses: bool = False
    is_away: bool = False
    looks: int = 0
    deleted: list[str] = field(default_factory=list)
    asked_to_delete: int = 0

    async def pages(self, path: str, **_: object) -> AsyncIterator[Json]:
        if self.is_away:
            raise ApiUnavailableError(f"GET {path}", "no answer")
        self.looks += path.endswith("/nodes")
        listed = {"lvsserviceslices": self.there, "lvsnodes": self.nodes}
        items = list(listed.get(path.rpartition("/")[2], ()))
        yield {"metadata": {"resourceVersion": "100"}, "items": items}

    async def get(self, path: str) -> Json:
        if "customresourcedefinitions" in path:
            conditions = [{"type": "Established", "status": "True"}]
            return {"metadata": {"creationTimestamp": self.crds_made}, "status": {"conditions": conditions}}
        for raw in self.there:
            if path.endswith(f"/{raw['metadata']['name']}"):
                return raw
        raise ApiNotFoundError(f"GET {path}", "404", status=404)

    async def delete(self, path: str, **_: object) -> None:
        self.asked_to_delete += 1
        if self.refuses:
            raise ApiUnavailableError(f"DELETE {path}", "500", status=500)
        name = path.rpartition("/")[2]
        self.there = [raw for raw in self.there if raw["metadata"]["name"] != name]
        self.deleted.append(name)


class Operating:
    """An operator that makes a round when it is told to, on a clock of its own."""

    def __init__(self) -> None:
        self.api = Slices()
        self.now = 1000.0
        self.signs = AgentSigns()
        self._cache = Cache()
        client = cast("ApiClient", self.api)
        self._reconciler = Reconciler(
            client=client,
            cache=self._cache,
            leader=cast("Leader", SimpleNamespace(leads=True, may_write=lambda: None)),
            rhythm=Rhythm(check=3600.0, counts=1.0),
            daemonset=None,
            signs=lambda: self.signs,
            events=EventPoster(client, identity="one", leads=lambda: True),
        )

    async def wakes(self, number: int) -> int:
        """So many rounds, half a second apart; the looks that they took."""
        before = self.api.looks
        for _ in range(number):
            await self._reconciler._turn()
            self.now += 0.5
        return self.api.looks - before

    def doubts(self) -> None:
        """Kopf lists again."""
        self._reconciler.doubt_view()

    def has_part(self, node: str) -> None:
        """There is a LvsNode."""
        raw = lvs_node(node)
        raw["metadata"].update({"uid": f"uid-{node}", "resourceVersion": "8", "generation": 1})
        self.api.nodes.append(raw)
        self._cache.apply(LVS_NODES, raw)

    def hears_of(self, service: str) -> None:
        """There is a slice of a service that a user deleted."""
        raw = service_slice(service)
        metadata = {"uid": f"uid-{service}", "resourceVersion": "7", "generation": 1, "creationTimestamp": CREATED}
        raw["metadata"].update(metadata)
        self.api.there.append(raw)
        self._cache.apply(SLICES, raw)


@pytest.fixture
async def operating(monkeypatch: pytest.MonkeyPatch) -> Operating:
    """It has listed everything, and there is nothing."""
    made = Operating()
    for module in ("reconcile", "kind_guard", "writer", "cache"):
        monkeypatch.setattr(f"lvs_operator.{module}.time", SimpleNamespace(monotonic=lambda: made.now))
    await made.wakes(2)
    assert await made.wakes(3) == 0
    return made


async def test_each_loss_is_looked_at_at_once_and_carried_out(operating: Operating) -> None:
    for service in ("web", "mail"):
        operating.hears_of(service)
        assert await operating.wakes(1) == 1
    assert operating.api.deleted == ["web-0", "mail-0"]
    assert await operating.wakes(5) == 0


async def test_what_is_held_is_not_looked_at_with_every_wake(operating: Operating) -> None:
    """The services went with their CRD, which was made anew since."""
    operating.api.crds_made = LATER
    operating.hears_of("web")
    assert await operating.wakes(10) == 1
    assert await operating.wakes(10) == 1, "once in five seconds"
    operating.hears_of("mail")
    assert await operating.wakes(2) == 1, "what is new is looked at at once"
    assert operating.api.deleted == []
    operating.api.crds_made = CREATED
    operating.now += 5
    assert await operating.wakes(1) == 1
    assert sorted(operating.api.deleted) == ["mail-0", "web-0"]


async def test_what_cannot_be_deleted_is_looked_at_when_it_is_tried_again(operating: Operating) -> None:
    """After 1, 2, 4 and 8 seconds."""
    operating.api.refuses = True
    operating.hears_of("web")
    assert await operating.wakes(30) == operating.api.asked_to_delete == 4
    operating.api.refuses = False
    operating.now += 8
    assert await operating.wakes(1) == 1
    assert operating.api.deleted == ["web-0"]


async def test_where_kopf_lists_again_the_view_is_compared_once_it_has(operating: Operating) -> None:
    """It never tells what went while it was not watching."""
    for _ in range(3):
        operating.doubts()
    assert await operating.wakes(3) == 0
    operating.now += 2
    assert await operating.wakes(5) == 1
    operating.doubts()
    operating.now += 2
    operating.api.is_away = True
    with pytest.raises(ApiUnavailableError):
        await operating.wakes(1)
    operating.api.is_away = False
    assert await operating.wakes(5) == 1, "what could not be compared still has to be"


async def test_only_the_agent_of_a_node_with_a_part_is_missed(operating: Operating) -> None:
    """Leases of nodes that left stay, and run out."""
    operating.has_part("n1")
    operating.signs = AgentSigns(late=frozenset({"n1", "old"}), silent=frozenset({"n1", "old"}))
    await operating.wakes(1)
    assert REGISTRY.get_sample_value("lvs_operator_silent_agents") == 1
