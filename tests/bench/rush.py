"""Saturation: post carts as fast as they are accepted, until all can be paid."""

from __future__ import annotations

import asyncio
import time

from tests.bench.figures import Raw, cost_of, demand, latency_ms
from tests.bench.shops import BenchError, Payable, Shop, wait_until_none
from tests.bench.wire import send_all

CONNECTIONS = 32


def rush(shop: Shop, *, count: int, delay_ms: int) -> Raw:
    """`count` checkouts over `CONNECTIONS` connections; the gateway takes `delay_ms` a call."""
    buyers = shop.make_buyers(count)
    shop.gateway.set_up(shop_port=shop.port, delay_ms=delay_ms)
    with shop.meter.measure() as used:
        replies = asyncio.run(
            send_all(shop.port, [buyer.post for buyer in buyers], connections=CONNECTIONS)
        )
        posted_at = time.time()
        wait_until_none(shop.undecided)
    demand(replies, 200, 201, 202)
    by_id = {reply.json()["id"]: buyer for reply, buyer in zip(replies, buyers, strict=True)}
    found = shop.progress(list(by_id))
    reached = [progress.payable_at for progress in found if progress.payable_at]
    if len(reached) != count:
        states = sorted({progress.state for progress in found})
        raise BenchError(f"{len(reached)} of {count} became payable; found {states}")
    shop.payable += [Payable(by_id[progress.checkout_id], progress) for progress in found]
    first = min(reply.started_at for reply in replies)
    last = max(at.timestamp() for at in reached)
    waited = [
        progress.payable_at.timestamp() - progress.created_at.timestamp()
        for progress in found
        if progress.payable_at
    ]
    return {
        "count": count,
        "gateway_delay_ms": delay_ms,
        "per_second": count / (last - first),
        "posts_seconds": posted_at - first,
        "drain_seconds": max(0.0, last - posted_at),
        "post_ms": latency_ms([reply.seconds for reply in replies]),
        "post_to_payable_ms": latency_ms(waited),
        **cost_of(used, count),
    }
