"""A director's IPVS table under the objects' names, and its connections, as its agent tells them to `kubectl lvs list`.

They are no objects of the API server. An older reader passes over what a newer agent says beyond this.
"""

from typing import Final

from lvs_api.base import ApiModel
from lvs_api.network_types import Family, IpAddress

TABLE_PATH: Final = "/v1/table"
CONNECTIONS_PATH: Final = "/v1/connections"


class _Told(ApiModel, extra="ignore"):
    """What an agent tells."""


class Traffic(_Told):
    """Totals since the entry was made or zeroed, and the kernel's estimates of rates."""

    connections: int
    """Connections that were made."""
    in_packets: int
    """Packets from clients."""
    out_packets: int
    """Packets to clients that came by the director."""
    in_bytes: int
    """Bytes from clients."""
    out_bytes: int
    """Bytes to clients that came by the director."""
    connections_per_second: int
    """Rate of connections."""
    in_packets_per_second: int
    """Rate of packets from clients."""
    out_packets_per_second: int
    """Rate of packets to clients."""
    in_bytes_per_second: int
    """Rate of bytes from clients."""
    out_bytes_per_second: int
    """Rate of bytes to clients."""


class TableTunnel(_Told):
    """How packets are wrapped under Tunnel."""

    type: str
    """IPIP, GUE or GRE; OTHER for one that the agent does not know."""
    port: int = 0
    """GUE's UDP port."""
    flags: tuple[str, ...] = ()
    """CHECKSUM, REMOTE_CHECKSUM."""


class TableRealServer(_Told):
    """A real server of one virtual service."""

    name: str | None = None
    """In the slices; absent for one that is not ours, or that they do not have any more."""
    ours: bool
    """The agent made it, or took it over."""
    address: IpAddress
    """Where packets go."""
    port: int
    """The same; 0 keeps the port of the packet."""
    method: str
    """DirectRouting, Tunnel or Masquerade; Local, Bypass or Other for entries that somebody else made."""
    tunnel: TableTunnel | None = None
    """With Tunnel."""
    weight: int
    """In the kernel."""
    upper_threshold: int = 0
    """No new connections at so many; 0: no limit."""
    lower_threshold: int = 0
    """New connections again below so many."""
    active_connections: int
    """Established."""
    inactive_connections: int
    """In any other state."""
    persistent_connections: int
    """Persistence templates."""
    traffic: Traffic
    """What passed."""

    @property
    def connections(self) -> int:
        """Active and inactive ones."""
        return self.active_connections + self.inactive_connections


class TablePersistence(_Told):
    """Clients stick to a real server."""

    timeout_seconds: int
    """For so long after their last connection."""
    prefix_length: int
    """Clients that share so many leading bits are one."""
    engine: str | None = None
    """A persistence engine, such as sip."""


class TableService(_Told):
    """A virtual service of the kernel: address, port and protocol, or a firewall mark."""

    namespace: str | None = None
    """Of the LvsVirtualService; absent for what is not ours, or is going."""
    name: str | None = None
    """Its name."""
    port_name: str | None = None
    """Its port's name. handed-on, where there is no other name: what other directors hand on to this one, which is a
    real server of the same services."""
    family: Family
    """The family of the address or mark."""
    protocol: str | None = None
    """TCP, UDP or SCTP; absent for a mark."""
    address: IpAddress | None = None
    """The VIP."""
    port: int | None = None
    """0 is every port."""
    firewall_mark: int | None = None
    """In place of address, port and protocol."""
    scheduler: str
    """The kernel's name of it."""
    scheduler_flags: tuple[str, ...] = ()
    """As ipvsadm names them: flag-1 to flag-3, or sh-fallback, sh-port, mh-fallback, mh-port."""
    one_packet_scheduling: bool = False
    """Each packet is scheduled alone."""
    persistence: TablePersistence | None = None
    """Where it has one."""
    traffic: Traffic
    """What passed, also to real servers that have left."""
    real_servers: list[TableRealServer]
    """In the kernel's order."""


class TableTimeouts(_Told):
    """For how long the kernel keeps idle connections; a kernel built without a protocol has none for it."""

    tcp_seconds: int | None = None
    """Established TCP connections."""
    tcp_fin_seconds: int | None = None
    """TCP connections after a FIN."""
    udp_seconds: int | None = None
    """UDP."""


class TableSyncDaemon(_Told):
    """A connection synchronization daemon that runs."""

    state: str
    """master or backup."""
    interface: str
    """Where it sends or listens."""
    sync_id: int
    """Of its messages."""
    max_length: int | None = None
    """Of a message, in bytes; this and the following since Linux 4.3."""
    group: IpAddress | None = None
    """The multicast group."""
    port: int | None = None
    """Its UDP port."""
    ttl: int | None = None
    """Of what it sends."""


class DirectorTable(_Told):
    """All of a director's table."""

    node: str
    """The director."""
    ipvs_version: str
    """Of the kernel's IPVS."""
    connection_table_size: int
    """Hash buckets."""
    wide_counters: bool
    """False where the kernel, older than 4.1, counts connections and packets in 32 bits."""
    timeouts: TableTimeouts
    """The node's."""
    sync_daemons: list[TableSyncDaemon]
    """Those that run."""
    services: list[TableService]
    """In the kernel's order."""


class TableConnection(_Told):
    """A connection, or the template by which those of a persistent client find their real server."""

    protocol: str
    """TCP, UDP or SCTP; IP for templates of a mark."""
    client_address: str
    """Where it comes from; of a template that is for many clients, their network's."""
    client_port: int
    """0 of a template."""
    virtual_address: str
    """Where the client connected to; of a template of a mark, the mark as an address."""
    virtual_port: int
    """0 of a template for every port."""
    address: str
    """The real server's."""
    port: int
    """The same."""
    state: str
    """The kernel's name of it, such as ESTABLISHED; of a template NONE or ASSURED."""
    expires_seconds: int
    """After so long without a packet it is forgotten."""


class DirectorConnections(_Told):
    """Connections that a director knows."""

    node: str
    """The director."""
    connections: list[TableConnection]
    """In the kernel's order, which is none."""
    cut: bool = False
    """There are more than an agent tells."""
