"""
The delay between two runs of a task in one process, by which batches grow under load.

A lone row never waits. After a batch of several rows the next run starts up to 150 ms later: rows
that fall due in between share its cost. Buyers do not notice a delay of that length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

BATCH_DELAY_SECONDS = 0.05
BATCH_DELAY_SECONDS_PER_ROW = 0.015
MAX_BATCH_DELAY_SECONDS = 0.15


class BatchDelay:
    """
    The delay of one task. Threads of a process share it.

    `row_weight`: as how many rows each row counts.
    """

    def __init__(
        self,
        *,
        row_weight: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._row_weight = row_weight
        self._clock = clock
        self._sleep = sleep
        self._seconds = BATCH_DELAY_SECONDS
        self._started_at = float("-inf")  # of the last run, on the monotonic clock
        self._waiting = Lock()  # held by the run that waits for its start

    def wait(self) -> bool:
        """Wait until a run may start. False, at once, while another run waits: that one starts."""
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            wait_seconds = self._started_at + self._seconds - self._clock()
            if wait_seconds > 0:
                self._sleep(wait_seconds)
            self._started_at = self._clock()
        finally:
            self._waiting.release()
        return True

    def set(self, *, rows: int, limit: int) -> None:
        """
        Set the delay until the next run from the `rows` that this run found.

        No delay if the run found `limit`, the most that a run takes: more rows are due.
        """
        weight = self._row_weight * rows
        seconds = BATCH_DELAY_SECONDS + BATCH_DELAY_SECONDS_PER_ROW * max(0, weight - 1)
        self._seconds = min(seconds, MAX_BATCH_DELAY_SECONDS) if rows < limit else 0.0
