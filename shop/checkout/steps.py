"""
The local steps: a batch of jobs in, one decision per job out.

Each runs inside the one transaction that `runner.run_local` opens, so a crash leaves nothing half
done, and a step that runs again finds its work done or does it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from shop import orders, stock
from shop.checkout import holds, jobs, purchase
from shop.checkout.holds import Held
from shop.checkout.jobs import (
    MOST_ATTEMPTS,
    Advance,
    CheckoutJob,
    Fail,
    Outcome,
    Report,
    Wait,
    backoff,
)
from shop.checkout.states import MOVES, State, Step
from shop.money import SMALLEST_CHARGE_PAISE, format_inr
from shop.payments import ledger, reconcile

# How long past its end a checkout waits for an answer to the last question. Gateways are down for
# longer than that, and money that still comes is settled as late money.
LAST_QUESTION_GRACE = timedelta(minutes=5)
ASK_AGAIN = timedelta(seconds=10)
LAST_QUESTION = "The time to pay is over. We are asking the bank once more."

OUR_FAULT = "Something went wrong on our side. Nothing was charged; please try again."


@dataclass(frozen=True)
class JobStep:
    """A local step (`runner.LocalStep`) over the checkouts that are due in one state."""

    name: str
    state: State
    decide: Callable[[Sequence[CheckoutJob], datetime], list[Outcome]]

    def lock_due(self, *, limit: int, now: datetime) -> list[CheckoutJob]:
        return jobs.lock_due(self.state, limit=limit, now=now)

    def carry(self, items: Sequence[CheckoutJob], *, now: datetime) -> Report:
        return jobs.apply(list(zip(items, self.decide(items, now), strict=True)), now=now)

    def after_bug(self, item: CheckoutJob, *, error: str, now: datetime) -> Report:
        item.attempts += 1
        if item.attempts < MOST_ATTEMPTS or State.FAILED not in MOVES[State(item.state)]:
            outcome: Outcome = Wait(now + backoff(item.attempts), last_error=error)
        else:
            outcome = Fail("internal_error", OUR_FAULT, last_error=error)
        return jobs.apply([(item, outcome)], now=now)

    def after_lock(self, item: CheckoutJob, *, until: datetime, now: datetime) -> Report:
        return jobs.apply([(item, Wait(until, item.waiting_for))], now=now)


def validate_cart(batch: Sequence[CheckoutJob], now: datetime) -> list[Outcome]:
    """
    See whether the shop still sells these lines at the prices the buyer saw.

    One query for the batch, no lock: units are only promised by the next step. Units that a
    checkout takes over from the one that it superseded are free for it alone (one more query).
    """
    offers = stock.offers(line.variant_id for job in batch for line in job.frozen_lines)
    held = stock.held_by({order_id for job in batch for order_id in job.takes_over})
    return [
        _refusal(job, offers, own=stock.total(held[order_id] for order_id in job.takes_over))
        or Advance(State.VALIDATED, "prices and stock are right", due_at=now)
        for job in batch
    ]


def _refusal(
    job: CheckoutJob, offers: Mapping[int, stock.Offer], *, own: Counter[int]
) -> Fail | None:
    if job.amount_paise < SMALLEST_CHARGE_PAISE:
        return Fail(
            "amount_too_small",
            f"The smallest amount that can be paid online is {format_inr(SMALLEST_CHARGE_PAISE)}.",
        )
    for line in job.frozen_lines:
        offer = offers.get(line.variant_id)
        if offer is None:
            return Fail(
                "product_unavailable",
                f"{line.name} is no longer on sale. Please take it out of your cart.",
                {"sku": line.sku},
            )
        if offer.price_paise != line.unit_price_paise:
            return Fail(
                "price_changed",
                f"The price of {line.name} is now {format_inr(offer.price_paise)}."
                " Please check your cart and order again.",
                {
                    "sku": line.sku,
                    "seen_paise": line.unit_price_paise,
                    "now_paise": offer.price_paise,
                },
            )
        available = offer.free + own[line.variant_id]
        if available < line.units:
            return out_of_stock(line, available=available)
    return None


def out_of_stock(line: orders.FrozenLine, *, available: int) -> Fail:
    left = f"Only {available} left" if available > 0 else "None left"
    return Fail(
        "out_of_stock",
        f"{left} of {line.name}. Nothing was charged.",
        {"sku": line.sku, "wanted": line.units, "available": max(available, 0)},
    )


def create_order(batch: Sequence[CheckoutJob], now: datetime) -> list[Outcome]:
    """
    Place the orders of the batch and hold their units: each whole, or not at all.

    Addresses, then stock rows are locked once for the batch, in key and in variant order, so two
    batches cannot deadlock. Units are given out in the order in which the jobs fell due, but first
    to those that take over units which the buyer held already, as far as the limits of `holds`
    allow. A job whose order stands already finds it done. The number of statements does not depend
    on the number of jobs.
    """
    fresh = [job for job in batch if job.order_id is None]
    holds.lock_addresses(fresh)
    levels, free = _lock_units(fresh)
    unpaid = holds.read(fresh, levels, now=now)
    held: Counter[int] = Counter()
    refused = {
        job.pk: refusal
        for job in sorted(fresh, key=lambda job: not job.takes_over)
        if (refusal := _take(job, free, held, unpaid, now=now))
    }
    granted = [job for job in fresh if job.pk not in refused]
    stock.hold(held)
    placed = orders.place([_draft(job) for job in granted], now=now)
    ledger.open_gateway_orders(placed, now=now)
    order_ids = {job.pk: order.pk for job, order in zip(granted, placed, strict=True)}
    return [
        refused.get(job.pk)
        or Advance(
            State.ORDERED,
            "order placed, units set aside",
            due_at=now,
            order_id=order_ids.get(job.pk),
            hold_until=unpaid.hold_until(job, now=now) if job.pk in order_ids else None,
        )
        for job in batch
    ]


def _lock_units(
    fresh: Sequence[CheckoutJob],
) -> tuple[dict[int, stock.StockLevel], Counter[int]]:
    """
    The stock rows of all variants that these jobs ask for, locked, and the free units of each.
    Units that a job takes over are released, so they are among the free ones.
    """
    handed_over = stock.held_by({order_id for job in fresh for order_id in job.takes_over})
    asked_for = {line.variant_id for job in fresh for line in job.frozen_lines}
    levels = stock.lock_levels(asked_for.union(*handed_over.values()))
    free = Counter({variant_id: level.free for variant_id, level in levels.items()})
    for order_id in stock.release(handed_over):
        free.update(handed_over[order_id])
    return levels, free


def _take(
    job: CheckoutJob, free: Counter[int], held: Counter[int], unpaid: Held, *, now: datetime
) -> Fail | None:
    """Move the job's units from `free` to `held`, or say which line cannot be had, or why not."""
    lines = job.frozen_lines
    for line in lines:
        if free[line.variant_id] < line.units:
            return out_of_stock(line, available=free[line.variant_id])
    if refusal := unpaid.refusal(job, now=now):
        return refusal
    unpaid.take(job)
    for line in lines:
        free[line.variant_id] -= line.units
        held[line.variant_id] += line.units
    return None


