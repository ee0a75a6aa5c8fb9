"""The agent's kernel seams on real kernels: what a fake or a network namespace of the host can not show."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lvs_agent.kernel.contract import CASES, TABLES
from lvs_agent.kernel.packet_filter_contract import CASES as PACKET_FILTER_CASES
from lvs_agent.kernel.receive_ports_contract import CASES as RECEIVE_PORT_CASES
from lvs_agent.kernel.settings_contract import DAEMON_CASES, TIMEOUT_CASES
from lvs_agent.kernel.wire_contract import EXCHANGES, misunderstandings
from lvs_api.director_table import DirectorTable
from lvs_api.ipvs_terms import ELSEWHERE, terms_of
from lvs_api.kinds import USER_KINDS
from lvs_api.node_settings import IpvsSysctls
from lvs_cli.ipvsadm_form import Form, Style, listing
from lvs_lab.lab import Lab
from lvs_lab.lab_machine import GuestMachine, LabMachine
from lvs_lab.python_packages import agent_environment
from lvs_lab.waiting import wait_for
from support import kernel_probe, tap_probe
from support.lab_fixtures import session_lab

pytestmark = pytest.mark.lab

PROBE = Path(kernel_probe.__file__).read_text(encoding="utf-8")
VIP, SERVER = "192.168.10.100", "192.168.10.21"
TOPOLOGY = """\
segments: [lan]
nodes:
  director:
    role: director
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24, "fd00:10::11/64"]}}
  server:
    role: server
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.21/24, "fd00:10::21/64"]}}
clients:
  client:
    interfaces: {eth0: {segment: lan, addresses: [192.168.10.50/24, "fd00:10::50/64"]}}
"""


def probe(machine: GuestMachine, *arguments: str) -> Any:  # noqa: ANN401 (whatever the verb prints)
    """Run a verb of `support.kernel_probe` in the guest."""
    done = machine.exec(["python3", "-", *arguments], stdin=PROBE, env=agent_environment(), check=True, timeout=300)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A director, a real server and a client, without agents: the seams are used by hand."""
    with session_lab("kernel-seams", TOPOLOGY) as made:
        yield made


@pytest.fixture
def director(lab: Lab) -> Iterator[GuestMachine]:
    """The director, with an empty IPVS table before and after."""
    machine = lab.guest("director")
    machine.sh("ipvsadm -C")
    yield machine
    machine.sh(
        "ipvsadm -C; ip addr flush dev lo scope global; ip addr del 192.168.10.100/32 dev eth0 2>/dev/null; true"
    )


def test_the_kernel_keeps_the_contract_that_the_fake_keeps(director: GuestMachine) -> None:
    complaints = probe(director, "contract")
    assert set(complaints) == {case.name for case in CASES}
    assert {name: text for name, text in complaints.items() if text} == {}


def test_a_glance_shows_what_is_made_removed_or_weighed_anew(director: GuestMachine) -> None:
    assert probe(director, "glance_contract") == {}


def test_the_kernel_keeps_the_contract_about_settings(director: GuestMachine) -> None:
    before = director.out("ipvsadm", "-L", "--timeout")
    complaints = probe(director, "settings_contract")
    assert set(complaints) == {case.name for case in (*TIMEOUT_CASES, *DAEMON_CASES)}
    assert {name: text for name, text in complaints.items() if text} == {}
    assert director.out("ipvsadm", "-L", "--timeout") == before


def test_the_kernel_understands_us_and_is_understood(director: GuestMachine) -> None:
    """What node-agent/tests holds against a recording, with this kernel."""
    held = probe(director, "conversation")
    assert len(held["exchanges"]) == len(EXCHANGES)
    assert misunderstandings(held) == {}


def test_the_kernel_takes_every_sysctl_that_the_api_takes(director: GuestMachine) -> None:
    """The contract of the API's bounds, which the fake can not know."""
    director.out("modprobe", "ip_vs")
    before = director.sh("grep -H . /proc/sys/net/ipv4/vs/*")
    complaints = probe(director, "sysctl_contract")
    assert set(complaints) == set(IpvsSysctls.model_fields)
    assert {name: text for name, text in complaints.items() if text} == {}
    assert director.sh("grep -H . /proc/sys/net/ipv4/vs/*") == before


def test_the_ftp_helper_keeps_the_contract_that_the_fake_keeps(director: GuestMachine) -> None:
    """Nobody loads the module by hand: asking for a scheduler of its name does, without the right to load modules."""
    director.sh("modprobe ip_vs; ! grep -q ' ftp ' /proc/net/ip_vs_app")
    assert probe(director, "ftp_helper_contract") == [None]
    assert "ip_vs_ftp" in director.out("lsmod")
    director.out("rmmod", "ip_vs_ftp")


