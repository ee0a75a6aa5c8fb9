"""LvsAddressPools, and references to them, that the API takes and that it refuses."""

from collections.abc import Iterator

from lvs_api.testing import address_pool, virtual_service
from support.api_case import ApiCase, Raw, refused, taken


def address_pool_cases() -> Iterator[ApiCase]:
    """All of them."""
    for cases in (ranges, namespaces, references):
        yield from cases()


def ranges() -> Iterator[ApiCase]:
    for text in (
        "192.0.2.0/24",
        "192.0.2.7/32",
        "192.0.2.9-192.0.2.10",
        "192.0.2.255-192.0.3.0",
        "9.0.0.0-10.0.0.0",
        "192.0.2.9-192.0.2.9",
        "2001:db8::/64",
        "2001:db8::-2001:db8::ffff",
        "2001:db8::9-2001:db8::10",
        "2001:db8:1:2:3:4:5:6-2001:db8:1:2:3:4:5:ffff",
    ):
        yield taken(f"range {text}", address_pool(ranges=[text]))
        yield taken(f"real servers in {text}", address_pool(realServerRanges=[text]))
    anywhere = address_pool(realServerRanges=["0.0.0.0/0", "::/0", "127.0.0.1-127.0.0.2"])
    yield taken("real servers anywhere", anywhere)
    yield taken("as many ranges as there may be", address_pool(ranges=[f"10.{i}.0.0/16" for i in range(32)]))
    for saying, texts in (
        (
            "must be a CIDR",
            (
                "192.0.2.1",
                "192.0.2.0/33",
                "192.0.2.1-",
                "192.0.2.1-2-3",
                "192.0.2.1 - 192.0.2.2",
                "example.org",
                "::ffff:192.0.2.0/120",
                "fe80::1%eth0/64",
                "10.0.0.1-10.0.0.256",
            ),
        ),
        (
            "canonical spelling",
            ("192.0.2.1/24", "2001:DB8::/64", "2001:db8:0::/64", "2001:DB8::1-2001:DB8::2", "2001:db8::1/64"),
        ),
        (
            "lower address",
            (
                "192.0.2.10-192.0.2.9",
                "10.0.0.0-9.255.255.255",
                "192.0.2.1-2001:db8::1",
                "2001:db8::2-2001:db8::1",
                "2001:db8::10-2001:db8::9",
                "2001:db8::1-2001:db8:1::1",
            ),
        ),
    ):
        for text in texts:
            yield refused(f"no range {text}", "spec.ranges[0]", address_pool(ranges=[text]), saying)
            real_servers = address_pool(realServerRanges=[text])
            yield refused(f"no real servers in {text}", "spec.realServerRanges[0]", real_servers, saying)
    for text in (
        "0.0.0.0/0",
        "::/0",
        "127.0.0.0/8",
        "224.0.0.0/4",
        "169.254.0.0/16",
        "fe80::/64",
        "223.0.0.1-224.0.0.1",
    ):
        yield refused(f"unusable {text}", "spec.ranges[0]", address_pool(ranges=[text]), "addresses of hosts")
    yield refused("a range twice", "spec.ranges[1]", address_pool(ranges=["192.0.2.0/24"] * 2), "Duplicate")
    for field in ("ranges", "realServerRanges", "namespaces"):
        yield refused(f"an address pool without {field}", f"spec.{field}", address_pool(**{field: None}), "Required")
        empty: object = {} if field == "namespaces" else []
        yield refused(f"an address pool with empty {field}", f"spec.{field}", address_pool(**{field: empty}))


def namespaces() -> Iterator[ApiCase]:
    def whose(**fields: object) -> Raw:
        return address_pool(namespaces=fields)

    yield taken("namespaces by name", whose(names=["team-a", "team-b"]))
    yield taken("namespaces by label", whose(selector={"matchLabels": {"tenant": "a"}}))
    both = whose(names=["team-a"], selector={})
    yield refused("namespaces by name and label", "spec.namespaces", both, "exactly one of names and selector")
    yield refused("namespaces by neither", "spec.namespaces", whose(), "exactly one of names and selector")
    yield refused("no namespace's name", "spec.namespaces.names[0]", whose(names=["Team"]))
    yield refused("a namespace twice", "spec.namespaces.names[1]", whose(names=["a", "a"]), "Duplicate")
    yield taken("marks of tenants", address_pool(firewallMarks=[10, 2**32 - 1]))
    yield refused("mark 0 of tenants", "spec.firewallMarks[0]", address_pool(firewallMarks=[0]))


def references() -> Iterator[ApiCase]:
    def asking(reference: Raw, **changes: object) -> Raw:
        fields: Raw = {"addresses": None, "addressPoolRef": reference, **changes}
        return virtual_service(**fields)

    public = {"name": "public"}
    yield taken("an address of a pool", asking(public))
    yield taken("an address of a pool, ports grouped", asking(public, portMode="Grouped"))
    for families in (["IPv6"], ["IPv4", "IPv6"]):
        yield taken(f"addresses of a pool, {families}", asking({**public, "families": families}))
    chooses = "addressPoolRef chooses the addresses"
    both = asking(public, addresses=["192.168.4.15"])
    yield refused("an address, and one of a pool", "spec.addressPoolRef", both, chooses)
    mark = {"value": 10, "families": ["IPv4"]}
    marked = asking(public, ports=None, firewallMark=mark)
    yield refused("a mark, and an address of a pool", "spec.addressPoolRef", marked, chooses)
    yield refused("an address pool of no name", "spec.addressPoolRef.name", asking({}))
    yield refused("no family", "spec.addressPoolRef.families", asking({**public, "families": []}))
    twice = asking({**public, "families": ["IPv4", "IPv4"]})
    yield refused("a pool's family twice", "spec.addressPoolRef.families[1]", twice, "Duplicate")
    neither = virtual_service(addresses=None)
    yield refused("no address, no pool, no mark", "spec.addresses", neither, "addressPoolRef or a firewallMark")
