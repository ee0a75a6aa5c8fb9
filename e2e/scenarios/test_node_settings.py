"""What IPVS has once on each director: set by the group, kept against other hands, given back."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment
from support.quick_start import VIP, active_director, client
from support.traffic import HeldConnection, answers

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
BY_HAND = (900, 2, 300)
"""As `support.quick_start.restore` sets them."""
REPAIR_SECONDS = 3.0
"""Repairs come within about a second; the rest is for a busy machine and for looking."""


@pytest.fixture
def group(web: Deployment) -> Iterator[Deployment]:
    """The quick start, whose group is afterwards as it was."""
    yield web
    web.patch("lvsdg", "default", {"timeouts": None, "sysctls": None})
    wait_timeouts(web, BY_HAND, deadline=GONE_SECONDS)


def wait_timeouts(web: Deployment, wanted: tuple[int, ...], *, deadline: float = REPAIR_SECONDS) -> None:
    for node in DIRECTORS:
        wait_for(lambda node=node: web.timeouts(node) == wanted, deadline, f"{node} to have the time-outs {wanted}")


def wait_applied(web: Deployment, status: str, reason: str) -> str:
    found = web.wait_condition("default", "SettingsApplied", status, reason, kind="lvsdg")
    return str(found["message"])


def test_time_outs_are_set_on_every_director_and_given_back(group: Deployment) -> None:
    assert {group.timeouts(node) for node in DIRECTORS} == {BY_HAND}
    group.patch("lvsdg", "default", {"timeouts": {"tcpSeconds": 28800, "tcpFinSeconds": 30, "udpSeconds": 600}})
    wait_applied(group, "True", "SettingsApplied")
    assert {group.timeouts(node) for node in DIRECTORS} == {(28800, 30, 600)}
    group.patch("lvsdg", "default", {"timeouts": {"tcpSeconds": None, "udpSeconds": None}})
    wait_applied(group, "True", "SettingsApplied")
    assert {group.timeouts(node) for node in DIRECTORS} == {(900, 30, 300)}
    group.patch("lvsdg", "default", {"timeouts": None})
    wait_timeouts(group, BY_HAND)
    wait_for(lambda: not group.condition("default", "SettingsApplied", kind="lvsdg"), 10, "the condition to be gone")


def test_another_hand_is_put_right_once_and_then_named(group: Deployment) -> None:
    group.patch("lvsdg", "default", {"timeouts": {"tcpSeconds": 30}})
    wait_applied(group, "True", "SettingsApplied")
    director = group.lab.guest("director-1")
    before = group.agent_metric("director-1", "lvs_agent_repairs_total")
    director.out("ipvsadm", "--set", "777", "0", "0")
    wait_for(lambda: group.timeouts("director-1") == (30, 2, 300), REPAIR_SECONDS, "the time-out to be put right")
    assert group.agent_metric("director-1", "lvs_agent_repairs_total") == before + 1
    director.out("ipvsadm", "--set", "778", "0", "0")
    message = wait_applied(group, "False", "ChangedByOthers")
    assert "director-1: timeouts.tcpSeconds: something else on this node keeps setting it to 778" in message
    assert group.timeouts("director-1") == (778, 2, 300)
    # A new wish is one of a person's, and is carried out at once.
    group.patch("lvsdg", "default", {"timeouts": {"tcpSeconds": 31}})
    wait_applied(group, "True", "SettingsApplied")
    assert group.timeouts("director-1") == (31, 2, 300)


def test_a_cleaned_node_has_its_own_time_outs_again(group: Deployment) -> None:
    group.patch("lvsdg", "default", {"timeouts": {"udpSeconds": 60}})
    wait_applied(group, "True", "SettingsApplied")
    agent = group.lab.agent("director-2")
    agent.kill("TERM")
    assert group.timeouts("director-2") == (900, 2, 60)
    agent.run_verb("cleanup", "--node-name", "director-2")
    assert group.timeouts("director-2") == BY_HAND


def test_the_younger_of_two_groups_is_told_and_the_first_goes_on(group: Deployment) -> None:
    group.patch("lvsdg", "default", {"timeouts": {"tcpSeconds": 30}})
    wait_applied(group, "True", "SettingsApplied")
    second = """\
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: second}
spec:
  nodes: {selector: {matchLabels: {lvs-operator.io/role: director}}}
  timeouts: {tcpSeconds: 600, udpSeconds: 60}
