"""What tests of the hand-shakes look at, and the steps that nodes make."""

from simulated_cluster import SimulatedCluster

from lvs_core.cluster_view import Member


def members(cluster: SimulatedCluster) -> dict[str, Member]:
    return {member.name: member for one in cluster.slices.values() for member in one.content.members}


def asked(cluster: SimulatedCluster, name: str) -> list[str]:
    node_ = cluster.lvs_nodes.get(name)
    return [
        " ".join([one.address, one.device, *([",".join(map(str, one.gue_ports))] if one.gue_ports else [])])
        for one in (node_.spec.addresses if node_ else None) or ()
    ]


def live(cluster: SimulatedCluster, *names: str) -> None:
    for name in names:
        cluster.act(name)
        cluster.report(name)


def active(cluster: SimulatedCluster) -> str | None:
    status = cluster.groups["default"].status
    return status.active if status is not None else None
