"""Every example with real kernels: applied by kubectl, looked at with ipvsadm, ip, arping, sysctl and curl."""

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from lvs_core.allocate import first_choice
from lvs_core.cluster_view import ObjectKey
from lvs_lab.lab_machine import LabMachine
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import GONE_SECONDS, Deployment, deployed
from support.example_cases import CASES, LABS, REQUESTS, Case, example
from support.example_machines import SET_BY_HAND, prepare
from support.neighbours import claimants, claimants6, mac_of, wait_for_neighbour
from support.traffic import answers, count_replies, count_sctp_replies, steady_requests

pytestmark = pytest.mark.lab

BY_LAB = [(lab, case) for lab, topologies in LABS.items() for case in CASES if case.machines in topologies]
WITH_SETTINGS = [(lab, case) for lab, case in BY_LAB if case.timeouts or case.sysctls]
TUNNELS = [(lab, case) for lab, case in BY_LAB if case.device == "tunl0"]
in_its_lab = pytest.mark.parametrize(
    ("lab", "case"),
    BY_LAB,
    indirect=["lab"],
    scope="module",
    ids=[case.example for _, case in BY_LAB],
)
KERNELS_OWN = {"expire_nodest_conn": 0, "conn_reuse_mode": 1, "conntrack": 0}
Lab = tuple[Deployment, dict[str, dict[str, str]]]


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with several examples in it, their web servers listening, and the sysctls that its nodes booted with."""
    with deployed(f"ex-{request.param}", LABS[request.param], tmp_path_factory.mktemp("examples")) as deployment:
        before = {node: deployment.sysctls(node) for node in deployment.plain_nodes}
        served: set[tuple[str, int]] = set()
        for case in CASES:
            if case.machines in LABS[request.param]:
                prepare(deployment, case, served)
        yield deployment, before


def apply(deployment: Deployment, case: Case) -> None:
    deployment.apply(case.directory)
    deployment.wait_ready(case.service, *case.other_services)
    if case.vrrp:
        # The backup may have been first; with preemption it gives way at once.
        vip = f"{case.vip}/{128 if case.ipv6 else 32}"
        first, second = (partial(deployment.addresses, name, case.vip_device) for name in case.vrrp_directors)
        wait_for(lambda: vip in first() and vip not in second(), READY_SECONDS, f"{case.director} to carry the VIP")


def take_away(deployment: Deployment, case: Case) -> None:
    deployment.delete(case.directory)
    wait_for(lambda: deployment.table(case.director) == {}, GONE_SECONDS, "the table to be empty")


def replies_to(client: LabMachine, case: Case, requests: int) -> Counter[str]:
    count = count_sctp_replies if case.protocol == "sctp" else count_replies
    return count(client, case.vip, requests, port=case.port)


@in_its_lab
def test_traffic_is_balanced(lab: Lab, case: Case) -> None:
    deployment, _ = lab
    apply(deployment, case)
    deployment.wait_shape(case.director, case.shape)
    client = deployment.lab.machine(case.client)
    if case.protocol == "tcp":
        wait_for(lambda: answers(client, case.vip, port=case.port), 10, f"{case.vip} to answer")
    if case.sources:
        replies: Counter[str] = Counter()
        for source in case.sources:
            replies += count_replies(client, case.vip, 1, port=case.port, source=source)
        assert replies == case.expected_replies(len(case.sources))
    elif case.sticky:
        assert len(replies_to(client, case, REQUESTS)) == 1
    else:
        assert replies_to(client, case, REQUESTS) == case.expected_replies(REQUESTS)


@in_its_lab
def test_only_the_director_answers_for_the_vip(lab: Lab, case: Case) -> None:
    deployment, _ = lab
    apply(deployment, case)
    client, director = deployment.lab.machine(case.client), deployment.lab.guest(case.director)
    mine = {mac_of(director, device) for device in ("eth0", case.vip_device)}
    who = claimants6(client, case.vip) if case.ipv6 else claimants(client, case.vip)
    assert who
    assert who <= mine


@in_its_lab
def test_vip_is_where_it_belongs(lab: Lab, case: Case) -> None:
    deployment, _ = lab
    apply(deployment, case)
    vip = f"{case.vip}/{128 if case.ipv6 else 32}"
    assert vip in deployment.addresses(case.director, case.vip_device)
    for name in case.real_servers if case.device else ():
        assert vip in deployment.addresses(name, str(case.device))
        for device in {"eth0", "lo", "tunl0"} - {case.device}:
            assert vip not in deployment.addresses(name, device)


@in_its_lab
def test_sysctls_are_what_the_roles_need(lab: Lab, case: Case) -> None:
    deployment, _ = lab
    apply(deployment, case)
    for name in case.real_servers if case.device and not case.ipv6 else ():
        settings = deployment.sysctls(name)
        # The kernel takes the larger of `all` and the device for both (ip-sysctl.rst).
        assert combined(settings, "arp_ignore", "eth0") >= 1
        assert combined(settings, "arp_announce", "eth0") == 2
        if case.device == "tunl0":
            assert combined(settings, "rp_filter", "tunl0") in {0, 2}
    settings = deployment.sysctls(case.director)
    if case.device is None and case.ipv6:
        # Either for the whole node, or on new kernels for the device alone that replies come in by.
        assert "1" in {settings["ipv6/conf/all/forwarding"], settings.get("ipv6/conf/eth1/force_forwarding")}
    elif case.device is None:
        assert settings["ipv4/conf/eth1/forwarding"] == "1"
        # Replies come in by eth1, and are routed there: redirects are sent if `all` or that device says so.
        assert combined(settings, "send_redirects", "eth1") == 0


def combined(settings: dict[str, str], name: str, device: str) -> int:
    return max(int(settings[f"ipv4/conf/{scope}/{name}"]) for scope in ("all", device))


@pytest.mark.parametrize(
    ("lab", "case"), WITH_SETTINGS, indirect=["lab"], scope="module", ids=[case.example for _, case in WITH_SETTINGS]
)
def test_settings_are_the_groups_while_it_is_there(lab: Lab, case: Case) -> None:
    deployment, _ = lab
    apply(deployment, case)
    deployment.wait_condition(case.machines, "SettingsApplied", "True", "SettingsApplied", kind="lvsdg")

    def settings() -> tuple[tuple[int, ...], dict[str, int]]:
        found = {name: deployment.vs_sysctl(case.director, name) for name in case.sysctls}
        return deployment.timeouts(case.director), found

    assert settings() == (case.timeouts or SET_BY_HAND, case.sysctls)
    deployment.delete(case.directory)
    before = (SET_BY_HAND, {name: KERNELS_OWN[name] for name in case.sysctls})
    wait_for(lambda: settings() == before, GONE_SECONDS, "the settings to be as they were")


@in_its_lab
def test_stopped_server_loses_its_weight_and_gets_it_back(lab: Lab, case: Case) -> None:
    deployment, _ = lab
    apply(deployment, case)
    victim, stays = case.real_servers[-1], case.real_servers[0]
    service, entries = case.service_key, case.entries
    entry = list(entries)[-1]
    # Three failures a second apart, the last of which may take its whole second; two more for a busy machine.
    bound = 3 * 1 + 1 + 2
    deployment.lab.machine(victim).server(port=case.server_port).stop()
    deployment.wait_weight(case.director, service, entry, 0, deadline=bound)
    client = deployment.lab.machine(case.client)
    if not case.sticky:
        assert replies_to(client, case, 30) == Counter({stays: 30})
    deployment.wait_condition(case.service, "Ready", "True", "MembersNotReady", deadline=15)
    deployment.lab.machine(victim).serve(port=case.server_port)
    deployment.wait_weight(case.director, service, entry, entries[entry][1], deadline=2 * 1 + 1 + 2)


@in_its_lab
def test_deletion_leaves_nothing(lab: Lab, case: Case) -> None:
    deployment, before = lab
    apply(deployment, case)
    client = deployment.lab.machine(case.client)
    deployment.delete(case.directory)
    nodes = [name for name in deployment.plain_nodes if name.startswith(f"{case.machines}-")]

    def nothing_left() -> bool:
        assert deployment.table(case.director) == {}
        for node in nodes:
            for device in ("eth0", "eth1", "lo", "tunl0"):
                assert not {one for one in deployment.addresses(node, device) if one.startswith(f"{case.vip}/")}, node
            now = deployment.sysctls(node)
            assert {path: now[path] for path in before[node]} == before[node], node
        return True

    wait_for(nothing_left, GONE_SECONDS, f"nothing of {case.example} to be left")
    assert not (claimants6(client, case.vip) if case.ipv6 else claimants(client, case.vip))
    wait_for(lambda: not labelled(deployment, nodes), GONE_SECONDS, "the nodes' labels to be gone")


@pytest.mark.parametrize("lab", ["two"], indirect=True, scope="module")
def test_client_sticks_until_its_time_is_over_and_then_moves(lab: Lab) -> None:
    """S14d: 20 s after the client's last connection the kernel's template of it is gone."""
    deployment, _ = lab
    case = example("s14d-dr-persistent")
    apply(deployment, case)
    deployment.wait_shape(case.director, case.shape)
    client, director = deployment.lab.machine(case.client), deployment.lab.guest(case.director)
    wait_for(lambda: answers(client, case.vip), 10, f"{case.vip} to answer")
    (first,) = count_replies(client, case.vip, 20)
    (template,) = templates(director.out("ipvsadm", "-Lnc"))
    # pro, expire, state, source, virtual, destination
    assert template.split()[0] == "TCP"
    assert template.split()[4:] == [f"{case.vip}:80", f"{deployment.lab.machine(first).ip}:80"]
    wait_for(lambda: not templates(director.out("ipvsadm", "-Lnc")), 60, "the template to expire", interval=0.25)
    (second,) = count_replies(client, case.vip, 20)
    assert {first, second} == set(case.real_servers)


def templates(connections: str) -> list[str]:
    """The persistence templates among the lines of `ipvsadm -Lnc`: they are of every port of the client."""
    rows = [line for line in connections.splitlines() if line.startswith("TCP")]
    return [row for row in rows if row.split()[3].endswith(":0")]


@pytest.mark.parametrize("lab", ["one"], indirect=True, scope="module")
def test_gateway_is_told_where_the_address_is(lab: Lab) -> None:
    """S14e: the gateway, which remembers an earlier director and asks nobody, believes the present one."""
    deployment, _ = lab
    case = example("s14e-dr-classic-scripts")
    gateway, director = deployment.lab.machine("s14e-gateway"), deployment.lab.guest(case.director)
    deployment.delete(case.directory)
    vip = f"{case.vip}/32"
    wait_for(lambda: vip not in deployment.addresses(case.director, "eth0"), GONE_SECONDS, "the VIP to leave")
    earlier = "02:4c:56:ff:ff:ff"
    gateway.out("ip", "neighbour", "replace", case.vip, "lladdr", earlier, "dev", "eth0", "nud", "reachable")
    with gateway.capture("arp", "and", "src", "host", str(gateway.ip)) as asked:
        apply(deployment, case)
        wait_for_neighbour(gateway, case.vip, mac_of(director), deadline=10)
        assert [line for line in asked.lines() if f"who-has {case.vip} " in line] == []
    assert answers(gateway, case.vip)


@pytest.mark.parametrize(
    ("lab", "case"), TUNNELS, indirect=["lab"], scope="module", ids=[case.example for _, case in TUNNELS]
)
def test_large_requests_and_replies_pass_a_tunnel(lab: Lab, case: Case) -> None:
    """S15: a wrapped request of full size is longer than the link's MTU; the client is told and sends smaller ones."""
    deployment, _ = lab
    apply(deployment, case)
    client = deployment.lab.machine(case.client)
    wait_for(lambda: answers(client, case.vip), 10, f"{case.vip} to answer")
    size = 1_000_000
    sent = ["curl", "--silent", "--fail", "--max-time", "20", "--data-binary", "@-", "--dump-header", "-"]
    for _ in case.real_servers:
        told = client.exec([*sent, f"http://{case.vip}/"], stdin="x" * size, check=True, timeout=30).stdout
        assert f"X-Received: {size}" in told.splitlines()
        got = client.out("curl", "--silent", "--fail", "--max-time", "20", f"http://{case.vip}/bytes/{size}")
        assert len(got) == size


