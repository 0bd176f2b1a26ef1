"""The pause before another try, which grows with each failed one."""

from __future__ import annotations

from datetime import timedelta

MAX_DOUBLINGS = 32  # keeps the product inside what a `timedelta` can hold


def exponential(attempts: int, *, first: timedelta, longest: timedelta) -> timedelta:
    """
    The pause after `attempts` failed tries: `first` after one, then twice as long after each
    further one, at most `longest`.
    """
    doublings = min(max(attempts - 1, 0), MAX_DOUBLINGS)
    return min(first * 2**doublings, longest)
