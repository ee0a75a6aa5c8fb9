"""The ledger and the last view on disk."""

import stat
from ipaddress import ip_address
from pathlib import Path

import pytest

from lvs_agent.decide.drain import Drain, DrainCause, DrainKey
from lvs_agent.decide.kernel_state import (
    AddressBinding,
    AddressFamily,
    DestinationKey,
    FirewallMarkKey,
    ServiceKey,
    TransportProtocol,
    conf_key,
)
from lvs_agent.errors import StateFileDamaged, StateNotWritten
from lvs_agent.ledger import Ledger, LedgerFile
from lvs_agent.view_store import StoredView, ViewStore, without_noise

SERVICE = ServiceKey(protocol=TransportProtocol.UDP, address=ip_address("2001:db8::1"), port=0)
DESTINATION = DestinationKey(address=ip_address("192.0.2.9"), port=8080)
LEDGER = Ledger(
    ipvs={
        SERVICE: frozenset({DESTINATION}),
        FirewallMarkKey(family=AddressFamily.IPV6, mark=7): frozenset(),
    },
    bindings=frozenset({AddressBinding(address=ip_address("192.0.2.1"), device="eth0.7")}),
    sysctls={conf_key("ipv4", "eth0.7", "arp_ignore"): 3},
    drains={
        DrainKey(service=SERVICE, destination=DESTINATION, cause=DrainCause.LEAVING): Drain(
            started=12.5, timeout_seconds=60.0, over=True
        )
    },
)
VIEW = StoredView(cluster_id="c", node_name="n", node={"a": 1}, groups=({"b": 2},), slices=({"c": "ü"},))


def test_a_ledger_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger"
    assert LedgerFile(path, "boot").read() == Ledger()
    assert LedgerFile(path, "boot").write(LEDGER)
    assert LedgerFile(path, "boot").read() == LEDGER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["ledger"]


def test_a_ledger_of_another_boot_owns_nothing(tmp_path: Path) -> None:
    LedgerFile(tmp_path / "ledger", "boot-1").write(LEDGER)
    assert LedgerFile(tmp_path / "ledger", "boot-2").read() == Ledger()


def test_an_equal_ledger_is_not_written_again(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "ledger", "boot")
    assert file.write(LEDGER)
    before = (tmp_path / "ledger").stat().st_ino
    assert not file.write(LEDGER)
    assert (tmp_path / "ledger").stat().st_ino == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-20],
        lambda text: text.replace("8080", "8081"),
        lambda text: "2" + text[1:],
        lambda _: "",
        lambda _: "\x00\xff",
    ],
)
def test_a_damaged_file_is_not_believed(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    path = tmp_path / "ledger"
    LedgerFile(path, "boot").write(LEDGER)
    path.write_text(spoil(path.read_text()), encoding="latin-1")
    with pytest.raises(StateFileDamaged, match=str(path)):
        LedgerFile(path, "boot").read()


def test_a_directory_that_takes_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateNotWritten, match=r"Not a directory|File exists"):
        LedgerFile(tmp_path / "file" / "ledger", "boot").write(LEDGER)


def test_a_view_comes_back_as_it_was(tmp_path: Path) -> None:
    store = ViewStore(tmp_path / "view")
    assert store.read("n") is None
    assert store.write(VIEW)
    assert not store.write(VIEW)
    assert ViewStore(tmp_path / "view").read("n") == VIEW
    assert ViewStore(tmp_path / "view").read("other") is None, "the view of another node is none"


def test_noise_is_not_stored() -> None:
    raw = {
        "metadata": {"name": "n", "resourceVersion": "5", "managedFields": [{}], "generation": 2},
        "spec": {"a": 1},
        "status": {"b": 2},
    }
    assert without_noise(raw, status=False) == {"metadata": {"name": "n", "generation": 2}, "spec": {"a": 1}}
    assert without_noise(raw, status=True)["status"] == {"b": 2}
