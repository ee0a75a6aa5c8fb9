"""Which counters a person asked to be zeroed, and whether that has been done.

The request is an annotation on the LvsNode; the answer stands in its status, so that a restarted agent knows it. Only
services of ours are zeroed.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from lvs_agent.decide.desired_state import DesiredIpvs
from lvs_agent.decide.kernel_state import AnyServiceKey
from lvs_agent.decide.ownership import OwnedIpvs
from lvs_api.lvs_node import CountersZeroed
from lvs_core.cluster_view import ObjectKey

_PARTS_OF_ONE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroRequest:
    """What the annotation asks for."""

    said: str
    """As it stands there: by this the answer names it."""
    service: ObjectKey | None
    """None: all."""


def read_request(said: str | None) -> ZeroRequest | None:
    """`TOKEN` for all, `TOKEN/NAMESPACE/NAME` for one service; None for anything else."""
    parts = said.split("/") if said else []
    if said is None or len(said) > CountersZeroed.LONGEST_REQUEST or not all(parts):
        return None
    if len(parts) == 1:
        return ZeroRequest(said=said, service=None)
    if len(parts) == _PARTS_OF_ONE:
        return ZeroRequest(said=said, service=ObjectKey(parts[1], parts[2]))
    return None


def services_to_zero(
    request: ZeroRequest, desired: DesiredIpvs, owned: OwnedIpvs, present: AbstractSet[AnyServiceKey]
) -> tuple[AnyServiceKey, ...]:
    """The kernel services that are meant, are ours, and are there."""
    return tuple(
        part.key
        for name, parts in desired.services.items()
        for part in parts
        if request.service in {None, name} and part.key in owned and part.key in present
    )
