"""The operator's rounds for Services of type LoadBalancer: what is written, and what if it is refused."""

import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lvs_api.testing import CREATED, address_pool, director_group, real_server_pool
from lvs_core.cluster_view import AgentSigns
from lvs_operator.api_client import ApiClient
from lvs_operator.cache import Cache
from lvs_operator.errors import ApiConflictError, ApiForbiddenError, ApiNotFoundError, ApiRejectedError
from lvs_operator.event_poster import EventPoster
from lvs_operator.leader import Leader
from lvs_operator.reconcile import Reconciler, Rhythm
from lvs_operator.watched_kinds import (
    ADDRESS_POOLS,
    CORE_SERVICES,
    DIRECTOR_GROUPS,
    POOLS,
    VIRTUAL_SERVICES,
    WatchedKind,
)

Json = dict[str, Any]
SERVICE = "/api/v1/namespaces/default/services/web"
OURS = "/apis/lvs-operator.io/v1alpha1/namespaces/default"
POOL, VIRTUAL = f"{OURS}/lvsrealserverpools/web", f"{OURS}/lvsvirtualservices/web"
PREFIX = "lvs-operator.io/"


class Store:
    """Objects by path, with uids and versions; writes are refused as the API server refuses them."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.writes: list[str] = []
        self.forbids = ""
        """Creations of this plural."""
        self.is_going = False
        """Our CRDs are being deleted."""
        self.forbidden_group = ""
        """No virtual service may have it: an admission policy."""
        self.adds: Json = {}
        """To the spec of every pool that is written: defaults of newer CRDs, or an admission webhook's."""
        self.makes: Json = {}
        """Of every virtual service that is written, whatever was sent."""
        self.crds_made = CREATED
        self.made: Callable[[], None] = lambda: None
        """Called with each creation."""
        self._version = 100

    def put(self, path: str, raw: Json) -> Json:
        """Somebody writes an object."""
        self._version += 1
        if path == POOL:
            raw = {**raw, "spec": {**self.adds, **raw["spec"]}}
        if path == VIRTUAL:
            raw = {**raw, "spec": {**raw["spec"], **self.makes}}
        before = self.objects.get(path, {"metadata": {"uid": f"uid-{self._version}", "creationTimestamp": CREATED}})
        given = {key: before["metadata"][key] for key in ("uid", "creationTimestamp")}
        metadata = {**raw["metadata"], **given, "generation": 1, "resourceVersion": f"{self._version}"}
        self.objects[path] = copy.deepcopy({**raw, "metadata": metadata})
        return self.objects[path]

    async def pages(self, path: str, **_: object) -> AsyncIterator[Json]:
        plural = path.rpartition("/")[2]
        found = [raw for where, raw in self.objects.items() if where.rpartition("/")[0].endswith(f"/{plural}")]
        yield {"metadata": {"resourceVersion": f"{self._version}"}, "items": found}

    async def get(self, path: str) -> Json:
        if "customresourcedefinitions" in path:
            conditions = [{"type": "Established", "status": "True"}]
            deleted = {"deletionTimestamp": CREATED} if self.is_going else {}
            return {"metadata": {"creationTimestamp": self.crds_made, **deleted}, "status": {"conditions": conditions}}
        return self._found("GET", path)

    async def create(self, path: str, body: Mapping[str, Any]) -> Json:
        where = f"{path}/{body['metadata']['name']}"
        self.writes.append(f"POST {where}")
        self.made()
        self._admit(path, body)
        if where in self.objects:
            raise ApiConflictError(f"POST {path}", "409 exists", status=409)
        return self.put(where, dict(body))

    async def ask_to_create(self, path: str, body: Mapping[str, Any]) -> None:
        self.writes.append(f"ASK {path}/{body['metadata']['name']}")
        self._admit(path, body)

    def _admit(self, path: str, body: Mapping[str, Any]) -> None:
        if self.forbids and self.forbids in path:
            raise ApiForbiddenError(f"POST {path}", "403 exceeded quota: objects", status=403)
        if self.forbidden_group and body["spec"].get("directorGroupRef", {}).get("name") == self.forbidden_group:
            raise ApiForbiddenError(f"POST {path}", "403 denied: spec.directorGroupRef", status=403)

    async def patch(self, path: str, body: Sequence[Json], **_: object) -> Json:
        self.writes.append(f"PATCH {path}")
        where = path.removesuffix("/status")
        raw = self._found("PATCH", where)
        (uid, version, value) = (one["value"] for one in body)
        if raw["metadata"]["uid"] != uid:
            raise ApiRejectedError(f"PATCH {path}", "422 test failed", status=422)
        if raw["metadata"]["resourceVersion"] != version:
            raise ApiConflictError(f"PATCH {path}", "409 changed", status=409)
        part = body[2]["path"].removeprefix("/")
        assert (part == "status") == path.endswith("/status")
        return self.put(where, {**raw, part: value})

    async def delete(self, path: str, *, uid: str, resource_version: str) -> None:
        self.writes.append(f"DELETE {path}")
        metadata = self._found("DELETE", path)["metadata"]
        if (metadata["uid"], metadata["resourceVersion"]) != (uid, resource_version):
            raise ApiConflictError(f"DELETE {path}", "409 changed", status=409)
        del self.objects[path]

    def _found(self, method: str, path: str) -> Json:
        if path not in self.objects:
            raise ApiNotFoundError(f"{method} {path}", "404", status=404)
        return self.objects[path]


