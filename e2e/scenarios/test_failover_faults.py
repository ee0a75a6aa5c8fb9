"""Two directors with VRRP, and all that breaks: who owned the address, when nobody answered.

An advert comes each 100 ms, of pods each 300 ms. Figures are printed (`pytest -rP`): seconds without a reply at probes
each millisecond on the same link and through a router, connections at a steady rate, owners at each instant by adverts
and by ARP. What is asserted are conditions, with deadlines for a busy machine.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from lvs_lab.waiting import wait_for
from support.agent_state import wait_rounds
from support.director_pair import TAKE_OVER_SECONDS, DirectorPair
from support.fault_figures import Sign
from support.fault_lab import (
    DIRECTORS,
    NAME,
    ROUTER_ID,
    SERVERS,
    SERVICE,
    VIP,
    api_server,
    deaf_to_adverts,
    fault_lab,
    must_be_settled,
    wait_relieved,
    wait_whole,
)
from support.fault_record import FaultRecord, recording
from support.forged_adverts import ForgedAdvert, forging
from support.neighbours import mac_of, wait_for_neighbour
from support.traffic import answers

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

CLIENTS = ("ff-client", "ff-far-client")
"""On the link, and behind the router."""
APART = ("ff-two", "ff-server-2", "ff-client-2", "ff-watcher-2")
"""The other side of a parting."""
STANDSTILL_SECONDS = 30.0
ADVERTS_OF_A_FAULT = 100
"""So many of the Master's are waited for while its link is bad: ten seconds of them, had none been lost."""
ADVERTS_TO_BE_ALONE = 10
"""Of the other Master, so that who is silent meanwhile is seen to have ended."""
ANSWER_SECONDS = 5.0
"""A Master answers a claim within a second or so; by itself a neighbour doubts what it knows after 8 s (neigh/default/
delay_first_probe_time, ucast_solicit), and keepalived repeats it each minute."""
FORGED = 30
"""At twice the rate of a Master's, and so five times as long as a Backup waits."""
API_SERVER = ("there", "away")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectorPair]:
    with fault_lab("faults", tmp_path_factory.mktemp("faults")) as pair:
        yield pair


@pytest.fixture
def pair(lab: DirectorPair) -> Iterator[DirectorPair]:
    """Both directors up, that of the higher priority Master, all real servers in use; what a test broke is mended."""
    wait_whole(lab)
    yield lab
    lab.deployment.lab.repair()


def recorded(pair: DirectorPair, what: str) -> AbstractContextManager[FaultRecord]:
    return recording(pair, what, clients=CLIENTS, watchers=["ff-watcher"])


def must_have_moved(record: FaultRecord, former: str, new: str) -> None:
    """It went once, from the one to the other, who told the link so; never were two at once."""
    assert record.masters() == [former, new]
    assert record.seconds_of_two_masters() == 0
    assert record.announced_by(new)


def must_lose_nothing(record: FaultRecord) -> None:
    """Every connection was made and answered."""
    for load in record.loads.values():
        assert load.failures == {}, f"{record.what}: {load}"


@pytest.mark.parametrize("api", ["away", pytest.param("there", marks=pytest.mark.long)])
def test_power_off(pair: DirectorPair, api: str) -> None:
    """With the API server away as with it, and without preemption when the power is back, under load."""
    with (
        api_server(pair, api),
        recorded(pair, f"power off, API server {api}") as record,
    ):
        record.fault()
        pair.deployment.lab.guest("ff-one").power_off()
        wait_relieved(pair, "ff-two")
    must_have_moved(record, "ff-one", "ff-two")
    pair.deployment.lab.guest("ff-one").power_on()
    with recorded(pair, "the director returns") as back:
        back.fault()
        pair.deployment.ensure_running()
        must_be_settled(pair, "ff-two")
    assert back.masters() == ["ff-two"]
    assert not back.announced_by("ff-one")
    must_lose_nothing(back)


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
def test_a_link_without_carrier(pair: DirectorPair, api: str) -> None:
    """The director sees it at once, but nobody hears from it; it does not take the address back when the link is."""
    with api_server(pair, api), recorded(pair, f"link down, API server {api}") as record:
        record.fault()
        pair.deployment.lab.guest("ff-one").link("down")
        wait_relieved(pair, "ff-two")
        pair.deployment.lab.guest("ff-one").link("up")
        pair.must_stay("ff-two")
    must_have_moved(record, "ff-one", "ff-two")
    must_be_settled(pair, "ff-two")


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
def test_keepalived_is_killed(pair: DirectorPair, api: str) -> None:
    """Its supervisor takes away what it left and starts it again; by then the other one may be Master."""
    restarts = partial(pair.deployment.agent_metric, "ff-one", "lvs_agent_vrrp_restarts_total")
    before = restarts()
    with api_server(pair, api), recorded(pair, f"keepalived killed, API server {api}") as record:
        record.fault()
        pair.deployment.lab.guest("ff-one").out("pkill", "-KILL", "keepalived")
        wait_for(lambda: restarts() > before, TAKE_OVER_SECONDS, "keepalived to be started again")
        new = pair.master()
        wait_relieved(pair, new)
        pair.must_stay(new)
    assert record.announced_by(new)
    must_be_settled(pair, new)


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
def test_the_agent_is_killed(pair: DirectorPair, api: str) -> None:
    """Nothing moves and nothing is lost; the next agent, which may have only what is on its disk, writes nothing."""
    agent = pair.deployment.lab.agent("ff-one")
    credentials = pair.deployment.agent_credentials("ff-one")
    with api_server(pair, api), recorded(pair, f"agent killed, API server {api}") as record:
        record.fault()
        agent.kill("KILL")
        pair.must_stay("ff-one")
        pair.deployment.start_agent("ff-one", credentials)
        wait_rounds(pair.deployment, "ff-one")
        pair.must_stay("ff-one")
        assert pair.deployment.agent_metric("ff-one", "lvs_agent_kernel_writes_total") == 0
    assert record.masters() == ["ff-one"]
    must_lose_nothing(record)
    must_be_settled(pair, "ff-one")


