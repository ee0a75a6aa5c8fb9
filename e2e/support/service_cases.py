"""LvsVirtualServices that the API takes and that it refuses."""

from collections.abc import Iterator
from typing import Final

from lvs_api.testing import (
    real_server,
    real_server_pool,
    virtual_service,
)
from support.api_case import ApiCase, Raw, changed, port, refused, taken

MASQUERADE: Final = {"method": "Masquerade"}


def service_cases() -> Iterator[ApiCase]:
    """All of them."""
    for cases in (addresses, ports, service_rules, source_nat, helpers, marks, grouped, quorums):
        yield from cases()


def addresses() -> Iterator[ApiCase]:
    for text in (
        "10.0.0.1",
        "192.168.4.15",
        "240.0.0.1",
        "2001:db8::1",
        "fd00::1",
        "2001:db8:0:1:1:1:1:1",
        "::102:304",
    ):
        yield taken(f"address {text}", virtual_service(addresses=[text]))
    not_addresses = ("1.2.3", "1.2.3.4/32", "01.2.3.4", "example.org", "fe80::1%eth0", "::ffff:192.0.2.1", "1:2")
    for text in not_addresses:
        yield refused(
            f"no address {text}", "spec.addresses[0]", virtual_service(addresses=[text]), "must be an IPv4 or IPv6"
        )
    for text in ("2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:db8::0:1", "2001:0db8::1", "2001:db8::1:1:1:1:1"):
        yield refused(f"spelling {text}", "spec.addresses[0]", virtual_service(addresses=[text]), "canonical spelling")
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
        yield refused(f"unusable {text}", "spec.addresses[0]", virtual_service(addresses=[text]), "address of a host")
        pool = real_server_pool(realServers=[real_server("a", text)])
        yield refused(f"unusable member {text}", "spec.realServers[0].address", pool, "address of a host")
    yield taken("one of each family", virtual_service(addresses=["192.168.4.15", "2001:db8::15"]))
    for pair in (["192.168.4.15", "192.168.4.16"], ["2001:db8::1", "2001:db8::2"], ["192.168.4.15", "192.168.4.15"]):
        yield refused(f"two of one family {pair}", "spec.addresses", virtual_service(addresses=pair), "one of IPv4")
    yield refused("no address at all", "spec.addresses", virtual_service(addresses=[]))
    yield refused("three addresses", "spec.addresses", virtual_service(addresses=["10.0.0.1", "10.0.0.2", "::102:304"]))


def ports() -> Iterator[ApiCase]:
    yield taken("TCP and UDP of one number", virtual_service(ports=[port("t", 53), port("u", 53, protocol="UDP")]))
    same = virtual_service(ports=[port("a"), port("b")])
    yield refused("one port twice", "spec.ports", same, "only once")
    told = virtual_service(ports=[port("a"), port("b", protocol="TCP")])
    yield refused("one port twice, TCP told and untold", "spec.ports", told, "only once")
    yield refused("one name twice", "spec.ports[1]", virtual_service(ports=[port("a", 80), port("a", 81)]), "Duplicate")
    yield taken("port 0 with persistence", virtual_service(ports=[port(port=0)], persistence={"timeoutSeconds": 120}))
    yield refused("port 0 without", "spec.ports", virtual_service(ports=[port(port=0)]), "needs persistence")
    other = [port(port=80, realServerPort=8080)]
    yield taken("another port with Masquerade", virtual_service(ports=other, forwarding=MASQUERADE))
    yield refused(
        "another port with DirectRouting", "spec.ports", virtual_service(ports=other), "needs forwarding.method"
    )
    tunnel = virtual_service(ports=other, forwarding={"method": "Tunnel"})
    yield refused("another port with Tunnel", "spec.ports", tunnel, "needs forwarding.method")
    every = virtual_service(ports=[port(port=0, realServerPort=80)], persistence={}, forwarding=MASQUERADE)
    yield refused("another port for every port", "spec.ports[0].realServerPort", every, "not for port 0")
    yield refused("lower-case protocol", "spec.ports[0].protocol", virtual_service(ports=[port(protocol="tcp")]))
    three = [port("t", 99), port("u", 99, protocol="UDP"), port("s", 99, protocol="SCTP")]
    yield taken("TCP, UDP and SCTP of one number", virtual_service(ports=three))
    yield refused("a protocol without ports", "spec.ports[0].protocol", virtual_service(ports=[port(protocol="ESP")]))


