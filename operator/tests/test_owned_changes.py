"""What is written for Services of type LoadBalancer, from the Service to requests of the API server."""

from typing import Any, cast

import pytest

from lvs_api.api_group import API_VERSION
from lvs_api.testing import address_pool, director_group, real_server_pool, virtual_service
from lvs_core.cluster_view import ClusterView, ObjectKey, make_view
from lvs_core.decide import decide
from lvs_core.decision import Decision
from lvs_core.endpoints import core_service_from_raw
from lvs_core.load_balancers import CoreServiceStatus
from lvs_core.memory import Memory
from lvs_core.view_objects import address_pool_from_raw, group_from_raw, pool_from_raw, service_from_raw
from lvs_operator.api_client import ApiClient, BlockingApiClient
from lvs_operator.changes import Changes, find_changes
from lvs_operator.kind_guard import KindGuard
from lvs_operator.refused_writes import mark_refused
from lvs_operator.status_events import status_events
from lvs_operator.uninstall import Release, Uninstall, UninstallError
from lvs_operator.watched_kinds import CORE_SERVICES, POOLS, VIRTUAL_SERVICES, Meta, WatchedKind
from lvs_operator.writer import Create, Delete, ReplacePart, Write, WriteKey

WEB = ObjectKey("default", "web")
NOW = "2026-01-01T00:00:00Z"
OWNER = {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "u-service", "controller": True}
Json = dict[str, Any]


def a_service(version: str = "5", **changes: object) -> Json:
    base: Json = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u-service", "resourceVersion": version},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": "lvs-operator.io/lvs",
            "ports": [{"port": 80}],
            "ipFamilies": ["IPv4"],
        },
        "status": {"loadBalancer": {}},
    }
    return {**base, **changes}


def made_of_it(raw: Json, **metadata: object) -> Json:
    """What the operator wrote, as the API server gives it back."""
    given = {"uid": f"u-{raw['kind']}", "resourceVersion": "8", "ownerReferences": [OWNER], **metadata}
    return {**raw, "metadata": {**raw["metadata"], **given}}


def decided(*services: Json, pools: tuple[Json, ...] = (), made: tuple[Json, ...] = ()) -> tuple[ClusterView, Decision]:
    view = make_view(
        core_services=map(core_service_from_raw, services),
        address_pools=[address_pool_from_raw(made_of_it(address_pool(), ownerReferences=None))],
        groups=[group_from_raw(made_of_it(director_group(), ownerReferences=None))],
        pools=map(pool_from_raw, pools),
        services=map(service_from_raw, made),
    )
    return view, decide(view, Memory(), NOW)


def changes(view: ClusterView, decision: Decision) -> Changes:
    return find_changes(view, decision, {})


def of_services(writes: tuple[Write, ...]) -> list[Write]:
    return [one for one in writes if one.kind in {POOLS, VIRTUAL_SERVICES}]


@pytest.fixture
def bodies() -> list[Json]:
    """The pool and the virtual service that are made of the Service."""
    found = changes(*decided(a_service()))
    assert found.losses == ()
    return [dict(one.body) for one in found.growth if isinstance(one, Create)]


def test_both_are_made_with_their_owner(bodies: list[Json]) -> None:
    assert [(one["apiVersion"], one["kind"]) for one in bodies] == [
        (API_VERSION, "LvsRealServerPool"),
        (API_VERSION, "LvsVirtualService"),
    ]
    for one, made_for in zip(bodies, ({}, {"lvs-operator.io/director-group": "default"}), strict=True):
        assert one["metadata"] == {
            "name": "web",
            "namespace": "default",
            "labels": {"app.kubernetes.io/managed-by": "lvs-operator", **made_for},
            "ownerReferences": [OWNER],
        }
    assert bodies[0]["spec"]["endpoints"] == {"serviceRef": {"name": "web"}}
    assert bodies[1]["spec"]["addressPoolRef"] == {"name": "public", "families": ["IPv4"]}


def test_what_is_as_it_shall_be_is_not_written(bodies: list[Json]) -> None:
    pool, service = map(made_of_it, bodies)
    found = changes(*decided(a_service(), pools=(pool,), made=(service,)))
    assert of_services((*found.growth, *found.losses)) == []


