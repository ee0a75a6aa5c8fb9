"""The Master of a virtual router with addresses of both families loses its power: what it costs over IPv6.

Figures are printed; adverts are each 100 ms.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from typing import Final

import pytest

from lvs_agent.decide.vrrp_config import ANNOUNCEMENTS
from lvs_lab.lab_machine import Capture
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import deployed
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import Sign, longest_silence, read_packet
from support.neighbours import claimants6, mac_of, neighbour
from support.steady_load import plain_real_servers, steady_load, steady_probes
from support.traffic import count_replies

pytestmark = [pytest.mark.lab, pytest.mark.long]

DIRECTORS: Final = ("sp-one", "sp-two")
SERVERS: Final = ("sp-server-1", "sp-server-2")
CLIENT: Final = "sp-client"
VIP, VIP6 = "192.168.72.127", "2001:db8:72::127"
ROUTER_ID: Final = 72
CONNECTIONS_A_SECOND: Final = 100
UNREACHABLE_SECONDS: Final = 5.0
"""Sooner no client finds by itself that a neighbour is gone: it waits for so long before it asks (RFC 4861, 10)."""
OBJECTS: Final = f"""
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {{name: spread}}
spec:
  nodes: {{selector: {{matchLabels: {{lvs-operator.io/director-group: spread}}}}}}
  failover: VRRP
  vrrp:
    advertIntervalMilliseconds: 100
    virtualRouterIds: [{ROUTER_ID}]
    priorities: [{{node: sp-one, priority: 150}}, {{node: sp-two, priority: 100}}]
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {{name: web}}
spec:
  realServers:
    - {{name: one, address: 192.168.72.11}}
    - {{name: two, address: 192.168.72.12}}
    - {{name: one-six, address: "2001:db8:72::11"}}
    - {{name: two-six, address: "2001:db8:72::12"}}
  healthCheck: {{intervalSeconds: 1, timeoutSeconds: 1, rise: 1, fall: 3, tcp: {{}}}}
---
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {{name: web}}
spec:
  addresses: ["{VIP}", "{VIP6}"]
  ports: [{{name: http, protocol: TCP, port: 80}}]
  scheduler: rr
  forwarding: {{method: DirectRouting}}
  realServerPoolRef: {{name: web}}
  directorGroupRef: {{name: spread}}
"""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorPair]:
    with (
        deployed("power-off-ipv6", ["spread"], tmp_path_factory.mktemp("power-off-ipv6")) as deployment,
        plain_real_servers(deployment.lab, VIP, *SERVERS),
    ):
        for name in SERVERS:
            deployment.lab.machine(name).out("ip", "address", "add", f"{VIP6}/128", "dev", "lo")
        for name in DIRECTORS:
            deployment.start_vrrp(name)
        deployment.apply(OBJECTS)
        deployment.wait_ready("web")
        yield DirectorPair(deployment=deployment, names=DIRECTORS, client_name=CLIENT, vip=VIP, router_id=ROUTER_ID)


def unsolicited(*bits: str) -> list[str]:
    """A filter of neighbour advertisements that nobody asked for, with these more."""
    return ["icmp6", "and", "ip6[40]", "==", "136", "and", "ip6[44]", "&", "0x40", "==", "0", *bits]


def overriding(mac: str) -> list[str]:
    """A filter of those that replace what a neighbour knew, and say that the address is here (RFC 4861, 4.4)."""
    number = mac.replace(":", "")
    option = f"ip6[64] == 2 and ip6[66:4] == 0x{number[:8]} and ip6[70:2] == 0x{number[8:]}"
    return unsolicited(f"and ip6[44] & 0x20 != 0 and {option}")


def of_the_vip(capture: Capture) -> list[str]:
    """Those that speak of the VIP, without their time: no two captures give a packet the same."""
    return [line.partition(" ")[2] for line in capture.lines() if f"tgt is {VIP6}" in line]


def masters(capture: Capture, names: dict[str, str]) -> list[str]:
    """Who has sent adverts over IPv6, one after the other."""
    packets = [read_packet(line, VIP, ROUTER_ID) for line in capture.lines()]
    adverts = sorted(one for one in packets if one is not None and one.sign is Sign.ADVERT)
    return [name for name, _ in groupby(names[one.mac] for one in adverts)]


def must_carry_both(pair: DirectorPair, name: str) -> None:
    """The addresses of both families are with this director, and with no other."""
    pair.wait_master(name)
    holders = [one for one in DIRECTORS if pair.deployment.lab.guest(one).running]
    assert [one for one in holders if f"{VIP6}/128" in pair.deployment.addresses(one, "eth0")] == [name]
    for vip in (VIP, VIP6):
        wait_for(
            lambda vip=vip: count_replies(pair.client, vip, 12).keys() == set(SERVERS),  # type: ignore[misc]  # mypy infers no lambda with a default
            READY_SECONDS,
            f"all real servers to answer at {vip}",
        )


def test_a_power_off_is_over_for_both_families_at_once(pair: DirectorPair) -> None:
    """Clients learn by neighbour advertisements with the override flag where it is; who comes back takes neither."""
    names = dict(pair.macs)
    master = pair.master()
    other = pair.other(master)
    must_carry_both(pair, master)
    mac = mac_of(pair.deployment.lab.guest(other))
    namespace = pair.deployment.client_namespace(CLIENT)
    with ExitStack() as stack:
        adverts = stack.enter_context(pair.client.capture("ip6", "proto", "112"))
        told = stack.enter_context(pair.client.capture(*unsolicited()))
        replacing = stack.enter_context(pair.client.capture(*overriding(mac)))
        load = stack.enter_context(steady_load(namespace, VIP6, CONNECTIONS_A_SECOND))
        probes = {vip: stack.enter_context(steady_probes(namespace, vip)) for vip in (VIP, VIP6)}
        wait_for(lambda: masters(adverts, names) == [master], TAKE_OVER_SECONDS, f"{master} to be heard")
        pair.deployment.lab.guest(master).power_off()
        must_carry_both(pair, other)
        assert neighbour(pair.client, VIP6) == mac
        # Another time after a second, for those that missed the first.
        wait_for(lambda: len(of_the_vip(replacing)) >= 2 * ANNOUNCEMENTS, TAKE_OVER_SECONDS, "neighbours to be told")
    silences = {vip: longest_silence(probe.replies, probe.ended) for vip, probe in probes.items()}
    print(f"power off: seconds without a reply {silences}, {len(of_the_vip(told))} advertisements; over IPv6 {load}")
    assert of_the_vip(told) == of_the_vip(replacing)
    assert masters(adverts, names) == [master, other]
    assert max(silences.values()) < UNREACHABLE_SECONDS
    assert load.succeeded > 0
    pair.deployment.ensure_running()
    pair.wait_settled(other)
    pair.must_stay(other)
    must_carry_both(pair, other)
    assert claimants6(pair.client, VIP6) == {mac}
