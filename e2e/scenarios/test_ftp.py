"""FTP with a real client and real servers: active and passive, behind the kernel's helper and by direct routing."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from lvs_lab.lab_machine import Capture, GuestMachine
from lvs_lab.waiting import wait_for
from support.deployment import EXAMPLES, GONE_SECONDS, Deployment, deployed
from support.tables import Shape

pytestmark = pytest.mark.lab

DIRECTOR, CLIENT, INNER_CLIENT = "ftp-director", "ftp-client", "ftp-inner"
SERVERS: Final = ("ftp-rs100", "ftp-rs200")
NAT, DIRECT = EXAMPLES / "ftp-nat", EXAMPLES / "ftp-dr"
VIPS: Final = {4: "192.168.26.15", 6: "2001:db8:26::15"}
OF_CLIENT: Final = {4: "192.168.26.10", 6: "2001:db8:26::10"}
DIRECT_VIP: Final = "192.168.27.15"
OF_INNER_CLIENT: Final = [f"192.168.27.{host}" for host in range(31, 39)]
"""Further addresses, two for each test: a kernel remembers which real server a client had, also without the service."""
OPENING: Final = {4: "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", 6: "ip6 and tcp and ip6[53] & 18 == 2"}
PASV: Final = ("--disable-epsv", "--no-ftp-skip-pasv-ip")
"""curl takes the server's address out of the answer, as most clients do, and not the one that it is connected with."""
EPSV: Final = ()
PORT: Final = ("--ftp-port", "-", "--disable-eprt")
EPRT: Final = ("--ftp-port", "-")
PASSIVE: Final = [(4, PASV), (4, EPSV), (6, EPSV)]
ACTIVE: Final = [(4, PORT), (4, EPRT), (6, EPRT)]
NAT_SHAPE: Final[Shape] = {
    "TCP 192.168.26.15:21 rr": {"192.168.27.100:21": ("Masq", 1), "192.168.27.200:21": ("Masq", 1)},
    "TCP [2001:db8:26::15]:21 rr": {"[2001:db8:27::100]:21": ("Masq", 1), "[2001:db8:27::200]:21": ("Masq", 1)},
}
DIRECT_SHAPE: Final[Shape] = {
    "TCP 192.168.27.15:21 rr persistent 120": {"192.168.27.100:21": ("Route", 1), "192.168.27.200:21": ("Route", 1)}
}
REFUSED_MODULE: Final = "/etc/modprobe.d/no-ftp.conf"
BYTES: Final = 300_000
CONFIGURATION: Final = """
listen=NO
listen_ipv6=YES
background=YES
anonymous_enable=YES
no_anon_password=YES
anon_root=/srv/ftp
connect_from_port_20=YES
secure_chroot_dir=/run/vsftpd/empty
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed("ftp", ["ftp"], tmp_path_factory.mktemp("ftp")) as deployment:
        for name in SERVERS:
            start_server(deployment.lab.guest(name))
        for address in OF_INNER_CLIENT:
            deployment.lab.machine(INNER_CLIENT).out("ip", "address", "replace", f"{address}/24", "dev", "eth0")
        yield deployment


def start_server(guest: GuestMachine) -> None:
    """A server of one file, which says whose it is over and over."""
    guest.sh(f"mkdir -p /srv/ftp /run/vsftpd/empty; yes {guest.name} | head -c {BYTES} > /srv/ftp/file")
    guest.exec(["tee", "/run/vsftpd.conf"], stdin=CONFIGURATION, check=True)
    guest.out("vsftpd", "/run/vsftpd.conf")


def content(server: str) -> str:
    return (f"{server}\n" * BYTES)[:BYTES]


def download(lab: Deployment, client: str, vip: str, *options: str) -> str:
    """Whose file came; it must be whole."""
    host = f"[{vip}]" if ":" in vip else vip
    command = ["curl", "--silent", "--show-error", "--globoff", "--max-time", "20", *options, f"ftp://{host}/file"]
    text = lab.lab.machine(client).exec(command, check=True).stdout
    server = text.partition("\n")[0]
    assert server in SERVERS
    assert text == content(server)
    return server


def downloads(lab: Deployment, client: str, vip: str, count: int, *options: str) -> Counter[str]:
    return Counter(download(lab, client, vip, *options) for _ in range(count))


def openings(capture: Capture) -> set[tuple[str, str]]:
    """Addresses that connections were opened from, with their ports."""
    found = (re.search(r" (\S+)\.(\d+) > \S+: ", line) for line in capture.lines())
    return {(one[1], one[2]) for one in found if one is not None}


@pytest.fixture
def behind_nat(lab: Deployment) -> Iterator[Deployment]:
    lab.apply(NAT)
    lab.wait_ready("ftp-nat")
    lab.wait_shape(DIRECTOR, NAT_SHAPE)
    yield lab
    lab.delete(NAT)
    wait_for(lambda: lab.table(DIRECTOR) == {}, GONE_SECONDS, "the table to be empty")


@pytest.fixture
def direct(lab: Deployment) -> Iterator[Deployment]:
    lab.apply(DIRECT)
    lab.wait_ready("ftp-dr")
    lab.wait_shape(DIRECTOR, DIRECT_SHAPE)
    yield lab
    lab.delete(DIRECT)
    wait_for(lambda: lab.table(DIRECTOR) == {}, GONE_SECONDS, "the table to be empty")


def test_a_kernel_that_may_not_load_the_helper(lab: Deployment) -> None:
    """The first, while no module is loaded. The service says so, the others are served, and it heals."""
    director = lab.lab.guest(DIRECTOR)
    director.exec(["tee", REFUSED_MODULE], stdin="install ip_vs_ftp /bin/false\n", check=True)
    lab.apply(NAT, DIRECT)
    said = lab.wait_condition("ftp-nat", "Programmed", "False", "HelperUnavailable")
    assert "modprobe ip_vs_ftp" in said["message"]
    lab.wait_ready("ftp-dr")
    assert download(lab, INNER_CLIENT, DIRECT_VIP) in SERVERS
    command = ["curl", "--silent", "--show-error", "--max-time", "5", f"ftp://{VIPS[4]}/file"]
    failed = lab.lab.machine(CLIENT).exec(command)
    assert not failed.ok, "data connections are followed without the helper: this lab shows nothing"
    director.out("rm", REFUSED_MODULE)
    lab.wait_ready("ftp-nat", deadline=90)
    assert download(lab, CLIENT, VIPS[4]) in SERVERS
    lab.delete(NAT, DIRECT)
    wait_for(lambda: lab.table(DIRECTOR) == {}, GONE_SECONDS, "the table to be empty")


@pytest.mark.parametrize(("family", "mode"), PASSIVE, ids=["PASV", "EPSV", "EPSV over IPv6"])
def test_passive_behind_nat(behind_nat: Deployment, family: int, mode: tuple[str, ...]) -> None:
    client = behind_nat.lab.machine(CLIENT)
    with client.capture(OPENING[family], "and", "not", "dst", "host", VIPS[family]) as astray:
        assert downloads(behind_nat, CLIENT, VIPS[family], 4, *mode) == dict.fromkeys(SERVERS, 2)
    assert openings(astray) == set()


@pytest.mark.parametrize(("family", "mode"), ACTIVE, ids=["PORT", "EPRT", "EPRT over IPv6"])
def test_active_behind_nat(behind_nat: Deployment, family: int, mode: tuple[str, ...]) -> None:
    """The real server opens the data connection; to the client it comes from the VIP's port 20."""
    client = behind_nat.lab.machine(CLIENT)
    with client.capture(OPENING[family], "and", "dst", "host", OF_CLIENT[family]) as opened:
        assert downloads(behind_nat, CLIENT, VIPS[family], 4, *mode) == dict.fromkeys(SERVERS, 2)
        wait_for(lambda: openings(opened), 5, "the capture to have the data connections")
    assert openings(opened) == {(VIPS[family], "20")}


@pytest.mark.parametrize(
    ("number", "mode"), [*enumerate([PASV, EPSV, PORT, EPRT])], ids=["PASV", "EPSV", "PORT", "EPRT"]
)
def test_direct_routing_with_persistence(direct: Deployment, number: int, mode: tuple[str, ...]) -> None:
    """Both connections of a client have the same real server; the two clients have one each."""
    had = []
    for source in OF_INNER_CLIENT[2 * number : 2 * number + 2]:
        (server,) = downloads(direct, INNER_CLIENT, DIRECT_VIP, 3, "--interface", source, *mode)
        had.append(server)
    assert sorted(had) == sorted(SERVERS)
