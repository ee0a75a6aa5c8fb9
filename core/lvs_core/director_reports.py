"""What a node says of its part as a director, and whether it can still be heard."""

from lvs_api.lvs_node import DirectorReport
from lvs_core.cluster_view import ClusterView, LvsNode


def report_of(node: LvsNode | None, group: str) -> DirectorReport | None:
    """What a node says of its part in a group."""
    if node is None or node.status is None:
        return None
    return next((report for report in node.status.director_groups or () if report.name == group), None)


def present_boot(view: ClusterView, name: str) -> str | None:
    """The boot that a Node's agent has reported from.

    None where it has not reported, or where the Node is called gone, or has booted again since.
    """
    node, lvs_node = view.nodes.get(name), view.lvs_nodes.get(name)
    if node is None or node.out_of_service or lvs_node is None or lvs_node.status is None:
        return None
    if view.is_called_gone(node):
        return None
    boot = lvs_node.status.boot_id
    return None if node.boot_id is not None and boot != node.boot_id else boot
