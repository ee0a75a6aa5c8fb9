"""What kernels count, as metrics and by `kubectl lvs list`, beside what ipvsadm says of the same kernels."""

import os
import re
import sys
from collections import Counter

import pytest

from lvs_lab.host_commands import Completed, run
from lvs_lab.waiting import wait_for
from support.deployment import METRICS_PORT, Deployment, holds
from support.manifests import service_text
from support.quick_start import KEY, SERVERS, VIP, active_director, client, quick_shape
from support.traffic import HeldConnection, count_replies

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+)")
REQUESTS = 60


def kubectl_lvs(web: Deployment, *words: str, check: bool = True) -> Completed:
    """As a person runs it; the agents of this lab are no pods."""
    command = [sys.executable, "-m", "lvs_cli", *words]
    return run(command, env={**os.environ, "KUBECONFIG": str(web.lab.host_kubeconfig)}, check=check)


def listed(web: Deployment, *words: str, check: bool = True) -> Completed:
    return kubectl_lvs(web, "list", "--through", "nodes", "--metrics-port", str(METRICS_PORT), *words, check=check)


def samples(web: Deployment, node: str) -> dict[tuple[str, str], float]:
    """The counters of a director's metrics, by name and member."""
    text = web.lab.kubectl("get", "--raw", f"/api/v1/nodes/{node}:{METRICS_PORT}/proxy/metrics").stdout
    found = {}
    for name, labels, value in SAMPLE.findall(text):
        if name.startswith(("lvs_virtual_service_", "lvs_real_server_")):
            said = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            member = said.pop("member", "")
            assert said == {"namespace": "default", "service": "web", "port": "http", "address": VIP}
            found[name, member] = float(value)
    return found


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def test_metrics_and_listing_say_what_ipvsadm_says(web: Deployment) -> None:
    active = active_director(web)
    assert count_replies(client(web), VIP, REQUESTS) == Counter(dict.fromkeys(SERVERS, REQUESTS // 3))

    def settled() -> bool:
        """The kernel sums up its counters every two seconds; then nothing moves any more."""
        counted, kernel = samples(web, active), web.counters(active)
        assert counted["lvs_virtual_service_connections_total", ""] >= REQUESTS
        for key, address in {"": "", **{f"node.{name}": f"{one}:80" for name, one in SERVERS.items()}}.items():
            prefix = "lvs_real_server" if key else "lvs_virtual_service"
            ours = tuple(
                counted[f"{prefix}_{name}_total", key]
                for name in ("connections", "incoming_packets", "outgoing_packets")
            )
            there = kernel[KEY, address]
            assert ours == (there.connections, there.in_packets, there.out_packets)
        return True

    wait_for(settled, 30, "the metrics to say what ipvsadm says", interval=0.5)

    def same(options: str, *words: str) -> bool:
        printed = web.lab.guest(active).out("ipvsadm", *options.split())
        assert stripped(listed(web, "--director", active, *words).stdout) == stripped(printed)
        return True

    for options, words in (
        ("-Ln", ()),
        ("-Ln --stats --exact", ("--stats", "--exact")),
        ("-Ln --persistent-conn", ("--persistent-conn",)),
        ("-L --timeout", ("--timeout",)),
        ("-L --daemon", ("--daemon",)),
    ):
        wait_for(lambda o=options, w=words: same(o, *w), 20, f"ipvsadm {options}", interval=0.5)
    names = listed(web, "-o", "wide").stdout
    assert names.count("default/web/http") == len(DIRECTORS)
    assert names.count("node.server-1") == len(DIRECTORS)


def test_connections_are_those_that_ipvsadm_lists(web: Deployment) -> None:
    active, network = active_director(web), web.client_namespace("client")

    def without_expiry(text: str) -> list[str]:
        """The rest of each line, and the heading."""
        return sorted(re.sub(r"^(\w+ +)\d+:\d\d ", r"\1", line) for line in text.splitlines())

    def same() -> bool:
        listing = listed(web, "--connections", "--director", active).stdout
        assert without_expiry(listing) == without_expiry(web.lab.guest(active).out("ipvsadm", "-Lnc"))
        assert all(one.source in listing for one in (first, second))
        return True

    with HeldConnection(network, VIP) as first, HeldConnection(network, VIP) as second:
        assert {first.ask(), second.ask()} <= set(SERVERS)
        wait_for(holds(same), 20, "the same connections", interval=0.5)


EXPORTED = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: exported}
spec:
  realServers:
    - {name: four, address: 192.168.10.31, weight: 3, upperThreshold: 100, lowerThreshold: 50}
    - {name: other, address: 192.168.10.32, weight: 2}
    - {name: six, address: "fd00:10::31"}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: exported}
