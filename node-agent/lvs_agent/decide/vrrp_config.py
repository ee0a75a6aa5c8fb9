"""keepalived.conf(5) for the virtual routers of this director. Pure.

keepalived reads its configuration word by word and has no way to quote that holds everywhere, so each text that comes
from objects is held against what it may be before it is written.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from lvs_agent.decide.kernel_state import AddressBinding, IPAddress, KernelLinks
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_agent.decide.virtual_routers import RouterKey, WantedVrrp
from lvs_api.network_types import Family
from lvs_core.plan import DirectorPlan, family_of_ip
from lvs_core.vrrp import VirtualRouter, VrrpPlan

MAX_ADVERTISED: Final = 20
"""Addresses that stand in the adverts; keepalived binds and announces the others just so. Neighbours compare no more
than the number, for the log, and a short advert is never cut by a small MTU."""
ANNOUNCEMENTS: Final = 3
"""Gratuitous ARP or unsolicited NA for each address when it is taken, and again a second later."""
REFRESH_SECONDS: Final = 60
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,14}")
_NODE: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9._+=@%*,:;/-]{1,8}")
_PATH: Final = re.compile(r"/[A-Za-z0-9_./-]{0,200}")
_V2: Final = 2
_SECOND: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpPlaces:
    """Files that the configuration names."""

    notify_fifo: str
    tracks: str
    """The directory of the track files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritable:
    """A text that keepalived's configuration can not hold."""

    what: str

    def __str__(self) -> str:
        return f"{self.what}: keepalived's configuration can not hold that"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRouter:
    """A virtual router, and the devices that its addresses go on."""

    key: RouterKey
    router: VirtualRouter
    plan: VrrpPlan
    device: str
    """On which it is spoken of."""
    bindings: tuple[AddressBinding, ...]

    @property
    def devices(self) -> frozenset[str]:
        """Without which it does not carry the addresses."""
        return frozenset({self.device, *self.plan.tracked_interfaces})

    @property
    def peers(self) -> tuple[IPAddress, ...]:
        """To whom adverts go by unicast."""
        return tuple(one for one in self.plan.peers if family_of_ip(one) is self.key.family)

    @property
    def source(self) -> IPAddress | None:
        """From where they go there; None: they go by multicast."""
        own = (one for one in self.plan.own if family_of_ip(one) is self.key.family)
        return next(own, None) if self.peers else None


def place_routers(
    directors: Iterable[DirectorPlan],
    links: KernelLinks,
    before: Mapping[IPAddress, str],
    refused: AbstractSet[IPAddress] = frozenset(),
) -> tuple[PlacedRouter, ...]:
    """The routers with addresses that have a device, `before` where they have been; the others are told elsewhere.

    What this node has `refused` keeps no other address of its router from being carried.
    """
    placed = []
    for director in directors:
        if director.vrrp is None:
            continue
        for router in director.vrrp.routers:
            found = [
                AddressBinding(address=address, device=device)
                for address in router.addresses
                if (device := _device(address, director, links, before)) is not None
            ]
            found = [one for one in found if one.address not in refused] or found
            if found:
                key = RouterKey(director.group, router.id, router.family)
                # On the link of the VIPs, not on that of a gateway's address.
                device = next((one.device for one in found if one.address in director.addresses), found[0].device)
                placed.append(
                    PlacedRouter(key=key, router=router, plan=director.vrrp, device=device, bindings=tuple(found))
                )
    return tuple(sorted(placed, key=lambda one: one.key))


def _device(
    address: IPAddress, director: DirectorPlan, links: KernelLinks, before: Mapping[IPAddress, str]
) -> str | None:
    """The group's interface is that of the VIPs; a gateway's address goes where its own subnet is, on the inside."""
    interface = director.interface if address in director.addresses else None
    return choose_vip_device(address, links, interface, before.get(address))


def render_vrrp(node: str, placed: Sequence[PlacedRouter], places: VrrpPlaces) -> WantedVrrp | Unwritable:
    """The configuration; of texts that it can not hold the first."""
    if not placed:
        return WantedVrrp()
    if (fault := next(_unwritable(node, placed, places), None)) is not None:
        return fault
    lines = [*_globals(node, places)]
    for one in placed:
        lines += _track_file(one, places)
    for (group, number), members in groupby(placed, key=lambda one: (one.key.group, one.key.id)):
        names = [str(member.key) for member in members]
        if len(names) > 1:
            lines += ["", f"vrrp_sync_group {group}.{number} {{", "    group {"]
            lines += [f"        {name}" for name in names]
            lines += ["    }", "}"]
    for one in placed:
        lines += ["", *_instance(one)]
    binds = frozenset(binding for one in placed for binding in one.bindings)
    return WantedVrrp(text="\n".join(lines) + "\n", binds=binds)


def is_instance(name: str, text: str) -> bool:
    """Whether a configuration has a virtual router of this name."""
    return f"\nvrrp_instance {name} {{\n" in text


