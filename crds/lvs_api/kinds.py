"""Every kind: its names, its scope and its types."""

from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from lvs_api.address_pool import LvsAddressPoolSpec, LvsAddressPoolStatus
from lvs_api.base import ApiModel
from lvs_api.director_group import LvsDirectorGroupSpec, LvsDirectorGroupStatus
from lvs_api.lvs_node import LvsNodeSpec, LvsNodeStatus
from lvs_api.real_server_pool import LvsRealServerPoolSpec, LvsRealServerPoolStatus
from lvs_api.service_slice import LvsServiceSliceSpec, LvsServiceSliceStatus
from lvs_api.virtual_service import LvsVirtualServiceSpec, LvsVirtualServiceStatus

SpecT = TypeVar("SpecT", bound=ApiModel)
StatusT = TypeVar("StatusT", bound=ApiModel)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind(Generic[SpecT, StatusT]):
    """A kind of the API group."""

    name: str
    """As in `kind:`."""
    plural: str
    """As in the API's paths."""
    short_name: str
    """For kubectl."""
    namespaced: bool
    description: str
    """First text of `kubectl explain`."""
    spec: type[SpecT]
    status: type[StatusT]
    has_status: bool = True
    """False: written by the operator alone, with nothing to report."""
    max_name_length: int = 253
    """Of metadata.name: 63 where it becomes a label value."""

    @property
    def singular(self) -> str:
        """The name in lower case."""
        return self.name.lower()


VIRTUAL_SERVICE: Final = Kind(
    name="LvsVirtualService",
    plural="lvsvirtualservices",
    short_name="lvsvs",
    namespaced=True,
    description="Virtual IP addresses and ports that the Linux Virtual Server balances over a pool of real servers.",
    spec=LvsVirtualServiceSpec,
    status=LvsVirtualServiceStatus,
    max_name_length=63,
)
REAL_SERVER_POOL: Final = Kind(
    name="LvsRealServerPool",
    plural="lvsrealserverpools",
    short_name="lvspool",
    namespaced=True,
    description="Real servers: who they are, how they are checked, weighted and drained.",
    spec=LvsRealServerPoolSpec,
    status=LvsRealServerPoolStatus,
)
DIRECTOR_GROUP: Final = Kind(
    name="LvsDirectorGroup",
    plural="lvsdirectorgroups",
    short_name="lvsdg",
    namespaced=False,
    description="Nodes that are directors together: each holds the rules of all their services, one the addresses.",
    spec=LvsDirectorGroupSpec,
    status=LvsDirectorGroupStatus,
    max_name_length=63,
)
ADDRESS_POOL: Final = Kind(
    name="LvsAddressPool",
    plural="lvsaddresspools",
    short_name="lvsap",
    namespaced=False,
    description="Addresses that virtual services of some namespaces may have, and the real servers behind them. With "
    "at least one such pool, what no pool permits is refused.",
    spec=LvsAddressPoolSpec,
    status=LvsAddressPoolStatus,
)
SERVICE_SLICE: Final = Kind(
    name="LvsServiceSlice",
    plural="lvsserviceslices",
    short_name="lvsslice",
    namespaced=True,
    description="Part of an accepted LvsVirtualService with its real servers, as the directors' agents read it. "
    "Written by the operator.",
    spec=LvsServiceSliceSpec,
    status=LvsServiceSliceStatus,
    has_status=False,
)
NODE: Final = Kind(
    name="LvsNode",
    plural="lvsnodes",
    short_name="lvsnode",
    namespaced=False,
    description="What a Node must be for the Linux Virtual Server, and what its agent reports. "
    "The spec is written by the operator, the status by the Node's own agent.",
    spec=LvsNodeSpec,
    status=LvsNodeStatus,
)

USER_KINDS: Final[tuple[Kind[Any, Any], ...]] = (VIRTUAL_SERVICE, REAL_SERVER_POOL, DIRECTOR_GROUP, ADDRESS_POOL)
ALL_KINDS: Final[tuple[Kind[Any, Any], ...]] = (*USER_KINDS, SERVICE_SLICE, NODE)
