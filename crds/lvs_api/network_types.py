"""Addresses, ports, protocols, schedulers and forwarding: the words that several kinds share."""

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from lvs_api.base import ApiModel, Rule
from lvs_api.ipvs_terms import Ipvs
from lvs_api.patterns import DNS_LABEL, DNS_SUBDOMAIN, INTERFACE_NAME, LABEL_KEY, LABEL_VALUE, MAC_ADDRESS

NOT_AN_ADDRESS: Final = "must be an IPv4 or IPv6 address, with no zone or prefix length and not IPv4-mapped"
NOT_CANONICAL: Final = "must be in canonical spelling (RFC 5952)"
NOT_MULTICAST: Final = "must be a multicast address: in 224.0.0.0/4 or ff00::/8"
NOT_USABLE: Final = "must be the address of a host: not unspecified, loopback, link-local, multicast or broadcast"
NOT_A_RANGE: Final = "must be a CIDR (192.0.2.0/24), or the first and the last address with a hyphen between them"
NOT_A_CANONICAL_RANGE: Final = "must be in canonical spelling, a CIDR without bits behind its prefix"
NOT_IN_ORDER: Final = (
    "must go from the lower address to the higher one of the same family; IPv6 addresses may differ in their last "
    "group only: write others as a CIDR"
)
FIRST_NOT_USABLE: Final = (
    "must begin and end with addresses of hosts: not unspecified, loopback, link-local, multicast or broadcast"
)


def _read_address(text: str) -> IPv4Address | IPv6Address:
    """An address in canonical spelling; the API server's isIP() and ip.isCanonical() draw the same line."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(NOT_AN_ADDRESS) from None
    if isinstance(address, IPv6Address) and (address.scope_id is not None or address.ipv4_mapped is not None):
        raise ValueError(NOT_AN_ADDRESS)
    if str(address) != text:
        raise ValueError(f"{NOT_CANONICAL}: write {address}")
    return address


def _check_address(text: str) -> str:
    _read_address(text)
    return text


def _check_usable_address(text: str) -> str:
    """The API server's ip().isGlobalUnicast(), which is Go's netip.Addr.IsGlobalUnicast: private ranges are in."""
    address = _read_address(text)
    if (
        address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address == IPv4Address("255.255.255.255")
    ):
        raise ValueError(NOT_USABLE)
    return text


def _check_multicast_address(text: str) -> str:
    if not _read_address(text).is_multicast:
        raise ValueError(NOT_MULTICAST)
    return text


def _check_range(text: str) -> str:
    """A CIDR or two addresses; the API server's rules are in `structural_schema.range_rules`."""
    if "/" in text:
        _check_cidr(text)
        return text
    first, hyphen, last = text.partition("-")
    try:
        ends = [ip_address(first), ip_address(last)]
    except ValueError:
        raise ValueError(NOT_A_RANGE) from None
    if any(isinstance(end, IPv6Address) and (end.scope_id or end.ipv4_mapped) for end in ends) or not hyphen:
        raise ValueError(NOT_A_RANGE)
    if [str(end) for end in ends] != [first, last]:
        raise ValueError(NOT_A_CANONICAL_RANGE)
    same_beginning = first.rpartition(":")[0] == last.rpartition(":")[0]
    if ends[0].version != ends[1].version or not same_beginning or int(ends[0]) > int(ends[1]):
        raise ValueError(NOT_IN_ORDER)
    return text


def _check_cidr(text: str) -> None:
    if "%" in text:
        raise ValueError(NOT_A_RANGE)
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(NOT_A_RANGE) from None
    first = network.network_address
    if isinstance(first, IPv6Address) and first.ipv4_mapped is not None:
        raise ValueError(NOT_A_RANGE)
    if str(network) != text:
        raise ValueError(f"{NOT_A_CANONICAL_RANGE}: write {network}")


def _check_usable_range(text: str) -> str:
    """Whether it begins, and as two addresses ends, with what a host can have; within it there may be others."""
    _check_range(text)
    if any(host_address(end) is None for end in text.partition("/")[0].split("-")):
        raise ValueError(FIRST_NOT_USABLE)
    return text


def host_address(text: str) -> str | None:
    """The canonical spelling of a host's address; None for what can not be a UsableIpAddress in any spelling."""
    try:
        return _check_usable_address(str(ip_address(text)))
    except ValueError:
        return None


