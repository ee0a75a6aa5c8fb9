"""LvsVirtualService: addresses and ports that directors balance over a pool."""

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import Field

from lvs_api.api_group import DEFAULT_DIRECTOR_GROUP
from lvs_api.base import ApiModel, Rule
from lvs_api.conditions import Condition
from lvs_api.ipvs_terms import Ipvs
from lvs_api.network_types import (
    RESERVED_MARK,
    ConnectionHelper,
    Count,
    Family,
    Forwarding,
    ForwardingMethod,
    Generation,
    LabelledName,
    MarkValue,
    ObjectName,
    PersistenceEngine,
    Port,
    PortName,
    Protocol,
    Scheduler,
    SchedulerFlag,
    ServicePortNumber,
    UsableIpAddress,
)
from lvs_api.quorum import BelowQuorum, Quorum


class ServicePort(ApiModel):
    """One port of a virtual service."""

    name: PortName
    """Unique within the service."""
    protocol: Annotated[Protocol, Ipvs("SVC_ATTR_PROTOCOL", ("--tcp-service", "--udp-service", "--sctp-service"))] = (
        Protocol.TCP
    )
    """TCP, UDP or SCTP. Where it is SCTP, a check of the pool must name its `port`: checks connect by TCP."""
    port: Annotated[ServicePortNumber, Ipvs("SVC_ATTR_PORT", ("--tcp-service", "--udp-service", "--sctp-service"))]
    """The port clients connect to, 1 to 65535; 0 means every port and needs `persistence`."""
    real_server_port: Annotated[Port | None, Ipvs("DEST_ATTR_PORT", ("--real-server",))] = None
    """The real servers' port where it differs; only with Masquerade, for the other methods leave ports as they are."""
    helper: ConnectionHelper | None = None
    """FTP: what is said on this port opens further connections, and the kernel's helper follows it (module ip_vs_ftp,
    which directors load; it knows port 21 unless it was given others). Only with TCP and Masquerade. With DirectRouting
    and Tunnel no helper is needed: `persistence` on port 21 brings data connections to the same real server."""

    rules = (
        Rule(
            cel="!has(self.helper) || (self.port != 0 && (!has(self.protocol) || self.protocol == 'TCP'))",
            check=lambda self: self.helper is None or (self.port != 0 and self.protocol == Protocol.TCP),
            message="helper FTP is for one TCP port: remove it, or name the port of the FTP server",
            field="helper",
        ),
        Rule(
            cel="self.port != 0 || !has(self.realServerPort)",
            check=lambda self: self.port != 0 or self.real_server_port is None,
            message="realServerPort is not for port 0: every port stays as it is",
            field="realServerPort",
        ),
    )


class PortMode(StrEnum):
    """Whether the ports of a service are balanced one by one."""

    SEPARATE = "Separate"
    GROUPED = "Grouped"


class FirewallMark(ApiModel):
    """A mark by which directors find the packets of a service, whatever their address and port (ipvsadm -f)."""

    value: Annotated[MarkValue, Ipvs("SVC_ATTR_FWMARK", ("--fwmark-service",))]
    """The whole mark: the kernel compares all 32 bits, so a bit that somebody else adds makes it another one."""
    families: Annotated[
        Annotated[list[Family], Field(min_length=1, max_length=2, json_schema_extra={"x-lvs-list-set": True})] | None,
        Ipvs("SVC_ATTR_AF", ("--ipv6",)),
    ] = None
    """Of which packets; needed where the service has no `addresses`, whose families count otherwise."""
    local_delivery: bool | None = None
    """True: directors take packets with this mark for themselves, whatever their address, by a rule of their routing
    policy and a local route (ip rule fwmark). So caches in front of the whole Internet are balanced."""


class Persistence(ApiModel):
    """Connections of one client stick to one real server."""

    timeout_seconds: Annotated[int, Field(ge=1, le=2678400), Ipvs("SVC_ATTR_TIMEOUT", ("--persistent",))] = 300
    """Seconds that a client sticks after its last new connection; longer while one is remembered (ipvsadm -p)."""
    ipv4_prefix_length: Annotated[int, Field(ge=1, le=32), Ipvs("SVC_ATTR_NETMASK", ("--netmask",))] = 32
    """Clients that share this many leading bits are one client (ipvsadm -M)."""
    ipv6_prefix_length: Annotated[int, Field(ge=1, le=128), Ipvs("SVC_ATTR_NETMASK", ("--netmask",))] = 128
    """The same for IPv6."""
    engine: Annotated[PersistenceEngine | None, Ipvs("SVC_ATTR_PE_NAME", ("--pe",))] = None
    """sip: SIP calls stick, by their Call-ID, instead of clients (ipvsadm --pe); only where all ports are UDP, or under
    a mark. A client's datagrams from one port are one connection, and so go to one real server whatever they say: the
    calls of a proxy are told apart with `onePacketScheduling`."""


