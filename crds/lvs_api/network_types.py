"""Addresses, ports, protocols, schedulers and forwarding: the words that several kinds share."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lvs_api.base import ApiModel

Port = Annotated[int, Field(ge=1, le=65535)]
ServicePortNumber = Annotated[int, Field(ge=0, le=65535)]
Weight = Annotated[int, Field(ge=0, le=65535)]
IpAddress = Annotated[str, Field(min_length=2, max_length=45, json_schema_extra={"x-lvs-ip": "any"})]
"""One IPv4 or IPv6 address in canonical spelling (RFC 5952 for IPv6)."""
UsableIpAddress = Annotated[str, Field(min_length=2, max_length=45, json_schema_extra={"x-lvs-ip": "usable"})]
"""An IpAddress that is a host's: not unspecified, loopback, link-local, multicast, broadcast or IPv4-mapped."""
MemberName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
PortName = Annotated[str, Field(min_length=1, max_length=15, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
InterfaceName = Annotated[str, Field(min_length=1, max_length=15, pattern=r"^[^\s/:]+$")]


class Family(StrEnum):
    """An address family."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


class Protocol(StrEnum):
    """A transport protocol."""

    TCP = "TCP"
    UDP = "UDP"


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


class SchedulerFlag(StrEnum):
    """An option of the source-hashing schedulers (ipvsadm(8), --sched-flags)."""

    SH_FALLBACK = "sh-fallback"
    SH_PORT = "sh-port"
    MH_FALLBACK = "mh-fallback"
    MH_PORT = "mh-port"


class ForwardingMethod(StrEnum):
    """How a director hands a packet to a real server."""

    DIRECT_ROUTING = "DirectRouting"
    TUNNEL = "Tunnel"
    MASQUERADE = "Masquerade"


class TunnelType(StrEnum):
    """How packets are wrapped under Tunnel."""

    IPIP = "IPIP"


class Tunnel(ApiModel):
    """How packets are wrapped on their way to the real server."""

    type: TunnelType = TunnelType.IPIP
    """IPIP: plain IP in IP (RFC 2003; IPv6 in IPv6, RFC 2473)."""


class Forwarding(ApiModel):
    """How a director hands packets to the real servers."""

    method: ForwardingMethod = ForwardingMethod.DIRECT_ROUTING
    """DirectRouting (LVS-DR: only the MAC address changes; same link), Tunnel (LVS-TUN: wrapped in IP), or Masquerade
    (LVS-NAT: replies go back through the director)."""
    tunnel: Tunnel | None = None
    """Only with Tunnel; IPIP when absent."""


class LabelSelectorOperator(StrEnum):
    """Operators of a label selector requirement."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class LabelSelectorRequirement(ApiModel):
    """One requirement on a label."""

    key: LabelKey
    """The label's key."""
    operator: LabelSelectorOperator
    """How the label's value relates to `values`."""
    values: Annotated[list[LabelValue], Field(max_length=64)] | None = None
    """Values for In and NotIn; absent for Exists and DoesNotExist."""


class LabelSelector(ApiModel):
    """A Kubernetes label selector; an empty one selects every Node."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] | None = None
    """Labels that must have exactly these values."""
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=16)] | None = None
    """Further requirements, all of which must hold."""