def _draft(job: CheckoutJob) -> orders.Draft:
    return orders.Draft(
        owner_id=job.owner_id,
        currency=job.currency,
        lines=job.frozen_lines,
        shipping_address=job.shipping_address,
        billing_address=job.billing_address,
    )


def expire(batch: Sequence[CheckoutJob], now: datetime) -> list[Outcome]:
    """
    End checkouts that nobody paid in time, after one last question to Razorpay.

    `payments.check_payments` puts the question. Until its answer is in, the checkout waits, at most
    `LAST_QUESTION_GRACE`. While money is known or signed for, it keeps its units as long as an
    authorisation lasts.
    """
    order_ids = [job.order_id for job in batch if job.order_id]
    asked = ledger.last_checks(order_ids)
    money = purchase.with_money(batch, now=now)
    outcomes: list[Outcome] = []
    ask = []
    for job in batch:
        assert job.expires_at is not None
        assert job.order_id is not None
        checked_at = asked.get(job.order_id)
        is_answered = checked_at is not None and checked_at >= job.expires_at
        over_for = now - job.expires_at
        has_money = job.pk in money and over_for < purchase.MONEY_MAY_COME_FOR
        if not has_money and (is_answered or over_for >= LAST_QUESTION_GRACE):
            outcomes.append(Advance(State.EXPIRED, "not paid in time"))
            continue
        ask.append(job.order_id)
        if has_money:
            outcomes.append(Wait(now + max(ASK_AGAIN, over_for / 4), purchase.CONFIRMING))
        else:
            outcomes.append(Wait(now + ASK_AGAIN, LAST_QUESTION))
    reconcile.ask_now(ask, now=now)
    return outcomes


def payable_until(job: CheckoutJob, *, now: datetime) -> datetime:
    """The end of the time to pay: `HOLD_SECONDS` from now, never after the end of the hold."""
    until = now + timedelta(seconds=settings.HOLD_SECONDS)
    return min(until, job.hold_until) if job.hold_until is not None else until


VALIDATE_CART = JobStep(Step.VALIDATE_CART, State.QUEUED, validate_cart)
CREATE_ORDER = JobStep(Step.CREATE_ORDER, State.VALIDATED, create_order)
EXPIRE = JobStep("expire", State.AWAITING_PAYMENT, expire)
