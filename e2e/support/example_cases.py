"""What each example must look like from outside: who answers, in which ratio, with which table."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lvs_core.allocate import first_choice
from lvs_core.cluster_view import ObjectKey
from support.deployment import EXAMPLES
from support.tables import Shape

REQUESTS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One example."""

    example: str
    """Its directory."""
    machines: str
    """What the names of its machines start with; the name of its topology."""
    service: str
    vip: str
    servers: dict[str, int]
    """Real servers by the rest of their machines' names, and the weights; on the wire each gets its share."""
    shape: Shape
    """The whole table of the director when all is well."""
    other_services: tuple[str, ...] = ()
    port: int = 80
    """What clients connect to."""
    protocol: str = "tcp"
    """Over which they do; where it is sctp, checks are made by TCP at `server_port`."""
    server_port: int = 80
    """What real servers listen on."""
    device: str | None = "lo"
    """Where the real servers' nodes bind the VIP; None: they are plain machines behind NAT."""
    vip_device: str = "eth0"
    """Where the director carries it."""
    sticky: bool = False
    """A client stays with one real server."""
    timeouts: tuple[int, int, int] | None = None
    """TCP, TCP after a FIN, UDP, where the director group sets them: seconds."""
    sysctls: dict[str, int] = field(default_factory=dict)
    """Of net.ipv4.vs on the director, by the kernel's names, where its group sets them."""
    more_ports: tuple[int, ...] = ()
    """Further ones that real servers listen on."""
    marks: str = ""
    """What somebody else gives to nft on the director, so that packets are marked."""
    sources: tuple[str, ...] = field(default=())
    """Further addresses of the client, where one client would see one real server only."""

    vrrp: bool = False
    """A second director, called backup, would take the VIP over; the first has the higher priority and preempts."""

    @property
    def directory(self) -> Path:
        """Its manifests."""
        return EXAMPLES / self.example

    @property
    def director(self) -> str:
        """The director's machine."""
        return f"{self.machines}-director"

    @property
    def vrrp_directors(self) -> list[str]:
        """The machines on which the VRRP daemon runs."""
        return [self.director, f"{self.machines}-backup"] if self.vrrp else []

    @property
    def client(self) -> str:
        """The client's machine."""
        return f"{self.machines}-client"

    @property
    def real_servers(self) -> list[str]:
        """The real servers' machines."""
        return [f"{self.machines}-{name}" for name in self.servers]

    @property
    def ipv6(self) -> bool:
        """Whether the VIP is an IPv6 address."""
        return ":" in self.vip

    @property
    def service_key(self) -> str:
        """The kernel service that `port` means, as it begins its line in `shape`."""
        key = next((key for key in self.shape if f":{self.port} " in key), next(iter(self.shape)))
        return " ".join(key.split()[:2])

    @property
    def entries(self) -> dict[str, tuple[str, int]]:
        """Its real servers."""
        return next(entries for key, entries in self.shape.items() if key.startswith(f"{self.service_key} "))

    def expected_replies(self, requests: int) -> Counter[str]:
        """Who answers how often, when the scheduler does what it says."""
        whole = sum(self.servers.values())
        return Counter({f"{self.machines}-{name}": requests * share // whole for name, share in self.servers.items()})


MARK_TABLE = """
table inet site-marks {
  chain prerouting {
    type filter hook prerouting priority mangle;
    ip daddr 192.168.8.16 tcp dport { 80, 8080 } meta mark set 10
    ip6 daddr 2001:db8:8::16 tcp dport { 80, 8080 } meta mark set 10
  }
}
"""
_S13_SHAPE: Shape = {
    "TCP 192.168.4.5:80 wrr": {"192.168.2.100:80": ("Masq", 1), "192.168.2.200:80": ("Masq", 2)},
    "TCP 192.168.4.5:3306 lc": {"192.168.2.201:3306": ("Masq", 3), "192.168.2.202:3306": ("Masq", 4)},
}
_S10_CLIENTS = tuple(f"172.16.24.{host}" for host in range(21, 25))
_PFMC_MARK = first_choice(ObjectKey("default", "s10-pfmc"))
_S14E_SERVERS = {"192.168.1.178:80": ("Route", 3), "192.168.1.179:80": ("Route", 1)}
_S65_SERVERS = {"192.168.65.156:80": ("Route", 1), "192.168.65.157:80": ("Route", 1)}

CASES = (
    Case(
        example="s13-nat",
        machines="s13",
        service="s13-web",
        other_services=("s13-mysql",),
        vip="192.168.4.5",
        servers={"rs100": 1, "rs200": 2},
        device=None,
        shape=_S13_SHAPE,
    ),
    Case(
        example="s13-nat-failover",
        machines="s13-failover",
        service="s13-failover-web",
        vrrp=True,
        vip="192.168.4.5",
        servers={"rs100": 1, "rs200": 2},
        device=None,
        shape={"TCP 192.168.4.5:80 wrr": {"192.168.2.100:80": ("Masq", 1), "192.168.2.200:80": ("Masq", 2)}},
    ),
    Case(
        example="s14a-dr",
        machines="s14a",
        service="s14a-web",
        vip="172.16.24.7",
        servers={"rs8": 1, "rs9": 1},
        shape={"TCP 172.16.24.7:80 rr": {"172.16.24.8:80": ("Route", 1), "172.16.24.9:80": ("Route", 1)}},
    ),
    Case(
        example="s14b-dr-port-10000",
        machines="s14b",
        service="s14b-app",
        vip="192.168.0.200",
        port=10000,
        server_port=10000,
        servers={"rs104": 1, "rs105": 1},
        shape={
            "TCP 192.168.0.200:10000 rr": {"192.168.0.104:10000": ("Route", 1), "192.168.0.105:10000": ("Route", 1)}
        },
    ),
    Case(
        example="s14c-dr-weighted",
        machines="s14c",
        service="s14c-web",
        vip="192.168.4.15",
        servers={"rs100": 1, "rs200": 2},
        sysctls={"expire_nodest_conn": 1, "conn_reuse_mode": 2, "conntrack": 0},
        shape={"TCP 192.168.4.15:80 wrr": {"192.168.4.100:80": ("Route", 1), "192.168.4.200:80": ("Route", 2)}},
    ),
    Case(
        example="s14d-dr-persistent",
        machines="s14d",
        service="s14d-web",
        vip="192.168.65.127",
        servers={"rs156": 1, "rs157": 1},
        sticky=True,
        timeouts=(30, 5, 60),
        shape={
            "TCP 192.168.65.127:80 wrr persistent 20": {
                "192.168.65.156:80": ("Route", 1),
                "192.168.65.157:80": ("Route", 1),
            }
        },
    ),
    Case(
        example="s14e-dr-classic-scripts",
        machines="s14e",
        service="s14e-web",
        other_services=("s14e-second",),
        vip="192.168.1.181",
        servers={"rs178": 3, "rs179": 1},
        sticky=True,
        sources=tuple(f"192.168.1.{host}" for host in range(11, 19)),
        shape={
            "TCP 192.168.1.181:80 wrr persistent 60": dict(_S14E_SERVERS),
            "TCP 192.168.1.182:80 rr": dict(_S14E_SERVERS),
        },
    ),
    Case(
        example="s15-tunnel",
        machines="s15",
        service="s15-web",
        vip="172.25.84.100",
        servers={"rs2": 1, "rs3": 1},
        device="tunl0",
        vip_device="eth1",
        shape={"TCP 172.25.84.100:80 rr": {"172.25.84.2:80": ("Tunnel", 1), "172.25.84.3:80": ("Tunnel", 1)}},
    ),
    Case(
        example="s15-tunnel-routed",
        machines="s15-routed",
        service="s15-routed-web",
        vip="172.25.84.100",
        servers={"rs2": 1, "rs3": 1},
        device="tunl0",
        vip_device="eth1",
        shape={"TCP 172.25.84.100:80 rr": {"172.25.85.2:80": ("Tunnel", 1), "172.25.85.3:80": ("Tunnel", 1)}},
    ),
    Case(
        example="s8-sctp",
        machines="s8",
        service="s8-sctp",
        vip="192.168.8.15",
        port=9899,
        server_port=9899,
        protocol="sctp",
        servers={"rs101": 1, "rs102": 1},
        shape={
            "SCTP 192.168.8.15:9899 rr": {"192.168.8.101:9899": ("Route", 1), "192.168.8.102:9899": ("Route", 1)},
        },
    ),
    Case(
        example="s8-firewall-mark",
        machines="s8",
        service="s8-marked",
        vip="192.168.8.16",
        servers={"rs101": 1, "rs102": 1},
        marks=MARK_TABLE,
        more_ports=(8080, 8081),
        shape={
            "FWM 10 rr": {"192.168.8.101:0": ("Route", 1), "192.168.8.102:0": ("Route", 1)},
            "FWM 10 IPv6 rr": {"[2001:db8:8::101]:0": ("Route", 1), "[2001:db8:8::102]:0": ("Route", 1)},
        },
    ),
    Case(
        example="s10-pcc",
        machines="s10",
        service="s10-pcc",
        vip="172.16.24.7",
        servers={"rs8": 1, "rs9": 1},
        sticky=True,
        sources=_S10_CLIENTS,
        more_ports=(8080,),
        shape={"TCP 172.16.24.7:0 rr persistent 120": {"172.16.24.8:0": ("Route", 1), "172.16.24.9:0": ("Route", 1)}},
    ),
    Case(
        example="s10-ppc",
        machines="s10",
        service="s10-ppc",
        vip="172.16.24.7",
        servers={"rs8": 1, "rs9": 1},
        sticky=True,
        sources=_S10_CLIENTS,
        shape={
            "TCP 172.16.24.7:80 rr persistent 120": {"172.16.24.8:80": ("Route", 1), "172.16.24.9:80": ("Route", 1)}
        },
    ),
    Case(
        example="s10-pfmc",
        machines="s10",
        service="s10-pfmc",
        vip="172.16.24.7",
        servers={"rs8": 1, "rs9": 1},
        sticky=True,
        sources=_S10_CLIENTS,
        more_ports=(443,),
        shape={
            f"FWM {_PFMC_MARK} rr persistent 120": {"172.16.24.8:0": ("Route", 1), "172.16.24.9:0": ("Route", 1)},
            f"FWM {_PFMC_MARK} IPv6 rr persistent 120": {
                "[2001:db8:24::8]:0": ("Route", 1),
                "[2001:db8:24::9]:0": ("Route", 1),
            },
        },
    ),
    Case(
        example="s20-vrrp",
        machines="s20",
        service="s20-web",
        vrrp=True,
        vip="192.168.65.127",
        servers={"rs156": 1, "rs157": 1},
        shape={"TCP 192.168.65.127:80 rr": dict(_S65_SERVERS)},
    ),
    Case(
        example="s21-double-master",
        machines="s21",
        service="s21-web",
        vrrp=True,
        other_services=("s21-web-too", "s21-other"),
        vip="192.168.65.127",
        servers={"rs156": 1, "rs157": 1},
        shape={f"TCP 192.168.65.{host}:80 rr": dict(_S65_SERVERS) for host in (127, 128, 125)},
    ),
    Case(
        example="s24-source-nat",
        machines="s24",
        service="s24-web",
        vip="192.168.24.15",
        server_port=8080,
        servers={"rs100": 1, "rs200": 2},
        device=None,
        shape={
            "TCP 192.168.24.15:80 wrr": {"192.168.25.100:8080": ("Masq", 1), "192.168.25.200:8080": ("Masq", 2)},
            "TCP [2001:db8:240::15]:80 wrr": {
                "[2001:db8:25::100]:8080": ("Masq", 1),
                "[2001:db8:25::200]:8080": ("Masq", 2),
            },
        },
    ),
    Case(
        example="ipv6-dr",
        machines="ipv6-dr",
        service="ipv6-dr-web",
        vip="2001:db8:4::15",
        servers={"rs100": 1, "rs200": 1},
        shape={
            "TCP [2001:db8:4::15]:80 rr": {
                "[2001:db8:4::100]:80": ("Route", 1),
                "[2001:db8:4::200]:80": ("Route", 1),
            }
        },
    ),
    Case(
        example="ipv6-nat",
        machines="ipv6-nat",
        service="ipv6-nat-web",
        vip="2001:db8:6::15",
        server_port=8080,
        servers={"rs100": 1, "rs200": 2},
        device=None,
        shape={
            "TCP [2001:db8:6::15]:80 wrr": {
                "[2001:db8:2::100]:8080": ("Masq", 1),
                "[2001:db8:2::200]:8080": ("Masq", 2),
            }
        },
    ),
)
LABS = {
    # Set-ups that use the same addresses can not be in one cluster: an address is one Node's.
    "one": ("s13", "s14a", "s14b", "s14e", "s15-routed", "s20", "ipv6-nat"),
    "two": ("s14c", "s14d", "s15", "ipv6-dr"),
    "three": ("s8", "s10", "s13-failover", "s21", "s24"),
}


def example(name: str) -> Case:
    """The one of this name."""
    (found,) = [case for case in CASES if case.example == name]
    return found
