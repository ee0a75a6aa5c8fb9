"""One machine of a simulated cluster: its kernel and its agent, as far as the operator hears of them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from lvs_api.lvs_node import NodeAddressState, NodeAddressStatus, VirtualRouterReport
from lvs_core.cluster_view import Member, ObjectKey, Slice
from lvs_core.needs import Need, device_of, port_of, slices_needs

Slices = Mapping[ObjectKey, Slice]
Destination = tuple[ObjectKey, str, str]
"""Service, member and VIP."""


@dataclass(kw_only=True)
class Entry:
    """What a director's kernel has of one member: how it may be forwarding to it at this moment."""

    uid: str
    """Of the service; one made anew under the same name takes nothing over, its deletion ended the connections."""
    needs: set[Need] = field(default_factory=set)
    """Of methods by which connections may live."""


@dataclass(kw_only=True)
class Machine:
    """A node: its kernel and its agent."""

    name: str
    boot: int = 1
    bound: set[Need] = field(default_factory=set)
    at: int = 0
    """The event up to which its agent acted on slices."""
    told: int = 0
    """The generation of its LvsNode.spec that its agent acted on."""
    groups: frozenset[str] = frozenset()
    holds: frozenset[str] = frozenset()
    entries: dict[Destination, Entry] = field(default_factory=dict)
    finished: set[tuple[ObjectKey, str, bool]] = field(default_factory=set)
    """Members whose drain (True) or former method (False) is over here."""
    routers: list[VirtualRouterReport] | None = None
    """What it says of its virtual routers, of every group."""
    taken: set[int] = field(default_factory=set)
    """UDP ports that something else has."""

    def seen(self, slices: Slices) -> Mapping[Destination, tuple[Member, set[Need]]]:
        """What slices ask of it as a director: members by virtual service, with their present needs."""
        seen = [one for one in slices.values() if one.content.director_group in self.groups]
        vips = {one.service_key: one.content.service.addresses or () for one in seen if one.content.service is not None}
        methods = _present(seen)
        return {
            (one.service_key, member.name, vip): (
                member,
                {need for need in methods[one.service_key, member.name] if need.address == vip},
            )
            for one in seen
            for member in one.content.members
            for vip in vips.get(one.service_key, ())
        }

    def direct(self, slices: Slices) -> None:
        """Its kernel follows the slices."""
        if not self.groups:
            self.entries.clear()  # no longer a director: nothing is left
        seen = self.seen(slices)
        self.finished &= {
            (key, name, member.draining_seconds is not None)
            for (key, name, _), (member, _) in seen.items()
            if member.draining_seconds is not None or member.former is not None
        }
        for key, entry in list(self.entries.items()):
            if not entry.needs and key not in seen:
                del self.entries[key]
        uids = {one.service_key: one.content.service_uid for one in slices.values()}
        for key, (member, needs) in seen.items():
            entry = self.entries.setdefault(key, Entry(uid=uids[key[0]]))
            if entry.uid != uids[key[0]]:
                entry = self.entries[key] = Entry(uid=uids[key[0]])
            if member.prepared and member.refused is None and member.draining_seconds is None:
                entry.needs |= needs

    def finish(self, slices: Slices) -> None:
        """Connections of leaving members end here."""
        seen = self.seen(slices)
        for key, entry in list(self.entries.items()):
            if key not in seen:
                del self.entries[key]
                continue
            member, needs = seen[key]
            if member.draining_seconds is not None:
                entry.needs.clear()
                self.finished.add((*key[:2], True))
            else:
                entry.needs &= needs
                if member.former is not None:
                    self.finished.add((*key[:2], False))

    def leftover(self, slices: Slices) -> Iterator[Destination]:
        """Members that the slices no longer have, or by which way connections came they no longer tell."""
        seen = self.seen(slices)
        for key, entry in self.entries.items():
            member, needs = seen.get(key, (None, set[Need]()))
            is_told = member is not None and (member.former is not None or member.draining_seconds is not None)
            if member is None or not (is_told or entry.needs <= needs):
                yield key

    def address_status(self, bound: Need) -> NodeAddressStatus:
        """What its agent says of an address."""
        closed = sorted(
            one.port for one in self.bound if one == bound._replace(port=one.port) and one.port in self.taken
        )
        return NodeAddressStatus(
            address=bound.address,
            device=bound.device,
            state=NodeAddressState.FAILED if closed else NodeAddressState.BOUND,
            closed_ports=closed or None,
        )


def _present(slices: Iterable[Slice]) -> Mapping[tuple[ObjectKey, str], set[Need]]:
    """What each member needs by its present method."""
    slices = list(slices)
    result: dict[tuple[ObjectKey, str], set[Need]] = {
        (one.service_key, member.name): set() for one in slices for member in one.content.members
    }
    for need, service, member in slices_needs(slices):
        if is_of_present_method(need, member):
            result[service, member.name].add(need)
    return result


def is_of_present_method(need: Need, member: Member) -> bool:
    """Whether a member needs it by the method that it has now, and not by a former one."""
    forwarding = member.forwarding
    return (need.device, need.port) == (device_of(forwarding, member.address), port_of(forwarding))
