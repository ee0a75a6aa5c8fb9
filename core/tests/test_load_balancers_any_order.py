"""A Service of type LoadBalancer is edited, given up and made anew, its objects are taken by users and by chance.

What others wrote is never touched, no address is told that nobody has, and in the end all is as the Service says.
"""

import os
from typing import Any

from core_objects import address_pool, pool, service
from endpoint_objects import HTTP, endpoint_slice, tell
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from load_balancer_objects import WEB, BalancedCluster, balanced

from lvs_core.cluster_view import Pool, VirtualService
from lvs_core.owned_objects import owner_of

DIRECTORS = st.sampled_from(["d1", "d2"])
UIDS = st.sampled_from(["u", "another"])
ANNOTATIONS = st.sampled_from(
    [
        {},
        {"scheduler": "sh"},
        {"scheduler": "best"},  # a fault
        {"real-servers": "Nodes"},
        {"addresses": "192.168.4.70"},
        {"addresses": "192.168.9.9"},  # nobody permits it
        {"director-group": "edge"},  # there is none
    ]
)
SPECS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"sessionAffinity": "ClientIP"},
        {"type": "ClusterIP", "loadBalancerClass": None},
        {"loadBalancerClass": "example.org/other"},
    ]
)
PODS = st.sampled_from([{}, {"10.1.0.1": None}, {"10.1.0.1": None, "10.1.0.2": None}])


class AnyOrder(RuleBasedStateMachine):
    """One Service, two directors that act late."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = BalancedCluster()
        self.cluster.settle()
        self.theirs: Pool | VirtualService | None = None
        """What a user wrote under the Service's name."""

    @initialize(annotations=ANNOTATIONS)
    def begin(self, annotations: dict[str, str]) -> None:
        self.pods_come_and_go({"10.1.0.1": None})
        self.say(annotations, "u", {})
        self.come_to_rest()

    @rule()
    def come_to_rest(self) -> None:
        self.cluster.settle()
        self._tells_only_what_is_its_own()

    @rule(annotations=ANNOTATIONS, uid=UIDS, spec=SPECS)
    def say(self, annotations: dict[str, str], uid: str, spec: dict[str, Any]) -> None:
        self.cluster.say(balanced(annotations, uid=uid, **spec))

    @precondition(lambda self: WEB in self.cluster.raw_services)
    @rule()
    def unsay(self) -> None:
        self.cluster.unsay()

    @precondition(lambda self: self.theirs is None)
    @rule(is_pool=st.booleans())
    def take_the_name(self, is_pool: bool) -> None:
        """Where it is free."""
        if WEB not in (self.cluster.pools if is_pool else self.cluster.services):
            self.theirs = pool(self.cluster) if is_pool else service(self.cluster)
            self.cluster.put(self.theirs)

    @precondition(lambda self: self.theirs is not None)
    @rule()
    def give_the_name_back(self) -> None:
        if isinstance(self.theirs, Pool):
            del self.cluster.pools[WEB]
        else:
            self.cluster.delete_service(WEB)
        self.theirs = None

    @rule(is_pool=st.booleans())
    def delete_what_was_made(self, is_pool: bool) -> None:
        made: Pool | VirtualService | None = (self.cluster.pools if is_pool else self.cluster.services).get(WEB)
        if made is None or owner_of(made.meta) is None:
            return
        if is_pool:
            del self.cluster.pools[WEB]
        else:
            self.cluster.delete_service(WEB, collect=False)

    @rule(endpoints=PODS)
    def pods_come_and_go(self, endpoints: dict[str, None]) -> None:
        tell(self.cluster, endpoint_slice(endpoints, HTTP, service="web"))

    @rule(there=st.booleans())
    def permit(self, there: bool) -> None:
        """The only LvsAddressPool comes and goes."""
        self.cluster.address_pools.clear()
        if there:
            self.cluster.put(address_pool(self.cluster, ranges=["192.168.4.64/26"]))

    @rule(name=DIRECTORS, behind=st.integers(0, 2))
    def act(self, name: str, behind: int) -> None:
        self.cluster.act(name, behind=behind)
        self.cluster.finish(name)
        self.cluster.report(name)

    @rule()
    def decide(self) -> None:
        self.cluster.round()
        self._tells_only_what_is_its_own()

    def _tells_only_what_is_its_own(self) -> None:
        """What is told is told by a Service of our class, of addresses that its slices have as the round leaves them.

        A round that makes the virtual service anew leaves both to the next one.
        """
        status = self.cluster.services[WEB].status if WEB in self.cluster.services else None
        if WEB not in self.cluster.raw_services or (WEB in self.cluster.services and status is None):
            return
        found = [one.content for one in self.cluster.slices.values() if one.service_key == WEB]
        held = {one for each in found if each.service is not None for one in each.service.addresses or ()}
        told = {one.split()[0] for one in self.cluster.ingress()}
        assert told <= held, (told, held)
        assert not told or self.cluster.raw_services[WEB]["spec"].get("loadBalancerClass") == "lvs-operator.io/lvs"

    @invariant()
    def what_users_wrote_stays(self) -> None:
        if self.theirs is not None:
            kept = (self.cluster.pools if isinstance(self.theirs, Pool) else self.cluster.services)[WEB]
            assert (kept.meta.uid, kept.spec) == (self.theirs.meta.uid, self.theirs.spec)

    @invariant()
    def what_was_made_has_its_service_as_owner(self) -> None:
        for made in (self.cluster.services.get(WEB), self.cluster.pools.get(WEB)):
            theirs = self.theirs is not None and made is not None and made.meta.uid == self.theirs.meta.uid
            assert made is None or theirs or owner_of(made.meta) is not None

    def teardown(self) -> None:
        """Nothing is in its way: it is served, and nothing is left when it goes."""
        if self.theirs is not None:
            self.give_the_name_back()
        self.permit(there=True)
        self.pods_come_and_go({"10.1.0.1": None})
        self.cluster.say(balanced())
        self.cluster.settle()
        assert self.cluster.says() == {"Accepted": "True Accepted", "Ready": "True Ready"}
        status = self.cluster.services[WEB].status
        assert status is not None
        assert self.cluster.ingress() == [f"{one} Proxy" for one in status.addresses or ()]
        assert len(self.cluster.ingress()) == 1
        self.cluster.unsay()
        self.cluster.settle()
        assert (self.cluster.services, self.cluster.pools, self.cluster.slices) == ({}, {}, {})


TestLoadBalancersInAnyOrder = AnyOrder.TestCase
TestLoadBalancersInAnyOrder.settings = settings(
    max_examples=int(os.environ.get("LVS_CORE_EXAMPLES", "60")),  # a soak tries more, in another order each time
    stateful_step_count=30,
    deadline=None,
    derandomize="LVS_CORE_EXAMPLES" not in os.environ,
    database=None,
)