@pytest.mark.parametrize("lab", ["three"], indirect=True, scope="module")
def test_a_mark_stands_for_all_that_carries_it(lab: Lab) -> None:
    """S8: two ports and both families by rules of somebody else; none is ours, and what is unmarked is refused."""
    deployment, _ = lab
    case = example("s8-firewall-mark")
    client, director = deployment.lab.guest(case.client), deployment.lab.guest(case.director)
    rules = director.out("nft", "--json", "list", "ruleset")
    apply(deployment, case)
    deployment.wait_shape(case.director, case.shape)
    vip6 = "2001:db8:8::16"
    for address in (case.vip, vip6):
        wait_for(partial(answers, client, address), 10, f"{address} to answer")
        for port in (80, 8080):
            assert count_replies(client, address, 20, port=port) == case.expected_replies(20)
        assert not answers(client, address, port=8081)
    assert director.out("nft", "--json", "list", "ruleset") == rules
    take_away(deployment, case)
    assert director.out("nft", "--json", "list", "ruleset") == rules


@pytest.mark.parametrize("lab", ["three"], indirect=True, scope="module")
def test_a_persistent_client_has_one_server_for_what_the_model_says(lab: Lab) -> None:
    """S10: all ports (PCC) or the grouped ones (PFMC) of a client lead to one server, and clients take turns."""
    deployment, _ = lab
    for name, ports in (("s10-pcc", (80, 8080)), ("s10-pfmc", (80, 443))):
        case = example(name)
        apply(deployment, case)
        deployment.wait_shape(case.director, case.shape)
        client = deployment.lab.machine(case.client)
        wait_for(partial(answers, client, case.vip), 10, f"{case.vip} to answer")
        chosen = {source: servers_of(client, case, source, ports) for source in case.sources}
        assert all(len(servers) == 1 for servers in chosen.values()), chosen
        assert set().union(*chosen.values()) == set(case.real_servers)
        take_away(deployment, case)


