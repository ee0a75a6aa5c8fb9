"""Files instead of an API server: which machine does what."""

from typing import Any

import pytest

from lvs_api import testing
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import Family
from lvs_api.violations import InvalidObject
from lvs_core.allocate import first_choice
from lvs_core.cluster_view import ObjectKey
from lvs_core.group_settings import SyncRole
from lvs_core.manifests import ManifestPlan, plan_manifests, read_manifests
from lvs_core.plan import Holding, MarkKey

DIRECTOR = "192.168.4.5"


def node(name: str, address: str, *, director: bool = False) -> dict[str, Any]:
    labels = {"lvs-director": "true"} if director else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "status": {"addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]},
    }


def files(*more: dict[str, Any], **service: object) -> list[dict[str, Any]]:
    return [
        node("d1", DIRECTOR, director=True),
        testing.director_group(),
        testing.real_server_pool(),
        testing.virtual_service(**service),
        *more,
    ]


def plan(documents: list[dict[str, Any]], address: str) -> ManifestPlan:
    return plan_manifests(read_manifests(documents), [address, "127.0.0.1"])


def test_the_director() -> None:
    made = plan(files(), DIRECTOR)
    assert made.problems == ()
    (director,) = made.plan.directing
    assert director.holding is Holding.HOLD
    (service,) = director.services
    assert [(str(m.address), m.weight, m.may_have_weight) for m in service.members] == [
        ("192.168.4.100", 1, True),
        ("192.168.4.200", 2, True),
    ]
    assert made.plan.bind == ()


@pytest.mark.parametrize(
    ("forwarding", "device"),
    [
        ({"method": "DirectRouting"}, BindDevice.LO),
        ({"method": "Tunnel"}, BindDevice.TUNL0),
        ({"method": "Tunnel", "tunnel": {"type": "GRE"}}, BindDevice.GRE0),
    ],
)
def test_a_real_server_binds_the_vip(forwarding: dict[str, Any], device: BindDevice) -> None:
    made = plan(files(forwarding=forwarding), "192.168.4.200")
    assert [(str(one.address), one.device) for one in made.plan.bind] == [(testing.VIP, device)]
    assert made.plan.directing == ()


def test_a_real_server_by_gue_opens_its_port() -> None:
    forwarding = {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080}}
    (bound,) = plan(files(forwarding=forwarding), "192.168.4.200").plan.bind
    assert (bound.device, bound.gue_ports) == (BindDevice.TUNL0, (6080,))


def test_a_masqueraded_real_server_binds_nothing() -> None:
    assert plan(files(forwarding={"method": "Masquerade"}), "192.168.4.200").plan.bind == ()


def test_a_stranger_has_no_part() -> None:
    made = plan(files(), "192.168.4.77")
    assert (made.plan.bind, made.plan.directing, made.problems) == ((), (), ())


def test_the_first_director_holds_the_addresses_unless_the_group_names_another() -> None:
    second = node("d2", "192.168.4.6", director=True)
    documents = files(second)
    assert plan(documents, DIRECTOR).plan.directing[0].holding is Holding.HOLD
    assert plan(documents, "192.168.4.6").plan.directing[0].holding is Holding.RELEASE
    documents[1]["status"] = {"active": "d2"}
    assert plan(documents, "192.168.4.6").plan.directing[0].holding is Holding.HOLD


def test_a_second_service_on_the_same_port_is_left_out_and_named() -> None:
    made = plan(files(testing.virtual_service("other", realServerPoolRef={"name": "web"})), DIRECTOR)
    (problem,) = made.problems
    assert problem.object == "LvsVirtualService default/web"
    assert "spec.ports[http]: 192.168.4.15 port 80/TCP belongs to LvsVirtualService default/other" in problem.message
    assert [service.service.name for service in made.plan.services()] == ["other"]


def test_settings_of_the_node_are_planned_and_a_wish_that_can_not_be_met_is_named() -> None:
    sync = {"interface": "eth0", "syncId": 7}
    documents = files(node("d2", "192.168.4.6", director=True))
    documents[1] = testing.director_group(timeouts={"tcpSeconds": 30}, connectionSync=sync)
    second = testing.director_group("second", timeouts={"tcpSeconds": 60, "udpSeconds": 60})
    for address, role in ((DIRECTOR, SyncRole.MASTER), ("192.168.4.6", SyncRole.BACKUP)):
        made = plan([*documents, second], address)
        found = {str(key): number.value for key, number in made.plan.settings.numbers.items()}
        assert found == {"timeouts.tcpSeconds": 30, "timeouts.udpSeconds": 60}
        assert made.plan.settings.sync is not None
        assert made.plan.settings.sync.roles == {role}
        (problem,) = made.problems
        assert problem.object == "LvsDirectorGroup second"
        assert problem.message.startswith("spec.timeouts.tcpSeconds 60: LvsDirectorGroup default is older")


def test_a_grouped_service_is_marked_without_an_operator() -> None:
    (one,) = plan(files(portMode="Grouped"), DIRECTOR).plan.services()
    key = ObjectKey("default", "web")
    assert one.key == MarkKey(mark=first_choice(key), family=Family.IPV4)
    assert [str(server) for server in one.marked] == ["TCP 192.168.4.15:80"]


def test_a_director_without_an_address_is_named() -> None:
    """A misspelt field of a Node is no error: a real one has many that are not looked at."""
    node, *others = files()
    (problem,) = plan([{**node, "status": {"adresses": node["status"]["addresses"]}}, *others], DIRECTOR).problems
    assert problem.object == f"Node {node['metadata']['name']}"
    assert problem.message.endswith("no machine can be it: status.addresses has no address")


