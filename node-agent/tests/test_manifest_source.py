"""A directory of manifests becomes a plan, and stays the last good one when somebody breaks it."""

import logging
import re
import subprocess
import sys
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from lvs_agent.errors import InvalidManifests, LinkError
from lvs_agent.objects import manifest_source
from lvs_agent.objects.manifest_source import ManifestSource, read_objects, read_plan
from lvs_agent.serve.metrics import AgentMetrics
from lvs_agent.serve.plan_text import plan_lines
from lvs_api.bind_device import BindDevice
from lvs_api.lvs_node import LvsNodeStatus, NodeAddressState, NodeAddressStatus
from lvs_core.plan import NodePlan

NODE = """
apiVersion: v1
kind: Node
metadata: {name: director, labels: {role: director}}
status: {addresses: [{type: InternalIP, address: 192.168.4.5}]}
"""
GROUP = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsDirectorGroup
metadata: {name: default}
spec: {nodes: {selector: {matchLabels: {role: director}}}}
"""
POOL = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsRealServerPool
metadata: {name: web}
spec:
  realServers:
    - {name: rs1, address: 192.168.4.100}
"""
SERVICE = """
apiVersion: lvs-operator.io/v1alpha1
kind: LvsVirtualService
metadata: {name: web}
spec:
  addresses: ["192.168.4.15"]
  ports: [{name: http, port: 80}]
  realServerPoolRef: {name: web}
"""


class Machine:
    """A machine that reads a directory."""

    def __init__(self, directory: Path, *own: str) -> None:
        self.directory = directory
        self.own: AbstractSet[str] = frozenset(own)
        self.wakes = 0
        self.trouble: LinkError | None = None
        self.source = ManifestSource(directory, own_addresses=self._addresses, metrics=AgentMetrics(), wake=self._wake)

    async def _addresses(self) -> AbstractSet[str]:
        if self.trouble is not None:
            raise self.trouble
        return self.own

    def _wake(self) -> None:
        self.wakes += 1

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.directory / f"{name}.yaml").write_text(text)

    def members(self) -> dict[str, int]:
        assert self.source.plan is not None
        return {member.name: member.weight for planned in self.source.plan.services() for member in planned.members}


@pytest.fixture
def director(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, "192.168.4.5")
    machine.write(node=NODE, group=GROUP, web=f"{POOL}---{SERVICE}")
    return machine


async def test_a_machine_finds_its_part_by_its_addresses(director: Machine) -> None:
    await director.source.look()
    assert director.source.plan is not None
    assert [one.group for one in director.source.plan.directing] == ["default"]
    assert director.members() == {"rs1": 1}
    assert director.wakes == 1
    real_server = Machine(director.directory, "192.168.4.100")
    await real_server.source.look()
    assert real_server.source.plan is not None
    assert [f"{b.address}@{b.device}" for b in real_server.source.plan.bind] == ["192.168.4.15@lo"]
    stranger = Machine(director.directory, "192.168.4.9")
    await stranger.source.look()
    assert stranger.source.plan is not None
    assert stranger.source.plan.directing == ()


async def test_an_address_that_goes_takes_no_part_away(director: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A network that is set up anew has no addresses for a moment."""
    director.own |= {"10.0.0.5"}
    await director.source.look()
    plan = director.source.plan
    director.own = frozenset({"192.168.4.5"})
    await director.source.look()
    assert caplog.records == [], "nothing hangs on it"
    for own in (frozenset({"192.168.4.9"}), frozenset[str]()):
        director.own = own
        await director.source.look()
        assert director.source.plan is plan
        assert "this machine no longer has 10.0.0.5, 192.168.4.5" in caplog.records[-1].getMessage()
    director.write(web=f"{POOL}---{SERVICE}".replace("port: 80", "port: 81"))
    await director.source.look()
    assert director.source.plan is not plan
    assert director.members() == {"rs1": 1}


async def test_without_any_address_nothing_is_done(director: Machine) -> None:
    """An agent is started anew just while the network is set up."""
    director.own = frozenset()
    await director.source.look()
    assert director.source.plan is None
    director.own = frozenset({"192.168.4.5"})
    await director.source.look()
    assert director.members() == {"rs1": 1}


async def test_a_directory_without_files_takes_nothing_away(
    director: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a mount that went."""
    await director.source.look()
    plan = director.source.plan
    for path in director.directory.iterdir():
        path.unlink()
    for _ in range(2):
        await director.source.look()
    assert director.source.plan is plan
    (record,) = caplog.records
    assert "there is no file in it" in record.getMessage()
    director.write(none="---\n")
    await director.source.look()
    assert director.source.plan is not None
    assert director.source.plan.directing == ()


async def test_only_changes_wake(director: Machine) -> None:
    for _ in range(3):
        await director.source.look()
    assert director.wakes == 1
    director.write(web=f"{POOL.replace('192.168.4.100', '192.168.4.100, weight: 4')}---{SERVICE}")
    await director.source.look()
    assert (director.wakes, director.members()) == (2, {"rs1": 4})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("web", "a: [", "web.yaml: while parsing"),
        ("web", f"{POOL}---{SERVICE.replace('port: 80', 'port: 80000')}", "web.yaml: .*spec.ports\\[0\\].port"),
        ("web", f"{POOL}---{SERVICE.replace('ports:', 'prots:')}", "web.yaml: .*spec.prots: unknown field"),
        ("web", f"{POOL}---{POOL}---{SERVICE}", "metadata.name: the same object stands in the files twice"),
        ("web", "- 1", "web.yaml: a document that is no object"),
        ("web", "apiVersion: v1\nkind: List\nitems: 5", "web.yaml: items of a List are no list"),
        ("extra", f"{NODE}\nspec: {{taints: [x]}}".replace("name: d", "name: e"), "extra.yaml: .*spec.taints"),
        (
            "extra",
            GROUP.replace("default}", "x}").replace("spec: {", "spec: {ignoreAnswersFrom: [52:54:00:12:34:56], "),
            "extra.yaml: .*spec.ignoreAnswersFrom\\[0\\]: must be a string: in YAML put it in quotes",
        ),
        (
            "extra",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}",
            "extra.yaml: .*kind: v1 Pod is not read from files",
        ),
    ],
)
async def test_a_bad_file_is_named_and_the_last_good_state_goes_on(
    director: Machine, caplog: pytest.LogCaptureFixture, name: str, text: str, said: str
) -> None:
    await director.source.look()
    plan = director.source.plan
    director.write(**{name: text})
    with caplog.at_level(logging.ERROR):
        await director.source.look()
        await director.source.look()
    assert director.source.plan is plan
    (record,) = caplog.records
    assert re.search(said, record.getMessage(), re.DOTALL), record.getMessage()
    director.write(web=f"{POOL}---{SERVICE}")
    (director.directory / "extra.yaml").unlink(missing_ok=True)
    await director.source.look()
    assert director.source.plan == plan


