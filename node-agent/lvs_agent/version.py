"""The version that the agent reports."""

from importlib.metadata import PackageNotFoundError, version


def agent_version() -> str:
    """That of the installed distribution; a checkout that was not installed has none."""
    try:
        return version("lvs-operator")
    except PackageNotFoundError:
        return "checkout"
