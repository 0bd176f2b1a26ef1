"""Status reads: full answers, and 304s to clients with the current version."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice

from tests.bench.figures import Raw, cost_of, demand, latency_ms
from tests.bench.shops import Shop
from tests.bench.wire import Reply, send_all

CONNECTIONS = 32


def reads(shop: Shop, *, count: int) -> Raw:
    """`count` reads of payable checkouts, then `count` with `If-None-Match`."""
    waiting = shop.payable
    warm = asyncio.run(
        send_all(
            shop.port,
            [it.buyer.read(it.progress.checkout_id) for it in waiting],
            connections=CONNECTIONS,
        )
    )
    demand(warm, 200)
    tagged = zip(waiting, (reply.header("ETag") for reply in warm), strict=True)
    unchanged = [it.buyer.read(it.progress.checkout_id, tag=tag) for it, tag in tagged]
    full = [it.buyer.read(it.progress.checkout_id) for it in waiting]
    return {
        "full": _send(shop, full, count=count, status=200),
        "unchanged": _send(shop, unchanged, count=count, status=304),
    }


def _send(shop: Shop, requests: list[bytes], *, count: int, status: int) -> Raw:
    replies: list[Reply]
    with shop.meter.measure() as used:
        replies = asyncio.run(
            send_all(shop.port, islice(cycle(requests), count), connections=CONNECTIONS)
        )
    demand(replies, status)
    return {
        "count": count,
        "per_second": count / used.seconds,
        "ms": latency_ms([reply.seconds for reply in replies]),
        **cost_of(used, count),
    }
