"""Rows that another session locks."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import psycopg

from tests.prove.faults.registry import FaultContext, fault
from tests.prove.stream import Buyer

MAX_WAIT_SECONDS = 60
MAX_HOLD_SECONDS = 45  # for another buyer's checkout, which should not wait for the row at all


def _row_held(context: FaultContext, table: str, column: str, key: Any) -> str:
    """
    Lock one row in another session. A new buyer who does not need it can pay before its release.
    """
    began = time.monotonic()
    with suppress(psycopg.errors.LockNotAvailable), context.env.connect() as session:
        session.execute("SET lock_timeout = '5s'")
        session.execute(f"SELECT 1 FROM {table} WHERE {column} = %s FOR UPDATE", [key])
        buyer = Buyer(context.stream, context.rng)
        buyer.arrive()
        others = [variant for variant in context.stream.variants if variant["id"] != key]
        buyer.fill([context.rng.choice(others)], quantity=1)
        checkout = buyer.post()
        is_payable = buyer.wait(checkout, "awaiting_payment", seconds=MAX_HOLD_SECONDS)
        time.sleep(max(0.0, context.lock_seconds - (time.monotonic() - began)))
        session.rollback()
        if not is_payable and checkout.status != "failed":
            raise AssertionError(f"{table}: another buyer's checkout stayed {checkout.status}")
        return f"{time.monotonic() - began:.0f} s"
    return "got no lock"


@fault("locks")
def stock_row_held(context: FaultContext) -> str:
    """Lock the stock of a product that buyers want."""
    variant = context.rng.choice(context.stream.variants)
    return _row_held(context, "shop_stocklevel", "variant_id", variant["id"])


@fault("locks")
def checkout_row_held(context: FaultContext) -> str:
    return _row_held(context, "shop_checkoutjob", "id", _payable_checkout(context)[0])


@fault("locks")
def cart_row_held(context: FaultContext) -> str:
    return _row_held(context, "shop_cart", "id", _payable_checkout(context)[1])


@fault("locks")
def gateway_order_row_held(context: FaultContext) -> str:
    return _row_held(context, "shop_gatewayorder", "id", _payable_checkout(context)[2])


def _payable_checkout(context: FaultContext) -> tuple[str, int, int, str]:
    """The newest payable checkout: ids of checkout, cart, `GatewayOrder` and Razorpay order."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < deadline:
        found = context.env.rows(
            "SELECT job.id::text, job.cart_id, row.id, row.gateway_order_id"
            " FROM shop_checkoutjob job JOIN shop_gatewayorder row ON row.order_id = job.order_id"
            " WHERE job.state = 'awaiting_payment' AND row.gateway_order_id IS NOT NULL"
            " ORDER BY job.created_at DESC LIMIT 1"
        )
        if found:
            job_id, cart_id, row_id, order_id = found[0]
            return job_id, cart_id, row_id, order_id
        time.sleep(0.05)
    raise AssertionError(f"no checkout could be paid in {MAX_WAIT_SECONDS} s")
