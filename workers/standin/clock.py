"""The clock of the stand-in, and its timers."""

import heapq
import itertools
import time
from collections.abc import Callable

# A timer may set another one. This limit ends a run after the clock was moved by years.
MAX_PER_RUN = 100_000


class Clock:
    """The machine's clock, which can be moved and frozen. Seconds since the epoch."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0
        self.frozen_at: float | None = None

    def now(self) -> float:
        if self.frozen_at is not None:
            return self.frozen_at
        return time.time() + self.offset_seconds

    def advance(self, seconds: float) -> None:
        """Move the time by `seconds`. A frozen clock stays frozen."""
        if self.frozen_at is not None:
            self.frozen_at += seconds
        else:
            self.offset_seconds += seconds

    def set(self, now: float) -> None:
        self.advance(now - self.now())

    def freeze(self) -> None:
        self.frozen_at = self.now()

    def restore(self) -> None:
        """Return to the machine's clock."""
        self.offset_seconds, self.frozen_at = 0.0, None

    def thaw(self) -> None:
        """Let a frozen clock continue from its time."""
        if self.frozen_at is not None:
            self.offset_seconds = self.frozen_at - time.time()
            self.frozen_at = None


class Timer:
    """A call that is made at `due_at` unless it is cancelled before."""

    __slots__ = ("act", "due_at")

    def __init__(self, due_at: float, act: Callable[[], None]) -> None:
        self.due_at = due_at
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class Timers:
    """Calls in order of their time. The owner of the event loop calls `run_due`."""

    def __init__(self, clock: Clock, *, scale: float = 1.0) -> None:
        self.clock = clock
        self.scale = scale
        self.on_change: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Timer]] = []
        self._number = itertools.count()

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Call `act` after `seconds`, divided by the current time scale."""
        timer = Timer(self.clock.now() + seconds / self.scale, act)
        heapq.heappush(self._heap, (timer.due_at, next(self._number), timer))
        if self._heap[0][2] is timer:
            self.on_change()
        return timer

    def next_at(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> None:
        """Make all calls that are due, earliest first. A repeat makes no further calls."""
        for _ in range(MAX_PER_RUN):
            if not self._heap or self._heap[0][0] > self.clock.now():
                break
            timer = heapq.heappop(self._heap)[2]
            if timer.act is not None:
                timer.act()
        self.on_change()

    def clear(self) -> None:
        self._heap.clear()
        self.on_change()