class AddressPoolReference(ApiModel):
    """A LvsAddressPool that gives out the addresses."""

    name: ObjectName
    """Its name."""
    families: (
        Annotated[list[Family], Field(min_length=1, max_length=2, json_schema_extra={"x-lvs-list-set": True})] | None
    ) = None
    """One address of each of these; where absent one of the family of the pool's first range."""


class RealServerPoolReference(ApiModel):
    """A LvsRealServerPool of the same namespace."""

    name: ObjectName
    """Its name."""


class DirectorGroupReference(ApiModel):
    """A LvsDirectorGroup."""

    name: LabelledName = DEFAULT_DIRECTOR_GROUP
    """Its name."""


def _ports(spec: Any) -> list[ServicePort]:  # noqa: ANN401 -- see Rule.check
    return spec.ports or []


def _ports_are_distinct(spec: Any) -> bool:  # noqa: ANN401 -- see Rule.check
    return len({(port.protocol, port.port) for port in _ports(spec)}) == len(_ports(spec))


def _one_address_per_family(spec: Any) -> bool:  # noqa: ANN401 -- see Rule.check
    addresses = spec.addresses or []
    return len({ip_address(address).version for address in addresses}) == len(addresses)


def _families_are_told_once(spec: Any) -> bool:  # noqa: ANN401 -- see Rule.check
    mark = spec.firewall_mark
    return mark is None or (spec.addresses is None) == (mark.families is not None)


