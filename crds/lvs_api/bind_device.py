"""What LvsNode says of bound VIPs, without its types: the agents' probe process needs these words and no pydantic."""

from enum import StrEnum

MAX_NODE_ADDRESSES = 1024
MAX_GUE_PORTS = 16
"""Of one VIP."""


class BindDevice(StrEnum):
    """A device of a real-server node that can carry a VIP without being asked for it on the link."""

    LO = "lo"
    TUNL0 = "tunl0"
    IP6TNL0 = "ip6tnl0"
    GRE0 = "gre0"
    IP6GRE0 = "ip6gre0"
