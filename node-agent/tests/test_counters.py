"""The kernel's counters under the objects' names: as metrics, bounded, and whole as the table for kubectl lvs list."""

import asyncio
import json
import re
import threading
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from agent_world import NO_PART, SERVICE, World, destination, director, member, real_server, service, service_on
from prometheus_client.parser import text_string_to_metric_families
from waiting_for import until

from lvs_agent.decide.kernel_settings import SyncDaemon, SyncState
from lvs_agent.decide.kernel_state import (
    AddressFamily,
    AnyServiceKey,
    DestinationKey,
    DestinationSettings,
    DestinationState,
    FirewallMarkKey,
    ForwardingMethod,
    Persistence,
    ServiceFlag,
    ServiceSettings,
    ServiceState,
    TrafficCounters,
    TunnelFlag,
    TunnelSettings,
    TunnelType,
)
from lvs_agent.kernel.connections import ProcConnections
from lvs_agent.serve.status_server import Shown, background_page, serve_pages
from lvs_agent.serve.table_view import TableView
from lvs_api.director_table import DirectorTable
from lvs_core.plan import VirtualServerKey

Labels = dict[str, str]
HTTP = {"namespace": "default", "service": "web", "port": "http", "address": "192.168.4.15"}


def view(world: World, *, most: int = 1000) -> TableView:
    return TableView(
        lambda: world.ipvs,
        lambda: world.settings,
        world.agent.naming,
        world.metrics,
        connections=ProcConnections(),
        node_name="node",
        most_members=most,
    )


def count(world: World, key: AnyServiceKey, one: DestinationKey, **changes: int) -> None:
    """As if there had been traffic to a destination of a service, and twice as much through the service."""
    state = world.ipvs.services[key]
    found = state.destinations[one]
    connections = {name: changes.pop(name) for name in [*changes] if name.endswith("_connections")}
    counted = found._replace(counters=found.counters._replace(**changes), **connections)  # type: ignore[arg-type]  # fields of each type
    twice = state.counters._replace(**{name: 2 * number for name, number in changes.items()})
    changed = replace(state, destinations={**state.destinations, one: counted}, counters=twice)
    world.ipvs.services[key] = changed


def scrape(world: World, *, most: int = 1000) -> dict[str, list[tuple[Labels, float]]]:
    """Every sample by name, as a scraper reads it."""
    text = view(world, most=most).metrics_page().body.decode()
    found: dict[str, list[tuple[Labels, float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_every_counter_is_a_metric_under_the_objects_names(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100, weight=3), member(101))))
    traffic = TrafficCounters(*range(1, 11))._asdict()
    count(world, SERVICE, destination(100), active_connections=20, inactive_connections=21, persistent_connections=22)
    count(world, SERVICE, destination(100), **traffic)
    found = scrape(world)
    one = HTTP | {"member": "rs100"}
    names = ("connections", "incoming_packets", "outgoing_packets", "incoming_bytes", "outgoing_bytes")
    for number, name in enumerate(names, 1):
        assert found[f"lvs_virtual_service_{name}_total"] == [(HTTP, 2.0 * number)]
        assert found[f"lvs_virtual_service_{name}_per_second"] == [(HTTP, 2.0 * (number + 5))]
        assert found[f"lvs_real_server_{name}_total"] == [(one, float(number)), (HTTP | {"member": "rs101"}, 0.0)]
        assert (one, number + 5.0) in found[f"lvs_real_server_{name}_per_second"]
    gauges = {"weight": 3, "active_connections": 20, "inactive_connections": 21, "persistent_connections": 22}
    for name, value in gauges.items():
        assert (one, float(value)) in found[f"lvs_real_server_{name}"]
    assert found["lvs_agent_counters_up"] == found["lvs_agent_counters_wide"] == [({}, 1.0)]


async def test_names_follow_the_rules_and_types_fit(tmp_path: Path) -> None:
    """https://prometheus.io/docs/practices/naming/: counters, and nothing else, end in _total."""
    world = World(tmp_path)
    await world.do(director(service(member(100))))
    text = view(world).metrics_page().body.decode()
    types = dict(re.findall(r"^# TYPE (lvs_(?:virtual|real)\S+) (\S+)$", text, re.MULTILINE))
    assert len(types) == 24
    assert all((kind == "counter") == name.endswith("_total") for name, kind in types.items())
    helped = set(re.findall(r"^# HELP (lvs_(?:virtual|real)\S+) .", text, re.MULTILINE))
    assert helped == set(types)


