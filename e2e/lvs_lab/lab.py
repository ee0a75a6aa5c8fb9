"""A lab as one object: brought up, taken down, and everything in it. The command line and pytest use the same."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from lvs_lab import faults, host_packages, network, node_objects, processes, record
from lvs_lab.artifacts import CHECKOUT, PACKAGE, locked, remove_tree
from lvs_lab.control_plane import ControlPlane
from lvs_lab.errors import LabError, NotUpError
from lvs_lab.guest import Guest, GuestImage
from lvs_lab.guest_setup import STATE_DIRECTORY, Mount
from lvs_lab.host_commands import NETNS_DIRECTORY, Completed, run
from lvs_lab.images import image_store
from lvs_lab.kernel_build import guest_kernel
from lvs_lab.kube_proxy import KubeProxy
from lvs_lab.kube_tools import helm_program, kube_programs
from lvs_lab.kubelet_node import KubeletNode
from lvs_lab.lab_machine import GuestMachine, LabMachine, NamespaceMachine
from lvs_lab.places import MEMORY_ROOT, Places
from lvs_lab.plain_agent import PlainAgent
from lvs_lab.pod_agent import PodAgent
from lvs_lab.python_packages import agent_mounts
from lvs_lab.root_fs import guest_root
from lvs_lab.supervisor import HOST_KUBECONFIG, RELAY_PORT_FILE
from lvs_lab.topology import Kind, Machine, Topology, parse_topology
from lvs_lab.waiting import wait_for

SUPERVISOR = "supervisor"
_ARCHIVES = "image-archives"
_PARALLEL = 8
T = TypeVar("T")


def standard_topology(name: str) -> str:
    """The text of a topology that comes with the lab."""
    file = PACKAGE / "topologies" / f"{name}.yaml"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
        raise LabError(f"no topology file or standard topology is called {name!r}; standard ones: {there}")
    return file.read_text()


class Lab:
    """One lab that is up."""

    def __init__(self, name: str) -> None:
        self.places = Places(name)
        self.name = name
        self.topology: Topology = record.read_topology(self.places)
        self._artifacts = record.read_artifacts(self.places)

    @classmethod
    def up(cls, name: str, topology_text: str, *, images: Sequence[Path] = ()) -> "Lab":
        """Bring a lab up and return when all of it answers; called again, it starts what is missing of the same lab.

        What an `up` that was killed left half made is made again. Nothing of a lab whose programs run is ever removed.
        """
        topology = parse_topology(topology_text)
        places = Places(name)
        _check_images(topology, images)
        host_packages.prepare()
        kernel = guest_kernel()
        image = GuestImage(kernel=kernel, root=guest_root(kernel))
        kube = kube_programs() if topology.control_plane else None
        if any(not node.kubelet for node in topology.nodes):
            agent_mounts()
        with locked(f"lab-{name}"):
            if not _network_is_whole(places):
                if processes.marked(places.notes):
                    raise LabError(
                        f"lab {name!r} is damaged: its programs run, and its directory or a namespace of it is gone; "
                        f"take it down first: lvs-lab down --name {name}"
                    )
                _remove_all(places)
                record.write(places, topology_text, record.Artifacts(image=image, kube=kube))
                network.build(places, topology)
                record.note_built(places)
            elif record.read_topology(places) != topology:
                raise LabError(
                    f"lab {name!r} is up with another topology; take it down first: lvs-lab down --name {name}"
                )
            lab = cls(name)
            lab._start_all(images)
        return lab

    @property
    def control_plane(self) -> ControlPlane:
        """The lab's control plane."""
        if self._artifacts.kube is None:
            raise NotUpError(f"lab {self.name!r} has no control plane: its topology says controlPlane.enabled: false")
        return ControlPlane(self.places, self.topology, self._artifacts.kube)

    def machine(self, name: str) -> LabMachine:
        """A node, router or client by its name."""
        machine = self.topology.machine(name)
        return (
            NamespaceMachine(self.places, self.topology, machine)
            if machine.kind is Kind.NAMESPACE
            else self.guest(name)
        )

    def guest(self, name: str) -> GuestMachine:
        """A machine with a kernel of its own, by its name."""
        machine = self.topology.machine(name)
        if machine.kind is not Kind.GUEST:
            raise LabError(f"{name} is a namespace, not a guest: it has no power, kernel or agent of its own")
        return GuestMachine(self.places, self.topology, self._guest(machine), lambda: self._boot(machine))

    node = guest

    def agent(self, name: str) -> PlainAgent:
        """The agent of a plain node; of one with a kubelet it is a pod of the DaemonSet, which the chart brings."""
        guest = self.guest(name)
        return PodAgent(guest) if guest.machine.kubelet else PlainAgent(guest)

    def kube_proxy(self, name: str) -> KubeProxy:
        """The kube-proxy of a plain node, which has none until it is started."""
        plane, programs = self.control_plane, self._artifacts.kube
        if programs is None or self.topology.machine(name).kubelet:
            raise LabError(f"{name} has a kubelet: the mode of its kube-proxy is a field of the topology")
        return KubeProxy(self.guest(name), plane, programs)

    def agent_kubeconfig(self, name: str, service_account: str, namespace: str, *, server: str | None = None) -> str:
        """A kubeconfig with a token of the agents' ServiceAccount that is bound to the node."""
        plane = self.control_plane
        return plane.authority.token_kubeconfig(plane.token(service_account, namespace, node=name), server or plane.url)

    @property
    def host_kubeconfig(self) -> Path:
        """Admin credentials for programs of this machine outside the lab's namespaces."""
        return self.places.run / "credentials" / HOST_KUBECONFIG

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> Completed:
        """Run kubectl as admin."""
        return self.control_plane.kubectl(arguments, stdin=stdin, check=check, timeout=timeout)

    def helm(self, *arguments: str, check: bool = True, timeout: float = 300) -> Completed:
        """Run helm as admin."""
        return run(
            self.helm_command(arguments),
            netns=self.places.api,
            check=check,
            timeout=timeout,
            env=self.helm_environment(),
        )

    def helm_command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of helm as admin, to be run in the namespace of the control plane."""
        return [str(helm_program()), f"--kubeconfig={self.control_plane.admin_kubeconfig}", *arguments]

    def helm_environment(self) -> dict[str, str]:
        """The environment of helm: what it keeps goes with the lab."""
        kept = self.places.run / "helm"
        return {**os.environ, **{f"HELM_{part}_HOME": str(kept / part.lower()) for part in ("CACHE", "CONFIG", "DATA")}}

    def load_image(self, tar: Path) -> None:
        """Import a docker archive on all kubelet nodes that run."""
        nodes = self._kubelet_nodes()
        if not nodes:
            raise LabError(f"lab {self.name!r} has no node with a kubelet that could take an image")
        archives = [*self._archives(), tar.resolve()]
        image_store(self._artifacts.image.root, archives)  # for nodes that are switched on again
        self._note_archives(archives)
        for_all([node for node in nodes if node.guest.running], lambda node: node.import_image(tar))

    def start_program(
        self, name: str, argv: Sequence[str], *, netns: str | None = None, cwd: Path = CHECKOUT
    ) -> processes.Program:
        """Run a program of this machine in a namespace of the lab until it goes down; its log: `places.log(name)`."""
        namespace = netns or self.places.api
        return processes.start(self.places.pid(name), list(argv), log=self.places.log(name), netns=namespace, cwd=cwd)

    def start_supervisor(self) -> None:
        """Start the supervisor where it does not run."""
        program = processes.Program(self.places.pid(SUPERVISOR))
        if program.pid is None:
            command = [sys.executable, "-m", "lvs_lab.supervisor", self.name]
            environment = {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
            processes.start(
                program.pid_file, command, log=self.places.log(SUPERVISOR), env=environment, cwd=self.places.run
            )

    def repair(self) -> None:
        """Undo faults: cards whole, paused guests and daemons going on, what has ended started again."""
        if self.topology.control_plane:
            self.control_plane.repair()
        for name, device in faults.broken_cards(self.places):
            if self.topology.machine(name).kind is Kind.NAMESPACE or self.guest(name).running:
                self.machine(name).link("up", device=device)
        for machine in self.topology.machines:
            if machine.kind is Kind.GUEST:
                guest = self.guest(machine.name)
                if not guest.running:
                    guest.power_on()
                elif guest.paused:
                    guest.resume()

    def down(self) -> None:
        """Take it down."""
        take_down(self.name)

    def _start_all(self, images: Sequence[Path]) -> None:
        guests = [self._guest(machine) for machine in self.topology.machines if machine.kind is Kind.GUEST]
        missing = [guest for guest in guests if not guest.finished]
        for guest in missing:
            guest.cut_power()  # a boot that was cut short
            self._start_guest(guest.machine)
        if self.topology.control_plane:
            self._start_control_plane()
        for_all(missing, Guest.wait_until_up)
        if self.topology.control_plane:
            plain = [guest for guest in missing if guest.machine.in_cluster and not guest.machine.kubelet]
            for_all(plain, lambda guest: node_objects.tell_status(self.control_plane, guest))
            names = {guest.machine.name for guest in missing}
            self._start_kubelets([node for node in self._kubelet_nodes() if node.machine.name in names], images)
        for guest in missing:
            guest.note_finished()

    def _start_kubelets(self, nodes: Sequence[KubeletNode], images: Sequence[Path]) -> None:
        """Start the programs of kubelet nodes that have booted; those that run already get the images that are new."""
        new = [image.resolve() for image in images if image.resolve() not in self._archives()]
        archives = [*self._archives(), *new]
        if nodes or new:
            store = image_store(self._artifacts.image.root, archives)
            self._note_archives(archives)
        running = [node for node in self._kubelet_nodes() if node.guest.finished]
        for archive in new:
            for_all(running, partial(KubeletNode.import_image, archive=archive))
        if nodes:
            for_all(nodes, lambda node: node.start(store))
            for_all(nodes, KubeletNode.wait_until_ready)
            self.control_plane.wait_until_settled()

    def _start_control_plane(self) -> None:
        plane = self.control_plane
        plane.start_missing()
        plain = [node for node in self.topology.nodes if node.in_cluster and not node.kubelet]
        node_objects.register(plane, plain)
        self.start_supervisor()
        port_file = self.places.run / RELAY_PORT_FILE
        wait_for(port_file.exists, 20, f"the supervisor to listen (log: {self.places.log(SUPERVISOR)})")
        server = f"https://127.0.0.1:{port_file.read_text().strip()}"
        if not self.host_kubeconfig.exists():
            self.host_kubeconfig.write_text(plane.authority.certificate_kubeconfig("admin", server))

    def _boot(self, machine: Machine) -> None:
        """Switch one guest on and bring it to where `up` had it."""
        guest = self._guest(machine)
        if guest.running:
            raise LabError(f"{machine.name} is on already")
        faults.forget(self.places, machine.name)
        self._start_guest(machine)
        guest.wait_until_up()
        if machine.kubelet:
            (node,) = (node for node in self._kubelet_nodes() if node.machine == machine)
            node.start(image_store(self._artifacts.image.root, self._archives()))
        elif (
            machine.in_cluster
            and self.topology.control_plane
            and self.control_plane.kubectl(["get", "--raw", "/readyz"], check=False, timeout=5).ok
        ):
            node_objects.tell_status(self.control_plane, guest)
        guest.note_finished()

    def _guest(self, machine: Machine) -> Guest:
        return Guest(self.places, self.topology, machine)

    def _start_guest(self, machine: Machine) -> None:
        state = self.places.state(machine.name)
        state.mkdir(parents=True, exist_ok=True)
        mounts = [Mount(source=state, target=STATE_DIRECTORY, writable=True)]
        if machine.kubelet and self._artifacts.kube is not None:
            mounts.append(Mount(source=self._artifacts.kube, target="/opt/kube"))
        elif not machine.kubelet:
            mounts += agent_mounts()
        self._guest(machine).start(self._artifacts.image, mounts)

    def _kubelet_nodes(self) -> list[KubeletNode]:
        nodes = [node for node in self.topology.nodes if node.kubelet]
        return [KubeletNode(self.places, self.topology, self.guest(node.name), self.control_plane) for node in nodes]

    def _archives(self) -> list[Path]:
        """The image archives that kubelet nodes of this lab have."""
        file = self.places.run / _ARCHIVES
        return [Path(line) for line in file.read_text().splitlines()] if file.exists() else []

    def _note_archives(self, archives: Sequence[Path]) -> None:
        (self.places.run / _ARCHIVES).write_text("".join(f"{path}\n" for path in dict.fromkeys(archives)))


def for_all(things: Sequence[T], action: Callable[[T], object]) -> None:
    """Do the same with several things at once."""
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        for done in [pool.submit(action, thing) for thing in things]:
            done.result()


def take_down(name: str) -> bool:
    """Remove all of a lab, also of one that was killed or whose directory is gone; tell if there was any."""
    places = Places(name)
    with locked(f"lab-{name}"):
        there = (
            bool(network.namespaces(places) or processes.marked(places.notes))
            or places.run.exists()
            or places.memory.exists()
        )
        _remove_all(places)
    return there


def _remove_all(places: Places) -> None:
    processes.kill_marked(places.notes)
    processes.kill_all_in(network.namespaces(places))
    network.remove(places)
    remove_tree(places.memory)
    remove_tree(places.run)


def _network_is_whole(places: Places) -> bool:
    """Whether all namespaces of a lab were made and are there."""
    if not record.is_built(places):
        return False
    return set(network.wanted_namespaces(places, record.read_topology(places))) <= set(network.namespaces(places))


def _check_images(topology: Topology, images: Sequence[Path]) -> None:
    """Before anything is started: images that can not be imported are a mistake of the user."""
    for image in images:
        if not image.is_file():
            raise LabError(f"--image {image}: there is no such file")
    if images and not any(node.kubelet for node in topology.nodes):
        raise LabError("--image: the topology has no node with a kubelet that could take an image")


def lab_names() -> list[str]:
    """All labs of which something is there."""
    left = {path.name.split(".")[1] for path in NETNS_DIRECTORY.glob("lvs.*.*")} if NETNS_DIRECTORY.is_dir() else set()
    left |= {path.name.partition(".")[2] for path in MEMORY_ROOT.glob("lvs-lab.*")}
    return sorted(left | set(record.labs()))