class Operating:
    """An operator whose rounds are made one by one, on a clock of its own."""

    def __init__(self) -> None:
        self.api = Store()
        self.now = 1000.0
        self.decides_in = 0.0
        """Seconds."""
        self._cache = Cache()
        client = cast("ApiClient", self.api)
        self._reconciler = Reconciler(
            client=client,
            cache=self._cache,
            leader=cast("Leader", SimpleNamespace(leads=True, may_write=lambda: None)),
            rhythm=Rhythm(check=3600.0, counts=1.0),
            daemonset=None,
            signs=self._signs,
            events=EventPoster(client, identity="one", leads=lambda: True),
        )

    def _signs(self) -> AgentSigns:
        """Asked for while it is decided."""
        self.now += self.decides_in
        return AgentSigns()

    def news(self) -> None:
        """Something else has happened."""
        self._reconciler.wake()

    def say(self, kind: WatchedKind, raw: Json) -> None:
        """A user writes an object, and the operator hears of it."""
        path = kind.path(raw["metadata"].get("namespace"), raw["metadata"]["name"])
        self._cache.apply(kind, kind.with_type(self.api.put(path, raw)))

    def unsay(self, kind: WatchedKind, path: str) -> None:
        """A user deletes an object."""
        self._cache.apply(kind, kind.with_type(self.api.objects.pop(path)), gone=True)

    async def rounds(self, number: int = 8) -> list[str]:
        """So many; the writes of Services and of what is made of them."""
        del self.api.writes[:]
        for _ in range(number):
            await self._reconciler._turn()
            self.now += 0.5
        return [one for one in self.api.writes if any(path in one for path in (SERVICE, POOL, VIRTUAL))]

    def says(self) -> dict[str, str]:
        """Our conditions on the Service, in short."""
        told = self.api.objects[SERVICE]["status"].get("conditions", ())
        return {one["type"].removeprefix(PREFIX): f"{one['status']} {one['reason']}" for one in told}


def service(**changes: object) -> Json:
    spec = {
        "type": "LoadBalancer",
        "loadBalancerClass": f"{PREFIX}lvs",
        "ports": [{"port": 80}],
        "ipFamilies": ["IPv4"],
    }
    metadata = {"name": "web", "namespace": "default"}
    return {"metadata": metadata, "spec": {**spec, **changes}, "status": {"loadBalancer": {}}}


@pytest.fixture
async def operating(monkeypatch: pytest.MonkeyPatch) -> Operating:
    """It has listed everything: a director group without Nodes, an address pool."""
    made = Operating()
    for module in ("reconcile", "kind_guard", "writer", "cache"):
        monkeypatch.setattr(f"lvs_operator.{module}.time", SimpleNamespace(monotonic=lambda: made.now))
    made.say(DIRECTOR_GROUPS, director_group())
    made.say(ADDRESS_POOLS, address_pool())
    await made.rounds()
    assert await made.rounds(2) == []
    return made


async def test_the_pool_is_made_then_the_virtual_service_then_it_is_said(operating: Operating) -> None:
    operating.say(CORE_SERVICES, service())
    writes = await operating.rounds()
    assert writes[:2] == [f"POST {POOL}", f"POST {VIRTUAL}"]
    assert set(writes[2:]) == {f"PATCH {one}/status" for one in (SERVICE, POOL, VIRTUAL)}
    assert operating.says() == {"Accepted": "True Accepted", "Ready": "False NoDirectors"}
    assert await operating.rounds() == []


