"""The one process that a running lab keeps on this machine, so that programs here reach the API server and nodes live.

It relays 127.0.0.1:PORT to the API server, which is in a namespace of its own, and does for each plain guest what its
kubelet would do: renew the node's Lease while the guest runs. A guest without power, or paused, or cut off the
management network, renews nothing, and the node controller then finds it NotReady as it would a real one.
"""

import asyncio
import logging
import socket
import sys

import httpx2
from lightkube import Client, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node
from lightkube.types import PatchType

from lvs_lab import node_objects
from lvs_lab.control_plane import API_PORT
from lvs_lab.exec_channel import socket_in
from lvs_lab.faults import is_cut
from lvs_lab.guest import Guest
from lvs_lab.places import Places
from lvs_lab.record import read_topology
from lvs_lab.topology import Topology

RELAY_PORT_FILE = "api-port"
HOST_KUBECONFIG = "host.kubeconfig"
_BEAT_SECONDS = 3.0
_API_SECONDS = 3.0
_CHUNK = 1 << 16
_log = logging.getLogger("lvs_lab.supervisor")


class Heartbeats:
    """What the kubelets of plain guests would write while they live."""

    def __init__(self, places: Places, topology: Topology) -> None:
        self._places = places
        self._guests = [
            Guest(places, topology, node) for node in topology.nodes if node.in_cluster and not node.kubelet
        ]
        self._client: Client | None = None

    async def run(self) -> None:
        """Beat for ever."""
        while self._guests:
            try:
                await asyncio.to_thread(self.beat)
            except (ApiError, httpx2.HTTPError) as error:
                _log.warning("the API server did not take a heartbeat: %s", error)
            await asyncio.sleep(_BEAT_SECONDS)

    def beat(self) -> None:
        """Renew the Leases of all guests that live, and tell those Ready that came back."""
        client = self._connected()
        if client is None:
            return
        unready = {node.metadata.name for node in client.list(Node) if node.metadata and not _is_ready(node)}
        for guest in self._guests:
            name = guest.machine.name
            if guest.running and not guest.paused and not is_cut(self._places, name, "ctl0"):
                renewal = {"spec": {"renewTime": node_objects.now()}}
                client.patch(Lease, name, renewal, namespace=node_objects.LEASE_NAMESPACE, patch_type=PatchType.MERGE)
                if name in unready:
                    status = {"status": {"conditions": [node_objects.ready_condition()]}}
                    client.patch(Node.Status, name, status, patch_type=PatchType.STRATEGIC)

    def _connected(self) -> Client | None:
        """The client, as soon as the lab has written its credentials."""
        file = self._places.run / "credentials" / HOST_KUBECONFIG
        if self._client is None and file.exists():
            self._client = Client(
                KubeConfig.from_file(str(file)), timeout=httpx2.Timeout(_API_SECONDS), trust_env=False
            )
        return self._client


def _is_ready(node: Node) -> bool:
    conditions = (node.status and node.status.conditions) or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


class Relay:
    """Carries connections from a port of this machine's loopback to the API server."""

    def __init__(self, places: Places, topology: Topology) -> None:
        self._namespace = places.api
        self._target = (str(topology.api_address), API_PORT)
        self._port_file = places.run / RELAY_PORT_FILE

    async def run(self) -> None:
        """Listen and note the port; a supervisor that comes back takes the port that the first one had."""
        wanted = int(self._port_file.read_text()) if self._port_file.exists() else 0
        listening = socket.create_server(("127.0.0.1", wanted), backlog=256)
        server = await asyncio.start_server(self._carry, sock=listening)
        new = self._port_file.with_suffix(".new")
        new.write_text(f"{listening.getsockname()[1]}\n")
        new.rename(self._port_file)
        async with server:
            await server.serve_forever()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = socket_in(self._namespace)
        far.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(far, self._target)
        except OSError as error:
            _log.info("the API server refused a connection: %s", error)
            far.close()
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(sock=far)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    except OSError as error:
        _log.debug("a relayed connection broke: %s", error)
    finally:
        writer.close()


async def supervise(lab: str) -> None:
    """Serve one lab until this process is ended."""
    places = Places(lab)
    topology = read_topology(places)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Relay(places, topology).run())
        tasks.create_task(Heartbeats(places, topology).run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    asyncio.run(supervise(sys.argv[1]))
