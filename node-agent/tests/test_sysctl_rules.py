"""The pure side of the sysctls: cases that a namespace of this host can not show."""

import pytest

from lvs_agent.decide.kernel_state import Device, KernelLinks
from lvs_agent.decide.kernel_sysctls import SysctlKey, conf_key
from lvs_agent.decide.wanted_sysctls import SysctlRole, SysctlVerdict, judge_sysctls, keys_to_read
from lvs_agent.kernel.fake_sysctls import FakeSysctls


def links_of(*names: str) -> KernelLinks:
    devices = {
        name: Device(index=i + 1, name=name, kind="", up=True, arp_capable=name not in {"lo", "tunl0"})
        for i, name in enumerate(names)
    }
    return KernelLinks(devices=devices)


def v4(device: str, name: str) -> SysctlKey:
    return conf_key("ipv4", device, name)


def v6(device: str, name: str) -> SysctlKey:
    return conf_key("ipv6", device, name)


def converge(
    role: SysctlRole, links: KernelLinks, sysctls: FakeSysctls, remembered: dict[SysctlKey, int]
) -> SysctlVerdict:
    """Rounds until nothing is left to do; a fourth round means that two rules fight."""
    for _ in range(3):
        found = sysctls.read(keys_to_read(role, links, remembered))
        verdict = judge_sysctls(role, links, found, remembered)
        remembered.clear()
        remembered.update(verdict.remember)
        if not verdict.writes and not verdict.restores:
            return verdict
        for write in (*verdict.writes, *verdict.restores):
            sysctls.write(write.key, write.value)
    pytest.fail("the rules do not come to rest")


ARP = {v4("all", "arp_ignore"): 0, v4("all", "arp_announce"): 0, v4("e0", "arp_ignore"): 0}


@pytest.mark.parametrize("kept", [1, 2, 8])
def test_a_stricter_arp_ignore_is_left_alone(kept: int) -> None:
    sysctls = FakeSysctls(values={**ARP, v4("all", "arp_ignore"): kept})
    assert converge(SysctlRole(silent=True), links_of("lo", "e0"), sysctls, {}).is_met
    assert sysctls.values[v4("all", "arp_ignore")] == kept


@pytest.mark.parametrize("device", ["all", "e0"])
def test_an_arp_ignore_that_would_answer_is_lowered_and_given_back(device: str) -> None:
    start = {**ARP, v4(device, "arp_ignore"): 3}
    sysctls, remembered = FakeSysctls(values=dict(start)), dict[SysctlKey, int]()
    links = links_of("lo", "e0")
    assert converge(SysctlRole(silent=True), links, sysctls, remembered).is_silent
    assert sysctls.values[v4(device, "arp_ignore")] == 1
    converge(SysctlRole(), links, sysctls, remembered)
    assert sysctls.values == start


def test_the_rule_of_a_tunnel_device_waits_for_the_device() -> None:
    role = SysctlRole(silent=True, tunnel_devices=frozenset({"tunl0"}))
    sysctls = FakeSysctls(values=dict(ARP))
    waiting = converge(role, links_of("lo", "e0"), sysctls, {})
    assert waiting.is_silent  # so the address may be bound, which makes the device
    assert waiting.missing == (v4("tunl0", "rp_filter"),)
    sysctls.values[v4("tunl0", "rp_filter")] = 1
    assert converge(role, links_of("lo", "e0", "tunl0"), sysctls, {}).is_met


IPV6 = {
    v6("all", "forwarding"): 0,
    **{v6(d, "forwarding"): 0 for d in ("e0", "e1", "e2")},
    v6("e0", "accept_ra"): 1,
    v6("e1", "accept_ra"): 0,
    v6("e2", "accept_ra"): 2,
}
ROUTER6 = SysctlRole(masquerade_ipv6=frozenset({"e1"}))


def test_without_force_forwarding_all_forwards_and_advertisements_are_still_heeded() -> None:
    start = {**IPV6, v6("e2", "forwarding"): 1}
    sysctls, remembered, links = FakeSysctls(values=dict(start)), dict[SysctlKey, int](), links_of("e0", "e1", "e2")
    converge(ROUTER6, links, sysctls, remembered)
    assert sysctls.values == {
        **{key: 1 for key in start if key.path[-1] == "forwarding"},
        v6("e0", "accept_ra"): 2,
        v6("e1", "accept_ra"): 0,
        v6("e2", "accept_ra"): 2,
    }
    converge(SysctlRole(), links, sysctls, remembered)
    assert sysctls.values == start
    assert remembered == {}