async def test_what_is_being_written_is_read_again(director: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await director.source.look()
    plan, whole = director.source.plan, (director.directory / "web.yaml").read_text()
    director.write(web=POOL)

    def read_while_written(directory: Path, own: AbstractSet[str]) -> tuple[NodePlan, tuple[str, ...]]:
        read = read_plan(directory, own)
        director.write(web=whole)
        return read

    with monkeypatch.context() as patched:
        patched.setattr(manifest_source, "read_plan", read_while_written)
        await director.source.look()
    assert director.source.plan is plan
    await director.source.look()
    assert director.source.plan == plan


async def test_a_kernel_that_does_not_answer_ends_nothing(director: Machine) -> None:
    await director.source.look()
    plan, director.trouble = director.source.plan, LinkError("reading devices: no buffer space")
    await director.source.look()
    assert director.source.plan is plan


async def test_bad_files_at_the_start_are_no_plan(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "192.168.4.5")
    machine.write(web="a: [")
    await machine.source.look()
    assert machine.source.plan is None


async def test_a_service_whose_pool_is_missing_stays_as_it_is(director: Machine) -> None:
    await director.source.look()
    director.write(web=SERVICE)
    await director.source.look()
    assert director.source.plan is not None
    (group,) = director.source.plan.directing
    assert [str(key) for key in group.incomplete] == ["default/web"]


def test_other_files_and_lists(tmp_path: Path) -> None:
    (tmp_path / ".hidden.yaml").write_text("a: [")
    (tmp_path / "notes.txt").write_text("a: [")
    (tmp_path / "empty.yaml").write_text("---\n---\n")
    (tmp_path / "list.yml").write_text("apiVersion: v1\nkind: List\nitems: [{kind: A}, {kind: B}]")
    (tmp_path / "one.json").write_text('{"kind": "C"}')
    assert [(path.name, raw["kind"]) for path, raw in read_objects(tmp_path)] == [
        ("list.yml", "A"),
        ("list.yml", "B"),
        ("one.json", "C"),
    ]


def test_a_file_beyond_the_bound(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_text("#" * (8 * 1024 * 1024 + 1))
    with pytest.raises(InvalidManifests, match="over 8388608 bytes"):
        list(read_objects(tmp_path))


def test_without_an_api_server_the_log_tells_of_addresses_that_are_not_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Machine(tmp_path).source
    bound = NodeAddressStatus(address="192.168.4.15", device=BindDevice.LO, state=NodeAddressState.BOUND)
    refused = NodeAddressStatus(
        address="192.168.4.1", device=BindDevice.LO, state=NodeAddressState.FAILED, message="192.168.4.1 is a next hop"
    )
    with caplog.at_level(logging.INFO):
        for addresses in ([bound, refused], [bound, refused], [bound]):
            source.tell(LvsNodeStatus(addresses=addresses))
    assert [record.getMessage() for record in caplog.records] == [
        "192.168.4.1 on lo: Failed: 192.168.4.1 is a next hop",
        "every virtual service is programmed, every real server ready, every address bound",
    ]


def test_where_there_is_nothing_to_do_it_says_for_what_was_looked() -> None:
    *_, last = plan_lines(NodePlan(node="n1", observed_generation=None), frozenset({"192.168.4.9", "192.168.4.10"}))
    assert last == "  the files were searched for 192.168.4.10, 192.168.4.9"
    assert "searched" not in "".join(plan_lines(NodePlan(node="n1", observed_generation=None)))


FILES = {"node": NODE, "group": GROUP, "web": SERVICE}


@pytest.mark.parametrize(
    ("files", "code", "printed", "told"),
    [
        ({**FILES, "pool": POOL}, 0, True, []),
        (
            FILES,
            1,
            True,
            [
                "problem: LvsVirtualService default/web: spec.realServerPoolRef.name: ",
                "lvs-agent: objects do not fit together: 1 named above",
            ],
        ),
        ({**FILES, "pool": POOL.replace("100", "1000")}, 1, False, ["lvs-agent: "]),
    ],
    ids=["good", "a-pool-that-is-missing", "a-file-that-is-wrong"],
)
def test_plan_ends_with_0_only_where_all_is_well(
    tmp_path: Path, files: dict[str, str], code: int, *, printed: bool, told: list[str]
) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    command = [sys.executable, "-m", "lvs_agent", "plan", "--manifests", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "nothing to do" in done.stdout) == (code, printed)
    said = done.stderr.splitlines()
    assert len(said) == len(told), said
    assert all(line.startswith(start) for line, start in zip(said, told, strict=True)), said
