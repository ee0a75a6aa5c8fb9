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
ANSWER_SECONDS: Final = 5.0
"""For one renewal. The next one has a connection of its own, and so may reach another of several API servers behind one
address: who waits longer for the one that hangs has fewer tries."""
FIRST_DELAY: Final = 1.0
LONGEST_DELAY: Final = 4.0
"""After a failure. With these four tries fall into the time for which a Lease is good, also where each of them hangs
for as long as it may; and a large cluster's agents do not ask an API server more often that refuses them all."""
_log = logging.getLogger(__name__)


async def keep_lease(api: ApiConnection, *, namespace: str, node_name: str) -> None:
    """Renew until cancelled. A failure is told once, and tried again soon: a node that is silent loses its weight."""
    name = LEASE_AGENT_PREFIX + node_name
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
    failing, delay = False, FIRST_DELAY
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
            async with asyncio.timeout(ANSWER_SECONDS):
                await api.apply(path, lease, FIELD_MANAGER_AGENT)
        except (ApiUnavailable, TimeoutError) as error:
            if not failing:
                why = error if isinstance(error, ApiUnavailable) else f"no answer within {ANSWER_SECONDS:g} s"
                _log.warning("Lease %s/%s is not renewed: %s", namespace, name, why)
            failing = True
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)
        else:
            failing, delay = False, FIRST_DELAY
            await asyncio.sleep(RENEW_SECONDS)
