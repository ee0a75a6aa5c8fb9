"""Settings of IPVS that a node has once for all of its virtual services; an absent field is left as the node has it."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Final, NamedTuple

from pydantic import Field
from pydantic.alias_generators import to_camel

from lvs_api.base import ApiModel, Rule
from lvs_api.ipvs_terms import Ipvs
from lvs_api.network_types import InterfaceName, MulticastAddress, Port

_WITHOUT_NEIGHBOURS: Final = ("lo", "tunl0", "ip6tnl0", "gre0", "ip6gre0")
TimeoutSeconds = Annotated[int, Field(ge=1, le=2147483)]
"""The kernel counts in ticks, as an int: of a thousand ticks a second so many seconds fit (ip_vs_set_timeout)."""


class SettingKey(NamedTuple):
    """One number that a node has once."""

    part: str
    """The field of LvsDirectorGroup.spec that it stands in."""
    name: str
    """The Python name of its own field; for a sysctl that is the kernel's name, too."""

    def __str__(self) -> str:
        return f"{self.part}.{to_camel(self.name)}"


class NodeNumbers(ApiModel):
    """Settings that are numbers or switches, each for itself."""

    def numbers(self, part: str) -> Iterator[tuple[SettingKey, int]]:
        """Those that are set, a switch as 0 or 1."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is not None:
                yield SettingKey(part, name), int(value)


class Timeouts(NodeNumbers):
    """How long IPVS remembers a connection without packets (`ipvsadm --set tcp tcpfin udp`)."""

    tcp_seconds: Annotated[TimeoutSeconds | None, Ipvs("CMD_ATTR_TIMEOUT_TCP", ("--set",))] = None
    """An established TCP connection; the kernel begins with 900."""
    tcp_fin_seconds: Annotated[TimeoutSeconds | None, Ipvs("CMD_ATTR_TIMEOUT_TCP_FIN", ("--set",))] = None
    """A TCP connection of which a FIN was seen; the kernel begins with 120."""
    udp_seconds: Annotated[TimeoutSeconds | None, Ipvs("CMD_ATTR_TIMEOUT_UDP", ("--set",))] = None
    """UDP; the kernel begins with 300."""


class IpvsSysctls(NodeNumbers):
    """Sysctls of net.ipv4.vs (Documentation/networking/ipvs-sysctl.rst); a node's kernel may lack some of them."""

    sysctl_directory: ClassVar[str | None] = "net.ipv4.vs"

    conntrack: bool | None = None
    """Keep the firewall's connection tracking informed: without it rules that look at the state of a connection take
    the answers of Masquerade real servers for INVALID."""
    conn_reuse_mode: Annotated[int, Field(ge=0, le=3)] | None = None
    """What becomes of a connection from a client's port that was used before. 0: it goes to the old real server; 1: it
    is scheduled anew where the old connection is in TIME_WAIT, which only Masquerade sees; 2 and 3: also in FIN_WAIT,
    the last state that a director with DirectRouting or Tunnel sees."""
    expire_nodest_conn: bool | None = None
    """End connections to a real server that is gone with their next packet, so that clients notice at once."""
    expire_quiescent_template: bool | None = None
    """Let clients of a service with persistence leave a real server of weight 0."""
    sloppy_tcp: bool | None = None
    """Take up a TCP connection with any packet and not only with a SYN."""
    sloppy_sctp: bool | None = None
    """The same for SCTP."""
    snat_reroute: bool | None = None
    """Look up the route of answers of Masquerade real servers anew, with the virtual address as their source."""
    nat_icmp_send: bool | None = None
    """Answer a Masquerade real server's packets that belong to no connection with an ICMP error."""
    pmtu_disc: bool | None = None
    """Refuse packets that are too long for the way to the real server, with the size that fits."""
    schedule_icmp: bool | None = None
    """Schedule ICMP errors that belong to no connection here, as other directors of the same address need it."""
    ignore_tunneled: bool | None = None
    """Leave alone packets of protocols that are not balanced, such as tunnels' that end at a director which is also a
    real server."""
    cache_bypass: bool | None = None
    """Where no cache of a transparent cache cluster is available, forward to the original destination."""
    drop_entry: Annotated[int, Field(ge=0, le=3)] | None = None
    """Drop connections that are not established under memory pressure: 0 never, 1 and 2 when memory gets short (the
    kernel itself changes between these two), 3 always."""
    drop_packet: Annotated[int, Field(ge=0, le=3)] | None = None
    """Drop packets before scheduling: as `dropEntry`."""
    secure_tcp: Annotated[int, Field(ge=0, le=3)] | None = None
    """Shorter time-outs of TCP states against floods: as `dropEntry`."""
    amemthresh: Annotated[int, Field(ge=0, le=2147483647)] | None = None
    """Below so many free pages memory counts as short."""
    am_droprate: Annotated[int, Field(ge=1, le=2147483647)] | None = None
    """With `dropPacket` 3 one of so many packets is dropped."""
    sync_persist_mode: Annotated[int, Field(ge=0, le=1)] | None = None
    """0: all connections are synchronized; 1: of services with persistence only the templates, which needs `sloppyTcp`
    and `sloppySctp` on the backups."""
    sync_refresh_period: Annotated[int, Field(ge=0, le=86400)] | None = None
    """Seconds before which a connection that did not change is not synchronized again; 0: by numbers of packets only.
    That makes such messages rarer. Only where the second number of `net.ipv4.vs.sync_threshold` is 0 it makes some: any
    packet after so many seconds is told."""
    sync_retries: Annotated[int, Field(ge=0, le=3)] | None = None
    """How often a message of synchronization is repeated."""
    run_estimation: bool | None = None
    """Compute rates (connections, packets and bytes a second) of services and real servers."""
    est_nice: Annotated[int, Field(ge=-20, le=19)] | None = None
    """Niceness of the kernel's threads that compute rates."""
    conn_max: Annotated[int, Field(ge=1, le=1073741824)] | None = None
    """How many connections there may be, persistence templates included; packets of further ones are dropped."""
    conn_lfactor: Annotated[int, Field(ge=-8, le=8)] | None = None
    """How full the table of connections may get before it grows, as a power of 2."""
    svc_lfactor: Annotated[int, Field(ge=-8, le=8)] | None = None
    """The same of the table of services."""


