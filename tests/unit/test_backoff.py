"""The pause before another try."""

from datetime import timedelta

import pytest

from shop.backoff import exponential

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60)])
def test_pauses_double_up_to_the_longest(attempts, seconds):
    pause = exponential(attempts, first=SECOND, longest=MINUTE)
    assert pause == timedelta(seconds=seconds)


def test_without_a_failed_try_the_pause_is_the_first():
    assert exponential(0, first=SECOND, longest=MINUTE) == SECOND


def test_any_number_of_attempts_has_a_pause():
    day = timedelta(days=1)
    assert exponential(1_000_000, first=timedelta(minutes=10), longest=day) == day