Port = Annotated[int, Field(ge=1, le=65535)]
ServicePortNumber = Annotated[int, Field(ge=0, le=65535)]
Weight = Annotated[int, Field(ge=0, le=65535)]
MarkValue = Annotated[int, Field(ge=1, le=4294967295)]
"""A firewall mark, all 32 bits of it; 0 is what unmarked packets have."""
RESERVED_MARK: Final = 0x0FFF
"""No service's: a director that is a real server, too, knows by it what other directors hand on to it."""
Threshold = Annotated[int, Field(ge=0, le=2147483647)]
"""A number of connections; above INT_MAX the kernel answers EINVAL (ip_vs_ctl.c, ip_vs_add_dest)."""
Generation = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""metadata.generation of an object; a CRD holds bounds as floats, and the API server refuses one it cannot hold."""
Count = Annotated[int, Field(ge=0, le=2147483647)]
"""How many there are."""
IpAddress = Annotated[
    str, Field(min_length=2, max_length=45, json_schema_extra={"x-lvs-ip": "any"}), AfterValidator(_check_address)
]
"""One IPv4 or IPv6 address in canonical spelling (RFC 5952 for IPv6)."""
UsableIpAddress = Annotated[
    str,
    Field(min_length=2, max_length=45, json_schema_extra={"x-lvs-ip": "usable"}),
    AfterValidator(_check_usable_address),
]
"""An IpAddress that is a host's: not unspecified, loopback, link-local, multicast, broadcast or IPv4-mapped."""
MacAddress = Annotated[str, Field(max_length=64, pattern=MAC_ADDRESS)]
"""Of one network card: lower case, with colons, and not of a group (IEEE 802, the lowest bit of the first byte).

The bound is larger than one: what a text that is too long should be the API server does not tell."""
MulticastAddress = Annotated[
    str,
    Field(min_length=2, max_length=45, json_schema_extra={"x-lvs-ip": "multicast"}),
    AfterValidator(_check_multicast_address),
]
"""An IpAddress that is a multicast group's."""
MAX_RANGE_LENGTH: Final = 91
"""Two IPv6 addresses of 45 characters and the hyphen."""
AddressRange = Annotated[
    str,
    Field(min_length=3, max_length=MAX_RANGE_LENGTH, json_schema_extra={"x-lvs-ip": "range"}),
    AfterValidator(_check_range),
]
"""Addresses that follow one another: a CIDR, or the first and the last one with a hyphen between them."""
UsableAddressRange = Annotated[
    str,
    Field(min_length=3, max_length=MAX_RANGE_LENGTH, json_schema_extra={"x-lvs-ip": "usable-range"}),
    AfterValidator(_check_usable_range),
]
"""An AddressRange that begins with a host's address."""
MemberName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_SUBDOMAIN)]
NODE_MEMBER_PREFIX: Final = "node."
"""Begins the names of members that are Nodes found by a selector, by their IPv4 address; the Node's name follows."""
NODE_MEMBER_PREFIX_IPV6: Final = "node6."
"""The same, by their IPv6 address."""
ENDPOINT_MEMBER_PREFIX: Final = "endpoint."
"""Begins the names of members that EndpointSlices name; address and port follow."""
MEMBER_PREFIXES: Final = (NODE_MEMBER_PREFIX, NODE_MEMBER_PREFIX_IPV6, ENDPOINT_MEMBER_PREFIX)
"""No entry of `realServers` has a name that begins so."""
SliceMemberName = Annotated[
    str, Field(min_length=1, max_length=253 + len(NODE_MEMBER_PREFIX_IPV6), pattern=DNS_SUBDOMAIN)
]
"""A MemberName, `node.` or `node6.` and a Node's name, or `endpoint.`, an address and a port."""
PortName = Annotated[str, Field(min_length=1, max_length=15, pattern=DNS_LABEL)]
EndpointPortName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
"""The name of a port of a Service, and so of its EndpointSlices."""
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
NamespaceName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
LabelledName = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_SUBDOMAIN)]
"""The name of an object of a kind whose names become label values."""
InterfaceName = Annotated[str, Field(min_length=1, max_length=15, pattern=INTERFACE_NAME)]
"""A network device's name as the kernel takes it (dev_valid_name): no space, `/` or `:`, not `.` or `..`.

The kernel counts bytes and takes any above 127, too; those names are left out, and so characters are bytes here."""


class Family(StrEnum):
    """An address family."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class Protocol(StrEnum):
    """A transport protocol."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class Scheduler(StrEnum):
    """How a director chooses the real server of a new connection; the kernel's names (ipvsadm(8))."""

    RR = "rr"
    WRR = "wrr"
    LC = "lc"
    WLC = "wlc"
    LBLC = "lblc"
    LBLCR = "lblcr"
    DH = "dh"
    SH = "sh"
    SED = "sed"
    NQ = "nq"
    FO = "fo"
    OVF = "ovf"
    MH = "mh"
    TWOS = "twos"


class PersistenceEngine(StrEnum):
    """What besides the client's address makes two connections one client's."""

    SIP = "sip"


class SchedulerFlag(StrEnum):
    """An option of the source-hashing schedulers (ipvsadm(8), --sched-flags)."""

    SH_FALLBACK = "sh-fallback"
    SH_PORT = "sh-port"
    MH_FALLBACK = "mh-fallback"
    MH_PORT = "mh-port"


class ConnectionHelper(StrEnum):
    """A kernel module that follows a protocol whose connections open further ones (ip_vs_app.c)."""

    FTP = "FTP"


