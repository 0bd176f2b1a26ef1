import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.addresses import REPOSITORY
from tests.support.processes import StartScript


@pytest.fixture
def start_script() -> Iterator[StartScript]:
    """Start Python source in its own process; its output is in `stdout`."""
    started: list[subprocess.Popen[str]] = []

    def start(text: str, *arguments: str | Path, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", text, *map(str, arguments)],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
