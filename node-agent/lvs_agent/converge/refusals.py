"""Keeps what this node knows of its surroundings, and judges by it what it is told to take.

The judgement is `decide.refused_addresses`.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol

from lvs_agent.decide.faults import Fault
from lvs_agent.decide.kernel_state import IPAddress, ServiceKey
from lvs_agent.decide.kernel_words import service_key
from lvs_agent.decide.refused_addresses import (
    NO_REFUSALS,
    Claim,
    ClusterFacts,
    IPNetwork,
    Refusals,
    Surroundings,
    first_claims,
    refuse,
)
from lvs_agent.disk.ledger import Ledger
from lvs_agent.errors import NameServersUnknown
from lvs_agent.kernel.interface import Links
from lvs_api.conditions import Reason
from lvs_core.plan import MarkKey, NodePlan

_NOTHING_KNOWN: Final = ClusterFacts()


class ClusterKnowledge(Protocol):
    """What is known of the cluster's addresses."""

    def facts_for(self, address: IPAddress, wanted: AbstractSet[IPAddress]) -> ClusterFacts | Fault:
        """What an address is judged by; a Fault while nothing can be said of it. `wanted` are all of the plan."""


class NoCluster:
    """Without an API server: the Nodes that the manifests name were heeded when they were read."""

    def facts_for(self, address: IPAddress, wanted: AbstractSet[IPAddress]) -> ClusterFacts:  # noqa: ARG002 (the same)
        """Nothing."""
        return _NOTHING_KNOWN


class RefusalKeeper:
    """Judges first claims of addresses."""

    def __init__(
        self,
        *,
        links: Links,
        cluster: ClusterKnowledge,
        resolv_confs: Sequence[Path] = (),
        refused_ranges: Sequence[IPNetwork] = (),
    ) -> None:
        self._links = links
        self._cluster = cluster
        self._resolv_confs = resolv_confs
        self._refused_ranges = refused_ranges
        self._last: tuple[NodePlan, Ledger, Refusals] | None = None

    async def judge(self, plan: NodePlan, ledger: Ledger) -> Refusals:
        """What of the plan this node does not take. The same object as long as nothing changes. Raises LinkError."""
        if self._last is not None and _is_settled(*self._last, plan, ledger):
            return NO_REFUSALS
        served = _served(plan, ledger)
        bound = {binding.address for binding in ledger.bindings}
        claims = first_claims(plan, await self._links.read(), served, bound)
        faults = await self._refuse(plan, claims, ledger) if claims else {}
        refusals = Refusals(faults=faults, left_out=frozenset(faults) - served) if faults else NO_REFUSALS
        if self._last is not None and self._last[2] == refusals:
            refusals = self._last[2]
        self._last = (plan, ledger, refusals)
        return refusals

    async def _refuse(self, plan: NodePlan, claims: frozenset[Claim], ledger: Ledger) -> dict[IPAddress, Fault]:
        wanted = _addresses(plan)
        facts = {claim.address: self._cluster.facts_for(claim.address, wanted) for claim in claims}
        unknown = {address: one for address, one in facts.items() if isinstance(one, Fault)}
        try:
            servers = frozenset(name_servers(self._resolv_confs))
        except NameServersUnknown as error:
            why = f"nothing is taken before it is known which name servers this node has: {error}"
            return dict.fromkeys(facts, Fault(reason=Reason.ADDRESS_REFUSED, message=why))
        known = next((one for one in facts.values() if isinstance(one, ClusterFacts)), _NOTHING_KNOWN)
        around = Surroundings(
            cluster=known,
            next_hops=await self._links.next_hops(),
            name_servers=servers,
            refused_ranges=self._refused_ranges,
            addresses=(await self._links.read()).addresses,
            bound=ledger.bindings,
        )
        return unknown | refuse(claims, around)


def _is_settled(before: NodePlan, known: Ledger, refusals: Refusals, plan: NodePlan, ledger: Ledger) -> bool:
    """Whether everything was ours, and is so still."""
    is_same = plan is before and ledger.ipvs is known.ipvs and ledger.bindings is known.bindings
    return is_same and refusals is NO_REFUSALS


def _served(plan: NodePlan, ledger: Ledger) -> frozenset[IPAddress]:
    """Addresses of which the kernel has a service of ours. Of a mark only the plan says whose packets carry it."""
    named = {key.address for key in ledger.ipvs if isinstance(key, ServiceKey)}
    by_mark = {
        one.vip for one in plan.services() if isinstance(one.key, MarkKey) and service_key(one.key) in ledger.ipvs
    }
    return frozenset(named | {vip for vip in by_mark if vip is not None})


def _addresses(plan: NodePlan) -> frozenset[IPAddress]:
    """Every address that the plan names."""
    vips = {address for director in plan.directing for address in director.addresses}
    return frozenset(vips | {one.address for one in plan.bind})


def name_servers(resolv_confs: Sequence[Path]) -> Iterator[IPAddress]:
    """The name servers that resolver files name (resolv.conf(5)); a file that is not there names none.

    Raises NameServersUnknown.
    """
    for path in resolv_confs:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue  # container runtimes make a directory where a file that is to be mounted is not there
        except OSError as error:
            raise NameServersUnknown(f"{path}: {error.strerror}") from error
        for line in lines:
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                try:
                    yield ip_address(words[1].partition("%")[0])
                except ValueError:
                    continue  # the resolver does not heed it either
