"""`python -m load.capacity`."""

import sys

from load.capacity.plan import main

if __name__ == "__main__":
    sys.exit(main())