def test_with_force_forwarding_only_the_device_changes() -> None:
    start = {**IPV6, **{v6(d, "force_forwarding"): 0 for d in ("e0", "e1", "e2")}}
    sysctls, remembered, links = FakeSysctls(values=dict(start)), dict[SysctlKey, int](), links_of("e0", "e1", "e2")
    converge(ROUTER6, links, sysctls, remembered)
    changed = {key for key in start if sysctls.values[key] != start[key]}
    assert changed == {v6("e1", "force_forwarding")}
    converge(SysctlRole(), links, sysctls, remembered)
    assert sysctls.values == start


def test_a_node_that_forwards_already_is_not_touched_and_never_lowered() -> None:
    start = {**IPV6, **{key: 1 for key in IPV6 if key.path[-1] == "forwarding"}, v6("e0", "accept_ra"): 1}
    sysctls, remembered, links = FakeSysctls(values=dict(start)), dict[SysctlKey, int](), links_of("e0", "e1", "e2")
    converge(ROUTER6, links, sysctls, remembered)
    converge(SysctlRole(), links, sysctls, remembered)
    assert sysctls.values == start
    assert sysctls.writes == 0
    ip4 = {v4(d, n): v for d in ("all", "e0") for n, v in (("forwarding", 1), ("send_redirects", 0))}
    sysctls = FakeSysctls(values=ip4)
    role = SysctlRole(masquerade_ipv4=frozenset({"e0"}))
    converge(role, links, sysctls, remembered)
    converge(SysctlRole(), links, sysctls, remembered)
    assert sysctls.writes == 0


ROUTER4 = SysctlRole(masquerade_ipv4=frozenset({"e1"}))


@pytest.mark.parametrize(("router", "left"), [(0, 0), (1, 1)])
def test_ipv4_forwarding_that_the_whole_node_needs_by_now_is_not_lowered(router: int, left: int) -> None:
    values = {v4("all", "forwarding"): 0, v4("e1", "forwarding"): 0, v4("all", "send_redirects"): 1}
    sysctls, remembered, links = FakeSysctls(values=values), dict[SysctlKey, int](), links_of("e1")
    converge(ROUTER4, links, sysctls, remembered)
    assert sysctls.values[v4("e1", "forwarding")] == 1
    sysctls.values[v4("all", "forwarding")] = router
    found = sysctls.read(keys_to_read(SysctlRole(), links, remembered))
    assert judge_sysctls(SysctlRole(), links, found, remembered).left == ((v4("e1", "forwarding"),) if router else ())
    converge(SysctlRole(), links, sysctls, remembered)
    assert sysctls.values == {**values, v4("all", "forwarding"): router, v4("e1", "forwarding"): left}
    assert remembered == {}


@pytest.mark.parametrize(("newcomer", "stays"), [("veth0", True), ("ip6tnl0", False)])
def test_ipv6_forwarding_stays_where_a_device_came_that_forwards(newcomer: str, stays: bool) -> None:
    sysctls, remembered = FakeSysctls(values=dict(IPV6)), dict[SysctlKey, int]()
    converge(ROUTER6, links_of("e0", "e1", "e2"), sysctls, remembered)
    sysctls.values[v6(newcomer, "forwarding")] = 1
    during = dict(sysctls.values)
    converge(SysctlRole(), links_of("e0", "e1", "e2", newcomer), sysctls, remembered)
    changed = {key.path[-1] for key in during if sysctls.values[key] != during[key]}
    assert changed == (set() if stays else {"forwarding", "accept_ra"})
    assert remembered == {}


def test_what_went_with_its_device_is_forgotten() -> None:
    role = SysctlRole(masquerade_ipv4=frozenset({"e0"}))
    sysctls = FakeSysctls(
        values={v4("all", "send_redirects"): 1, v4("e0", "send_redirects"): 1, v4("e0", "forwarding"): 0}
    )
    remembered: dict[SysctlKey, int] = {}
    converge(role, links_of("e0"), sysctls, remembered)
    assert remembered == {v4("all", "send_redirects"): 1, v4("e0", "send_redirects"): 1, v4("e0", "forwarding"): 0}
    for name in ("send_redirects", "forwarding"):
        del sysctls.values[v4("e0", name)]
    converge(SysctlRole(), links_of(), sysctls, remembered)
    assert remembered == {}
    assert sysctls.values == {v4("all", "send_redirects"): 1}
