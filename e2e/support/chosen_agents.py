"""A lab with lvs-operator in it, its agents as processes or as pods: what was chosen for the test session."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from support.deployment import Deployment, deployed
from support.pod_deployment import POD_ADVERT_MILLISECONDS, deployed_as_pods


class Agents(StrEnum):
    """What operator and agents are."""

    PROCESSES = "processes"
    """Programs of the checkout on plain nodes."""
    PODS = "pods"
    """Pods of the images on nodes with kubelets, brought by the chart."""


BOOTED_KUBELET: Final = "a kubelet that has booted starts no pod before the API server has told it which"
_CHOSEN: Final = "LVS_LAB_AGENTS"
"""In the environment, so that it holds for all that a session starts."""


def choose(agents: Agents) -> None:
    """Let the labs of this session have agents of this kind."""
    os.environ[_CHOSEN] = agents


def chosen() -> Agents:
    """What was chosen, else processes."""
    return Agents(os.environ.get(_CHOSEN, Agents.PROCESSES))


def advert_milliseconds() -> int:
    """Between the adverts of directors that fail over."""
    return POD_ADVERT_MILLISECONDS if chosen() is Agents.PODS else 100


@contextmanager
def deployed_as_chosen(name: str, topologies: Sequence[str], directory: Path) -> Iterator[Deployment]:
    """A lab of these standard topologies with everything running in it; `directory` takes what processes write."""
    if chosen() is Agents.PODS:
        with deployed_as_pods(name, topologies) as pods:
            yield pods
    else:
        with deployed(name, topologies, directory) as processes:
            yield processes
