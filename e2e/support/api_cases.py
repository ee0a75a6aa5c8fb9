"""Objects that the API takes and objects that it refuses: one table for the API server and for Python's reading."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from lvs_api.kinds import ALL_KINDS
from lvs_api.objects import find_violations, parse_object
from lvs_api.testing import (
    director_group,
    lvs_node,
    real_server,
    real_server_pool,
    service_slice,
    slice_member,
    virtual_service,
)
from lvs_api.violations import InvalidObject, Violation

Raw = dict[str, Any]

MASQUERADE: Final = {"method": "Masquerade"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiCase:
    """One object and what becomes of it."""

    name: str
    raw: Raw
    refused: str | None = None
    """The field that the refusal names; None: it is taken."""
    saying: str = ""
    """Part of the refusal."""


def _taken(name: str, raw: Raw) -> ApiCase:
    return ApiCase(name=name, raw=raw)


def _refused(name: str, field: str, raw: Raw, saying: str = "") -> ApiCase:
    return ApiCase(name=name, raw=raw, refused=field, saying=saying)


def _port(name: str = "a", port: int = 80, **fields: object) -> Raw:
    return {"name": name, "port": port, **fields}


def all_cases() -> list[ApiCase]:
    """The whole table."""
    services = [*_addresses(), *_ports(), *_service_rules(), *_marks(), *_grouped()]
    pools = [*_pools(), *_checks()]
    return [*services, *pools, *_selectors(), *_node_settings(), *_connection_sync(), *_internal(), *_sizes()]


def python_says(raw: Raw) -> tuple[Violation, ...]:
    """What is wrong with an object, as our own reading of it finds."""
    kind = next(kind for kind in ALL_KINDS if kind.name == raw["kind"])
    try:
        return find_violations(parse_object(kind, raw))
    except InvalidObject as error:
        return error.violations


def _addresses() -> Iterator[ApiCase]:
    for text in (
        "10.0.0.1",
        "192.168.4.15",
        "240.0.0.1",
        "2001:db8::1",
        "fd00::1",
        "2001:db8:0:1:1:1:1:1",
        "::102:304",
    ):
        yield _taken(f"address {text}", virtual_service(addresses=[text]))
    not_addresses = ("1.2.3", "1.2.3.4/32", "01.2.3.4", "example.org", "fe80::1%eth0", "::ffff:192.0.2.1", "1:2")
    for text in not_addresses:
        yield _refused(
            f"no address {text}", "spec.addresses[0]", virtual_service(addresses=[text]), "must be an IPv4 or IPv6"
        )
    for text in ("2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:db8::0:1", "2001:0db8::1", "2001:db8::1:1:1:1:1"):
        yield _refused(f"spelling {text}", "spec.addresses[0]", virtual_service(addresses=[text]), "canonical spelling")
    unusable = (
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "127.9.9.9",
        "::1",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "239.1.1.1",
    )
    for text in (*unusable, "ff02::1", "255.255.255.255"):
        yield _refused(f"unusable {text}", "spec.addresses[0]", virtual_service(addresses=[text]), "address of a host")
        pool = real_server_pool(realServers=[real_server("a", text)])
        yield _refused(f"unusable member {text}", "spec.realServers[0].address", pool, "address of a host")
    yield _taken("one of each family", virtual_service(addresses=["192.168.4.15", "2001:db8::15"]))
    for pair in (["192.168.4.15", "192.168.4.16"], ["2001:db8::1", "2001:db8::2"], ["192.168.4.15", "192.168.4.15"]):
        yield _refused(f"two of one family {pair}", "spec.addresses", virtual_service(addresses=pair), "one of IPv4")
    yield _refused("no address at all", "spec.addresses", virtual_service(addresses=[]))
    yield _refused(
        "three addresses", "spec.addresses", virtual_service(addresses=["10.0.0.1", "10.0.0.2", "::102:304"])
    )


def _ports() -> Iterator[ApiCase]:
    yield _taken("TCP and UDP of one number", virtual_service(ports=[_port("t", 53), _port("u", 53, protocol="UDP")]))
    same = virtual_service(ports=[_port("a"), _port("b")])
    yield _refused("one port twice", "spec.ports", same, "only once")
    told = virtual_service(ports=[_port("a"), _port("b", protocol="TCP")])
    yield _refused("one port twice, TCP told and untold", "spec.ports", told, "only once")
    yield _refused(
        "one name twice", "spec.ports[1]", virtual_service(ports=[_port("a", 80), _port("a", 81)]), "Duplicate"
    )
    yield _taken("port 0 with persistence", virtual_service(ports=[_port(port=0)], persistence={"timeoutSeconds": 120}))
    yield _refused("port 0 without", "spec.ports", virtual_service(ports=[_port(port=0)]), "needs persistence")
    other = [_port(port=80, realServerPort=8080)]
    yield _taken("another port with Masquerade", virtual_service(ports=other, forwarding=MASQUERADE))
    yield _refused(
        "another port with DirectRouting", "spec.ports", virtual_service(ports=other), "needs forwarding.method"
    )
    tunnel = virtual_service(ports=other, forwarding={"method": "Tunnel"})
    yield _refused("another port with Tunnel", "spec.ports", tunnel, "needs forwarding.method")
    every = virtual_service(ports=[_port(port=0, realServerPort=80)], persistence={}, forwarding=MASQUERADE)
    yield _refused("another port for every port", "spec.ports[0].realServerPort", every, "not for port 0")
    yield _refused("lower-case protocol", "spec.ports[0].protocol", virtual_service(ports=[_port(protocol="tcp")]))
    three = [_port("t", 99), _port("u", 99, protocol="UDP"), _port("s", 99, protocol="SCTP")]
    yield _taken("TCP, UDP and SCTP of one number", virtual_service(ports=three))
    yield _refused("a protocol without ports", "spec.ports[0].protocol", virtual_service(ports=[_port(protocol="ESP")]))


def _service_rules() -> Iterator[ApiCase]:
    for scheduler in ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"):
        yield _taken(f"scheduler {scheduler}", virtual_service(scheduler=scheduler))
    yield _refused("scheduler RR", "spec.scheduler", virtual_service(scheduler="RR"))
    yield _taken("flags of sh", virtual_service(scheduler="sh", schedulerFlags=["sh-fallback", "sh-port"]))
    yield _taken("flags of mh", virtual_service(scheduler="mh", schedulerFlags=["mh-port", "mh-fallback"]))
    yield _taken("no flags", virtual_service(schedulerFlags=[]))
    for scheduler, flag in (("mh", "sh-port"), ("sh", "mh-port"), ("rr", "sh-fallback")):
        raw = virtual_service(scheduler=scheduler, schedulerFlags=[flag])
        yield _refused(f"{flag} with {scheduler}", "spec.schedulerFlags", raw, "only for scheduler sh")
    twice = virtual_service(scheduler="sh", schedulerFlags=["sh-port", "sh-port"])
    yield _refused("a flag twice", "spec.schedulerFlags[1]", twice, "Duplicate")
    yield _taken("tunnel with Tunnel", virtual_service(forwarding={"method": "Tunnel", "tunnel": {"type": "IPIP"}}))
    yield _taken("Tunnel with nothing more", virtual_service(forwarding={"method": "Tunnel"}))
    direct = virtual_service(forwarding={"method": "DirectRouting", "tunnel": {"type": "IPIP"}})
    yield _refused("tunnel with DirectRouting", "spec.forwarding.tunnel", direct, "only for method Tunnel")
    untold = virtual_service(forwarding={"tunnel": {}})
    yield _refused("tunnel with no method told", "spec.forwarding.tunnel", untold, "only for method Tunnel")
    udp, tcp = _port("u", 53, protocol="UDP"), _port("t", 53)
    yield _taken("one-packet with UDP", virtual_service(ports=[udp], onePacketScheduling=True))
    yield _taken("one-packet with persistence", virtual_service(ports=[udp], onePacketScheduling=True, persistence={}))
    for ports in ([tcp], [udp, tcp], [_port("s", 53, protocol="SCTP")]):
        raw = virtual_service(ports=ports, onePacketScheduling=True)
        name = f"one-packet with {ports[-1].get('protocol', 'TCP')}, {len(ports)} ports"
        yield _refused(name, "spec.onePacketScheduling", raw, "only for UDP")
    yield _taken(
        "persistence, all told",
        virtual_service(persistence={"timeoutSeconds": 1, "ipv4PrefixLength": 24, "ipv6PrefixLength": 64}),
    )
    yield _refused("a pool of no name", "spec.realServerPoolRef.name", virtual_service(realServerPoolRef={}))
    yield _refused("no pool", "spec.realServerPoolRef", virtual_service(realServerPoolRef=None))
    yield _refused("a name too long", "metadata.name", virtual_service("a" * 64), "Too long")
    yield _taken("a name just short enough", virtual_service("a" * 63))
    long_group = virtual_service(directorGroupRef={"name": "a" * 64})
    yield _refused("a group's name too long", "spec.directorGroupRef.name", long_group)
    for field in ("sorryServer", "quorum", "addressPoolRef"):
        yield _refused(
            f"{field}, which is not built",
            f"spec.{field}",
            changed(virtual_service(), ("spec", field), {}),
            "unknown field",
        )


def _marks() -> Iterator[ApiCase]:
    def marked(mark: Raw, **changes: object) -> Raw:
        fields: Raw = {"ports": None, "firewallMark": mark, **changes}
        return virtual_service(**fields)

    four = {"value": 10, "families": ["IPv4"]}
    yield _taken("a mark with an address", marked({"value": 10}))
    yield _taken("a mark with both addresses", marked({"value": 1}, addresses=["192.168.4.15", "2001:db8::15"]))
    yield _taken("a mark alone", marked(four, addresses=None))
    yield _taken("a mark of both families", marked({"value": 10, "families": ["IPv6", "IPv4"]}, addresses=None))
    yield _taken("the greatest mark", marked({"value": 2**32 - 1}))
    yield _taken("one-packet under a mark", marked({"value": 10}, onePacketScheduling=True))
    yield _taken("a mark, persistent", marked({"value": 10}, persistence={"ipv4PrefixLength": 24}))
    for value in (0, 2**32):
        yield _refused(f"mark {value}", "spec.firewallMark.value", marked({"value": value}))
    yield _refused("a mark of no value", "spec.firewallMark.value", marked({}))
    yield _refused("neither address nor mark", "spec.addresses", virtual_service(addresses=None), "are needed, unless")
    yield _refused("neither ports nor mark", "spec.ports", virtual_service(ports=None), "ports are needed, unless")
    yield _refused("ports and a mark", "spec.ports", marked({"value": 10}, ports=[_port()]), "it stands for every port")
    told = "families is needed without addresses"
    yield _refused("a mark of no family", "spec.firewallMark", marked({"value": 10}, addresses=None), told)
    yield _refused("a mark's families told twice", "spec.firewallMark", marked(four), told)
    no_family = marked({"value": 10, "families": []}, addresses=None)
    yield _refused("an empty list of families", "spec.firewallMark.families", no_family)
    twice = marked({"value": 10, "families": ["IPv4", "IPv4"]}, addresses=None)
    yield _refused("a family twice", "spec.firewallMark.families[1]", twice, "Duplicate")


def _grouped() -> Iterator[ApiCase]:
    def grouped(*ports: Raw, **changes: object) -> Raw:
        fields: Raw = {"portMode": "Grouped", "ports": list(ports), **changes}
        return virtual_service(**fields)

    web, tls = _port("http", 80), _port("https", 443)
    yield _taken("Separate, told", virtual_service(portMode="Separate"))
    yield _taken("two ports grouped", grouped(web, tls))
    yield _taken("one port grouped", grouped(web))
    protocols = [_port("t", 53), _port("u", 53, protocol="UDP"), _port("s", 53, protocol="SCTP")]
    yield _taken("grouped over protocols, persistent", grouped(*protocols, persistence={}))
    yield _refused("another port mode", "spec.portMode", virtual_service(portMode="Joined"))
    every = grouped(_port(port=0), persistence={})
    yield _refused("port 0 grouped", "spec.ports", every, "ports stay as they are")
    moved = grouped(web, _port("alt", 81, realServerPort=8080), forwarding=MASQUERADE)
    yield _refused("another port, grouped", "spec.ports", moved, "ports stay as they are")
    both = virtual_service(ports=None, firewallMark={"value": 10}, portMode="Grouped")
    yield _refused("grouped, and a mark", "spec.portMode", both, "a mark of its own choice")


def _pools() -> Iterator[ApiCase]:
    yield _taken("the builder's pool", real_server_pool())
    nodes = {"selector": {"matchLabels": {"role": "web"}}}
    yield _taken("nodes alone", real_server_pool(realServers=None, nodes=nodes))
    yield _taken("nodes and no machine", real_server_pool(realServers=[], nodes=nodes))
    yield _refused("nobody", "spec.realServers", real_server_pool(realServers=None), "at least one of")
    yield _refused("an empty list", "spec.realServers", real_server_pool(realServers=[]), "at least one of")
    yield _taken(
        "one address, two ports",
        real_server_pool(realServers=[real_server("a", "10.0.0.1", port=1), real_server("b", "10.0.0.1", port=2)]),
    )
    for fields in ({}, {"port": 80}):
        raw = real_server_pool(realServers=[real_server(name, "10.0.0.1", **fields) for name in "ab"])
        yield _refused(f"an address twice {fields}", "spec.realServers", raw, "only once")
    raw = real_server_pool(realServers=[real_server("a", "10.0.0.1"), real_server("a", "10.0.0.2")])
    yield _refused("a member's name twice", "spec.realServers[1]", raw, "Duplicate")
    for name in ("node.web1", "node.a.b"):
        raw = real_server_pool(realServers=[real_server(name, "10.0.0.1")])
        yield _refused(f"reserved name {name}", "spec.realServers[0].name", raw, "belong to nodes")
    yield _taken(
        "name node", real_server_pool(realServers=[real_server("node", "10.0.0.1"), real_server("node1.x", "10.0.0.2")])
    )
    thresholds: tuple[Raw, ...] = (
        {"upperThreshold": 9, "lowerThreshold": 9},
        {"upperThreshold": 9},
        {"lowerThreshold": 0},
    )
    for fields in thresholds:
        yield _taken(f"thresholds {fields}", real_server_pool(realServers=[real_server("a", "10.0.0.1", **fields)]))
    for fields in ({"upperThreshold": 9, "lowerThreshold": 10}, {"lowerThreshold": 1}):
        raw = real_server_pool(realServers=[real_server("a", "10.0.0.1", **fields)])
        yield _refused(f"thresholds {fields}", "spec.realServers[0].lowerThreshold", raw, "at most upperThreshold")
    beyond = real_server_pool(realServers=[real_server("a", "10.0.0.1", upperThreshold=2**31)])
    yield _refused("a threshold beyond the kernel's", "spec.realServers[0].upperThreshold", beyond)
    member_tunnel = real_server("a", "10.0.0.1", forwarding={"method": "Masquerade", "tunnel": {}})
    raw = real_server_pool(realServers=[member_tunnel])
    yield _refused("a member's tunnel", "spec.realServers[0].forwarding.tunnel", raw, "only for method Tunnel")
    own = [
        real_server("a", "10.0.0.1", forwarding={"method": "Tunnel", "tunnel": {}}),
        real_server("b", "10.0.0.2", forwarding=MASQUERADE),
    ]
    yield _taken("members of two methods", real_server_pool(realServers=own))
    for weight in (-1, 65536):
        raw = real_server_pool(realServers=[real_server("a", "10.0.0.1", weight=weight)])
        yield _refused(f"weight {weight}", "spec.realServers[0].weight", raw)
    yield _refused(
        "spelling of a member",
        "spec.realServers[0].address",
        real_server_pool(realServers=[real_server("a", "2001:DB8::1")]),
    )
    for field in ("endpoints", "slowStart"):
        yield _refused(
            f"{field}, which is not built",
            f"spec.{field}",
            changed(real_server_pool(), ("spec", field), {}),
            "unknown field",
        )


def _checks() -> Iterator[ApiCase]:
    http = {"path": "/healthz?x=1", "host": "www.example.org", "expectedStatuses": [200, 204]}
    for name, check in (("tcp", {"tcp": {}}), ("http", {"http": {}}), ("http, all told", {"http": http, "port": 8080})):
        yield _taken(f"check {name}", real_server_pool(healthCheck=check))
    for name, check in (("nothing", {}), ("both", {"tcp": {}, "http": {}})):
        yield _refused(f"check {name}", "spec.healthCheck", real_server_pool(healthCheck=check), "exactly one of")
    yield _taken(
        "timeout as long as the interval",
        real_server_pool(healthCheck={"tcp": {}, "intervalSeconds": 3, "timeoutSeconds": 3}),
    )
    for times in ({"intervalSeconds": 2, "timeoutSeconds": 3}, {"timeoutSeconds": 3}):
        raw = real_server_pool(healthCheck={"tcp": {}, **times})
        yield _refused(f"times {times}", "spec.healthCheck.timeoutSeconds", raw, "at most intervalSeconds")
    for path in ("healthz", "/a b", "/\r\nX: y"):
        yield _refused(
            f"path {path!r}", "spec.healthCheck.http.path", real_server_pool(healthCheck={"http": {"path": path}})
        )
    for host in ("a b", "a\r\nX: y"):
        yield _refused(
            f"host {host!r}", "spec.healthCheck.http.host", real_server_pool(healthCheck={"http": {"host": host}})
        )
    twice = real_server_pool(healthCheck={"http": {"expectedStatuses": [200, 200]}})
    yield _refused("a status twice", "spec.healthCheck.http.expectedStatuses[1]", twice, "Duplicate")


def _selectors() -> Iterator[ApiCase]:
    def group(**selector: object) -> Raw:
        return director_group(nodes={"selector": selector})

    where = "spec.nodes.selector"
    yield _taken("the builder's group", director_group())
    yield _taken("an empty selector", group())
    yield _taken("a label of a domain", group(matchLabels={"example.org/role": "director", "empty": ""}))
    for operator, values in (
        ("In", ["a", "b"]),
        ("NotIn", ["a"]),
        ("Exists", None),
        ("DoesNotExist", None),
        ("Exists", []),
    ):
        wanted = {"key": "role", "operator": operator} | ({} if values is None else {"values": values})
        yield _taken(f"{operator} {values}", group(matchExpressions=[wanted]))
    for operator, values in (("In", None), ("NotIn", []), ("Exists", ["a"]), ("DoesNotExist", ["a"])):
        wanted = {"key": "role", "operator": operator} | ({} if values is None else {"values": values})
        raw = group(matchExpressions=[wanted])
        yield _refused(f"{operator} {values}", f"{where}.matchExpressions[0].values", raw, "needed for In and NotIn")
    for key in ("a b", "-a", "/a", "a/b/c", "A.B/c", "x" * 64):
        yield _refused(f"label {key}", f"{where}.matchLabels", group(matchLabels={key: "x"}))
    yield _refused("label value", f"{where}.matchLabels.a", group(matchLabels={"a": "x y"}))
    for device in ("eth0", "bond0.100", "br-lan", "a" * 15, "x"):
        yield _taken(f"interface {device}", director_group(interface=device))
    for device in ("", "a" * 16, "a b", "a/b", "eth0:1", ".", ".."):
        yield _refused(f"interface {device!r}", "spec.interface", director_group(interface=device))
    for device in ("lo", "tunl0", "ip6tnl0"):
        yield _refused(
            f"interface {device}", "spec.interface", director_group(interface=device), "on the clients' link"
        )
    yield _refused("no nodes", "spec.nodes", director_group(nodes=None))
    yield _refused("fail-over, which is not built", "spec.failover", director_group(failover="VRRP"))
    yield _refused("a group's own name too long", "metadata.name", director_group("a" * 64), "Too long")


def _node_settings() -> Iterator[ApiCase]:
    for timeouts in ({}, {"tcpSeconds": 30, "tcpFinSeconds": 5, "udpSeconds": 60}, {"udpSeconds": 2147483}):
        yield _taken(f"time-outs {timeouts}", director_group(timeouts=timeouts))
    for name in ("tcpSeconds", "tcpFinSeconds", "udpSeconds"):
        for seconds in (0, -1, 2147484):
            raw = director_group(timeouts={name: seconds})
            yield _refused(f"time-out {name} {seconds}", f"spec.timeouts.{name}", raw)
    for sysctls in ({}, {"conntrack": False, "connReuseMode": 0}, {"estNice": -20, "dropEntry": 3, "amDroprate": 1}):
        yield _taken(f"sysctls {sysctls}", director_group(sysctls=sysctls))
    for name, value in (
        ("connReuseMode", 4),
        ("secureTcp", -1),
        ("estNice", 20),
        ("amDroprate", 0),
        ("connLfactor", 9),
    ):
        yield _refused(f"sysctl {name} {value}", f"spec.sysctls.{name}", director_group(sysctls={name: value}))
    yield _refused("a switch as a number", "spec.sysctls.conntrack", director_group(sysctls={"conntrack": 1}))
    for name in ("backupOnly", "conn_reuse_mode", "syncPorts"):
        raw = director_group(sysctls={name: 1})
        yield _refused(f"sysctl {name}, which is none of ours", f"spec.sysctls.{name}", raw, "unknown field")


def _connection_sync() -> Iterator[ApiCase]:
    def group(**changes: object) -> Raw:
        sync = {"interface": "eth1", "syncId": 1, **changes}
        return director_group(connectionSync={name: value for name, value in sync.items() if value is not None})

    yield _taken("connectionSync, no more than is needed", group())
    yield _taken("connectionSync of every link's groups", group(syncId=0))
    for address in ("224.0.0.81", "239.255.255.255", "ff02::51", "ff05::1:3"):
        yield _taken(f"connectionSync to {address}", group(multicastGroup=address, port=1, ttl=255, maxLength=65487))
    for address in ("192.168.4.15", "223.255.255.255", "240.0.0.1", "2001:db8::1", "fe80::1", "255.255.255.255"):
        raw = group(multicastGroup=address)
        yield _refused(f"connectionSync to {address}", "spec.connectionSync.multicastGroup", raw, "multicast address")
    for address, saying in (("FF02::51", "canonical"), ("224.0.0", "must be an IPv4 or IPv6")):
        raw = group(multicastGroup=address)
        yield _refused(f"connectionSync to {address}", "spec.connectionSync.multicastGroup", raw, saying)
    for device in ("lo", "tunl0", "ip6tnl0"):
        raw = group(interface=device)
        yield _refused(f"connectionSync on {device}", "spec.connectionSync.interface", raw, "no other director")
    yield _refused("connectionSync without a device", "spec.connectionSync.interface", group(interface=None))
    yield _refused("connectionSync without an id", "spec.connectionSync.syncId", group(syncId=None))
    for name, value in (("syncId", 256), ("syncId", -1), ("port", 0), ("ttl", 0), ("ttl", 256), ("maxLength", 1023)):
        raw = group(**{name: value})
        yield _refused(f"connectionSync {name} {value}", f"spec.connectionSync.{name}", raw)


def _internal() -> Iterator[ApiCase]:
    yield _taken("the builder's first slice", service_slice())
    yield _taken("the builder's second slice", service_slice(index=1))
    yield _refused("a first slice without the service", "spec.service", service_slice(service=None), "index 0")
    yield _refused("a first slice without the pool", "spec.pool", service_slice(pool=None), "index 0")
    first = service_slice()["spec"]
    yield _refused(
        "a later slice with the service", "spec.service", service_slice(index=1, service=first["service"]), "index 0"
    )
    yield _refused("a later slice with the pool", "spec.pool", service_slice(index=1, pool=first["pool"]), "index 0")
    marked = {**first["service"], "ports": None, "firewallMark": {"value": 10}}
    marked = {field: value for field, value in marked.items() if value is not None}
    yield _taken("a slice of a mark", service_slice(service=marked))
    yield _taken("a member by a long node name", service_slice(members=[slice_member("node." + "a" * 253, "10.0.0.1")]))
    yield _taken("the builder's node", lvs_node())
    both = [{"address": "10.0.0.1", "device": device} for device in ("lo", "tunl0")]
    yield _taken("one VIP on two devices", lvs_node(addresses=both))
    yield _refused("one VIP twice", "spec.addresses[1]", lvs_node(addresses=[both[0], both[0]]), "Duplicate")
    yield _refused(
        "a VIP on eth0", "spec.addresses[0].device", lvs_node(addresses=[{"address": "10.0.0.1", "device": "eth0"}])
    )
    yield _refused("a group twice", "spec.directorGroups[1]", lvs_node(directorGroups=["a", "a"]), "Duplicate")


def _sizes() -> Iterator[ApiCase]:
    def service(count: int) -> Raw:
        return virtual_service(ports=[_port(f"p{i}", 1000 + i) for i in range(count)])

    def pool(count: int) -> Raw:
        fields: Raw = {"port": 65535, "weight": 65535, "upperThreshold": 2**31 - 1, "lowerThreshold": 2**31 - 1}
        address = "2001:db8:1111:2222:3333:4444:5555:{:x}"
        servers = [
            real_server(
                f"{'n' * 59}{i:04}", address.format(0x1000 + i), state="Active", forwarding=MASQUERADE, **fields
            )
            for i in range(count)
        ]
        return real_server_pool(realServers=servers)

    def slice_of(count: int) -> Raw:
        return service_slice(members=[slice_member(f"rs{i}", f"10.0.{i // 250}.{1 + i % 250}") for i in range(count)])

    def node(count: int) -> Raw:
        return lvs_node(addresses=[{"address": f"10.0.{i // 250}.{1 + i % 250}", "device": "lo"} for i in range(count)])

    for name, build, limit, field in (
        ("ports", service, 32, "spec.ports"),
        ("members", pool, 256, "spec.realServers"),
        ("members of a slice", slice_of, 100, "spec.members"),
        ("addresses of a node", node, 1024, "spec.addresses"),
    ):
        yield _taken(f"{limit} {name}", build(limit))
        yield _refused(f"{limit + 1} {name}", field, build(limit + 1))


def changed(raw: Raw, path: tuple[str | int, ...], value: object) -> Raw:
    """A copy with one thing in it replaced."""
    result = copy.deepcopy(raw)
    node: Any = result
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    return result
