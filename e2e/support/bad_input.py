"""What users get wrong: files that kubectl refuses, and files whose services say what is wrong in a condition."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from support.manifests import documents, object_text, pool_text, service_text

VIP: Final = "192.168.10.120"
VIP6: Final = "fd00:10::120"
SERVER: Final = "192.168.10.21"
MASQUERADE: Final = {"method": "Masquerade"}
BAD: Final = "bad"
"""The name of every object here."""
ANNOTATION_BYTES: Final = 262144
"""What the API server takes in all annotations of an object (apimachinery, TotalAnnotationSizeLimitB)."""

Fields = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A file that the API server does not take."""

    name: str
    text: str
    field: str
    saying: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A file that it takes, and what its service says then."""

    name: str
    text: str
    type: str
    reason: str
    saying: tuple[str, ...]
    """Object, field and why."""
    status: str = "False"


def refused_cases() -> list[Refused]:
    """Everything that one object alone shows."""
    return [*_kernel_rules(), *_addresses(), *_limits()]


def _service(name: str, field: str, saying: str, *addresses: str, **spec: object) -> Refused:
    text = service_text(BAD, *(addresses or (VIP,)), more=spec)
    return Refused(name=name, text=text, field=field, saying=saying)


def _member(name: str, field: str, saying: str, **fields: object) -> Refused:
    text = pool_text(BAD, {"name": "rs1", "address": SERVER, **fields})
    return Refused(name=name, text=text, field=f"spec.realServers[0].{field}", saying=saying)


def _kernel_rules() -> Iterator[Refused]:
    other = [{"name": "http", "port": 80, "realServerPort": 8080}]
    for method in ("DirectRouting", "Tunnel"):
        yield _service(
            f"another port with {method}",
            "spec.ports",
            "the other methods leave ports as they are",
            ports=other,
            forwarding={"method": method},
        )
    yield _service("port 0", "spec.ports", "needs persistence", ports=[{"name": "all", "port": 0}])
    yield _service("one-packet TCP", "spec.onePacketScheduling", "only for UDP", onePacketScheduling=True)
    yield _service("sh flag with rr", "spec.schedulerFlags", "only for scheduler sh", schedulerFlags=["sh-port"])
    yield _service(
        "mh flag with sh", "spec.schedulerFlags", "mh-port only for mh", scheduler="sh", schedulerFlags=["mh-port"]
    )
    for field, limit in (("ipv4PrefixLength", 32), ("ipv6PrefixLength", 128)):
        where = f"spec.persistence.{field}"
        yield _service(f"{field} 0", where, "greater than or equal to 1", persistence={field: 0})
        yield _service(f"{field} {limit + 1}", where, f"less than or equal to {limit}", persistence={field: limit + 1})
    gue = {"method": "Tunnel", "tunnel": {"type": "GUE"}}
    yield _service("GUE without a port", "spec.forwarding.tunnel.port", "needed for type GUE", forwarding=gue)
    fou = {"method": "Tunnel", "tunnel": {"type": "FOU"}}
    yield _service("a tunnel that there is not", "spec.forwarding.tunnel.type", "Unsupported value", forwarding=fou)
    yield _service("an unknown scheduler", "spec.scheduler", "Unsupported value", scheduler="fastest")
    yield _member("thresholds", "lowerThreshold", "at most upperThreshold", upperThreshold=10, lowerThreshold=11)
    beyond = 2**31
    yield _member(
        "a threshold beyond INT_MAX", "upperThreshold", f"less than or equal to {beyond - 1}", upperThreshold=beyond
    )
    yield _member("weight -1", "weight", "greater than or equal to 0", weight=-1)
    yield _member("weight 65536", "weight", "less than or equal to 65535", weight=65536)


def _addresses() -> Iterator[Refused]:
    unusable = ("0.0.0.0", "::", "127.0.0.1", "::1", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1")
    for address in (*unusable, "255.255.255.255"):
        yield _service(f"VIP {address}", "spec.addresses[0]", "address of a host", address)
        yield _member(f"member {address}", "address", "address of a host", address=address)
    mapped = "::ffff:192.168.10.120"
    yield _service("a mapped VIP", "spec.addresses[0]", "IPv4 or IPv6 address", mapped)
    yield _member("a mapped member", "address", "IPv4 or IPv6 address", address=mapped)
    spellings = ("FD00:10::120", "fd00:10:0:0:0:0:0:120", "fd00:0010::120", "fd00:10::0120", "fd00:10:0::120")
    for spelling in spellings:
        yield _service(f"VIP spelt {spelling}", "spec.addresses[0]", "canonical spelling", spelling)
        yield _member(f"member spelt {spelling}", "address", "canonical spelling", address=spelling)
    yield _service("two VIPs of one family", "spec.addresses", "one of IPv4 and one of IPv6", VIP, "192.168.10.121")


def _limits() -> Iterator[Refused]:
    ports = [{"name": f"p{number}", "port": 1000 + number} for number in range(33)]
    yield _service("33 ports", "spec.ports", "must have at most 32 items", ports=ports)
    yield Refused(
        name="257 members",
        text=pool_text(BAD, *many_members(257)),
        field="spec.realServers",
        saying="must have at most 256 items",
    )
    yield Refused(
        name="more than annotations may hold",
        text=pool_text(BAD, SERVER, annotations={"note": "x" * (ANNOTATION_BYTES + 1)}),
        field="metadata.annotations",
        saying="Too long",
    )
    same = [{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "TCP"}]
    yield _service("a port twice", "spec.ports", "only once", ports=same)
    yield _service("a mark beside ports", "spec.ports", "ports are needed, unless", firewallMark={"value": 10})


def many_members(count: int) -> list[Fields]:
    """Real servers with every field as long as it may be."""
    return [
        {
            "name": f"{'n' * 59}{number:04}",
            "address": f"10.120.{200 + number // 200}.{1 + number % 200}",
            "weight": 65535,
            "upperThreshold": 2**31 - 1,
            "lowerThreshold": 2**31 - 1,
            "forwarding": MASQUERADE,
            "state": "Active",
        }
        for number in range(count)
    ]


def judged_cases() -> list[Judged]:
    """Everything that needs several objects, or the cluster, to be seen."""
    return [*_references(), *_clashes(), *_ports_of_members(), *_families()]


def _references() -> Iterator[Judged]:
    yield Judged(
        name="a missing pool",
        text=service_text(BAD, VIP, pool="nowhere"),
        type="ResolvedRefs",
        reason="PoolNotFound",
        saying=("spec.realServerPoolRef.name", "LvsRealServerPool default/nowhere does not exist"),
    )
    yield Judged(
        name="a missing director group",
        text=service_text(BAD, VIP, more={"directorGroupRef": {"name": "nobody"}}),
        type="ResolvedRefs",
        reason="DirectorGroupNotFound",
        saying=("spec.directorGroupRef.name", "LvsDirectorGroup nobody does not exist"),
    )
    group = object_text("LvsDirectorGroup", BAD, {"nodes": {"selector": {"matchLabels": {"is": "not-there"}}}})
    yield Judged(
        name="a group that selects nobody",
        text=documents(group, service_text(BAD, VIP, more={"directorGroupRef": {"name": BAD}})),
        type="Programmed",
        reason="NoDirectors",
        saying=("LvsDirectorGroup bad selects no Node", "label the Nodes"),
    )
    yield Judged(
        name="an address of another group",
        text=documents(
            group,
            service_text(
                BAD,
                "192.168.10.100",
                ports=[{"name": "alt", "port": 8080}],
                more={"directorGroupRef": {"name": BAD}},
            ),
        ),
        type="Accepted",
        reason="Conflict",
        saying=("spec.addresses[0]", "LvsDirectorGroup default", "default/web"),
    )


def _clashes() -> Iterator[Judged]:
    yield Judged(
        name="address, port and protocol of another",
        text=service_text(BAD, "192.168.10.100", ports=[{"name": "again", "port": 80}]),
        type="Accepted",
        reason="Conflict",
        saying=("spec.ports[again]", "192.168.10.100 port 80/TCP belongs to LvsVirtualService default/web"),
    )
    for node, address in (("director-1", "192.168.10.11"), ("server-1", SERVER)):
        yield Judged(
            name=f"the address of {node}",
            text=service_text(BAD, address),
            type="Accepted",
            reason="NodeAddress",
            saying=("spec.addresses[0]", f"{address} is an address of Node {node}"),
        )
    yield Judged(
        name="the VIP as real server",
        text=documents(pool_text(BAD, SERVER, VIP), service_text(BAD, VIP, pool=BAD)),
        type="Accepted",
        reason="Invalid",
        saying=("LvsRealServerPool default/bad spec.realServers[rs2].address", "address of the service itself"),
    )


def _ports_of_members() -> Iterator[Judged]:
    own = pool_text(BAD, {"name": "rs1", "address": SERVER, "port": 8080})
    field = "LvsRealServerPool default/bad spec.realServers[rs1]"
    yield Judged(
        name="a member's port with DirectRouting",
        text=documents(own, service_text(BAD, VIP, pool=BAD)),
        type="Accepted",
        reason="PortMismatch",
        saying=(f"{field}.port", "8080 differs from the service's port 80"),
    )
    two = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    yield Judged(
        name="a member's port with two ports",
        text=documents(own, service_text(BAD, VIP, pool=BAD, ports=two, more={"forwarding": MASQUERADE})),
        type="Accepted",
        reason="PortMismatch",
        saying=(f"{field}.port", "services of one port"),
    )
    direct = pool_text(BAD, {"name": "rs1", "address": SERVER, "forwarding": {"method": "DirectRouting"}})
    changed = [{"name": "http", "port": 80, "realServerPort": 8080}]
    yield Judged(
        name="a member by DirectRouting under a changed port",
        text=documents(direct, service_text(BAD, VIP, pool=BAD, ports=changed, more={"forwarding": MASQUERADE})),
        type="Accepted",
        reason="PortMismatch",
        saying=(f"{field}.forwarding", "DirectRouting cannot change ports"),
    )
    checked = pool_text(BAD, SERVER, more={"healthCheck": {"tcp": {}}})
    every = {"persistence": {"timeoutSeconds": 60}}
    yield Judged(
        name="a check of port 0",
        text=documents(checked, service_text(BAD, VIP, pool=BAD, ports=[{"name": "all", "port": 0}], more=every)),
        type="Accepted",
        reason="Invalid",
        saying=("LvsRealServerPool default/bad spec.healthCheck.port", "is needed"),
    )


def _families() -> Iterator[Judged]:
    pool = pool_text(BAD, SERVER)
    for method in ("DirectRouting", "Tunnel", "Masquerade"):
        yield Judged(
            name=f"an IPv6 VIP over an IPv4 pool by {method}",
            text=documents(pool, service_text(BAD, VIP6, pool=BAD, more={"forwarding": {"method": method}})),
            type="ResolvedRefs",
            reason="FamilyMismatch",
            saying=("spec.addresses[0]", f"{VIP6} is IPv6", "has no IPv6 real server"),
        )
    yield Judged(
        name="two VIPs over an IPv4 pool",
        text=documents(pool, service_text(BAD, VIP, VIP6, pool=BAD)),
        type="ResolvedRefs",
        reason="FamilyMismatch",
        saying=("spec.addresses[1]", f"{VIP6} is IPv6", "has no IPv6 real server"),
    )