@pytest.mark.parametrize("api", ["there", pytest.param("away", marks=pytest.mark.long)])
def test_a_silent_switch_port(pair: DirectorPair, api: str) -> None:
    """The director sees its link and hears nobody: both are Master until the port speaks again."""
    with (
        api_server(pair, api),
        recorded(pair, f"silent switch port, API server {api}") as record,
    ):
        record.fault()
        pair.deployment.lab.guest("ff-one").link("silent")
        wait_for(lambda: set(pair.owners()) == set(DIRECTORS), TAKE_OVER_SECONDS, "both to carry the address")
        wait_for(lambda: answers(pair.client, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer")
        what = f"{ADVERTS_TO_BE_ALONE} adverts of ff-two"
        wait_for(lambda: record.adverts_of("ff-two") >= ADVERTS_TO_BE_ALONE, TAKE_OVER_SECONDS, what)
        assert record.masters() == list(DIRECTORS)
        assert record.announced_by("ff-two")
        pair.deployment.lab.guest("ff-one").link("up")
        wait_relieved(pair, "ff-one")
        pair.must_stay("ff-one")
    assert record.masters() == ["ff-one", "ff-two", "ff-one"]
    must_be_settled(pair, "ff-one")


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
def test_adverts_are_lost_in_one_direction(pair: DirectorPair, api: str) -> None:
    """A deaf Master notices nothing. A deaf Backup becomes Master beside the other one, and the group says so."""
    with api_server(pair, api), recorded(pair, f"the Master hears no adverts, API server {api}") as record:
        record.fault()
        with deaf_to_adverts(pair, "ff-one"):
            pair.must_stay("ff-one")
    assert record.masters() == ["ff-one"]
    must_lose_nothing(record)
    with api_server(pair, api), recorded(pair, f"the Backup hears no adverts, API server {api}") as record:
        with deaf_to_adverts(pair, "ff-two"):
            record.fault()
            wait_for(lambda: set(pair.owners()) == set(DIRECTORS), TAKE_OVER_SECONDS, "both to carry the address")
            if api == "there":
                pair.deployment.wait_condition(NAME, "Ready", "False", "SplitBrain", kind="lvsdg", deadline=90)
        wait_relieved(pair, "ff-one")
        pair.must_stay("ff-one")
    assert record.seconds_of_two_masters() > 0
    must_be_settled(pair, "ff-one")
    pair.deployment.wait_condition(NAME, "Ready", "True", kind="lvsdg")


@pytest.mark.long
def test_a_take_over_of_which_the_master_hears_no_advert(pair: DirectorPair) -> None:
    """The Backup was Master for a moment, and neighbours believe that it is; the Master tells them all the same."""
    one = mac_of(pair.deployment.lab.guest("ff-one"))
    with api_server(pair, "away"), recorded(pair, "a take-over that the Master hears no advert of") as record:
        with deaf_to_adverts(pair, "ff-one"):
            record.fault()
            with deaf_to_adverts(pair, "ff-two"):
                wait_for(lambda: set(pair.owners()) == set(DIRECTORS), TAKE_OVER_SECONDS, "both to carry the address")
            wait_for(lambda: pair.owners() == ["ff-one"], TAKE_OVER_SECONDS, "ff-two to let go")
            claimed = record.announced_by("ff-two")[-1].at
            wait_for(
                lambda: [heard for heard in record.announced_by("ff-one") if heard.at > claimed],
                ANSWER_SECONDS,
                "ff-one to tell neighbours",
            )
            for name in ("ff-client", "ff-router"):
                wait_for_neighbour(pair.deployment.lab.machine(name), VIP, one, deadline=ANSWER_SECONDS)
            wait_for(lambda: answers(pair.client, VIP), ANSWER_SECONDS, f"{VIP} to answer")
        pair.must_stay("ff-one")
    must_be_settled(pair, "ff-one")


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
@pytest.mark.parametrize("fault", ["loss=30%", "delay=200ms jitter=200ms"])
def test_a_bad_link(pair: DirectorPair, fault: str, api: str) -> None:
    """The Master's link loses packets, or they overtake one another: whatever comes of it, in the end it is Master."""
    with api_server(pair, api), recorded(pair, f"the Master's link: {fault}, API server {api}") as record:
        record.fault()
        pair.deployment.lab.guest("ff-one").link(*fault.split())
        what = f"{ADVERTS_OF_A_FAULT} adverts of ff-one"
        wait_for(lambda: record.adverts_of("ff-one") >= ADVERTS_OF_A_FAULT, 90, what, interval=1)
        pair.deployment.lab.guest("ff-one").link("up")
        wait_relieved(pair, "ff-one")
        pair.must_stay("ff-one")
    for load in record.loads.values():
        assert load.succeeded > 0, str(load)
    must_be_settled(pair, "ff-one")


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
def test_a_parting_with_clients_on_both_sides(pair: DirectorPair, api: str) -> None:
    """Each side is served by its own director and real server; once whole again there is one owner."""
    lab = pair.deployment.lab
    with (
        api_server(pair, api),
        recording(
            pair,
            f"parting, API server {api}",
            clients=["ff-client", "ff-client-2"],
            watchers=["ff-watcher", "ff-watcher-2"],
        ) as record,
    ):
        record.fault()
        for name in APART:
            lab.machine(name).link("apart")
        wait_for(lambda: set(pair.owners()) == set(DIRECTORS), TAKE_OVER_SECONDS, "both to carry the address")
        for director, client, gone in (
            ("ff-one", "ff-client", "ff-server-2"),
            ("ff-two", "ff-client-2", "ff-server-1"),
        ):
            pair.deployment.wait_weight(director, SERVICE, f"{SERVERS[gone]}:80", 0, deadline=TAKE_OVER_SECONDS)
            machine = lab.machine(client)
            mac = mac_of(lab.guest(director))
            wait_for_neighbour(machine, VIP, mac, deadline=TAKE_OVER_SECONDS)
            wait_for(lambda one=machine: answers(one, VIP), TAKE_OVER_SECONDS, f"{VIP} to answer {client}")  # type: ignore[misc]  # mypy infers no lambda with a default
        parted = record.seconds_of_two_masters()
        healed = time.time()
        for name in APART:
            lab.machine(name).link("up")
        wait_relieved(pair, "ff-one")
        wait_for_neighbour(lab.machine("ff-client-2"), VIP, mac_of(lab.guest("ff-one")), deadline=TAKE_OVER_SECONDS)
        pair.must_stay("ff-one")
    last = max(span.end for span in record.owned(Sign.ADVERT) if record.names[span.mac] == "ff-two")
    print(f"the other director's last advert came {last - healed:.3f} s after the heal")
    assert parted > 0
    must_be_settled(pair, "ff-one")


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
def test_a_guest_that_stands_still(pair: DirectorPair, api: str) -> None:
    """It goes on as the Master that it was; by then another one is, and one of them gives way."""
    guest = pair.deployment.lab.guest("ff-one")
    with (
        api_server(pair, api),
        recorded(pair, f"{STANDSTILL_SECONDS:.0f} s of standing still, API server {api}") as record,
    ):
        record.fault()
        since = time.monotonic()
        guest.pause()
        wait_relieved(pair, "ff-two")
        wait_for(lambda: time.monotonic() - since >= STANDSTILL_SECONDS, 2 * STANDSTILL_SECONDS, "the time to pass")
        assert record.masters() == list(DIRECTORS)
        guest.resume()
        new = pair.master()
        wait_relieved(pair, new)
        pair.must_stay(new)
    must_be_settled(pair, new)


@pytest.mark.long
@pytest.mark.parametrize("api", API_SERVER)
@pytest.mark.parametrize("step", ["+1 hour", "-1 hour"])
def test_a_clock_that_is_set(pair: DirectorPair, step: str, api: str) -> None:
    """Nothing of this goes by the clock on the wall: the owner stays, and checks go on."""
    guest = pair.deployment.lab.guest("ff-one")
    try:
        with api_server(pair, api), recorded(pair, f"clock set by {step}, API server {api}") as record:
            record.fault()
            guest.out("date", "--set", step)
            pair.must_stay("ff-one")
        assert record.masters() == ["ff-one"]
        must_lose_nothing(record)
        address = f"{SERVERS['ff-server-1']}:80"
        pair.deployment.lab.machine("ff-server-1").link("down")
        pair.deployment.wait_weight("ff-one", SERVICE, address, 0, deadline=TAKE_OVER_SECONDS)
        pair.deployment.lab.machine("ff-server-1").link("up")
        pair.deployment.wait_weight("ff-one", SERVICE, address, 1, deadline=TAKE_OVER_SECONDS)
    finally:
        guest.out("date", "--set", f"@{time.time():.3f}")
    must_be_settled(pair, "ff-one")


WRONG = {
    "checksum": ForgedAdvert(router_id=ROUTER_ID, priority=250, addresses=(VIP,), checksum_error=1),
    "TTL 254": ForgedAdvert(router_id=ROUTER_ID, priority=250, addresses=(VIP,), ttl=254),
    "version 7": ForgedAdvert(router_id=ROUTER_ID, priority=250, addresses=(VIP,), version=7),
    "another id": ForgedAdvert(router_id=ROUTER_ID + 1, priority=250, addresses=(VIP,)),
}


def test_wrong_adverts_move_nothing(pair: DirectorPair) -> None:
    """Of a priority that would win, were they right."""
    stranger = pair.deployment.lab.machine("ff-stranger")
    for what, advert in WRONG.items():
        with recorded(pair, f"adverts with wrong {what}") as record:
            record.fault()
            with forging(stranger, advert) as forgery:
                pair.must_stay("ff-one", beside=mac_of(stranger))
                wait_for(lambda one=forgery: one.sent >= FORGED, TAKE_OVER_SECONDS, f"{FORGED} adverts")  # type: ignore[misc]  # mypy infers no lambda with a default
        assert set(DIRECTORS).intersection(record.masters()) == {"ff-one"}, what
        must_lose_nothing(record)
        assert heard_from(pair) == set(), what


def heard_from(pair: DirectorPair) -> set[str]:
    """Who else than the directors sends adverts of their virtual router, as they report."""
    groups = [one for name in DIRECTORS for one in pair.deployment.get("lvsnode", name)["status"]["directorGroups"]]
    heard = {sender for group in groups for router in group["virtualRouters"] for sender in router.get("heardFrom", ())}
    return heard - {pair.deployment.lab.guest(name).ip for name in DIRECTORS}


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "priority", "interval"), [("higher priority", 250, 10), ("interval 0, lowest priority", 1, 0)]
)
def test_a_stranger_that_speaks_well(pair: DirectorPair, what: str, priority: int, interval: int) -> None:
    """VRRP is not protected: who can send on the link can take the addresses. When the stranger ends, all is well."""
    stranger = pair.deployment.lab.machine("ff-stranger")
    advert = ForgedAdvert(router_id=ROUTER_ID, priority=priority, addresses=(VIP,), interval_centiseconds=interval)
    with recorded(pair, f"a stranger's adverts: {what}") as record:
        record.fault()
        with forging(stranger, advert) as forgery:
            if priority > 150:
                wait_for(lambda: pair.owners() == [], TAKE_OVER_SECONDS, "the directors to give way")
            wait_for(lambda: forgery.sent >= FORGED, TAKE_OVER_SECONDS, f"{FORGED} adverts")
        new = pair.master()
        wait_relieved(pair, new)
        pair.must_stay(new)
    must_be_settled(pair, new)


