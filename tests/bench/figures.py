"""Statistics over measured values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tests.bench.cost import Used
from tests.bench.shops import BenchError
from tests.bench.wire import Reply

Raw = dict[str, Any]  # the result of one measurement, as in the JSON


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that the given percentage does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def latency_ms(seconds: Sequence[float]) -> Raw:
    return {f"p{percent}": 1000 * percentile(seconds, percent) for percent in (50, 95, 99)}


def cost_of(used: Used, count: int) -> Raw:
    return {
        "cpu_ms": used.cpu_ms_per(count),
        "commits": None if used.commits is None else used.commits / count,
        "redis_commands": used.redis_commands / count,
        "cores_busy": used.cpu_total_seconds / used.seconds,
    }


def demand(replies: Sequence[Reply], *statuses: int) -> None:
    """:raises BenchError: an answer has none of these statuses."""
    wrong = [reply for reply in replies if reply.status not in statuses]
    if wrong:
        raise BenchError(
            f"{len(wrong)} of {len(replies)} answers were not {statuses}, the first:"
            f" {wrong[0].status} {wrong[0].body[:300]!r}"
        )
