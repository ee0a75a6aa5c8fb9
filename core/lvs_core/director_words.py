"""What each director has to say of one service, by its last report."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lvs_api.conditions import Reason
from lvs_api.lvs_node import ServiceException
from lvs_api.virtual_service import DirectorState
from lvs_core.cluster_view import ClusterView, ObjectKey, SliceContent, VirtualService
from lvs_core.director_reports import present_boot, report_of
from lvs_core.directors import Directors
from lvs_core.frontends import vips
from lvs_core.memory import Memory, ServiceChange


class Word(NamedTuple):
    """What a director has to say of one service."""

    state: DirectorState
    message: str
    exception: ServiceException | None
    is_news: bool
    """It has acted on the present settings; else the state is what it was."""
    has_counts: bool = True
    """Its report had room to say how many real servers are ready."""

    @property
    def is_faulty(self) -> bool:
        """It is not as it shall be. One that carries the addresses may go on so: somebody else answers for them."""
        return self.state is DirectorState.FAILED or (self.state is DirectorState.ACTIVE and bool(self.message))

    @property
    def is_below_quorum(self) -> bool:
        """Of the real servers too little is in use, as this director sees them."""
        return self.exception is not None and self.exception.reason == Reason.BELOW_QUORUM


@dataclass(frozen=True, kw_only=True)
class DirectorWords:
    """Of the directors of one view."""

    view: ClusterView
    memory: Memory
    directors: Mapping[str, Directors]

    @cached_property
    def _exceptions(self) -> Mapping[str, Mapping[ObjectKey, ServiceException]]:
        """By director and service; a report names each service once."""
        return {
            name: {
                ObjectKey(one.namespace, one.name): one
                for one in (node.status.exceptions if node.status is not None else None) or ()
            }
            for name, node in self.view.lvs_nodes.items()
        }

    def word(self, key: ObjectKey, service: VirtualService, first: SliceContent, name: str) -> Word:
        """Of one director; `first` is the service's first slice as it shall be."""
        node = self.view.lvs_nodes.get(name)
        report = report_of(node, first.director_group)
        if present_boot(self.view, name) is None or node is None or node.status is None:
            return Word(DirectorState.UNKNOWN, self._why_unheard(name), None, is_news=False)
        if report is None:
            return Word(DirectorState.PENDING, "Its agent has not taken up the group yet", None, is_news=False)
        views = self.memory.groups.get(first.director_group)
        change = views.services.get(key) if views is not None else None
        position = views.position_of(name) if views is not None else None
        if change is None or position is None or not _has_acted(change, position, first):
            return _as_it_was(service, name)
        exception = self._exceptions[name].get(key)
        is_unnamed = exception is None and node.status.truncated
        if is_unnamed and not node.status.rest_is_programmed:
            message = "Its report has no room for this service"
            return Word(DirectorState.UNKNOWN, message, None, is_news=True)
        who = self.directors[first.director_group]
        is_active = name in who.carriers(vips(first.service) if first.service is not None else ())
        by_vrrp = who.is_ending or (who.routers is not None and who.begins_with is None)
        holds = is_active if by_vrrp or _needs_no_address(first) else report.holds_addresses
        word = _news(exception, holds=holds, is_active=is_active, is_master=by_vrrp and is_active)
        return word._replace(has_counts=not is_unnamed)

    def _why_unheard(self, name: str) -> str:
        node = self.view.nodes.get(name)
        if node is None or node.out_of_service:
            return "Its Node is out of service"
        if not node.ready:
            return "Its Node is not ready"
        return "Its agent has not reported since the Node started"


def _has_acted(change: ServiceChange, position: int, first: SliceContent) -> bool:
    """Whether a director at this view has acted on the settings that shall be, which also must have been seen."""
    if first.service is None or first.pool is None:
        return False
    settings = (first.service.generation, first.pool.generation)
    return settings in change.settings and position >= change.settings_position


def _needs_no_address(first: SliceContent) -> bool:
    """Its packets are taken by their mark, whatever their address: a director of the group may carry none at all."""
    service = first.service
    mark = service.firewall_mark if service is not None else None
    return service is not None and mark is not None and bool(mark.local_delivery) and not vips(service)


def _news(exception: ServiceException | None, *, holds: bool, is_active: bool, is_master: bool) -> Word:
    """What a director that has acted on the present settings makes of the service.

    A Master beside somebody who answers for the address, too, carries it all the same: nobody is to be sent away by a
    stranger's answer.
    """
    state, message = DirectorState.STANDBY, ""
    if exception is not None and not exception.programmed:
        goes_on = is_master and exception.reason == Reason.ADDRESS_CONFLICT
        state, message = DirectorState.ACTIVE if goes_on else DirectorState.FAILED, exception.message
    elif holds:
        state = DirectorState.ACTIVE
    elif is_active:
        is_below = exception is not None and exception.reason == Reason.BELOW_QUORUM
        message = exception.message if exception is not None and is_below else "It does not carry the addresses yet"
        state = DirectorState.PENDING
    return Word(state, message, exception, is_news=True)


def _as_it_was(service: VirtualService, name: str) -> Word:
    """No news: the director has not reported a view that is known and new enough."""
    before = (service.status.directors if service.status is not None else None) or ()
    for one in before:
        if one.node == name and one.state is not DirectorState.UNKNOWN:
            return Word(one.state, one.message or "", None, is_news=False)
    return Word(DirectorState.PENDING, "It has not programmed the service yet", None, is_news=False)