"""
    group.apply(second)
    try:
        found = group.wait_condition("second", "SettingsApplied", "False", "Conflict", kind="lvsdg")
        assert "spec.timeouts.tcpSeconds 600: LvsDirectorGroup default is older and wants 30 there" in found["message"]
        wait_timeouts(group, (30, 2, 60))
        wait_applied(group, "True", "SettingsApplied")
    finally:
        group.delete(second)
    wait_timeouts(group, (30, 2, 300), deadline=GONE_SECONDS)


def test_the_groups_sysctls_count_where_services_need_another(group: Deployment) -> None:
    """The quick start is direct routing: its services want conn_reuse_mode 3."""
    assert {group.vs_sysctl(node, "conn_reuse_mode") for node in DIRECTORS} == {3}
    group.patch("lvsdg", "default", {"sysctls": {"connReuseMode": 1, "sloppyTcp": True, "estNice": 5}})
    wait_applied(group, "True", "SettingsApplied")
    for node in DIRECTORS:
        found = {name: group.vs_sysctl(node, name) for name in ("conn_reuse_mode", "sloppy_tcp", "est_nice")}
        assert found == {"conn_reuse_mode": 1, "sloppy_tcp": 1, "est_nice": 5}
        rows = {row["name"]: row for row in group.get("lvsnode", node)["status"]["settings"]}
        message = rows["sysctls.connReuseMode"]["message"]
        assert message.startswith("LvsDirectorGroup default, instead of 3 for services with DirectRouting or Tunnel")
    director = group.lab.guest("director-1")
    director.out("sysctl", "--write", "net.ipv4.vs.sloppy_tcp=0")
    wait_for(lambda: group.vs_sysctl("director-1", "sloppy_tcp") == 1, REPAIR_SECONDS, "sloppy_tcp to be put right")
    group.patch("lvsdg", "default", {"sysctls": None})
    for node in DIRECTORS:
        wait_for(
            lambda node=node: (
                [group.vs_sysctl(node, name) for name in ("conn_reuse_mode", "sloppy_tcp", "est_nice")] == [3, 0, 0]
            ),
            REPAIR_SECONDS,
            f"{node} to have what its services need, and the rest as it was",
        )


def test_connections_beyond_the_limit_wait_and_open_ones_go_on(group: Deployment) -> None:
    director = group.lab.guest(active_director(group))

    def seconds_left() -> list[int]:
        clocks = [line.split()[1].split(":") for line in director.out("ipvsadm", "-Lnc").splitlines()[2:]]
        return [60 * int(minutes) + int(seconds) for minutes, seconds in clocks]

    # Of connections that were cut off in other tests no end is seen: they count for a quarter of an hour.
    wait_for(lambda: min(seconds_left(), default=900) > 120, 60, "connections that are over soon to be over")
    others = len(seconds_left())
    group.patch("lvsdg", "default", {"sysctls": {"connMax": others + 8}})
    wait_applied(group, "True", "SettingsApplied")
    with ExitStack() as stack:
        held = [stack.enter_context(HeldConnection(group.client_namespace("client"), VIP)) for _ in range(8)]
        names = [one.ask() for one in held]
        assert not answers(client(group), VIP)
        assert [one.ask() for one in held] == names
        group.patch("lvsdg", "default", {"sysctls": {"connMax": 1000}})
        wait_applied(group, "True", "SettingsApplied")
        wait_for(lambda: answers(client(group), VIP), 10, "new clients to be served again")
        assert [one.ask() for one in held] == names
