"""Objects that the API takes and objects that it refuses: one table for the API server and for Python's reading."""

from collections.abc import Iterator
from typing import Final

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
from support.address_pool_cases import address_pool_cases
from support.api_case import ApiCase, Raw, changed, port, refused, taken
from support.service_cases import service_cases
from support.vrrp_cases import vrrp_cases

MASQUERADE: Final = {"method": "Masquerade"}


def all_cases() -> list[ApiCase]:
    """The whole table."""
    services = [*service_cases()]
    pools = [*_pools(), *_checks()]
    groups = [*_selectors(), *_ignored_answers(), *_node_settings(), *_connection_sync(), *vrrp_cases()]
    words = [*_words()]
    return [*services, *pools, *groups, *address_pool_cases(), *_internal(), *_sizes(), *words]


def python_says(raw: Raw) -> tuple[Violation, ...]:
    """What is wrong with an object, as our own reading of it finds."""
    kind = next(kind for kind in ALL_KINDS if kind.name == raw["kind"])
    try:
        return find_violations(parse_object(kind, raw))
    except InvalidObject as error:
        return error.violations


def _pools() -> Iterator[ApiCase]:
    yield taken("the builder's pool", real_server_pool())
    nodes = {"selector": {"matchLabels": {"role": "web"}}}
    yield taken("nodes alone", real_server_pool(realServers=None, nodes=nodes))
    yield taken("nodes and no machine", real_server_pool(realServers=[], nodes=nodes))
    yield refused("nobody", "spec.realServers", real_server_pool(realServers=None), "at least one of")
    yield from _endpoints()
    yield refused("an empty list", "spec.realServers", real_server_pool(realServers=[]), "at least one of")
    yield taken(
        "one address, two ports",
        real_server_pool(realServers=[real_server("a", "10.0.0.1", port=1), real_server("b", "10.0.0.1", port=2)]),
    )
    for fields in ({}, {"port": 80}):
        raw = real_server_pool(realServers=[real_server(name, "10.0.0.1", **fields) for name in "ab"])
        yield refused(f"an address twice {fields}", "spec.realServers", raw, "only once")
    raw = real_server_pool(realServers=[real_server("a", "10.0.0.1"), real_server("a", "10.0.0.2")])
    yield refused("a member's name twice", "spec.realServers[1]", raw, "Duplicate")
    for name, whose in (("node.web1", "nodes"), ("node6.a.b", "nodes"), ("endpoint.10-0-0-1.80", "endpoints")):
        raw = real_server_pool(realServers=[real_server(name, "10.0.0.1")])
        yield refused(f"reserved name {name}", "spec.realServers[0].name", raw, whose)
    yield taken(
        "name node", real_server_pool(realServers=[real_server("node", "10.0.0.1"), real_server("node1.x", "10.0.0.2")])
    )
    thresholds: tuple[Raw, ...] = (
        {"upperThreshold": 9, "lowerThreshold": 9},
        {"upperThreshold": 9},
        {"lowerThreshold": 0},
    )
    for fields in thresholds:
        yield taken(f"thresholds {fields}", real_server_pool(realServers=[real_server("a", "10.0.0.1", **fields)]))
    for fields in ({"upperThreshold": 9, "lowerThreshold": 10}, {"lowerThreshold": 1}):
        raw = real_server_pool(realServers=[real_server("a", "10.0.0.1", **fields)])
        yield refused(f"thresholds {fields}", "spec.realServers[0].lowerThreshold", raw, "at most upperThreshold")
    beyond = real_server_pool(realServers=[real_server("a", "10.0.0.1", upperThreshold=2**31)])
    yield refused("a threshold beyond the kernel's", "spec.realServers[0].upperThreshold", beyond)
    member_tunnel = real_server("a", "10.0.0.1", forwarding={"method": "Masquerade", "tunnel": {}})
    raw = real_server_pool(realServers=[member_tunnel])
    yield refused("a member's tunnel", "spec.realServers[0].forwarding.tunnel", raw, "only for method Tunnel")
    own = [
        real_server("a", "10.0.0.1", forwarding={"method": "Tunnel", "tunnel": {}}),
        real_server("b", "10.0.0.2", forwarding=MASQUERADE),
    ]
    yield taken("members of two methods", real_server_pool(realServers=own))
    behind = real_server("a", "10.0.0.1", forwarding={**MASQUERADE, "sourceNat": True})
    yield taken("a member's source NAT", real_server_pool(realServers=[behind, real_server("b", "10.0.0.2")]))
    gre = real_server("a", "10.0.0.1", forwarding={"method": "Tunnel", "tunnel": {"type": "GRE"}})
    yield taken("a member by GRE", real_server_pool(realServers=[gre]))
    six = real_server("b", "2001:db8::2", forwarding=gre["forwarding"])
    yield taken("members of two families by GRE", real_server_pool(realServers=[gre, six]))
    yield from _members_by_gue()
    for forwarding in ({"sourceNat": True}, {"method": "Tunnel", "sourceNat": True}):
        raw = real_server_pool(realServers=[real_server("a", "10.0.0.1", forwarding=forwarding)])
        name = f"a member's source NAT with {forwarding.get('method', 'no method told')}"
        yield refused(name, "spec.realServers[0].forwarding.sourceNat", raw, "only for method Masquerade")
    for weight in (-1, 65536):
        raw = real_server_pool(realServers=[real_server("a", "10.0.0.1", weight=weight)])
        yield refused(f"weight {weight}", "spec.realServers[0].weight", raw)
    yield refused(
        "spelling of a member",
        "spec.realServers[0].address",
        real_server_pool(realServers=[real_server("a", "2001:DB8::1")]),
    )
    raw = changed(real_server_pool(), ("spec", "slowStart"), {})
    yield refused("slowStart, which is not built", "spec.slowStart", raw, "unknown field")


