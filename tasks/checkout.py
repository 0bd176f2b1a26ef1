"""The steps of a checkout as Celery tasks: each is one call into the shop."""

from __future__ import annotations

from shop.checkout.steps.create_order import CREATE_ORDER as CREATE_ORDER_STEP
from shop.checkout.steps.create_razorpay_order import CreateRazorpayOrder
from shop.checkout.steps.validate_cart import VALIDATE_CART as VALIDATE_CART_STEP
from tasks import run
from tasks.app import app
from tasks.registry import CREATE_ORDER, CREATE_RAZORPAY_ORDER, VALIDATE_CART


@app.task(name=VALIDATE_CART)
def validate_cart(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return run.local(VALIDATE_CART, VALIDATE_CART_STEP, checkout_id=checkout_id)


@app.task(name=CREATE_ORDER)
def create_order(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return run.local(CREATE_ORDER, CREATE_ORDER_STEP, checkout_id=checkout_id)


@app.task(name=CREATE_RAZORPAY_ORDER)
def create_razorpay_order(*, checkout_id: str = "", **_later_arguments: object) -> str:
    return run.remote(CREATE_RAZORPAY_ORDER, CreateRazorpayOrder(), checkout_id=checkout_id)
