"""The one `cluster` of tests with kubelets, made by whoever `--cluster` names."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lvs_lab.clusters.cluster import Ability, Cluster, ClusterError, ImageReferences
from lvs_lab.clusters.docker import why_no_docker
from lvs_lab.clusters.kind import KindSettings, open_kind
from lvs_lab.clusters.kubeconfig import KubeconfigCluster
from support.cluster_release import lab_cluster
from support.lab_fixtures import KEEP_LABS


class BackEnd(StrEnum):
    """Who makes the cluster."""

    LAB = "lab"
    KIND = "kind"
    KUBECONFIG = "kubeconfig"


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What `--cluster` and the options beside it say."""

    back_end: BackEnd
    kubeconfig: Path | None = None
    address: str = ""
    images: ImageReferences | None = None

    @classmethod
    def parse(cls, cluster: str, address: str, images: str) -> "Choice":
        """`lab`, `kind`, `kubeconfig` or `kubeconfig:PATH`. Raises ClusterError, which says what is missing."""
        name, _, path = cluster.partition(":")
        if name not in set(BackEnd) or (path and name != BackEnd.KUBECONFIG):
            raise ClusterError(f"--cluster={cluster}: it is lab, kind, kubeconfig or kubeconfig:PATH")
        if name != BackEnd.KUBECONFIG:
            return cls(back_end=BackEnd(name))
        if not address or not images:
            raise ClusterError(
                "--cluster=kubeconfig wants --cluster-address=ADDRESS, a free one of the nodes' network, and "
                "--cluster-images=OPERATOR:TAG,NODE-AGENT:TAG, which the nodes have or can pull"
            )
        return cls(
            back_end=BackEnd.KUBECONFIG,
            kubeconfig=Path(path or os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config"),
            address=_ipv4(address),
            images=ImageReferences.parse(images),
        )


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError as error:
        raise ClusterError(f"--cluster-address: {error}") from error


def choice_of(config: pytest.Config) -> Choice:
    """What this session was told."""
    options = [config.getoption(name) for name in ("--cluster", "--cluster-address", "--cluster-images")]
    return Choice.parse(*options)


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of kubelets; the lab lays out what the module's TOPOLOGIES say, the others are as they are.

    Where kind can not run, the tests are skipped with the reason.
    """
    choice = choice_of(request.config)
    if choice.back_end is BackEnd.KIND and (reason := why_no_docker()):
        pytest.skip(f"kind lane: {reason}")
    with _opened(choice, request) as made:
        yield made


@contextmanager
def _opened(choice: Choice, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    made: AbstractContextManager[Cluster]
    if choice.back_end is BackEnd.KIND:
        made = open_kind(_kind_settings(request.config))
    elif choice.kubeconfig is not None and choice.images is not None:
        made = KubeconfigCluster.open(choice.kubeconfig, choice.address, choice.images)
    else:
        label = request.module.__name__.rpartition("test_")[2].replace("_", "-")
        made = lab_cluster(label, request.module.TOPOLOGIES)
    with made as one:
        yield one


def _kind_settings(config: pytest.Config) -> KindSettings:
    """As the options of pytest-kind say."""

    def path(option: str) -> Path | None:
        given = config.getoption(option)
        return Path(given) if given else None

    return KindSettings(
        name=config.getoption("cluster_name"),
        node_image=config.getoption("kind_image"),
        kind=path("kind_bin"),
        kubectl=path("kind_kubectl_bin"),
        keep=bool(config.getoption("keep_cluster")) or KEEP_LABS,
    )


def require(made: Cluster, ability: Ability) -> None:
    """Skip a test, with the reason, where the cluster can not do what it needs."""
    if reason := made.lack(ability):
        pytest.skip(f"this cluster can not {ability.value}: {reason}")