class ConnectionSync(ApiModel):
    """How directors tell one another of their connections (`ipvsadm --start-daemon`)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=f"!(self.interface in {list(_WITHOUT_NEIGHBOURS)})",
            check=lambda self: self.interface not in _WITHOUT_NEIGHBOURS,
            message="lo and tunnel devices (tunl0, ip6tnl0, gre0, ip6gre0) lead to no other director; name a device on "
            "a link that all of them share",
            field="interface",
        ),
    )

    interface: Annotated[InterfaceName, Ipvs("DAEMON_ATTR_MCAST_IFN", ("--mcast-interface",))]
    """The network device, of this name on every director, by whose link the others are told; with an IPv4 group it
    needs an IPv4 address (`--mcast-interface`)."""
    sync_id: Annotated[int, Field(ge=0, le=255), Ipvs("DAEMON_ATTR_SYNC_ID", ("--syncid",))]
    """Tells the messages of this group from those of others on the link; a backup with 0 takes those of all
    (`--syncid`)."""
    multicast_group: Annotated[
        MulticastAddress, Ipvs("DAEMON_ATTR_MCAST_GROUP, DAEMON_ATTR_MCAST_GROUP6", ("--mcast-group",))
    ] = "224.0.0.81"
    """Where the messages go (`--mcast-group`)."""
    port: Annotated[Port, Ipvs("DAEMON_ATTR_MCAST_PORT", ("--mcast-port",))] = 8848
    """The UDP port where they go; with `net.ipv4.vs.sync_ports` above 1 also the next ones (`--mcast-port`)."""
    ttl: Annotated[int, Field(ge=1, le=255), Ipvs("DAEMON_ATTR_MCAST_TTL", ("--mcast-ttl",))] = 1
    """How many routers they pass, and one more (`--mcast-ttl`)."""
    max_length: Annotated[
        Annotated[int, Field(ge=1024, le=65487)] | None, Ipvs("DAEMON_ATTR_SYNC_MAXLEN", ("--sync-maxlen",))
    ] = None
    """The longest message in bytes, the same on every director; absent: as fits into 1500 bytes, and on a backup what
    fits the device's MTU, if that is more (`--sync-maxlen`)."""
