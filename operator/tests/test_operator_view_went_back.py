"""An API server that was restored to an older state: what it says now is the truth, whatever versions were seen."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from lvs_api.testing import real_server_pool
from lvs_operator.agent_leases import AgentLeases
from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiNotFoundError, ApiUnavailableError
from lvs_operator.watched_kinds import POOLS

Json = dict[str, Any]


def pool(name: str, version: int, *, weight: int = 1, uid: str = "") -> Json:
    raw = real_server_pool(name, weight=weight)
    metadata = {"namespace": "default", "uid": uid or f"uid-{name}", "resourceVersion": str(version), "generation": 1}
    return {**raw, "metadata": raw["metadata"] | metadata}


@dataclass
class Pools:
    """An API server that has these pools."""

    version: int
    pools: list[Json]
    down: bool = False
    on_list: list[Any] = field(default_factory=list)
    """What happens once a list was read, one for each list."""

    async def pages(self, path: str, **_: object) -> AsyncIterator[Json]:
        if self.down:
            raise ApiUnavailableError(f"GET {path}", "no answer")
        page = {"metadata": {"resourceVersion": str(self.version)}, "items": list(self.pools)}
        if self.on_list:
            self.on_list.pop(0)()
        yield page

    async def get(self, path: str) -> Json:
        for raw in self.pools:
            if path.endswith(f"/{raw['metadata']['name']}"):
                return raw
        raise ApiNotFoundError(f"GET {path}", "404", status=404)


@dataclass
class View:
    """A cache, and how often it said that the API server went back."""

    api: Pools
    told: int = 0

    def __post_init__(self) -> None:
        self.cache = Cache((POOLS,), went_back=self._count)

    def _count(self) -> None:
        self.told += 1

    async def check(self) -> bool:
        return await self.cache.check(cast("ApiClient", self.api))

    def weights(self) -> dict[str, int]:
        return {entry.meta.name: entry.value.spec.weight for entry in self.cache.entries(POOLS)}

    def version(self, name: str) -> int:
        (found,) = [entry.meta.version for entry in self.cache.entries(POOLS) if entry.meta.name == name]
        return found


@pytest.fixture
async def view() -> View:
    """Two pools, as of version 100."""
    view = View(Pools(100, [pool("web", 90, weight=9), pool("mail", 50)]))
    await view.check()
    assert (view.weights(), view.told) == ({"web": 9, "mail": 1}, 0)
    return view


def edited() -> Iterator[tuple[str, Pools, dict[str, int]]]:
    """What a restored API server may have, and what the view must be then."""
    mail = pool("mail", 50)
    yield "older", Pools(60, [pool("web", 40, weight=4), mail]), {"web": 4, "mail": 1}
    yield "overtaken", Pools(200, [pool("web", 40, weight=4), mail]), {"web": 4, "mail": 1}
    yield "edited since", Pools(70, [pool("web", 65, weight=6), mail]), {"web": 6, "mail": 1}
    yield "made later", Pools(60, [mail]), {"mail": 1}
    yield "namesake", Pools(70, [pool("web", 65, weight=6, uid="another"), mail]), {"web": 6, "mail": 1}
    yield "only the list is older", Pools(95, [pool("web", 90, weight=9), mail]), {"web": 9, "mail": 1}
    yield "empty", Pools(3, []), {}


CASES = list(edited())


@pytest.mark.parametrize(("restored", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_the_list_is_the_truth(view: View, restored: Pools, expected: dict[str, int]) -> None:
    view.api.version, view.api.pools = restored.version, restored.pools
    await view.check()
    assert (view.weights(), view.told) == (expected, 1)
    assert view.cache.complete
    await view.check()
    assert (view.weights(), view.told) == (expected, 1), "it went back once"


async def test_changes_made_after_it_are_seen(view: View) -> None:
    view.api.version, view.api.pools = 60, [pool("web", 40, weight=4)]
    await view.check()
    assert view.cache.apply(POOLS, pool("web", 61, weight=5))
    assert view.weights() == {"web": 5}


async def test_what_was_deleted_comes_back(view: View) -> None:
    view.cache.apply(POOLS, pool("mail", 101), gone=True)
    view.cache.forget(POOLS, "uid-mail")
    assert view.weights() == {"web": 9}
    view.api.version = 300  # later than anything seen, and the pool is there as before
    await view.check()
    assert (view.weights(), view.told) == ({"web": 9, "mail": 1}, 1)


async def test_what_a_finalizer_keeps_is_not_taken_for_restored(view: View) -> None:
    view.cache.forget(POOLS, "uid-mail")
    view.api.version, view.api.pools = 102, [pool("web", 90, weight=9), pool("mail", 101)]
    await view.check()
    assert (view.weights(), view.told) == ({"web": 9}, 0)


async def test_what_comes_while_a_list_is_read_is_no_sign(view: View) -> None:
    """An event of a later version overtakes the list."""
    view.api.version = 101
    view.api.on_list.append(lambda: view.cache.apply(POOLS, pool("web", 102, weight=7)))
    await view.check()
    assert (view.weights(), view.told) == ({"web": 7, "mail": 1}, 0)


async def test_nothing_that_came_meanwhile_is_buried(view: View) -> None:
    """A pool made while the restored state was read comes again with the watch that is opened anew."""
    view.api.version, view.api.pools = 60, [pool("web", 40)]
    made = pool("new", 61)
    view.api.on_list += [lambda: None, lambda: view.cache.apply(POOLS, made)]
    await view.check()
    assert (view.weights(), view.told) == ({"web": 1}, 1)
    assert view.cache.apply(POOLS, made)


async def test_a_list_that_breaks_off_changes_nothing(view: View) -> None:
    """The first one says that it went back; the second one is not answered."""
    view.api.version, view.api.pools = 60, [pool("web", 40, weight=4)]
    view.api.on_list.append(lambda: setattr(view.api, "down", True))
    with pytest.raises(ApiUnavailableError):
        await view.check()
    assert (view.weights(), view.told) == ({"web": 9, "mail": 1}, 0)
    view.api.down = False
    await view.check()
    assert (view.weights(), view.told) == ({"web": 4}, 1)


async def test_an_object_read_anew_in_an_older_state_is_told(view: View) -> None:
    """So it is after a write onto a version of the future, which is refused."""
    (meta,) = [entry.meta for entry in view.cache.entries(POOLS) if entry.meta.name == "web"]
    view.api.pools = [pool("web", 90, weight=9)]
    await view.cache.refresh(cast("ApiClient", view.api), POOLS, meta)
    assert view.told == 0
    view.api.pools = [pool("web", 40, weight=4)]
    await view.cache.refresh(cast("ApiClient", view.api), POOLS, meta)
    assert view.told == 1


async def test_the_leases_tell_first() -> None:
    api, doubts = Pools(100, []), list[int]()
    leases = AgentLeases(cast("ApiClient", api), "lvs-system", lambda: None, doubt=lambda: doubts.append(api.version))
    for version in (100, 101, 60, 61):
        api.version = version
        await leases.look()
    assert doubts == [60]
    api.down = True
    await leases.look()
    api.down, api.version = False, 70
    await leases.look()
    assert doubts == [60, 70], "whoever was away may have been restored"
