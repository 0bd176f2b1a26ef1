"""When the storefront should ask again."""

from datetime import UTC, datetime, timedelta

import pytest

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import FINAL, State
from shop.checkout.status import poll_interval

NOON = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def job(state: State, **fields) -> CheckoutJob:
    return CheckoutJob(state=state, created_at=NOON, updated_at=NOON, **fields)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_nothing_more_is_to_be_asked_at_the_end(state):
    assert poll_interval(job(state), now=NOON).done


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_until_then_there_is_always_a_next_look(state):
    after = poll_interval(job(state), now=NOON)
    assert not after.done
    assert after.after_ms > 0
    assert after.retry_after_seconds >= 1


def test_a_fresh_checkout_is_looked_at_again_at_once():
    assert poll_interval(job(State.QUEUED), now=NOON).after_ms == 100


def test_a_slow_one_is_looked_at_as_seldom_as_it_is_slow():
    later = NOON + timedelta(seconds=3)
    assert poll_interval(job(State.ORDERED), now=later).after_ms == 3000
    assert poll_interval(job(State.ORDERED), now=NOON + timedelta(hours=1)).after_ms == 5000


def test_a_buyer_back_from_paying_is_told_soon():
    returned = job(State.AWAITING_PAYMENT, returned_at=NOON)
    waiting = job(State.AWAITING_PAYMENT)
    assert poll_interval(returned, now=NOON).after_ms < poll_interval(waiting, now=NOON).after_ms