class LvsVirtualServiceSpec(ApiModel):
    """Addresses and ports, how their connections are spread, over which real servers, by which directors."""

    addresses: Annotated[
        Annotated[list[UsableIpAddress], Field(min_length=1, max_length=2)] | None,
        Ipvs("SVC_ATTR_AF, SVC_ATTR_ADDR", ("--tcp-service", "--udp-service", "--sctp-service")),
    ] = None
    """The virtual IP addresses (VIPs): one, or one of each family, in canonical spelling. Needed, unless there is an
    `addressPoolRef` or a `firewallMark`: with a mark they only say which addresses directors carry and real servers
    bind."""
    address_pool_ref: AddressPoolReference | None = None
    """Present: the operator chooses the addresses out of this pool, and `status.addresses` tells them. A service keeps
    what it was given for as long as the pool has it."""
    ports: (
        Annotated[list[ServicePort], Field(min_length=1, max_length=32, json_schema_extra={"x-lvs-list-key": "name"})]
        | None
    ) = None
    """The ports that are balanced. Needed, unless there is a `firewallMark`."""
    port_mode: Annotated[PortMode, Ipvs("SVC_ATTR_FWMARK", ("--fwmark-service",))] = PortMode.SEPARATE
    """Separate: each port is a kernel service of its own per address. Grouped: all of them are one, found by a firewall
    mark that the operator chooses and directors set: a persistent client has the same real server on every port."""
    firewall_mark: FirewallMark | None = None
    """Present: balance the packets that carry this mark, instead of those to `ports`. Somebody else's rule on the
    directors gives it to them; no rule is written. Marked packets must be delivered on the director: their addresses
    are `addresses` here, or of another service of the group, or any with `localDelivery`."""
    scheduler: Annotated[Scheduler, Ipvs("SVC_ATTR_SCHED_NAME", ("--scheduler",))] = Scheduler.WLC
    """How the real server of a new connection is chosen (ipvsadm -s)."""
    scheduler_flags: Annotated[
        Annotated[list[SchedulerFlag], Field(max_length=2, json_schema_extra={"x-lvs-list-set": True})] | None,
        Ipvs("IP_VS_SVC_F_SCHED1, IP_VS_SVC_F_SCHED2", ("--sched-flags",)),
    ] = None
    """Options of sh and mh (ipvsadm -b)."""
    forwarding: Forwarding = Forwarding()
    """How packets reach the real servers."""
    persistence: Annotated[Persistence | None, Ipvs("IP_VS_SVC_F_PERSISTENT", ("--persistent",))] = None
    """Present: connections of one client stick to one real server."""
    one_packet_scheduling: Annotated[bool, Ipvs("IP_VS_SVC_F_ONEPACKET", ("--ops",))] = False
    """Schedule every UDP datagram by itself (ipvsadm -o); only where all ports are UDP, or under a mark."""
    quorum: Quorum | None = None
    """Present: how much of the real servers must be in use, and what becomes of the addresses when less is."""
    real_server_pool_ref: RealServerPoolReference
    """The pool behind this service."""
    director_group_ref: DirectorGroupReference = DirectorGroupReference()
    """The directors that serve it; immutable."""
    paused: bool = False
    """True: agents leave everything of this service as it is."""

    rules = (
        Rule(
            cel="!has(self.addresses) || size(self.addresses) < 2 || !isIP(self.addresses[0]) || "
            "!isIP(self.addresses[1]) || ip(self.addresses[0]).family() != ip(self.addresses[1]).family()",
            check=_one_address_per_family,
            message="two addresses must be one of IPv4 and one of IPv6",
            field="addresses",
        ),
        Rule(
            cel="has(self.addresses) || has(self.firewallMark) || has(self.addressPoolRef)",
            check=lambda self: (
                not (self.addresses is None and self.firewall_mark is None) or self.address_pool_ref is not None
            ),
            message="addresses are needed, unless there is an addressPoolRef or a firewallMark",
            field="addresses",
        ),
        Rule(
            cel="!has(self.addressPoolRef) || (!has(self.addresses) && !has(self.firewallMark))",
            check=lambda self: self.address_pool_ref is None or (self.addresses is None and self.firewall_mark is None),
            message="addressPoolRef chooses the addresses: remove it, or addresses and firewallMark",
            field="addressPoolRef",
        ),
        Rule(
            cel="has(self.ports) != has(self.firewallMark)",
            check=lambda self: (self.ports is None) != (self.firewall_mark is None),
            message="ports are needed, unless there is a firewallMark: it stands for every port, so remove one of them",
            field="ports",
        ),
        Rule(
            cel="!has(self.firewallMark) || has(self.addresses) != has(self.firewallMark.families)",
            check=_families_are_told_once,
            message="firewallMark.families is needed without addresses, and follows from them where there are some",
            field="firewallMark",
        ),
        Rule(
            cel=f"!has(self.firewallMark) || self.firewallMark.value != {RESERVED_MARK}",
            check=lambda self: self.firewall_mark is None or self.firewall_mark.value != RESERVED_MARK,
            message=f"{RESERVED_MARK} is the mark by which directors that are real servers know what others hand on to "
            "them; use another",
            field="firewallMark.value",
        ),
        Rule(
            cel="self.portMode != 'Grouped' || !has(self.firewallMark)",
            check=lambda self: self.port_mode != PortMode.GROUPED or self.firewall_mark is None,
            message="portMode Grouped has a mark of its own choice: remove firewallMark, or name ports instead of it",
            field="portMode",
        ),
        Rule(
            cel="self.portMode != 'Grouped' || !has(self.ports) || "
            "self.ports.all(p, p.port != 0 && !has(p.realServerPort))",
            check=lambda self: (
                self.port_mode != PortMode.GROUPED
                or all(port.port != 0 and port.real_server_port is None for port in _ports(self))
            ),
            message="under portMode Grouped ports stay as they are: there is no realServerPort, and no port 0",
            field="ports",
        ),
        Rule(
            cel="!has(self.ports) || self.ports.all(p, self.ports.exists_one(q, q.port == p.port && "
            "(has(q.protocol) ? q.protocol : 'TCP') == (has(p.protocol) ? p.protocol : 'TCP')))",
            check=_ports_are_distinct,
            message="each port and protocol may stand only once",
            field="ports",
        ),
        Rule(
            cel="has(self.persistence) || !has(self.ports) || self.ports.all(p, p.port != 0)",
            check=lambda self: self.persistence is not None or all(port.port != 0 for port in _ports(self)),
            message="port 0 (every port) needs persistence",
            field="ports",
        ),
        Rule(
            cel="self.forwarding.method == 'Masquerade' || !has(self.ports) || "
            "self.ports.all(p, !has(p.realServerPort))",
            check=lambda self: (
                self.forwarding.method == ForwardingMethod.MASQUERADE
                or all(port.real_server_port is None for port in _ports(self))
            ),
            message="realServerPort needs forwarding.method Masquerade: the other methods leave ports as they are",
            field="ports",
        ),
        Rule(
            cel="!has(self.ports) || self.ports.all(p, !has(p.helper)) || (self.forwarding.method == 'Masquerade' && "
            "(!has(self.forwarding.sourceNat) || !self.forwarding.sourceNat))",
            check=lambda self: (
                all(port.helper is None for port in _ports(self))
                or (self.forwarding.method == ForwardingMethod.MASQUERADE and not self.forwarding.source_nat)
            ),
            message="helper needs forwarding.method Masquerade without sourceNat: with DirectRouting and Tunnel use "
            "persistence on port 21 instead, and source NAT does not reach FTP's data connections",
            field="ports",
        ),
        Rule(
            cel="!has(self.schedulerFlags) || self.schedulerFlags.all(f, f.startsWith(self.scheduler + '-'))",
            check=lambda self: all(flag.startswith(f"{self.scheduler}-") for flag in self.scheduler_flags or ()),
            message="sh-fallback and sh-port are only for scheduler sh, mh-fallback and mh-port only for mh",
            field="schedulerFlags",
        ),
        Rule(
            cel="!self.onePacketScheduling || !has(self.ports) || "
            "self.ports.all(p, has(p.protocol) && p.protocol == 'UDP')",
            check=lambda self: (
                not self.one_packet_scheduling or all(port.protocol == Protocol.UDP for port in _ports(self))
            ),
            message="onePacketScheduling is only for UDP ports",
            field="onePacketScheduling",
        ),
        Rule(
            cel="!has(self.persistence) || !has(self.persistence.engine) || !has(self.ports) || "
            "self.ports.all(p, has(p.protocol) && p.protocol == 'UDP')",
            check=lambda self: (
                self.persistence is None
                or self.persistence.engine is None
                or all(port.protocol == Protocol.UDP for port in _ports(self))
            ),
            message="persistence.engine sip is only for UDP ports",
            field="persistence.engine",
        ),
        Rule(
            cel="!has(self.forwarding.sourceNat) || !self.forwarding.sourceNat || "
            "(!self.onePacketScheduling && !has(self.firewallMark))",
            check=lambda self: (
                not self.forwarding.source_nat or (not self.one_packet_scheduling and self.firewall_mark is None)
            ),
            message="sourceNat needs addresses and ports to be found by (no firewallMark), and connections (no "
            "onePacketScheduling)",
            field="forwarding.sourceNat",
        ),
        Rule(
            cel="!has(self.quorum) || !has(self.quorum.below) || self.quorum.below != 'WithdrawAddress' || "
            "!has(self.firewallMark) || has(self.addresses)",
            check=lambda self: (
                self.quorum is None
                or self.quorum.below != BelowQuorum.WITHDRAW_ADDRESS
                or self.firewall_mark is None
                or self.addresses is not None
            ),
            message="quorum.below WithdrawAddress needs addresses: without them there is nothing to withdraw",
            field="quorum.below",
        ),
        Rule(
            cel="self.directorGroupRef.name == oldSelf.directorGroupRef.name",
            check=None,
            message="directorGroupRef is immutable: delete the service and make it anew for other directors",
            field="directorGroupRef",
        ),
    )


