"""From everything that is to everything that shall be."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from lvs_core.accept import judge
from lvs_core.address_pool_status import address_pool_statuses
from lvs_core.cluster_view import ClusterView, ObjectKey, SliceContent
from lvs_core.decision import Decision
from lvs_core.director_words import DirectorWords
from lvs_core.directors import Directors, directors_of
from lvs_core.drained import DrainReports
from lvs_core.findings import FindingsBook
from lvs_core.giving_way import with_giving_way
from lvs_core.group_status import Served, group_status
from lvs_core.hand_over import seconds_until_failed
from lvs_core.load_balancer_status import load_balancer_statuses
from lvs_core.mastership import follow_masters, seconds_until_overdue
from lvs_core.members import PoolFinder
from lvs_core.memory import Memory
from lvs_core.memory_views import expect, observe
from lvs_core.needs import Need
from lvs_core.node_specs import node_specs
from lvs_core.object_status import pool_status
from lvs_core.owned_objects import owned_objects
from lvs_core.preparation import Preparation
from lvs_core.resolve import Resolver
from lvs_core.service_status import ServiceStatuses
from lvs_core.virtual_routers import choose_ids


def decide(view: ClusterView, memory: Memory, now: str) -> Decision:
    """What the operator is to write.

    `now` (RFC 3339, UTC, whole seconds) goes into conditions, and tells how long it has been unclear who is Master of a
    virtual router.

    The view must be complete: what is not in it is taken to be gone.
    """
    ids = choose_ids(view.groups.values())
    book = FindingsBook(view, memory.findings)
    memory = follow_masters(observe(memory, view), view, ids, now)
    directors = {
        name: with_giving_way(view, view.groups.get(name), directors_of(view, views, name, ids.get(name)), now)
        for name, views in memory.groups.items()
    }
    finder = PoolFinder(view=view)
    verdicts = judge(view, finder, directors, book)
    resolver = Resolver(
        view=view,
        preparation=Preparation(view=view),
        directors=directors,
        drain_reports=DrainReports(view=view, memory=memory, directors=directors),
        book=book,
    )
    resolved = {key: resolver.resolve(key, verdict) for key, verdict in verdicts.items()}
    slices: dict[ObjectKey, SliceContent] = {}
    needs: set[Need] = set()
    for one in resolved.values():
        slices.update(one.slices)
        needs |= one.needs
    nodes = node_specs(view, memory, directors, needs)
    statuses = ServiceStatuses(
        view=view,
        words=DirectorWords(view=view, memory=memory, directors=directors),
        directors=directors,
        full_nodes={key: frozenset(need.node for need in one.needs & nodes.no_room) for key, one in resolved.items()},
        now=now,
        book=book,
    )
    said = {
        key: statuses.status(key, view.services[key], verdict, tuple(resolved[key].slices.values()))
        for key, verdict in verdicts.items()
    }
    owned = owned_objects(view, directors)
    by_group = Counter(one.director_group for one in slices.values() if one.service is not None)
    by_pool = Counter(
        ObjectKey(key.namespace, service.spec.real_server_pool_ref.name)
        for key, service in view.services.items()
        if service.spec is not None
    )
    return Decision(
        slices=slices,
        delete_slices=tuple(key for key in view.slices if key not in slices),
        lvs_nodes=nodes.specs,
        delete_lvs_nodes=nodes.delete,
        agent_nodes=frozenset(nodes.specs),
        services=said,
        pools={key: pool_status(finder, pool, by_pool[key], now) for key, pool in view.pools.items()},
        groups={
            name: group_status(view, group, directors, Served(services=by_group[name], ids=ids.get(name)), now)
            for name, group in view.groups.items()
        },
        address_pools=address_pool_statuses(view, verdicts, slices.values(), now),
        owned=owned,
        load_balancers=load_balancer_statuses(view, owned, said, now),
        memory=replace(
            expect(memory, [(key, content) for key, one in resolved.items() for content in one.slices.values()]),
            findings=book.findings,
        ),
        again_seconds=_again_seconds(view, memory, directors, now),
    )


def _again_seconds(view: ClusterView, memory: Memory, directors: Mapping[str, Directors], now: str) -> float | None:
    """When time alone may change something."""
    found = [seconds_until_failed(group, directors[name].hand_over, now) for name, group in view.groups.items()]
    return min((one for one in [*found, seconds_until_overdue(memory, now)] if one is not None), default=None)
