"""The time range of the history, and its buckets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.conf import settings

DEFAULT = "1h"
SPANS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
}
CUSTOM = "custom"
MAX_SPAN = timedelta(days=31)
MIN_SPAN = timedelta(minutes=1)

BUCKETS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 120, 360, 1440))
MAX_BUCKETS = 125


class BadRange(ValueError):
    """The query does not name a valid range; the text says why."""


@dataclass(frozen=True, slots=True)
class Range:
    """From `since` up to, not including, `until`, in buckets of one width."""

    name: str
    since: datetime
    until: datetime
    bucket: timedelta

    @property
    def starts(self) -> list[datetime]:
        """The start of each bucket."""
        count = -((self.since - self.until) // self.bucket)
        return [self.since + n * self.bucket for n in range(count)]

    @property
    def fresh_seconds(self) -> float:
        """How long the figures of this range are cached: longer for a longer range."""
        return min(max(self.bucket.total_seconds() / 60, 2.0), 60.0)


def read(given: Mapping[str, str], *, now: datetime) -> Range:
    """
    The range that a query names: `range=15m|1h|24h|7d`, or `from` and `to` in ISO 8601, in the
    shop's time zone unless they carry their own.

    :raises BadRange: unknown, reversed, too short or too long.
    """
    if given.get("from") or given.get("to"):
        since = _time(given.get("from", ""))
        until = _time(given.get("to") or now.isoformat())
        return _in_buckets(CUSTOM, since, min(until, now))
    name = given.get("range") or DEFAULT
    if name not in SPANS:
        raise BadRange(f"range must be one of {', '.join(SPANS)}, or from and to")
    return _in_buckets(name, now - SPANS[name], now)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
        if time.tzinfo is None:
            time = time.replace(tzinfo=ZoneInfo(settings.TIME_ZONE))
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRange(f"{text[:40]!r} is not a time: write 2026-11-22T18:30") from None


def _in_buckets(name: str, since: datetime, until: datetime) -> Range:
    """At most `MAX_BUCKETS` buckets, which begin at round times of the shop's clock."""
    span = until - since
    if span < MIN_SPAN:
        raise BadRange(
            "the range must end at least a minute after it begins, and begin in the past"
        )
    if span > MAX_SPAN:
        raise BadRange(f"the range is longer than {MAX_SPAN.days} days")
    bucket = next(width for width in BUCKETS if span / width <= MAX_BUCKETS)
    midnight = since.astimezone(ZoneInfo(settings.TIME_ZONE)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    begin = midnight + (since - midnight) // bucket * bucket
    return Range(name, begin.astimezone(UTC), until.astimezone(UTC), bucket)
