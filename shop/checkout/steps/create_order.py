"""The local step `create_order`: place the order and hold its units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from shop import orders, stock
from shop.checkout import holds
from shop.checkout.holds import Held
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance, Fail, Outcome
from shop.checkout.states import State, Step
from shop.checkout.steps.base import out_of_stock, pipeline_step
from shop.payments import ledger


def create_order(batch: Sequence[CheckoutJob], now: datetime) -> list[Outcome]:
    """
    Place the orders of the batch and hold their units: each order whole, or not at all.

    Addresses and then stock rows are locked once for the batch, by key and by variant, so two
    batches cannot deadlock. Units go to jobs in the order in which they became due, but first to
    jobs that take over units which the buyer holds already; the limits of `holds` apply. A job that
    has its order already advances. The number of statements does not depend on the number of jobs.
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
    Lock the stock rows of all variants that these jobs ask for; returns them and the free units of
    each. Units that a job takes over are released here, so they count as free.
    """
    taken_over = stock.held_by({order_id for job in fresh for order_id in job.takes_over})
    wanted = {line.variant_id for job in fresh for line in job.frozen_lines}
    levels = stock.lock_levels(wanted.union(*taken_over.values()))
    free = Counter({variant_id: level.free for variant_id, level in levels.items()})
    for order_id in stock.release(taken_over):
        free.update(taken_over[order_id])
    return levels, free


def _take(
    job: CheckoutJob, free: Counter[int], held: Counter[int], unpaid: Held, *, now: datetime
) -> Fail | None:
    """Move the job's units from `free` to `held`, or return why that is not possible."""
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
        amount_paise=job.amount_paise,
        lines=job.frozen_lines,
        shipping_address=job.shipping_address,
        billing_address=job.billing_address,
    )


CREATE_ORDER = pipeline_step(Step.CREATE_ORDER, create_order)
