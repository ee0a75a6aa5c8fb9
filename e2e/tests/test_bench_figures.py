"""The measurements' pure parts: tables, what tools are told of them, goals, and how both are printed."""

from dataclasses import replace
from math import inf

import pytest

from bench.director_kinds import last_state
from bench.figure import WORST, Figure, Goal, Measured, percentile
from bench.keepalived_pair import PeerSetup
from bench.kube_vip_pair import options
from bench.large_table import LARGE, Shape, additions, edits, ipvsadm_text, keepalived_text, table_of
from bench.report import lines_of
from bench.take_over import delays, figure, next_moment
from bench.turnover import TURNS, turns
from lvs_agent.decide.changes import AddDestination, DeleteDestination
from lvs_lab.artifacts import CHECKOUT

SMALL = Shape(services=2, real_servers=1)


def test_a_table_has_its_shape() -> None:
    table = table_of(LARGE)
    assert len(table) + sum(len(wish.destinations) for wish in table.values()) == LARGE.entries == 11_000
    assert len({one for wish in table.values() for one in wish.destinations}) == 10_000
    heavier = table_of(LARGE, heavier=1)
    assert heavier.keys() == table.keys()
    assert all(heavier[key].destinations.keys() == wish.destinations.keys() for key, wish in table.items())
    assert len(edits(heavier)) == 10_000


def test_each_turn_replaces_a_fifth_by_what_was_never_there() -> None:
    ever = {one for wish in table_of(LARGE).values() for one in wish.destinations}
    count = 0
    for table, changes in turns():
        new = {change.destination for change in changes if isinstance(change, AddDestination)}
        gone = {change.destination for change in changes if isinstance(change, DeleteDestination)}
        assert len(new) == len(gone) == len(changes) / 2 == 2_000
        assert new.isdisjoint(ever)
        assert gone < ever
        there = {one for wish in table.values() for one in wish.destinations}
        assert len(there) == 10_000
        ever |= new
        count += 1
    assert count == TURNS


def test_tools_are_told_the_table() -> None:
    assert ipvsadm_text(additions(table_of(SMALL))).splitlines() == [
        "-A -t 10.0.0.1:8000 -s wrr",
        "-A -t 10.0.0.1:8001 -s wrr",
        "-a -t 10.0.0.1:8000 -r 11.0.0.1:8000 -g -w 1",
        "-a -t 10.0.0.1:8001 -r 11.0.1.1:8001 -g -w 1",
    ]
    words = " ".join(keepalived_text(table_of(SMALL)).split())
    first = (
        "virtual_server 10.0.0.1 8000 { lvs_sched wrr lvs_method DR protocol TCP real_server 11.0.0.1 8000 { weight 1"
    )
    assert words.startswith(f"{first} }} }} virtual_server")


@pytest.mark.parametrize(
    ("goal", "value", "kept"),
    [
        (Goal(series="ours", peer="theirs", at_most=0.5), 0.5, True),
        (Goal(series="ours", peer="theirs", at_most=0.4), 0.5, False),
        (Goal(series="ours", percentile=WORST, at_most=2), 3, False),
        (Goal(series="theirs", at_least=5, at_most=9), 4, False),
        (Goal(series="theirs", at_least=4, at_most=inf), 4, True),
        (Goal(series="theirs", at_least=5, at_most=inf), 4, False),
    ],
)
def test_goals(goal: Goal, value: float, kept: bool) -> None:
    series = {"ours": [1.0, 2.0, 3.0], "theirs": [4.0]}
    assert goal.value(series) == value
    assert goal.is_kept(series) is kept


@pytest.mark.parametrize(
    ("at_least", "at_most", "words"),
    [(0, 1.05, "at most 1.05"), (0.99, 1.01, "0.99 to 1.01"), (1, inf, "at least 1")],
)
def test_bounds_in_words(at_least: float, at_most: float, words: str) -> None:
    assert Goal(series="ours", at_least=at_least, at_most=at_most).bound == words


