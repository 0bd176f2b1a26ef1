"""Rows that most tests need: products, buyers, carts, checkouts."""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime

from shop import carts
from shop.accounts import User, create_guest
from shop.catalogue import Product, Variant
from shop.checkout import start
from shop.checkout.jobs import CheckoutJob
from shop.checkout.outcomes import RunReport
from shop.checkout.start import ClientView, Terms
from shop.checkout.steps import create_razorpay_order, runner
from shop.checkout.steps.create_order import CREATE_ORDER
from shop.checkout.steps.validate_cart import VALIDATE_CART
from shop.payments.gateway import Gateway
from shop.stock import StockLevel
from tests.support.threads import inline

ADDRESS = {
    "name": "Asha Rao",
    "line1": "12 MG Road",
    "line2": "",
    "city": "Bengaluru",
    "state": "Karnataka",
    "postal_code": "560001",
    "country": "IN",
    "phone": "+919845012345",
}
LOCAL_STEPS = (VALIDATE_CART, CREATE_ORDER)  # of the pipeline, in order
TERMS = Terms("razorpay", "INR", ADDRESS, ADDRESS)

_serial = itertools.count(1)


def make_variant(*, price_paise: int = 2248896, on_hand: int = 10, name: str = "") -> Variant:
    n = next(_serial)
    product = Product.objects.create(name=name or f"Mug {n}", slug=f"mug-{n}")
    variant = Variant.objects.create(
        product=product, sku=f"MUG-{n}", name="", price_paise=price_paise
    )
    StockLevel.objects.create(variant=variant, on_hand=on_hand)
    return variant


def make_buyer(*, now: datetime) -> User:
    return create_guest(now=now)


def fill_cart(buyer: User, *variants: Variant, quantity: int = 1, now: datetime) -> carts.Contents:
    for variant in variants:
        cart = carts.add(buyer.pk, variant_id=variant.pk, quantity=quantity, now=now)
    return cart


def post_checkout(
    buyer: User,
    *,
    now: datetime,
    key: str = "",
    terms: Terms = TERMS,
    seen: ClientView | None = None,
    address_key: int | None = None,
) -> CheckoutJob:
    accepted = start.start(
        owner_id=buyer.pk,
        terms=terms,
        seen=seen or ClientView(),
        key=key,
        now=now,
        address_key=address_key,
    )
    return CheckoutJob.objects.get(pk=accepted.job_id)


def make_checkout(*variants: Variant, now: datetime, quantity: int = 1) -> CheckoutJob:
    """A new buyer posts a cart of these variants, or of one mug."""
    buyer = make_buyer(now=now)
    fill_cart(buyer, *(variants or (make_variant(),)), quantity=quantity, now=now)
    return post_checkout(buyer, now=now)


def run(step: runner.LocalStep, *, now: datetime) -> RunReport:
    return runner.run_local(step, now=now, on_full_batch=lambda: None)


def run_remote(step: runner.RemoteStep, gateway: Gateway, *, now: datetime) -> RunReport:
    return runner.run_remote(
        step, gateway=gateway, threads=inline(), clock=lambda: now, on_full_batch=lambda: None
    )


def place_order(job: CheckoutJob, *, now: datetime) -> CheckoutJob:
    """Run the local steps."""
    for step in LOCAL_STEPS:
        run(step, now=now)
    return reload(job)


def make_payable(job: CheckoutJob, gateway: Gateway, *, now: datetime) -> CheckoutJob:
    place_order(job, now=now)
    run_remote(create_razorpay_order.CreateRazorpayOrder(), gateway, now=now)
    return reload(job)


def reload(job: CheckoutJob) -> CheckoutJob:
    return CheckoutJob.objects.select_related("order").get(pk=job.pk)


def stock_of(variant: Variant) -> tuple[int, int]:
    """(on hand, held)"""
    level = StockLevel.objects.get(pk=variant.pk)
    return level.on_hand, level.held


def new_key() -> str:
    return str(uuid.uuid4())