def _gue() -> Iterator[ApiCase]:
    """By the rules of forwarding.tunnel."""

    def by(**tunnel: object) -> Raw:
        return virtual_service(forwarding={"method": "Tunnel", "tunnel": tunnel})

    where = "spec.forwarding.tunnel"
    yield taken("Tunnel by GUE", by(type="GUE", port=6080))
    for checksum in ("UDP", "RemoteOffload"):
        yield taken(f"GUE with checksum {checksum}", by(type="GUE", port=65535, checksum=checksum))
    yield refused("GUE with another checksum", f"{where}.checksum", by(type="GUE", port=6080, checksum="udp"))
    yield refused("GUE without a port", f"{where}.port", by(type="GUE"), "needed for type GUE")
    yield refused("GUE at port 0", f"{where}.port", by(type="GUE", port=0))
    yield refused("GUE at port 65536", f"{where}.port", by(type="GUE", port=65536))
    for kind in ("IPIP", "GRE"):
        yield refused(f"{kind} with a port", f"{where}.port", by(type=kind, port=6080), "must be absent")
        with_checksum = by(type=kind, checksum="UDP")
        yield refused(f"{kind} with a checksum", f"{where}.checksum", with_checksum, "only for type GUE")
    yield refused("a port and no type", f"{where}.port", by(port=6080), "must be absent")


def service_rules() -> Iterator[ApiCase]:
    for scheduler in ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"):
        yield taken(f"scheduler {scheduler}", virtual_service(scheduler=scheduler))
    yield refused("scheduler RR", "spec.scheduler", virtual_service(scheduler="RR"))
    yield taken("flags of sh", virtual_service(scheduler="sh", schedulerFlags=["sh-fallback", "sh-port"]))
    yield taken("flags of mh", virtual_service(scheduler="mh", schedulerFlags=["mh-port", "mh-fallback"]))
    yield taken("no flags", virtual_service(schedulerFlags=[]))
    for scheduler, flag in (("mh", "sh-port"), ("sh", "mh-port"), ("rr", "sh-fallback")):
        raw = virtual_service(scheduler=scheduler, schedulerFlags=[flag])
        yield refused(f"{flag} with {scheduler}", "spec.schedulerFlags", raw, "only for scheduler sh")
    twice = virtual_service(scheduler="sh", schedulerFlags=["sh-port", "sh-port"])
    yield refused("a flag twice", "spec.schedulerFlags[1]", twice, "Duplicate")
    yield taken("tunnel with Tunnel", virtual_service(forwarding={"method": "Tunnel", "tunnel": {"type": "IPIP"}}))
    yield taken("Tunnel by GRE", virtual_service(forwarding={"method": "Tunnel", "tunnel": {"type": "GRE"}}))
    untyped = virtual_service(forwarding={"method": "Tunnel", "tunnel": {"type": "gre"}})
    yield refused("gre in small letters", "spec.forwarding.tunnel.type", untyped)
    yield from _gue()
    yield taken("Tunnel with nothing more", virtual_service(forwarding={"method": "Tunnel"}))
    direct = virtual_service(forwarding={"method": "DirectRouting", "tunnel": {"type": "IPIP"}})
    yield refused("tunnel with DirectRouting", "spec.forwarding.tunnel", direct, "only for method Tunnel")
    untold = virtual_service(forwarding={"tunnel": {}})
    yield refused("tunnel with no method told", "spec.forwarding.tunnel", untold, "only for method Tunnel")
    udp, tcp = port("u", 53, protocol="UDP"), port("t", 53)
    yield taken("one-packet with UDP", virtual_service(ports=[udp], onePacketScheduling=True))
    sip = {"engine": "sip"}
    yield taken("calls stick", virtual_service(ports=[udp], onePacketScheduling=True, persistence=sip))
    yield refused("calls over TCP", "spec.persistence.engine", virtual_service(persistence=sip), "only for UDP")
    yield refused(
        "an engine that is not there",
        "spec.persistence.engine",
        virtual_service(ports=[udp], persistence={"engine": "h323"}),
        "sip",
    )
    yield taken("one-packet with persistence", virtual_service(ports=[udp], onePacketScheduling=True, persistence={}))
    for ports in ([tcp], [udp, tcp], [port("s", 53, protocol="SCTP")]):
        raw = virtual_service(ports=ports, onePacketScheduling=True)
        name = f"one-packet with {ports[-1].get('protocol', 'TCP')}, {len(ports)} ports"
        yield refused(name, "spec.onePacketScheduling", raw, "only for UDP")
    yield taken(
        "persistence, all told",
        virtual_service(persistence={"timeoutSeconds": 1, "ipv4PrefixLength": 24, "ipv6PrefixLength": 64}),
    )
    yield refused("a pool of no name", "spec.realServerPoolRef.name", virtual_service(realServerPoolRef={}))
    yield refused("no pool", "spec.realServerPoolRef", virtual_service(realServerPoolRef=None))
    yield refused("a name too long", "metadata.name", virtual_service("a" * 64), "Too long")
    yield taken("a name just short enough", virtual_service("a" * 63))
    long_group = virtual_service(directorGroupRef={"name": "a" * 64})
    yield refused("a group's name too long", "spec.directorGroupRef.name", long_group)
    for field in ("sorryServer",):
        yield refused(
            f"{field}, which is not built",
            f"spec.{field}",
            changed(virtual_service(), ("spec", field), {}),
            "unknown field",
        )


