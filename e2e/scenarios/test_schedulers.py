"""What schedulers' flags do, and a scheduler that a director's kernel has not got."""

from collections.abc import Iterator
from functools import partial

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment
from support.manifests import documents, pool_text, service_text
from support.quick_start import SERVERS, VIP, active_director, client, quick_shape
from support.traffic import answers, count_replies

pytestmark = pytest.mark.lab
DIRECTORS = ("director-1", "director-2")
HASHED, LACKING = "192.168.10.106", "192.168.10.107"
NO_TWOS = "/etc/modprobe.d/no-twos.conf"


@pytest.fixture
def hashed(web: Deployment) -> Iterator[Deployment]:
    """A service by sh, with a pool of its own."""
    servers = [{"name": name, "address": address} for name, address in SERVERS.items()]
    manifests = documents(pool_text("hashed", *servers), service_text("hashed", HASHED, scheduler="sh", pool="hashed"))
    web.apply(manifests)
    web.wait_ready("hashed")
    wait_for(partial(answers, client(web), HASHED), 10, f"{HASHED} to answer")
    yield web
    web.delete(manifests)
    for director in DIRECTORS:
        web.wait_shape(director, quick_shape(), deadline=GONE_SECONDS)


def set_scheduler(web: Deployment, scheduler: str, *flags: str) -> None:
    """Edit the service, and wait until the active director's kernel has it."""
    web.patch("lvsvs", "hashed", {"scheduler": scheduler, "schedulerFlags": list(flags)})
    wanted = f"TCP {HASHED}:80 {scheduler}" + (f" ({','.join(flags)})" if flags else "")
    wait_for(lambda: wanted in web.shape(active_director(web)), 20, f"{wanted} in the table")


def chosen(web: Deployment) -> set[str]:
    return set(count_replies(client(web), HASHED, 60))


def test_ports_are_hashed_too_where_a_flag_says_so(hashed: Deployment) -> None:
    """One client has one server by its address, and several by its addresses and ports."""
    assert len(chosen(hashed)) == 1
    set_scheduler(hashed, "sh", "sh-port")
    assert chosen(hashed) == set(SERVERS)
    set_scheduler(hashed, "mh", "mh-fallback", "mh-port")
    assert chosen(hashed) == set(SERVERS)
    set_scheduler(hashed, "mh")
    assert len(chosen(hashed)) == 1


def test_clients_of_a_server_without_weight_fall_back_where_a_flag_says_so(hashed: Deployment) -> None:
    (mine,) = chosen(hashed)
    servers = [{"name": name, "address": SERVERS[name], "weight": 0 if name == mine else 1} for name in SERVERS]
    hashed.patch("lvspool", "hashed", {"realServers": servers})
    entry = f"{SERVERS[mine]}:80"
    hashed.wait_weight(active_director(hashed), f"TCP {HASHED}:80", entry, 0, deadline=20)
    assert not answers(client(hashed), HASHED)
    set_scheduler(hashed, "sh", "sh-fallback")
    (other,) = chosen(hashed)
    assert other != mine


def test_a_scheduler_that_the_kernel_lacks_concerns_its_service_alone(web: Deployment) -> None:
    for name in DIRECTORS:
        web.lab.guest(name).sh(f"echo install ip_vs_twos /bin/false > {NO_TWOS}; modprobe -r ip_vs_twos")
    manifest = service_text("lacking", LACKING, scheduler="twos")
    web.apply(manifest)
    said = web.wait_condition("lacking", "Programmed", "False", "SchedulerUnavailable")
    assert "scheduler 'twos' (module ip_vs_twos)" in said["message"]
    assert f"{LACKING}/32" not in web.addresses(active_director(web), "eth0")
    web.wait_ready("web")
    assert set(count_replies(client(web), VIP, 30)) == set(SERVERS)
    for name in DIRECTORS:
        web.lab.guest(name).sh(f"rm {NO_TWOS}")
    web.wait_ready("lacking", deadline=90)
    web.delete(manifest)
    for name in DIRECTORS:
        web.wait_shape(name, quick_shape(), deadline=GONE_SECONDS)
