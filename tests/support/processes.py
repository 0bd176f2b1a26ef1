"""Processes that tests start: whether they live, and waiting for what they do."""

import subprocess
import time
from collections.abc import Callable

from workers.stack import process_tree

StartScript = Callable[..., subprocess.Popen[str]]  # the fixture `start_script`


def eventually(condition: Callable[[], object], *, within_seconds: float = 15) -> bool:
    """Whether `condition` becomes true within `within_seconds`."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def none_lives(pids: list[int]) -> bool:
    return not {process.pid for process in process_tree.running()} & set(pids)
