"""An example is tried in a lab as its page says: up, deploy, serve, apply; with the `kubectl lvs` of the checkout."""

import pytest

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.lab import standard_topology
from support.lab_fixtures import LabOf
from support.lab_looks import lvs_lab
from support.traffic import count_replies

pytestmark = pytest.mark.lab

EXAMPLE = CHECKOUT / "examples" / "s14c-dr-weighted"
DIRECTOR, SERVERS = "s14c-director", ("s14c-rs100", "s14c-rs200")


def test_an_example_is_tried_as_its_page_says(own_lab: LabOf) -> None:
    lab = own_lab(standard_topology("s14c"))
    said = lvs_lab("--name", lab.name, "deploy")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"lab {lab.name!r}: the operator runs, and agents on {', '.join((DIRECTOR, *SERVERS))}\n"
    begun = lab.agent(DIRECTOR).pid
    assert lvs_lab("--name", lab.name, "deploy").returncode == 0
    assert lab.agent(DIRECTOR).pid == begun, "what runs is left alone"
    for server in SERVERS:
        assert lvs_lab("--name", lab.name, "serve", server).returncode == 0
    wait = ["wait", "lvsvs/s14c-web", "--timeout=60s"]
    for words in (
        ["apply", f"--filename={EXAMPLE}"],
        [*wait, "--for=condition=Ready"],
        [*wait, "--for=jsonpath={.status.realServers.ready}=2"],
    ):
        done = lvs_lab("--name", lab.name, "kubectl", *words)
        assert done.returncode == 0, done.stderr
    assert count_replies(lab.machine("s14c-client"), "192.168.4.15", 30) == dict(zip(SERVERS, (10, 20), strict=True))
    shown = lvs_lab("--name", lab.name, "kubectl", "lvs", "status")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "s14c-web" in shown.stdout
    listed = lvs_lab("--name", lab.name, "kubectl", "lvs", "list", "--through=nodes")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "TCP  192.168.4.15:80 wrr" in listed.stdout
