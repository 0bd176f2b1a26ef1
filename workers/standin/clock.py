"""Time as the stand-in sees it, and the things that fall due in it."""

import heapq
import itertools
import time
from collections.abc import Callable

# A timer may set another; this bounds one sweep, so that a clock moved by years cannot spin.
MAX_PER_SWEEP = 100_000


class Clock:
    """The machine's clock, moved or stopped on request. Seconds since the epoch."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0
        self.frozen_at: float | None = None

    def now(self) -> float:
        if self.frozen_at is not None:
            return self.frozen_at
        return time.time() + self.offset_seconds

    def advance(self, seconds: float) -> None:
        """Move time by `seconds`; a stopped clock stays stopped."""
        if self.frozen_at is not None:
            self.frozen_at += seconds
        else:
            self.offset_seconds += seconds

    def set(self, now: float) -> None:
        self.advance(now - self.now())

    def freeze(self) -> None:
        self.frozen_at = self.now()

    def restore(self) -> None:
        """Be the machine's clock again."""
        self.offset_seconds, self.frozen_at = 0.0, None

    def thaw(self) -> None:
        """Let a stopped clock run on from where it stands."""
        if self.frozen_at is not None:
            self.offset_seconds = self.frozen_at - time.time()
            self.frozen_at = None


class Timer:
    """Something that happens at `due_at` unless cancelled before."""

    __slots__ = ("act", "due_at")

    def __init__(self, due_at: float, act: Callable[[], None]) -> None:
        self.due_at = due_at
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class Timers:
    """What falls due, in order of time. `run_due` is called by whoever owns the loop."""

    def __init__(self, clock: Clock, *, scale: float = 1.0) -> None:
        self.clock = clock
        self.scale = scale
        self.on_change: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Timer]] = []
        self._number = itertools.count()

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Do `act` after `seconds`, divided by the time scale now in force."""
        timer = Timer(self.clock.now() + seconds / self.scale, act)
        heapq.heappush(self._heap, (timer.due_at, next(self._number), timer))
        if self._heap[0][2] is timer:
            self.on_change()
        return timer

    def next_at(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def run_due(self) -> None:
        """Do all that is due by now, earliest first. Again: nothing more to do."""
        for _ in range(MAX_PER_SWEEP):
            if not self._heap or self._heap[0][0] > self.clock.now():
                break
            timer = heapq.heappop(self._heap)[2]
            if timer.act is not None:
                timer.act()
        self.on_change()

    def clear(self) -> None:
        self._heap.clear()
        self.on_change()
