"""The seams to this kernel that hold sockets: opened together, and closed together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from lvs_agent.kernel.delivery_routes import KernelDeliveryRoutes
from lvs_agent.kernel.host_routes import KernelHostRoutes
from lvs_agent.kernel.ipvs import KernelIpvsTable
from lvs_agent.kernel.ipvs_settings import KernelIpvsSettings
from lvs_agent.kernel.links import KernelLinksSeam
from lvs_agent.kernel.receive_ports import KernelReceivePorts


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSeams:
    """One of each, on the network namespace in which they were opened."""

    ipvs: KernelIpvsTable
    settings: KernelIpvsSettings
    links: KernelLinksSeam
    host_routes: KernelHostRoutes
    delivery: KernelDeliveryRoutes
    receive_ports: KernelReceivePorts


@asynccontextmanager
async def open_seams() -> AsyncIterator[KernelSeams]:
    """All of them, for as long as the context lasts."""
    seams = KernelSeams(
        ipvs=KernelIpvsTable(),
        settings=KernelIpvsSettings(),
        links=KernelLinksSeam(),
        host_routes=KernelHostRoutes(),
        delivery=KernelDeliveryRoutes(),
        receive_ports=KernelReceivePorts(),
    )
    async with AsyncExitStack() as cleanup:
        for plain in (seams.receive_ports, seams.settings, seams.ipvs):
            cleanup.callback(plain.close)
        for awaited in (seams.links, seams.host_routes, seams.delivery):
            cleanup.push_async_callback(awaited.close)
        yield seams
