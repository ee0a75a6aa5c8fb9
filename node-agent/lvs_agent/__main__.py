"""`lvs-agent run | vrrp | plan | cleanup`."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from lvs_agent.assembly import clean_node, print_plan, run_agent, run_vrrp
from lvs_agent.errors import LvsAgentError
from lvs_agent.process_memory import seek_cycles_seldom, share_one_heap
from lvs_agent.settings import Settings, parse_settings

_VERBS = {"run": run_agent, "vrrp": run_vrrp, "plan": print_plan, "cleanup": clean_node}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; a user's mistake and a refusing kernel end it with one line and status 1."""
    try:
        settings = parse_settings(sys.argv[1:] if arguments is None else arguments)
        _log_to_stderr(settings)
        share_one_heap()
        seek_cycles_seldom()
        asyncio.run(_VERBS[settings.verb](settings))
    except LvsAgentError as error:
        print(f"lvs-agent: {error}", file=sys.stderr)
        return 1
    return 0


def _log_to_stderr(settings: Settings) -> None:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    # It would log each request.
    logging.getLogger("httpx2").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
