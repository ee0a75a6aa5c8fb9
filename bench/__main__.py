"""`python -m bench load|weight|ipvs|failover|scale`, from the top of the checkout."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench import failover_figures, ipvs_figures, load_services, scale_figures, weight_latency

MEASUREMENTS: Final[Mapping[str, Callable[[Sequence[str]], int]]] = {
    "load": load_services.main,
    "weight": weight_latency.main,
    "ipvs": ipvs_figures.main,
    "failover": failover_figures.main,
    "scale": scale_figures.main,
}


def main(words: Sequence[str]) -> int:
    """Run one of them; 0 where its goals are kept."""
    if not words or words[0] not in MEASUREMENTS:
        print(f"usage: python -m bench {{{','.join(MEASUREMENTS)}}} [--help] ...", file=sys.stderr)
        return 2
    return MEASUREMENTS[words[0]](words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
