"""
Webhooks: a burst of captured payments, each the first of its checkout.

Once with the workers stopped, to measure accepting and settling separately, and once together.
"""

from __future__ import annotations

from tests.bench.figures import Raw, cost_of, latency_ms
from tests.bench.pakka import Pakka
from tests.bench.shops import BenchError, Payable, wait_until_none

CONNECTIONS = 32
WORKERS = ("worker", "gateway")


def webhooks(shop: Pakka, *, count: int) -> Raw:
    """Send `count` events each time. Uses as many of the shop's payable checkouts."""
    shop.gateway.set_up(shop_port=shop.port, delay_ms=0)
    return {
        "apart": _apart(shop, _take(shop, count)),
        "together": _together(shop, _take(shop, count)),
    }


def _apart(shop: Pakka, waiting: list[Payable]) -> Raw:
    for name in WORKERS:
        shop.stack.freeze(name)
    try:
        with shop.meter.measure() as accepting:
            accepted = _burst(shop, waiting)
    finally:
        with shop.meter.measure() as settling:
            for name in WORKERS:
                shop.stack.thaw(name)
            wait_until_none(shop.events_waiting)
    _demand_paid(shop, waiting)
    return {"accept": accepted | cost_of(accepting, len(waiting))} | {
        "settle": {
            "per_second": len(waiting) / settling.seconds,
            **cost_of(settling, len(waiting)),
        }
    }


def _together(shop: Pakka, waiting: list[Payable]) -> Raw:
    with shop.meter.measure() as used:
        accepted = _burst(shop, waiting)
        wait_until_none(shop.events_waiting)
    _demand_paid(shop, waiting)
    paid = {"paid_per_second": len(waiting) / used.seconds}
    return accepted | paid | cost_of(used, len(waiting))


def _burst(shop: Pakka, waiting: list[Payable]) -> Raw:
    order_ids = [it.progress.gateway_order_id for it in waiting]
    sent = shop.gateway.burst(order_ids, connections=CONNECTIONS)
    if set(sent["statuses"]) != {200}:
        raise BenchError(f"webhooks were answered {sorted(set(sent['statuses']))}")
    return {
        "count": len(waiting),
        "per_second": len(waiting) / (sent["ended_at"] - sent["started_at"]),
        "ms": latency_ms(sent["seconds"]),
    }


def _take(shop: Pakka, count: int) -> list[Payable]:
    if len(shop.payable) < count:
        raise BenchError(f"{count} payable checkouts are needed, {len(shop.payable)} are there")
    taken, shop.payable = shop.payable[:count], shop.payable[count:]
    return taken


def _demand_paid(shop: Pakka, waiting: list[Payable]) -> None:
    found = shop.progress([it.progress.checkout_id for it in waiting])
    paid = sum(progress.paid_at is not None for progress in found)
    if paid != len(waiting):
        raise BenchError(f"{paid} of {len(waiting)} were paid")
