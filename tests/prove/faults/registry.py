"""The faults by name, and what a fault is given."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.prove import crashing
from tests.prove.environment import Environment
from tests.prove.stream import Stream


@dataclass
class FaultContext:
    """What a fault is given: the environment, the buyers and a source of random choices."""

    env: Environment
    stream: Stream
    rng: random.Random
    boundaries: Sequence[str] = crashing.BOUNDARIES  # at which processes crash
    speed_up: float = 1.0  # divides every duration
    lock_seconds: float = 30.0  # for which another session locks a row
    kills: int = 0  # by this fault

    def pause(self, min_seconds: float, max_seconds: float) -> float:
        seconds = self.rng.uniform(min_seconds, max_seconds) / self.speed_up
        time.sleep(seconds)
        return seconds

    def kill(self, pids: Sequence[int]) -> str:
        self.kills += bool(pids)
        return f"{self.env.kill(list(pids))} processes"


Fault = Callable[[FaultContext], str]
FAULTS: dict[str, Fault] = {}
GROUPS: dict[str, str] = {}


def fault(group: str) -> Callable[[Fault], Fault]:
    """Register a function as a fault of this group."""

    def register(function: Fault) -> Fault:
        FAULTS[function.__name__] = function
        GROUPS[function.__name__] = group
        return function

    return register
