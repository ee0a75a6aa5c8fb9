"""What the demo shows, chapter by chapter."""

import time
from pathlib import Path

from lvs_lab import host_packages
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.demo.cluster import CLIENT, SERVICE, VIP, DemoCluster, DemoError, ServiceState
from lvs_lab.demo.narrator import Narrator
from lvs_lab.image_build import Images, build_images
from lvs_lab.lab import Lab, standard_topology
from lvs_lab.waiting import wait_for

NAME = "demo"
CHAPTERS = 7
NAMESPACE = "lvs-system"
MANIFEST = Path("examples/quick-start/web.yaml")
SERVERS = ("server-1", "server-2", "server-3")
VICTIM = "server-2"
REQUESTS = 300
_CHART = Path("charts/lvs-operator")
_WEB_SERVERS = Path(__file__).with_name("web-servers.yaml")
_FIRST_READY_SECONDS = 240
_DEATH_SECONDS = 60
_RETURN_SECONDS = 240

INTRODUCTION = f"""
lvs-operator: the Linux Virtual Server as Kubernetes objects

                                       director-1, director-2   one of them holds {VIP} (the VIP) and
   client ------ requests ------>      Linux IPVS               hands each new connection to a real server
     ^                                      |
     |                        +-------------+-------------+
     |                        v             v             v
     +---- replies ------ server-1      server-2      server-3      LVS-DR: they carry the VIP too, silently,
                                                                    and answer the client directly
"""