class DirectorState(StrEnum):
    """What a director does for a service."""

    ACTIVE = "Active"
    STANDBY = "Standby"
    PENDING = "Pending"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


class DirectorStatus(ApiModel):
    """One director's part in the service."""

    node: ObjectName
    """The Node."""
    state: DirectorState
    """Active: programmed and holds the addresses; Standby: programmed; Pending; Failed: see the condition; Unknown."""
    message: Annotated[str, Field(max_length=512)] | None = None
    """Why, where it is Failed or Pending; where it is Active, what is the matter all the same."""


class RealServerCounts(ApiModel):
    """How many real servers there are and can take connections."""

    total: Count = 0
    """In the pool."""
    ready: Count = 0
    """With weight on the active director."""
    draining: Count = 0
    """On their way out."""


class LvsVirtualServiceStatus(ApiModel):
    """What the operator and the directors make of it."""

    addresses: Annotated[list[UsableIpAddress], Field(max_length=2)] | None = None
    """The addresses accepted for this service; they stay its own until it is gone."""
    firewall_mark: MarkValue | None = None
    """The mark by which directors find its packets, where they do so by a mark."""
    directors: (
        Annotated[list[DirectorStatus], Field(max_length=64, json_schema_extra={"x-lvs-list-key": "node"})] | None
    ) = None
    """The group's directors."""
    real_servers: RealServerCounts | None = None
    """Counts, written at most once in 5 seconds."""
    observed_generation: Generation | None = None
    """The generation of the spec that this status speaks of."""
    conditions: (
        Annotated[list[Condition], Field(max_length=16, json_schema_extra={"x-lvs-list-key": "type"})] | None
    ) = None
    """Accepted, ResolvedRefs, Programmed, Ready."""
