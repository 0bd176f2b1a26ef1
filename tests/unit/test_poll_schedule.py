from datetime import UTC, datetime, timedelta
from itertools import pairwise

from shop.payments.polling import POLL_SCHEDULE, next_poll_at

NOON = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def test_the_first_poll_comes_soon():
    assert next_poll_at(placed_at=NOON, now=NOON) == NOON + timedelta(seconds=30)


def test_polls_become_less_frequent():
    pauses = [later - earlier for earlier, later in pairwise(POLL_SCHEDULE)]
    assert pauses == sorted(pauses)


def test_missed_polls_are_not_made_up_for():
    now = NOON + timedelta(minutes=9)
    assert next_poll_at(placed_at=NOON, now=now) == NOON + timedelta(minutes=20)


def test_it_ends_after_the_latest_possible_authorisation(settings):
    settings.HOLD_SECONDS = 6 * 60 * 60
    payable_until = NOON + timedelta(hours=12)  # held for six hours, and then payable for six

    last = next_poll_at(placed_at=NOON, now=NOON + POLL_SCHEDULE[-1])

    assert last > payable_until + timedelta(days=5)
    assert next_poll_at(placed_at=NOON, now=last) is None
