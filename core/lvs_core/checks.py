"""What several objects together can say wrong: small checks named after the fault, in chains.

What one object alone can say wrong is refused by the API server, or was found when the object was read.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lvs_api.conditions import ConditionType, Reason
from lvs_api.network_types import Family, Forwarding, Protocol
from lvs_api.service_slice import MEMBERS_PER_SLICE
from lvs_api.virtual_service import LvsVirtualServiceSpec
from lvs_api.vrrp_settings import VERSION_OF_IPV4_ONLY
from lvs_core.cluster_view import (
    ClusterView,
    DirectorGroup,
    ObjectKey,
    Pool,
    PoolMember,
    PoolSpec,
    VirtualService,
    family_of,
)
from lvs_core.crossing import served_families
from lvs_core.forwarding import needs_address
from lvs_core.frontends import families, is_grouped, only_port, ports, telling_port, vips
from lvs_core.members import WantedMember
from lvs_core.virtual_routers import speaks_vrrp, vrrp_of

MAX_SLICES: Final = 16
MAX_MEMBERS: Final = MAX_SLICES * MEMBERS_PER_SLICE


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Why a service cannot be as its objects say."""

    condition: ConditionType
    """Accepted, or ResolvedRefs for what another object lacks."""
    reason: Reason
    message: str
    """Object, field, what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """A service and what it refers to."""

    key: ObjectKey
    service: VirtualService
    group_name: str
    group: DirectorGroup | None
    pool_key: ObjectKey
    pool: Pool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A service whose objects can all be read."""

    key: ObjectKey
    service: VirtualService
    spec: LvsVirtualServiceSpec
    group: DirectorGroup
    pool: Pool
    pool_spec: PoolSpec
    members: tuple[WantedMember, ...]
    view: ClusterView
    served: frozenset[str]
    """Addresses that slices of this very service already serve."""


ReferenceCheck = Callable[[References], Problem | None]
CandidateCheck = Callable[[Candidate], Problem | None]


def _refused(reason: Reason, message: str) -> Problem:
    return Problem(condition=ConditionType.ACCEPTED, reason=reason, message=message)


def _unresolved(reason: Reason, message: str) -> Problem:
    return Problem(condition=ConditionType.RESOLVED_REFS, reason=reason, message=message)


def unreadable_service(refs: References) -> Problem | None:
    """The spec breaks the rules of its kind; only a CRD older or newer than this program lets such an object in."""
    if refs.service.spec_error is None:
        return None
    return _refused(Reason.INVALID, refs.service.spec_error)


def missing_group(refs: References) -> Problem | None:
    """The director group is not there."""
    if refs.group is not None:
        return None
    return _unresolved(
        Reason.DIRECTOR_GROUP_NOT_FOUND,
        f"spec.directorGroupRef.name: LvsDirectorGroup {refs.group_name} does not exist; create it",
    )


def unreadable_group(refs: References) -> Problem | None:
    """The director group breaks the rules of its kind."""
    if refs.group is None or refs.group.spec_error is None:
        return None
    return _unresolved(Reason.INVALID, f"LvsDirectorGroup {refs.group_name} is invalid: {refs.group.spec_error}")


def missing_pool(refs: References) -> Problem | None:
    """The pool is not there, or is being deleted."""
    if refs.pool is not None and refs.pool.meta.deletion_timestamp is None:
        return None
    what = "does not exist; create it" if refs.pool is None else "is being deleted"
    return _unresolved(
        Reason.POOL_NOT_FOUND,
        f"spec.realServerPoolRef.name: LvsRealServerPool {refs.pool_key} {what}",
    )


def unreadable_pool(refs: References) -> Problem | None:
    """The pool breaks the rules of its kind."""
    if refs.pool is None or refs.pool.spec_error is None:
        return None
    return _unresolved(Reason.INVALID, f"LvsRealServerPool {refs.pool_key} is invalid: {refs.pool.spec_error}")


def address_field(spec: LvsVirtualServiceSpec, index: int) -> str:
    """The field that brought an address."""
    return f"spec.addresses[{index}]" if spec.address_pool_ref is None else "spec.addressPoolRef"


def node_address(case: Candidate) -> Problem | None:
    """A VIP that is a Node's own address would be taken away from that Node.

    An address that the service serves already may well show up on a Node: a kubelet reports what is bound there.
    """
    for index, address in enumerate(vips(case.spec)):
        node = case.view.nodes_by_address.get(address)
        if node is not None and address not in case.served:
            return _refused(
                Reason.NODE_ADDRESS,
                f"{address_field(case.spec, index)}: {address} is an address of Node {node.name}; "
                "use one that no machine has",
            )
    return None


