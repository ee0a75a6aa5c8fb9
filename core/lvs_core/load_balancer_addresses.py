"""Which LvsAddressPool gives a Service of type LoadBalancer its addresses.

Whoever may write Services could take any address of the network, if it had not to come out of a pool that somebody made
for his namespace. So it has to, also where the Service names it.
"""

from lvs_api.conditions import ConditionType, Reason
from lvs_api.virtual_service import AddressPoolReference, LvsVirtualServiceSpec
from lvs_core.address_ranges import read_range
from lvs_core.checks import Problem
from lvs_core.cluster_view import ClusterView
from lvs_core.load_balancers import ADDRESS_POOL, DEFAULT_ADDRESS_POOL, LoadBalancer
from lvs_core.permissions import Permissions


def with_addresses(
    view: ClusterView, permissions: Permissions, balancer: LoadBalancer, made: LvsVirtualServiceSpec | None
) -> LvsVirtualServiceSpec | Problem:
    """What is to be made of a Service without faults; `made` is what there is already.

    Whether the pool has an address, and permits one that is named, is judged as for every virtual service.
    """
    spec = balancer.service
    if spec is None:
        raise ValueError(f"Service {balancer.meta.qualified_name} has faults")
    namespace = balancer.meta.namespace or ""
    covering = [name for name, pool in view.address_pools.items() if permissions.covers(pool, namespace)]
    if not covering:
        return _none(view, namespace)
    if spec.address_pool_ref is None:
        return spec
    chosen = balancer.address_pool or _chosen(covering, made)
    if chosen is None:
        return Problem(
            condition=ConditionType.ACCEPTED,
            reason=Reason.INVALID,
            message=f"metadata.annotations[{ADDRESS_POOL}]: LvsAddressPools {', '.join(covering)} are for namespace "
            f"{namespace}, and none is called {DEFAULT_ADDRESS_POOL}; name one of them",
        )
    reference = AddressPoolReference(name=chosen, families=spec.address_pool_ref.families)
    if balancer.prefers_families:
        reference = _with_families_of_pool(view, reference)
    return spec.model_copy(update={"address_pool_ref": reference})


def _none(view: ClusterView, namespace: str) -> Problem:
    """No pool is for the namespace."""
    if view.address_pools_known:
        reason = Reason.ADDRESS_POOL_NOT_FOUND
        message = (
            f"a Service has its addresses out of an LvsAddressPool, and none is for namespace {namespace}; ask for it"
        )
    else:
        reason = Reason.CRD_MISSING
        message = "which LvsAddressPools there are is not known while the CRDs are not whole"
    return Problem(condition=ConditionType.ACCEPTED, reason=reason, message=message)


def _chosen(covering: list[str], made: LvsVirtualServiceSpec | None) -> str | None:
    """The one that it has its addresses from, else the one called `default`, else the only one."""
    present = made.address_pool_ref.name if made is not None and made.address_pool_ref is not None else None
    if present in covering:
        return present
    if DEFAULT_ADDRESS_POOL in covering:
        return DEFAULT_ADDRESS_POOL
    return covering[0] if len(covering) == 1 else None


def _with_families_of_pool(view: ClusterView, reference: AddressPoolReference) -> AddressPoolReference:
    """Those of the wished families that the pool has, unless it has none of them."""
    pool = view.address_pools.get(reference.name)
    if pool is None or pool.spec is None:
        return reference
    had = {read_range(one).family for one in pool.spec.ranges}
    families = [one for one in reference.families or () if one in had]
    return reference.model_copy(update={"families": families}) if families else reference