class ForwardingMethod(StrEnum):
    """How a director hands a packet to a real server."""

    DIRECT_ROUTING = "DirectRouting"
    TUNNEL = "Tunnel"
    MASQUERADE = "Masquerade"


class TunnelType(StrEnum):
    """How packets are wrapped under Tunnel."""

    IPIP = "IPIP"
    GRE = "GRE"
    GUE = "GUE"


class TunnelChecksum(StrEnum):
    """What guards packets that are wrapped by GUE, beside their own checksums."""

    UDP = "UDP"
    REMOTE_OFFLOAD = "RemoteOffload"


class Tunnel(ApiModel):
    """How packets are wrapped on their way to the real server."""

    type: Annotated[TunnelType, Ipvs("DEST_ATTR_TUN_TYPE", ("--tun-type",))] = TunnelType.IPIP
    """IPIP: plain IP in IP (RFC 2003; IPv6 in IPv6, RFC 2473); GRE: with the shortest header of RFC 2784, without key
    and checksum (Linux 5.3 and later); GUE: in UDP, with the shortest header of Generic UDP Encapsulation (variant 0),
    so that routers and network cards spread packets over ways and queues by their source port (Linux 5.2 and later).
    By GRE real servers of the other family are reached, too, where the service has no address of theirs and its group
    no `connectionSync`; they answer in the service's family."""
    port: Annotated[Port | None, Ipvs("DEST_ATTR_TUN_PORT", ("--tun-port",))] = None
    """The UDP port of the real server to which packets go. Needed for GUE, and only for it; nothing else of the real
    server may use the port."""
    checksum: Annotated[
        TunnelChecksum | None, Ipvs("DEST_ATTR_TUN_FLAGS", ("--tun-csum", "--tun-remcsum", "--tun-nocsum"))
    ] = None
    """Only with GUE. UDP: the director computes the checksum of the whole UDP packet; RemoteOffload: it says in the
    header where the real server completes the checksum of what is wrapped, if that was left to a network card, and
    else does as UDP. None when absent, by IPv6, too (RFC 6935)."""

    rules = (
        Rule(
            cel="has(self.port) == (has(self.type) && self.type == 'GUE')",
            check=lambda self: (self.port is not None) == (self.type == TunnelType.GUE),
            message="port is needed for type GUE, and must be absent for the others",
            field="port",
        ),
        Rule(
            cel="!has(self.checksum) || (has(self.type) && self.type == 'GUE')",
            check=lambda self: self.checksum is None or self.type == TunnelType.GUE,
            message="checksum is only for type GUE",
            field="checksum",
        ),
    )


class Forwarding(ApiModel):
    """How a director hands packets to the real servers."""

    method: Annotated[ForwardingMethod, Ipvs("DEST_ATTR_FWD_METHOD", ("--gatewaying", "--ipip", "--masquerading"))] = (
        ForwardingMethod.DIRECT_ROUTING
    )
    """DirectRouting (LVS-DR: only the MAC address changes; same link), Tunnel (LVS-TUN: wrapped in IP), or Masquerade
    (LVS-NAT: replies go back through the director)."""
    tunnel: Tunnel | None = None
    """Only with Tunnel; IPIP when absent."""
    source_nat: bool | None = None
    """Only with Masquerade. True: a new connection reaches the real server with the director's own address as its
    source, so that replies find back without a route to the client; the real server does not see who the client is.
    A packet filter rule of the director does it (nftables, table `inet lvs-operator`)."""

    rules = (
        Rule(
            cel="!has(self.sourceNat) || !self.sourceNat || (has(self.method) && self.method == 'Masquerade')",
            check=lambda self: not self.source_nat or self.method == ForwardingMethod.MASQUERADE,
            message="sourceNat is only for method Masquerade: by the others real servers answer clients directly",
            field="sourceNat",
        ),
        Rule(
            cel="!has(self.tunnel) || (has(self.method) && self.method == 'Tunnel')",
            check=lambda self: self.tunnel is None or self.method == ForwardingMethod.TUNNEL,
            message="tunnel is only for method Tunnel",
            field="tunnel",
        ),
    )


class LabelSelectorOperator(StrEnum):
    """Operators of a label selector requirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=LABEL_KEY)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]


class LabelSelectorRequirement(ApiModel):
    """One requirement on a label."""

    key: LabelKey
    """The label's key."""
    operator: LabelSelectorOperator
    """How the label's value relates to `values`."""
    values: Annotated[list[LabelValue], Field(max_length=64)] | None = None
    """Values for In and NotIn; absent for Exists and DoesNotExist."""

    rules = (
        Rule(
            cel="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            check=lambda self: (self.operator in {"In", "NotIn"}) == bool(self.values),
            message="values are needed for In and NotIn, and must be absent for Exists and DoesNotExist",
            field="values",
        ),
    )


class LabelSelector(ApiModel):
    """A Kubernetes label selector; an empty one selects all."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] | None = None
    """Labels that must have exactly these values."""
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=16)] | None = None
    """Further requirements, all of which must hold."""
