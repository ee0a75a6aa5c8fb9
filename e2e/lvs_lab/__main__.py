"""`python -m lvs_lab`: the command `lvs-lab`."""

import sys

from lvs_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
