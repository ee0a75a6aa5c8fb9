"""From an older version to this one and back, on real kubelets, under connections that live through all of it.

`--upgrade-from=REVISION` says what to come from; else it is the last tag. That revision's images are built by its own
code, and installed by its own chart. The tests are one story on one lab and stand in its order: both at once there and
back, then operator and agents apart. Figures are printed (`pytest -rP`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from lvs_lab.waiting import wait_for
from support.chart_deployment import ChartDeployment
from support.long_connections import long_connections
from support.older_revision import older_version, present_version
from support.quick_start import KEY, SERVERS, VIP, quick_shape
from support.tables import parse_table
from support.traffic import answers
from support.upgrade import DIRECTORS, NODES, Upgrade, Writes, older_installed
from support.upgrade_option import UPGRADE_OPTION, older_revision

pytestmark = [pytest.mark.lab, pytest.mark.kubelet, pytest.mark.long, pytest.mark.timeout(2400)]
READY_SECONDS: Final = 120.0
TALKING: Final = 9
SILENT: Final = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class SetUp:
    """How the directors are."""

    values: tuple[str, ...] = ()
    """Of the chart."""
    service: dict[str, Any] = field(default_factory=dict)
    """Of the service's spec."""
    table: str
    """How the tables have it, by ipvsadm."""
    edited: dict[str, Any]
    """The edit of the service that is made and taken back in mixed states."""

    @property
    def moves(self) -> bool:
        return bool(self.values)


SET_UPS: Final = {
    "None": SetUp(service={"scheduler": "rr"}, table="rr", edited={"scheduler": "wrr"}),
    # Who takes over finds the same real server by the hash of address and port, and needs to know no connection. What
    # falls to one whose agent is away for longer than its Lease, and that so has no weight, goes to another.
    "VRRP": SetUp(
        values=("directorGroup.failover=VRRP", "directorGroup.sysctls.sloppyTcp=true"),
        service={"scheduler": "mh", "schedulerFlags": ["mh-fallback", "mh-port"]},
        table="mh (mh-fallback,mh-port)",
        edited={"scheduler": "wrr", "schedulerFlags": None},
    ),
}


@pytest.fixture(scope="module", params=SET_UPS)
def set_up(request: pytest.FixtureRequest) -> SetUp:
    return SET_UPS[request.param]


@pytest.fixture(scope="module")
def upgrade(request: pytest.FixtureRequest, set_up: SetUp) -> Iterator[Upgrade]:
    revision = older_revision(request.config)
    if revision is None:
        pytest.skip(f"there is no tag yet to come from: {UPGRADE_OPTION}=REVISION says what to come from")
    with older_version(revision) as older:
        newer = present_version()
        with older_installed("upgrade", older, newer, *set_up.values) as deployment:
            if set_up.moves:
                deployment.patch("lvsvs", "web", set_up.service)
            # Connections that are made while only some have weight are where the hash of all would not find them.
            for name in DIRECTORS:
                deployment.wait_shape(name, quick_shape(set_up.table), deadline=READY_SECONDS)
            deployment.wait_ready("web", deadline=READY_SECONDS)
            client = deployment.lab.machine("client")
            wait_for(lambda: answers(client, VIP), 20, f"{VIP} to answer")
            namespace = deployment.client_namespace("client")
            with long_connections(namespace, VIP, talking=TALKING, silent=SILENT) as connections:
                story = Upgrade(
                    deployment=deployment, older=older, newer=newer, connections=connections, moves=set_up.moves
                )
                story.wait_running(operator=older, agents=older)
                story.users = story.users_objects()
                print(f"long connections: {dict(connections.by_server)}; order: {kernel_order(deployment)}")
                print(f"{older.name}: {older.images.archives}; {newer.name}: {newer.images.archives}")
                yield story


def kernel_order(deployment: ChartDeployment) -> dict[str, list[str]]:
    """Of the real servers on each director: where it differs, mh finds a few connections elsewhere."""
    shown = {name: deployment.node(name).out("ipvsadm", "-Ln", "--nosort", "--exact") for name in DIRECTORS}
    return {name: list(parse_table(text)[KEY].destinations) for name, text in shown.items()}


def must_have_written_nothing(upgrade: Upgrade, before: Writes | None = None) -> None:
    """No agent wrote to the table of IPVS or bound an address since it started, or since then.

    But for a weight that is taken and given back, of each real server whose agent was away for too long.
    """
    writes = upgrade.writes()
    new = {node: kinds - (before or {}).get(node, kinds - kinds) for node, kinds in writes.items()}
    print(f"written to kernels: { ({node: dict(kinds) for node, kinds in new.items() if kinds.total()}) }")
    assert {node for node, kinds in new.items() if kinds["ipvs"] > 2 * len(upgrade.silent)} == set()
    assert {new[node]["ipvs"] for node in SERVERS} == {0}
    assert {new[node]["address"] for node in SERVERS} == {0}


def test_all_of_it_is_upgraded_at_once(upgrade: Upgrade) -> None:
    with upgrade.under_traffic("upgrade"):
        upgrade.helm(chart=upgrade.newer, operator=upgrade.newer, agents=upgrade.newer)
    must_have_written_nothing(upgrade)


def test_and_is_rolled_back_at_once(upgrade: Upgrade) -> None:
    with upgrade.under_traffic("roll back"):
        upgrade.roll_back(1, to=upgrade.older)
    must_have_written_nothing(upgrade)


def test_an_operator_newer_than_the_agents_serves_and_takes_an_edit(upgrade: Upgrade, set_up: SetUp) -> None:
    before = upgrade.writes()
    with upgrade.under_traffic("operator newer than agents"):
        upgrade.helm(chart=upgrade.newer, operator=upgrade.newer, agents=upgrade.older)
    must_have_written_nothing(upgrade, before)
    upgrade.edit(set_up.edited, set_up.service)


def test_then_the_agents_follow(upgrade: Upgrade) -> None:
    with upgrade.under_traffic("agents follow"):
        upgrade.helm(chart=upgrade.newer, operator=upgrade.newer, agents=upgrade.newer)
    must_have_written_nothing(upgrade)


def test_an_operator_older_than_the_agents_serves_and_takes_an_edit(upgrade: Upgrade, set_up: SetUp) -> None:
    before = upgrade.writes()
    with upgrade.under_traffic("operator older than agents"):
        upgrade.helm(chart=upgrade.older, operator=upgrade.older, agents=upgrade.newer)
    must_have_written_nothing(upgrade, before)
    upgrade.edit(set_up.edited, set_up.service)


def test_connections_that_were_silent_all_the_time_are_there(upgrade: Upgrade) -> None:
    assert upgrade.connections.ask_silent() == []
    assert upgrade.connections.failures == []
    assert set(NODES) == upgrade.deployment.agent_pods().keys()