def _endpoints() -> Iterator[ApiCase]:
    ref = {"serviceRef": {"name": "web"}}
    yield taken("endpoints alone", real_server_pool(realServers=None, endpoints=ref))
    yield taken("endpoints beside all else", real_server_pool(nodes={"selector": {}}, endpoints=ref))
    named = {**ref, "portName": "a-port-name-of-a-service-may-be-longer-than-ours"}
    yield taken("endpoints of a named port", real_server_pool(realServers=None, endpoints=named))
    for name, endpoints, field, said in (
        ("of no Service", {}, "spec.endpoints.serviceRef", "Required value"),
        ("of a Service without a name", {"serviceRef": {"name": ""}}, "spec.endpoints.serviceRef.name", ""),
        ("elsewhere", {"serviceRef": {"name": "web", "namespace": "b"}}, "spec.endpoints.serviceRef.namespace", ""),
        ("of a port by number", {**ref, "portName": 80}, "spec.endpoints.portName", ""),
        ("of a port in capitals", {**ref, "portName": "HTTP"}, "spec.endpoints.portName", ""),
        ("of a port too long", {**ref, "portName": "a" * 64}, "spec.endpoints.portName", ""),
        ("with weights", {**ref, "weight": 1}, "spec.endpoints.weight", "unknown field"),
    ):
        yield refused(f"endpoints {name}", field, real_server_pool(realServers=None, endpoints=endpoints), said)


def _members_by_gue() -> Iterator[ApiCase]:
    def by(**tunnel: object) -> Raw:
        forwarding = {"method": "Tunnel", "tunnel": {"type": "GUE", **tunnel}}
        return real_server_pool(realServers=[real_server("a", "10.0.0.1", forwarding=forwarding)])

    where = "spec.realServers[0].forwarding.tunnel"
    yield taken("a member by GUE", by(port=6080, checksum="RemoteOffload"))
    yield refused("a member by GUE without a port", f"{where}.port", by(), "needed for type GUE")
    yield refused("a member by GRE with a port", f"{where}.port", by(type="GRE", port=6080), "must be absent")
    yield refused("a member by IPIP with a checksum", f"{where}.checksum", by(type="IPIP", checksum="UDP"), "only for")


def _checks() -> Iterator[ApiCase]:
    http = {"path": "/healthz?x=1", "host": "www.example.org", "expectedStatuses": [200, 204]}
    for name, check in (("tcp", {"tcp": {}}), ("http", {"http": {}}), ("http, all told", {"http": http, "port": 8080})):
        yield taken(f"check {name}", real_server_pool(healthCheck=check))
    for name, check in (("nothing", {}), ("both", {"tcp": {}, "http": {}})):
        yield refused(f"check {name}", "spec.healthCheck", real_server_pool(healthCheck=check), "exactly one of")
    yield taken(
        "timeout as long as the interval",
        real_server_pool(healthCheck={"tcp": {}, "intervalSeconds": 3, "timeoutSeconds": 3}),
    )
    for times in ({"intervalSeconds": 2, "timeoutSeconds": 3}, {"timeoutSeconds": 3}):
        raw = real_server_pool(healthCheck={"tcp": {}, **times})
        yield refused(f"times {times}", "spec.healthCheck.timeoutSeconds", raw, "at most intervalSeconds")
    for path in ("healthz", "/a b", "/\r\nX: y"):
        yield refused(
            f"path {path!r}", "spec.healthCheck.http.path", real_server_pool(healthCheck={"http": {"path": path}})
        )
    for host in ("a b", "a\r\nX: y", "bücher.example"):
        yield refused(
            f"host {host!r}", "spec.healthCheck.http.host", real_server_pool(healthCheck={"http": {"host": host}})
        )
    twice = real_server_pool(healthCheck={"http": {"expectedStatuses": [200, 200]}})
    yield refused("a status twice", "spec.healthCheck.http.expectedStatuses[1]", twice, "Duplicate")