def test_the_packet_filter_keeps_the_contract_that_the_fake_keeps(director: GuestMachine) -> None:
    complaints = probe(director, "packet_filter_contract")
    assert set(complaints) == {case.__name__ for case in PACKET_FILTER_CASES}
    assert {name: text for name, text in complaints.items() if text} == {}


def test_ports_for_gue_keep_the_contract_that_the_fake_keeps(director: GuestMachine) -> None:
    """Nobody loads the module by hand."""
    director.sh("modprobe -r fou; ! lsmod | grep -q '^fou '")
    complaints = probe(director, "receive_ports_contract")
    assert set(complaints) == {case.__name__ for case in RECEIVE_PORT_CASES}
    assert {name: text for name, text in complaints.items() if text} == {}
    assert "fou" in director.out("lsmod")


def test_arrivals_are_heard_before_a_filter_of_tc_and_in_a_vlan(director: GuestMachine) -> None:
    """On the card a tagged frame may be nobody's: it counts where the device of its VLAN has it."""
    script = Path(tap_probe.__file__).read_text(encoding="utf-8")
    done = director.exec(["python3", "-"], stdin=script, env=agent_environment(), check=True)
    assert json.loads(done.stdout) == {"e0p": ["e0"], "e0p.7": ["e0.7"]}


def test_a_port_that_takes_less_than_everything_is_none(director: GuestMachine) -> None:
    director.sh("modprobe fou; ip fou add port 6090 ipproto 4; ip fou add port 6091 gue local 127.0.0.1")
    assert probe(director, "receive_port", "open", "IPV4", "6080") == ["UDP port 6080 for GUE by IPv4"]
    (refusal,) = probe(director, "receive_port", "open", "IPV4", "6090")
    assert "something else on this node has it" in refusal
    assert "port 6080 gue" in director.out("ip", "fou", "show")
    assert probe(director, "receive_port", "close", "IPV4", "6080") == []
    director.sh("ip fou del port 6090; ip fou del port 6091 local 127.0.0.1")


def test_a_changed_table_of_marks_is_seen_and_tables_of_others_are_left_alone(director: GuestMachine) -> None:
    director.sh("nft add table inet others; nft add chain inet others one; nft add rule inet others one counter")
    others = director.out("nft", "--json", "list", "table", "inet", "others")
    assert probe(director, "packet_filter") is None
    for spoil in (
        "add rule inet lvs-operator prerouting counter",
        "flush chain inet lvs-operator prerouting",
        "add chain inet lvs-operator other",
        "delete chain inet lvs-operator prerouting",
    ):
        assert probe(director, "mark", VIP, "80", "10") is True
        assert probe(director, "packet_filter") == [True, 1]
        director.sh(f"nft {spoil}")
        assert probe(director, "packet_filter")[0] is False, spoil
    assert probe(director, "mark", VIP, "80", "10") is True
    director.sh(f"nft add element inet lvs-operator ipv4 {{ {VIP} . udp . 53 : 11 }}")
    assert probe(director, "packet_filter") == [True, 2]
    director.sh("nft delete table inet lvs-operator")
    assert probe(director, "packet_filter") is None
    assert director.out("nft", "--json", "list", "table", "inet", "others") == others
    director.sh("nft delete table inet others")


def test_a_changed_table_of_source_nat_is_seen(director: GuestMachine) -> None:
    other = f"{VIP} . tcp . 81 . 192.0.2.9 . 81"
    for spoil in (
        "flush chain inet lvs-operator source-nat",
        "insert rule inet lvs-operator postrouting accept",
        f"add element inet lvs-operator source-nat-ipv4 {{ {other} : drop }}",
        "add rule inet lvs-operator source-nat accept",
    ):
        assert probe(director, "source_nat", VIP, "80", "192.0.2.9", "8080") is True
        assert probe(director, "packet_filter") == [True, 1]
        director.sh(f"nft '{spoil}'")
        assert probe(director, "packet_filter")[0] is False, spoil
    director.sh("nft delete table inet lvs-operator")


@pytest.mark.parametrize("name", TABLES)
def test_ipvsadm_saves_and_restores_what_we_write(director: GuestMachine, name: str) -> None:
    """Its -S leaves out thresholds: they are compared in its listing."""
    assert probe(director, "load", name) is True
    saved = director.out("ipvsadm", "-Sn")
    thresholds = director.out("ipvsadm", "-Ln", "--thresholds")
    assert probe(director, "holds", name) is True
    director.sh("ipvsadm -C")
    assert probe(director, "holds", name) is False
    director.exec(["ipvsadm", "-R"], stdin=saved, check=True)
    if name == "methods, weights, thresholds":
        assert "100        50" in thresholds
        director.sh("ipvsadm -e -t 10.0.0.1:80 -r 10.1.0.1:8080 -m -w 3 -x 100 -y 50")
    assert director.out("ipvsadm", "-Sn") == saved
    assert probe(director, "holds", name) is True


