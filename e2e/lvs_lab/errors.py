"""What can go wrong in the lab, as its user reads it."""


class LabError(Exception):
    """The root of everything the lab raises on purpose."""


class TopologyError(LabError):
    """A topology file says something that can not be built; the message names the field."""


class HostError(LabError):
    """This machine lacks something the lab needs."""


class BuildError(LabError):
    """An artifact could not be built."""


class CommandError(LabError):
    """A program on this machine ended with an error."""

    def __init__(self, message: str, *, returncode: int, stderr: str) -> None:
        super().__init__(message)
        self.returncode = returncode
        self.stderr = stderr


class ExecError(LabError):
    """The exec channel of a guest did not carry a command to its end."""


class NotUpError(LabError):
    """The lab, or the node, that a verb speaks of is not running."""


class DeadlineError(LabError):
    """A condition did not come true in time; the message says what was seen last."""
