"""What one node has to do, from slices as the API server hands them out."""

from lvs_api import testing
from lvs_api.bind_device import BindDevice
from lvs_api.network_types import Family, ForwardingMethod, TunnelChecksum, TunnelType
from lvs_core.cluster_view import ObjectKey
from lvs_core.compile import AgentView, PlanCompiler, compile_plan
from lvs_core.plan import DirectorPlan, Holding, HttpTarget, NodePlan, PlannedQuorum, PlannedTunnel
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw, slice_from_raw

SERVICE = ObjectKey("default", "web")


def plan(*slices: testing.Raw, active: str | None = "d1", **node: object) -> NodePlan:
    group = testing.director_group()
    group["status"] = {"active": active} if active else {}
    spec = {"addresses": None, "directorGroups": ["default"], **node}
    return compile_plan(
        AgentView(
            node="d1",
            lvs_node=lvs_node_from_raw(testing.lvs_node("d1", **spec)),
            groups={"default": group_from_raw(group)},
            slices=tuple(slice_from_raw(one) for one in slices),
        )
    )


def test_only_services_with_other_slices_are_compiled_anew() -> None:
    """And an edit, a slice that comes or goes, or another director beside this one, is not missed."""
    raw = testing.service_slice("other")
    raw["spec"]["service"] = settings(ports=[{"name": "http", "protocol": "TCP", "port": 81}])
    web_slice, other = slice_from_raw(testing.service_slice()), slice_from_raw(raw)
    edited = slice_from_raw(web(settings(scheduler="lc")))
    alone = testing.director_group()
    alone["status"] = {"active": "d1", "directors": [{"node": "d1"}]}
    crowded = testing.director_group()
    crowded["status"] = {"active": "d1", "directors": [{"node": "d1"}, {"node": "d2"}]}
    node = lvs_node_from_raw(testing.lvs_node("d1", addresses=None, directorGroups=["default"]))
    compiler = PlanCompiler()
    before: dict[ObjectKey, object] = {}
    for slices, group, anew in (
        ((web_slice, other), alone, {"web", "other"}),
        ((web_slice, other), alone, set[str]()),
        ((edited, other), alone, {"web"}),
        ((edited,), alone, set[str]()),
        ((web_slice, other), alone, {"web", "other"}),
        ((web_slice, other), crowded, {"web", "other"}),
    ):
        view = AgentView(node="d1", lvs_node=node, groups={"default": group_from_raw(group)}, slices=slices)
        made = compiler.compile(view)
        assert made == compile_plan(view)
        now: dict[ObjectKey, object] = {one.service: one for one in made.services()}
        assert {key.name for key, one in now.items() if one is not before.get(key)} == anew
        before = now


def directing(*slices: testing.Raw, active: str | None = "d1") -> DirectorPlan:
    (only,) = plan(*slices, active=active).directing
    return only


def web(service: dict[str, object] | None = None, **changes: object) -> testing.Raw:
    """The slice of the service "web" with other settings or members."""
    raw = testing.service_slice(**changes)
    if service is not None:
        raw["spec"]["service"] = service
    return raw


def settings(**changes: object) -> dict[str, object]:
    spec = testing.service_slice()["spec"]["service"]
    return {**spec, **changes}


def pool(**changes: object) -> dict[str, object]:
    return {**testing.service_slice()["spec"]["pool"], **changes}


def test_a_quorum_is_told() -> None:
    told = {"weight": 3, "hysteresis": 1, "below": "WithdrawAddress"}
    (one,) = directing(web(settings(quorum=told))).services
    assert one.quorum == PlannedQuorum(weight=3, hysteresis=1, withdraws=True)
    (one,) = directing(web(settings(quorum={}))).services
    assert one.quorum == PlannedQuorum(weight=1, hysteresis=0, withdraws=False)
    (one,) = directing(web()).services
    assert one.quorum is None


def table(director: DirectorPlan) -> list[str]:
    """As `ipvsadm -Ln` would show it."""
    rows = []
    for service in director.services:
        rows.append(f"{service.key} {service.scheduler}")
        rows += [f"  {m.address}:{m.port} {m.method} {m.weight}" for m in service.members]
    return rows


def test_gue_is_told_with_port_and_checksum_and_ports_are_sorted() -> None:
    gue = {"method": "Tunnel", "tunnel": {"type": "GUE", "port": 6080, "checksum": "UDP"}}
    member = {"name": "a", "address": "192.168.4.9", "weight": 1, "forwarding": gue, "prepared": True}
    address = {"address": testing.VIP, "device": "tunl0", "guePorts": [6081, 6080]}
    made = plan(web(members=[member]), addresses=[address])
    ((one,),) = (service.members for service in made.services())
    assert one.tunnel == PlannedTunnel(TunnelType.GUE, 6080, TunnelChecksum.UDP)
    assert made.bind[0].gue_ports == (6080, 6081)