def source_nat() -> Iterator[ApiCase]:
    behind = {"method": "Masquerade", "sourceNat": True}
    yield taken("source NAT", virtual_service(forwarding=behind))
    yield taken("source NAT to another port", virtual_service(forwarding=behind, ports=[port(realServerPort=8080)]))
    yield taken("source NAT of every port", virtual_service(forwarding=behind, ports=[port(port=0)], persistence={}))
    yield taken("source NAT of grouped ports", virtual_service(forwarding=behind, portMode="Grouped"))
    for method in ("DirectRouting", "Tunnel"):
        yield taken(f"no source NAT with {method}", virtual_service(forwarding={"method": method, "sourceNat": False}))
        raw = virtual_service(forwarding={"method": method, "sourceNat": True})
        yield refused(f"source NAT with {method}", "spec.forwarding.sourceNat", raw, "only for method Masquerade")
    untold = virtual_service(forwarding={"sourceNat": True})
    yield refused("source NAT with no method told", "spec.forwarding.sourceNat", untold, "only for method Masquerade")
    mark = {"value": 10}
    yield refused(
        "source NAT under a mark",
        "spec.forwarding.sourceNat",
        virtual_service(forwarding=behind, ports=None, firewallMark=mark),
        "no firewallMark",
    )
    yield refused(
        "source NAT of single packets",
        "spec.forwarding.sourceNat",
        virtual_service(forwarding=behind, ports=[port("u", 53, protocol="UDP")], onePacketScheduling=True),
        "no onePacketScheduling",
    )
    wrong = virtual_service(forwarding={"method": "Masquerade", "sourceNat": "yes"})
    yield refused("source NAT of another type", "spec.forwarding.sourceNat", wrong)


def helpers() -> Iterator[ApiCase]:
    helped = port("ftp", 21, helper="FTP")
    yield taken("an FTP helper", virtual_service(ports=[helped], forwarding=MASQUERADE))
    told = port("ftp", 2121, protocol="TCP", realServerPort=21, helper="FTP")
    yield taken("an FTP helper beside another port", virtual_service(ports=[told, port()], forwarding=MASQUERADE))
    yield taken(
        "an FTP helper, grouped", virtual_service(ports=[helped, port()], portMode="Grouped", forwarding=MASQUERADE)
    )
    plain = {"method": "Masquerade", "sourceNat": False}
    yield taken("an FTP helper, no source NAT told", virtual_service(ports=[helped], forwarding=plain))
    behind = {"method": "Masquerade", "sourceNat": True}
    for forwarding in ({}, {"method": "DirectRouting"}, {"method": "Tunnel"}, behind):
        raw = virtual_service(ports=[helped], forwarding=forwarding)
        yield refused(f"an FTP helper with {forwarding or 'no method told'}", "spec.ports", raw, "helper needs")
    for protocol in ("UDP", "SCTP"):
        raw = virtual_service(ports=[port("ftp", 21, protocol=protocol, helper="FTP")], forwarding=MASQUERADE)
        yield refused(f"an FTP helper of {protocol}", "spec.ports[0].helper", raw, "one TCP port")
    every = virtual_service(ports=[port(port=0, helper="FTP")], forwarding=MASQUERADE, persistence={})
    yield refused("an FTP helper of every port", "spec.ports[0].helper", every, "one TCP port")
    other = virtual_service(ports=[port("ftp", 21, helper="ftp")], forwarding=MASQUERADE)
    yield refused("another helper", "spec.ports[0].helper", other)