async def test_beyond_the_bound_the_largest_services_are_summed(tmp_path: Path) -> None:
    world = World(tmp_path)
    large = service(*(member(number, weight=2) for number in (100, 101, 102)))
    key = VirtualServerKey(address=ip_address("192.168.4.15"), port=443, protocol=large.key.protocol)
    small = service(member(103, port=443), key=key, port_name="https")
    await world.do(director(large, small))
    for number in (100, 101):
        count(world, SERVICE, destination(number), active_connections=number, connections=7)
    found = scrape(world, most=3)
    assert found["lvs_real_server_active_connections"] == [
        (HTTP | {"member": ""}, 201.0),
        (HTTP | {"port": "https", "member": "rs103"}, 0.0),
    ]
    assert found["lvs_real_server_weight"][0] == (HTTP | {"member": ""}, 6.0)
    assert found["lvs_real_server_connections_total"][0] == (HTTP | {"member": ""}, 14.0), "the service's own count"
    assert found["lvs_agent_counters_summed_services"] == [({}, 1.0)]
    assert [labels["member"] for labels, _ in scrape(world, most=0)["lvs_real_server_weight"]] == ["", ""]
    assert len(scrape(world, most=4)["lvs_real_server_weight"]) == 4
    assert world.metric("lvs_agent_counters_summed_services") == 0


async def test_what_is_not_ours_has_no_metric(tmp_path: Path) -> None:
    """Neither a stranger's service, also where ours shall be, nor a stranger's real server in a service of ours."""
    world = World(tmp_path)
    foreign = ServiceState(settings=ServiceSettings(scheduler="sed"))
    state = DestinationState(DestinationSettings(weight=1, method=ForwardingMethod.MASQUERADE))
    world.ipvs.services = {service_on(80): foreign, service_on(8080): foreign}
    https = VirtualServerKey(address=ip_address("192.168.4.15"), port=443, protocol=service().key.protocol)
    ours = service(member(100, port=443), key=https, port_name="https")
    await world.do(director(service(member(100)), ours))
    held = world.ipvs.services[service_on(443)]
    world.ipvs.services[service_on(443)] = replace(held, destinations={**held.destinations, destination(109): state})
    await world.later(1)
    found = scrape(world)
    assert [labels["port"] for labels, _ in found["lvs_virtual_service_connections_total"]] == ["https"]
    assert [labels["member"] for labels, _ in found["lvs_real_server_weight"]] == ["rs100"]
    told = DirectorTable.model_validate_json(view(world).table_page().body)
    assert [(one.port, one.name) for one in told.services] == [(80, None), (8080, None), (443, "web")]
    assert [(one.name, one.ours) for one in told.services[2].real_servers] == [("rs100", True), (None, False)]


async def test_one_that_left_the_slices_goes_by_its_address_until_it_has_drained(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100), member(101))))
    count(world, SERVICE, destination(101), active_connections=1)
    await world.do(director(service(member(100))))
    rows = scrape(world)["lvs_real_server_active_connections"]
    assert rows == [(HTTP | {"member": "rs100"}, 0.0), (HTTP | {"member": "192.168.4.101:80"}, 1.0)]


async def test_the_name_is_that_of_the_one_that_stays(tmp_path: Path) -> None:
    world = World(tmp_path)
    old, new = member(100, name="a", draining_seconds=300), member(100, name="b")
    await world.do(director(service(member(100, name="a"))))
    await world.do(director(service(old, new)))
    assert [labels["member"] for labels, _ in scrape(world)["lvs_real_server_weight"]] == ["b"]


async def test_a_table_that_can_not_be_read_is_said_and_other_metrics_stay(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100))))
    world.ipvs.available = False
    found = scrape(world)
    assert found["lvs_agent_counters_up"] == [({}, 0.0)]
    assert "lvs_real_server_weight" not in found
    assert found["lvs_agent_rounds_total"]
    page = view(world).table_page()
    assert not page.well
    assert page.body.startswith(b"the kernel has no IPVS")
    world.ipvs.available = True
    assert scrape(world)["lvs_agent_counters_up"] == [({}, 1.0)]


