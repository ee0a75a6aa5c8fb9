"""Which addresses are ours after the ledger of this boot was lost.

Entries that equal the plan are adopted anyway, where they are not judged as new claims first. A director that another
one has relieved meanwhile has a VIP that the plan does not want any more: if it took that for somebody else's it would
keep it, and say that it let go.
"""

from lvs_agent.decide.kernel_state import AddressBinding, KernelLinks
from lvs_agent.decide.vip_device import choose_vip_device
from lvs_core.plan import NodePlan


def lost_bindings(plan: NodePlan, links: KernelLinks) -> frozenset[AddressBinding]:
    """Addresses of the plan that are bound just as this agent binds them, whether they are wanted now or not."""
    bound = links.bindings()
    found = {AddressBinding(address=one.address, device=one.device.value) for one in plan.bind} & bound
    for director in plan.directing:
        for address in director.addresses:
            device = choose_vip_device(address, links, director.interface)
            if device is not None and (binding := AddressBinding(address=address, device=device)) in bound:
                found.add(binding)
    return frozenset(found)