def servers_of(client: LabMachine, case: Case, source: str, ports: tuple[int, ...]) -> set[str]:
    return {name for port in ports for name in count_replies(client, case.vip, 3, port=port, source=source)}


@pytest.mark.parametrize("lab", ["one"], indirect=True, scope="module")
def test_grouped_ports_behind_nat(lab: Lab) -> None:
    """S13, grouped: packets are translated to the port that they came for, and replies back."""
    deployment, _ = lab
    case = example("s13-nat")
    apply(deployment, case)
    deployment.patch("lvspool", "s13-web", {"healthCheck": {"port": 80}})
    deployment.patch("lvsvs", "s13-web", {"portMode": "Grouped"})
    mark = first_choice(ObjectKey("default", "s13-web"))
    servers = {"192.168.2.100:0": ("Masq", 1), "192.168.2.200:0": ("Masq", 2)}
    mysql = {key: entries for key, entries in case.shape.items() if ":3306 " in key}
    deployment.wait_shape(case.director, {f"FWM {mark} wrr": servers} | mysql)
    client = deployment.lab.machine(case.client)
    wait_for(partial(answers, client, case.vip), 10, f"{case.vip} to answer")
    assert count_replies(client, case.vip, 30) == case.expected_replies(30)
    assert answers(client, case.vip, port=3306)
    deployment.patch("lvsvs", "s13-web", {"portMode": "Separate"})
    deployment.wait_shape(case.director, case.shape)
    wait_for(partial(answers, client, case.vip), 10, f"{case.vip} to answer again")
    deployment.delete(case.directory)


