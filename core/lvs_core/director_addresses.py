"""What the directors send wrapped packets from, for the real servers that unwrap them."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import MAX_DIRECTOR_ADDRESSES, MAX_OWN_ADDRESSES, LvsNodeSpec, NodeAddress
from lvs_core.cluster_view import ClusterView
from lvs_core.directors import Directors


@dataclass(frozen=True, kw_only=True)
class TunnelDirectors:
    """Answers for every node of a view alike: a director of any group may send to it."""

    view: ClusterView
    directors: Mapping[str, Directors]

    def addresses(self, told: Iterable[NodeAddress] | None) -> tuple[str, ...]:
        """For a node that carries these VIPs; nothing for one that unwraps nothing, and where one is not known."""
        return self._all if any(one.device is not BindDevice.LO for one in told or ()) else ()

    @cached_property
    def _all(self) -> tuple[str, ...]:
        names = {name for who in self.directors.values() for name in (*who.selected, *who.forwarding)}
        found: set[str] = set()
        for name in names:
            own = self._of(name)
            if own is None:
                return ()
            found.update(own)
        if len(found) > MAX_DIRECTOR_ADDRESSES:
            return ()
        return tuple(in_order(found))

    def _of(self, name: str) -> Collection[str] | None:
        """All addresses of a director. None where its agent names none yet, or as many as it can: there may be more.

        A machine that is out of service sends nothing, but it stays a director, and when it has power again it may
        carry addresses at once, without a word from the operator.
        """
        lvs_node = self.view.lvs_nodes.get(name)
        if name not in self.view.nodes:
            return ()
        own = lvs_node.status.own_addresses if lvs_node is not None and lvs_node.status is not None else None
        if not own or len(own) >= MAX_OWN_ADDRESSES:
            return None
        return own


def merged(old: LvsNodeSpec, new: LvsNodeSpec) -> list[str] | None:
    """From what a node unwraps while it is asked for what both specs name: the more, where they differ."""
    if new.director_addresses is None and any(one.device is not BindDevice.LO for one in new.addresses or ()):
        return None
    both = {*(old.director_addresses or ()), *(new.director_addresses or ())}
    return in_order(both if len(both) <= MAX_DIRECTOR_ADDRESSES else new.director_addresses or ()) or None


def in_order(addresses: Iterable[str]) -> list[str]:
    """Sorted by family and number."""
    return sorted(addresses, key=_order)


def _order(text: str) -> tuple[int, int]:
    address = ip_address(text)
    return address.version, int(address)
