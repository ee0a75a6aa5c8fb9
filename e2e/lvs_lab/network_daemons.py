"""systemd-networkd and NetworkManager as processes of a plain guest, which has none of them until one is started.

They are the programs of the guest's Debian, each with a configuration that says what the topology says, so that all it
finds beyond that is somebody else's. There is no udev in a guest: with /sys read-only, as containers have it, both go
without.
"""

from collections.abc import Iterator

from lvs_lab.errors import LabError
from lvs_lab.lab_machine import GuestMachine
from lvs_lab.plain_agent import PlainProcess
from lvs_lab.topology import Address, Interface, Machine
from lvs_lab.waiting import wait_for

_READY_SECONDS = 30
_BUS = "test -S /run/dbus/system_bus_socket || { mkdir -p /run/dbus && dbus-daemon --system --fork; }"
_NETWORKD_FILES = "/etc/systemd/network"
_MANAGER_FILES = "/etc/NetworkManager"
_MANAGER_SETTINGS = """[main]
plugins=keyfile
dns=none
hostname-mode=none
no-auto-default=*
[keyfile]
unmanaged-devices=*,{managed}
"""


class NetworkDaemon:
    """What both have in common. A guest on which one ran is as it was after its power was cut, and not before."""

    def __init__(self, machine: GuestMachine, name: str, program: str) -> None:
        self._machine = machine
        self._program = program
        self._process = PlainProcess(machine, f"{name}.", name)

    def start(self) -> None:
        """Start it; it must not run yet. It has configured all that it manages when this returns."""
        self._machine.sh(f"{_BUS}; {self._preparation}")
        for path, text in self._files():
            self._write(path, text)
        self._begin()

    def restart(self) -> None:
        """End it and start it again, as `systemctl restart` does."""
        self.stop()
        self._begin()

    def stop(self) -> None:
        """End it. What it configured stays, as always with it."""
        self._process.kill("TERM")

    def log(self) -> str:
        """All that it has written since the guest booted."""
        return self._process.log()

    def _begin(self) -> None:
        inner = f"mount -o remount,bind,ro /sys && exec {self._program}"
        self._process.start(["unshare", "--mount", "sh", "-c", inner])
        self._wait_configured()

    def _wait_configured(self) -> None:
        def must_run() -> None:
            if not self._process.running:
                raise LabError(f"{self._machine.name}: {self._program} ended: {self.log()}")

        what = f"{self._program} to configure {self._machine.name}"
        wait_for(self._is_configured, _READY_SECONDS, what, interval=0.05, always=must_run)

    def _write(self, path: str, text: str) -> None:
        script = f"umask {self._umask}; mkdir -p {path.rpartition('/')[0]}; cat > {path}"
        self._machine.exec(["sh", "-c", script], stdin=text, check=True)

    _preparation = ":"
    _umask = "022"

    def _files(self) -> Iterator[tuple[str, str]]:
        """Its configuration, by path."""
        raise NotImplementedError

    def _is_configured(self) -> bool:
        raise NotImplementedError


class Networkd(NetworkDaemon):
    """systemd-networkd. With `loopback` it manages lo, too; with `keeps` it leaves alone what it does not know."""

    def __init__(self, machine: GuestMachine, *, loopback: bool = False, keeps: bool = False) -> None:
        super().__init__(machine, "networkd", "/usr/lib/systemd/systemd-networkd")
        self._loopback = loopback
        self._keeps = keeps

    # As its unit has it: it drops its rights before it makes files there.
    _preparation = "mkdir -p /run/systemd/netif && chown systemd-network:systemd-network /run/systemd/netif"

    def reconfigure(self, device: str = "eth0") -> None:
        """Have it configure a device anew."""
        self._machine.out("networkctl", "reconfigure", device)
        self._wait_configured()

    def reload(self, device: str = "eth0") -> None:
        """Have it read its files again, of which that of a device was written anew."""
        self._machine.sh(f"touch {_NETWORKD_FILES}/{device}.network && networkctl reload")
        self._wait_configured()

    def _files(self) -> Iterator[tuple[str, str]]:
        machine = self._machine.machine
        keep = ["KeepConfiguration=yes"] if self._keeps else []
        for interface in machine.interfaces:
            lines = ["IPv6AcceptRA=no", *keep, *(f"Address={one}" for one in interface.addresses)]
            lines += [f"Gateway={one}" for one in _gateways(machine, interface)]
            yield self._file(interface.name, lines)
        if self._loopback:
            yield self._file("lo", ["Address=127.0.0.1/8", *keep])

    @staticmethod
    def _file(device: str, lines: list[str]) -> tuple[str, str]:
        text = "\n".join(["[Match]", f"Name={device}", "[Network]", *lines, ""])
        return f"{_NETWORKD_FILES}/{device}.network", text

    def _is_configured(self) -> bool:
        names = [interface.name for interface in self._machine.machine.interfaces]
        names += ["lo"] if self._loopback else []
        listed = self._machine.exec(["networkctl", "list", "--no-legend", "--no-pager", *names])
        return listed.ok and [line.split()[-1] for line in listed.stdout.splitlines()] == ["configured"] * len(names)


class NetworkManager(NetworkDaemon):
    """NetworkManager, with a connection of the same name for each device."""

    def __init__(self, machine: GuestMachine) -> None:
        super().__init__(machine, "network-manager", "NetworkManager --no-daemon")

    def start(self) -> None:
        """Start it; it must not run yet. What it found on the devices it takes for its own by activating them."""
        super().start()
        for interface in self._machine.machine.interfaces:
            self.activate(interface.name)

    def activate(self, device: str = "eth0") -> None:
        """Activate a connection anew."""
        self._machine.out("nmcli", "connection", "up", device)

    def reapply(self, device: str = "eth0") -> None:
        """Have a device be as its connection says."""
        self._machine.out("nmcli", "device", "reapply", device)

    _umask = "077"

    def _files(self) -> Iterator[tuple[str, str]]:
        machine = self._machine.machine
        managed = ",".join(f"except:interface-name:{interface.name}" for interface in machine.interfaces)
        yield f"{_MANAGER_FILES}/conf.d/lab.conf", _MANAGER_SETTINGS.format(managed=managed)
        for interface in machine.interfaces:
            lines = ["[connection]", f"id={interface.name}", "type=ethernet", f"interface-name={interface.name}"]
            for version in (4, 6):
                found = [str(one) for one in interface.addresses if one.version == version]
                ways = [str(one) for one in _gateways(machine, interface) if one.version == version]
                lines += [f"[ipv{version}]", f"method={'manual' if found else 'disabled'}"]
                lines += [f"address{number}={one}" for number, one in enumerate(found, 1)]
                lines += [f"gateway={one}" for one in ways]
            yield f"{_MANAGER_FILES}/system-connections/{interface.name}.nmconnection", "\n".join([*lines, ""])

    def _is_configured(self) -> bool:
        states = [
            self._machine.exec(["nmcli", "--get-values", "GENERAL.STATE", "device", "show", interface.name])
            for interface in self._machine.machine.interfaces
        ]
        return all(one.ok and one.stdout.startswith("100 ") for one in states)


def _gateways(machine: Machine, interface: Interface) -> Iterator[Address]:
    """Default routes by a device's own networks."""
    for gateway in machine.gateways:
        if any(gateway in one.network for one in interface.addresses):
            yield gateway