def test_an_edit_replaces_the_whole_spec_of_what_was_made(bodies: list[Json]) -> None:
    pool, service = map(made_of_it, bodies)
    edited = {**service, "spec": {**service["spec"], "scheduler": "rr", "paused": True}}
    found = of_services(changes(*decided(a_service(), pools=(pool,), made=(edited,))).growth)
    meta = Meta(namespace="default", name="web", uid="u-LvsVirtualService", version=8)
    assert found == [ReplacePart(kind=VIRTUAL_SERVICES, meta=meta, part="spec", value=service["spec"])]


def test_what_is_left_of_a_service_goes(bodies: list[Json]) -> None:
    pool, service = map(made_of_it, bodies)
    found = changes(*decided(pools=(pool,), made=(service,)))
    assert found.growth == ()
    assert [one.kind for one in of_services(found.losses) if isinstance(one, Delete)] == [VIRTUAL_SERVICES, POOLS]
    going = made_of_it(bodies[0], deletionTimestamp=NOW)
    assert of_services(changes(*decided(pools=(going,))).losses) == []


def test_what_goes_says_nothing_any_more(bodies: list[Json]) -> None:
    pool, service = map(made_of_it, bodies)
    found = changes(*decided(pools=(pool,), made=(service,)))
    assert {one.kind for one in found.statuses} & {VIRTUAL_SERVICES, POOLS} == set()
    stays = changes(*decided(a_service(), pools=(pool,), made=(service,)))
    assert {VIRTUAL_SERVICES, POOLS} <= {one.kind for one in stays.statuses}


def test_what_users_wrote_is_neither_written_nor_deleted() -> None:
    theirs = made_of_it(virtual_service("web"), ownerReferences=None)
    pool = made_of_it(real_server_pool("web"), ownerReferences=None)
    for services in ((), (a_service(),)):
        found = changes(*decided(*services, pools=(pool,), made=(theirs,)))
        assert of_services((*found.growth, *found.losses)) == []


def service_write(view: ClusterView, decision: Decision) -> ReplacePart:
    (found,) = (one for one in changes(view, decision).statuses if one.kind is CORE_SERVICES)
    return found


def carried_out(bodies: list[Json], service: Json) -> tuple[ClusterView, Decision]:
    """With what was made of the Service."""
    pool, virtual = map(made_of_it, bodies)
    return decided(service, pools=(pool,), made=(virtual,))


def test_before_its_objects_are_there_nothing_is_said() -> None:
    assert [one for one in changes(*decided(a_service())).statuses if one.kind is CORE_SERVICES] == []


def test_the_status_is_written_onto_the_state_that_was_seen_and_once(bodies: list[Json]) -> None:
    view, decision = carried_out(bodies, a_service())
    write = service_write(view, decision)
    assert (write.meta, write.part) == (
        Meta(namespace="default", name="web", uid="u-service", version=5),
        "status",
    )
    again = carried_out(bodies, a_service(status=dict(write.value)))
    assert [one for one in changes(*again).statuses if one.kind is CORE_SERVICES] == []


def test_what_others_say_on_a_service_stays_in_what_is_written(bodies: list[Json]) -> None:
    foreign = {"type": "example.org/Ready", "status": "True", "observedBy": "somebody"}
    said = {"loadBalancer": {}, "conditions": [foreign], "more": 1}
    write = service_write(*carried_out(bodies, a_service(status=said)))
    assert write.value["conditions"][0] == foreign
    assert write.value["more"] == 1
    own = [one["type"] for one in write.value["conditions"][1:]]
    assert own == ["lvs-operator.io/Accepted", "lvs-operator.io/Ready"]


def test_a_refusal_is_an_event_on_the_service() -> None:
    view, decision = decided(a_service(), made=(made_of_it(virtual_service("web"), ownerReferences=None),))
    events = status_events(view, decision, service_write(view, decision))
    assert [(one.type.value, one.reason) for one in events] == [("Warning", "NameTaken")]
    assert "LvsVirtualService default/web" in events[0].message


