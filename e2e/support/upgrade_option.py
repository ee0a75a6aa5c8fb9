"""Which older revision the upgrade scenario comes from."""

from typing import Final

import pytest

from lvs_lab.artifacts import CHECKOUT
from lvs_lab.host_commands import run

UPGRADE_OPTION: Final = "--upgrade-from"
GIT: Final = ("git", "-C", str(CHECKOUT))


def add_upgrade_option(parser: pytest.Parser) -> None:
    """The option that names it."""
    what = "the revision from which the upgrade scenario comes (default: the last tag before the present commit)"
    parser.addoption(UPGRADE_OPTION, metavar="REVISION", help=what)


def older_revision(config: pytest.Config) -> str | None:
    """What the option says, else the last tag before the present commit; none where there is neither."""
    given = config.getoption(UPGRADE_OPTION)
    if given:
        return str(given)
    found = run([*GIT, "describe", "--tags", "--abbrev=0", "HEAD^"], check=False)
    return found.stdout.strip() if found.ok else None
