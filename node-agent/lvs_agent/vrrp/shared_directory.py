"""The directory by which the agent and the supervisor of the VRRP daemon speak, for one boot.

The agent writes what is wanted and the track files, the supervisor what became of it. Each file is replaced as a whole;
a reader sees the old one or the new one.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, ip_address
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from lvs_agent.decide.heard_adverts import Manner, Sender
from lvs_agent.decide.kernel_state import AddressBinding
from lvs_agent.decide.virtual_routers import DaemonWord, RouterWord, WantedVrrp, router_key
from lvs_agent.decide.vrrp_config import VrrpPlaces
from lvs_agent.disk.state_file import read_state, write_state
from lvs_agent.errors import StateFileDamaged, StateNotWritten, VrrpSupervisorRuns
from lvs_api.lvs_node import VirtualRouterState

_FORMAT: Final = 1
_FILES: Final = (
    "wanted",
    "state",
    "bound",
    "notify",
    "lock",
    "candidate.conf",
    "keepalived.conf",
    "keepalived.pid",
    "keepalived_vrrp.pid",
)
_TRIES: Final = 50
_TRY_SECONDS: Final = 0.02
"""A second in all: longer than an agent needs to take off what is left."""
_MAY_CARRY, _MAY_NOT = b"0\n", b"1\n"


class VrrpDirectory:
    """Its files. Reading raises StateFileDamaged, writing StateNotWritten."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self.path = path
        self._boot_id = boot_id
        self._lock: int | None = None

    @property
    def places(self) -> VrrpPlaces:
        """What the configuration names."""
        return VrrpPlaces(notify_fifo=str(self.path / "notify"), tracks=str(self.path / "track"))

    # what the agent says

    def read_wanted(self) -> WantedVrrp | None:
        """What the agent wants; None: it has said nothing in this boot."""
        body = self._read("wanted")
        return None if body is None else WantedVrrp(text=body["text"], binds=_read_binds(body["binds"]))

    def write_wanted(self, wanted: WantedVrrp) -> None:
        """Say what is wanted."""
        self._write("wanted", {"text": wanted.text, "binds": _raw_binds(wanted.binds)})

    def wanted_mark(self) -> tuple[int, int] | None:
        """Another one after each `write_wanted`; None while there is none."""
        try:
            found = (self.path / "wanted").stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateFileDamaged(f"{self.path / 'wanted'}: {error.strerror or error}") from error
        return found.st_mtime_ns, found.st_ino

    def read_tracks(self) -> dict[str, bool]:
        """Whether each virtual router may carry its addresses, by track file; anything but a 0 keeps it from that."""
        directory = Path(self.places.tracks)
        try:
            files = [file for file in directory.iterdir() if file.name[0] != "."]
            return {file.name: file.read_bytes() == _MAY_CARRY for file in files}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateFileDamaged(f"{directory}: {error.strerror or error}") from error

    def write_track(self, name: str, *, may_carry: bool) -> None:
        """Let a virtual router carry its addresses, or not. keepalived takes a file that is not there for 0."""
        directory = Path(self.places.tracks)
        new = directory / f".{name}"
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(_MAY_CARRY if may_carry else _MAY_NOT)
            new.replace(directory / name)
        except OSError as error:
            raise StateNotWritten(f"{directory / name}: {error.strerror or error}") from error

    def remove_track(self, name: str) -> None:
        """Of a virtual router that is not in the configuration any more."""
        path = Path(self.places.tracks) / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StateNotWritten(f"{path}: {error.strerror or error}") from error

    # what the supervisor says

    def read_word(self) -> DaemonWord | None:
        """What the supervisor said last; None: nothing in this boot."""
        body = self._read("state")
        return None if body is None else _read_word(body)

    def write_word(self, word: DaemonWord) -> None:
        """Say how the daemon is."""
        self._write("state", _raw_word(word))

    def read_bound(self) -> frozenset[AddressBinding]:
        """What the daemon may have put on devices, by the configurations that it was given."""
        body = self._read("bound")
        return frozenset() if body is None else _read_binds(body["binds"])

    def write_bound(self, binds: frozenset[AddressBinding]) -> None:
        """Remember it before the daemon can do it."""
        self._write("bound", {"binds": _raw_binds(binds)})

    def acquire(self) -> None:
        """Be its only supervisor. Raises VrrpSupervisorRuns."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._take_lock(self._lock)
        except BlockingIOError as error:
            self.release()
            raise VrrpSupervisorRuns(
                f"another lvs-agent vrrp works with {self.path}: stop it, or name another directory by --vrrp-dir"
            ) from error
        except OSError as error:
            raise StateNotWritten(f"{self.path}: {error.strerror or error}") from error

    @staticmethod
    def _take_lock(lock: int) -> None:
        """Raises BlockingIOError where somebody has it, and not only as an agent has it, for a moment."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_TRY_SECONDS)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Let another one supervise it; the end of the process does so, too."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def has_supervisor(self) -> bool:
        """Whether somebody holds the directory."""
        try:
            probe = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # nobody could have it open either
            return False
        try:
            fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(probe)
        return False

    @contextlib.contextmanager
    def unsupervised(self) -> Iterator[bool]:
        """Whether nobody holds the directory; where nobody does, nobody begins to for as long as this lasts."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # nobody was there in this boot, and so nobody left anything
            yield False
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(lock)

    def clear(self) -> None:
        """Remove what both said; nobody must be at work with it."""
        for file in _FILES:
            (self.path / file).unlink(missing_ok=True)
        for name in self.read_tracks():
            self.remove_track(name)

    def _read(self, name: str) -> dict[str, Any] | None:
        body = read_state(self.path / name, _FORMAT)
        return body if body is not None and body["bootID"] == self._boot_id else None

    def _write(self, name: str, body: Mapping[str, Any]) -> None:
        write_state(self.path / name, _FORMAT, {"bootID": self._boot_id, **body})


def digest_of(wanted: WantedVrrp) -> str:
    """What names a configuration."""
    binds = "".join(f"{address} {device}\n" for address, device in _raw_binds(wanted.binds))
    return hashlib.sha256(f"{wanted.text}\0{binds}".encode()).hexdigest()


def _raw_binds(binds: frozenset[AddressBinding]) -> list[list[str]]:
    return sorted([str(one.address), one.device] for one in binds)


def _read_binds(raw: list[list[str]]) -> frozenset[AddressBinding]:
    return frozenset(AddressBinding(address=ip_address(address), device=device) for address, device in raw)


def _raw_word(word: DaemonWord) -> dict[str, Any]:
    senders = sorted(word.senders, key=str)
    return {
        "accepted": word.accepted,
        "refused": word.refused,
        "refusal": word.refusal,
        "pid": word.pid,
        "version": word.version,
        "restarts": word.restarts,
        "trouble": word.trouble,
        "routers": {str(key): list(one) for key, one in sorted(word.routers.items())},
        "senders": [[one.device, one.router_id, str(one.address)] for one in senders],
        # Beside them, for an agent of an older version reads three of each.
        "manners": [one.manner for one in senders],
    }


def _read_word(body: dict[str, Any]) -> DaemonWord:
    found = ((router_key(name), raw) for name, raw in body["routers"].items())
    return DaemonWord(
        accepted=body["accepted"],
        refused=body["refused"],
        refusal=body["refusal"],
        pid=body["pid"],
        version=body["version"],
        restarts=body["restarts"],
        trouble=body["trouble"],
        routers={
            key: RouterWord(VirtualRouterState(state), since, changes)
            for key, (state, since, changes) in found
            if key is not None
        },
        senders=frozenset(_read_senders(body)),
    )


def _read_senders(body: dict[str, Any]) -> Iterator[Sender]:
    """A supervisor of an older version does not tell, or not in which manner they speak."""
    for (device, number, address), manner in zip_longest(body.get("senders", ()), body.get("manners", ())):
        yield Sender(device, number, IPv4Address(address), Manner(*manner) if manner is not None else None)
