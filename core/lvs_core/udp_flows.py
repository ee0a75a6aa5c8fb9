"""What becomes of a real server that fails or leaves where its pool does not say: over UDP nothing waits for an end.

To IPVS all packets from one client port are one UDP connection until none came for a while (300 s). It goes on for as
long as its real server has an entry, at weight 0, too: only TCP and SCTP say that a new one begins (`is_new_conn` in
net/netfilter/ipvs/ip_vs_core.c). So a client that goes on sending would stay with a dead real server for ever, and a
drain would only end by its time. By one-packet scheduling there are no such connections.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from lvs_api.network_types import Protocol
from lvs_api.real_server_pool import Drain, OnFailure

DEFAULT_DRAIN_SECONDS: Final = 300
_UDP_ALONE: Final = frozenset({Protocol.UDP})


def has_flows(protocols: AbstractSet[Protocol], *, one_packet_scheduling: bool) -> bool:
    """Whether some connections of a virtual service have no end of their own, by the protocols of its packets."""
    return Protocol.UDP in protocols and not one_packet_scheduling


def has_flows_alone(protocols: AbstractSet[Protocol], *, one_packet_scheduling: bool) -> bool:
    """Whether none of them has: a mark may stand for ports of TCP, too, of which connections shall live on."""
    return protocols == _UDP_ALONE and not one_packet_scheduling


def default_on_failure(*, flows: bool) -> OnFailure:
    """What becomes of a failed real server where its pool does not say."""
    return OnFailure.REMOVE if flows else OnFailure.ZERO_WEIGHT


def drain_seconds(drain: Drain, *, flows: bool) -> int:
    """How long one that leaves has at most."""
    if drain.timeout_seconds is not None:
        return drain.timeout_seconds
    return 0 if flows else DEFAULT_DRAIN_SECONDS
