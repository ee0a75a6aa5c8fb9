"""`python -m simulation FIRST COUNT`: run so many seeds; the first that goes wrong is made short and told.

The same seed gives the same course only with PYTHONHASHSEED=0, for courses depend on the order of sets.
"""

import sys

from simulation.happenings import draw_sequence, run_sequence, shorten, silent_logs


def main(first: int, count: int) -> int:
    """The exit code: 1 where something went wrong."""
    with silent_logs():
        for seed in range(first, first + count):
            sequence = draw_sequence(seed)
            if run_sequence(seed, sequence) is not None:
                short = shorten(seed, sequence)
                print(f"seed {seed}: {run_sequence(seed, short)}", *short, sep="\n    ", flush=True)
                return 1
        print(f"{count} seeds, and nothing went wrong")
        return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
