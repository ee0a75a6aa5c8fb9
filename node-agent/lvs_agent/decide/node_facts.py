"""What the report of a node is made from."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from lvs_agent.decide import unseen_packets
from lvs_agent.decide.desired_addresses import DesiredAddresses
from lvs_agent.decide.desired_state import DesiredIpvs
from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import AddressBinding, AnyServiceKey, IPAddress
from lvs_agent.decide.refused_addresses import NO_REFUSALS, Refusals
from lvs_agent.decide.setting_report import SettingRow, summary
from lvs_agent.decide.withheld import NOTHING_WITHHELD, Withheld
from lvs_api.conditions import ConditionType
from lvs_api.lvs_node import CountersZeroed, NodeCapabilities, VirtualRouterReport
from lvs_core.cluster_view import ObjectKey
from lvs_core.plan import NodePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """What has a condition of its own while it lasts."""

    withheld: Withheld = NOTHING_WITHHELD
    """What of the API server's word is not carried out."""
    state: tuple[Fault, ...] = ()
    """What is the matter with the agent's files, the worst first."""
    blindness: Fault | None = None
    """Why checks say less than they should."""
    settings: tuple[SettingRow, ...] = ()
    """What the node has once, as far as somebody wants it, in trouble or not."""
    contest: Fault | None = None
    """Who keeps undoing what is ours in the IPVS table."""
    unseen: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    """Of services whose clients' packets arrive, and do not get to IPVS."""
    tunnels: Fault | None = None
    """Why tunnel devices unwrap what strangers send."""
    failover: Fault | None = None
    """Why the VRRP daemon does not run by what is wanted, or may not be heard."""

    def by_condition(self) -> Iterator[tuple[ConditionType, Fault | None]]:
        """Each condition with what it is True for; None where it is not there."""
        state = self.state
        lost = Fault(reason=state[0].reason, message="; ".join(one.message for one in state)) if state else None
        yield ConditionType.REMOVAL_HELD, self.withheld.removal
        yield ConditionType.CLUSTER_CHANGED, self.withheld.cluster
        yield ConditionType.STATE_NOT_STORED, lost
        yield ConditionType.CHECKS_BLIND, self.blindness
        yield ConditionType.SETTINGS_DIFFER, summary(self.settings)
        yield ConditionType.TABLE_CONTESTED, self.contest
        yield ConditionType.TRAFFIC_BLOCKED, unseen_packets.summary(self.unseen)
        yield ConditionType.TUNNELS_UNGUARDED, self.tunnels
        yield ConditionType.FAILOVER_IMPAIRED, self.failover


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the report is made from."""

    boot_id: str
    agent_version: str
    capabilities: NodeCapabilities
    plan: NodePlan
    refusals: Refusals = NO_REFUSALS
    desired: DesiredIpvs
    service_faults: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    service_notes: Mapping[AnyServiceKey, Fault] = field(default_factory=dict)
    """What is to be said of services that are as they shall be."""
    former_names: Mapping[AnyServiceKey, ObjectKey] = field(default_factory=dict)
    """LvsVirtualServices of which the kernel still has entries though the plan no longer has them."""
    present: frozenset[AnyServiceKey] = frozenset()
    addresses: DesiredAddresses = field(default_factory=DesiredAddresses)
    bound: frozenset[AddressBinding] = frozenset()
    """Ours, and bound."""
    own: tuple[IPAddress, ...] = ()
    """Of the node itself."""
    address_faults: Mapping[AddressBinding, Fault] = field(default_factory=dict)
    routers: Mapping[str, Sequence[VirtualRouterReport]] = field(default_factory=dict)
    """Virtual routers by director group."""
    closed_ports: Mapping[AddressBinding, Mapping[int, Fault]] = field(default_factory=dict)
    """Of VIPs those that are to be open for GUE and are not."""
    withdrawn: AbstractSet[IPAddress] = frozenset()
    """VIPs that are not carried for want of quorum."""
    takes_traffic: bool = True
    """The sysctls are as a real server needs them."""
    node_fault: Fault | None = None
    """What the node as a whole suffers from."""
    troubles: Troubles = field(default_factory=Troubles)
    zeroed: CountersZeroed | None = None
    """What was zeroed last."""
    now: str = ""
    """RFC 3339, for conditions."""
