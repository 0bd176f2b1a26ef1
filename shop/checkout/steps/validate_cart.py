"""The local step `validate_cart`: check that the shop still sells the lines at these prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from shop import stock
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import Advance, Fail, Outcome
from shop.checkout.states import State, Step
from shop.checkout.steps.base import out_of_stock, pipeline_step
from shop.money import SMALLEST_CHARGE_PAISE, format_inr


def validate_cart(batch: Sequence[CheckoutJob], now: datetime) -> list[Outcome]:
    """
    Check that the shop still sells these lines at the prices that the buyer saw.

    One query for the batch, no lock: the next step holds the units. Units that a checkout takes
    over from the one that it superseded count as free for it alone (one more query).
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


VALIDATE_CART = pipeline_step(Step.VALIDATE_CART, validate_cart)
