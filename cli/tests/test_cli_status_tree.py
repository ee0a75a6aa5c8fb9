"""`kubectl lvs status` as a tree: what objects say of a group, its directors, services and real servers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lvs_api.conditions import EPOCH, timestamp
from lvs_api.kinds import NODE, SERVICE_SLICE
from lvs_api.objects import parse_object
from lvs_api.testing import director_group, lvs_node, service_slice, slice_member, virtual_service
from lvs_cli.__main__ import main
from lvs_cli.cluster import Cluster

Raw = dict[str, Any]
MASQUERADE = {"method": "Masquerade"}
SINCE = "2026-01-01T00:00:00Z"
HANDED = timestamp(datetime.now(UTC))


class Objects(Cluster):
    """A cluster in memory."""

    def __init__(self, *raws: Raw) -> None:
        self.namespace = "default"
        self.raws = raws

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        raws = [raw for raw in self.raws if raw["kind"] == kind.name]
        generated = kind in {NODE, SERVICE_SLICE}
        found = [parse_object(kind, raw, generated=generated) for raw in raws]
        return [one for one in found if namespace in {None, one.metadata.namespace}]


def condition(kind: str, status: str, reason: str, message: str = "") -> Raw:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": EPOCH}


def with_status(raw: Raw, **status: object) -> Raw:
    return raw | {"status": status}


def router(state: str, **more: object) -> Raw:
    return {"id": 55, "family": "IPv4", "state": state, **more}


def node(name: str, *routers: Raw, **more: object) -> Raw:
    groups = [{"name": "default", "virtualRouters": list(routers)}]
    return with_status(lvs_node(name, addresses=None, directorGroups=["default"]), directorGroups=groups, **more)


GROUP = with_status(
    director_group(),
    active="d2",
    directors=[
        {"node": "d1", "reporting": True, "standsAside": "Cordoned"},
        {"node": "d2", "reporting": True, "holdsAddresses": True},
        {"node": "d3"},
    ],
    virtualRouters=[{"id": 55, "active": "d2", "since": SINCE, "message": "before it by priority: d3 does not report"}],
    handOver={"request": "t", "state": "Refused", "time": HANDED, "message": "no other director is ready"},
    conditions=[
        condition("Accepted", "True", "Accepted", "The group is valid"),
        condition("Ready", "True", "Ready", "Master is d2 of virtual router 55; not reporting: d3"),
        condition("SettingsApplied", "False", "SettingsDiffer", "timeouts.tcpSeconds"),
    ],
)
WEB = with_status(
    virtual_service(),
    observedGeneration=1,
    directors=[
        {"node": "d1", "state": "Standby"},
        {"node": "d2", "state": "Active"},
        {"node": "d3", "state": "Unknown"},
    ],
    conditions=[condition("Ready", "True", "MembersNotReady", "1 of 5 real servers take connections")],
)
SLICE = service_slice(
    members=[
        slice_member("rs1", "192.168.4.100"),
        slice_member("rs2", "192.168.4.101", node="n2", prepared=False),
        slice_member("rs3", "192.168.4.102", node="n3", prepared=False, weight=2, forwarding={"method": "Tunnel"}),
        slice_member("rs4", "192.168.4.103", node="d1", refused="DirectorIsRealServer", prepared=False),
        slice_member(
            "rs5", "192.168.4.104", port=8080, forwarding={"method": "Masquerade"}, draining={"timeoutSeconds": 30}
        ),
    ]
)
SECOND_SLICE = service_slice(
    index=1,
    members=[
        slice_member(
            "rs0",
            "192.168.4.99",
            node="n4",
            forwarding=MASQUERADE,
            former={"forwarding": {"method": "DirectRouting"}, "timeoutSeconds": 60},
        ),
        slice_member(
            "endpoint.10-1-0-1.8080",
            "10.1.0.1",
            ports=[{"name": "http", "port": 8080}, {"name": "https", "port": 8443}],
            forwarding=MASQUERADE,
        ),
    ],
)
NODES = (
    node("d1", router("Fault", message="it gives way to another director, as it was told")),
    node(
        "d2",
        router("Master", since=SINCE),
        conditions=[
            condition("Ready", "True", "Ready"),
            condition("ChecksBlind", "True", "ChecksNotMade", "no process"),
        ],
        exceptions=[
            {
                "namespace": "default",
                "name": "web",
                "reason": "MembersNotReady",
                "message": "1 of 5 real servers have weight (rs1: refused)",
                "programmed": True,
            }
        ],
    ),
    with_status(
        lvs_node("n3"),
        addresses=[
            {"address": "192.168.4.14", "device": "lo", "state": "Failed", "message": "another service's"},
            {"address": "192.168.4.15", "device": "lo", "state": "Conflict", "message": "taken"},
        ],
    ),
)
TREE = f"""\
LvsDirectorGroup default: Ready: Master is d2 of virtual router 55; not reporting: d3
├─ SettingsApplied=False SettingsDiffer: timeouts.tcpSeconds
├─ hand-over Refused since {HANDED}: no other director is ready
├─ director d1: Fault of virtual router 55 (IPv4), stands aside (Cordoned)
│  └─ virtual router 55 (IPv4): it gives way to another director, as it was told
├─ director d2: Master of virtual router 55 (IPv4)
│  ├─ Master of virtual router 55 since 2026-01-01T00:00:00Z: before it by priority: d3 does not report
│  └─ ChecksBlind=True ChecksNotMade: no process
├─ director d3: does not report
└─ default/web 192.168.4.15 80/TCP: MembersNotReady: 1 of 5 real servers take connections
   ├─ director d1: Standby
   ├─ director d2: Active: MembersNotReady: 1 of 5 real servers have weight (rs1: refused)
   ├─ director d3: Unknown
   ├─ real server endpoint.10-1-0-1.8080 10.1.0.1 ports http 8080, https 8443, Masquerade, weight 1
   ├─ real server rs0 192.168.4.99, Masquerade, weight 1; connections by DirectRouting end, within 60 s
   ├─ real server rs1 192.168.4.100, DirectRouting, weight 1; Unverified: a plain machine
   ├─ real server rs2 192.168.4.101, DirectRouting, weight 1; not prepared: no agent on n2 has reported
   ├─ real server rs3 192.168.4.102, Tunnel, weight 2; not prepared: n3 has 192.168.4.15 on lo Conflict: taken
   ├─ real server rs4 192.168.4.103, DirectRouting, weight 1; refused: DirectorIsRealServer
   └─ real server rs5 192.168.4.104 port 8080, Masquerade, weight 1; leaves, within 30 s
