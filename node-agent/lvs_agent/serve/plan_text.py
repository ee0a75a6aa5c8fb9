"""A plan as text, for people."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from lvs_agent.decide.kernel_state import IPV6
from lvs_api.network_types import TunnelType
from lvs_core.group_settings import CONNECTION_SYNC, sync_text
from lvs_core.plan import HttpTarget, NodePlan, PlannedMember, PlannedService


def plan_lines(plan: NodePlan, looked_for: AbstractSet[str] = frozenset()) -> Iterator[str]:
    """The plan, a line for each thing that it asks for.

    `looked_for`: the addresses by which a part for this machine was looked for in files.
    """
    yield f"node {plan.node}"
    for bound in plan.bind:
        ports = f", by GUE to UDP port {', '.join(map(str, bound.gue_ports))}" if bound.gue_ports else ""
        yield f"  bind {bound.address} on {bound.device}, silent{ports}"
    if plan.director_addresses:
        yield f"  unwrap from {', '.join(map(str, plan.director_addresses))} only"
    for director in plan.directing:
        device = f" on {director.interface}" if director.interface else ""
        yield f"  director of {director.group}: {director.holding.value} {len(director.addresses)} addresses{device}"
        for address in director.addresses:
            yield f"    address {address}"
        for router in director.vrrp.routers if director.vrrp is not None else ():
            carried = ", ".join(map(str, router.addresses))
            yield f"    virtual router {router.id} {router.family} priority {router.priority}: {carried}"
        for planned in director.services:
            yield from _service_lines(planned)
    for key, number in plan.settings.numbers.items():
        yield f"  {key} {number.value}  [LvsDirectorGroup {number.group}]"
    if (sync := plan.settings.sync) is not None:
        roles = " and ".join([*sorted(sync.roles), *(["as VRRP settles it"] if sync.vrrp_groups else [])])
        roles = roles or "(nobody holds the addresses)"
        yield f"  {CONNECTION_SYNC} {roles} {sync_text(sync.settings)}  [LvsDirectorGroup {sync.group}]"
    if not plan.bind and not plan.directing:
        yield from _nothing_lines(looked_for)


def _nothing_lines(looked_for: AbstractSet[str]) -> Iterator[str]:
    yield "  nothing to do: it is neither a director nor a real server"
    if looked_for:
        yield f"  the files were searched for {', '.join(sorted(looked_for))}"


def _service_lines(planned: PlannedService) -> Iterator[str]:
    persistence = f" persistent {planned.persistence.timeout_seconds} s" if planned.persistence else ""
    paused = " (paused)" if planned.paused else ""
    name = " ".join(filter(None, (str(planned.service), planned.port_name)))
    yield f"    {planned.key} {planned.scheduler}{persistence}  [{name}]{paused}"
    for member in planned.members:
        yield f"      -> {_member_text(member)}"


def _method_text(member: PlannedMember) -> str:
    if member.source_nat:
        return f"{member.method.value} with source NAT"
    if member.tunnel is not None and member.tunnel.type is not TunnelType.IPIP:
        return f"{member.method.value} by {member.tunnel}"
    return member.method.value


def _member_text(member: PlannedMember) -> str:
    host = f"[{member.address}]" if member.address.version == IPV6 else str(member.address)
    parts = [f"{host}:{member.port}", _method_text(member), f"weight {member.weight}", member.name]
    if member.check is not None:
        what = "http" if isinstance(member.check.what, HttpTarget) else "tcp"
        parts.append(f"check {what}:{member.check.port} every {member.check.interval_seconds} s")
    if member.refused is not None:
        parts.append(f"refused: {member.refused}")
    if member.draining_seconds is not None:
        parts.append(f"draining at most {member.draining_seconds} s")
    if not member.prepared:
        parts.append("not prepared")
    return "  ".join(parts)
