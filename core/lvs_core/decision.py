"""What the operator is to write, as `lvs_core.decide.decide` says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lvs_api.address_pool import LvsAddressPoolStatus
from lvs_api.director_group import LvsDirectorGroupStatus
from lvs_api.lvs_node import LvsNodeSpec
from lvs_api.real_server_pool import LvsRealServerPoolStatus
from lvs_api.virtual_service import LvsVirtualServiceStatus
from lvs_core.cluster_view import ObjectKey, SliceContent
from lvs_core.load_balancers import CoreServiceStatus
from lvs_core.memory import Memory
from lvs_core.owned_objects import OwnedObjects


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """All that shall be; the writer compares it with what is and writes differences.

    Deletions are named one by one: an object that is not mentioned at all is none of ours and stays.
    """

    slices: Mapping[ObjectKey, SliceContent]
    """Slices that shall exist, those that do already included. Owner: the LvsVirtualService of `service_uid`."""
    delete_slices: tuple[ObjectKey, ...]
    """Slices that exist and shall not: emptied ones, and those whose service is gone."""
    lvs_nodes: Mapping[str, LvsNodeSpec]
    """LvsNodes that shall exist, by the Node's name."""
    delete_lvs_nodes: tuple[str, ...]
    """LvsNodes that exist and shall not: their Node is gone, or their part is over and their agent said it is clean."""
    agent_nodes: frozenset[str]
    """Nodes that shall carry the label by which agents are placed; every other Node shall not."""
    services: Mapping[ObjectKey, LvsVirtualServiceStatus]
    pools: Mapping[ObjectKey, LvsRealServerPoolStatus]
    groups: Mapping[str, LvsDirectorGroupStatus]
    address_pools: Mapping[str, LvsAddressPoolStatus]
    owned: OwnedObjects = field(default_factory=OwnedObjects)
    """What is made of Services of type LoadBalancer."""
    load_balancers: Mapping[ObjectKey, CoreServiceStatus] = field(default_factory=dict)
    """What these Services say; of every other one nothing is said."""
    memory: Memory
    """To be given to the next `decide`."""
    again_seconds: float | None = None
    """When time alone may change what is decided; None: not without news."""
