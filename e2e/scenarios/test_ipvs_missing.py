"""A director whose kernel may not load IPVS says so and does the rest of its work; it begins when it may."""

from typing import Final

import pytest

from lvs_lab.waiting import wait_for
from support.deployment import GONE_SECONDS, Deployment
from support.manifests import documents, pool_text, service_text
from support.quick_start import SERVERS, active_director, quick_shape, replies

pytestmark = pytest.mark.lab
DIRECTORS: Final = ("director-1", "director-2")
FORBIDDEN: Final = "/etc/modprobe.d/no-ipvs.conf"
OTHER_VIP: Final = "192.168.10.120"
OTHER_GROUP: Final = """\
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: other}
spec:
  nodes: {selector: {matchLabels: {kubernetes.io/hostname: ACTIVE}}}
"""


def test_a_director_without_ipvs_says_so_and_does_its_other_work(web: Deployment) -> None:
    """It is a real server of another director meanwhile: what that needs is bound."""
    active = active_director(web)
    (standby,) = set(DIRECTORS) - {active}
    guest = web.lab.guest(standby)
    web.lab.agent(standby).kill("TERM")
    guest.sh(f"ipvsadm -C; echo install ip_vs /bin/false > {FORBIDDEN}")
    guest.sh("for m in $(lsmod | awk '/^ip_vs_/{print $1}'); do modprobe -r $m; done; modprobe -r ip_vs")
    assert not guest.exec(["test", "-e", "/proc/net/ip_vs"]).ok
    other = documents(
        pool_text("other", {"name": "standby", "address": guest.ip}),
        service_text("other", OTHER_VIP, pool="other", more={"directorGroupRef": {"name": "other"}}),
    )
    group = OTHER_GROUP.replace("ACTIVE", active)
    try:
        web.start_agent(standby)
        said = web.wait_condition(standby, "Ready", "False", "IPVSUnavailable", kind="lvsnode")
        assert "load the module ip_vs on this node" in said["message"]
        said = web.wait_condition("web", "Programmed", "False", "IPVSUnavailable")
        assert standby in said["message"]
        web.apply(group, other)
        wait_for(lambda: f"{OTHER_VIP}/32" in web.addresses(standby, "lo"), 20, f"{standby} to bind {OTHER_VIP}")
        web.wait_ready("other")
        assert set(replies(web)) == set(SERVERS)
        assert not guest.exec(["test", "-e", "/proc/net/ip_vs"]).ok
    finally:
        guest.sh(f"rm {FORBIDDEN}")
        web.delete(other)
        web.wait_shape(active, quick_shape(), deadline=GONE_SECONDS)
        web.delete(group)
    web.wait_condition(standby, "Ready", "True", kind="lvsnode")
    web.wait_ready("web")
    web.wait_shape(standby, quick_shape())
