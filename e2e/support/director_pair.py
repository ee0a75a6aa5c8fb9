"""Two directors of one virtual router in a lab, and who carries its address: looked at from both and from a client."""

from collections.abc import Mapping
from dataclasses import dataclass

from lvs_lab.lab_machine import LabMachine
from lvs_lab.waiting import wait_for
from support.cluster_looks import READY_SECONDS
from support.deployment import Deployment
from support.fault_figures import Sign, read_packet
from support.neighbours import claimants, mac_of, wait_for_neighbour
from support.traffic import answers

TAKE_OVER_SECONDS = 20.0
_ADVERTS_TO_BE_SURE = 20
"""Several times what a Backup waits for before it becomes Master."""


@dataclass(kw_only=True)
class DirectorPair:
    """The two directors and who looks at them."""

    deployment: Deployment
    names: tuple[str, str]
    client_name: str
    vip: str
    router_id: int

    @property
    def client(self) -> LabMachine:
        """On the link of the directors."""
        return self.deployment.lab.machine(self.client_name)

    @property
    def macs(self) -> Mapping[str, str]:
        """The directors by their MAC addresses; both must have power."""
        return {mac_of(self.deployment.lab.guest(name)): name for name in self.names}

    def owners(self) -> list[str]:
        """The directors that have the address on their device."""
        lab = self.deployment.lab
        awake = [name for name in self.names if lab.guest(name).running and not lab.guest(name).paused]
        return [name for name in awake if f"{self.vip}/32" in self.deployment.addresses(name, "eth0")]

    def other(self, name: str) -> str:
        """The other director."""
        return self.names[1 - self.names.index(name)]

    def master(self) -> str:
        """The one director that carries the address and answers for it, once there is just one."""

        def one() -> str:
            owners = self.owners()
            assert len(owners) == 1, owners
            owner = owners[0]
            assert claimants(self.client, self.vip) == {mac_of(self.deployment.lab.guest(owner))}
            return owner

        return wait_for(one, TAKE_OVER_SECONDS, f"one director to carry {self.vip}", interval=0.2)

    def wait_master(self, name: str) -> None:
        """Wait until this director carries the address, the other does not, and the client knows."""
        wait_for(lambda: self.owners() == [name], TAKE_OVER_SECONDS, f"{name} to carry {self.vip}", interval=0.05)
        mac = mac_of(self.deployment.lab.guest(name))
        wait_for_neighbour(self.client, self.vip, mac, deadline=TAKE_OVER_SECONDS)
        wait_for(lambda: answers(self.client, self.vip), TAKE_OVER_SECONDS, f"{self.vip} to answer")
        assert claimants(self.client, self.vip) == {mac}

    def must_stay(self, name: str, *, beside: str | None = None) -> None:
        """Wait until the wire has heard so many adverts that a change would have come; none from anybody else.

        But from a stranger with the MAC address `beside`, where one is at work.
        """
        mac = mac_of(self.deployment.lab.guest(name))
        with self.client.capture("ip", "proto", "112") as capture:

            def heard() -> list[str]:
                packets = (read_packet(line, self.vip, self.router_id) for line in capture.lines())
                return [one.mac for one in packets if one is not None and one.sign is Sign.ADVERT]

            what = f"{_ADVERTS_TO_BE_SURE} adverts of {name}"
            wait_for(lambda: heard().count(mac) >= _ADVERTS_TO_BE_SURE, TAKE_OVER_SECONDS, what)
            assert set(heard()) - {beside} == {mac}
        assert self.owners() == [name]

    def make_master(self, name: str) -> None:
        """Have this one carry the address: the other hands over, and comes back as Backup."""
        if self.master() != name:
            other = self.other(name)
            self.deployment.lab.agent(other).vrrp.kill("TERM")
            self.wait_master(name)
            self.deployment.start_vrrp(other)
        self.wait_settled(name)
        self.must_stay(name)

    def state(self, name: str) -> str:
        """What a director's LvsNode says of this virtual router; of others it may have, nothing."""
        for group in self.deployment.get("lvsnode", name).get("status", {}).get("directorGroups", ()):
            for router in group.get("virtualRouters", ()):
                if (router["id"], router["family"]) == (self.router_id, "IPv4"):
                    return str(router["state"])
        return "none"

    def wait_states(self, wanted: Mapping[str, str]) -> None:
        """Wait until the directors say so."""
        wait_for(
            lambda: {name: self.state(name) for name in wanted} == wanted,
            READY_SECONDS,
            f"the directors to say {wanted}",
            interval=0.2,
        )

    def wait_settled(self, master: str) -> None:
        """Wait until both directors say what they do, the one as Master and the other as Backup."""
        self.wait_states({master: "Master", self.other(master): "Backup"})