def test_a_service_that_was_ours_makes_no_event(bodies: list[Json]) -> None:
    said = service_write(*carried_out(bodies, a_service())).value
    view, decision = decided(a_service(spec={"type": "NodePort"}, status=dict(said)))
    write = service_write(view, decision)
    assert write.value == {"loadBalancer": {}}
    assert status_events(view, decision, write) == ()


def says(status: CoreServiceStatus) -> dict[str, str]:
    return {one.type: f"{one.status} {one.reason}" for one in status.conditions}


def test_while_an_edit_is_on_its_way_the_last_word_on_the_former_one_stands(bodies: list[Json]) -> None:
    said = service_write(*carried_out(bodies, a_service())).value
    edited = a_service(status=dict(said))
    edited["spec"] = {**edited["spec"], "sessionAffinity": "ClientIP"}
    _, decision = carried_out(bodies, edited)
    assert decision.load_balancers[WEB].raw == said
    assert says(decision.load_balancers[WEB])["Accepted"] == "True Accepted"


@pytest.mark.parametrize("kind", [POOLS, VIRTUAL_SERVICES], ids=lambda kind: kind.name)
def test_what_the_api_server_does_not_take_is_said_on_the_service(kind: WatchedKind) -> None:
    view, decision = decided(a_service())
    refused = {WriteKey(kind.name, "default", "web", "spec"): "POST /x: 403 exceeded quota"}
    marked = mark_refused(view, decision, refused, NOW)
    assert says(marked.load_balancers[WEB]) == {"Accepted": "False WriteRefused", "Ready": "False WriteRefused"}
    assert "exceeded quota" in marked.load_balancers[WEB].conditions[0].message
    assert [one.reason for one in status_events(view, marked, service_write(view, marked))] == ["WriteRefused"]


def test_refusals_of_other_writes_are_not() -> None:
    view, decision = decided(a_service())
    for kind, name, part in (("LvsRealServerPool", "other", "spec"), ("LvsRealServerPool", "web", "status")):
        assert mark_refused(view, decision, {WriteKey(kind, "default", name, part): "403"}, NOW) is decision


def test_only_a_new_version_of_a_service_is_no_news() -> None:
    first, later = (CORE_SERVICES.parse(a_service(version)) for version in ("5", "6"))
    assert CORE_SERVICES.same(first, later)
    assert later.load_balancer.meta.resource_version == "6"
    for other in (a_service(spec={"type": "NodePort"}), a_service(status={"loadBalancer": {"ingress": [{"ip": "x"}]}})):
        assert not CORE_SERVICES.same(first, CORE_SERVICES.parse(other))


def test_a_crd_made_anew_holds_nothing_back_that_a_service_lost(bodies: list[Json]) -> None:
    """Services do not go with our CRDs: that one is gone is somebody's word."""
    pool, service = map(made_of_it, bodies)
    view, decision = decided(pools=(pool,), made=(service,))
    losses = changes(view, decision).losses
    guard = KindGuard(cast("ApiClient", None))  # it is not asked
    assert guard.believed(view, losses) == list(losses)


class Answers:
    """The API server of an uninstall that is refused at once."""

    def __init__(self, *items: Json) -> None:
        self.items = items

    def request(self, method: str, path: str, body: Json | None = None) -> Json:
        assert (method, path.rpartition("/")[2], body) == ("GET", "lvsvirtualservices", None)
        return {"items": list(self.items)}


def refusal(*items: Json) -> str:
    release = Release(namespace="lvs-system", deployment="o", daemonset="a", groups=frozenset())
    with pytest.raises(UninstallError) as raised:
        Uninstall(cast("BlockingApiClient", Answers(*items)), release).look()
    return str(raised.value)


def test_an_uninstall_names_the_services_that_have_addresses(bodies: list[Json]) -> None:
    said = refusal(made_of_it(bodies[1]), made_of_it(virtual_service("own"), ownerReferences=None))
    assert "There are Services of type LoadBalancer and class lvs-operator.io/lvs: default/web." in said
    assert "another type" in said
    said = refusal(made_of_it(virtual_service("own"), ownerReferences=None))
    assert "There are LvsVirtualServices: default/own." in said
