"""Which real servers may be believed to carry the VIP, and whose agents have to be asked first.

A cluster node under DirectRouting or Tunnel that has lost the VIP (it booted, and its server runs before its agent)
still answers checks on its own address, and would send packets for the VIP back until their TTL ends. So such a member
goes from no weight to its weight only when its agent, asked when nothing else is missing, confirms that it carries the
VIP. That the slices say `prepared` anew is not enough: after a time without the API server they tell of what was. One
that has weight keeps it until its check fails: unknown is not down. `prepared: false` outranks every word: the node may
have been told to give the VIP up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from lvs_agent.decide.kernel_state import AnyServiceKey, DestinationKey, IPAddress
from lvs_agent.decide.node_word import Carried

WORD_SECONDS: Final = 3.0
"""Within so many seconds an agent that runs has been asked and has answered."""
_V6: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of asking an agent, last."""

    heard: float
    """Boot clock."""
    carried: frozenset[Carried] = frozenset()
    detail: str = ""
    """Why there is no word, in a few words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What the agents of real servers were heard to say."""

    port: int
    """Where they are asked, on the real server's own address."""
    answers: Mapping[IPAddress, Answer] = field(default_factory=dict)
    """By the real server's address; none from those that have not answered yet, or are not asked."""


class MemberKey(NamedTuple):
    """A real server in one kernel service."""

    service: AnyServiceKey
    destination: DestinationKey


class Standing(NamedTuple):
    """How far a real server is believed to carry the VIP, from round to round."""

    doubted: bool
    """It gets weight only after a fresh word."""
    asked_since: float | None
    """Boot clock since when nothing but a word is missing; only what was heard after that counts."""
    failed: bool
    """Its check failed."""
    need: Carried
    """What it is believed, or not, to carry."""


class MemberNow(NamedTuple):
    """What of a real server decides in this round."""

    has_weight: bool
    """In the kernel, or believed until now to carry the VIP in another kernel service: another port, say, or a mark."""
    failed: bool
    lost: bool
    """The slices say that it is not prepared, and it loses its weight for that."""
    lacks_nothing_else: bool
    """It would have weight now if it is believed."""


def step_standing(
    before: Standing | None, member: MemberNow, *, need: Carried, answer: Answer | None, now: float
) -> Standing:
    """How a member stands after this round; `now` is the boot clock.

    One that is seen for the first time with weight in the kernel is believed: an earlier life of this agent gave it.
    """
    doubted = before.doubted if before is not None else not member.has_weight
    if member.lost or (member.failed and (before is None or not before.failed)):
        doubted = True
    asked_since = None
    if doubted and member.lacks_nothing_else:
        asked_since = before.asked_since if before is not None else None
        asked_since = now if asked_since is None else asked_since
        if answer is not None and answer.heard >= asked_since and need in answer.carried:
            doubted, asked_since = False, None
    standing = Standing(doubted, asked_since, member.failed, need)
    return before if before == standing else standing


def believed(standings: Mapping[MemberKey, Standing]) -> frozenset[tuple[IPAddress, Carried]]:
    """Addresses of real servers with what they are believed to carry, whichever kernel service they are in."""
    return frozenset((key.destination.address, one.need) for key, one in standings.items() if not one.doubted)


def is_news(standings: Mapping[MemberKey, Standing], before: Words | None, words: Words | None) -> bool:
    """Whether agents have said something since `before` that changes how a member stands, or what is said of it.

    One that does not confirm is asked for as long as it does not, and says the same each time.
    """
    if before is None or words is None:
        return before is not words
    return before.port != words.port or any(
        _counting(key, one.asked_since, before) != _counting(key, one.asked_since, words)
        for key, one in standings.items()
        if one.asked_since is not None
    )


def _counting(key: MemberKey, since: float, words: Words) -> tuple[frozenset[Carried], str] | None:
    """What the agent of a member has said since it is being asked."""
    answer = words.answers.get(key.destination.address)
    return None if answer is None or answer.heard < since else (answer.carried, answer.detail)


def is_due(standing: Standing, now: float) -> bool:
    """Whether an agent that runs need not have answered yet."""
    return standing.asked_since is not None and now < standing.asked_since + WORD_SECONDS


def why_not_believed(need: Carried, address: IPAddress, words: Words, since: float) -> tuple[bool, str]:
    """Whether the agent has answered, and the sentence that says what is missing."""
    answer = words.answers.get(address)
    if answer is None or answer.heard < since:
        return False, f"its agent is being asked whether it carries {need.address}"
    host = f"[{address}]" if address.version == _V6 else str(address)
    by_gue = f", and UDP port {need.port} open" if need.port else ""
    detail = answer.detail or f"it has not got it bound and silent on {need.device}{by_gue}"
    return True, f"its agent at {host}:{words.port} does not confirm that it carries {need.address}: {detail}"
