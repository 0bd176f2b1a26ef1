"""How long the storefront waits before it polls again."""

from datetime import UTC, datetime, timedelta

import pytest

from shop.checkout.jobs import CheckoutJob
from shop.checkout.states import FINAL, State
from shop.checkout.status import poll_interval

NOON = datetime(2026, 11, 22, 6, 30, tzinfo=UTC)


def job(state: State, **fields) -> CheckoutJob:
    return CheckoutJob(state=state, created_at=NOON, updated_at=NOON, **fields)


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_final_checkout_is_not_polled_again(state):
    assert poll_interval(job(state), now=NOON).done


@pytest.mark.parametrize("state", sorted(set(State) - FINAL))
def test_any_other_checkout_is_polled_again(state):
    after = poll_interval(job(state), now=NOON)
    assert not after.done
    assert after.after_ms > 0
    assert after.retry_after_seconds >= 1


def test_a_new_checkout_is_polled_again_at_once():
    assert poll_interval(job(State.QUEUED), now=NOON).after_ms == 100


def test_a_slow_checkout_is_polled_less_often():
    later = NOON + timedelta(seconds=3)
    assert poll_interval(job(State.ORDERED), now=later).after_ms == 3000
    assert poll_interval(job(State.ORDERED), now=NOON + timedelta(hours=1)).after_ms == 5000


def test_a_checkout_is_polled_more_often_after_the_buyer_returned():
    returned = job(State.AWAITING_PAYMENT, returned_at=NOON)
    waiting = job(State.AWAITING_PAYMENT)
    assert poll_interval(returned, now=NOON).after_ms < poll_interval(waiting, now=NOON).after_ms
