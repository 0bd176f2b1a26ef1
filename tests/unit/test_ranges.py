"""The time ranges of the operations page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shop.ops import ranges
from shop.ops.ranges import BadRange

NOW = datetime(2026, 11, 22, 6, 47, 12, tzinfo=UTC)  # 12:17:12 in Kolkata


@pytest.mark.parametrize(
    ("name", "bucket", "since"),
    [
        ("15m", timedelta(minutes=1), datetime(2026, 11, 22, 6, 32, tzinfo=UTC)),
        ("1h", timedelta(minutes=1), datetime(2026, 11, 22, 5, 47, tzinfo=UTC)),
        ("24h", timedelta(minutes=15), datetime(2026, 11, 21, 6, 45, tzinfo=UTC)),
        # 12:00 on the wall in Kolkata
        ("7d", timedelta(hours=2), datetime(2026, 11, 15, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_range_begins_at_a_round_time_of_the_shops_clock(name, bucket, since):
    span = ranges.read({"range": name}, now=NOW)

    assert (span.bucket, span.since, span.until) == (bucket, since, NOW)


@pytest.mark.parametrize("name", ranges.SPANS)
def test_buckets_cover_the_range_and_are_few(name):
    span = ranges.read({"range": name}, now=NOW)

    assert span.starts[0] == span.since
    assert span.starts[-1] < span.until <= span.starts[-1] + span.bucket
    assert 15 <= len(span.starts) <= ranges.MAX_BUCKETS + 1


def test_the_default_is_the_last_hour():
    assert ranges.read({}, now=NOW).name == "1h"


def test_a_custom_range_is_in_the_shops_time_zone():
    span = ranges.read({"from": "2026-11-21T10:00", "to": "2026-11-21T16:00:00+05:30"}, now=NOW)

    assert span.since == datetime(2026, 11, 21, 4, 30, tzinfo=UTC)
    assert span.until == datetime(2026, 11, 21, 10, 30, tzinfo=UTC)
    assert span.bucket == timedelta(minutes=5)


def test_a_custom_range_ends_now_at_the_latest():
    assert ranges.read({"from": "2026-11-22"}, now=NOW).until == NOW
    assert ranges.read({"from": "2026-11-22", "to": "2030-01-01"}, now=NOW).until == NOW


@pytest.mark.parametrize(
    "given",
    [
        {"range": "1y"},
        {"from": "soon"},
        {"to": "2026-11-22"},
        {"from": "2026-11-22", "to": "2026-11-21"},
        {"from": "2030-01-01"},
        {"from": "0001-01-01"},
        {"from": "9999-12-31T23:59:59-12:00"},
        {"from": "2026-01-01", "to": "2026-03-01"},
        {"from": "\x00"},
    ],
)
def test_an_invalid_range_is_refused(given):
    with pytest.raises(BadRange):
        ranges.read(given, now=NOW)


def test_the_longest_range_has_few_buckets():
    span = ranges.read({"from": "2026-10-22T12:20", "to": "2026-11-22T12:00"}, now=NOW)

    assert len(span.starts) <= ranges.MAX_BUCKETS + 1


def test_a_short_range_is_cached_for_less_time_than_a_long_one():
    fresh = [ranges.read({"range": name}, now=NOW).fresh_seconds for name in ranges.SPANS]

    assert fresh == [2, 2, 15, 60]
