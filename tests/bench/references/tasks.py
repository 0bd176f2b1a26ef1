"""The three tasks of the chain. Each gets the id that the one before returned, None on failure."""

from __future__ import annotations

from tests.bench.references import models
from tests.bench.references.celery_app import app
from tests.bench.references.models import CannotBuy, Order


@app.task
def validate_cart(order_id: str) -> str | None:
    order = Order.objects.get(pk=order_id)
    try:
        models.validate_cart(order.owner_id)
    except CannotBuy as error:
        models.fail(order, error)
        return None
    return order_id


@app.task
def create_order(order_id: str | None) -> str | None:
    if order_id is None:
        return None
    order = Order.objects.get(pk=order_id)
    try:
        models.take_stock(order, models.items_of(order.owner_id))
    except CannotBuy as error:
        models.fail(order, error)
        return None
    return order_id


@app.task
def create_gateway_order(order_id: str | None) -> str | None:
    if order_id is None:
        return None
    models.create_gateway_order(Order.objects.get(pk=order_id))
    return order_id