def _words() -> Iterator[ApiCase]:
    """What breaks a pattern is told in words, each time by both."""
    pool = real_server_pool(nodes={"selector": {"matchLabels": {"a": "b"}}}, healthCheck={"http": {"host": "a"}})
    group = director_group(interface="eth0", maintenance=["d1"])
    selector = ("spec", "nodes", "selector", "matchLabels")
    for wrong, path, field, raw in (
        ("Web", ("spec", "ports", 0, "name"), "spec.ports[0].name", virtual_service(ports=[port()])),
        ("No One", ("spec", "directorGroupRef"), "spec.directorGroupRef.name", virtual_service()),
        ("eth0/1", ("spec", "interface"), "spec.interface", group),
        ("Dir1", ("spec", "maintenance", 0), "spec.maintenance[0]", group),
        ("-b", (*selector, "a"), "spec.nodes.selector.matchLabels.a", pool),
        ({"-a": "b"}, selector, "spec.nodes.selector.matchLabels", pool),
        ("health", ("spec", "healthCheck", "http", "path"), "spec.healthCheck.http.path", pool),
        ("a b", ("spec", "healthCheck", "http", "host"), "spec.healthCheck.http.host", pool),
    ):
        value = {"name": wrong} if path[-1] == "directorGroupRef" else wrong
        yield refused(f"{wrong!r} at {field}", field, changed(raw, path, value), "must be a ")
    yield from _requirements()


def _requirements() -> Iterator[ApiCase]:
    path = ("spec", "nodes", "selector", "matchExpressions")
    for requirement, field, saying in (
        ({"key": "a b", "operator": "Exists"}, "key", "must be a label's key"),
        ({"key": "a", "operator": "In", "values": ["b c"]}, "values[0]", "must be a label's value"),
    ):
        raw = changed(director_group(), path, [requirement])
        yield refused(f"a requirement's {field}", f"{'.'.join(path)}[0].{field}", raw, saying)


def _ignored_answers() -> Iterator[ApiCase]:
    field, right = "spec.ignoreAnswersFrom", "02:00:5e:00:01:af"
    yield taken("nobody ignored", director_group(ignoreAnswersFrom=[]))
    yield taken(
        "16 ignored", director_group(ignoreAnswersFrom=[f"02:00:00:00:00:{number:02x}" for number in range(16)])
    )
    macs = [f"02:00:00:00:00:{number:02x}" for number in range(17)]
    yield refused("17 ignored", field, director_group(ignoreAnswersFrom=macs))
    yield refused("the same ignored twice", f"{field}[1]", director_group(ignoreAnswersFrom=[right] * 2), "Duplicate")
    for wrong in ("02:00:5E:00:01:AF", "0200.5e00.01af", "02-00-5e-00-01-af", "02:00:5e:00:01", "192.168.4.15", ""):
        raw = director_group(ignoreAnswersFrom=[right, wrong])
        yield refused(f"ignored {wrong!r}", f"{field}[1]", raw, "in lower case with colons")
    for group in ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:12"):
        raw = director_group(ignoreAnswersFrom=[group])
        yield refused(f"a group's address ignored: {group}", f"{field}[0]", raw, "whose first byte is odd")


