"""What of the API server's word is not carried out, and what a person has to say to have it carried out."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from lvs_agent.decide.faults import Fault
from lvs_api.conditions import Reason
from lvs_api.lvs_node import LvsNodeSpec
from lvs_api.violations import InvalidObject
from lvs_core.cluster_view import LvsNode
from lvs_core.director_addresses import merged
from lvs_core.needs import node_addresses, told_needs

_TOKEN_LENGTH: Final = 16
_NAMED: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """What is withheld now; nothing by default."""

    removal: Fault | None = None
    """Something that the API server does not have any more stays as it was."""
    cluster: Fault | None = None
    """The API server is another cluster's: nothing that it says is carried out."""
    unreadable: Fault | None = None
    """It has an object that this version can not read: nothing that it says since is carried out."""
    token: str | None = None
    """Names exactly what is withheld; a person who repeats it lets that go."""
    count: int = 0
    """Slices, addresses and director groups."""


NOTHING_WITHHELD: Final = Withheld()


def token_of(what: Iterable[str]) -> str | None:
    """A short name for a set of things; None for none."""
    things = sorted(what)
    return hashlib.sha256("\n".join(things).encode()).hexdigest()[:_TOKEN_LENGTH] if things else None


def cluster_changed(before: str, now: str) -> Withheld:
    """The API server names another cluster than the one whose view is carried out."""
    message = (
        f"the API server's cluster is {now} (uid of the namespace kube-system), and what is carried out here is of "
        f"cluster {before}: it goes on, and nothing from this API server is acted upon until that is let go"
    )
    fault = Fault(reason=Reason.CLUSTER_CHANGED, message=message)
    return Withheld(cluster=fault, token=token_of([before, now]), count=1)


def with_unreadable(before: Withheld, error: InvalidObject) -> Withheld:
    """The same, and an object that can not be read."""
    message = f"the last plan goes on, for the API server has an object that this version can not read: {error}"
    return replace(before, unreadable=Fault(reason=Reason.OBJECT_UNREADABLE, message=message))


def node_missing(node: LvsNode | None) -> Withheld:
    """There is no LvsNode for this node. One that asked for something was taken away by nobody who knows."""
    things = _asked(node.spec) if node is not None else set()
    if not things:
        return NOTHING_WITHHELD
    message = f"there is no LvsNode for this node any more; what it asked for stays: {_some(things)}"
    return Withheld(removal=Fault(reason=Reason.LVS_NODE_MISSING, message=message), count=len(things))


def missing_in(before: LvsNode | None, live: LvsNode) -> frozenset[str]:
    """What the last LvsNode asked for and one made anew under its name does not.

    An edit of the same object is the operator's word; who made it anew may not have known.
    """
    if before is None or before.meta.uid == live.meta.uid:
        return frozenset()
    return frozenset(_asked(before.spec) - _asked(live.spec))


def with_missing(before: LvsNode | None, live: LvsNode) -> LvsNode:
    """The LvsNode with what the last one asked for on top."""
    if before is None or not missing_in(before, live):
        return live
    groups = {*(live.spec.director_groups or ()), *(before.spec.director_groups or ())}
    name = live.meta.name
    needs = [need for spec in (before.spec, live.spec) for need in told_needs(name, spec.addresses)]
    return replace(
        live,
        spec=LvsNodeSpec.model_construct(
            director_groups=sorted(groups) or None,
            addresses=node_addresses(needs),
            director_addresses=merged(before.spec, live.spec),
        ),
    )


def node_remade(missing: Iterable[str]) -> Fault:
    """Why that stays."""
    message = f"the LvsNode was made anew without {_some(missing)}, which stays"
    return Fault(reason=Reason.MADE_ANEW, message=message)


def _asked(spec: LvsNodeSpec) -> set[str]:
    addresses = spec.addresses or ()
    return {
        *(f"address {one.address} on {one.device}" for one in addresses),
        *(f"UDP port {port} for {one.address} on {one.device}" for one in addresses for port in one.gue_ports or ()),
        *(f"director group {name}" for name in spec.director_groups or ()),
    }


def _some(things: Iterable[str]) -> str:
    named = sorted(things)
    return ", ".join(named[:_NAMED]) + (f" and {len(named) - _NAMED} more" if len(named) > _NAMED else "")
