"""Numbers that a node has once: written, kept against others, given back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvs_agent.decide.setting_values import WantedNumber, judge_numbers
from lvs_agent.decide.tenure import FIGHT_SECONDS, Tenure
from lvs_api.node_settings import SettingKey

TCP, UDP = SettingKey("timeouts", "tcp_seconds"), SettingKey("timeouts", "udp_seconds")


def want(value: int, *accepted: int) -> WantedNumber:
    return WantedNumber(value=value, accepted=frozenset({value, *accepted}), why="LvsDirectorGroup default")


class Node:
    """A kernel, a ledger and the memory of one agent."""

    def __init__(self, **values: int) -> None:
        self.values = {SettingKey("timeouts", name): value for name, value in values.items()}
        self.remembered: dict[SettingKey, int] = {}
        self.tenures: dict[SettingKey, Tenure[int]] = {}
        self.now = 1000.0
        self.writes = 0

    def round(self, wanted: dict[SettingKey, WantedNumber], *, after: float = 1.0) -> frozenset[SettingKey]:
        """One round; what was repaired."""
        self.now += after
        verdict = judge_numbers(wanted, self.values, self.remembered, self.tenures, self.now)
        for key, value in {**verdict.writes, **verdict.restores}.items():
            self.values[key] = value
            self.writes += 1
        self.remembered, self.tenures = dict(verdict.remember), dict(verdict.tenures)
        return verdict.repairs

    def contested(self, key: SettingKey = TCP) -> bool:
        return self.tenures[key].contested is not None


def test_written_once_and_given_back() -> None:
    node = Node(tcp_seconds=900, udp_seconds=300)
    assert node.round({TCP: want(30)}) == frozenset()
    assert node.values == {TCP: 30, UDP: 300}
    assert node.remembered == {TCP: 900}
    node.round({TCP: want(60)})
    node.round({TCP: want(60)})
    assert (node.values[TCP], node.remembered, node.writes) == (60, {TCP: 900}, 2)
    node.round({})
    assert (node.values, node.remembered) == ({TCP: 900, UDP: 300}, {})
    node.round({})
    assert node.writes == 3


def test_what_is_so_already_is_not_remembered_and_stays() -> None:
    node = Node(tcp_seconds=900)
    node.round({TCP: want(900)})
    node.round({})
    assert (node.values, node.remembered, node.writes) == ({TCP: 900}, {}, 0)
    node.round({TCP: want(1, 900)})
    assert node.writes == 0


def test_the_first_change_is_put_right_at_once_and_a_second_one_waits() -> None:
    node = Node(tcp_seconds=900)
    wanted = {TCP: want(30)}
    node.round(wanted)
    node.values[TCP] = 900
    assert node.round(wanted) == {TCP}
    assert (node.values[TCP], node.contested()) == (30, False)
    node.values[TCP] = 901
    assert node.round(wanted) == frozenset()
    assert (node.values[TCP], node.contested(), node.tenures[TCP].theirs) == (901, True, "901")
    node.values[TCP] = 902
    node.round(wanted, after=FIGHT_SECONDS - 3)
    assert (node.values[TCP], node.tenures[TCP].theirs) == (
        902,
        "901",
    )  # what is said does not change with every change
    assert node.round(wanted, after=2) == {TCP}
    assert (node.values[TCP], node.contested()) == (30, True)
    node.round(wanted, after=FIGHT_SECONDS - 3)
    assert node.contested()
    node.round(wanted, after=4)
    assert not node.contested()
    node.values[TCP] = 900
    assert node.round(wanted) == {TCP}


def test_a_change_after_a_quiet_time_is_no_contest() -> None:
    node = Node(tcp_seconds=900)
    wanted = {TCP: want(30)}
    node.round(wanted)
    for _ in range(3):
        node.values[TCP] = 900
        assert node.round(wanted, after=FIGHT_SECONDS) == {TCP}
        assert not node.contested()


def test_a_new_wish_is_written_at_once_whoever_fights() -> None:
    node = Node(tcp_seconds=900)
    node.round({TCP: want(30)})
    for _ in range(2):
        node.values[TCP] = 900
        node.round({TCP: want(30)})
    assert node.contested()
    assert node.round({TCP: want(31)}) == frozenset()
    assert (node.values[TCP], node.contested()) == (31, False)


def test_a_new_agent_knows_what_was_before_from_the_ledger() -> None:
    node = Node(tcp_seconds=900)
    node.round({TCP: want(30)})
    node.tenures = {}
    node.round({TCP: want(30)})
    assert (node.writes, node.remembered) == (1, {TCP: 900})
    node.values[TCP] = 7
    assert node.round({TCP: want(30)}) == {TCP}
    node.tenures = {}
    node.round({})
    assert node.values[TCP] == 900


def test_what_the_kernel_lacks_is_missing_and_what_it_lost_is_forgotten() -> None:
    verdict = judge_numbers({TCP: want(30), UDP: want(60)}, {UDP: 60}, {TCP: 900}, {}, 0.0)
    assert (verdict.missing, verdict.writes, verdict.remember) == ({TCP}, {}, {TCP: 900})
    verdict = judge_numbers({}, {}, {TCP: 900}, {}, 0.0)
    assert (verdict.restores, verdict.remember) == ({}, {})


@pytest.mark.parametrize("later", [1.0, FIGHT_SECONDS + 1])
def test_what_was_refused_is_tried_again_and_nobody_is_blamed(later: float) -> None:
    refused = Tenure(value=30, is_settled=True, tried=1000.0, refused="no")
    verdict = judge_numbers({TCP: want(30)}, {TCP: 900}, {}, {TCP: refused}, 1000.0 + later)
    assert verdict.repairs == frozenset()
    assert verdict.tenures[TCP].contested is None
    assert (TCP in verdict.writes) == (later > FIGHT_SECONDS)
    verdict = judge_numbers({TCP: want(30)}, {TCP: 30}, {}, {TCP: refused}, 1001.0)
    assert verdict.tenures[TCP].refused is None


@given(st.lists(st.tuples(st.sampled_from([1.0, 20.0, 61.0]), st.none() | st.integers(1, 3)), max_size=30))
def test_nobody_is_fought_more_than_once_a_period(events: list[tuple[float, int | None]]) -> None:
    node = Node(tcp_seconds=900)
    wanted = {TCP: want(30)}
    node.round(wanted)
    repaired: list[float] = []
    for after, theirs in events:
        if theirs is not None:
            node.values[TCP] = theirs
        if node.round(wanted, after=after):
            repaired.append(node.now)
    assert all(later - earlier >= FIGHT_SECONDS for earlier, later in pairwise(repaired))
    assert node.values[TCP] == 30 or node.contested()
    node.round({})
    assert node.values[TCP] == 900