def test_a_stranger_with_the_groups_id_is_named_and_another_id_taken(pair: DirectorPair) -> None:
    """However weak it is; the id is given up where somebody says that it is another's."""
    group = pair.deployment
    stranger = group.lab.machine("ff-stranger")
    with forging(stranger, ForgedAdvert(router_id=ROUTER_ID, priority=50, addresses=(VIP,))):
        found = group.wait_condition(NAME, "Ready", "False", "ForeignVrrp", kind="lvsdg")
        assert f"of virtual router {ROUTER_ID} come from {stranger.ip}, which is no director" in found["message"]
        pair.must_stay("ff-one", beside=mac_of(stranger))
        group.patch("lvsdg", NAME, {"vrrp": {"virtualRouterIds": None, "reservedVirtualRouterIds": [ROUTER_ID]}})
        group.wait_condition(NAME, "Ready", "True", kind="lvsdg")
        (router,) = group.get("lvsdg", NAME)["status"]["virtualRouters"]
        assert router["id"] != ROUTER_ID
    group.patch("lvsdg", NAME, {"vrrp": {"virtualRouterIds": [ROUTER_ID], "reservedVirtualRouterIds": None}})
    group.wait_condition(NAME, "Ready", "True", kind="lvsdg")
    must_be_settled(pair, pair.master())