spec:
  addresses: [192.168.10.110, "fd00:10::110"]
  ports: [{name: http, port: 80}, {name: dns, protocol: UDP, port: 53}]
  scheduler: mh
  schedulerFlags: [mh-fallback, mh-port]
  persistence: {timeoutSeconds: 60, ipv4PrefixLength: 24, ipv6PrefixLength: 64}
  realServerPoolRef: {name: exported}
"""
TABLE = "ipvsadm -Sn && ipvsadm -Ln --thresholds | awk '{print $1, $2, $3, $4}'"


def test_an_export_makes_the_same_table_in_an_empty_namespace(web: Deployment) -> None:
    """Nobody has the addresses of these real servers: they are not checked, so that they have their weight.

    Without any address of its own a namespace has no table of local routes, and takes no real server (inet_addr_type).
    """
    director = web.lab.guest(active_director(web))
    web.apply(EXPORTED)
    web.wait_ready("exported")
    saved = kubectl_lvs(web, "export", "--format", "ipvsadm-save", "--all-namespaces")
    assert "note: default/web port http: real servers are checked" in saved.stderr
    restore = ["unshare", "--net", "sh", "-c", f"ip link set lo up && ipvsadm -R && {TABLE}"]
    restored = director.exec(restore, stdin=saved.stdout, check=True).stdout
    there = director.sh(TABLE)
    assert "-> 192.168.10.31:80 100 50" in there
    assert restored == there


def test_a_director_that_is_not_reached_is_named(web: Deployment) -> None:
    active = active_director(web)
    silent = next(name for name in DIRECTORS if name != active)
    web.lab.agent(silent).kill()
    done = listed(web, check=False)
    assert done.returncode == 1
    assert f"{active}:\nIP Virtual Server version" in done.stdout
    assert f"{silent}:" not in done.stdout
    assert f"error: {silent}: the API server says 503" in done.stderr


def wait_counted(web: Deployment, node: str, key: str, connections: int) -> None:
    """The kernel sums up every two seconds."""
    wait_for(
        holds(lambda: web.counters(node)[key, ""].connections == connections),
        20,
        f"{connections} connections to be counted",
        interval=0.5,
    )


def test_counters_are_zeroed_once_where_it_was_asked_for(web: Deployment) -> None:
    """Of a service whose every connection is known: what is not summed up yet is counted after a zero."""
    active, vip = active_director(web), "192.168.10.111"
    key = f"TCP {vip}:80"
    web.apply(service_text("counted", vip))
    web.wait_ready("counted")
    assert count_replies(client(web), vip, 9).total() == 9
    wait_counted(web, active, key, 9)
    others = web.counters(active)[KEY, ""].connections
    said = kubectl_lvs(web, "zero", "counted").stdout.splitlines()
    assert said == [f"{name}: counters begin at 0 of 1 virtual service" for name in DIRECTORS]
    assert {entry.connections for (service, _), entry in web.counters(active).items() if service == key} == {0}
    assert web.counters(active)[KEY, ""].connections >= others > 0
    assert web.get("lvsnode", active)["status"]["countersZeroed"]["services"] == 1
    assert count_replies(client(web), vip, 9).total() == 9
    wait_counted(web, active, key, 9)
    web.lab.agent(active).kill()
    web.start_agent(active)
    wait_for(lambda: web.agent_metric(active, "lvs_agent_rounds_total") >= 3, 30, "three rounds", interval=0.5)
    assert web.counters(active)[key, ""].connections == 9
    assert web.shape(active) == {**quick_shape(), **quick_shape(vip=vip)}
