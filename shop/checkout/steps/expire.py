"""The local step `expire`: end checkouts that nobody paid in time, after a final poll."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shop.checkout import purchase
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance, Outcome, Wait
from shop.checkout.states import State
from shop.checkout.steps.base import JobStep
from shop.payments import ledger, polling

# How long past its end a checkout waits for the answer to the final poll. Outages of Razorpay can
# be longer; money that comes later is settled as late money.
FINAL_POLL_GRACE = timedelta(minutes=5)
POLL_AGAIN_AFTER = timedelta(seconds=10)

FINAL_POLL = "The time to pay is over. We are asking the bank once more."


def expire(batch: Sequence[CheckoutJob], now: datetime) -> list[Outcome]:
    """
    End checkouts that were not paid in time, after a final poll of Razorpay.

    The task `payments.check_payments` makes the poll. The checkout waits for its answer, at most
    `FINAL_POLL_GRACE`. While money is known or signed for, it keeps its units for
    `purchase.MONEY_MAY_COME_FOR`, as long as an authorisation can come.
    """
    order_ids = [job.order_id for job in batch if job.order_id]
    last_polls = ledger.last_polls(order_ids)
    money = purchase.with_money(batch, now=now)
    outcomes: list[Outcome] = []
    to_poll = []
    for job in batch:
        assert job.expires_at is not None
        assert job.order_id is not None
        polled_at = last_polls.get(job.order_id)
        was_final_poll = polled_at is not None and polled_at >= job.expires_at
        over_for = now - job.expires_at
        has_money = job.pk in money and over_for < purchase.MONEY_MAY_COME_FOR
        if not has_money and (was_final_poll or over_for >= FINAL_POLL_GRACE):
            outcomes.append(Advance(State.EXPIRED, "not paid in time"))
            continue
        to_poll.append(job.order_id)
        if has_money:
            outcomes.append(Wait(now + max(POLL_AGAIN_AFTER, over_for / 4), purchase.CONFIRMING))
        else:
            outcomes.append(Wait(now + POLL_AGAIN_AFTER, FINAL_POLL))
    polling.poll_now(to_poll, now=now)
    return outcomes


EXPIRE = JobStep("expire", State.AWAITING_PAYMENT, expire)
