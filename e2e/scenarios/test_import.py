"""A table made by hand, which carries traffic, becomes objects without a lost request or a write to the kernel."""

import os
import sys

import pytest
import yaml

from lvs_lab.host_commands import run
from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, METRICS_PORT, Deployment, holds
from support.quick_start import SERVERS, active_director, quick_shape
from support.tables import Shape
from support.traffic import HeldConnection, steady_requests

pytestmark = pytest.mark.lab
VIP = "192.168.10.120"
NAME = "vip-192-168-10-120"
WEIGHTS = dict(zip(SERVERS, (1, 2, 3), strict=True))
HAND_MADE = "\n".join(
    [
        f"-A -t {VIP}:80 -s wrr",
        *(f"-a -t {VIP}:80 -r {SERVERS[name]}:80 -g -w {weight}" for name, weight in WEIGHTS.items()),
    ]
)


def imported(web: Deployment, saved: str, *words: str) -> str:
    """As a person runs it."""
    environment = {**os.environ, "KUBECONFIG": str(web.lab.host_kubeconfig)}
    return run([sys.executable, "-m", "lvs_cli", "import", *words], env=environment, stdin=saved).stdout


def wanted() -> Shape:
    return quick_shape() | quick_shape("wrr", WEIGHTS, vip=VIP)


def ipvs_writes(web: Deployment, node: str) -> float:
    return web.agent_metric(node, 'lvs_agent_kernel_writes_total{kind="ipvs"}')


def is_prepared(web: Deployment) -> bool:
    """Whether every real server's node says that it has the address and keeps it silent."""
    named = [name for name in web.names("lvsslice") if name.startswith(f"{NAME}-")]
    members = [member for name in named for member in web.get("lvsslice", name)["spec"]["members"]]
    return len(members) == len(SERVERS) and all(member["prepared"] for member in members)


def would_lose_weight(web: Deployment, node: str) -> bool:
    """Whether a director would take weight away if the pause ended now."""
    said = {one["name"]: one for one in web.get("lvsnode", node)["status"].get("exceptions", ())}
    assert said[NAME]["reason"] == "Paused"
    return "without the pause" in said[NAME]["message"]


def test_a_running_table_is_taken_over_without_a_flap(web: Deployment) -> None:
    active = active_director(web)
    director, client = web.lab.guest(active), web.client_namespace("client")
    for server in SERVERS:
        web.lab.guest(server).out("ip", "address", "add", f"{VIP}/32", "dev", "lo")
    director.exec(["ipvsadm", "-R"], stdin=HAND_MADE + "\n", check=True)
    director.out("ip", "address", "add", f"{VIP}/32", "dev", "eth0")
    saved = "\n".join(line for line in director.out("ipvsadm", "-Sn").splitlines() if VIP in line)
    assert web.shape(active) == wanted()
    before = ipvs_writes(web, active)
    with HeldConnection(client, VIP) as held, steady_requests(client, VIP) as record:
        first = held.ask()
        web.apply(imported(web, saved, "--paused"))
        wait_for(holds(lambda: is_prepared(web)), 40, "the real servers to be prepared")
        wait_for(holds(lambda: not would_lose_weight(web, active)), 30, "nobody to lose weight at the end of the pause")
        assert web.shape(active) == wanted()
        assert "would be changed" in imported(web, saved, "--dry-run")
        web.apply(imported(web, saved))
        web.wait_ready(NAME)
        for node in ("director-1", "director-2"):
            web.wait_shape(node, wanted())
        assert held.ask() == first
        assert ipvs_writes(web, active) == before
        assert f"{VIP}/32" in web.addresses(active, "eth0")
        assert "would be" not in imported(web, saved, "--dry-run")
    assert record.failures == []
    # It is ours now: it goes with the object.
    web.lab.kubectl("delete", "lvsvs", NAME)
    for node in ("director-1", "director-2"):
        web.wait_shape(node, quick_shape(), deadline=GONE_SECONDS)
    wait_for(lambda: f"{VIP}/32" not in web.addresses(active, "eth0"), GONE_SECONDS, f"{active} to let {VIP} go")
    for server in SERVERS:
        wait_for(lambda one=server: f"{VIP}/32" not in web.addresses(one, "lo"), GONE_SECONDS, f"{server} to unbind")


def adopted(web: Deployment, director: str, *words: str) -> str:
    """As a person runs it; the agents of this lab are no pods."""
    command = [sys.executable, "-m", "lvs_cli", "adopt", director, "--through", "nodes"]
    environment = {**os.environ, "KUBECONFIG": str(web.lab.host_kubeconfig)}
    return run([*command, "--metrics-port", str(METRICS_PORT), *words], env=environment).stdout


def connections(web: Deployment, node: str) -> int:
    """How many the kernel has counted for the virtual service since it was made; it sums up every two seconds."""
    lines = web.lab.guest(node).out("ipvsadm", "-Ln", "--stats", "--exact", "-t", f"{VIP}:80").splitlines()
    return next(int(line.split()[2]) for line in lines if line.startswith("TCP "))


