"""What of an absence is believed: tables of what was, what is, what was answered, and what is served."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_agent.decide.absence import (
    GRACE_SECONDS,
    AbsenceFacts,
    Judgement,
    LookUps,
    Owner,
    OwnerAnswer,
    judge,
    summary,
)
from lvs_agent.decide.faults import Fault
from lvs_api.conditions import Reason
from lvs_api.testing import CREATED, service_slice, slice_member
from lvs_core.cluster_view import ObjectKey, Slice
from lvs_core.view_objects import slice_from_raw

WEB = ObjectKey("default", "web")
OWNER = Owner(WEB, "lvsvirtualservice-web")
LATER = "2025-01-02T00:00:00Z"


def a_slice(
    service: str = "web", *, index: int = 0, uid: str | None = None, owner: str | None = None, **changes: Any
) -> Slice:
    """A slice with two prepared members, two others for each index."""
    raw = service_slice(service, index=index, **changes)
    if uid is not None:
        raw["metadata"]["uid"] = uid
    if owner is not None:
        raw["spec"]["serviceRef"]["uid"] = owner
    return slice_from_raw(raw)


def edited(one: Slice, *members: dict[str, Any]) -> Slice:
    """The same object with other members."""
    changed = a_slice(members=list(members), index=one.content.index)
    return Slice(meta=one.meta, content=changed.content)


def members(*numbers: int, **fields: Any) -> list[dict[str, Any]]:
    return [slice_member(f"rs{number}", f"192.168.4.{number}", **fields) for number in numbers]


def answered(answer: OwnerAnswer | None = None, *, made: str = CREATED, problem: Fault | None = None) -> LookUps:
    return LookUps(owners={} if answer is None else {OWNER: answer}, kinds_made=made, problem=problem)


def uids_of(slices: Iterable[Slice]) -> list[str]:
    return sorted(one.meta.uid for one in slices)


def uids(judgement: Judgement) -> list[str]:
    return sorted(one.meta.uid for one in judgement.slices)


GONE = OwnerAnswer()
THERE = OwnerAnswer(uid=OWNER.uid, real_servers=2)
FIRST = a_slice()
SECOND = a_slice(index=1, members=members(3, 4))
TROUBLE = Fault(reason=Reason.LOOK_UP_FAILED, message="403")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A slice of one service is gone."""

    before: tuple[Slice, ...] = (FIRST,)
    live: tuple[Slice, ...] = ()
    look_ups: LookUps | None = None
    served: tuple[Slice, ...] = ()
    reason: Reason | None = None
    """Why something is held; None: nothing is."""
    asks: bool = False
    digest_of: tuple[Slice, ...] = field(default=())
    released: bool = False


