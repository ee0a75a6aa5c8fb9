"""Which sysctls of its devices this node's roles need, which of them to write, and what to give back.

Pure: values in, writes out. Those of net.ipv4.vs are `wanted_settings`.

How the kernel combines `all` and a device decides where to write (Documentation/networking/ip-sysctl.rst): the larger
counts for arp_ignore, arp_announce and rp_filter; either for send_redirects. `forwarding` is a device's own, and
net.ipv4.ip_forward is never written: that would rewrite every device's.

Forwarding that we switched on is switched off again only while nobody else needs it: a container runtime, a network
plugin or an administrator that makes the node a router says so just once and does not notice when it ends.
"""

from dataclasses import dataclass, field

from lvs_agent.decide.changes import WriteSysctl
from lvs_agent.decide.kernel_state import KernelLinks
from lvs_agent.decide.kernel_sysctls import KernelSysctls, SysctlKey, conf_key
from lvs_api.bind_device import BindDevice

_IPV4_ALL_FORWARDING = conf_key("ipv4", "all", "forwarding")
_IPV6_ALL_FORWARDING = conf_key("ipv6", "all", "forwarding")
_ARP_NAMES = ("arp_ignore", "arp_announce")
_ACCEPT_RA, _ACCEPT_RA_AS_ROUTER = 1, 2
_TUNNEL_DEVICES = frozenset(device.value for device in BindDevice if device is not BindDevice.LO)
"""They come with the first address on them, and take over what is the default by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlRole:
    """What the node does that sysctls decide about.

    `silent` while an IPv4 VIP is, or is to be, bound on lo or a tunnel device; `tunnel_devices` carry an IPv4 VIP and
    decapsulate; `masquerade_ipv4` and `masquerade_ipv6` name the devices that replies of Masquerade members come in by;
    with `keeps` nothing is put back yet.
    """

    silent: bool = False
    tunnel_devices: frozenset[str] = frozenset()
    masquerade_ipv4: frozenset[str] = frozenset()
    masquerade_ipv6: frozenset[str] = frozenset()
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class SysctlRule:
    """A wanted value: any of `accepted` is left alone, else `value` is written."""

    value: int
    accepted: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SysctlVerdict:
    """What to write, in order, and what to put back.

    `remember` is what the ledger has to hold before the first write (old values by key). `left` is no longer needed by
    us and not put back, since others rely on it by now. `missing` keys do not exist
    (yet: those of a tunnel device come with it). `is_silent` tells that the node already answers no ARP for VIPs on lo
    and tunnel devices; when it is false, the writes make it so if they succeed. `takes_traffic` tells that it is silent
    and lets through what its tunnel devices unwrap: all that a real server needs, whatever else the node's roles lack.
    """

    writes: tuple[WriteSysctl, ...] = ()
    restores: tuple[WriteSysctl, ...] = ()
    remember: KernelSysctls = field(default_factory=dict)
    left: tuple[SysctlKey, ...] = ()
    missing: tuple[SysctlKey, ...] = ()
    is_silent: bool = False
    takes_traffic: bool = False

    @property
    def is_met(self) -> bool:
        """Whether everything is as the roles need it."""
        return not self.writes and not self.missing


def keys_to_read(role: SysctlRole, links: KernelLinks, remembered: KernelSysctls) -> frozenset[SysctlKey]:
    """Every key that `judge_sysctls` looks at."""
    keys = set(remembered) | set(_rules(role, links, {}, remembered))
    if role.silent:
        keys.update(_arp_ignore_keys(links))
    if any(_is_forwarding(key, "ipv4") for key in remembered):
        keys.add(_IPV4_ALL_FORWARDING)
    if role.masquerade_ipv6 or _IPV6_ALL_FORWARDING in remembered:
        keys.add(_IPV6_ALL_FORWARDING)
        for device in links.devices:
            keys.update(conf_key("ipv6", device, name) for name in ("accept_ra", "forwarding", "force_forwarding"))
    return frozenset(keys)


def judge_sysctls(
    role: SysctlRole, links: KernelLinks, found: KernelSysctls, remembered: KernelSysctls
) -> SysctlVerdict:
    """Compare the values found with what the role needs. `remembered` are the values before our first write."""
    rules = _rules(role, links, found, remembered)
    writes = tuple(
        WriteSysctl(key=key, value=rule.value, previous=found[key])
        for key, rule in rules.items()
        if key in found and found[key] not in rule.accepted
    )
    gone = [] if role.keeps else sorted((key for key in remembered if key not in rules), key=_all_before_devices)
    if _IPV6_ALL_FORWARDING in rules:
        gone = [key for key in gone if not _is_forwarding(key, "ipv6")]
    relied_on = _relied_on(gone, links, found, remembered)
    kept = {key: value for key, value in remembered.items() if key not in gone}
    missing = tuple(key for key in rules if key not in found)
    unmet = {key.path[-1] for key, rule in rules.items() if found.get(key) not in rule.accepted}
    return SysctlVerdict(
        writes=writes,
        restores=_restores([key for key in gone if key not in relied_on], found, remembered),
        remember=_first_values(writes, links, found) | kept,
        left=tuple(key for key in gone if key in relied_on and found.get(key, remembered[key]) != remembered[key]),
        missing=missing,
        is_silent=unmet.isdisjoint(_ARP_NAMES),
        takes_traffic=unmet.isdisjoint({*_ARP_NAMES, "rp_filter"}),
    )


def _rules(
    role: SysctlRole, links: KernelLinks, found: KernelSysctls, remembered: KernelSysctls
) -> dict[SysctlKey, SysctlRule]:
    """The rules in the order in which they are to be written."""
    rules: dict[SysctlKey, SysctlRule] = {}
    if role.silent:
        rules.update(_silence(links, found, remembered))
    for device in sorted(role.tunnel_devices):
        # Strict would drop what the tunnel unwraps: clients are not routed by it. The larger of `all` and 2 is 2.
        rules[conf_key("ipv4", device, "rp_filter")] = _exactly(2)
    if role.masquerade_ipv4:
        rules[conf_key("ipv4", "all", "send_redirects")] = _exactly(0)
        for device in sorted(role.masquerade_ipv4):
            rules[conf_key("ipv4", device, "send_redirects")] = _exactly(0)
            rules[conf_key("ipv4", device, "forwarding")] = _exactly(1)
    if role.masquerade_ipv6:
        rules.update(_ipv6_forwarding(role, links, found, remembered))
    return rules


def _exactly(value: int) -> SysctlRule:
    return SysctlRule(value, frozenset({value}))


def _silence(links: KernelLinks, found: KernelSysctls, remembered: KernelSysctls) -> dict[SysctlKey, SysctlRule]:
    """Written to `all`, since they count on every device that answers ARP, also on one that is made tomorrow.

    arp_ignore 1, 2 and 8 are silent about addresses of other devices; 3 answers for those of global scope, and 4 to 7
    mean nothing: as the larger of `all` and device counts, a device's own 3 to 7 is lowered, too.
    """
    rules = {
        conf_key("ipv4", "all", "arp_ignore"): SysctlRule(1, frozenset({1, 2, 8})),
        conf_key("ipv4", "all", "arp_announce"): _exactly(2),
    }
    quiet = frozenset({0, 1, 2, 8})
    for key in _arp_ignore_keys(links):
        if found.get(key, 0) not in quiet or key in remembered:
            rules[key] = SysctlRule(1, quiet)
    return rules


def _arp_ignore_keys(links: KernelLinks) -> list[SysctlKey]:
    return [conf_key("ipv4", name, "arp_ignore") for name in sorted(links.devices) if links.devices[name].arp_capable]


def _ipv6_forwarding(
    role: SysctlRole, links: KernelLinks, found: KernelSysctls, remembered: KernelSysctls
) -> dict[SysctlKey, SysctlRule]:
    """Linux 6.17 and later can force forwarding on a device; before, only `all` makes a host forward IPv6.

    A device that forwards heeds router advertisements only with accept_ra 2: those that do heed them go on to.
    """
    forced = [conf_key("ipv6", device, "force_forwarding") for device in sorted(role.masquerade_ipv6)]
    hosts_only = _IPV6_ALL_FORWARDING not in remembered and found.get(_IPV6_ALL_FORWARDING) == 0
    if hosts_only and all(key in found for key in forced):
        return dict.fromkeys(forced, _exactly(1))
    rules: dict[SysctlKey, SysctlRule] = {}
    for device in sorted(links.devices):
        key = conf_key("ipv6", device, "accept_ra")
        host = found.get(conf_key("ipv6", device, "forwarding")) == 0
        if key in remembered or (found.get(key) == _ACCEPT_RA and host):
            rules[key] = SysctlRule(_ACCEPT_RA_AS_ROUTER, frozenset({0, _ACCEPT_RA_AS_ROUTER}))
    rules[_IPV6_ALL_FORWARDING] = _exactly(1)
    for device in sorted(role.masquerade_ipv6):
        rules[conf_key("ipv6", device, "forwarding")] = _exactly(1)
    return rules


def _first_values(writes: tuple[WriteSysctl, ...], links: KernelLinks, found: KernelSysctls) -> dict[SysctlKey, int]:
    """Old values of what is written, and of every device's IPv6 forwarding, which writing to `all` changes."""
    values = {write.key: write.previous for write in writes}
    if _IPV6_ALL_FORWARDING in values:
        keys = (conf_key("ipv6", device, "forwarding") for device in links.devices)
        values.update({key: found[key] for key in keys if key in found})
    return values


