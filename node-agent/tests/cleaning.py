"""`lvs-agent cleanup` of the machine that a test works on."""

from agent_world import World

from lvs_agent.cleanup import clean_up
from lvs_agent.disk.ledger import LedgerFile


async def clean(world: World) -> tuple[str, ...]:
    """What could not be removed."""
    return await clean_up(
        LedgerFile(world.directory / "ledger", world.boot_id),
        [world.directory / "view"],
        ipvs=world.ipvs,
        links=world.links,
        host_routes=world.host_routes,
        delivery=world.delivery,
        settings=world.settings,
        packet_filter=world.packet_filter,
        receive_ports=world.receive_ports,
        sysctls=world.sysctls,
        vrrp=world.vrrp,
    )
