"""Waiting for what is bound to come, with an end to the patience."""

import time
from collections.abc import Callable

from workers.stack import process_tree


def eventually(condition: Callable[[], object], *, within_seconds: float = 15) -> bool:
    """Whether `condition` becomes true in time."""
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def none_lives(pids: list[int]) -> bool:
    return not {process.pid for process in process_tree.running()} & set(pids)
