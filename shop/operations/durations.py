"""How staff read durations."""

from __future__ import annotations

from datetime import timedelta


def format_duration(duration: timedelta) -> str:
    """For example 0.4 s, 12 s, 3 min, 5 h, 2 days."""
    seconds = duration.total_seconds()
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * 2:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
