"""Which endpoints of a Service are real servers of a virtual service, at which ports."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from lvs_api.network_types import ENDPOINT_MEMBER_PREFIX, Family
from lvs_api.real_server_pool import EndpointMembers
from lvs_api.virtual_service import LvsVirtualServiceSpec, ServicePort
from lvs_core.cluster_view import MemberPort, family_of
from lvs_core.endpoints import CoreService, EndpointPort, EndpointSlice, EndpointState, NamedPort
from lvs_core.frontends import ports


class FoundEndpoint(NamedTuple):
    """An endpoint with the ports of the virtual service that it serves."""

    address: str
    ports: tuple[MemberPort, ...]
    """Sorted by name, at least one."""
    state: EndpointState

    @property
    def name(self) -> str:
        """The same for the same destination, whatever pod has it: its connections are what a member stands for."""
        text = self.address.replace(".", "-").replace(":", "-")
        text = f"0{text}" if text.startswith("-") else text
        text = f"{text}0" if text.endswith("-") else text
        return f"{ENDPOINT_MEMBER_PREFIX}{text}.{self.ports[0].number}"


def matched_ports(
    endpoints: EndpointMembers, core: CoreService, service: LvsVirtualServiceSpec
) -> Mapping[str, NamedPort]:
    """By the names of the virtual service's ports those of the Service; one that the Service lacks is left out."""
    found = {}
    for port in ports(service):
        name = _wanted_name(endpoints, core, service, port)
        wanted = NamedPort(name, port.protocol)
        if wanted in core.ports:
            found[port.name] = wanted
    return found


def _wanted_name(
    endpoints: EndpointMembers, core: CoreService, service: LvsVirtualServiceSpec, port: ServicePort
) -> str:
    if endpoints.port_name is not None:
        return endpoints.port_name
    if len(ports(service)) == 1 and len(core.ports) == 1:
        return core.ports[0].name
    return port.name


def found_endpoints(slices: Iterable[EndpointSlice], matched: Mapping[str, NamedPort]) -> Iterator[FoundEndpoint]:
    """Every endpoint once. One that serves none of the ports is none of the virtual service's.

    Of two that mean the same destination, while it moves between slices or the Service is edited, the one that is more
    ready counts, then the one that serves more ports.
    """
    found: dict[tuple[str, int], FoundEndpoint] = {}
    for one in slices:
        served = tuple(_served(one.ports, matched))
        if not served:
            continue
        for address, state in one.endpoints:
            this = FoundEndpoint(address, served, state)
            key = (address, served[0].number)
            if key not in found or _rank(found[key]) < _rank(this):
                found[key] = this
    yield from found.values()


def last_to_serve(found: Collection[FoundEndpoint]) -> frozenset[FoundEndpoint]:
    """Those that terminate and get new connections all the same: nobody else serves one of their ports.

    Each port and family by itself, as for kube-proxy (KEP-1669): a refused connection helps nobody, and one that a pod
    takes in its last seconds often ends in time. As soon as one is ready there they drain.
    """
    serving = frozenset(one for one in found if one.state is EndpointState.SERVING)
    if not serving:
        return serving
    ready = {place for one in found if one.state is EndpointState.READY for place in _places(one)}
    return frozenset(one for one in serving if not ready.issuperset(_places(one)))


def _places(one: FoundEndpoint) -> Iterator[tuple[Family, str]]:
    family = family_of(one.address)
    yield from ((family, port.name) for port in one.ports)


def _served(numbered: Iterable[EndpointPort], matched: Mapping[str, NamedPort]) -> Iterator[MemberPort]:
    numbers = {one.named: one.number for one in numbered}
    for name in sorted(matched):
        if matched[name] in numbers:
            yield MemberPort(name, numbers[matched[name]])


def _rank(one: FoundEndpoint) -> tuple[EndpointState, int]:
    return one.state, len(one.ports)