def _selectors() -> Iterator[ApiCase]:
    def group(**selector: object) -> Raw:
        return director_group(nodes={"selector": selector})

    where = "spec.nodes.selector"
    yield taken("the builder's group", director_group())
    yield taken("an empty selector", group())
    yield taken("a label of a domain", group(matchLabels={"example.org/role": "director", "empty": ""}))
    for operator, values in (
        ("In", ["a", "b"]),
        ("NotIn", ["a"]),
        ("Exists", None),
        ("DoesNotExist", None),
        ("Exists", []),
    ):
        wanted = {"key": "role", "operator": operator} | ({} if values is None else {"values": values})
        yield taken(f"{operator} {values}", group(matchExpressions=[wanted]))
    for operator, values in (("In", None), ("NotIn", []), ("Exists", ["a"]), ("DoesNotExist", ["a"])):
        wanted = {"key": "role", "operator": operator} | ({} if values is None else {"values": values})
        raw = group(matchExpressions=[wanted])
        yield refused(f"{operator} {values}", f"{where}.matchExpressions[0].values", raw, "needed for In and NotIn")
    for key in ("a b", "-a", "/a", "a/b/c", "A.B/c", "x" * 64):
        yield refused(f"label {key}", f"{where}.matchLabels", group(matchLabels={key: "x"}))
    yield refused("label value", f"{where}.matchLabels.a", group(matchLabels={"a": "x y"}))
    for device in ("eth0", "bond0.100", "br-lan", "a" * 15, "x"):
        yield taken(f"interface {device}", director_group(interface=device))
    for device in ("", "a" * 16, "a b", "a/b", "eth0:1", ".", ".."):
        yield refused(f"interface {device!r}", "spec.interface", director_group(interface=device))
    for device in ("lån0", "eth0\xa0"):
        raw = director_group(interface=device)
        yield refused(f"interface {device!r}", "spec.interface", raw, "in visible ASCII characters without / and :")
    for device in ("lo", "tunl0", "ip6tnl0", "gre0", "ip6gre0"):
        yield refused(f"interface {device}", "spec.interface", director_group(interface=device), "on the clients' link")
    yield refused("no nodes", "spec.nodes", director_group(nodes=None))
    yield refused("fail-over by a word of nobody's", "spec.failover", director_group(failover="Vrrp"))
    yield refused("a group's own name too long", "metadata.name", director_group("a" * 64), "Too long")


def _node_settings() -> Iterator[ApiCase]:
    for timeouts in ({}, {"tcpSeconds": 30, "tcpFinSeconds": 5, "udpSeconds": 60}, {"udpSeconds": 2147483}):
        yield taken(f"time-outs {timeouts}", director_group(timeouts=timeouts))
    for name in ("tcpSeconds", "tcpFinSeconds", "udpSeconds"):
        for seconds in (0, -1, 2147484):
            raw = director_group(timeouts={name: seconds})
            yield refused(f"time-out {name} {seconds}", f"spec.timeouts.{name}", raw)
    for sysctls in ({}, {"conntrack": False, "connReuseMode": 0}, {"estNice": -20, "dropEntry": 3, "amDroprate": 1}):
        yield taken(f"sysctls {sysctls}", director_group(sysctls=sysctls))
    for name, value in (
        ("connReuseMode", 4),
        ("secureTcp", -1),
        ("estNice", 20),
        ("amDroprate", 0),
        ("connLfactor", 9),
    ):
        yield refused(f"sysctl {name} {value}", f"spec.sysctls.{name}", director_group(sysctls={name: value}))
    yield refused("a switch as a number", "spec.sysctls.conntrack", director_group(sysctls={"conntrack": 1}))
    for name in ("backupOnly", "conn_reuse_mode", "syncPorts"):
        raw = director_group(sysctls={name: 1})
        yield refused(f"sysctl {name}, which is none of ours", f"spec.sysctls.{name}", raw, "unknown field")


def _connection_sync() -> Iterator[ApiCase]:
    def group(**changes: object) -> Raw:
        sync = {"interface": "eth1", "syncId": 1, **changes}
        return director_group(connectionSync={name: value for name, value in sync.items() if value is not None})

    yield taken("connectionSync, no more than is needed", group())
    yield taken("connectionSync of every link's groups", group(syncId=0))
    for address in ("224.0.0.81", "239.255.255.255", "ff02::51", "ff05::1:3"):
        yield taken(f"connectionSync to {address}", group(multicastGroup=address, port=1, ttl=255, maxLength=65487))
    for address in ("192.168.4.15", "223.255.255.255", "240.0.0.1", "2001:db8::1", "fe80::1", "255.255.255.255"):
        raw = group(multicastGroup=address)
        yield refused(f"connectionSync to {address}", "spec.connectionSync.multicastGroup", raw, "multicast address")
    for address, saying in (("FF02::51", "canonical"), ("224.0.0", "must be an IPv4 or IPv6")):
        raw = group(multicastGroup=address)
        yield refused(f"connectionSync to {address}", "spec.connectionSync.multicastGroup", raw, saying)
    for device in ("lo", "tunl0", "ip6tnl0", "gre0", "ip6gre0"):
        raw = group(interface=device)
        yield refused(f"connectionSync on {device}", "spec.connectionSync.interface", raw, "no other director")
    yield refused("connectionSync without a device", "spec.connectionSync.interface", group(interface=None))
    yield refused("connectionSync without an id", "spec.connectionSync.syncId", group(syncId=None))
    for name, value in (("syncId", 256), ("syncId", -1), ("port", 0), ("ttl", 0), ("ttl", 256), ("maxLength", 1023)):
        raw = group(**{name: value})
        yield refused(f"connectionSync {name} {value}", f"spec.connectionSync.{name}", raw)