def test_one_service() -> None:
    assert table(directing(testing.service_slice())) == [
        "TCP 192.168.4.15:80 wrr",
        "  192.168.4.100:80 DirectRouting 1",
        "  192.168.4.200:80 DirectRouting 1",
    ]


def test_each_address_and_port_is_a_virtual_service_of_its_own_and_members_serve_their_family() -> None:
    ports = [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "dns", "protocol": "UDP", "port": 53}]
    one = web(
        service=settings(addresses=[testing.VIP, testing.VIP6], ports=ports),
        members=[testing.slice_member("four", "192.168.4.100"), testing.slice_member("six", "2001:db8:4::100")],
    )
    assert table(directing(one)) == [
        "UDP 192.168.4.15:53 wrr",
        "  192.168.4.100:53 DirectRouting 1",
        "TCP 192.168.4.15:80 wrr",
        "  192.168.4.100:80 DirectRouting 1",
        "UDP [2001:db8:4::15]:53 wrr",
        "  2001:db8:4::100:53 DirectRouting 1",
        "TCP [2001:db8:4::15]:80 wrr",
        "  2001:db8:4::100:80 DirectRouting 1",
    ]


def test_ports_of_real_servers() -> None:
    nat = {"method": "Masquerade"}
    one = web(
        service=settings(ports=[{"name": "http", "protocol": "TCP", "port": 80, "realServerPort": 8080}]),
        members=[
            testing.slice_member("a", "192.168.2.1", forwarding=nat),
            testing.slice_member("b", "192.168.2.2", forwarding=nat, port=9090),
        ],
    )
    assert table(directing(one))[1:] == ["  192.168.2.1:8080 Masquerade 1", "  192.168.2.2:9090 Masquerade 1"]


def test_source_nat_is_each_members_own() -> None:
    behind = {"method": "Masquerade", "sourceNat": True}
    members = [
        testing.slice_member("a", "192.168.4.100", forwarding=behind),
        testing.slice_member("b", "192.168.4.101", forwarding={"method": "Masquerade", "sourceNat": False}),
        testing.slice_member("c", "192.168.4.102"),
    ]
    (service,) = directing(testing.service_slice(members=members)).services
    assert [member.source_nat for member in service.members] == [True, False, False]


def test_ftp_ports_are_each_ports_own_and_under_a_mark_all_of_the_service() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "b", "port": 2121, "helper": "FTP"}]
    ports.append({"name": "a", "port": 21, "helper": "FTP"})
    plan = directing(web(service=settings(ports=ports)))
    assert [(str(one.key), one.ftp_ports) for one in plan.services] == [
        (f"TCP {testing.VIP}:21", (21,)),
        (f"TCP {testing.VIP}:80", ()),
        (f"TCP {testing.VIP}:2121", (2121,)),
    ]
    (grouped,) = directing(web(service=settings(ports=ports, firewallMark={"value": 4097}))).services
    assert grouped.ftp_ports == (21, 2121)


def test_marked_packets_are_delivered_where_that_is_asked_for() -> None:
    for told, delivered in (({}, False), ({"localDelivery": False}, False), ({"localDelivery": True}, True)):
        mark = {"value": 10, "families": ["IPv4", "IPv6"], **told}
        plan = directing(web(service=settings(addresses=None, ports=None, firewallMark=mark)))
        assert [one.delivered for one in plan.services] == [delivered, delivered]


def test_port_zero_keeps_ports_and_checks_the_named_port() -> None:
    one = web(
        service=settings(
            ports=[{"name": "all", "protocol": "TCP", "port": 0}],
            persistence={"timeoutSeconds": 120, "ipv4PrefixLength": 24, "ipv6PrefixLength": 64},
        ),
        pool=pool(healthCheck={"http": {"path": "/alive", "expectedStatuses": [204, 200]}, "port": 8000}),
    )
    (service,) = directing(one).services
    assert service.persistence is not None
    assert (service.persistence.timeout_seconds, service.persistence.prefix_length) == (120, 24)
    first = service.members[0]
    assert first.port == 0
    assert first.check is not None
    assert first.check.port == 8000
    assert first.check.what == HttpTarget(path="/alive", host=None, expected_statuses=(200, 204))


def test_members_of_all_slices_are_one_service() -> None:
    rest = testing.service_slice(index=1, members=[testing.slice_member("rs3", "192.168.4.101")])
    members = directing(rest, testing.service_slice()).services[0].members
    assert [member.name for member in members] == ["rs1", "rs2", "rs3"]


def test_a_service_without_its_first_slice_is_left_alone() -> None:
    director = directing(testing.service_slice(index=1))
    assert director.services == ()
    assert director.incomplete == (SERVICE,)
    assert director.addresses == ()


