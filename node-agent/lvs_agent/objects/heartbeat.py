"""The Lease that says that this agent is alive; its status is written only where something differs."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from lvs_agent.errors import ApiUnavailable
from lvs_agent.objects.api_connection import ApiConnection
from lvs_api.api_group import FIELD_MANAGER_AGENT, LEASE_AGENT_PREFIX

RENEW_SECONDS: Final = 10.0
DURATION_SECONDS: Final = 40
_log = logging.getLogger(__name__)


async def keep_lease(api: ApiConnection, *, namespace: str, node_name: str) -> None:
    """Renew until cancelled. A failure is told once and tried again at the next turn."""
    name = LEASE_AGENT_PREFIX + node_name
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
    failing = False
    while True:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "holderIdentity": node_name,
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            },
        }
        try:
            await api.apply(path, lease, FIELD_MANAGER_AGENT)
        except ApiUnavailable as error:
            if not failing:
                _log.warning("Lease %s/%s is not renewed: %s", namespace, name, error)
            failing = True
        else:
            failing = False
        await asyncio.sleep(RENEW_SECONDS)
