"""`make manifests`: the files for kubectl are what the chart renders, and a cluster takes them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_lab.errors import CommandError
from lvs_lab.plain_manifests import CRDS, INSTALL, write_manifests
from support.api_server import ApiServer, running_api_server
from support.chart_release import CHART, render
from support.operator_process import NAMESPACE

Json = dict[str, Any]
VALUES = f"--values={CHART}/ci/everything-values.yaml"
API = "--api-versions=lvs-operator.io/v1alpha1"


def documents(path: Path) -> list[Json]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("options", [(), (VALUES,)], ids=["default", "everything"])
def test_they_are_what_helm_template_gives(tmp_path: Path, options: tuple[str, ...]) -> None:
    crds, install = (documents(path) for path in write_manifests(tmp_path, *options))
    rendered = render(tmp_path, API, *options)
    hooks = [one for one in rendered if "helm.sh/hook" in one["metadata"].get("annotations", {})]
    assert {one["metadata"]["annotations"]["helm.sh/hook"] for one in hooks} == {"test", "pre-delete"}
    assert {one["kind"] for one in crds} == {"CustomResourceDefinition"}
    assert crds == [one for one in rendered if one["kind"] == "CustomResourceDefinition"]
    namespace, *others = install
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert others == [one for one in rendered if one not in crds and one not in hooks]


def test_a_wrong_value_is_refused_and_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="operater"):
        write_manifests(tmp_path, "--set=operater.replicas=1")


def kubectl(server: ApiServer, *arguments: str) -> str:
    done = server.kubectl(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cluster_takes_them_as_the_page_says(tmp_path: Path) -> None:
    crds, install = write_manifests(tmp_path)
    assert (crds.name, install.name) == (CRDS, INSTALL)
    with running_api_server(tmp_path / "server", extra_flags=("--allow-privileged=true",)) as server:
        kubectl(server, "apply", "--server-side", f"--filename={crds}")
        kubectl(server, "wait", "--for=condition=Established", "--timeout=60s", f"--filename={crds}")
        for _ in range(2):
            kubectl(server, "apply", "--server-side", f"--filename={install}")
        assert kubectl(server, "diff", "--server-side", f"--filename={install}") == ""
        group = json.loads(kubectl(server, "get", "lvsdirectorgroup", "default", "--output=json"))
        assert group["spec"]["nodes"]["selector"]["matchLabels"] == {"lvs-operator.io/role": "director"}
        kubectl(server, "delete", "--wait=false", f"--filename={install}")
        assert "lvsvirtualservices" in kubectl(server, "get", "--filename", str(crds))
