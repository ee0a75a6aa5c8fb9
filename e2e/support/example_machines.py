"""What the machines of an example need before it is applied."""

from support.deployment import Deployment
from support.example_cases import Case

SET_BY_HAND = (900, 2, 300)
"""Time-outs in seconds: TCP, TCP after a FIN, UDP."""


def prepare(deployment: Deployment, case: Case, served: set[tuple[str, int]]) -> None:
    """Give an example's machines what they need; `served` are ports at which real servers listen already."""
    machine = deployment.lab.machine
    for name in case.real_servers:
        for port in (case.server_port, *case.more_ports):
            if (name, port) not in served:
                machine(name).serve(port=port)
                served.add((name, port))
        if case.protocol == "sctp":
            machine(name).serve(port=case.port, protocol="sctp")
    if case.example == "s13-nat":
        for name in ("s13-rs201", "s13-rs202"):
            machine(name).serve(port=3306)
    for name in case.vrrp_directors:
        deployment.start_vrrp(name)
    for source in case.sources:
        machine(case.client).out("ip", "address", "replace", f"{source}/24", "dev", "eth0")
    if case.marks:
        machine(case.director).exec(["nft", "-f", "-"], stdin=case.marks, check=True)
    # Closed connections are counted for two minutes otherwise; a drain waits for them.
    machine(case.director).out("ipvsadm", "--set", *map(str, SET_BY_HAND))
