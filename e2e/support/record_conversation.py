"""`python -m support.record_conversation`: record anew, with a lab's kernel, what the codec's unit tests hear.

To be run when `lvs_agent.kernel.wire_contract` changes; the recording is named after the kernel's version.
"""

import json
import sys
from pathlib import Path
from typing import Final

from lvs_agent.kernel.wire_contract import misunderstandings
from lvs_lab.artifacts import CHECKOUT
from lvs_lab.python_packages import agent_environment
from support import kernel_probe
from support.lab_fixtures import session_lab

_TOPOLOGY: Final = """\
segments: [lan]
nodes:
  director: {role: director, interfaces: {eth0: {segment: lan, addresses: [192.168.10.11/24]}}}
controlPlane: {enabled: false}
"""


def main() -> int:
    """Record, and see that all of it is understood before it is kept."""
    with session_lab("record", _TOPOLOGY) as lab:
        guest = lab.guest("director")
        version = ".".join(guest.out("uname", "-r").split(".")[:2])
        probe = Path(kernel_probe.__file__).read_text(encoding="utf-8")
        command = ["python3", "-", kernel_probe.conversation.__name__]
        said = guest.exec(command, stdin=probe, env=agent_environment(), check=True, timeout=120).stdout
    recorded = json.loads(said.splitlines()[-1])
    complaints = misunderstandings(recorded)
    for name, text in complaints.items():
        print(f"{name}: {text}")
    if not complaints:
        path = CHECKOUT / "node-agent" / "tests" / "data" / f"ipvs_conversation_linux_{version}.json"
        path.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
        print(f"written: {path}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