"""


def status(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, *words: str) -> int:
    monkeypatch.setattr("lvs_cli.__main__.Cluster", lambda **_: cluster)
    return main(["status", *words])


def test_a_service_stands_below_its_group_with_everything_that_is_known_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Objects(GROUP, WEB, SLICE, SECOND_SLICE, *NODES, virtual_service("other"))
    assert status(monkeypatch, cluster, "web") == 0
    assert capsys.readouterr().out == TREE


@pytest.mark.parametrize(
    ("state", "minutes", "is_told"),
    [
        ("UnderWay", 90, True),
        ("Failed", 50, True),
        ("Failed", 70, False),
        ("Refused", 70, False),
        ("Done", 0, False),
    ],
)
def test_a_hand_over_that_came_to_nothing_is_told_for_an_hour(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str, minutes: int, *, is_told: bool
) -> None:
    time = timestamp(datetime.now(UTC) - timedelta(minutes=minutes))
    group = with_status(director_group(), handOver={"request": "t", "state": state, "time": time, "message": "why"})
    assert status(monkeypatch, Objects(group, virtual_service()), "--tree") == 0
    assert (f"hand-over {state} since {time}: why" in capsys.readouterr().out) == is_told


@pytest.mark.parametrize(
    ("words", "roots"),
    [
        (["--tree"], ["default: not seen by the operator yet", "gone: there is no such group"]),
        (["--tree", "-A"], ["default: not seen by the operator yet", "gone: there is no such group", "idle: active"]),
        (["--tree", "-n", "empty"], []),
    ],
)
def test_groups_are_those_that_serve_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], roots: list[str]
) -> None:
    idle = with_status(
        director_group("idle"),
        active="d1",
        conditions=[condition("Ready", "True", "active")],
        directors=[{"node": "d1"}],
    )
    lost = virtual_service("lost", directorGroupRef={"name": "gone"})
    assert status(monkeypatch, Objects(director_group(), idle, virtual_service(), lost), *words) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("LvsDirectorGroup ") for line in said if line[0] == "L"] == roots
    if "-A" in words:
        assert said[-1] == "└─ director d1: active, does not report"
    if not roots:
        assert said == ["There is nothing to show."]
    else:
        assert "└─ default/lost 192.168.4.15 80/TCP: not seen by the operator yet" in said


def test_a_service_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, Objects(virtual_service()), "absent") == 1
    assert capsys.readouterr().err == "error: there is no LvsVirtualService absent in namespace default\n"


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        ([], "n1 has not reported 192.168.4.15, 2001:db8:4::15 of this boot yet"),
        (
            [("2001:db8:4::15", "Failed", "no module"), ("192.168.4.14", "Failed", ""), ("192.168.4.15", "Bound", "")],
            "n1 has 2001:db8:4::15 on lo Failed: no module",
        ),
        (
            [("192.168.4.15", "Conflict", "taken"), ("2001:db8:4::15", "Failed", "")],
            "n1 has 192.168.4.15 on lo Conflict: taken, 2001:db8:4::15 on lo Failed",
        ),
        ([("192.168.4.15", "Bound", "")], "n1 has not reported 2001:db8:4::15 of this boot yet"),
    ],
)
def test_a_real_server_says_which_of_the_service_s_addresses_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    addresses: list[tuple[str, str, str]],
    said: str,
) -> None:
    waiting = service_slice(members=[slice_member("rs1", "192.168.4.100", node="n1", prepared=False)])
    told = [{"address": a, "device": "lo", "state": state, "message": why} for a, state, why in addresses]
    reported = with_status(lvs_node("n1"), bootId="b", addresses=told)
    both = virtual_service(addresses=["192.168.4.15", "2001:db8:4::15"])
    assert status(monkeypatch, Objects(director_group(), both, waiting, reported), "web") == 0
    assert capsys.readouterr().out.endswith(f"not prepared: {said}\n")
