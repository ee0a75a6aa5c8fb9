"""`kubectl lvs export`: what directors are told, as a file that `ipvsadm -R` reads.

It is made from the slices, which are what was accepted last, and needs no director. Each virtual service and real
server stands there as the objects want it: with the user's weight, as nobody checks in a file. What the form can not
say is noted.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from lvs_api.kinds import SERVICE_SLICE
from lvs_api.lvs_node import LvsNodeSpec
from lvs_api.network_types import Family, ForwardingMethod, Protocol, TunnelType
from lvs_api.objects import ObjectMeta
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError
from lvs_cli.ipvsadm_form import CHECKSUM_OPTIONS, HOST_LENGTH, endpoint, mask
from lvs_cli.output import Said
from lvs_core.cluster_view import LvsNode, Slice
from lvs_core.compile import AgentView, compile_plan
from lvs_core.plan import (
    AnyVirtualKey,
    DirectorPlan,
    MarkKey,
    PlannedMember,
    PlannedService,
    PlannedTunnel,
    family_of_ip,
)
from lvs_core.view_objects import slice_content

FORMAT: Final = "ipvsadm-save"
_PROTOCOLS: Final = {Protocol.TCP: "-t", Protocol.UDP: "-u", Protocol.SCTP: "--sctp-service"}
_METHODS: Final = {
    ForwardingMethod.DIRECT_ROUTING: "-g",
    ForwardingMethod.TUNNEL: "-i",
    ForwardingMethod.MASQUERADE: "-m",
}
_GENERAL: Final = "this form has no addresses, sysctls, names, drains or checks: it is the IPVS table alone"


def add_export_options(command: argparse.ArgumentParser) -> None:
    """The command's options."""
    command.add_argument(
        "--format", choices=[FORMAT], default=FORMAT, help="what ipvsadm -S writes and ipvsadm -R reads"
    )
    command.add_argument("--director-group", metavar="NAME", help="whose table; needed where there are several")


def export(open_cluster: Callable[[], Cluster], options: argparse.Namespace) -> Said:
    """The table of one director group."""
    cluster = open_cluster()
    namespace = None if options.all_namespaces else options.namespace or cluster.namespace
    slices = tuple(
        Slice(meta=one.metadata, content=slice_content(one.spec))
        for one in cluster.list(SERVICE_SLICE, namespace=namespace)
    )
    group = _group(slices, options.director_group, namespace)
    (plan,) = compile_plan(AgentView(node="", lvs_node=_director_of(group), slices=slices)).directing
    lines = [line for service in plan.services for line in saved_lines(service)]
    notes = [_GENERAL, *(note for service in plan.services for note in _notes(service))]
    return Said(text="\n".join(lines), notes=tuple(notes), failures=tuple(_failures(plan)))


def _group(slices: Sequence[Slice], wanted: str | None, namespace: str | None) -> str:
    groups = sorted({one.content.director_group for one in slices})
    where = f"namespace {namespace}" if namespace else "any namespace"
    if not groups:
        raise CliError(f"no service of {where} has been accepted yet: there are no LvsServiceSlices (-A: everywhere)")
    if wanted is None and len(groups) > 1:
        raise CliError(f"services of {where} belong to several director groups: --director-group {' or '.join(groups)}")
    if wanted is not None and wanted not in groups:
        raise CliError(f"no service of {where} belongs to director group {wanted}, but to {', '.join(groups)}")
    return wanted or groups[0]


def _director_of(group: str) -> LvsNode:
    meta = ObjectMeta(name="", namespace=None, uid="", generation=0)
    return LvsNode(meta=meta, spec=LvsNodeSpec(director_groups=[group]))


def saved_lines(service: PlannedService) -> Iterator[str]:
    """One virtual service as `ipvsadm -S` writes it."""
    place = _place(service.key)
    words = [f"-A {place} -s {service.scheduler}"]
    if service.persistence is not None:
        family = _family(service.key)
        words.append(f"-p {service.persistence.timeout_seconds}")
        if service.persistence.prefix_length != HOST_LENGTH[family]:
            words.append(f"-M {mask(family, service.persistence.prefix_length)}")
        if service.persistence.engine is not None:
            words.append(f"--pe {service.persistence.engine}")
    if service.one_packet_scheduling:
        words.append("-o")
    if service.scheduler_flags:
        words.append(f"-b {','.join(service.scheduler_flags)}")
    yield " ".join(words)
    for member in service.members:
        if member.refused is None:
            yield f"-a {place} {_member(member)}"


def _place(key: AnyVirtualKey) -> str:
    if isinstance(key, MarkKey):
        return f"-f {key.mark} -6" if key.family is Family.IPV6 else f"-f {key.mark}"
    return f"{_PROTOCOLS[key.protocol]} {endpoint(str(key.address), key.port)}"


def _family(key: AnyVirtualKey) -> Family:
    return key.family if isinstance(key, MarkKey) else family_of_ip(key.address)


def _member(member: PlannedMember) -> str:
    weight = 0 if member.draining_seconds is not None else member.weight
    words = [f"-r {endpoint(str(member.address), member.port)}", _METHODS[member.method], f"-w {weight}"]
    if member.upper_threshold:
        words.append(f"-x {member.upper_threshold}")
    if member.lower_threshold:
        words.append(f"-y {member.lower_threshold}")
    if member.tunnel is not None and member.tunnel.type is not TunnelType.IPIP:
        words += [f"--tun-type {member.tunnel.type.lower()}", *_tunnel_options(member.tunnel)]
    return " ".join(words)


def _tunnel_options(tunnel: PlannedTunnel) -> Iterator[str]:
    if tunnel.port:
        yield f"--tun-port {tunnel.port}"
    yield CHECKSUM_OPTIONS[tunnel.checksum]


def _notes(service: PlannedService) -> Iterator[str]:
    """What of this virtual service is otherwise in a director's kernel, or may be."""
    where = f"{service.service} {f'port {service.port_name}' if service.port_name else service.key}"
    if isinstance(service.key, MarkKey):
        yield f"{where}: what sets the mark on packets is not in the file"
    members = [member for member in service.members if member.refused is None]
    if behind := [member.name for member in members if member.source_nat]:
        yield f"{where}: {', '.join(behind)}: source NAT is not in the file; it is a rule of the packet filter"
    if service.ftp_ports:
        yield f"{where}: the helper for FTP is not in the file; `modprobe ip_vs_ftp` on the director loads it"
    if any(member.check is not None for member in members):
        yield f"{where}: real servers are checked; the file gives each its full weight, whether its check passes or not"
    if waiting := [member.name for member in members if not member.prepared and member.draining_seconds is None]:
        yield f"{where}: {', '.join(waiting)}: not prepared yet, so without weight on directors, with it in the file"
    if leaving := [member.name for member in members if member.draining_seconds is not None]:
        yield f"{where}: {', '.join(leaving)}: leaving; the file says weight 0, and not when the drain ends"
    for member in service.members:
        if member.refused is not None:
            yield f"{where}: {member.name}: left out, as it is refused: {member.refused}"
    if service.paused:
        yield f"{where}: paused: directors keep what they have, which may be another state than the file's"


def _failures(plan: DirectorPlan) -> Iterator[str]:
    for service in plan.incomplete:
        yield f"{service}: left out: its first slice is not there (yet)"
    for service, key, holder in plan.conflicts:
        yield f"{service}: {key} left out: {holder} has it"
