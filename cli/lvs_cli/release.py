"""`kubectl lvs release`: lets go what nodes hold because nobody was seen to mean its removal."""

from collections.abc import Iterator, Sequence

from lvs_api.api_group import ANNOTATION_RELEASE
from lvs_api.conditions import ConditionType, find_condition
from lvs_api.kinds import NODE
from lvs_api.lvs_node import LvsNodeSpec, LvsNodeStatus
from lvs_api.objects import ApiObject
from lvs_cli.cluster import Cluster
from lvs_cli.errors import CliError

Node = ApiObject[LvsNodeSpec, LvsNodeStatus]


def release(cluster: Cluster, names: Sequence[str]) -> str:
    """What was let go on these nodes, on all where none is named. Raises CliError before anything is let go."""
    nodes = {node.metadata.name: node for node in cluster.list(NODE)}
    for name in names:
        if name not in nodes:
            raise CliError(f"there is no LvsNode {name}; kubectl get lvsnode lists them")
        if held_token(nodes[name]) is None:
            raise CliError(f"LvsNode {name} holds nothing that a person could let go")
    lines = []
    for name in names or sorted(nodes):
        token = held_token(nodes[name])
        if token is not None:
            cluster.annotate(NODE, name, ANNOTATION_RELEASE, token)
            lines.append(f"{name}: let go: {'; '.join(held(nodes[name]))}")
    return "\n".join(lines) or "No node holds anything that a person could let go."


def held_token(node: Node) -> str | None:
    """The name of what a node holds now."""
    return node.status.release_token if node.status is not None else None


def held(node: Node) -> Iterator[str]:
    """What a node holds, in its own words."""
    for kind in (ConditionType.REMOVAL_HELD, ConditionType.CLUSTER_CHANGED):
        condition = find_condition(node.status.conditions if node.status else None, kind)
        if condition is not None:
            yield condition.message
