"""The view that is acted upon: what the API server says, and what is held of what it said before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lvs_agent.decide.absence import DEFAULT_BRAKE, AbsenceFacts, Judgement, LookUps, Owner, judge, summary
from lvs_agent.decide.withheld import NOTHING_WITHHELD, Withheld, missing_in, node_remade, token_of, with_missing
from lvs_agent.disk.packed_slice import PackedSlice, Raw, without_noise
from lvs_agent.disk.view_store import StoredView
from lvs_api.api_group import ANNOTATION_RELEASE
from lvs_api.objects import to_raw
from lvs_core.cluster_view import DirectorGroup, LvsNode, Slice
from lvs_core.compile import AgentView
from lvs_core.view_objects import group_from_raw, lvs_node_from_raw, slice_from_raw

Slices = dict[str, tuple[Slice, PackedSlice]]
"""By uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """What the API server says, complete."""

    node: Raw
    groups: Sequence[Raw]
    slices: Sequence[PackedSlice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What is to be done about it."""

    view: AgentView
    withheld: Withheld
    wanted: frozenset[Owner]
    """To be looked up."""
    due: float | None
    """Monotonic clock at which to judge anew."""
    stored: StoredView
    """To be kept on disk."""


class HeldView:
    """Owner of the last accepted view."""

    def __init__(self, node_name: str, *, brake: float = DEFAULT_BRAKE) -> None:
        self._node_name = node_name
        self._brake = brake
        self._parsed = _ParsedSlices()
        self._slices: Slices = {}
        """What is served."""
        self._node: LvsNode | None = None
        """What the node was last told to be; that from before, while one made anew leaves something of it out."""
        self._waiting: Mapping[str, float] = {}
        self._let_go = False
        """A person has let go all that the API server does not have."""
        self.cluster_id: str | None = None
        """The cluster of this view; None before there is one."""

    @property
    def node(self) -> LvsNode | None:
        """What this node was last told to be."""
        return self._node

    def load(self, stored: StoredView) -> AgentView:
        """Begin with a view from disk. Raises InvalidObject."""
        slices = self._parsed.parse(stored.slices)
        view = AgentView(
            node=self._node_name,
            lvs_node=_lvs_node(stored.node),
            groups=_groups(stored.groups),
            slices=tuple(one for one, _ in slices.values()),
        )
        self._node, self._slices, self.cluster_id = view.lvs_node, slices, stored.cluster_id
        return view

    def adopt(self, cluster_id: str) -> None:
        """The cluster that the API server names is the right one: what it does not have is let go."""
        self.cluster_id = cluster_id
        self._let_go = True

    def take(self, copies: Copies, look_ups: LookUps | None, now: float) -> Taken:
        """Take over what the API server says, as far as it is believed. Raises InvalidObject, and then nothing is."""
        node, groups, live = _lvs_node(copies.node), _groups(copies.groups), self._parsed.parse(copies.slices)
        present = [one for one, _ in live.values()]
        judgement = self._judge(node, present, look_ups, now, released=self._let_go)
        missing = frozenset[str]() if self._let_go else missing_in(self._node, node)
        token = token_of(judgement.held_uids | missing)
        if token is not None and asked_release(copies.node) == token:
            judgement = self._judge(node, present, look_ups, now, released=True)
            missing, token = frozenset(), None
        told = with_missing(self._node, node) if missing else node
        self._remember(judgement, live)
        if not missing:
            self._node = node
        return Taken(
            view=AgentView(
                node=self._node_name,
                lvs_node=told,
                groups=groups,
                slices=judgement.slices,
                held={key: fault.message for key, fault in judgement.held.items()},
                acted_on=judgement.acted_on,
            ),
            withheld=_withheld(judgement, missing, token),
            wanted=judgement.wanted,
            due=judgement.due,
            stored=self._stored(copies, told),
        )

    def _judge(
        self, node: LvsNode, live: Sequence[Slice], look_ups: LookUps | None, now: float, *, released: bool
    ) -> Judgement:
        """Slices of groups in which the node is no director any more are nobody's loss."""
        told = node if released else with_missing(self._node, node)
        groups = frozenset(told.spec.director_groups or ())
        facts = AbsenceFacts(
            before=[one for one, _ in self._slices.values() if one.content.director_group in groups],
            live=live,
            look_ups=look_ups,
            brake=self._brake,
            waiting=self._waiting,
            now=now,
            released=released,
        )
        return judge(facts)

    def _remember(self, judgement: Judgement, live: Slices) -> None:
        before = self._slices
        self._slices = {}
        for one in judgement.slices:
            known = before.get(one.meta.uid)
            self._slices[one.meta.uid] = known if known is not None and known[0] is one else live[one.meta.uid]
        self._waiting = judgement.waiting
        self._let_go = False

    def _stored(self, copies: Copies, told: LvsNode) -> StoredView:
        node = copies.node
        if self._node is not None and self._node.meta.uid != told.meta.uid:
            # Under the uid of the one from before, so that a restart, too, knows what was left out.
            node = {**node, "metadata": {**node["metadata"], "uid": self._node.meta.uid}, "spec": to_raw(told.spec)}
        return StoredView(
            cluster_id=self.cluster_id or "",
            node_name=self._node_name,
            node=without_noise(node, status=False),
            groups=tuple(without_noise(raw, status=True) for raw in copies.groups),
            slices=tuple(packed for _, packed in self._slices.values()),
        )


class _ParsedSlices:
    """Slices as they were read last, so that an event about one does not parse all.

    Neither generation nor version tell whether one is the same: in an etcd that was restored both come again.
    """

    def __init__(self) -> None:
        self._known: Slices = {}

    def parse(self, slices: Iterable[PackedSlice]) -> Slices:
        """The slices by uid, in this order. Raises InvalidObject."""
        parsed: Slices = {}
        for packed in slices:
            known = self._known.get(packed.uid)
            is_same = known is not None and known[1] == packed
            parsed[packed.uid] = known if known is not None and is_same else (slice_from_raw(packed.raw()), packed)
        self._known = parsed
        return parsed


def asked_release(node: Raw) -> str | None:
    """The token of which a person wrote that what is held under it shall go."""
    token = (node["metadata"].get("annotations") or {}).get(ANNOTATION_RELEASE)
    return token if isinstance(token, str) else None


def _withheld(judgement: Judgement, missing: frozenset[str], token: str | None) -> Withheld:
    fault = node_remade(missing) if missing else summary(judgement.held)
    if fault is None:
        return NOTHING_WITHHELD
    return Withheld(removal=fault, token=token, count=len(judgement.held_uids) + len(missing))


def without_status(raw: Raw) -> Raw:
    """A LvsNode without what this agent said itself: that decides nothing."""
    return {key: value for key, value in raw.items() if key != "status"}


def _lvs_node(raw: Raw) -> LvsNode:
    return lvs_node_from_raw(without_status(raw))


def _groups(raws: Iterable[Raw]) -> Mapping[str, DirectorGroup]:
    return {group.meta.name: group for group in map(group_from_raw, raws)}
