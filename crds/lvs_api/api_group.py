"""Names that the API server and other programs see: group, version, labels, field managers."""

from typing import Final

GROUP: Final = "lvs-operator.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "lvs"

LABEL_DIRECTOR_GROUP: Final = f"{GROUP}/director-group"
"""On a LvsServiceSlice: the LvsDirectorGroup whose directors serve it; agents select slices by it. On a
LvsVirtualService that is made of a Service: the one that it was made for."""
LABEL_NODE_AGENT: Final = f"{GROUP}/node-agent"
"""On a Node, set by the operator: an agent is needed here; the agents' DaemonSet selects by it."""
NODE_AGENT_WANTED: Final = "wanted"
ANNOTATION_RELEASE: Final = f"{GROUP}/release"
"""On a LvsNode, set by a person: the `releaseToken` of its status; what is held under that token is let go."""
ANNOTATION_ZERO: Final = f"{GROUP}/zero"
"""On a LvsNode, set by a person: a new token lets the counters of its virtual services begin at 0, once; with
`/NAMESPACE/NAME` behind it those of one LvsVirtualService."""
ANNOTATION_HAND_OVER: Final = f"{GROUP}/hand-over"
"""On a LvsDirectorGroup, set by a person: a new token has its addresses given to another director, once; with `/NODE`
behind it to that one."""
LOAD_BALANCER_CLASS: Final = f"{GROUP}/lvs"
"""`loadBalancerClass` of the Services of type LoadBalancer that are ours; every other one is somebody else's."""
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

FIELD_MANAGER_OPERATOR: Final = "lvs-operator"
FIELD_MANAGER_AGENT: Final = "lvs-agent"

LEASE_OPERATOR: Final = "lvs-operator"
LEASE_AGENT_PREFIX: Final = "lvs-agent-"
DEFAULT_NAMESPACE: Final = "lvs-system"
DEFAULT_DIRECTOR_GROUP: Final = "default"
