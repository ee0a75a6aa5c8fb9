"""What to look at when the demo failed: gathered before the lab goes down."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lvs_lab.artifacts import cache_root, remove_tree
from lvs_lab.errors import LabError
from lvs_lab.lab import Lab

_QUESTIONS = {
    "objects": ("get", "lvs", "--all-namespaces", "--output=yaml"),
    "nodes": ("get", "nodes", "--output=wide"),
    "pods": ("describe", "pods", "--all-namespaces"),
    "events": ("get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"),
}
_NODE_SCRIPT = """
for command in "ipvsadm -Ln" "ip -brief address" "ip -brief neighbour"; do echo "$ $command"; $command; echo; done
for log in /var/log/pods/*/*/*.log /var/log/kubelet.log; do echo "== $log"; tail -n 100 "$log"; echo; done
"""


def gather(lab: Lab) -> Path:
    """Write what Kubernetes and the nodes say into files, one per question; return their directory."""
    directory = cache_root() / "logs" / "demo-failed"
    remove_tree(directory)
    directory.mkdir(parents=True)
    for name, words in _QUESTIONS.items():
        (directory / f"{name}.txt").write_text(_answer(partial(_kubectl, lab, words)))
    for node in lab.topology.nodes:
        (directory / f"{node.name}.txt").write_text(_answer(partial(_look, lab, node.name)))
    return directory


def _answer(ask: Callable[[], str]) -> str:
    """What is answered, or why nothing is: one silent node must not hide the rest."""
    try:
        return ask()
    except LabError as error:
        return f"no answer: {error}\n"


def _kubectl(lab: Lab, words: tuple[str, ...]) -> str:
    done = lab.kubectl(*words, check=False, timeout=30)
    return done.stdout + done.stderr


def _look(lab: Lab, name: str) -> str:
    done = lab.guest(name).exec(["sh", "-c", _NODE_SCRIPT], timeout=20)
    return done.stdout + done.stderr