def test_a_key_is_served_once() -> None:
    director = directing(testing.service_slice("a"), testing.service_slice("b"))
    assert [service.service.name for service in director.services] == ["a"]
    ((service, key, holder),) = director.conflicts
    assert (service.name, str(key), holder.name) == ("b", "TCP 192.168.4.15:80", "a")


def test_of_two_members_with_one_destination_the_one_that_stays_is_planned() -> None:
    one = testing.service_slice(
        members=[
            testing.slice_member("a", "192.168.4.100", draining={"timeoutSeconds": 5}),
            testing.slice_member("b", "192.168.4.100"),
        ]
    )
    assert [member.name for member in directing(one).services[0].members] == ["b"]


def test_who_may_have_weight() -> None:
    one = testing.service_slice(
        members=[
            testing.slice_member("drains", "192.168.4.1", draining={"timeoutSeconds": 5}),
            testing.slice_member("ready", "192.168.4.2"),
            testing.slice_member("refused", "192.168.4.3", refused="DirectorIsRealServer"),
            testing.slice_member("unprepared", "192.168.4.4", prepared=False),
        ]
    )
    members = directing(one).services[0].members
    assert [member.name for member in members if member.may_have_weight] == ["ready"]


def test_what_is_held_is_served_and_the_digest_does_not_speak_of_it() -> None:
    live, gone = testing.service_slice("live"), testing.service_slice("gone")
    gone["spec"]["service"]["addresses"] = ["192.168.4.16"]
    clash = testing.service_slice("clash")
    slices = [slice_from_raw(one) for one in (clash, gone, live)]
    view = AgentView(
        node="d1",
        lvs_node=lvs_node_from_raw(testing.lvs_node("d1", addresses=None, directorGroups=["default"])),
        slices=tuple(slices),
        held={ObjectKey("default", "gone"): "why", ObjectKey("default", "clash"): "why too"},
        acted_on=tuple(slices[2:]),
    )
    (director,) = compile_plan(view).directing
    assert [one.service.name for one in director.services] == ["gone", "live"]
    assert director.view_digest == directing(live).view_digest
    assert director.held == ((ObjectKey("default", "clash"), "why too"), (ObjectKey("default", "gone"), "why"))
    ((loser, _, holder),) = director.conflicts
    assert (loser.name, holder.name) == ("clash", "live"), "what is there goes before what is held"


def test_holding_follows_the_active_director() -> None:
    assert directing(testing.service_slice()).holding is Holding.HOLD
    assert directing(testing.service_slice(), active="d2").holding is Holding.RELEASE
    assert directing(testing.service_slice(), active=None).holding is Holding.KEEP


def test_an_unknown_group_moves_nothing() -> None:
    view = AgentView(node="d1", lvs_node=lvs_node_from_raw(testing.lvs_node("d1", directorGroups=["gone"])))
    (director,) = compile_plan(view).directing
    assert director.holding is Holding.KEEP


def test_slices_of_other_groups_are_not_served() -> None:
    director = directing(testing.service_slice(directorGroup="other"))
    assert director.services == ()


def test_bound_addresses() -> None:
    addresses = [{"address": "192.168.4.15", "device": "tunl0"}, {"address": "192.168.4.15", "device": "lo"}]
    made = plan(addresses=addresses, directorGroups=None)
    assert [(str(one.address), one.device) for one in made.bind] == [
        ("192.168.4.15", BindDevice.LO),
        ("192.168.4.15", BindDevice.TUNL0),
    ]
    assert made.bound_families() == {(Family.IPV4, BindDevice.LO), (Family.IPV4, BindDevice.TUNL0)}
    assert made.directing == ()


def test_a_node_without_lvs_node_has_no_part() -> None:
    assert compile_plan(AgentView(node="d1", lvs_node=None)) == NodePlan(node="d1", observed_generation=None)


def test_methods_tell_the_sysctls() -> None:
    one = testing.service_slice(members=[testing.slice_member("a", "192.168.2.1", forwarding={"method": "Masquerade"})])
    assert directing(one).methods() == {(Family.IPV4, ForwardingMethod.MASQUERADE)}


def test_answers_of_the_network_are_told_as_mac_addresses() -> None:
    raw = testing.director_group(ignoreAnswersFrom=["02:00:5e:00:01:af", "0a:0b:0c:0d:0e:0f"])
    node = lvs_node_from_raw(testing.lvs_node("d1", addresses=None, directorGroups=["default"]))
    view = AgentView(node="d1", lvs_node=node, groups={"default": group_from_raw(raw)})
    (director,) = compile_plan(view).directing
    assert director.ignored_answers == {b"\x02\x00\x5e\x00\x01\xaf", b"\x0a\x0b\x0c\x0d\x0e\x0f"}
