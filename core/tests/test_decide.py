"""Tables of what is accepted, refused and said, from objects as users write them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from core_conditions import brief, condition
from core_objects import WEB, group, node, pool, real_servers, service, small_cluster
from simulated_cluster import NOW, SimulatedCluster

from lvs_api import testing
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.network_types import ForwardingMethod
from lvs_core.cluster_view import ObjectKey

EVERY_PORT = {"name": "all", "port": 0}
SCTP_PORT = {"name": "s", "protocol": "SCTP", "port": 9899}
REFERENCES = [
    (
        lambda c: c.pools.clear(),
        "ResolvedRefs",
        "PoolNotFound",
        "spec.realServerPoolRef.name: LvsRealServerPool",
    ),
    (
        lambda c: c.groups.clear(),
        "ResolvedRefs",
        "DirectorGroupNotFound",
        "spec.directorGroupRef.name: LvsDirectorGroup",
    ),
    (lambda c: c.put(pool(c, onFailure="Best")), "ResolvedRefs", "Invalid", "spec.onFailure"),
    (lambda c: c.put(service(c, scheduler="best")), "Accepted", "Invalid", "spec.scheduler"),
    (
        lambda c: c.put(service(c, ports=[{"name": "all", "port": 0}])),
        "Accepted",
        "Invalid",
        "spec.ports: port 0 (every port) needs persistence",
    ),
    (
        lambda c: c.put(service(c, addresses=["192.168.4.100"])),
        "Accepted",
        "NodeAddress",
        "spec.addresses[0]: 192.168.4.100 is an address of Node n1",
    ),
    (
        lambda c: c.put(pool(c, realServers=[{"name": "a", "address": "192.168.4.9", "port": 8080}])),
        "Accepted",
        "PortMismatch",
        "LvsRealServerPool default/web spec.realServers[a].port: 8080 differs from the service's port 80",
    ),
    (
        lambda c: c.put(pool(c, realServers=[{"name": "a", "address": testing.VIP}])),
        "Accepted",
        "Invalid",
        "spec.realServers[a].address: 192.168.4.15 is an address of the service itself",
    ),
    (
        lambda c: c.put(
            pool(
                c,
                realServers=[
                    {"name": "a", "address": "192.168.4.9"},
                    {"name": "b", "address": "192.168.4.9", "port": 80},
                ],
            )
        ),
        "Accepted",
        "Invalid",
        "a and b are both 192.168.4.9 port 80",
    ),
    (
        lambda c: (c.put(service(c, ports=[EVERY_PORT], persistence={})), c.put(pool(c, healthCheck={"tcp": {}}))),
        "Accepted",
        "Invalid",
        "spec.healthCheck.port: is needed, for this service balances every port",
    ),
    (
        lambda c: (c.put(service(c, ports=[SCTP_PORT])), c.put(pool(c, healthCheck={"http": {}}))),
        "Accepted",
        "Invalid",
        "spec.healthCheck.port: is needed, for spec.ports[s] is SCTP, and checks connect by TCP",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "reason", "message"), REFERENCES)
@pytest.mark.parametrize("running", [False, True], ids=["new", "running"])
def test_what_is_wrong_is_named_and_freezes(
    spoil: Callable[[SimulatedCluster], None], kind: str, reason: str, message: str, running: bool
) -> None:
    cluster = small_cluster()
    if running:
        cluster.settle()
    before = dict(cluster.slices)
    spoil(cluster)
    cluster.round()
    said = condition(cluster, ConditionType(kind))
    assert (said.status, said.reason) == ("False", reason)
    assert message in said.message
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("False", reason)
    assert message in ready.message
    assert {key: one.content for key, one in cluster.slices.items()} == {k: one.content for k, one in before.items()}
    if running and kind == "Accepted":
        assert "goes on unchanged" in said.message


def test_an_sctp_service_is_checked_at_a_named_port() -> None:
    cluster = small_cluster(ports=[SCTP_PORT])
    cluster.put(pool(cluster, healthCheck={"tcp": {}, "port": 9900}))
    cluster.settle()
    assert brief(cluster)["Ready"].startswith("True")


def test_a_frozen_service_still_loses_members_that_are_not_prepared() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.pools.clear()
    cluster.nodes["n1"] = replace(cluster.nodes["n1"], ready=False)
    cluster.round()
    (one,) = cluster.slices.values()
    assert [member.prepared for member in one.content.members] == [False, True]


def test_a_masqueraded_member_may_have_a_port_of_its_own() -> None:
    cluster = small_cluster(forwarding={"method": "Masquerade"})
    cluster.put(pool(cluster, realServers=[{"name": "a", "address": "192.168.4.9", "port": 8080}]))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"
    two = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    cluster.put(service(cluster, forwarding={"method": "Masquerade"}, ports=two))
    cluster.round()
    assert "is for services of one port, and this one has 2" in condition(cluster, ConditionType.ACCEPTED).message


def test_a_member_that_overrides_the_method_cannot_change_ports() -> None:
    cluster = small_cluster(
        forwarding={"method": "Masquerade"}, ports=[{"name": "http", "port": 80, "realServerPort": 8080}]
    )
    cluster.put(
        pool(
            cluster,
            realServers=[{"name": "a", "address": "192.168.4.9", "forwarding": {"method": "DirectRouting"}}],
        )
    )
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert said.reason == "PortMismatch"
    assert "spec.realServers[a].forwarding" in said.message
    assert "spec.ports[http].realServerPort 8080" in said.message


@pytest.mark.parametrize("own", [{"method": "DirectRouting"}, {"method": "Masquerade", "sourceNat": True}])
def test_a_member_that_the_helper_can_not_follow_is_refused(own: dict[str, object]) -> None:
    ports = [{"name": "ftp", "port": 21, "helper": "FTP"}]
    cluster = small_cluster(forwarding={"method": "Masquerade"}, ports=ports)
    followed = {"name": "a", "address": "192.168.4.9", "forwarding": {"method": "Masquerade"}}
    cluster.put(pool(cluster, realServers=[followed]))
    cluster.round()
    assert brief(cluster)["Accepted"] == "True Accepted"
    cluster.put(pool(cluster, realServers=[followed, {"name": "b", "address": "192.168.4.10", "forwarding": own}]))
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED)
    assert (said.status, said.reason) == ("False", "Invalid")
    assert "LvsRealServerPool default/web spec.realServers[b].forwarding: spec.ports[ftp].helper" in said.message


OTHER = ObjectKey("default", "other")


def other(cluster: SimulatedCluster, **changes: object) -> None:
    cluster.put(service(cluster, "other", realServerPoolRef={"name": "web"}, **changes))


def test_of_two_new_services_the_older_one_wins() -> None:
    cluster = small_cluster()
    other(cluster)
    cluster.round()
    assert brief(cluster)["Accepted"] == "True Accepted"
    said = condition(cluster, ConditionType.ACCEPTED, OTHER)
    assert (said.status, said.reason) == ("False", "Conflict")
    assert said.message == (
        "spec.ports[http]: 192.168.4.15 port 80/TCP belongs to LvsVirtualService default/web; "
        "use another address or port, or delete that one"
    )


def test_the_incumbent_wins_against_an_older_service_that_is_edited() -> None:
    cluster = small_cluster(addresses=["192.168.4.16"])
    other(cluster)
    cluster.settle()
    cluster.put(service(cluster))
    cluster.round()
    assert brief(cluster)["Accepted"] == "False Conflict"
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"
    served = {one.service_key: one.content.service.addresses for one in cluster.slices.values()}
    assert served == {WEB: ["192.168.4.16"], OTHER: [testing.VIP]}
    cluster.delete_service(OTHER)
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_after_a_restore_the_accepted_status_is_the_incumbent() -> None:
    cluster = small_cluster(addresses=["192.168.4.16"])
    other(cluster)
    cluster.settle()
    cluster.slices.clear()
    cluster.services[WEB] = replace(cluster.services[WEB], spec=cluster.services[OTHER].spec)
    cluster.round()
    assert brief(cluster, OTHER)["Accepted"] == "True Accepted"
    assert brief(cluster)["Accepted"] == "False Conflict"


def test_other_ports_and_protocols_of_one_address_are_free() -> None:
    cluster = small_cluster()
    other(cluster, ports=[{"name": "dns", "protocol": "UDP", "port": 80}, {"name": "alt", "port": 81}])
    cluster.settle()
    assert brief(cluster, OTHER)["Ready"] == "True Ready"


def test_one_address_is_in_one_group() -> None:
    cluster = small_cluster()
    cluster.put(group(cluster, "second"))
    other(cluster, ports=[{"name": "alt", "port": 81}], directorGroupRef={"name": "second"})
    cluster.round()
    said = condition(cluster, ConditionType.ACCEPTED, OTHER)
    assert said.reason == "Conflict"
    assert "spec.addresses[0]: 192.168.4.15 is carried by the directors of LvsDirectorGroup default" in said.message


def test_a_service_made_anew_waits_for_its_predecessors_slices() -> None:
    cluster = small_cluster()
    cluster.settle()
    cluster.delete_service(WEB, collect=False)
    cluster.put(service(cluster))
    cluster.round()
    assert brief(cluster)["Accepted"] == "Unknown Pending"
    assert cluster.slices == {}
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready"


def test_a_service_being_deleted_is_gone_with_its_slices() -> None:
    cluster = small_cluster()
    cluster.settle()
    meta = replace(cluster.services[WEB].meta, deletion_timestamp=NOW)
    cluster.services[WEB] = replace(cluster.services[WEB], meta=meta)
    decision = cluster.round()
    assert WEB not in decision.services
    assert cluster.slices == {}


def crowded(monkeypatch: pytest.MonkeyPatch) -> SimulatedCluster:
    """A cluster whose LvsNodes name one address at most; `web` has it."""
    for where in ("node_specs", "service_status"):
        monkeypatch.setattr(f"lvs_core.{where}.MAX_NODE_ADDRESSES", 1)
    cluster = small_cluster()
    cluster.settle()
    return cluster


def test_a_node_without_room_for_an_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = crowded(monkeypatch)
    cluster.put(pool(cluster, "mail"))
    cluster.put(service(cluster, "mail", addresses=["192.168.4.14"]))
    cluster.settle()
    assert brief(cluster)["Ready"] == "True Ready", "what was there first stays, though the other comes before it"
    ready = condition(cluster, ConditionType.READY, ObjectKey("default", "mail"))
    assert (ready.status, ready.reason) == ("False", "NodeFull")
    assert "no room for another address on n1, n2: a LvsNode names at most 1" in ready.message
    cluster.delete_service(WEB)
    cluster.settle()
    assert condition(cluster, ConditionType.READY, ObjectKey("default", "mail")).reason == "Ready"


def test_a_method_that_has_no_room_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = crowded(monkeypatch)
    cluster.put(service(cluster, forwarding={"method": "Tunnel"}))
    cluster.settle()
    ready = condition(cluster, ConditionType.READY)
    assert (ready.status, ready.reason) == ("True", "NodeFull")
    assert ready.message.startswith("2 of 2 real servers take connections; no room for another address on n1, n2")
    (one,) = cluster.slices.values()
    assert {member.forwarding.method for member in one.content.members} == {ForwardingMethod.DIRECT_ROUTING}


def test_families() -> None:
    cluster = small_cluster(addresses=[testing.VIP, testing.VIP6])
    cluster.settle()
    resolved = condition(cluster, ConditionType.RESOLVED_REFS)
    assert (resolved.status, resolved.reason) == ("False", "FamilyMismatch")
    assert resolved.message.startswith("spec.addresses[1]: 2001:db8:4::15 is IPv6, and LvsRealServerPool default/web")
    assert brief(cluster)["Programmed"] == "True Programmed"
    cluster.put(pool(cluster, realServers=real_servers(rs1="192.168.4.100", six="2001:db8:4::100")))
    cluster.settle()
    assert brief(cluster)["ResolvedRefs"] == "True ResolvedRefs"
    cluster.put(service(cluster))
    cluster.settle()
    assert condition(cluster, ConditionType.RESOLVED_REFS).message.endswith(
        "nothing of the service has their family: six"
    )
    assert cluster.services[WEB].status.real_servers.total == 1


def test_nodes_by_selector_and_weights_by_name() -> None:
    cluster = small_cluster()
    for name in ("n1", "n2"):
        cluster.nodes[name] = replace(cluster.nodes[name], labels={"app": "web"})
    dual = replace(
        node("n3", "192.168.4.201", labels={"app": "web"}), internal_addresses=("192.168.4.201", "2001:db8::3")
    )
    cluster.add_node(dual)
    cluster.put(service(cluster, addresses=[testing.VIP, testing.VIP6]))
    heavy = [{"name": "heavy", "address": "192.168.4.200", "weight": 9}]
    cluster.put(pool(cluster, realServers=heavy, nodes={"selector": {"matchLabels": {"app": "web"}}}, weight=3))
    cluster.settle()
    (one,) = cluster.slices.values()
    assert [(m.name, m.address, m.weight, m.node) for m in one.content.members] == [
        ("heavy", "192.168.4.200", 9, "n2"),
        ("node.n1", "192.168.4.100", 3, "n1"),
        ("node.n3", "192.168.4.201", 3, "n3"),
        ("node6.n3", "2001:db8::3", 3, "n3"),
    ]
    assert cluster.pools[WEB].status.members == 3
    assert [(one.address, one.device) for one in cluster.lvs_nodes["n3"].spec.addresses] == [
        ("192.168.4.15", "lo"),
        ("2001:db8:4::15", "lo"),
    ]


def test_a_pool_without_members() -> None:
    cluster = small_cluster()
    cluster.put(pool(cluster, realServers=None, nodes={"selector": {"matchLabels": {"app": "none"}}}))
    cluster.settle()
    assert brief(cluster)["Ready"] == "False NoMembers"
    assert find_condition(cluster.pools[WEB].status.conditions, ConditionType.READY).reason == "NoMembers"