LEAVING = edited(SECOND, *members(3, 4, draining={"timeoutSeconds": 9}))
RENAMED = edited(FIRST, *members(100, 200), slice_member("b", "192.168.4.3"), slice_member("c", "192.168.4.4"))
ANEW = a_slice(uid="anew")
NAMESAKE = a_slice(uid="namesake", owner="another")
CASES = {
    "nothing is gone": Case(live=(FIRST,), served=(FIRST,), digest_of=(FIRST,)),
    "not looked up yet": Case(served=(FIRST,), asks=True, digest_of=(FIRST,)),
    "others were looked up": Case(look_ups=answered(), served=(FIRST,), asks=True, digest_of=(FIRST,)),
    "the owner is gone": Case(look_ups=answered(GONE)),
    "the owner is another": Case(look_ups=answered(OwnerAnswer(uid="another"))),
    "the owner is being deleted": Case(look_ups=answered(OwnerAnswer(uid=OWNER.uid, deleting=True))),
    "the owner is withdrawn": Case(look_ups=answered(OwnerAnswer(uid=OWNER.uid, withdrawn=True))),
    "the owner is withdrawn, and a CRD was made anew since": Case(
        look_ups=answered(OwnerAnswer(uid=OWNER.uid, withdrawn=True), made=LATER),
        served=(FIRST,),
        reason=Reason.CRD_MISSING,
        asks=True,
    ),
    "the owner is there": Case(look_ups=answered(THERE), served=(FIRST,), reason=Reason.SERVICE_EXISTS, asks=True),
    "no answer": Case(
        look_ups=answered(GONE, problem=TROUBLE), served=(FIRST,), reason=Reason.LOOK_UP_FAILED, asks=True
    ),
    "a CRD was made anew since": Case(
        look_ups=answered(GONE, made=LATER), served=(FIRST,), reason=Reason.CRD_MISSING, asks=True
    ),
    "let go by a person": Case(look_ups=answered(GONE, made=LATER), released=True),
    "a second slice that had drained": Case(
        before=(FIRST, LEAVING), live=(FIRST,), served=(FIRST,), digest_of=(FIRST,)
    ),
    "a second slice whose members are elsewhere": Case(
        before=(FIRST, SECOND), live=(RENAMED,), served=(RENAMED,), digest_of=(RENAMED,)
    ),
    "a second slice with its members": Case(
        before=(FIRST, SECOND), live=(FIRST,), served=(FIRST, SECOND), asks=True, digest_of=(FIRST, SECOND)
    ),
    "a second slice, and the service counts more": Case(
        before=(FIRST, SECOND),
        live=(FIRST,),
        look_ups=answered(OwnerAnswer(uid=OWNER.uid, real_servers=4)),
        served=(FIRST, SECOND),
        reason=Reason.SERVICE_EXISTS,
        asks=True,
        digest_of=(FIRST,),
    ),
    "a second slice, and the service counts the others": Case(
        before=(FIRST, SECOND), live=(FIRST,), look_ups=answered(THERE), served=(FIRST,), digest_of=(FIRST,)
    ),
    "the first slice of two": Case(
        before=(FIRST, SECOND),
        live=(SECOND,),
        look_ups=answered(THERE),
        served=(FIRST, SECOND),
        reason=Reason.SERVICE_EXISTS,
        asks=True,
        digest_of=(SECOND,),
    ),
    "made anew": Case(live=(ANEW,), served=(ANEW,), digest_of=(ANEW,)),
    "the service made anew": Case(
        live=(NAMESAKE,), look_ups=answered(GONE, made=LATER), served=(NAMESAKE,), digest_of=(NAMESAKE,)
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_gone(case: Case) -> None:
    found = judge(AbsenceFacts(before=case.before, live=case.live, look_ups=case.look_ups, released=case.released))
    assert uids(found) == sorted(one.meta.uid for one in case.served)
    assert {key: fault.reason for key, fault in found.held.items()} == ({WEB: case.reason} if case.reason else {})
    assert found.wanted == ({OWNER} if case.asks else set())
    assert {one.meta.uid for one in found.acted_on} == {one.meta.uid for one in case.digest_of}
    assert bool(found.held_uids) == (case.reason is not None)


UNPREPARED = {"prepared": False, "node": "server-1"}


@pytest.mark.parametrize(
    ("anew", "look_ups"),
    [
        ({"uid": "anew"}, answered(THERE)),
        ({"uid": "anew", "owner": "another"}, answered(OwnerAnswer(uid="another"), made=LATER)),
        ({"uid": "anew", "owner": "another"}, answered(problem=TROUBLE)),
    ],
    ids=["slice", "service after its CRD", "service while nothing is known"],
)
def test_what_was_made_anew_waits_for_its_real_servers(anew: dict[str, str], look_ups: LookUps) -> None:
    """Who made it has lost what it knew of them."""
    blank = a_slice(**anew, members=members(100, 200, **UNPREPARED))
    asking = judge(AbsenceFacts(before=[FIRST], live=[blank], now=100.0))
    assert (uids(asking), asking.held, asking.wanted) == ([FIRST.meta.uid], {}, {OWNER})
    assert uids_of(asking.acted_on) == [FIRST.meta.uid], "the digest says nothing new yet"
    facts = AbsenceFacts(before=[FIRST], live=[blank], look_ups=look_ups, waiting=asking.waiting, now=101.0)
    first = judge(facts)
    assert uids(first) == [FIRST.meta.uid]
    assert first.held[WEB].reason is Reason.MADE_ANEW
    assert (first.held_uids, first.wanted) == (frozenset(), {OWNER})
    assert first.due == 100.0 + GRACE_SECONDS
    assert uids_of(first.acted_on) == ["anew"]
    assert uids(judge(replace(facts, now=100.0 + GRACE_SECONDS - 1))) == [FIRST.meta.uid]
    assert uids(judge(replace(facts, now=100.0 + GRACE_SECONDS))) == ["anew"]
    assert uids(judge(replace(facts, live=[a_slice(**anew, members=members(100, 200))]))) == ["anew"]
    released = judge(replace(facts, released=True))
    assert (uids(released), released.wanted) == ([FIRST.meta.uid], frozenset()), "a new cluster waits just so"


@pytest.mark.parametrize("answer", [GONE, OwnerAnswer(uid="another")], ids=["gone", "another"])
def test_a_service_that_a_user_made_anew_waits_for_nothing(answer: OwnerAnswer) -> None:
    other = a_slice(uid="anew", owner="another", members=members(7, **UNPREPARED))
    found = judge(AbsenceFacts(before=[FIRST], live=[other], look_ups=answered(answer)))
    assert (uids(found), found.held, found.wanted) == (["anew"], {}, frozenset())


@pytest.mark.parametrize(
    "left",
    [
        members(100),
        [*members(100), *members(200, draining={"timeoutSeconds": 1})],
        [*members(100), *members(200, **UNPREPARED, refused="x")],
    ],
    ids=["missing", "leaving", "refused"],
)
def test_what_was_made_anew_may_say_more_than_that_it_does_not_know(left: list[dict[str, Any]]) -> None:
    found = judge(AbsenceFacts(before=[FIRST], live=[a_slice(uid="anew", members=left)]))
    assert uids(found) == ([FIRST.meta.uid] if len(left) == 1 else ["anew"])


SHRUNK = edited(FIRST, *members(100))


@pytest.mark.parametrize(
    ("brake", "look_ups", "served"),
    [
        (0.5, None, SHRUNK),
        (0.4, None, FIRST),
        (0.4, answered(problem=TROUBLE), FIRST),
        (0.4, answered(THERE), SHRUNK),
        (0.4, answered(GONE), SHRUNK),
        (0.4, answered(THERE, made=LATER), FIRST),
        (1.0, answered(problem=TROUBLE), SHRUNK),
    ],
)
def test_the_brake(brake: float, look_ups: LookUps | None, served: Slice) -> None:
    """Half of the real servers vanish from a slice that stays."""
    found = judge(AbsenceFacts(before=[FIRST], live=[SHRUNK], look_ups=look_ups, brake=brake))
    assert found.slices == (served,)
    assert bool(found.wanted) == (served is FIRST)


def test_the_brake_counts_nobody_who_was_to_leave() -> None:
    leaving = edited(FIRST, *members(100), *members(200, draining={"timeoutSeconds": 1}))
    assert judge(AbsenceFacts(before=[leaving], live=[SHRUNK], brake=0.0)).slices == (SHRUNK,)
    everybody = edited(FIRST, *members(100, 200, draining={"timeoutSeconds": 1}))
    assert judge(AbsenceFacts(before=[FIRST], live=[everybody], brake=0.0)).slices == (everybody,)


def test_the_condition_names_three_services() -> None:
    faults = {ObjectKey("default", f"s{number}"): TROUBLE for number in range(5)}
    said = summary(faults)
    assert said is not None
    assert said.message == "default/s0: 403; default/s1: 403; default/s2: 403; and 2 more services"
    assert summary({}) is None


def held_owners(found: Judgement) -> set[Owner]:
    """Owners of what is held: the others are being looked up."""
    owners = {Owner(one.service_key, one.content.service_uid) for one in found.slices}
    return {owner for owner in owners if owner.service in found.held}


SLICES = st.lists(st.sampled_from([FIRST, SECOND, ANEW, NAMESAKE, SHRUNK, LEAVING]), unique_by=lambda one: one.meta.uid)
ANSWERS = st.one_of(
    st.none(),
    st.builds(
        answered,
        st.one_of(st.none(), st.just(GONE), st.just(THERE)),
        made=st.sampled_from([CREATED, LATER]),
        problem=st.one_of(st.none(), st.just(TROUBLE)),
    ),
)


@given(before=SLICES, live=SLICES, look_ups=ANSWERS)
def test_nothing_goes_without_an_answer_and_nothing_live_is_forgotten(
    before: list[Slice], live: list[Slice], look_ups: LookUps | None
) -> None:
    found = judge(AbsenceFacts(before=before, live=live, look_ups=look_ups))
    served = {one.meta.uid for one in found.slices}
    whole = look_ups is not None and look_ups.problem is None and look_ups.kinds_made == CREATED
    if before and not live and not whole:
        assert {one.meta.uid for one in before} <= served
    if not found.wanted:
        assert {one.meta.uid for one in live} == served
    if found.wanted <= held_owners(found):
        assert {one.meta.uid for one in live} <= {one.meta.uid for one in found.acted_on}
    assert len(served) == len(found.slices)
    settled = judge(AbsenceFacts(before=found.slices, live=live, look_ups=look_ups))
    assert {one.meta.uid for one in settled.slices} == served, "judging again changes nothing"
