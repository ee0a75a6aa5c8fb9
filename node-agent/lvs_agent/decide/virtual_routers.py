"""The virtual routers of this director: their names in the VRRP daemon, and what the daemon says of them.

What is here is spoken between the agent and the supervisor of the daemon, which are processes of their own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lvs_agent.decide.heard_adverts import Sender
from lvs_agent.decide.kernel_state import AddressBinding, IPAddress
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.network_types import Family

_VERSIONS: Final = {Family.IPV4: "4", Family.IPV6: "6"}
_FAMILIES: Final = {digit: family for family, digit in _VERSIONS.items()}
_NAME: Final = re.compile(r"(?P<group>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)\.(?P<id>[1-9][0-9]{0,2})v(?P<digit>[46])")
_MAX_ID: Final = 255


class RouterKey(NamedTuple):
    """One virtual router of one director group."""

    group: str
    id: int
    """VRID."""
    family: Family

    def __str__(self) -> str:
        """Its name in keepalived's configuration and in its notifications, and its track file's."""
        return f"{self.group}.{self.id}v{_VERSIONS[self.family]}"


def router_key(name: str) -> RouterKey | None:
    """The virtual router of a name; None: it is none of ours."""
    found = _NAME.fullmatch(name)
    if found is None or int(found["id"]) > _MAX_ID:
        return None
    return RouterKey(found["group"], int(found["id"]), _FAMILIES[found["digit"]])


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedVrrp:
    """What the daemon shall run by. Without text it shall not run."""

    text: str = ""
    """The whole configuration."""
    binds: frozenset[AddressBinding] = frozenset()
    """What the daemon may put on a device by it."""

    @property
    def is_empty(self) -> bool:
        """Whether no virtual router is left."""
        return not self.text


class RouterWord(NamedTuple):
    """What the daemon said of a virtual router last."""

    state: VirtualRouterState
    since: str
    """RFC 3339."""
    changes: int = 0
    """How often it said something else than before, since the supervisor started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonWord:
    """What the supervisor says of the daemon."""

    accepted: str | None = None
    """Digest of the configuration by which it runs; None: by none."""
    refused: str | None = None
    """Digest of a configuration that it does not take."""
    refusal: str = ""
    """Why, in its own words."""
    pid: int | None = None
    """None: it does not run."""
    version: str = ""
    restarts: int = 0
    """Times that it ended without having been told to, since the supervisor started."""
    trouble: str = ""
    """Why it does not run."""
    routers: Mapping[RouterKey, RouterWord] = field(default_factory=dict)
    senders: frozenset[Sender] = frozenset()
    """Who else has sent adverts of any virtual router lately."""


def states_by_address(
    word: DaemonWord | None, is_current: bool, routers: Mapping[RouterKey, tuple[IPAddress, ...]]
) -> dict[IPAddress, VirtualRouterState]:
    """What the daemon does with each address of which it has spoken.

    Where another configuration than the one that it runs by is wanted, nothing is known: it may not name the address.
    """
    if word is None or not is_current or word.pid is None:
        return {}
    return {
        address: word.routers[key].state
        for key, addresses in routers.items()
        if key in word.routers
        for address in addresses
    }
