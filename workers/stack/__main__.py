"""`python -m workers.stack`."""

import sys

from workers.stack.commands import main

sys.exit(main(sys.argv[1:]))