def marks() -> Iterator[ApiCase]:
    def marked(mark: Raw, **changes: object) -> Raw:
        fields: Raw = {"ports": None, "firewallMark": mark, **changes}
        return virtual_service(**fields)

    four = {"value": 10, "families": ["IPv4"]}
    yield taken("a mark with an address", marked({"value": 10}))
    yield taken("a mark with both addresses", marked({"value": 1}, addresses=["192.168.4.15", "2001:db8::15"]))
    yield taken("a mark alone", marked(four, addresses=None))
    yield taken("a mark of both families", marked({"value": 10, "families": ["IPv6", "IPv4"]}, addresses=None))
    yield taken("the greatest mark", marked({"value": 2**32 - 1}))
    yield taken("one-packet under a mark", marked({"value": 10}, onePacketScheduling=True))
    yield taken("calls under a mark", marked({"value": 10}, persistence={"engine": "sip"}))
    yield taken("a mark, persistent", marked({"value": 10}, persistence={"ipv4PrefixLength": 24}))
    yield taken("a mark, delivered locally", marked({**four, "localDelivery": True}, addresses=None))
    yield taken("a mark with an address, delivered locally", marked({"value": 10, "localDelivery": True}))
    wrong = marked({**four, "localDelivery": "yes"}, addresses=None)
    yield refused("local delivery of another type", "spec.firewallMark.localDelivery", wrong)
    for value in (0, 2**32):
        yield refused(f"mark {value}", "spec.firewallMark.value", marked({"value": value}))
    yield refused("the reserved mark", "spec.firewallMark.value", marked({"value": 4095}), "4095 is the mark by which")
    yield refused("a mark of no value", "spec.firewallMark.value", marked({}))
    yield refused("neither address nor mark", "spec.addresses", virtual_service(addresses=None), "are needed, unless")
    yield refused("neither ports nor mark", "spec.ports", virtual_service(ports=None), "ports are needed, unless")
    yield refused("ports and a mark", "spec.ports", marked({"value": 10}, ports=[port()]), "it stands for every port")
    told = "families is needed without addresses"
    yield refused("a mark of no family", "spec.firewallMark", marked({"value": 10}, addresses=None), told)
    yield refused("a mark's families told twice", "spec.firewallMark", marked(four), told)
    no_family = marked({"value": 10, "families": []}, addresses=None)
    yield refused("an empty list of families", "spec.firewallMark.families", no_family)
    twice = marked({"value": 10, "families": ["IPv4", "IPv4"]}, addresses=None)
    yield refused("a family twice", "spec.firewallMark.families[1]", twice, "Duplicate")


def grouped() -> Iterator[ApiCase]:
    def grouped(*ports: Raw, **changes: object) -> Raw:
        fields: Raw = {"portMode": "Grouped", "ports": list(ports), **changes}
        return virtual_service(**fields)

    web, tls = port("http", 80), port("https", 443)
    yield taken("Separate, told", virtual_service(portMode="Separate"))
    yield taken("two ports grouped", grouped(web, tls))
    yield taken("one port grouped", grouped(web))
    protocols = [port("t", 53), port("u", 53, protocol="UDP"), port("s", 53, protocol="SCTP")]
    yield taken("grouped over protocols, persistent", grouped(*protocols, persistence={}))
    yield refused("another port mode", "spec.portMode", virtual_service(portMode="Joined"))
    every = grouped(port(port=0), persistence={})
    yield refused("port 0 grouped", "spec.ports", every, "ports stay as they are")
    moved = grouped(web, port("alt", 81, realServerPort=8080), forwarding=MASQUERADE)
    yield refused("another port, grouped", "spec.ports", moved, "ports stay as they are")
    both = virtual_service(ports=None, firewallMark={"value": 10}, portMode="Grouped")
    yield refused("grouped, and a mark", "spec.portMode", both, "a mark of its own choice")


def quorums() -> Iterator[ApiCase]:
    def asked(**quorum: object) -> Raw:
        return virtual_service(quorum=quorum)

    yield taken("a quorum, nothing told", asked())
    yield taken("a quorum that withdraws", asked(weight=2, hysteresis=1, below="WithdrawAddress"))
    for weight in (0, 2**31):
        yield refused(f"a quorum of {weight}", "spec.quorum.weight", asked(weight=weight))
    yield refused("a negative hysteresis", "spec.quorum.hysteresis", asked(hysteresis=-1))
    for quorum in ({"hysteresis": 1}, {"weight": 3, "hysteresis": 3}):
        yield refused(f"as much hysteresis as weight {quorum}", "spec.quorum.hysteresis", asked(**quorum), "less than")
    yield refused("another word for below", "spec.quorum.below", asked(below="Withdraw"))
    mark = {"value": 10, "families": ["IPv4"]}
    withdraws = {"below": "WithdrawAddress"}
    bare = virtual_service(addresses=None, ports=None, firewallMark=mark, quorum=withdraws)
    yield refused("nothing to withdraw", "spec.quorum.below", bare, "needs addresses")
    kept = virtual_service(addresses=None, ports=None, firewallMark=mark, quorum={})
    yield taken("a quorum under a mark", kept)
    carried = virtual_service(ports=None, firewallMark={"value": 10}, quorum=withdraws)
    yield taken("a mark's address is withdrawn", carried)