async def test_an_edit_of_the_service_is_one_write_of_a_spec(operating: Operating) -> None:
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    edited = {**operating.api.objects[SERVICE], "spec": service(sessionAffinity="ClientIP")["spec"]}
    operating.say(CORE_SERVICES, edited)
    assert [one for one in await operating.rounds() if not one.endswith("/status")] == [f"PATCH {VIRTUAL}"]
    assert operating.api.objects[VIRTUAL]["spec"]["persistence"]["timeoutSeconds"] == 10800


async def test_a_name_that_was_taken_unheard_is_left_and_said(operating: Operating) -> None:
    """The watch has not told of the user's pool yet."""
    theirs = operating.api.put(POOL, real_server_pool("web"))
    operating.say(CORE_SERVICES, service())
    writes = await operating.rounds()
    assert writes[0] == f"POST {POOL}"
    assert f"PATCH {POOL}" not in writes
    assert operating.api.objects[POOL]["spec"] == theirs["spec"]
    assert operating.says()["Accepted"] == "False NameTaken"


async def test_a_quota_is_said_on_the_service_until_it_allows_more(operating: Operating) -> None:
    operating.api.forbids = "lvsvirtualservices"
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    assert operating.says() == {"Accepted": "False WriteRefused", "Ready": "False WriteRefused"}
    assert VIRTUAL not in operating.api.objects
    operating.api.forbids = ""
    operating.now += 60
    await operating.rounds()
    assert operating.says()["Accepted"] == "True Accepted"


async def test_what_was_made_goes_with_the_service_and_says_nothing_of_it(operating: Operating) -> None:
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    operating.unsay(CORE_SERVICES, SERVICE)
    assert await operating.rounds() == [f"DELETE {VIRTUAL}", f"DELETE {POOL}"]
    assert not {POOL, VIRTUAL} & operating.api.objects.keys()


@pytest.mark.parametrize("crd", ["there", "going", "made anew"])
async def test_an_address_stays_told_when_its_virtual_service_went_with_its_crd(operating: Operating, crd: str) -> None:
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    ingress = [{"ip": "192.168.4.130", "ipMode": "Proxy"}]
    raw = operating.api.objects[SERVICE]
    operating.say(CORE_SERVICES, {**raw, "status": {**raw["status"], "loadBalancer": {"ingress": ingress}}})
    operating.api.forbids = "lvsvirtualservices"
    operating.api.is_going = crd == "going"
    operating.api.crds_made = "2999-01-01T00:00:00Z" if crd == "made anew" else CREATED
    operating.unsay(VIRTUAL_SERVICES, VIRTUAL)
    await operating.rounds()
    told = operating.api.objects[SERVICE]["status"]["loadBalancer"]
    assert told == ({} if crd == "there" else {"ingress": ingress})
    operating.api.forbids, operating.api.is_going = "", False
    operating.now += 60
    await operating.rounds()
    assert VIRTUAL in operating.api.objects
    assert operating.says()["Accepted"] == "True Accepted"


async def test_a_service_that_cannot_be_read_takes_nothing_away(operating: Operating) -> None:
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    operating.say(CORE_SERVICES, {**operating.api.objects[SERVICE], "spec": {**service()["spec"], "ports": "many"}})
    assert not [one for one in await operating.rounds() if one.startswith("DELETE")]
    assert {POOL, VIRTUAL} <= operating.api.objects.keys()


async def test_nobody_elses_service_is_written(operating: Operating) -> None:
    operating.say(CORE_SERVICES, service(loadBalancerClass="example.org/other"))
    operating.say(POOLS, real_server_pool("web"))
    assert await operating.rounds() == [f"PATCH {POOL}/status"]


@pytest.mark.parametrize("adds", [{"ofALaterVersion": 5}, {"healthCheck": {"tcp": {}}}])
async def test_what_the_api_server_adds_each_time_is_said_and_not_written_without_end(
    operating: Operating, adds: Json
) -> None:
    operating.api.adds = adds
    operating.say(CORE_SERVICES, service())
    assert (await operating.rounds(20)).count(f"PATCH {POOL}") <= 4  # of 10 s
    assert operating.says()["Accepted"] == "False WriteRefused"
    operating.now += 3600
    assert (await operating.rounds(4)).count(f"PATCH {POOL}") == 1
    operating.api.adds = {}
    operating.now += 3600
    await operating.rounds()
    assert operating.says()["Accepted"] == "True Accepted"
    assert await operating.rounds() == []