MIXED = "methods, weights, thresholds"
FORMS = {
    Form.PLAIN: "-Ln",
    Form.STATS: "-Ln --stats",
    Form.RATE: "-Ln --rate",
    Form.THRESHOLDS: "-Ln --thresholds",
    Form.PERSISTENT_CONN: "-Ln --persistent-conn",
    Form.TIMEOUT: "-L --timeout",
    Form.DAEMON: "-L --daemon",
}


@pytest.mark.parametrize("name", TABLES)
def test_every_form_of_ipvsadms_listing_is_ours_too(director: GuestMachine, name: str) -> None:
    """Beside what ipvsadm made itself, and where no real server is of another family, a sync daemon that it started."""
    assert probe(director, "load", name) is True
    director.sh(
        "ipvsadm -A -u 10.5.0.1:5060 -s mh -b mh-port -p 60 -M 255.255.0.0 --pe sip -o; ipvsadm --set 800 70 200"
    )
    director.sh("ipvsadm --start-daemon master --mcast-interface eth0 --syncid 7", check=name != MIXED)
    try:
        table = DirectorTable.model_validate(probe(director, "told"))
        for form, options in FORMS.items():
            printed = director.out("ipvsadm", *options.split()).splitlines()
            ours = listing(table, Style(form=form)).splitlines()
            assert [line.rstrip() for line in ours] == [line.rstrip() for line in printed]
    finally:
        director.sh("ipvsadm --stop-daemon master", check=name != MIXED)
        director.sh("ipvsadm --set 900 120 300")


def test_every_option_of_ipvsadm_is_a_fields_or_said_elsewhere(director: GuestMachine) -> None:
    """What the API reference says of them is of this ipvsadm, and complete."""
    there = set(re.findall(r"(?<!\S)--[a-z][-a-z0-9]+", director.sh("ipvsadm --help 2>&1")))
    assert len(there) > 40
    named = {option for kind in USER_KINDS for _, term in terms_of(kind.spec) for option in term.options}
    assert there - named == set(ELSEWHERE)
    assert named <= there


def test_every_scheduler_is_listed_as_it_was_asked_for(director: GuestMachine) -> None:
    assert probe(director, "load", "every scheduler") is True
    listed = [line.split()[2] for line in director.out("ipvsadm", "-Ln").splitlines() if line.startswith("TCP")]
    wanted = [wish.settings.scheduler for wish in TABLES["every scheduler"].values()]
    assert sorted(listed) == sorted(wanted)


def test_reads_are_whole_while_services_come_and_go(director: GuestMachine) -> None:
    found = probe(director, "read_under_change", "100")
    assert found["flips"] > 0
    assert found["broken"] == 0


def test_reads_are_whole_while_the_kernel_resizes_its_table(director: GuestMachine) -> None:
    """Since Linux 7.0 a dump that a resize meets skips services and does not say so."""
    found = probe(director, "read_while_resized", "50")
    assert found["short_dumps"] > 0
    assert found["short"] == found["short_first_reads"] == 0


