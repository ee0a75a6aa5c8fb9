"""What keepalived writes into its FIFO, and what it never does."""

import pytest

from lvs_agent.decide.virtual_routers import RouterKey
from lvs_agent.vrrp.notifications import MAX_LINE, LineReader, Notification, read_notification
from lvs_api.lvs_node import VirtualRouterState
from lvs_api.network_types import Family

ROUTER = RouterKey("default", 55, Family.IPV4)


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (b'INSTANCE "default.55v4" MASTER 150', VirtualRouterState.MASTER),
        (b'INSTANCE "default.55v4" BACKUP 100', VirtualRouterState.BACKUP),
        (b'INSTANCE "default.55v4" FAULT 0', VirtualRouterState.FAULT),
        (b'INSTANCE "default.55v4" STOP 150', None),
        (b'INSTANCE "default.55v4" DELETED 150', None),
    ],
)
def test_a_state(line: bytes, state: VirtualRouterState | None) -> None:
    assert read_notification(line) == Notification(ROUTER, state)


@pytest.mark.parametrize(
    "line",
    [
        b'GROUP "default.55" MASTER 0',
        b'INSTANCE "default.55v4" MASTER_RX_LOWER_PRI 150',
        b'INSTANCE "default.55v4" MASTER_PRIORITY 140',
        b'INSTANCE "default.55v4" BACKUP_PRIORITY 140',
    ],
)
def test_what_is_no_state(line: bytes) -> None:
    assert read_notification(line) is None


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'INSTANCE "default.55v4" MASTER',
        b'INSTANCE "default.55v4" MASTER 150 ',
        b'INSTANCE "default.55v4" MASTER -1',
        b'instance "default.55v4" MASTER 150',
        b'INSTANCE "default.55v4" ASLEEP 150',
        b'INSTANCE "VI_1" MASTER 150',
        b'INSTANCE "default.55v4" MASTER 150\r',
        b'INSTANCE "\xff.55v4" MASTER 150',
    ],
)
def test_what_keepalived_never_says(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"keepalived|none of ours"):
        read_notification(line)


def test_lines_come_in_pieces_and_none_grows_for_ever() -> None:
    reader = LineReader()
    assert reader.feed(b"one\ntw") == [b"one"]
    assert reader.feed(b"o\n") == [b"two"]
    assert reader.feed(b"x" * (MAX_LINE + 1)) == []
    assert reader.feed(b"three\n") == [b"three"]
