"""The lab itself: what its verbs promise, on real guests."""

import signal
import subprocess
import sys

import pytest

from lvs_lab.errors import CommandError, ExecError, LabError
from lvs_lab.guest_setup import STATE_DIRECTORY
from lvs_lab.lab import Lab
from lvs_lab.waiting import wait_for
from support.lab_looks import lvs_lab, node_ready, pings, wait_until_not_ready

pytestmark = pytest.mark.lab


def test_exec_keeps_streams_and_exit_code_apart(plain_lab: Lab) -> None:
    done = plain_lab.guest("server-1").exec(["sh", "-c", "echo out; echo err >&2; cat; exit 7"], stdin="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\nin\n", "err\n")
    typed = lvs_lab(
        "exec", "--name", plain_lab.name, "server-1", "--", "sh", "-c", "cat; echo err >&2; exit 9", stdin="a\n"
    )
    assert (typed.returncode, typed.stdout, typed.stderr) == (9, "a\n", "err\n")


def test_exec_carries_much_and_tells_what_can_not_run(plain_lab: Lab) -> None:
    guest = plain_lab.guest("server-1")
    text = "0123456789abcdef" * 100_000
    assert guest.exec(["cat"], stdin=text, check=True).stdout == text
    assert guest.exec(["no-such-program"]).returncode == 127
    with pytest.raises(CommandError, match="ended with 3"):
        guest.exec(["sh", "-c", "exit 3"], check=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        assert guest.exec(["sh", "-c", f"kill -{number:d} $$"]).returncode == 128 + number


def test_who_reads_the_beginning_of_an_output_only_sees_no_traceback(plain_lab: Lab) -> None:
    words = ["--name", plain_lab.name, "exec", "director-1", "--", "seq", "1000000"]
    command = [sys.executable, "-m", "lvs_lab", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdout.readline()
        reading.stdout.close()
        assert (reading.stderr.read(), reading.wait(60)) == (b"", 141)


def test_a_command_whose_client_goes_is_killed_with_its_children(plain_lab: Lab) -> None:
    guest = plain_lab.guest("server-1")
    with guest.open(["sh", "-c", "sleep 4242 & echo started; wait"]) as connection:
        assert next(connection.frames(5))[1] == b"started\n"
        assert guest.exec(["pgrep", "-f", "sleep 4242"]).ok
    wait_for(lambda: not guest.exec(["pgrep", "-x", "-f", "sleep 4242"]).ok, 5, "the command to be killed")
    with pytest.raises(ExecError, match=r"did not end within 0\.2 s"):
        guest.exec(["sleep", "10"], timeout=0.2)


def test_modules_and_devices_are_as_on_a_real_node(plain_lab: Lab) -> None:
    guest = plain_lab.guest("server-3")
    assert not guest.exec(["test", "-e", "/proc/net/ip_vs"]).ok
    assert set(guest.out("ls", "/sys/class/net").split()) == {"lo", "eth0", "ctl0"}
    guest.out("ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", "mh")
    guest.out("modprobe", "ipip")
    assert guest.exec(["test", "-e", "/sys/module/ip_vs_mh"]).ok
    assert "tunl0" in guest.out("ls", "/sys/class/net").split()


def test_servers_answer_with_their_node_over_both_families_and_udp(plain_lab: Lab) -> None:
    guest, client = plain_lab.guest("server-1"), plain_lab.machine("client")
    web = guest.serve(port=8081)
    datagrams = guest.serve(port=8081, protocol="udp", address=guest.ip)
    for address in (guest.ip, f"[{guest.ip6}]"):
        assert client.out("curl", "--silent", f"http://{address}:8081/") == "server-1\n"
    ask = f"echo | timeout 2 socat -t1 - UDP4:{guest.ip}:8081"
    assert plain_lab.guest("server-2").sh(ask) == "server-1\n"
    with pytest.raises(CommandError, match="Address already in use"):
        guest.serve(port=8081)
    web.stop()
    datagrams.stop()
    assert client.exec(["curl", "--silent", f"http://{guest.ip}:8081/"]).returncode == 7  # refused


def test_a_power_cut_keeps_the_state_directory_only(plain_lab: Lab) -> None:
    guest = plain_lab.guest("server-2")
    guest.sh(f"echo kept > {STATE_DIRECTORY}/note; sync {STATE_DIRECTORY}/note; echo lost > /root/note")
    boot_id = guest.out("cat", "/proc/sys/kernel/random/boot_id")
    with guest.open(["sleep", "600"]) as connection:
        guest.power_off()
        with pytest.raises(ExecError, match=r"its power was cut before the command ended|the exec channel broke"):
            next(connection.frames(60))
    assert not guest.running
    with pytest.raises(ExecError):
        guest.exec(["true"])
    assert not pings(plain_lab, guest.ip)
    guest.power_on()
    assert guest.out("cat", "/proc/sys/kernel/random/boot_id") != boot_id
    assert guest.out("cat", f"{STATE_DIRECTORY}/note") == "kept\n"
    assert not guest.exec(["test", "-e", "/root/note"]).ok
    assert pings(plain_lab, guest.ip)


def test_a_node_without_power_becomes_not_ready_and_comes_back(plain_lab: Lab) -> None:
    assert node_ready(plain_lab, "server-3") == "True"
    plain_lab.guest("server-3").power_off()
    wait_until_not_ready(plain_lab, "server-3")
    plain_lab.guest("server-3").power_on()
    wait_for(lambda: node_ready(plain_lab, "server-3") == "True", 30, "the node to be Ready")


def test_links_lose_their_carrier_fall_silent_and_are_mended(plain_lab: Lab) -> None:
    guest = plain_lab.guest("server-1")
    carrier = ["cat", "/sys/class/net/eth0/carrier"]
    for state, told in (("down", "0\n"), ("up", "1\n"), ("silent", "1\n"), ("up", "1\n")):
        guest.link(state)
        assert guest.out(*carrier) == told
        if state == "up":
            wait_for(lambda: pings(plain_lab, guest.ip), 10, "the guest to answer")
        else:
            assert not pings(plain_lab, guest.ip)


def test_loss_and_delay_are_felt_and_go_away(plain_lab: Lab) -> None:
    guest, client = plain_lab.guest("server-1"), plain_lab.machine("client")
    guest.link("delay=100ms")
    slow = client.out("ping", "-c", "3", "-i", "0.1", "-q", guest.ip)
    assert float(slow.rpartition(" = ")[2].split("/")[0]) >= 200
    guest.link("loss=100%")
    assert not pings(plain_lab, guest.ip)
    guest.link("up")
    assert "netem" not in guest.out("tc", "-n", "lab", "qdisc", "show")
    assert pings(plain_lab, guest.ip)


def test_a_paused_guest_is_silent_and_goes_on(plain_lab: Lab) -> None:
    guest = plain_lab.guest("server-1")
    guest.pause()
    assert guest.paused
    assert not pings(plain_lab, guest.ip)
    guest.resume()
    wait_for(lambda: pings(plain_lab, guest.ip), 10, "the guest to answer")


def test_a_capture_shows_packets_while_it_runs(plain_lab: Lab) -> None:
    guest, client = plain_lab.guest("server-1"), plain_lab.machine("client")
    with guest.capture("icmp", "and", "src", client.ip) as on_guest, client.capture("icmp") as on_client:
        assert pings(plain_lab, guest.ip)
        wait_for(lambda: "echo request" in "".join(on_guest.lines()), 5, "the packet at the guest")
        wait_for(lambda: "echo request" in "".join(on_client.lines()), 5, "the packet at the client")
    with pytest.raises(LabError, match="syntax error"):
        client.capture("no such filter")


def test_programs_outside_the_lab_reach_the_api_server(plain_lab: Lab) -> None:
    kubectl = plain_lab.control_plane.kubectl_command([])[0]
    command = [kubectl, f"--kubeconfig={plain_lab.host_kubeconfig}", "get", "nodes", "--output=name"]
    seen = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    assert seen == [f"node/{node.name}" for node in sorted(plain_lab.topology.nodes, key=lambda node: node.name)]


def test_a_paused_api_server_is_silent_and_a_stopped_one_refuses(plain_lab: Lab) -> None:
    plane = plain_lab.control_plane
    probe = ["curl", "--silent", "--insecure", "--max-time", "1", f"{plane.url}/readyz"]
    guest = plain_lab.guest("server-1")
    plane.pause()
    assert guest.exec(probe).returncode == 28  # no answer in time
    plane.resume()
    plane.stop()
    assert guest.exec(probe).returncode == 7  # refused
    plane.start("kube-apiserver")
    plane.wait_until_ready()
    assert len(plain_lab.kubectl("get", "nodes", "--output=name").stdout.split()) == 5


def test_mistakes_are_told_in_one_line(plain_lab: Lab) -> None:
    name = plain_lab.name
    for words, told in (
        (("exec", "--name", "nowhere", "x", "--", "true"), "no lab called 'nowhere' is up"),
        (("exec", "--name", name, "x", "--", "true"), "no machine is called 'x'; there are director-1"),
        (("power-off", "--name", name, "client"), "client is a namespace, not a guest"),
        (("power-on", "--name", name, "server-1"), "server-1 is on already"),
        (("serve", "--name", name, "server-1", "--port", "8099", "--stop"), "server-1: no such server runs"),
        (("load-image", "--name", name, "absent.tar"), "has no node with a kubelet"),
        (("link", "--name", name, "server-1", "sideways"), "sideways: say up, down, silent"),
        (("link", "--name", name, "server-1", "down", "--device", "eth7"), "server-1 has no card 'eth7'"),
        (("link", "--name", name, "client", "loss=5%"), "client is a namespace of this machine, whose kernel has no"),
        (("up", "--name", "UP"), "'UP' is no name for a lab"),
    ):
        done = lvs_lab(*words)
        assert done.returncode == 1, words
        assert done.stderr.startswith("lvs-lab: "), done.stderr
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