async def test_what_a_policy_changes_each_time_is_said_and_called_no_older_crd(operating: Operating) -> None:
    operating.api.makes = {"scheduler": "rr"}
    raw = service()
    raw["metadata"]["annotations"] = {f"{PREFIX}scheduler": "sh"}
    operating.say(CORE_SERVICES, raw)
    assert (await operating.rounds(20)).count(f"PATCH {VIRTUAL}") <= 4  # of 10 s
    assert operating.says()["Accepted"] == "False WriteRefused"
    (said,) = (one for one in operating.api.objects[SERVICE]["status"]["conditions"] if "Accepted" in one["type"])
    assert "it keeps spec.scheduler otherwise than sent" in said["message"]
    told = {one["type"] for one in operating.api.objects[VIRTUAL]["status"]["conditions"]}
    assert "CRDOutdated" not in told
    operating.api.makes = {}
    operating.now += 3600
    await operating.rounds()
    assert operating.says()["Accepted"] == "True Accepted"


@pytest.mark.parametrize("named", [{}, {f"{PREFIX}director-group": "default"}])
async def test_a_policy_that_sets_the_director_group_has_nothing_deleted(operating: Operating, named: Json) -> None:
    operating.say(DIRECTOR_GROUPS, director_group("edge"))
    operating.api.makes = {"directorGroupRef": {"name": "edge"}}
    raw = service()
    raw["metadata"]["annotations"] = named
    operating.say(CORE_SERVICES, raw)
    writes = await operating.rounds(20)
    assert (writes.count(f"POST {VIRTUAL}"), writes.count(f"DELETE {VIRTUAL}")) == (1, 0)
    assert operating.says()["Accepted"] == "False WriteRefused"
    assert await operating.rounds() == []


async def test_what_runs_stays_where_the_group_that_is_named_instead_is_refused(operating: Operating) -> None:
    operating.say(DIRECTOR_GROUPS, director_group("edge"))
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    uid = operating.api.objects[VIRTUAL]["metadata"]["uid"]
    operating.api.forbidden_group = "edge"
    raw = service()
    raw["metadata"]["annotations"] = {f"{PREFIX}director-group": "edge"}
    operating.say(CORE_SERVICES, {**raw, "status": operating.api.objects[SERVICE]["status"]})
    writes = await operating.rounds(20)
    assert 1 <= writes.count(f"ASK {VIRTUAL}") <= 5  # of 10 s
    assert f"DELETE {VIRTUAL}" not in writes
    assert operating.says()["Accepted"] == "False WriteRefused"
    (said,) = (one for one in operating.api.objects[SERVICE]["status"]["conditions"] if "Accepted" in one["type"])
    assert said["message"].startswith(f"metadata.annotations[{PREFIX}director-group]: the API server does not have")
    assert said["message"].endswith("403 denied: spec.directorGroupRef. What was made of it goes on unchanged")
    operating.api.forbidden_group = ""
    operating.now += 3600
    writes = await operating.rounds()
    there = [one for one in writes if one.endswith(VIRTUAL)]
    assert there == [f"ASK {VIRTUAL}", f"DELETE {VIRTUAL}", f"POST {VIRTUAL}"]
    assert operating.api.objects[VIRTUAL]["metadata"]["uid"] != uid
    assert operating.api.objects[VIRTUAL]["spec"]["directorGroupRef"] == {"name": "edge"}


async def test_its_status_is_kept_meanwhile(operating: Operating) -> None:
    operating.say(DIRECTOR_GROUPS, director_group("edge"))
    operating.say(CORE_SERVICES, service())
    await operating.rounds()
    operating.api.forbidden_group = "edge"
    raw = service()
    raw["metadata"]["annotations"] = {f"{PREFIX}director-group": "edge"}
    operating.say(CORE_SERVICES, {**raw, "status": operating.api.objects[SERVICE]["status"]})
    await operating.rounds()
    operating.say(VIRTUAL_SERVICES, {**operating.api.objects[VIRTUAL], "status": {}})
    assert f"PATCH {VIRTUAL}/status" in await operating.rounds()


@pytest.mark.parametrize(("decides_in", "writes"), [(0.0, 1), (1.0, 2), (5.0, 3)])
async def test_writes_give_way_to_news_after_four_times_what_deciding_took_and_ten_seconds_at_most(
    operating: Operating, decides_in: float, writes: int
) -> None:
    """Each write takes four seconds here, and one that begins in time is made."""

    def slow() -> None:
        operating.now += 4
        operating.news()

    for number in range(8):
        raw = service()
        raw["metadata"]["name"] = f"web-{number}"
        operating.say(CORE_SERVICES, raw)
    operating.decides_in, operating.api.made = decides_in, slow
    await operating.rounds(1)
    assert len([one for one in operating.api.writes if one.startswith("POST")]) == writes
