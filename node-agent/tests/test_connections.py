"""Connections as the kernel writes them, as the agent tells them: bounded, and on directors only."""

from pathlib import Path

import pytest
from agent_world import NO_PART, World, director, member, service

from lvs_agent.decide.told_connections import tell_connections
from lvs_agent.errors import IpvsReadFailed, IpvsUnavailable
from lvs_agent.kernel.connections import ProcConnections
from lvs_agent.serve.table_view import MOST_CONNECTIONS, TableView
from lvs_api.director_table import DirectorConnections

HEADING = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"
FOUR = "TCP C0A80401 9C41 C0A8040F 0050 C0A80464 0050 ESTABLISHED     899\n"
SIX = (
    "UDP 2001:0db8:0000:0000:0000:0000:0000:0001 1388 2001:0db8:0004:0000:0000:0000:0000:0015 0035 "
    "2001:0db8:0004:0000:0000:0000:0000:0100 0035 UDP             299\n"
)
MIXED = "TCP C0A80401 9C42 C0A8040F 0050 2001:0db8:0004:0000:0000:0000:0000:0100 0050 SYN_RECV         59\n"
TEMPLATE = "IP  C0A80400 0000 0000000A 0000 C0A80464 0000 NONE             60\n"
ENGINE = "UDP C0A80401 0000 C0A8040F 13C4 C0A80464 13C4 NONE            300 sip call-1\n"


def view(world: World, path: Path | None) -> TableView:
    return TableView(
        lambda: world.ipvs,
        lambda: world.settings,
        world.agent.naming,
        world.metrics,
        connections=ProcConnections(path) if path is not None else None,
        node_name="node",
        most_members=0,
    )


def test_every_kind_of_line() -> None:
    found = tell_connections("node", [FOUR, SIX, MIXED, TEMPLATE, ENGINE], cut=False).connections
    four, six, mixed, template, engine = (one.model_dump() for one in found)
    assert four == {
        "protocol": "TCP",
        "client_address": "192.168.4.1",
        "client_port": 40001,
        "virtual_address": "192.168.4.15",
        "virtual_port": 80,
        "address": "192.168.4.100",
        "port": 80,
        "state": "ESTABLISHED",
        "expires_seconds": 899,
    }
    assert (six["client_address"], six["client_port"], six["virtual_address"]) == (
        "2001:db8::1",
        5000,
        "2001:db8:4::15",
    )
    assert (mixed["virtual_address"], mixed["address"]) == ("192.168.4.15", "2001:db8:4::100")
    assert (template["protocol"], template["virtual_address"], template["client_port"]) == ("IP", "0.0.0.10", 0)
    assert (engine["virtual_port"], engine["expires_seconds"]) == (5060, 300)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("TCP C0A80401 9C41\n", "no line of a connection: 'TCP C0A80401 9C41'"),
        (FOUR.replace("899", "never"), "invalid literal"),
        (FOUR.replace("C0A80401", "client"), "invalid literal"),
    ],
)
def test_a_line_of_another_form_is_an_error(line: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        tell_connections("node", [line], cut=False)


def test_the_file_is_read_up_to_the_bound(tmp_path: Path) -> None:
    file = tmp_path / "ip_vs_conn"
    with pytest.raises(IpvsUnavailable, match="not loaded"):
        ProcConnections(file).read(2)
    for lines, cut in (([], False), ([FOUR, SIX], False), ([FOUR, SIX, FOUR], True)):
        file.write_text("".join([HEADING, *lines]), encoding="ascii")
        read = ProcConnections(file).read(2)
        assert (read.lines, read.cut) == (tuple(lines[:2]), cut)
    with pytest.raises(IpvsReadFailed, match="directory"):
        ProcConnections(tmp_path).read(2)


async def test_the_page_tells_them_with_the_nodes_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100))))
    file = tmp_path / "ip_vs_conn"
    page = view(world, file).connections_page()
    assert (page.well, page.body) == (False, b"the kernel has no connections of IPVS: ip_vs is not loaded\n")
    file.write_text(HEADING + FOUR * (MOST_CONNECTIONS + 1), encoding="ascii")
    page = view(world, file).connections_page()
    assert (page.well, page.content_type) == (True, "application/json")
    told = DirectorConnections.model_validate_json(page.body)
    assert (told.node, len(told.connections), told.cut) == ("node", MOST_CONNECTIONS, True)
    assert len(page.body) < 3_000_000
    file.write_text(HEADING + "?\n", encoding="ascii")
    page = view(world, file).connections_page()
    assert (page.well, page.body) == (False, b"no line of a connection: '?'\n")


async def test_who_the_clients_are_is_told_only_where_it_was_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.do(director(service(member(100))))
    page = view(world, None).connections_page()
    assert (page.well, b"nodeAgent.showConnections=true" in page.body) == (False, True)


@pytest.mark.parametrize("plan", [None, NO_PART])
async def test_a_node_that_directs_nothing_tells_none(tmp_path: Path, plan: object) -> None:
    world = World(tmp_path)
    await world.do(plan)  # type: ignore[arg-type]  # None, too
    file = tmp_path / "ip_vs_conn"
    file.write_text(HEADING + FOUR, encoding="ascii")
    page = view(world, file).connections_page()
    assert (page.well, b"no director" in page.body) == (False, True)
