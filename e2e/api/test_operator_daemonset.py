"""The agents' DaemonSet, on a real API server."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvs_operator.agent_daemonset import AgentDaemonSet
from lvs_operator.api_client import ApiClient, read_kubeconfig
from support.api_server import ApiServer

PATH = "/apis/apps/v1/namespaces/default/daemonsets/lvs-agent"
TEMPLATE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "lvs-agent"},
    "spec": {
        "selector": {"matchLabels": {"app": "lvs-agent"}},
        "template": {
            "metadata": {"labels": {"app": "lvs-agent"}},
            "spec": {
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "containers": [
                    {
                        "name": "agent",
                        "image": "example.com/lvs-agent:1",
                        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
                        # The server spells these quantities in its own way: 0.1 becomes 100m.
                        "resources": {"requests": {"cpu": "0.1", "memory": "64Mi"}},
                    }
                ],
            },
        },
    },
}


@pytest.fixture(autouse=True)
def no_daemonset(api_server: ApiServer) -> Iterator[None]:
    yield
    api_server.request("DELETE", PATH)


def written(directory: Path, image: str, *, args: Sequence[str] = ()) -> Path:
    manifest = deepcopy(TEMPLATE)
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    container["image"] = image
    if args:
        container["args"] = list(args)
    file = directory / "daemonset.yaml"
    file.write_text(yaml.safe_dump(manifest))
    return file


def pod_spec(server: ApiServer) -> dict[str, Any]:
    spec: dict[str, Any] = server.request("GET", PATH).raise_for_status()["spec"]["template"]["spec"]
    return spec


async def test_it_is_made_kept_and_followed(api_server: ApiServer, tmp_path: Path) -> None:
    file = written(tmp_path, "example.com/lvs-agent:1")
    async with ApiClient(read_kubeconfig(api_server.kubeconfig)) as client:
        agents = AgentDaemonSet(client, file, "default", may_write=lambda: None)
        assert await agents.ensure()
        made = pod_spec(api_server)
        assert made["hostNetwork"] is True
        assert made["nodeSelector"] == {"kubernetes.io/os": "linux", "lvs-operator.io/node-agent": "wanted"}
        assert api_server.request("GET", PATH).body["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"] == 1

        assert not await agents.ensure()  # at rest nothing is written

        drift = {"spec": {"template": {"spec": {"nodeSelector": {"lvs-operator.io/node-agent": None}}}}}
        api_server.request("PATCH", PATH, drift, content_type="application/merge-patch+json").raise_for_status()
        assert await agents.ensure()
        assert pod_spec(api_server)["nodeSelector"] == made["nodeSelector"]
        assert not await agents.ensure()

        written(tmp_path, "example.com/lvs-agent:2")
        assert await agents.ensure()
        assert pod_spec(api_server)["containers"][0]["image"] == "example.com/lvs-agent:2"
        assert not await agents.ensure()


async def test_what_the_template_no_longer_has_goes(api_server: ApiServer, tmp_path: Path) -> None:
    """Also where another operator applied the one before."""
    file = written(tmp_path, "example.com/lvs-agent:1", args=["run", "--log-level=debug"])
    async with ApiClient(read_kubeconfig(api_server.kubeconfig)) as client:
        assert await AgentDaemonSet(client, file, "default", may_write=lambda: None).ensure()
        for args in (["run"], []):
            written(tmp_path, "example.com/lvs-agent:1", args=args)
            agents = AgentDaemonSet(client, file, "default", may_write=lambda: None)
            assert await agents.ensure()
            assert pod_spec(api_server)["containers"][0].get("args", []) == args
            assert not await agents.ensure()