@pytest.mark.parametrize("plan", [None, NO_PART, real_server("192.168.4.15")])
async def test_a_node_that_directs_nothing_is_not_asked(tmp_path: Path, plan: object) -> None:
    """Asking for the table loads ip_vs."""
    world = World(tmp_path)
    await world.do(plan)  # type: ignore[arg-type]  # None, too
    before = world.ipvs.reads
    assert "lvs_virtual_service_connections_total" not in scrape(world)
    page = view(world).table_page()
    assert (page.well, world.ipvs.reads) == (False, before)
    assert b"no director" in page.body


async def test_the_table_is_told_whole(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100, upper_threshold=9, lower_threshold=4))))
    count(world, SERVICE, destination(100), active_connections=2, in_bytes=2**40)
    settings = ServiceSettings(
        scheduler="mh",
        flags=ServiceFlag.ONE_PACKET | ServiceFlag.SCHEDULER_1 | ServiceFlag.SCHEDULER_2,
        persistence=Persistence(timeout_seconds=60, prefix_length=64),
        persistence_engine="sip",
    )
    tunnel = TunnelSettings(type=TunnelType.GUE, port=6080, flags=TunnelFlag.CHECKSUM)
    six = DestinationKey(address=ip_address("2001:db8::1"), port=0)
    tunnelled = DestinationState(DestinationSettings(weight=1, method=ForwardingMethod.TUNNEL, tunnel=tunnel))
    mark = FirewallMarkKey(family=AddressFamily.IPV6, mark=10)
    world.ipvs.services[mark] = ServiceState(settings=settings, destinations={six: tunnelled})
    daemon = SyncDaemon(interface="eth0", sync_id=3, group=ip_address("224.0.0.81"), port=8848, ttl=1)
    world.settings.start_daemon(SyncState.MASTER, daemon)
    page = view(world).table_page()
    assert (page.well, page.content_type) == (True, "application/json")
    told = json.loads(page.body)
    assert DirectorTable.model_validate(told).services[0].real_servers[0].connections == 2
    web, marked = told["services"]
    assert (told["node"], told["ipvsVersion"], told["connectionTableSize"]) == ("node", "1.2.1", 4096)
    assert told["timeouts"] == {"tcpSeconds": 900, "tcpFinSeconds": 120, "udpSeconds": 300}
    assert told["syncDaemons"] == [
        {
            "state": "master",
            "interface": "eth0",
            "syncId": 3,
            "maxLength": 1472,
            "group": "224.0.0.81",
            "port": 8848,
            "ttl": 1,
        }
    ]
    assert (web["namespace"], web["name"], web["portName"], web["protocol"]) == ("default", "web", "http", "TCP")
    (found,) = web["realServers"]
    assert (found["name"], found["upperThreshold"], found["lowerThreshold"]) == ("rs100", 9, 4)
    assert (found["method"], found["traffic"]["inBytes"]) == ("DirectRouting", 2**40)
    assert (marked["firewallMark"], marked["family"], marked["onePacketScheduling"]) == (10, "IPv6", True)
    assert marked["schedulerFlags"] == ["mh-fallback", "mh-port"]
    assert marked["persistence"] == {"timeoutSeconds": 60, "prefixLength": 64, "engine": "sip"}
    assert marked["realServers"][0]["tunnel"] == {"type": "GUE", "port": 6080, "flags": ["CHECKSUM"]}
    assert "name" not in marked


async def test_a_page_under_way_is_shared_and_the_loop_goes_on() -> None:
    made, may_go = [], threading.Event()

    def make() -> Shown:
        made.append(threading.current_thread())
        may_go.wait(20)
        return Shown(well=True, body=b"page")

    server = await serve_pages("127.0.0.1", 0, {"/metrics": background_page(make)})
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, httpx2.AsyncClient(base_url=base, timeout=20) as client:
        one, other = (asyncio.create_task(client.get("/metrics")) for _ in range(2))
        await until(lambda: bool(made))
        assert (await client.get("/other")).status_code == 404
        may_go.set()
        assert [(await one).text, (await other).text] == ["page", "page"]
        assert (await client.get("/metrics")).text == "page"
    assert len(made) == 2
    assert threading.current_thread() not in made
