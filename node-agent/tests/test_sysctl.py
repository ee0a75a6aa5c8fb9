"""Sysctls on a real network namespace: what each role makes of them, drift, and what is given back."""

from pathlib import Path

import pytest

from lvs_agent.decide.kernel_state import Device, KernelLinks
from lvs_agent.decide.kernel_sysctls import KernelSysctls, SysctlKey, conf_key
from lvs_agent.decide.wanted_sysctls import SysctlRole, SysctlVerdict, judge_sysctls, keys_to_read
from lvs_agent.errors import SysctlError
from lvs_agent.kernel.sysctl import ProcSysctls
from lvs_agent.kernel.testing import NetworkNamespace

EVERYTHING = {"ip_forward", "arp_ignore", "arp_announce", "rp_filter", "forwarding", "send_redirects", "accept_ra",
              "accept_redirects", "route_localnet", "accept_local", "force_forwarding"}  # fmt: skip


@pytest.fixture
def node(namespace: NetworkNamespace) -> NetworkNamespace:
    """Two Ethernet devices, and one named like a VLAN."""
    for device in ("e0", "e1", "e1.100"):
        namespace.ip("link", "add", "name", device, "type", "veth", "peer", "name", f"{device}p")
    return namespace


def links_of(*names: str) -> KernelLinks:
    devices = {
        name: Device(index=i + 1, name=name, kind="", up=True, arp_capable=name not in {"lo", "tunl0"})
        for i, name in enumerate(names)
    }
    return KernelLinks(devices=devices)


LINKS = links_of("lo", "e0", "e1", "e1.100")


def snapshot(node: NetworkNamespace) -> dict[str, int]:
    """Every sysctl that might be touched, read without our code."""

    def read() -> dict[str, int]:
        root = Path("/proc/sys/net")
        files = [f for f in root.glob("ipv[46]/conf/*/*") if f.name in EVERYTHING] + [root / "ipv4/ip_forward"]
        return {str(f.relative_to(root)): int(f.read_text(encoding="ascii")) for f in files}

    found: dict[str, int] = node.run(read)
    return found


class Agent:
    """The part of the loop that deals with sysctls, with its ledger."""

    def __init__(self, node: NetworkNamespace, links: KernelLinks = LINKS) -> None:
        self.node, self.links = node, links
        self.remembered: KernelSysctls = {}

    def round(self, role: SysctlRole) -> SysctlVerdict:
        def work() -> SysctlVerdict:
            seam = ProcSysctls()
            found = seam.read(keys_to_read(role, self.links, self.remembered))
            verdict = judge_sysctls(role, self.links, found, self.remembered)
            self.remembered = verdict.remember
            for write in (*verdict.writes, *verdict.restores):
                seam.write(write.key, write.value)
            return verdict

        verdict: SysctlVerdict = self.node.run(work)
        return verdict


SILENT = SysctlRole(silent=True)
ROUTER4 = SysctlRole(masquerade_ipv4=frozenset({"e1.100"}))
ROUTER6 = SysctlRole(masquerade_ipv6=frozenset({"e1"}))
CHANGES = [
    (SILENT, {"ipv4/conf/all/arp_ignore": 1, "ipv4/conf/all/arp_announce": 2}),
    (SysctlRole(tunnel_devices=frozenset({"e1"})), {"ipv4/conf/e1/rp_filter": 2}),
    (
        ROUTER4,
        {
            "ipv4/conf/e1.100/forwarding": 1,
            "ipv4/conf/e1.100/send_redirects": 0,
            "ipv4/conf/all/send_redirects": 0,
        },
    ),
]


@pytest.mark.parametrize(("role", "expected"), CHANGES)
def test_a_role_changes_exactly_this_and_gives_it_back(
    node: NetworkNamespace, role: SysctlRole, expected: dict[str, int]
) -> None:
    before = snapshot(node)
    agent = Agent(node)
    assert not agent.round(role).is_met
    after = snapshot(node)
    assert {key: value for key, value in after.items() if value != before[key]} == expected
    again = agent.round(role)
    assert again.is_met
    assert again.writes == again.restores == ()
    agent.round(SysctlRole())
    assert snapshot(node) == before
    assert agent.remembered == {}
    assert agent.round(SysctlRole()) == SysctlVerdict(is_silent=True, takes_traffic=True)


def test_ipv6_forwarding_is_given_back_as_it_was(node: NetworkNamespace) -> None:
    node.run(lambda: ProcSysctls().write(conf_key("ipv6", "e0", "forwarding"), 1))
    before = snapshot(node)
    agent = Agent(node)
    agent.round(ROUTER6)
    assert agent.round(ROUTER6).is_met
    during = snapshot(node)
    forced = during.get("ipv6/conf/e1/force_forwarding") == 1
    assert forced or during["ipv6/conf/all/forwarding"] == 1
    agent.round(SysctlRole())
    assert snapshot(node) == before
    assert agent.remembered == {}


def test_drift_is_repaired_and_the_first_value_remembered(node: NetworkNamespace) -> None:
    before = snapshot(node)
    agent = Agent(node)
    agent.round(SILENT)
    node.run(lambda: ProcSysctls().write(conf_key("ipv4", "all", "arp_ignore"), 0))
    drifted = agent.round(SILENT)
    assert [write.key.path[-1] for write in drifted.writes] == ["arp_ignore"]
    assert not drifted.is_silent
    assert agent.round(SILENT).is_silent
    agent.round(SysctlRole())
    assert snapshot(node) == before


def test_missing_keys_are_left_out_when_read_and_named_when_written(node: NetworkNamespace) -> None:
    missing = conf_key("ipv4", "gone0", "forwarding")
    assert node.run(lambda: ProcSysctls().read([missing])) == {}
    with pytest.raises(SysctlError, match=r"net\.ipv4\.conf\.gone0\.forwarding=1: No such file"):
        node.run(lambda: ProcSysctls().write(missing, 1))


def test_a_value_that_the_kernel_refuses_is_named(node: NetworkNamespace) -> None:
    with pytest.raises(SysctlError, match=r"ip_default_ttl=100000: Invalid argument"):
        node.run(lambda: ProcSysctls().write(SysctlKey(("ipv4", "ip_default_ttl")), 100000))


def test_only_names_of_sysctls_are_taken(tmp_path: Path) -> None:
    with pytest.raises(SysctlError, match="no sysctl's name"):
        ProcSysctls(tmp_path).write(SysctlKey(("ipv4", "..", "x")), 1)
