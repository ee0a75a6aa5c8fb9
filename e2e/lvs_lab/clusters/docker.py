"""Docker as kind's clusters need it: images of this checkout, a container that plays the client, kind's network."""

import ipaddress
import json
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.clusters.cluster import Client, ClusterError, ImageReferences
from lvs_lab.clusters.lookers import WAIT
from lvs_lab.host_commands import Completed, run

NETWORK: Final = "kind"
"""Kind's own, of all its clusters on a machine."""
IMAGES: Final = ImageReferences(operator="localhost/lvs-operator:kind", node_agent="localhost/lvs-node-agent:kind")
_BUILD_SECONDS: Final = 1800
_FROM_THE_END: Final = 56
"""Docker gives addresses out from the beginning of a network; the virtual address is this far from its end."""
_SMALLEST: Final = 128
"""Addresses that a network must have for that."""


def why_no_docker() -> str:
    """Why containers can not be run here; "" where they can."""
    if shutil.which("docker") is None:
        return "docker is not installed here"
    asked = run(["docker", "version", "--format", "{{.Server.Version}}"], check=False, timeout=30)
    return "" if asked.ok else f"docker does not answer: {' '.join(asked.stderr.split())}"


def docker(*arguments: str, check: bool = True, timeout: float = 120) -> Completed:
    """Run docker."""
    return run(["docker", *arguments], check=check, timeout=timeout)


def build_with_docker() -> ImageReferences:
    """Both images of this checkout, as its Dockerfile says."""
    for target, reference in (("operator", IMAGES.operator), ("node-agent", IMAGES.node_agent)):
        docker("build", "--target", target, "--tag", reference, str(CHECKOUT), timeout=_BUILD_SECONDS)
    return IMAGES


def client_arguments(name: str, image: str) -> list[str]:
    """`docker run` for the client: on the nodes' network, doing nothing; it may send ARP."""
    program, *words = WAIT
    options = ["--detach", "--name", name, "--network", NETWORK, "--cap-add", "NET_RAW", "--entrypoint", program]
    return ["run", *options, image, *words]


def free_address(inspected: str) -> str:
    """An IPv4 address near the end of a network, out of what `docker network inspect` says. Raises ClusterError."""
    (network,) = json.loads(inspected)
    for config in network["IPAM"]["Config"] or ():
        subnet = ipaddress.ip_network(config["Subnet"])
        if subnet.version == 4 and subnet.num_addresses >= _SMALLEST:
            address = subnet.broadcast_address - _FROM_THE_END
            _require_free(network, str(address))
            return str(address)
    raise ClusterError(f"docker's network {network['Name']} has no IPv4 range of {_SMALLEST} addresses or more")


def _require_free(network: Mapping[str, Any], address: str) -> None:
    for container in network.get("Containers", {}).values():
        if container["IPv4Address"].partition("/")[0] == address:
            raise ClusterError(f"{address} on docker's network {network['Name']} belongs to {container['Name']}")


class ContainerMachine(Client):
    """A container, through `docker exec`."""

    def command(self, argv: Sequence[str]) -> list[str]:
        return ["docker", "exec", "--interactive", self.name, *argv]
