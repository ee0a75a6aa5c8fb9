"""`kubectl_complete-lvs`: what kubectl offers behind `kubectl lvs`."""

from typing import Any

import pytest

from lvs_api.objects import parse_object
from lvs_api.testing import director_group, lvs_node, virtual_service
from lvs_cli.cluster import Cluster
from lvs_cli.complete import Directive, main, propose
from lvs_cli.errors import CliError

RAWS = (
    virtual_service("web"),
    virtual_service("web-admin"),
    virtual_service("shop", namespace="shop"),
    lvs_node("director-1") | {"spec": {"directorGroups": ["edge"]}},
    lvs_node("server-1"),
    director_group("edge"),
)
COMMANDS = ["adopt", "export", "failover", "import", "list", "release", "status", "zero"]


class Objects(Cluster):
    """A cluster in memory."""

    def __init__(self) -> None:
        self.namespace = "default"

    def list(self, kind: Any, *, namespace: str | None = None) -> Any:
        found = [parse_object(kind, raw) for raw in RAWS if raw["kind"] == kind.name]
        return [one for one in found if namespace in {None, one.metadata.namespace}]


@pytest.mark.parametrize(
    ("line", "proposals"),
    [
        ("", COMMANDS),
        ("z", ["zero"]),
        ("zero ", ["web", "web-admin"]),
        ("zero web-", ["web-admin"]),
        ("zero --namespace shop ", ["shop"]),
        ("zero -n shop s", ["shop"]),
        ("zero --all --director ", ["director-1"]),
        ("status -n ", ["default", "shop"]),
        ("export --director-group ", ["edge"]),
        ("failover ", ["edge"]),
        ("failover edge --to ", ["director-1"]),
        ("release ", ["director-1", "server-1"]),
        ("release --all s", ["server-1"]),
        ("list --sort ", ["address", "connections", "name", "none"]),
        ("list -o j", ["json"]),
        ("list --th", ["--thresholds", "--through"]),
        ("list --stats ", []),
        ("list --metrics-port ", []),
        ("import --dr", ["--dry-run"]),
        ("adopt ", ["director-1"]),
        ("adopt director-1 --director-group ", ["edge"]),
        ("adopt director-1 --metrics-u", ["--metrics-url"]),
        ("nonsense ", []),
    ],
)
def test_proposals(line: str, proposals: list[str]) -> None:
    *before, word = line.split(" ")
    assert propose(before, word, lambda _: Objects()) == (proposals, Directive.NO_FILES)


def test_a_file_is_the_shells_affair() -> None:
    assert propose(["import", "-f"], "", lambda _: Objects()) == ([], Directive.DEFAULT)


def test_the_context_that_stands_there_is_asked() -> None:
    asked = []

    def open_cluster(context: str | None) -> Cluster:
        asked.append(context)
        return Objects()

    propose(["zero", "--context", "lab"], "", open_cluster)
    assert asked == ["lab"]


def test_a_cluster_that_can_not_be_asked() -> None:
    def open_cluster(_: str | None) -> Cluster:
        raise CliError("the kubeconfig cannot be used")

    assert propose(["zero"], "", open_cluster) == ([], Directive.ERROR)
    assert propose(["list", "--sort"], "na", open_cluster) == (["name"], Directive.NO_FILES)


def test_what_kubectl_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zero", "--a"]) == 0
    assert capsys.readouterr().out == "--all\n:4\n"
    assert main([""]) == 0
    assert capsys.readouterr().out.splitlines() == [*COMMANDS, ":4"]