def _unwritable(node: str, placed: Sequence[PlacedRouter], places: VrrpPlaces) -> Iterator[Unwritable]:
    if not _NODE.fullmatch(node):
        yield Unwritable(what=f"the node's name {node!r}")
    for path in (places.notify_fifo, places.tracks):
        if not _PATH.fullmatch(path):
            yield Unwritable(what=f"the path {path!r} of --vrrp-dir")
    for one in placed:
        devices = one.devices | {binding.device for binding in one.bindings}
        for device in sorted(devices):
            if not _DEVICE.fullmatch(device):
                yield Unwritable(what=f"the network device {device!r} of LvsDirectorGroup {one.key.group}")
        if one.plan.password is not None and not _PASSWORD.fullmatch(one.plan.password):
            yield Unwritable(what=f"the VRRP password of LvsDirectorGroup {one.key.group}")


def _globals(node: str, places: VrrpPlaces) -> Iterator[str]:
    yield "# Written by lvs-agent; changes are overwritten."
    yield "global_defs {"
    yield f"    router_id {node}"
    yield "    script_user root"
    yield "    enable_script_security"
    # A device that is not there is a fault of its routers, and no reason to refuse all of it.
    yield "    dynamic_interfaces"
    yield f"    vrrp_notify_fifo {places.notify_fifo}"
    # Without it the supervisor would know nothing after a reload.
    yield "    fifo_write_vrrp_states_on_reload"
    yield f"    vrrp_garp_master_repeat {ANNOUNCEMENTS}"
    yield "    vrrp_garp_master_delay 1"
    yield f"    vrrp_garp_master_refresh {REFRESH_SECONDS}"
    # Two that were Master behind a parting have both told neighbours: the one that stays has to have the last word.
    yield f"    vrrp_garp_lower_prio_repeat {ANNOUNCEMENTS}"
    yield "    vrrp_garp_lower_prio_delay 1"
    # Otherwise whatever comes with its id, even a packet that is not heeded, puts the Master's next advert off by an
    # interval (vrrp_dispatcher_read in vrrp_scheduler.c): one who sends more often than that would silence it.
    yield "    vrrp_lower_prio_no_advert true"
    yield "    vrrp_higher_prio_send_advert true"
    yield "    vrrp_check_unicast_src"
    yield "}"


def _track_file(one: PlacedRouter, places: VrrpPlaces) -> Iterator[str]:
    yield ""
    yield f"track_file {one.key} {{"
    yield f"    file {places.tracks}/{one.key}"
    # With weight 0 anything but 0 in the file is a fault.
    yield "    weight 0"
    yield "}"


def _instance(one: PlacedRouter) -> Iterator[str]:
    plan = one.plan
    # Version 2 is of IPv4 only (RFC 3768).
    is_old = plan.version == _V2 and one.key.family is Family.IPV4
    yield f"vrrp_instance {one.key} {{"
    # As Master from the start it would neither wait nor heed nopreempt.
    yield "    state BACKUP"
    yield f"    version {2 if is_old else 3}"
    yield f"    interface {one.device}"
    yield f"    virtual_router_id {one.key.id}"
    yield f"    priority {one.router.priority}"
    yield f"    advert_int {_seconds(plan.advert_interval_milliseconds)}"
    if plan.preempt_delay_seconds is None:
        yield "    nopreempt"
    elif plan.preempt_delay_seconds:
        yield f"    preempt_delay {plan.preempt_delay_seconds}"
    yield "    notify_deleted"
    if is_old and plan.password is not None:
        yield from _block("authentication", ["auth_type PASS", f"auth_pass {plan.password}"])
    yield from _unicast(one)
    yield from _block("track_interface", [name for name in plan.tracked_interfaces if name != one.device])
    yield from _block("track_file", [str(one.key)])
    bound = [_address(binding) for binding in one.bindings]
    yield from _block("virtual_ipaddress", bound[:MAX_ADVERTISED])
    yield from _block("virtual_ipaddress_excluded", bound[MAX_ADVERTISED:])
    yield "}"


def _unicast(one: PlacedRouter) -> Iterator[str]:
    if one.source is not None:
        yield f"    unicast_src_ip {one.source}"
        # An address that is not there yet, or goes, is a fault until it is there.
        yield "    track_src_ip"
        yield from _block("unicast_peer", [str(address) for address in one.peers])


def _address(binding: AddressBinding) -> str:
    if family_of_ip(binding.address) is Family.IPV4:
        return f"{binding.address}/32 dev {binding.device}"
    # Without duplicate address detection, which keepalived leaves out by itself; never chosen as a source.
    return f"{binding.address}/128 dev {binding.device} preferred_lft 0"


def _block(name: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"    {name} {{"
        yield from (f"        {line}" for line in lines)
        yield "    }"


def _seconds(milliseconds: int) -> str:
    whole, rest = divmod(milliseconds, _SECOND)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)
