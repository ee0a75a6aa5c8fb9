"""What is told of a cluster when a test has failed, also when it can not be asked."""

from typing import NoReturn

from lvs_lab.errors import CommandError
from support.chart_looks import ChartLooks


class Away(ChartLooks):
    """A cluster whose API server is away; who its nodes are is asked of it, as with a kubeconfig."""

    def kubectl(self, *arguments: str, **_: object) -> NoReturn:
        raise CommandError(f"kubectl {arguments[0]} ended with 1: connection refused", returncode=1, stderr="")

    @property
    def node_names(self) -> list[str]:
        self.kubectl("get")


def test_a_cluster_that_can_not_be_asked_says_so_and_breaks_no_report() -> None:
    told = Away().describe()
    assert "--- nodes\nnot to be seen: kubectl get ended with 1: connection refused" in told