def _internal() -> Iterator[ApiCase]:
    yield taken("the builder's first slice", service_slice())
    yield taken("the builder's second slice", service_slice(index=1))
    yield refused("a first slice without the service", "spec.service", service_slice(service=None), "index 0")
    yield refused("a first slice without the pool", "spec.pool", service_slice(pool=None), "index 0")
    first = service_slice()["spec"]
    yield refused(
        "a later slice with the service", "spec.service", service_slice(index=1, service=first["service"]), "index 0"
    )
    yield refused("a later slice with the pool", "spec.pool", service_slice(index=1, pool=first["pool"]), "index 0")
    marked = {**first["service"], "ports": None, "firewallMark": {"value": 10}}
    marked = {field: value for field, value in marked.items() if value is not None}
    yield taken("a slice of a mark", service_slice(service=marked))
    several = slice_member("endpoint.10-0-0-1.8080", "10.0.0.1", ports=[port("http", 8080), port("https", 8443)])
    yield taken("a member with a port for each", service_slice(members=[several]))
    none = slice_member("a", "10.0.0.1", ports=[])
    yield refused("a member with no port of several", "spec.members[0].ports", service_slice(members=[none]))
    twice = slice_member("a", "10.0.0.1", ports=[port("http", 8080), port("http", 8443)])
    yield refused("a member with a port twice", "spec.members[0].ports[1]", service_slice(members=[twice]), "Duplicate")
    yield taken("a member by a long node name", service_slice(members=[slice_member("node." + "a" * 253, "10.0.0.1")]))
    yield taken("the builder's node", lvs_node())
    both = [{"address": "10.0.0.1", "device": device} for device in ("lo", "tunl0", "gre0")]
    yield taken("one VIP on three devices", lvs_node(addresses=both))
    yield refused("one VIP twice", "spec.addresses[1]", lvs_node(addresses=[both[0], both[0]]), "Duplicate")
    yield refused(
        "a VIP on eth0", "spec.addresses[0].device", lvs_node(addresses=[{"address": "10.0.0.1", "device": "eth0"}])
    )
    yield from _gue_ports()
    senders = ["192.168.4.5", "2001:db8:4::5"]
    yield taken("a node that is told of directors", lvs_node(directorAddresses=senders))
    twice = lvs_node(directorAddresses=[senders[0], senders[0]])
    yield refused("a director's address twice", "spec.directorAddresses[1]", twice, "Duplicate")
    subnet = lvs_node(directorAddresses=["192.168.4.0/24"])
    yield refused("a subnet of directors", "spec.directorAddresses[0]", subnet, "must be an IPv4 or IPv6 address")
    yield refused("a group twice", "spec.directorGroups[1]", lvs_node(directorGroups=["a", "a"]), "Duplicate")


def _gue_ports() -> Iterator[ApiCase]:
    def by(*ports: int) -> Raw:
        return lvs_node(addresses=[{"address": "10.0.0.1", "device": "tunl0", "guePorts": list(ports)}])

    where = "spec.addresses[0].guePorts"
    yield taken("ports for GUE", by(6080, 65535))
    yield taken("as many ports as there may be", by(*range(1, 17)))
    yield refused("one more port", where, by(*range(1, 18)))
    yield refused("a port for GUE twice", f"{where}[1]", by(6080, 6080), "Duplicate")
    yield refused("port 0 for GUE", f"{where}[0]", by(0))


def _sizes() -> Iterator[ApiCase]:
    def service(count: int) -> Raw:
        return virtual_service(ports=[port(f"p{i}", 1000 + i) for i in range(count)])

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
        yield taken(f"{limit} {name}", build(limit))
        yield refused(f"{limit + 1} {name}", field, build(limit + 1))