def no_ipv6_in_vrrp2(case: Candidate) -> Problem | None:
    """Version 2 of VRRP is IPv4 only: nobody would carry the address."""
    if not speaks_vrrp(case.group) or vrrp_of(case.group).version != VERSION_OF_IPV4_ONLY:
        return None
    for index, address in enumerate(vips(case.spec)):
        if family_of(address) is Family.IPV6:
            return _refused(
                Reason.IPV6_NEEDS_VRRP3,
                f"{address_field(case.spec, index)}: {address} is IPv6, and LvsDirectorGroup {case.group.meta.name} "
                "speaks VRRP version 2, which has none; use a group of version 3, or remove the address",
            )
    return None


def own_address_as_real_server(case: Candidate) -> Problem | None:
    """A real server whose address is the VIP would be the director itself."""
    for server in case.pool_spec.real_servers:
        if server.address in vips(case.spec):
            return _refused(
                Reason.INVALID,
                f"{_member_field(case, server)}.address: {server.address} is an address of the service itself; "
                "name the real server's own address",
            )
    return None


def port_mismatch(case: Candidate) -> Problem | None:
    """DirectRouting and Tunnel leave ports as they are; a member's own port needs a service of one port."""
    for server in case.pool_spec.real_servers:
        forwarding = server.forwarding or case.spec.forwarding
        problem = _own_port(case, server, forwarding) if server.port is not None else None
        problem = problem or _overridden_method(case, server, forwarding)
        if problem is not None:
            return problem
    return None


def _own_port(case: Candidate, server: PoolMember, forwarding: Forwarding) -> Problem | None:
    field = f"{_member_field(case, server)}.port"
    number = len(ports(case.spec))
    if number > 1:
        return _refused(
            Reason.PORT_MISMATCH,
            f"{field}: {server.port} is for services of one port, and this one has {number}; "
            "remove it, or give the service one port",
        )
    port = only_port(case.spec)
    if port is None or port.port == 0 or is_grouped(case.spec):
        under = "a firewall mark" if port is None else "port 0" if port.port == 0 else "portMode Grouped"
        return _refused(Reason.PORT_MISMATCH, f"{field}: under {under} every port stays as it is; remove it")
    if needs_address(forwarding.method) and server.port != port.port:
        return _refused(
            Reason.PORT_MISMATCH,
            f"{field}: {server.port} differs from the service's port {port.port}, and {forwarding.method} cannot "
            "change ports; make them equal, or use Masquerade",
        )
    return None


def _overridden_method(case: Candidate, server: PoolMember, forwarding: Forwarding) -> Problem | None:
    if not needs_address(forwarding.method) or server.port is not None:
        return None
    for port in ports(case.spec):
        if port.real_server_port is not None and port.real_server_port != port.port:
            return _refused(
                Reason.PORT_MISMATCH,
                f"{_member_field(case, server)}.forwarding: {forwarding.method} cannot change ports, and "
                f"spec.ports[{port.name}].realServerPort {port.real_server_port} differs from port {port.port}; "
                "make them equal, or use Masquerade",
            )
    return None


def duplicate_member(case: Candidate) -> Problem | None:
    """Two members that mean the same destination are one in the kernel."""
    destinations: dict[tuple[str, int], str] = {}
    for member in case.members:
        number = telling_port(case.spec, member)
        first = destinations.setdefault((member.address, number), member.name)
        if first != member.name:
            return _refused(
                Reason.INVALID,
                f"LvsRealServerPool {_pool_key(case)}: {first} and {member.name} are both {member.address}"
                f"{f' port {number}' if number else ''}; remove one",
            )
    return None


def unnamed_check_port(case: Candidate) -> Problem | None:
    """A check takes the service's port by itself; port 0 and a mark have none, and an SCTP port takes no TCP."""
    check = case.pool_spec.health_check
    why = _why_check_lacks_port(case.spec) if check is not None and check.port is None else None
    if why is None:
        return None
    return _refused(Reason.INVALID, f"LvsRealServerPool {_pool_key(case)} spec.healthCheck.port: is needed, for {why}")


def _why_check_lacks_port(spec: LvsVirtualServiceSpec) -> str | None:
    if spec.firewall_mark is not None:
        return "this service balances every port of what carries its mark"
    if is_grouped(spec):
        return "the ports of this service are one for its real servers (portMode Grouped)"
    for port in ports(spec):
        if port.port == 0:
            return "this service balances every port (port 0)"
        if port.protocol is Protocol.SCTP:
            return f"spec.ports[{port.name}] is SCTP, and checks connect by TCP"
    return None


