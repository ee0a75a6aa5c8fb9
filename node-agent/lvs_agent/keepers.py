"""All that brings a part of this node to what it shall be."""

from dataclasses import dataclass

from lvs_agent.converge.addresses import AddressKeeper
from lvs_agent.converge.delivery import DeliveryKeeper
from lvs_agent.converge.ftp_helper import FtpHelperKeeper
from lvs_agent.converge.handed_on import HandedOnKeeper
from lvs_agent.converge.node_settings import NodeSettingsKeeper
from lvs_agent.converge.packet_filter import PacketFilterKeeper
from lvs_agent.converge.receive_ports import ReceivePortKeeper
from lvs_agent.converge.refusals import RefusalKeeper
from lvs_agent.converge.routes import RouteKeeper
from lvs_agent.converge.sync_daemons import SyncDaemonKeeper
from lvs_agent.converge.table import TableKeeper
from lvs_agent.converge.unseen_packets import UnseenPacketKeeper
from lvs_agent.converge.virtual_routers import VrrpKeeper
from lvs_agent.disk.ledger_keeper import LedgerKeeper
from lvs_agent.serve.zero import ZeroKeeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepers:
    """One for each part of the kernel and of the disk that the agent writes, one that listens; `Convergence` orders."""

    table: TableKeeper
    settings: NodeSettingsKeeper
    daemons: SyncDaemonKeeper
    addresses: AddressKeeper
    host_routes: RouteKeeper
    packet_filter: PacketFilterKeeper
    receive_ports: ReceivePortKeeper
    ftp_helper: FtpHelperKeeper
    delivery: DeliveryKeeper
    handed_on: HandedOnKeeper
    refusals: RefusalKeeper
    vrrp: VrrpKeeper
    ledger: LedgerKeeper
    zero: ZeroKeeper
    unseen: UnseenPacketKeeper