@pytest.mark.parametrize("lab", ["three"], indirect=True, scope="module")
def test_clients_of_one_network_stick_together(lab: Lab) -> None:
    """S10: persistence -M 255.255.255.0."""
    deployment, _ = lab
    case = example("s10-ppc")
    apply(deployment, case)
    deployment.patch("lvsvs", case.service, {"persistence": {"ipv4PrefixLength": 24}})
    ((key, entries),) = case.shape.items()
    deployment.wait_shape(case.director, {f"{key} mask 255.255.255.0": entries})
    client = deployment.lab.machine(case.client)
    wait_for(lambda: answers(client, case.vip), 10, f"{case.vip} to answer")
    assert len(set().union(*(servers_of(client, case, source, (80,)) for source in case.sources))) == 1
    take_away(deployment, case)


@pytest.mark.parametrize("lab", ["three"], indirect=True, scope="module")
def test_ports_are_grouped_and_separated_while_clients_come(lab: Lab) -> None:
    """New connections are served all the time; one that is open just then is cut off with its kernel service."""
    deployment, _ = lab
    case = example("s10-ppc")
    apply(deployment, case)
    deployment.wait_shape(case.director, case.shape)
    wait_for(partial(answers, deployment.lab.machine(case.client), case.vip), 10, f"{case.vip} to answer")
    mark = first_choice(ObjectKey("default", case.service))
    servers = {"172.16.24.8:0": ("Route", 1), "172.16.24.9:0": ("Route", 1)}
    edits = (("Grouped", {f"FWM {mark} rr persistent 120": servers}), ("Separate", case.shape))
    with steady_requests(deployment.client_namespace(case.client), case.vip) as record:
        for mode, shape in edits:
            deployment.patch("lvsvs", case.service, {"portMode": mode})
            deployment.wait_shape(case.director, shape)
            enough = record.replies.total() + 50
            wait_for(lambda enough=enough: record.replies.total() >= enough, 20, "more replies")
    assert len(record.failures) <= len(edits), record.failures
    take_away(deployment, case)