def test_reading_goes_on_after_the_module_was_loaded_again(director: GuestMachine) -> None:
    script = PROBE.split("VERBS:")[0] + (
        "import subprocess\n"
        "table = KernelIpvsTable()\n"
        "before = len(table.read().services)\n"
        "subprocess.run(['sh', '-c', 'modprobe -r ip_vs_rr ip_vs_wrr ip_vs; lsmod'], check=False)\n"
        "gone = 'ip_vs' not in open('/proc/modules', encoding='ascii').read()\n"
        "print(json.dumps([gone, before, len(table.read().services)]))\n"
    )
    director.sh("for m in $(lsmod | awk '/^ip_vs_/{print $1}'); do modprobe -r $m; done")
    done = director.exec(["python3", "-"], stdin=script, env=agent_environment(), check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [True, 0, 0]


HELD_CONNECTION = """
import pathlib, socket, sys, time
directory, vip = pathlib.Path(sys.argv[1]), sys.argv[2]
connection = socket.create_connection((vip, 80))
(directory / "connected").touch()
end = time.monotonic() + 300
while not (directory / "go").exists() and time.monotonic() < end:
    time.sleep(0.02)
connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
print(connection.makefile().read())
"""


def test_an_edit_in_place_keeps_a_connection_and_its_counters(lab: Lab, director: GuestMachine, tmp_path: Path) -> None:
    client, server = lab.machine("client"), lab.guest("server")
    arguments = (f"{VIP} 80", f"{SERVER} 80")
    web = server.serve(port=80)
    try:
        probe(server, "silence", "")
        assert probe(server, "bind", VIP, "lo") == []
        assert probe(director, "bind", VIP, "eth0") == []
        assert probe(director, "announce", "eth0", VIP) is True
        assert probe(director, "add", *arguments, "DIRECT_ROUTE") is True
        with ThreadPoolExecutor(1) as background:
            held = background.submit(hold, client, tmp_path)
            try:
                wait_for((tmp_path / "connected").exists, 10, "the client's connection")
                assert active(director, arguments) == 1
                assert probe(director, "edit", *arguments, "DIRECT_ROUTE", "0", "wlc") is True
                assert active(director, arguments) == 1
            finally:
                (tmp_path / "go").touch()
            assert "server" in held.result(60)
        # The kernel sums up its counters every two seconds.
        wait_for(lambda: probe(director, "counters", *arguments)["connections"] == 1, 10, "the connection counted once")
        assert probe(director, "counters", *arguments)["of_service"] == 1
        assert "wlc" in director.out("ipvsadm", "-Ln")
    finally:
        web.stop()
        probe(server, "unbind", VIP, "lo")
        make_talkative(server)


def hold(client: LabMachine, directory: Path) -> str:
    return client.out("python3", "-c", HELD_CONNECTION, str(directory), VIP, timeout=400)


def active(director: GuestMachine, arguments: tuple[str, str]) -> int:
    count: int = probe(director, "counters", *arguments)["active"]
    return count


def make_talkative(server: GuestMachine) -> None:
    """Undo what the verb `silence` did to a node that booted with the kernel's defaults."""
    server.sh("sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.all.arp_announce=0")


def test_only_a_silenced_real_server_keeps_quiet_about_the_vip(lab: Lab) -> None:
    client, server = lab.machine("client"), lab.guest("server")
    assert probe(server, "bind", VIP, "lo") == []
    try:
        assert client.exec(["arping", "-c", "1", "-w", "1", "-I", "eth0", VIP]).ok
        probe(server, "silence", "")
        assert not client.exec(["arping", "-c", "2", "-w", "2", "-I", "eth0", VIP]).ok
    finally:
        probe(server, "unbind", VIP, "lo")
        make_talkative(server)


@pytest.mark.parametrize(
    ("device", "address", "module"),
    [
        ("tunl0", VIP, "ipip"),
        ("ip6tnl0", "fd00:10::100", "ip6_tunnel"),
        ("gre0", VIP, "ip_gre"),
        ("ip6gre0", "fd00:10::100", "ip6_gre"),
    ],
)
def test_a_tunnel_device_comes_with_its_first_address(lab: Lab, device: str, address: str, module: str) -> None:
    server = lab.guest("server")
    server.sh(f"ip link del {device} 2>/dev/null; modprobe -r {module}; true")
    # Not by `ip link show`: asking for an index by name loads the module, too (netdev-tunl0).
    assert not server.exec(["test", "-e", f"/sys/class/net/{device}"]).ok
    assert probe(server, "bind", address, device) == []
    shown = json.loads(server.out("ip", "-j", "addr", "show", "dev", device))[0]
    assert "UP" in shown["flags"]
    assert address in [entry["local"] for entry in shown["addr_info"]]
    if address == VIP:
        assert probe(server, "silence", device)[f"net.ipv4.conf.{device}.rp_filter"] == 2
    assert probe(server, "unbind", address, device) == []
    shown = json.loads(server.out("ip", "-j", "addr", "show", "dev", device))[0]
    assert "UP" in shown["flags"]  # it may be another's by now: never taken down
    assert address not in [entry["local"] for entry in shown["addr_info"]]
    make_talkative(server)


def test_without_module_loading_the_error_says_what_to_do(lab: Lab) -> None:
    """Last: the switch can be thrown only once in a kernel's life."""
    server = lab.guest("server")
    server.sh("for m in $(lsmod | awk '/^ip_vs/{print $1}'); do modprobe -r $m; done; modprobe -r ip_vs ipip; true")
    server.sh("sysctl -qw kernel.modules_disabled=1")
    said = probe(server, "unavailable")
    assert said.startswith("IpvsUnavailable: ")
    assert "load the module ip_vs" in said
    (refusal,) = probe(server, "bind", VIP, "tunl0")
    assert "load the module ipip" in refusal
    (refusal,) = probe(server, "receive_port", "open", "IPV4", "6080")
    assert "load the module fou" in refusal
