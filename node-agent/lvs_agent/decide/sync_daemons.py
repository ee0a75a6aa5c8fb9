"""Which sync daemons shall run, which to start and which to stop. Pure.

A daemon is ours where the ledger says so, with what it was started with. One that runs as it is to be is taken over;
one of somebody else's that runs in another way is left alone and is in the way.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_settings import SyncDaemon, SyncDaemons, SyncState
from lvs_agent.decide.setting_report import tenure_fault
from lvs_agent.decide.tenure import FIGHT_SECONDS, Tenure, tenure_of
from lvs_api.conditions import Reason
from lvs_api.lvs_node import VirtualRouterState
from lvs_core.group_settings import NodeSettings, SyncRole

_STATES = {SyncRole.MASTER: SyncState.MASTER, SyncRole.BACKUP: SyncState.BACKUP}
DaemonTenures = Mapping[SyncState, Tenure[SyncDaemon]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonsVerdict:
    """What to do, in the order of the fields: those that start anew are stopped before, those not wanted after.

    `owned` is what the ledger has to hold before the first start, and holds once all of this is done.
    """

    restarts: tuple[SyncState, ...] = ()
    """Of `starts`, those that run and have to be stopped for it."""
    starts: SyncDaemons = field(default_factory=dict)
    stops: tuple[SyncState, ...] = ()
    repairs: frozenset[SyncState] = frozenset()
    """Of `starts`, those in place of what somebody else did."""
    owned: SyncDaemons = field(default_factory=dict)
    tenures: DaemonTenures = field(default_factory=dict)
    foreign: SyncDaemons = field(default_factory=dict)
    """Somebody else's, in the way."""


def wanted_daemons(settings: NodeSettings) -> SyncDaemons:
    """What the groups of a node want to run there."""
    if settings.sync is None:
        return {}
    told = settings.sync.settings
    daemon = SyncDaemon(
        interface=told.interface,
        sync_id=told.sync_id,
        group=ip_address(told.multicast_group),
        port=told.port,
        ttl=told.ttl,
        max_length=told.max_length,
    )
    return {_STATES[role]: daemon for role in sorted(settings.sync.roles)}


def with_vrrp_roles(settings: NodeSettings, states: Mapping[str, AbstractSet[VirtualRouterState]]) -> NodeSettings:
    """The settings with the roles of groups whose directors settle by VRRP, by the states of their virtual routers.

    While a group has said nothing of any, nothing is known of its role, and the daemons stay as they are.
    """
    sync = settings.sync
    if sync is None or not sync.vrrp_groups:
        return settings
    if not all(states.get(group) for group in sync.vrrp_groups):
        return replace(settings, has_roles=False)
    heard = frozenset[VirtualRouterState]().union(*(states[group] for group in sync.vrrp_groups))
    roles = {SyncRole.MASTER if one is VirtualRouterState.MASTER else SyncRole.BACKUP for one in heard}
    return replace(settings, sync=replace(sync, roles=sync.roles | roles))


def judge_daemons(
    wanted: SyncDaemons, found: SyncDaemons, owned: SyncDaemons, tenures: DaemonTenures, now: float
) -> DaemonsVerdict:
    """Compare."""
    after: dict[SyncState, Tenure[SyncDaemon]] = {}
    ours: dict[SyncState, SyncDaemon] = {}
    starts: dict[SyncState, SyncDaemon] = {}
    foreign: dict[SyncState, SyncDaemon] = {}
    repairs: set[SyncState] = set()
    for state, want in wanted.items():
        have, started_with = found.get(state), owned.get(state)
        tenure = tenure_of(tenures, state, want)
        if have is not None and started_with is None and not want.is_met_by(have):
            foreign[state] = have
            continue
        if have is not None and want.is_met_by(have) and started_with in {None, want}:
            ours[state] = want
            after[state] = tenure.as_wanted(now)
        elif tenure.rests(now):
            if started_with is not None:
                ours[state] = started_with
            after[state] = tenure.left_so("none" if have is None else str(have), now)
        else:
            ours[state] = starts[state] = want
            after[state] = tenure.written(now)
            if tenure.is_repair:
                repairs.add(state)
    gone = {state: daemon for state, daemon in owned.items() if state not in wanted and state in found}
    return DaemonsVerdict(
        restarts=tuple(state for state in starts if state in found),
        starts=starts,
        # One that somebody else has started in another way since is theirs.
        stops=tuple(state for state, daemon in gone.items() if daemon.is_met_by(found[state])),
        repairs=frozenset(repairs),
        owned=ours,
        tenures=after,
        foreign=foreign,
    )


def daemon_fault(state: SyncState, tenure: Tenure[SyncDaemon]) -> Fault | None:
    """Why a daemon of ours does not run as it is to, or did not a short while ago."""
    return tenure_fault(
        "connectionSync",
        tenure,
        f"the sync daemon {state.name.lower()} from running as it is to: found {tenure.theirs}; it is started at most "
        f"every {FIGHT_SECONDS:.0f} s. Perhaps keepalived with lvs_sync_daemon, or ipvsadm --start-daemon and "
        "--stop-daemon in a script: let that leave it alone",
    )


def foreign_fault(state: SyncState, daemon: SyncDaemon) -> Fault:
    """Somebody else's daemon is in the way."""
    name = state.name.lower()
    return Fault(
        reason=Reason.FOREIGN_ENTRY,
        message=f"connectionSync: somebody else's sync daemon {name} runs {daemon}: stop what started it and then "
        f"ipvsadm --stop-daemon {name}, and one is started as it is to be",
    )