@pytest.mark.parametrize("lab", ["three"], indirect=True, scope="module")
def test_grouped_ports_are_marked_in_a_table_of_their_own(lab: Lab) -> None:
    """S10, PFMC: both families at once, put right when somebody changes it, gone with the service."""
    deployment, _ = lab
    case = example("s10-pfmc")
    client, director = deployment.lab.machine(case.client), deployment.lab.guest(case.director)
    director.sh("nft add table inet others; nft add chain inet others one; nft add rule inet others one counter")
    others = director.out("nft", "list", "ruleset")
    apply(deployment, case)
    deployment.wait_shape(case.director, case.shape)
    ours = director.out("nft", "list", "table", "inet", "lvs-operator")
    for address in ("172.16.24.7", "2001:db8:24::7"):
        for port in ("80", "443"):
            assert f"{address} . tcp . {port} : " in ours
        wait_for(partial(answers, client, address, port=443), 10, f"{address} to answer")
        assert answers(client, address)
    before = deployment.agent_metric(case.director, 'lvs_agent_repairs_total{kind="packet_filter"}')
    director.sh("nft delete table inet lvs-operator")
    wait_for(
        lambda: director.exec(["nft", "list", "table", "inet", "lvs-operator"]).stdout == ours,
        10,
        "our table to be back",
    )
    assert deployment.agent_metric(case.director, 'lvs_agent_repairs_total{kind="packet_filter"}') == before + 1
    assert answers(client, case.vip, port=443)
    deployment.delete(case.directory)
    wait_for(lambda: director.out("nft", "list", "ruleset") == others, GONE_SECONDS, "our table to be gone")
    director.sh("nft delete table inet others")


def labelled(deployment: Deployment, nodes: list[str]) -> list[str]:
    shown = deployment.lab.kubectl("get", "nodes", "--selector", "lvs-operator.io/node-agent=wanted", "--output=name")
    return [line for line in shown.stdout.split() if line.removeprefix("node/") in nodes]