def test_adopt_reads_the_table_from_the_director_and_takes_it_over(web: Deployment) -> None:
    """Thresholds come along, which `ipvsadm -S` leaves out."""
    active = active_director(web)
    director, client = web.lab.guest(active), web.client_namespace("client")
    for server in SERVERS:
        web.lab.guest(server).out("ip", "address", "add", f"{VIP}/32", "dev", "lo")
    web.lab.kubectl("delete", "lvspool", NAME, "--ignore-not-found")
    limited = HAND_MADE.replace(" -g ", " -g -x 1000 -y 900 ")
    director.exec(["ipvsadm", "-R"], stdin=limited + "\n", check=True)
    director.out("ip", "address", "add", f"{VIP}/32", "dev", "eth0")
    before = ipvs_writes(web, active)
    with HeldConnection(client, VIP) as held, steady_requests(client, VIP) as record:
        first = held.ask()
        wait_for(lambda: connections(web, active) > 0, 30, "the kernel to count")
        text = adopted(web, active, "--paused")
        assert text.count("upperThreshold: 1000") == text.count("lowerThreshold: 900") == len(SERVERS)
        web.apply(text)
        wait_for(holds(lambda: is_prepared(web)), 40, "the real servers to be prepared")
        wait_for(holds(lambda: not would_lose_weight(web, active)), 30, "nobody to lose weight at the end of the pause")
        standing = adopted(web, active, "--dry-run")
        assert f"default/{NAME} (paused)" in standing
        assert standing.count("becomes ours") == 1 + len(SERVERS)
        assert "weight" not in standing
        counted = connections(web, active)
        web.apply(text.replace("  paused: true\n", ""))
        web.wait_ready(NAME)
        for node in ("director-1", "director-2"):
            web.wait_shape(node, wanted())
        assert held.ask() == first
        assert ipvs_writes(web, active) == before
        wait_for(lambda: connections(web, active) > counted > 0, 30, "counters to go on from where they were")
        assert "becomes ours" not in adopted(web, active, "--dry-run")
        assert adopted(web, active) == ""
    assert record.failures == []
    limits = director.out("ipvsadm", "-Ln", "--thresholds", "-t", f"{VIP}:80").splitlines()
    assert [line.split()[2:4] for line in limits if "->" in line and ":80" in line] == [["1000", "900"]] * len(SERVERS)
    web.lab.kubectl("delete", "lvsvs,lvspool", NAME)
    for node in ("director-1", "director-2"):
        web.wait_shape(node, quick_shape(), deadline=GONE_SECONDS)
    for server in SERVERS:
        wait_for(lambda one=server: f"{VIP}/32" not in web.addresses(one, "lo"), GONE_SECONDS, f"{server} to unbind")


def test_what_differs_from_the_objects_is_left_alone_and_named(web: Deployment) -> None:
    """A threshold, which `ipvsadm -S` does not tell, keeps a real server of the hand-made table from being ours."""
    active = active_director(web)
    director = web.lab.guest(active)
    one = SERVERS["server-1"]
    director.exec(["ipvsadm", "-R"], stdin=f"{HAND_MADE}\n", check=True)
    director.out("ipvsadm", "-e", "-t", f"{VIP}:80", "-r", f"{one}:80", "-g", "-w", "1", "-x", "100")
    saved = "\n".join(line for line in director.out("ipvsadm", "-Sn").splitlines() if VIP in line)
    assert "-x" not in saved
    web.apply(imported(web, saved))
    web.wait_condition(NAME, "Programmed", "False", "ForeignEntry")
    assert f"{one}:80" in web.condition(NAME, "Programmed")["message"]
    limits = director.out("ipvsadm", "-Ln", "--thresholds", "-t", f"{VIP}:80")
    assert [line.split()[2] for line in limits.splitlines() if one in line] == ["100"]
    # With it in the file both are equal.
    web.apply(imported(web, saved.replace(f"-r {one}:80 -g -w 1", f"-r {one}:80 -g -w 1 -x 100")))
    web.wait_ready(NAME)
    web.wait_shape(active, wanted())


WIDE = """\
-A -t 192.168.10.121:80 -s sh -p 60 -M 255.255.255.0 -b sh-fallback,sh-port
-a -t 192.168.10.121:80 -r 192.168.10.31:80 -g -w 3 -x 100 -y 50
-a -t 192.168.10.121:80 -r 192.168.10.32:80 -i -w 2
-A -u 192.168.10.121:53 -s rr -o
-a -u 192.168.10.121:53 -r 192.168.10.31:5353 -m -w 1
-a -u 192.168.10.121:53 -r 192.168.10.32:5354 -m -w 0
-A -t 192.168.10.122:0 -s wlc -p 300
-a -t 192.168.10.122:0 -r 192.168.10.31:0 -g -w 1
-A -t [fd00:10::121]:443 -s mh -b mh-port
-a -t [fd00:10::121]:443 -r [fd00:10::31]:443 -g -w 1
-A -f 99 -s wrr -p 30
-a -f 99 -r 192.168.10.31:0 -g -w 65535
-A -f 99 -6 -s lc
-a -f 99 -6 -r [fd00:10::31]:0 -g -w 1
"""
WHOLE = "ipvsadm -Sn && ipvsadm -Ln --thresholds | awk '{print $1, $2, $3, $4}'"


def test_every_kind_of_entry_is_taken_for_what_it_is(web: Deployment) -> None:
    """Of plain machines, so that weights are the table's: the kernel says that all is equal, and nothing is written."""
    active = active_director(web)
    director = web.lab.guest(active)
    director.exec(["ipvsadm", "-R"], stdin=WIDE, check=True)
    there, before = director.sh(WHOLE), ipvs_writes(web, active)
    text = imported(web, WIDE)
    web.apply(text)
    names = [raw["metadata"]["name"] for raw in yaml.safe_load_all(text) if raw["kind"] == "LvsVirtualService"]
    assert len(names) == 6
    for name in names:
        web.wait_condition(name, "Programmed", "True")
    assert (director.sh(WHOLE), ipvs_writes(web, active)) == (there, before)
    other = next(node for node in ("director-1", "director-2") if node != active)
    assert web.lab.guest(other).sh(WHOLE) == there