def unusable_source_nat(case: Candidate) -> Problem | None:
    """A member's own source NAT, where the service has nothing by which its packets can be told."""
    if case.spec.firewall_mark is None and not case.spec.one_packet_scheduling:
        return None
    under = "onePacketScheduling" if case.spec.one_packet_scheduling else "a firewall mark"
    for server in case.pool_spec.real_servers:
        if server.forwarding is not None and server.forwarding.source_nat:
            return _refused(
                Reason.INVALID,
                f"{_member_field(case, server)}.forwarding.sourceNat: is not possible under {under}; remove it, or "
                "give the service another pool",
            )
    return None


def helper_without_masquerade(case: Candidate) -> Problem | None:
    """A member's own method, where the service has a port with a helper, which follows Masquerade only."""
    helped = next((port for port in ports(case.spec) if port.helper is not None), None)
    if helped is None:
        return None
    for server in case.pool_spec.real_servers:
        forwarding = server.forwarding
        if forwarding is not None and (needs_address(forwarding.method) or forwarding.source_nat):
            return _refused(
                Reason.INVALID,
                f"{_member_field(case, server)}.forwarding: spec.ports[{helped.name}].helper follows Masquerade "
                "without sourceNat only; remove this, or the helper",
            )
    return None


def too_many_members(case: Candidate) -> Problem | None:
    """More real servers than slices can carry; for those that leave others wait."""
    number = sum(not member.leaves for member in case.members)
    if number <= MAX_MEMBERS:
        return None
    where = "spec.nodes.selector" if case.pool_spec.endpoints is None else "spec.endpoints"
    return _refused(
        Reason.INVALID,
        f"LvsRealServerPool {_pool_key(case)} {where}: finds {number} real servers, "
        f"at most {MAX_MEMBERS} are possible; select fewer",
    )


REFERENCE_CHECKS: Final[tuple[ReferenceCheck, ...]] = (
    unreadable_service,
    missing_group,
    unreadable_group,
    missing_pool,
    unreadable_pool,
)
"""In the order in which a user would mend them."""
CANDIDATE_CHECKS: Final[tuple[CandidateCheck, ...]] = (
    node_address,
    no_ipv6_in_vrrp2,
    own_address_as_real_server,
    port_mismatch,
    duplicate_member,
    unnamed_check_port,
    unusable_source_nat,
    helper_without_masquerade,
    too_many_members,
)


def first_reference_problem(refs: References) -> Problem | None:
    """The first fault among the references."""
    return _first(check(refs) for check in REFERENCE_CHECKS)


def first_candidate_problem(case: Candidate) -> Problem | None:
    """The first fault of a service whose objects can all be read."""
    return _first(check(case) for check in CANDIDATE_CHECKS)


def family_mismatch(case: Candidate) -> Problem | None:
    """A family that no member has. The others are served all the same."""
    if not case.members and not case.pool_spec.real_servers:
        return None
    wanted = families(case.spec)
    served = (served_families(member.address, member.forwarding, wanted) for member in case.members)
    for family in sorted(wanted.difference(*served)):
        index, address = next(
            ((index, one) for index, one in enumerate(vips(case.spec)) if family_of(one) is family), (None, None)
        )
        where, what = address_field(case.spec, index or 0), f"{address} is {family}"
        if address is None:
            where, what = "spec.firewallMark.families", f"{family} is asked for"
        return _unresolved(
            Reason.FAMILY_MISMATCH,
            f"{where}: {what}, and LvsRealServerPool {_pool_key(case)} has no {family} real server; add some, "
            f"remove the {'family' if address is None else 'address'}, or use Tunnel by GRE, which also reaches real "
            "servers of the other family",
        )
    return None


def unused_members(case: Candidate) -> Iterator[str]:
    """Names of entries whose family the service has not got."""
    wanted = families(case.spec)
    for server in case.pool_spec.real_servers:
        if not served_families(server.address, server.forwarding or case.spec.forwarding, wanted):
            yield server.name


def _first(problems: Iterable[Problem | None]) -> Problem | None:
    return next((problem for problem in problems if problem is not None), None)


def _pool_key(case: Candidate) -> str:
    return case.pool.meta.qualified_name


def _member_field(case: Candidate, server: PoolMember) -> str:
    return f"LvsRealServerPool {_pool_key(case)} spec.realServers[{server.name}]"