def test_files_without_a_director() -> None:
    (problem,) = plan(files()[1:], DIRECTOR).problems
    assert problem.object == "LvsDirectorGroup default"
    assert "kind Node" in problem.message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (testing.virtual_service(scheduler="best"), "LvsVirtualService web: spec.scheduler: "),
        (
            testing.virtual_service(ports=[{"name": "all", "port": 0}]),
            "LvsVirtualService default/web: spec.ports: port 0 (every port) needs persistence",
        ),
        (testing.service_slice(), "kind: lvs-operator.io/v1alpha1 LvsServiceSlice is not read from files"),
        ({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}, "kind: v1 Service is not read from files"),
        (node("d1", "192.168.4.9"), "Node d1: metadata.name: the same object stands in the files twice"),
    ],
)
def test_a_bad_document_is_named_with_its_field(document: dict[str, Any], message: str) -> None:
    documents = files()[:3] if document["kind"] == "LvsVirtualService" else files()
    with pytest.raises(InvalidObject) as raised:
        read_manifests([*documents, document])
    assert message.replace("LvsVirtualService web", "LvsVirtualService default/web") in str(raised.value)


def test_without_an_operator_every_director_decides_the_same_about_vrrp() -> None:
    documents = files(node("d2", "192.168.4.6", director=True))
    documents[1] = testing.director_group(failover="VRRP", vrrp={"transport": "Unicast"})
    first, second = (plan(documents, address).plan.directing[0] for address in (DIRECTOR, "192.168.4.6"))
    assert (first.holding, second.holding) == (Holding.VRRP, Holding.VRRP)
    assert first.vrrp is not None
    assert second.vrrp is not None
    assert [str(one) for one in (*first.vrrp.own, *first.vrrp.peers)] == [DIRECTOR, "192.168.4.6"]
    assert (second.vrrp.own, second.vrrp.peers) == (first.vrrp.peers, first.vrrp.own)
    (mine,), (theirs,) = first.vrrp.routers, second.vrrp.routers
    assert (mine.id, mine.addresses) == (theirs.id, theirs.addresses)
    assert mine.priority != theirs.priority


@pytest.mark.parametrize("by", ["maintenance", "cordon"])
def test_a_director_that_stands_aside_comes_last_and_gives_way(by: str) -> None:
    second = node("d2", "192.168.4.6", director=True)
    documents = files(second | {"spec": {"unschedulable": True}} if by == "cordon" else second)
    maintenance = ["d2"] if by == "maintenance" else None
    priorities = [{"node": "d2", "priority": 150}]
    documents[1] = testing.director_group(
        failover="VRRP", maintenance=maintenance, vrrp={"virtualRouterIds": [55], "priorities": priorities}
    )
    found = [plan(documents, address).plan.directing[0] for address in (DIRECTOR, "192.168.4.6")]
    assert [one.gives_way for one in found] == [False, True]
    first, last = (one.vrrp.routers[0].priority for one in found if one.vrrp is not None)
    assert first > last == 1
    documents[1] = testing.director_group(maintenance=maintenance)
    found = [plan(documents, address).plan.directing[0] for address in (DIRECTOR, "192.168.4.6")]
    assert [(one.holding, one.gives_way) for one in found] == [(Holding.HOLD, False), (Holding.RELEASE, False)]


def test_a_name_in_a_group_that_is_no_director_s_is_a_problem_and_the_plan_is_as_without_it() -> None:
    documents = files(node("d2", "192.168.4.6"))
    vrrp = {"priorities": [{"node": "d1", "priority": 150}, {"node": "d3", "priority": 100}]}
    documents[1] = testing.director_group(failover="VRRP", maintenance=["d2"], vrrp=vrrp)
    made = plan(documents, DIRECTOR)
    (problem,) = made.problems
    assert problem.object == "LvsDirectorGroup default"
    assert problem.message.startswith(
        "spec.vrrp.priorities[1].node: there is no Node d3; spec.maintenance[0]: spec.nodes.selector does not find "
        "Node d2; "
    )
    documents[1] = testing.director_group(failover="VRRP", vrrp={"priorities": vrrp["priorities"][:1]})
    without = plan(documents, DIRECTOR)
    assert (without.plan, without.problems) == (made.plan, ())


def test_two_groups_of_one_id_are_a_problem_of_the_second() -> None:
    vrrp = {"virtualRouterIds": [55]}
    groups = [testing.director_group(name, failover="VRRP", vrrp=vrrp) for name in ("default", "second")]
    documents = files(groups[1])
    documents[1] = groups[0]
    made = plan(documents, DIRECTOR)
    assert [one.holding for one in made.plan.directing] == [Holding.VRRP, Holding.KEEP]
    (problem,) = made.problems
    assert problem.object == "LvsDirectorGroup second"
    assert "55 belongs to LvsDirectorGroup default" in problem.message


def test_endpoints_need_kubernetes() -> None:
    pool = testing.real_server_pool("pods", realServers=None, endpoints={"serviceRef": {"name": "pods"}})
    with pytest.raises(InvalidObject) as caught:
        read_manifests(files(pool))
    (violation,) = caught.value.violations
    assert violation.field == "spec.endpoints"
    assert "EndpointSlices are not read from files; name the addresses in realServers" in violation.message