class Story:
    """The demo, told once."""

    def __init__(self, narrator: Narrator) -> None:
        self._tell = narrator
        self._images: Images | None = None
        self._cluster: DemoCluster | None = None

    def tell(self) -> None:
        """All chapters. Raises LabError as soon as something is not as promised."""
        lab, images = self.bring_up()
        cluster = DemoCluster(lab)
        self.install(cluster, images)
        self.apply(cluster)
        self.look(cluster)
        self.balance(cluster)
        self.lose_a_server(cluster)
        self.get_it_back(cluster)

    def bring_up(self) -> tuple[Lab, Images]:
        """A cluster of real kernels."""
        self._tell.chapter("A cluster")
        self._tell.say(
            """Five virtual machines on this machine, each with a Linux kernel of its own (user-mode Linux), containerd
            and a real kubelet; etcd, kube-apiserver, -controller-manager and -scheduler beside them; a client on the
            same network. Both images are built from the Dockerfile of this checkout."""
        )
        host_packages.prepare()
        images = build_images()
        for image in (images.operator, images.node_agent):
            self._tell.show(f"image {image.repository:<26} {image.archive.stat().st_size / 1e6:4.0f} MB unpacked")
        begin = time.monotonic()
        lab = Lab.up(NAME, standard_topology("kubelet"), images=images.archives)
        self._tell.moment(begin, "five machines booted, five Nodes Ready")
        columns = (
            "NAME:.metadata.name,ADDRESS:.status.addresses[0].address,ROLE:.metadata.labels.lvs-operator\\.io/role"
        )
        columns += ",APP:.metadata.labels.app,KERNEL:.status.nodeInfo.kernelVersion"
        self._kubectl(lab, "get", "nodes", "--output", f"custom-columns={columns}", shown="get nodes")
        return lab, images

    def install(self, cluster: DemoCluster, images: Images) -> None:
        """Helm."""
        self._tell.chapter("helm install")
        self._tell.say(
            """The chart brings the CRDs, two replicas of the operator and a director group, `default`: the Nodes
            labelled lvs-operator.io/role=director. Web servers, which answer with the name of their node, start on the
            Nodes labelled app=web."""
        )
        lab = cluster.lab
        lab.kubectl("apply", "-f", "-", stdin=_WEB_SERVERS.read_text().replace("IMAGE", images.node_agent.reference))
        options = ["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout=3m"]
        begin = time.monotonic()
        lab.helm("install", "lvs-operator", str(CHECKOUT / _CHART), *options, *images.chart_values())
        shown = f"helm install lvs-operator {_CHART} {' '.join(options)} --set ...  # the two images"
        self._tell.command(shown, f"installed in {time.monotonic() - begin:.1f} s")
        lab.kubectl("rollout", "status", "daemonset/web-server", "--timeout=60s")
        selected = "custom-columns=POD:.metadata.name,NODE:.spec.nodeName,STATUS:.status.phase"
        self._kubectl(lab, "get", "pods", "--all-namespaces", "--output", selected, shown="get pods --all-namespaces")

    def apply(self, cluster: DemoCluster) -> None:
        """Two objects."""
        self._tell.chapter("kubectl apply: two objects")
        text = (CHECKOUT / MANIFEST).read_text()
        self._tell.command(f"cat {MANIFEST}", text)
        begin = time.monotonic()
        applied = cluster.lab.kubectl("apply", "-f", str(CHECKOUT / MANIFEST))
        self._tell.command(f"kubectl apply -f {MANIFEST}", applied.stdout)
        self._tell.say(
            """Agents now start on the servers; each silences ARP for the VIP, then binds it, and says so. Only then do
            the directors give it weight, as soon as two health checks have passed:"""
        )
        seen: list[ServiceState] = []

        def ready() -> bool:
            state = cluster.service()
            if not seen or str(state) != str(seen[-1]):
                self._tell.moment(begin, str(state))
                seen.append(state)
            return state.ready == "True" and state.up == len(SERVERS)

        wait_for(
            ready,
            _FIRST_READY_SECONDS,
            f"LvsVirtualService {SERVICE} to be Ready with {len(SERVERS)} servers",
            interval=0.25,
        )

    def look(self, cluster: DemoCluster) -> None:
        """Kubernetes beside the kernel."""
        self._tell.chapter("What Kubernetes says, and what the kernels say")
        lab = cluster.lab
        active = cluster.service().active
        self._kubectl(lab, "get", "lvsvirtualservices,lvsrealserverpools,lvsdirectorgroups,lvsnodes")
        self._tell.command("ipvsadm -Ln", cluster.table(active), on=f"{active} ")
        server = lab.guest(SERVERS[0])
        for command in (
            "ip -brief address show lo",
            "sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce",
        ):
            self._tell.command(command, server.out(*command.split()), on=f"{SERVERS[0]} ")
        command = f"arping -c 2 -I eth0 {VIP}"
        answers = lab.machine(CLIENT).exec(command.split(), timeout=20).stdout
        self._tell.command(command, answers, on=f"{CLIENT} ")
        mac = lab.guest(active).out("cat", "/sys/class/net/eth0/address").strip()
        if mac.lower() not in answers.lower() or any(self._mac(lab, name) in answers.lower() for name in SERVERS):
            raise DemoError(f"somebody else than {active} ({mac}) answers ARP for {VIP}")
        self._tell.say(f"Four machines carry {VIP}; the one that answers is {active}.")

    def balance(self, cluster: DemoCluster) -> None:
        """Replies counted."""
        self._tell.chapter("Traffic")
        self._requests(cluster, expected=SERVERS)

    def lose_a_server(self, cluster: DemoCluster) -> None:
        """Power cut."""
        self._tell.chapter(f"{VICTIM} loses its power")
        active = cluster.service().active
        answered = lost = 0
        cluster.lab.guest(VICTIM).power_off()
        begin = time.monotonic()
        self._tell.moment(begin, f"power cut; the client goes on asking, the health checks of {active} now fail")

        def out() -> bool:
            nonlocal answered, lost
            if cluster.request() is None:
                lost += 1
            else:
                answered += 1
            return cluster.weight(active, VICTIM) == 0

        wait_for(out, _DEATH_SECONDS, f"{active} to give {VICTIM} weight 0", interval=0)
        self._tell.moment(begin, f"three checks failed: weight 0. Requests until now: {answered} answered, {lost} lost")
        wait_for(
            lambda: cluster.service().up == len(SERVERS) - 1, _DEATH_SECONDS, "the status to count two real servers"
        )
        self._tell.moment(begin, f"told in the status: {cluster.service()}")
        self._tell.command("ipvsadm -Ln", cluster.table(active), on=f"{active} ")
        self._kubectl(cluster.lab, "get", "lvsvirtualservices")
        self._requests(cluster, expected=tuple(name for name in SERVERS if name != VICTIM))

    def get_it_back(self, cluster: DemoCluster) -> None:
        """Power on."""
        self._tell.chapter(f"{VICTIM} comes back")
        active = cluster.service().active
        begin = time.monotonic()
        cluster.lab.guest(VICTIM).power_on()
        boot_id = cluster.boot_id(VICTIM)
        self._tell.moment(begin, "power on; its kernel has lost the VIP and all settings")
        wait_for(
            lambda: cluster.node_is_ready(VICTIM, boot_id), _RETURN_SECONDS, f"Node {VICTIM} to be Ready", interval=0.25
        )
        self._tell.moment(begin, "kubelet: Node Ready")
        wait_for(
            lambda: cluster.node_is_bound(VICTIM, boot_id), _RETURN_SECONDS, f"{VICTIM} to bind {VIP}", interval=0.25
        )
        self._tell.moment(begin, "its agent: ARP silenced, VIP bound")
        wait_for(
            lambda: cluster.weight(active, VICTIM) == 1,
            _RETURN_SECONDS,
            f"{active} to give {VICTIM} its weight",
            interval=0.1,
        )
        self._tell.moment(begin, f"{active}: checks pass, weight 1")
        wait_for(lambda: cluster.service().up == len(SERVERS), _DEATH_SECONDS, "the status to count three real servers")
        self._tell.moment(begin, f"told in the status: {cluster.service()}")
        self._requests(cluster, expected=SERVERS)

    def _requests(self, cluster: DemoCluster, *, expected: tuple[str, ...]) -> None:
        """Count replies; round robin makes them equal to one."""
        replies = cluster.replies(REQUESTS)
        self._tell.say(f"{REQUESTS} requests by {CLIENT} to http://{VIP}/, each on its own connection; answered by")
        self._tell.bars(replies)
        if lost := REQUESTS - replies.total():
            raise DemoError(f"{lost} of {REQUESTS} requests were not answered")
        if any(abs(replies[name] - REQUESTS / len(expected)) > 1 for name in expected) or set(replies) != set(expected):
            raise DemoError(f"round robin over {', '.join(expected)} was expected")

    def _kubectl(self, lab: Lab, *arguments: str, shown: str = "") -> None:
        self._tell.command(f"kubectl {shown or ' '.join(arguments)}", lab.kubectl(*arguments).stdout)

    @staticmethod
    def _mac(lab: Lab, name: str) -> str:
        return lab.guest(name).out("cat", "/sys/class/net/eth0/address").strip().lower()
