"""What every FtpHelper must answer alike: the kernel, which has it not loaded to begin with, and the fake."""

from lvs_agent.kernel.interface import FtpHelper


def complaint(helper: FtpHelper) -> str | None:
    """Load it, and load it again; what was not as it should be, or None. It stays loaded."""
    if found := helper.ports():
        return f"it follows {sorted(found)} before it was loaded"
    for times in ("once", "twice"):
        helper.load()
        if (found := helper.ports()) != {21}:
            return f"loaded {times} it follows {sorted(found)}"
    return None