def _relied_on(
    gone: list[SysctlKey], links: KernelLinks, found: KernelSysctls, remembered: KernelSysctls
) -> set[SysctlKey]:
    """What of it stays as it is.

    Where net.ipv4.ip_forward is 1 every device is to forward, whatever it did before. IPv6 has one switch for all: a
    device that forwards and was not there when we switched it on may be somebody's who needs it. While it stays on,
    accept_ra stays, too: with 1 a router heeds no router advertisements and loses its default route.
    """
    relied_on: set[SysctlKey] = set()
    if found.get(_IPV4_ALL_FORWARDING) == 1:
        relied_on |= {key for key in gone if _is_forwarding(key, "ipv4")}
    forwarding = {
        device: conf_key("ipv6", device, "forwarding") for device in links.devices if device not in _TUNNEL_DEVICES
    }
    if _IPV6_ALL_FORWARDING in gone and any(
        found.get(key) == 1 and key not in remembered for key in forwarding.values()
    ):
        relied_on |= {key for key in gone if _is_forwarding(key, "ipv6") or key.path[-1] == "accept_ra"}
    return relied_on


def _restores(gone: list[SysctlKey], found: KernelSysctls, remembered: KernelSysctls) -> tuple[WriteSysctl, ...]:
    """Old values of what no role needs any more, as far as the keys still exist and differ.

    Lowering IPv6 all.forwarding lowers every device's, so those that forwarded before us are raised again after it.
    """
    lowers_all = _IPV6_ALL_FORWARDING in gone and remembered[_IPV6_ALL_FORWARDING] != found.get(_IPV6_ALL_FORWARDING)
    writes: list[WriteSysctl] = []
    for key in gone:
        if key not in found:
            continue
        present = found[key]
        if lowers_all and _is_forwarding(key, "ipv6") and key != _IPV6_ALL_FORWARDING:
            present = remembered[_IPV6_ALL_FORWARDING]
        if remembered[key] != present:
            writes.append(WriteSysctl(key=key, value=remembered[key], previous=present))
    return tuple(writes)


def _is_forwarding(key: SysctlKey, family: str) -> bool:
    return key.path[0] == family and key.path[-1] == "forwarding"


def _all_before_devices(key: SysctlKey) -> tuple[bool, SysctlKey]:
    return "all" not in key.path, key