def test_percentiles() -> None:
    assert [percentile(range(101), number) for number in (50, 95, 99, WORST)] == [50, 95, 99, 100]
    assert percentile([7], 99) == 7


def test_a_miss_is_said_with_its_profile_and_a_kept_goal_without() -> None:
    def made(bound: float) -> Figure:
        goals = (Goal(series="ours", peer="theirs", at_most=bound),)
        return Figure(name="P0", title="nothing", ways={}, ours="ours", goals=goals)

    measured = Measured(series={"ours": [2.0], "theirs": [1.0]}, remarks=["few"], profile=["90 % encode"])
    missed, kept = "\n".join(lines_of(made(1), measured)), "\n".join(lines_of(made(3), measured))
    assert "ours / theirs: 2, at most 1: MISSED" in missed
    assert "profile: 90 % encode" in missed
    assert "few" in kept
    assert "at most 3: kept" in kept
    assert "profile" not in kept


def test_keepalived_alone_is_configured_as_the_agents_configure_it() -> None:
    ours = (CHECKOUT / "node-agent/tests/data/vrrp/one-address.conf").read_text(encoding="ascii").splitlines()
    number = next(line.split()[1] for line in ours if "virtual_router_id" in line)
    priority = next(line.split()[1] for line in ours if "priority" in line.split()[:1])
    interval = next(line.split()[1] for line in ours if "advert_int" in line)
    vip = next(line.split("/")[0].strip() for line in ours if "/32 dev" in line)
    setup = PeerSetup(
        vip=vip, router_id=int(number), priority=int(priority), interval_milliseconds=round(1000 * float(interval))
    )
    # The file is of a group with preemption, which nothing here has.
    own = ("vrrp_instance", "    nopreempt")
    theirs = [line for line in setup.text.splitlines() if not line.startswith(own)]
    assert set(theirs) <= set(ours)
    timing = {line for line in ours if "garp" in line or "advert" in line}
    assert timing <= set(theirs)
    whole = PeerSetup(vip=vip, router_id=7, priority=1, interval_milliseconds=100, servers=("10.0.0.1", "10.0.0.2"))
    assert whole.text.count("real_server") == 2
    assert "lvs_sync_daemon eth0 peer id 7" in whole.text
    assert "    lvs_sched rr\n" in whole.text
    assert "    lvs_sched mh\n    mh-port\n" in replace(whole, hashing=True).text


def test_what_keepalived_is_by_its_log() -> None:
    assert last_state("Starting VRRP child process\n") == ""
    log = "(peer) Entering BACKUP STATE (init)\n(peer) Backup received priority 0 advert\n"
    assert last_state(log) == "BACKUP"
    assert last_state(f"{log}(peer) Entering MASTER STATE\nSending gratuitous ARP\n") == "MASTER"


def test_take_over_is_held_to_whoever_takes_part() -> None:
    assert [goal.bound for goal in figure(1000, leases=False).goals] == ["at most 1.05"]
    assert [goal.bound for goal in figure(100, leases=True).goals] == ["at most 1.05", "at most 0.5"]
    assert figure(10, leases=True).goals == ()


def test_kube_vip_is_tuned() -> None:
    words = options("10.0.0.1", "one")
    assert {"--leaseDuration=5", "--leaseRenewDuration=3", "--leaseRetry=1"} <= set(words)
    assert {"--address=10.0.0.1", "--nodeName=one", "--leaderElection", "--arp"} <= set(words)


def test_power_offs_are_spread_over_the_time_between_two_adverts() -> None:
    assert delays(4, 1000) == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert delays(1, 10) == pytest.approx([0.005])


@pytest.mark.parametrize(
    ("now", "moment"), [(99.0, 100.25), (100.2, 100.25), (100.25, 100.25), (100.3, 101.25), (103.9, 104.25)]
)
def test_a_power_off_comes_so_long_after_an_advert_and_not_in_the_past(now: float, moment: float) -> None:
    assert next_moment(100.0, now, delay=0.25, interval=1000) == pytest.approx(moment)
