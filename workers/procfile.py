"""
The commands of the Procfile, which the stack and the containers run:

    python -m workers.procfile web      # replaces this process by `web`
"""

import os
import sys
from pathlib import Path

from honcho.environ import parse_procfile

from shop.addresses import REPOSITORY


def commands(root: Path = REPOSITORY) -> dict[str, str]:
    """The shell command of each process, in the order of the Procfile."""
    return dict(parse_procfile((root / "Procfile").read_text()).processes)


def main() -> None:
    known = commands()
    if len(sys.argv) != 2 or sys.argv[1] not in known:
        sys.exit(f"usage: python -m workers.procfile {'|'.join(known)}")
    os.execvp("sh", ["sh", "-c", known[sys.argv[1]]])


if __name__ == "__main__":
    main()
