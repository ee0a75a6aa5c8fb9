"""Which numbers a node is to have once: what the services need, and what a group says instead."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from agent_world import VIP, director, member, service

from lvs_agent.decide.prepared_plan import prepare
from lvs_agent.decide.setting_values import WantedNumber
from lvs_agent.decide.wanted_settings import sysctl_of, wanted_numbers
from lvs_api.network_types import Family, ForwardingMethod, Protocol
from lvs_api.node_settings import ConnectionSync, IpvsSysctls, SettingKey
from lvs_core.group_settings import GroupNumber, GroupSync, NodeSettings, SyncRole
from lvs_core.plan import MarkKey, NodePlan, PlannedPersistence, VirtualServerKey

MASQUERADE = member(100, method=ForwardingMethod.MASQUERADE)
TCP, UDP = (
    VirtualServerKey(address=ip_address(VIP), port=53, protocol=protocol) for protocol in (Protocol.TCP, Protocol.UDP)
)
MARK = MarkKey(mark=7, family=Family.IPV4)
STICKY = PlannedPersistence(timeout_seconds=300, prefix_length=32)


def wanted(plan: NodePlan, **values: int) -> dict[str, WantedNumber]:
    """What is wanted of net.ipv4.vs, with these values in the group."""
    numbers = {SettingKey("sysctls", name): GroupNumber(value=value, group="g") for name, value in values.items()}
    found = wanted_numbers(prepare(replace(plan, settings=NodeSettings(numbers=numbers))))
    return {key.name: number for key, number in found.items()}


@pytest.mark.parametrize(
    ("plan", "needs"),
    [
        (director(), {}),
        (director(service(MASQUERADE)), {"conntrack": {1}}),
        (director(service(member(100))), {"conn_reuse_mode": {2, 3}}),
        (director(service(MASQUERADE, member(101))), {"conntrack": {1}, "conn_reuse_mode": {2, 3}}),
        (director(service(MASQUERADE, persistence=STICKY)), {"conntrack": {1}, "expire_quiescent_template": {1}}),
        (director(service(MASQUERADE, key=UDP)), {"conntrack": {1}, "expire_nodest_conn": {1}}),
        (director(service(MASQUERADE, key=UDP, one_packet_scheduling=True)), {"conntrack": {1}}),
        (director(service(MASQUERADE, key=MARK, marked=(UDP, TCP))), {"conntrack": {1}, "expire_nodest_conn": {1}}),
        (director(service(MASQUERADE, key=MARK, marked=(TCP,))), {"conntrack": {1}}),
        (director(service(MASQUERADE, key=MARK)), {"conntrack": {1}}),
    ],
)
def test_what_services_need(plan: NodePlan, needs: dict[str, set[int]]) -> None:
    found = wanted(plan)
    assert {name: set(number.accepted) for name, number in found.items()} == needs
    assert all(number.value in number.accepted and number.why.startswith("services with ") for number in found.values())


def test_where_sync_daemons_run_a_director_goes_on_balancing_beside_the_backup() -> None:
    sync = GroupSync(
        settings=ConnectionSync(interface="eth0", sync_id=7), group="g", roles=frozenset({SyncRole.BACKUP})
    )
    found = wanted_numbers(prepare(replace(director(), settings=NodeSettings(sync=sync))))
    ((key, number),) = found.items()
    assert (str(sysctl_of(key)), number.value, number.accepted) == ("net.ipv4.vs.backup_only", 0, {0})
    assert number.why.startswith("connectionSync: ")
    assert key.name not in IpvsSysctls.model_fields


def test_the_groups_value_counts_and_says_what_it_stands_for() -> None:
    found = wanted(director(service(MASQUERADE)), conntrack=0)["conntrack"]
    assert (found.value, found.accepted) == (0, {0})
    assert found.why.startswith("LvsDirectorGroup g, instead of 1 for services with Masquerade")
    kept = wanted(director(service(MASQUERADE, key=UDP)), expire_nodest_conn=0)["expire_nodest_conn"]
    assert (kept.value, kept.accepted) == (0, {0})
    assert kept.why.startswith("LvsDirectorGroup g, instead of 1 for services with UDP: clients that go on sending")
    same = wanted(director(service(member(100))), conn_reuse_mode=2)["conn_reuse_mode"]
    assert (same.value, same.accepted, same.why) == (2, {2}, "LvsDirectorGroup g")


@pytest.mark.parametrize("name", ["drop_entry", "drop_packet", "secure_tcp"])
def test_the_kernels_own_change_between_1_and_2_is_nobodys(name: str) -> None:
    for value, accepted in ((0, {0}), (1, {1, 2}), (2, {1, 2}), (3, {3})):
        assert wanted(director(), **{name: value})[name].accepted == accepted


def test_a_sysctl_is_named_as_the_kernel_names_it() -> None:
    assert str(SettingKey("sysctls", "conn_reuse_mode")) == "sysctls.connReuseMode"
    assert str(sysctl_of(SettingKey("sysctls", "conn_reuse_mode"))) == "net.ipv4.vs.conn_reuse_mode"
    assert sysctl_of(SettingKey("timeouts", "tcp_seconds")) is None


def test_a_switch_is_a_number() -> None:
    numbers = dict(IpvsSysctls(conntrack=True, sloppy_tcp=False, est_nice=-20).numbers("sysctls"))
    assert {str(key): value for key, value in numbers.items()} == {
        "sysctls.conntrack": 1,
        "sysctls.sloppyTcp": 0,
        "sysctls.estNice": -20,
    }
